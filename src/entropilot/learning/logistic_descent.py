"""Logistic regression by gradient descent with any step size, plain and normalised.

LR+GD and Normalized LR+GD of arXiv 2412.08424 (Tyurin, 2024), equations of Sections 2 and 6:

    w_i = 1 / (1 + exp(z_i . theta)),   z_i = y_i a_i
    plain:       theta += gamma (1/n) sum_i w_i z_i
    normalised:  theta += gamma (sum_i w_i z_i) / (sum_i w_i)

For step sizes without bound theta / gamma follows the batch perceptron: the loss may be huge one
step before all samples are right. Departs from the paper: its limit of beta is written |S_t|; the
limit of n / sum w is n / |S_t|. Weights are shifted before all of them vanish in float64.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError, unknown_name
from entropilot.learning import _separation_kernels as kernels
from entropilot.learning.separation_data import signed_samples, why_inseparable
from entropilot.learning.separation_result import MEASURES, SeparationResult

Floats = NDArray[Any]
Stop = Literal["separated", "loss", "grad"]
Record = Literal["summary", "trace", "iterates"]

STOPS: Final = {
    None: kernels.NEVER,
    "separated": kernels.AT_SEPARATION,
    "loss": kernels.AT_LOSS,
    "grad": kernels.AT_GRADIENT,
}
_CHUNK: Final = 1 << 26  # samples times features between two looks for Ctrl-C, about 0.1 s


def logistic_gd(
    X: ArrayLike,
    y: ArrayLike,
    step_size: float,
    *,
    normalized: bool = False,
    theta0: ArrayLike | None = None,
    max_iter: int = 100_000,
    stop: Stop | None = "separated",
    tol: float | None = None,
    record: Record = "summary",
    bias: bool = False,
) -> SeparationResult:
    """Gradient descent on the mean logistic loss of a linear classifier.

    Args:
        X: samples [n, d]; float32 stays float32, all else is float64.
        y: labels [n], -1 and 1, or 0 and 1.
        step_size: gamma > 0, as large as you like: a large one reaches zero errors sooner, a small
            one tends to the separator of largest margin.
        normalized: divide by the sum of the weights, so that a step is never longer than gamma R
            and the last few wrong samples move it as much as all did.
        theta0: start [d] (or [d + 1] with a bias); zeros when not given.
        max_iter: updates at most.
        stop: "separated" (all margins positive), "loss" or "grad" (at most ``tol``), or None.
        tol: bound of the loss (nats) or of the gradient's norm.
        record: "summary" measures the last iterate, "trace" all, "iterates" keeps all thetas too.
        bias: append a constant feature.

    Returns:
        The first iterate that meets ``stop``, or the last one, with a warning when the data were to
        be separated and were not.

    Raises:
        InputError: bad samples or labels; a sample of zeros or a pair of equal samples with
            opposite labels when they are to be separated.
        ConfigurationError: a step size that is not positive, an unknown stop or record, no tol.
        BrokenNumbersError: theta overflowed.

    Examples:
        >>> found = logistic_gd([[1, -1], [-1, -4]], [1, -1], step_size=100.0, record="trace")
        >>> found.iterations, found.separated, found.trace["loss"].round(3).tolist()
        (2, True, [0.693, 12.5, 0.0])
    """
    z = signed_samples(X, y, bias=bias)
    _check(step_size, max_iter, stop, tol, record)
    if z.dtype == np.float32 and step_size > 1e6:
        warnings.warn(
            f"step size {step_size:g} with float32 samples: theta may overflow; use float64",
            stacklevel=2,
        )
    theta = _start(theta0, z)
    reason = why_inseparable(z) if stop == "separated" else None
    if reason:
        raise InputError(f"{reason}. Set stop=None or stop='loss' to fit such data")
    kind = kernels.NORMALIZED if normalized else kernels.LOGISTIC
    found = run_descent(
        z, theta, step_size, kind, max_iter=max_iter, stop=STOPS[stop], tol=tol, record=record
    )
    if stop == "separated":
        warn_if_mixed(found)
    return found


def _check(
    step_size: float, max_iter: int, stop: str | None, tol: float | None, record: str
) -> None:
    if not (np.isfinite(step_size) and step_size > 0):
        raise ConfigurationError(f"step_size is {step_size}; expected a positive number")
    if max_iter < 0:
        raise ConfigurationError(f"max_iter is {max_iter}; expected 0 or more updates")
    if stop not in STOPS:
        raise ConfigurationError(unknown_name("stop", str(stop), [s for s in STOPS if s]))
    if stop in ("loss", "grad") and tol is None:
        raise ConfigurationError(f"stop={stop!r} needs tol, the value to stop at")
    check_record(record)


def check_record(record: str) -> None:
    """Refuse what is not a way to record.

    Raises:
        ConfigurationError: an unknown name.
    """
    if record not in ("summary", "trace", "iterates"):
        raise ConfigurationError(unknown_name("record", record, ["summary", "trace", "iterates"]))


def _start(theta0: ArrayLike | None, z: Floats) -> Floats:
    if theta0 is None:
        return np.zeros(z.shape[1], z.dtype)
    theta = np.array(theta0, z.dtype)
    if theta.shape != (z.shape[1],):
        raise InputError(
            f"theta0 has shape {theta.shape}; expected ({z.shape[1]},), a weight for each feature "
            "(and the bias last)"
        )
    if not np.isfinite(theta).all():
        raise BrokenNumbersError("theta0 has nan or infinite values; expected finite weights")
    return theta


def run_descent(
    z: Floats,
    theta: Floats,
    step_size: float,
    kind: int,
    *,
    max_iter: int,
    stop: int,
    tol: float | None = None,
    record: str = "summary",
    first: float = 1.0,
) -> SeparationResult:
    """The common loop of plain and normalised descent and of the batch perceptrons.

    Args:
        z: signed rows [n, d].
        theta: start [d], changed in place.
        step_size: gamma.
        kind: which update, from ``_separation_kernels``.
        max_iter: updates at most.
        stop: when, from ``_separation_kernels``.
        tol: bound of loss or gradient.
        record: as in ``logistic_gd``.
        first: factor of the first update.

    Examples:
        >>> z = np.array([[1.0, -1.0], [1.0, 4.0]])
        >>> run_descent(z, np.zeros(2), 1.0, kernels.LOGISTIC, max_iter=9, stop=1).iterations
        2
    """
    n, d = z.shape
    chunk = max(1, min(_CHUNK // z.size, max_iter + 1))
    traced, kept = record != "summary", record == "iterates"
    rows = np.empty((chunk + 1 if traced else 0, 6))
    points = np.empty((chunk + 1 if kept else 0, d), z.dtype)
    margins, direction = np.empty(n), np.empty(d)
    traces, thetas, t, done = [], [], 0, False
    with np.errstate(over="ignore"):
        while not done:
            start, until = t, min(t + chunk, max_iter)
            t, done = kernels.descend(
                *(z, theta, float(step_size), kind, first, stop, 0.0 if tol is None else tol),
                *(t, until, max_iter, rows, points, margins, direction),
            )
            seen = t - start + bool(done)
            traces.append(rows[:seen].copy())
            thetas.append(points[:seen].copy())
            if not np.isfinite(theta).all():
                raise BrokenNumbersError(
                    f"theta overflowed {z.dtype} within {t} updates; take a smaller step size than "
                    f"{step_size:g}, or scale the features"
                )
    trace = np.concatenate(traces) if traced else last_measures(z, theta)
    return SeparationResult(
        theta,
        int(t),
        bool(trace[-1, 4] > 0),
        {name: trace[:, i].copy() for i, name in enumerate(MEASURES)},
        np.concatenate(thetas) if kept else None,
    )


def last_measures(z: Floats, theta: Floats) -> NDArray[np.float64]:
    """The measures of one iterate, [1, 6].

    Examples:
        >>> last_measures(np.array([[2.0]]), np.array([0.0])).round(3).tolist()
        [[0.693, 1.0, 1.0, 2.0, 0.0, 0.693]]
    """
    row, margins, direction = np.empty((1, 6)), np.empty(len(z)), np.empty(z.shape[1])
    kernels.one_pass(z, theta, kernels.LOGISTIC, margins, direction)
    kernels.margin_measures(margins, row[0])
    row[0, 1] = np.linalg.norm(direction) / len(z)
    return row


def warn_if_mixed(found: SeparationResult) -> None:
    """Warn that samples are still on the wrong side."""
    if not found.separated:
        warnings.warn(
            f"not separated after {found.iterations} updates: error rate "
            f"{found.trace['error_rate'][-1]:.4g}. is_separable(X, y) tells whether more could "
            "help; on data that no plane separates use stop='loss' or stop='grad'",
            stacklevel=3,
        )
