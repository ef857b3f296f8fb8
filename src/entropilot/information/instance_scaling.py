"""A scaling curve for each instance of a task, helped by the loss where an instance never passes.

Source: PassUntil (arXiv 2310.03262), section 5.4; the form of the assistance is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import reject
from entropilot.information.intervals import Floats
from entropilot.information.scaling import (
    checked_sizes,
    least_squares_line,
    log_minus_log,
    pass_rate,
)

MIN_R2 = 0.3  # below it the loss says too little of the pass rate to assist


class InstancePrediction(NamedTuple):
    """Pass rates at one size."""

    per_instance: Floats  # [S]; nan without a curve
    mean: float  # over the instances that have one


@dataclass(frozen=True)
class InstanceFit:
    """A curve for every instance; their mean is not itself of the family."""

    log_c: Floats  # [S]; nan where there is no own curve
    alpha: Floats  # [S]
    usable: NDArray[np.bool_]  # [S] at least 2 sizes with 0 < rate < 1
    assisted: NDArray[np.bool_]  # [S] predicted from the loss instead
    worse: NDArray[np.bool_]  # [S] alpha <= 0: the instance gets worse with size
    assist: tuple[float, float, float] | None  # b0, b1, R^2 of log(-log rate) on log loss
    loss_log_a: Floats  # [S] of the assisted ones: loss = a N^-g
    loss_g: Floats  # [S]
    alpha_stderr: Floats  # [S] of the scatter about the line; nan below 3 usable sizes

    @property
    def c(self) -> Floats:
        """[S] coefficients, exp(log_c)."""
        return np.exp(self.log_c)

    def predict(self, N: float) -> InstancePrediction:
        """Pass rate of each instance at size N, and the mean over those that have a curve."""
        x = float(np.log(N))
        f = self.log_c - self.alpha * x
        if self.assist is not None:
            b0, b1, _ = self.assist
            f = np.where(self.assisted, b0 + b1 * (self.loss_log_a - self.loss_g * x), f)
        rates = np.where(self.usable | self.assisted, pass_rate(f), np.nan)
        return InstancePrediction(rates, float(np.nanmean(rates)) if len(rates) else float("nan"))


def fit_instances(
    N: ArrayLike,
    ipu: ArrayLike,
    nll: ArrayLike | None = None,
    *,
    draws: ArrayLike | None = None,
) -> InstanceFit:
    """A curve for each instance, with help from the loss for those that never pass.

        F_s(N) = log c_s - alpha_s log N            instances with 2 sizes of 0 < rate < 1
        log(-log rate) = b0 + b1 log NLL            pooled over all usable (instance, size) pairs
        NLL_s(N) = a_s N^-g_s                       the other instances, extrapolated

    Args:
        N: [n] sizes.
        ipu: [n, S] pass rates of each instance at each size; nan where not measured.
        nll: [n, S] negative log-likelihood of the whole reference answer, nats, > 0. Without it
            hard instances have no curve and stay out of the mean.
        draws: [n, S] draws behind each rate; a rate of 1 is then taken as 1 - 1/(2 draws). Without
            it a rate of 1 is not usable.

    Returns:
        The curves. ``worse`` flags instances with alpha <= 0; they are kept.

    Raises:
        InputError: for shapes that do not fit, no usable instance, or a loss that explains less
            than 30 % of the variance of log(-log rate).

    Examples:
        >>> rates = [[0.1, 0.0], [0.3, 0.0], [0.5, 0.2]]
        >>> fit = fit_instances([1e6, 1e7, 1e8], rates)
        >>> fit.usable.tolist(), round(fit.predict(1e9).mean, 3)
        ([True, False], 0.688)

    Source: arXiv 2310.03262, section 5.4; the form of the assistance is ours.
    """
    sizes, rates = checked_sizes(N), np.asarray(ipu, dtype=np.float64)
    if rates.ndim != 2 or len(rates) != len(sizes):
        raise InputError(f"ipu has shape {rates.shape}; expected [{len(sizes)} sizes, instances]")
    reject(~(np.isnan(rates) | ((rates >= 0) & (rates <= 1))), rates, "pass rates lie in [0, 1]")
    if draws is not None:
        rates = np.where(rates == 1, 1 - 0.5 / np.asarray(draws, dtype=np.float64), rates)
    x = np.log(sizes)
    inside = (rates > 0) & (rates < 1)
    f = log_minus_log(np.where(inside, rates, 0.5))
    usable = inside.sum(axis=0) >= 2
    if not usable.any():
        raise InputError(
            "no instance has 0 < rate < 1 at 2 sizes; add draws or sizes, or fit the whole task"
        )
    intercept, slope, slope_stderr = _column_lines(x, f, inside)
    log_c, alpha = np.where(usable, intercept, np.nan), np.where(usable, -slope, np.nan)
    s = rates.shape[1]
    assist, assisted = None, np.zeros(s, dtype=np.bool_)
    log_a, g = np.full(s, np.nan), np.full(s, np.nan)
    if nll is not None:
        log_loss = _log_loss(nll, rates.shape)
        assist = _assistance(log_loss[inside], f[inside])
        loss_intercept, loss_slope, _ = _column_lines(x, log_loss, np.ones_like(inside))
        assisted = ~usable
        log_a, g = (
            np.where(assisted, loss_intercept, np.nan),
            np.where(assisted, -loss_slope, np.nan),
        )
    worse = usable & (np.nan_to_num(alpha, nan=1.0) <= 0)
    return InstanceFit(log_c, alpha, usable, assisted, worse, assist, log_a, g, slope_stderr)


def _log_loss(nll: ArrayLike, shape: tuple[int, ...]) -> Floats:
    loss = np.asarray(nll, dtype=np.float64)
    if loss.shape != shape:
        raise InputError(f"nll has shape {loss.shape}; expected that of ipu, {shape}")
    reject(~(loss > 0), loss, "nll is the summed -log p of the reference answer, in nats, above 0")
    return np.log(loss)


def _assistance(log_loss: Floats, f: Floats) -> tuple[float, float, float]:
    if len(f) < 3 or np.ptp(log_loss) == 0:
        raise InputError(
            f"{len(f)} usable (instance, size) pairs can't tie pass rate to loss; expected 3 or "
            f"more with different losses, so leave nll out"
        )
    coef, _, _ = least_squares_line(log_loss, f, None)
    residual = f - coef[0] - coef[1] * log_loss
    r2 = 1 - float(residual @ residual) / max(float(((f - f.mean()) ** 2).sum()), 1e-300)
    if r2 < MIN_R2:
        raise InputError(
            f"the loss explains {max(r2, 0):.0%} of log(-log pass rate), less than {MIN_R2:.0%}; "
            f"it can't stand in for the rate of hard instances, so leave nll out"
        )
    return coef[0], coef[1], r2


def _column_lines(x: Floats, y: Floats, valid: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Intercept, slope and its standard error, of every column of y [n, S] over its valid rows."""
    w = valid.astype(np.float64)
    n = np.maximum(w.sum(axis=0), 1)
    centre = (w * x[:, None]).sum(axis=0) / n
    mean = (w * y).sum(axis=0) / n
    dx = w * (x[:, None] - centre)
    sxx = (dx * dx).sum(axis=0)
    slope = (dx * y).sum(axis=0) / np.where(sxx > 0, sxx, np.nan)
    residual = w * (y - mean - slope * dx)
    spare = np.where(n > 2, n - 2, np.nan)  # two points leave no scatter to judge by
    stderr = np.sqrt((residual * residual).sum(axis=0) / spare / np.where(sxx > 0, sxx, np.nan))
    return mean - slope * centre, slope, stderr
