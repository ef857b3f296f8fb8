"""The perceptron, and the batch perceptrons that logistic descent becomes with large steps.

arXiv 2412.08424, Theorems 3.2, 3.3 and 5.3. With S_t the samples with z_i . theta_t <= 0:

    batch:             theta += (1/n) sum_S z_i,     at most n R^2 / mu^2 updates
    normalised batch:  theta += (1/|S|) sum_S z_i,   at most R^2 / mu^2
    perceptron:        theta += z_j, one j of S,     at most R^2 / mu^2

The first update of the batch perceptron has weight 1/2, as logistic weights at theta = 0 have; the
normalised one divides by the sum of weights, so that its first update is the mean either way.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.learning import _separation_kernels as kernels
from entropilot.learning.logistic_descent import (
    Floats,
    Record,
    check_record,
    last_measures,
    run_descent,
    warn_if_mixed,
)
from entropilot.learning.separation_data import signed_samples, why_inseparable
from entropilot.learning.separation_result import MEASURES, SeparationResult

ORDERS: Final = {
    "lowest_index": kernels.LOWEST,
    "worst_margin": kernels.WORST,
    "random": kernels.RANDOM,
}


def batch_perceptron(
    X: ArrayLike,
    y: ArrayLike,
    *,
    normalized: bool = False,
    first_step: Literal["half", "full"] = "half",
    theta0: ArrayLike | None = None,
    max_iter: int = 100_000,
    record: Record = "summary",
    bias: bool = False,
) -> SeparationResult:
    """The limit of logistic descent over gamma: all wrong samples move theta at once.

    Args:
        X: samples [n, d].
        y: labels [n], -1 and 1, or 0 and 1.
        normalized: divide by the number of wrong samples instead of by n.
        first_step: "half" is the limit of logistic descent from zero; "full" the textbook's.
        theta0: start [d]; only with first_step="full", since the half belongs to a start at zero.
        max_iter: updates at most.
        record: as in ``logistic_gd``.
        bias: append a constant feature.

    Raises:
        InputError: as ``logistic_gd``.
        ConfigurationError: theta0 together with first_step="half", or an unknown name.

    Examples:
        >>> found = batch_perceptron([[1, -1], [-1, -4]], [1, -1])
        >>> found.iterations, found.theta.tolist()
        (2, [1.0, 0.25])
    """
    if first_step not in ("half", "full"):
        raise ConfigurationError(unknown_name("first_step", first_step, ["half", "full"]))
    if theta0 is not None and first_step == "half":
        raise ConfigurationError(
            "theta0 was given with first_step='half', which is the limit of a start at zero; "
            "set first_step='full'"
        )
    check_record(record)
    z = _separable_samples(X, y, bias)
    theta = np.zeros(z.shape[1], z.dtype) if theta0 is None else np.array(theta0, z.dtype)
    if theta.shape != (z.shape[1],):
        raise InputError(f"theta0 has shape {theta.shape}; expected ({z.shape[1]},)")
    kind = kernels.NORMALIZED_BATCH if normalized else kernels.BATCH
    found = run_descent(
        z,
        theta,
        1.0,
        kind,
        max_iter=_checked_limit(max_iter),
        stop=kernels.AT_SEPARATION,
        record=record,
        first=0.5 if first_step == "half" and not normalized else 1.0,
    )
    warn_if_mixed(found)
    return found


def perceptron(
    X: ArrayLike,
    y: ArrayLike,
    *,
    order: Literal["lowest_index", "worst_margin", "random"] = "lowest_index",
    seed: int = 0,
    max_iter: int = 1_000_000,
    record: Literal["summary", "trace"] = "summary",
    bias: bool = False,
) -> SeparationResult:
    """Rosenblatt's perceptron: one wrong sample an update.

    Args:
        X: samples [n, d].
        y: labels [n], -1 and 1, or 0 and 1.
        order: which wrong sample: the first, the worst, or one drawn with ``seed``.
        seed: of the draws.
        max_iter: updates at most.
        record: "summary" or "trace".
        bias: append a constant feature.

    Raises:
        InputError: as ``logistic_gd``.
        ConfigurationError: an unknown order.

    Examples:
        >>> perceptron([[1, -1], [-1, -4]], [1, -1]).iterations
        3
    """
    if order not in ORDERS:
        raise ConfigurationError(unknown_name("order", order, ORDERS))
    if record not in ("summary", "trace"):
        raise ConfigurationError(unknown_name("record", record, ["summary", "trace"]))
    z, limit = _separable_samples(X, y, bias), _checked_limit(max_iter)
    theta, margins = np.zeros(z.shape[1]), np.empty(len(z))
    chunk = max(1, min((1 << 26) // z.size, limit + 1))
    rows = np.empty((chunk + 1 if record == "trace" else 0, 6))
    rng, traces, t, done = np.random.default_rng(seed), [], 0, False
    while True:
        start, until = t, min(t + chunk, limit)
        t, done = kernels.one_by_one(z, theta, ORDERS[order], rng, t, until, rows, margins)
        ended = done or t >= limit
        traces.append(rows[: t - start + ended].copy())
        if ended:
            break
    trace = np.concatenate(traces) if record == "trace" else last_measures(z, theta)
    measures = {name: trace[:, i].copy() for i, name in enumerate(MEASURES)}
    found = SeparationResult(theta.astype(z.dtype), int(t), bool(done), measures)
    warn_if_mixed(found)
    return found


def _checked_limit(max_iter: int) -> int:
    if max_iter < 0:
        raise ConfigurationError(f"max_iter is {max_iter}; expected 0 or more updates")
    return int(max_iter)


def _separable_samples(X: ArrayLike, y: ArrayLike, bias: bool) -> Floats:
    z = signed_samples(X, y, bias=bias)
    reason = why_inseparable(z)
    if reason:
        raise InputError(f"{reason}; a perceptron never ends on such data")
    return z
