"""Stiffness: short stretches of fast change in a slow trajectory, of an ODE or along a network.

The depth of a residual network is read as time: block t takes the state x_t to x_{t+1}.

Source: StepNet (arXiv 2308.09939), whose text could not be had: its own index may differ. The rate
index is the "neural stiffness index" of public practice, the Lipschitz index the test by which
explicit Runge-Kutta codes report stiffness (Hairer & Wanner, Solving ODEs II, IV.2).

Legend: B samples, T steps (blocks), C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information._backend import Array, as_float, measure, namespace

EPSILON = 1e-8  # added to norms in denominators


def stiffness_ratio(jacobian: ArrayLike) -> float:
    """Ratio max |Re l| / min |Re l| over the decaying eigenvalues l of a Jacobian (Re l < 0).

    Args:
        jacobian: [n, n] real or complex.

    Returns:
        The ratio, >= 1; nan, with a warning that says why, where fewer than two eigenvalues decay.

    Raises:
        InputError: not a square matrix.
        BrokenNumbersError: nan or infinite entries.

    Examples:
        >>> stiffness_ratio(np.diag([-1.0, -50.0, 3.0]))
        50.0
    """
    found = np.asarray(jacobian)
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not found.size:
        raise InputError(f"a Jacobian is a square matrix; its shape is {found.shape}")
    if not np.isfinite(found).all():
        raise BrokenNumbersError("the Jacobian holds nan or infinite numbers")
    rates = np.linalg.eigvals(found).real
    decaying = -rates[rates < 0]
    if len(decaying) < 2:
        warnings.warn(
            f"the stiffness ratio needs two decaying eigenvalues (Re < 0), and {len(decaying)} of "
            f"{len(rates)} decay; it is nan",
            stacklevel=2,
        )
        return float("nan")
    return float(decaying.max() / decaying.min())


@measure
def rate_index(states: Any, dt: float = 1.0, per_channel: bool = False) -> Array:
    """Relative speed of every step, R_t = ||x_{t+1} - x_t|| / (dt (||x_t|| + 1e-8)).

    It does not change when the states are scaled or turned, as a network is free to do.

    Args:
        states: [B, T + 1, ...] numpy or torch, or a list of T + 1 states [B, ...]. Norms are over
            all axes after the second.
        dt: time of a step.
        per_channel: one number a channel (the first axis of a state) instead of one a state.

    Returns:
        [B, T], or [B, T, C]; 1 / time.

    Raises:
        InputError: fewer than two states, or states of different shape.
        BrokenNumbersError: nan or infinite states; the first is named.
        ConfigurationError: dt is not above 0.

    Examples:
        >>> rate_index(np.array([[[1.0], [0.5], [0.25]]])).round(6).tolist()
        [[0.5, 0.5]]
    """
    x = _series(states, 2, "the rate index")
    _check_dt(dt)
    size = _norm(x[:, :-1], per_channel)
    if bool((size == 0).any()):
        warnings.warn(
            "a state is zero: its rate index is its step over 1e-8, and says nothing", stacklevel=3
        )
    return _norm(x[:, 1:] - x[:, :-1], per_channel) / (dt * (size + EPSILON))


@measure
def lipschitz_index(states: Any, dt: float = 1.0) -> Array:
    """Change of speed by distance, K_t = ||g_{t+1} - g_t|| / (||x_{t+1} - x_t|| + 1e-8).

    g_t = (x_{t+1} - x_t) / dt is the speed: K is the size of the Jacobian in the direction of the
    path. Explicit Runge-Kutta codes call a problem stiff where dt K exceeds about 3.25.

    Args:
        states: [B, T + 1, ...], or a list of T + 1 states [B, ...].
        dt: time of a step.

    Returns:
        [B, T - 1]; 1 / time.

    Raises:
        InputError: fewer than three states, or states of different shape.
        BrokenNumbersError: nan or infinite states.
        ConfigurationError: dt is not above 0.

    Examples:
        >>> lipschitz_index(np.array([[[1.0], [0.5], [0.25]]])).round(6).tolist()
        [[0.5]]
    """
    x = _series(states, 3, "the Lipschitz index")
    _check_dt(dt)
    step = x[:, 1:] - x[:, :-1]
    speed = step / dt
    return _norm(speed[:, 1:] - speed[:, :-1]) / (_norm(step[:, :-1]) + EPSILON)


def stiffness_match(states: Any, true_states: Any, dt: float = 1.0) -> dict[str, float]:
    """How well a network's states show the stiffness of the trajectory they should follow.

    Args:
        states: [B, T + 1, ...] of the network.
        true_states: of the same shape.
        dt: time of a step.

    Returns:
        ``correlation`` (Pearson's, over all samples and steps) and ``rmse`` of the rate indices;
        the correlation is nan where one of the two never changes.

    Raises:
        InputError: the shapes differ, or see ``rate_index``.

    Examples:
        >>> x = np.exp(-np.linspace(0, 2, 8) ** 2).reshape(1, 8, 1)
        >>> found = stiffness_match(x, x)
        >>> round(found["correlation"], 6), found["rmse"]
        (1.0, 0.0)
    """
    found, truth = rate_index(states, dt), rate_index(true_states, dt)
    if found.shape != truth.shape:
        raise InputError(
            f"the states give rates of shape {tuple(found.shape)} and the true ones "
            f"{tuple(truth.shape)}; give the same samples and steps"
        )
    a, b = (np.asarray(v, dtype=np.float64).ravel() for v in (found, truth))
    spread, shared = float(a.std() * b.std()), float(np.mean((a - a.mean()) * (b - b.mean())))
    return {
        "correlation": shared / spread if spread else float("nan"),
        "rmse": float(np.sqrt(np.mean((a - b) ** 2))),
    }


def _check_dt(dt: float) -> None:
    if not dt > 0 or not np.isfinite(dt):
        raise ConfigurationError(f"dt is {dt}; the time of a step must be a number above 0")


def _series(states: Any, least: int, what: str) -> Array:
    """[B, T, D] or [B, T, C, ...] finite floats."""
    if isinstance(states, Sequence) and len(states) and hasattr(states[0], "shape"):
        states = _stacked(states)
    x = as_float(states)
    if x.ndim < 3:
        raise InputError(
            f"states have shape {tuple(x.shape)}; expected [B, T + 1, ...]: samples, time points "
            "and at least one axis of features"
        )
    if x.shape[1] < least:
        raise InputError(
            f"{what} needs at least {least} states of a sample, and there are {x.shape[1]}"
        )
    finite = namespace(x).isfinite(x)
    if not bool(finite.all()):
        flags = np.asarray(finite.cpu() if hasattr(finite, "cpu") else finite)
        sample, time = np.argwhere(~flags.reshape(*flags.shape[:2], -1).all(-1))[0]
        raise BrokenNumbersError(
            f"state {time} of sample {sample} holds nan or infinite numbers; look at the block "
            "that made it"
        )
    return x


def _stacked(states: Sequence[Any]) -> Array:
    for number, (before, after) in enumerate(pairwise(states)):
        if before.shape != after.shape:
            raise InputError(
                f"down-sampling between block {number} and {number + 1}: states of shape "
                f"{tuple(before.shape)} and {tuple(after.shape)} are of two stages; measure each "
                "stage by itself"
            )
    return namespace(states[0]).stack(tuple(states), 1)


def _norm(x: Array, per_channel: bool = False) -> Array:
    """Norm over the axes from the third on, or from the fourth on."""
    kept = 3 if per_channel else 2
    flat = x.reshape(*x.shape[:kept], -1)
    return namespace(x).sqrt((flat * flat).sum(-1))
