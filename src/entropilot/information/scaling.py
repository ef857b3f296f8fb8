"""Scaling law of pass rates: log(-log PU) against log N is a straight line.

    PU(N) = exp(-c N^-alpha),     F(N) = log(-log PU(N)) = log c - alpha log N

N is the number of non-embedding parameters or any other positive covariate.

Source: PassUntil (arXiv 2310.03262), equations 3 and 4 and section 5.4.
Departs from the paper: sizes without a pass enter through their likelihood
(``fit_task_scaling_counts``) instead of being dropped; weights and intervals are ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.information.cloglog import fit_cloglog
from entropilot.information.counts import reject
from entropilot.information.intervals import (
    Floats,
    bootstrap_weights,
    normal_quantile,
    percentile_interval,
)
from entropilot.information.pass_until import PassUntilResult, stack_results


@dataclass(frozen=True)
class ScalingFit:
    """Straight line of F = log(-log PU) on log N."""

    log_c: float
    alpha: float
    cov: Floats  # [2, 2] of (log_c, alpha); nan for an exact fit of two sizes
    residual_var: float  # of F about the line; 0 when variances were given
    n_used: int
    dropped: tuple[float, ...]  # sizes left out, their PU being 0 or 1
    resamples: Floats | None = None  # [B, 2] bootstrap of (log_c, alpha)

    def predict(self, N: ArrayLike) -> Floats:
        """Pass rate at size N."""
        x = np.log(np.asarray(N, dtype=np.float64))
        return pass_rate(self.log_c - self.alpha * x)

    def predict_interval(self, N: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """Interval of the pass rate at a new size: of the bootstrap, else of the regression.

        The regression's interval holds the scatter about the line too, with Student's t for few
        sizes. Nan where two sizes leave nothing to judge the scatter by.
        """
        x = np.log(np.asarray(N, dtype=np.float64))
        if self.resamples is not None:
            normal_quantile(confidence)
            rates = pass_rate(
                self.resamples[:, 0].reshape(-1, *([1] * x.ndim))
                - self.resamples[:, 1].reshape(-1, *([1] * x.ndim)) * x
            )
            low, high, _ = percentile_interval(rates, confidence)
            return low, high
        var = self.cov[0, 0] - 2 * x * self.cov[0, 1] + x * x * self.cov[1, 1]
        half = self._quantile(confidence) * np.sqrt(np.maximum(var, 0) + self.residual_var)
        centre = self.log_c - self.alpha * x
        return pass_rate(centre + half), pass_rate(centre - half)  # F falls as PU rises

    def _quantile(self, confidence: float) -> float:
        z = normal_quantile(confidence)
        if self.residual_var == 0 or self.n_used <= 2:
            return z
        from scipy.special import stdtrit  # costs 0.2 s to import

        return float(stdtrit(self.n_used - 2, 0.5 + confidence / 2))


def log_minus_log(pu: ArrayLike) -> Floats:
    """F = log(-log PU); exact near 1 too.

    Args:
        pu: pass rates in [0, 1]; 0 gives inf and 1 gives -inf.

    Examples:
        >>> round(float(log_minus_log(0.5)), 4)
        -0.3665
    """
    p = np.asarray(pu, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(p > 0.5, np.log1p(-(1 - p)), np.log(p))
        return np.asarray(np.log(-log_p))[()]


def pass_rate(f: ArrayLike) -> Floats:
    """PU = exp(-exp(F)), the inverse of ``log_minus_log``.

    Args:
        f: any real; large gives 0.

    Examples:
        >>> round(float(pass_rate(-0.36651292)), 6)
        0.5
    """
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(-np.exp(np.asarray(f, dtype=np.float64))))[()]


def checked_sizes(N: ArrayLike) -> Floats:
    """Sizes as float64: positive, finite and distinct.

    Args:
        N: [n] sizes.

    Raises:
        InputError: naming the index of a size that is not positive, or repeated.

    Examples:
        >>> checked_sizes([10, 20]).tolist()
        [10.0, 20.0]
    """
    sizes = np.atleast_1d(np.asarray(N, dtype=np.float64))
    reject(~(sizes > 0) | ~np.isfinite(sizes), sizes, "sizes N must be positive and finite")
    _, first = np.unique(sizes, return_index=True)
    repeated = np.ones(len(sizes), dtype=np.bool_)
    repeated[first] = False
    reject(repeated, sizes, "sizes N must be distinct; average the runs of one size first")
    return sizes


def fit_task_scaling(
    N: ArrayLike,
    pu: ArrayLike,
    var: ArrayLike | None = None,
    zeros: str = "drop",
    *,
    chance: float = 0.0,
) -> ScalingFit:
    """Least squares of F = log(-log PU) on log N.

        minimise sum_i w_i (F_i - log c + alpha log N_i)^2
        w_i = 1 (the paper), or 1/var(F_i) with var(F) = var(PU) / (PU log PU)^2

    Args:
        N: [n] sizes, positive and distinct.
        pu: [n] pass rates.
        var: [n] variances of ``pu``, which bring in the weights.
        zeros: what to do with a PU of exactly 0 or 1, which has no F: "drop" with a warning that
            names the sizes, or "error".
        chance: pass rate of a random guess; a warning is given if it exceeds PU at the smallest
            size. ``above_chance`` gives corrected rates.

    Returns:
        The fit, with a prediction interval from three sizes on.

    Raises:
        InputError: for fewer than 2 usable sizes, bad sizes, or rates outside [0, 1].

    Examples:
        >>> fit = fit_task_scaling([1e6, 1e7, 1e8], [0.01, 0.1, 0.35])
        >>> round(fit.alpha, 3), round(float(fit.predict(1e9)), 3)
        (0.321, 0.601)

    Source: arXiv 2310.03262, equations 3 and 4.
    """
    sizes, rates = checked_sizes(N), np.atleast_1d(np.asarray(pu, dtype=np.float64))
    if rates.shape != sizes.shape:
        raise InputError(f"N has {len(sizes)} sizes and pu shape {rates.shape}; expected one each")
    reject(~((rates >= 0) & (rates <= 1)), rates, "pass rates lie in [0, 1]")
    smallest = int(np.argmin(sizes))
    if chance > 0 and chance > rates[smallest]:
        warnings.warn(
            f"random guessing passes at {chance:g}, more than the smallest size "
            f"({rates[smallest]:g}); take rates above_chance(pu, {chance:g}), or leave "
            f"guessable instances out",
            stacklevel=2,
        )
    flat = (rates == 0) | (rates == 1)
    if flat.any():
        message = (
            f"PU is exactly 0 or 1 at N = {', '.join(f'{x:g}' for x in sizes[flat])}, where "
            f"log(-log PU) does not exist; fit_task_scaling_counts uses such sizes"
        )
        if zeros == "error":
            raise InputError(message)
        if zeros != "drop":
            raise InputError(f"zeros is {zeros!r}; expected 'drop' or 'error'")
        warnings.warn(message + ". They are dropped", stacklevel=2)
    kept = ~flat
    if kept.sum() < 2:
        raise InputError(
            f"{int(kept.sum())} sizes have 0 < PU < 1; a line needs at least 2, so add sizes or "
            f"use fit_task_scaling_counts"
        )
    weights = None
    if var is not None:
        spread = np.atleast_1d(np.asarray(var, dtype=np.float64))
        reject(~(spread > 0) & kept, spread, "variances of pu must be positive")
        weights = (rates * np.log(np.where(kept, rates, 0.5))) ** 2 / np.where(kept, spread, 1)
        weights = weights[kept]
    x = np.log(sizes[kept])
    coef, cov, residual_var = least_squares_line(x, log_minus_log(rates[kept]), weights)
    return ScalingFit(
        coef[0], -coef[1], cov, residual_var, int(kept.sum()), tuple(sizes[flat].tolist())
    )


def fit_task_scaling_counts(
    N: ArrayLike,
    results: Sequence[PassUntilResult | Sequence[PassUntilResult]],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> ScalingFit:
    """Maximum-likelihood fit to counts, in which sizes without a pass count.

        maximise sum_i sum_s log NegBin(K_is; r, p_i)      (censored: log Binom(passes; k_max, p_i))
        p_i = exp(-exp(log c - alpha log N_i))

    Both likelihoods are p^passes (1-p)^(draws-passes) up to a constant, so the sums of passes and
    draws per size suffice. That makes all instances share one p: where they differ, the fit follows
    passes/draws, which hard instances dominate, and lies below the mean rate.

    Args:
        N: [n] sizes.
        results: for each size, one result with arrays [S], or a list of S scalar ones.
        n_resamples: of the bootstrap over instances that gives ``predict_interval`` (the same
            instances at every size when all sizes have S of them); 0 for none.
        seed: of the bootstrap.

    Returns:
        The fit; ``cov`` is the inverse Fisher information.

    Raises:
        InputError: for fewer than 2 sizes, bad sizes, no pass at all, or no failure at all.

    Examples:
        >>> from entropilot.information.pass_until import pu_from_counts
        >>> counts = [pu_from_counts([900, 1000], [2, 0], r=2, k_max=1000),
        ...           pu_from_counts([40, 15], 2, r=2, k_max=1000)]
        >>> fit = fit_task_scaling_counts([1e6, 1e7], counts, n_resamples=0)
        >>> round(float(fit.predict(1e7)), 4)
        0.0727

    Source: the likelihood is ours.
    """
    sizes = checked_sizes(N)
    stacked = [stack_results(x) for x in results]
    if len(stacked) != len(sizes) or len(sizes) < 2:
        raise InputError(
            f"found {len(sizes)} sizes and {len(stacked)} results; a line needs at least 2 sizes "
            f"with one result each"
        )
    x = np.log(sizes)
    passes = np.array([float(np.sum(s.passes)) for s in stacked])
    draws = np.array([float(np.sum(s.K)) for s in stacked])
    if passes.sum() == 0 or (passes == draws).all():
        raise InputError(
            "no answer passed (or none failed) at any size; there is no slope, so raise k_max or "
            "change the sizes"
        )
    coef, information = fit_cloglog(x, passes[None], draws[None])
    cov = np.linalg.inv(information[0])
    cov[0, 1] = cov[1, 0] = -cov[0, 1]  # of (log_c, alpha), where alpha is minus the slope
    resamples = None
    if n_resamples:
        sums = _bootstrap_sums(stacked, n_resamples, np.random.default_rng(seed))
        drawn, _ = fit_cloglog(x, *sums)
        resamples = np.column_stack([drawn[:, 0], -drawn[:, 1]])
    return ScalingFit(float(coef[0, 0]), float(-coef[0, 1]), cov, 0.0, len(sizes), (), resamples)


def least_squares_line(
    x: Floats, y: Floats, weights: Floats | None
) -> tuple[tuple[float, float], Floats, float]:
    """Intercept and slope, covariance of (intercept, -slope), and residual variance.

    Args:
        x: [n], not all equal.
        y: [n].
        weights: [n] inverse variances, which then give the covariance; None takes the scatter about
            the line (nan for 2 points).

    Returns:
        (intercept, slope), [2, 2], residual variance (0 with weights).

    Examples:
        >>> least_squares_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), None)[0]
        (1.0, 2.0)
    """
    w = np.ones_like(x) if weights is None else weights
    centre = float((w * x).sum() / w.sum())
    dx = x - centre
    sxx = float((w * dx * dx).sum())
    slope = float((w * dx * y).sum() / sxx)
    mean = float((w * y).sum() / w.sum())
    intercept = mean - slope * centre
    scale = 1.0
    residual_var = 0.0
    if weights is None:
        rss = float(((y - intercept - slope * x) ** 2).sum())
        residual_var = scale = rss / (len(x) - 2) if len(x) > 2 else float("nan")
    var_slope = scale / sxx
    cov = np.array(
        [
            [scale / float(w.sum()) + centre**2 * var_slope, centre * var_slope],
            [centre * var_slope, var_slope],
        ]
    )
    return (intercept, slope), cov, residual_var


def _bootstrap_sums(
    stacked: list[PassUntilResult], n_resamples: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Passes and draws per size [B, n] on resampled instances."""
    counts = [np.column_stack([s.passes, s.K]).astype(np.float64) for s in stacked]
    if len({len(c) for c in counts}) == 1:  # paired: the same instances at every size
        table = np.concatenate(counts, axis=1)
        sums = np.concatenate([w @ table for w in bootstrap_weights(len(table), n_resamples, rng)])
        return sums[:, 0::2], sums[:, 1::2]
    parts = [
        np.concatenate([w @ c for w in bootstrap_weights(len(c), n_resamples, rng)]) for c in counts
    ]
    return np.stack([p[:, 0] for p in parts], 1), np.stack([p[:, 1] for p in parts], 1)
