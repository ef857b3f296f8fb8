"""pass@k beyond the samples at hand: an extrapolation by a model, not a measurement.

Source: beta-binomial distribution (Skellam 1948); its use for pass@k is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import checked_counts, reject, whole_numbers
from entropilot.information.intervals import Floats, bootstrap_weights, percentile_interval


class ExtrapolatedPass(NamedTuple):
    """pass@k under a fitted Beta distribution of the problems' rates."""

    ks: NDArray[np.int64]  # [K]
    mean: Floats  # [K]
    low: Floats  # [K] of the bootstrap over problems; holds no error of the model itself
    high: Floats
    alpha: float  # of Beta(alpha, beta)
    beta: float


def pass_at_k_extrapolated(
    n: ArrayLike,
    c: ArrayLike,
    ks: ArrayLike,
    *,
    confidence: float = 0.95,
    n_resamples: int = 200,
    seed: int = 0,
) -> ExtrapolatedPass:
    """pass@k for any k, k > n included, if the problems' rates follow a Beta distribution.

        p_q ~ Beta(alpha, beta),   c_q ~ Binomial(n_q, p_q)            fitted by maximum likelihood
        pass@k = 1 - B(alpha, beta + k) / B(alpha, beta)

    The answer beyond n rests on the left end of that distribution, of which n samples say little: a
    Beta has no problems of rate exactly 0, so it always tends to 1. Say "extrapolated" beside it.

    Args:
        n: scalar or [Q] samples of each problem, at least one of them above 1.
        c: [Q] right ones.
        ks: [K], each >= 1.
        confidence: of the interval, in (0, 1).
        n_resamples: of the bootstrap over problems, each fitted again.
        seed: of the bootstrap.

    Returns:
        Curve, interval and the two parameters.

    Raises:
        InputError: when all samples are right, or all wrong, or there is one a problem: the data
            then say nothing of the shape.

    Examples:
        >>> found = pass_at_k_extrapolated(8, [0, 0, 1, 2, 5, 8], [8, 64], n_resamples=20)
        >>> bool(found.mean[0] < found.mean[1] < 1)
        True
    """
    from scipy.special import betaln  # costs 0.2 s to import

    counts, trials = checked_counts(np.atleast_1d(np.asarray(c)), n)
    budgets = np.atleast_1d(whole_numbers(ks, "k"))
    reject(budgets < 1, budgets, "k must be at least 1 answer")
    if not 0 < counts.sum() < trials.sum() or trials.max() < 2:
        raise InputError(
            f"{int(counts.sum())} of {int(trials.sum())} samples on {len(counts)} problems are "
            f"right; a spread of rates needs right and wrong ones, and 2 samples a problem"
        )
    pairs, where = np.unique(np.stack([counts, trials], 1), axis=0, return_inverse=True)
    table = np.eye(len(pairs))[where.ravel()]
    fits = [_fit(pairs, table.sum(axis=0), np.zeros(2))]
    for weights in bootstrap_weights(len(counts), n_resamples, np.random.default_rng(seed)):
        fits += [_fit(pairs, row, fits[0]) for row in weights @ table]
    a, b = np.exp(np.array(fits)).T[..., None]
    curves = -np.expm1(betaln(a, b + budgets) - betaln(a, b))
    low, high, _ = percentile_interval(curves[1:], confidence)
    return ExtrapolatedPass(budgets, curves[0], low, high, float(a[0, 0]), float(b[0, 0]))


def _fit(pairs: NDArray[np.int64], weight: Floats, start: Floats) -> Floats:
    """(log alpha, log beta) at the maximum of the weighted likelihood of (c, n) pairs."""
    from scipy.optimize import minimize
    from scipy.special import betaln, psi

    c, n = pairs[weight > 0].T
    w = weight[weight > 0] / weight.sum()

    def loss(log_ab: Floats) -> tuple[float, Floats]:
        a, b = np.exp(log_ab)
        both = psi(a + b) - psi(n + a + b)
        slopes = psi(c + a) - psi(a) + both, psi(n - c + b) - psi(b) + both
        value = w @ (betaln(c + a, n - c + b) - betaln(a, b))
        return -float(value), -np.array([a * (w @ slopes[0]), b * (w @ slopes[1])])

    # Rates that are all alike drive both parameters to infinity; the bound is alike enough.
    return np.asarray(minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-12, 12)] * 2).x)
