"""Exact ends of a rate from few passes, fast: the quantiles behind PassUntil's intervals.

P(Binomial(n, x) < a) is a sum of ``a`` terms, so for few passes Newton's method on its logarithm
beats a general inverse of the incomplete beta function by an order of magnitude.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEW = 64  # terms above which the general inverse is as fast


def rate_with_few_below(a: NDArray[np.int64], n: NDArray[np.int64], tail: float) -> Floats:
    """Rates x at which fewer than ``a`` of ``n`` draws pass with probability ``tail``.

        P(Binomial(n, x) < a) = tail,      x = BetaQuantile(1 - tail; a, n - a + 1)

    Args:
        a: [m] passes, 1 <= a <= n.
        n: [m] draws.
        tail: in (0, 1).

    Returns:
        [m] rates; relative error below 1e-12 up to n / 2 passes, below 1e-9 above.

    Examples:
        >>> rate_with_few_below(np.array([1]), np.array([10]), 0.05).round(6).tolist()
        [0.258866]
    """
    from scipy.special import betaincinv, gammaincinv  # costs 0.2 s to import

    found = np.empty(len(a))
    few = (a <= FEW) & (2 * a <= n)  # near a rate of 1 the first term underflows
    if not few.all():
        many = ~few
        found[many] = betaincinv(a[many], n[many] - a[many] + 1, 1 - tail)
    distinct = np.unique(a[few])
    start = np.zeros(FEW + 1)
    start[distinct] = gammaincinv(distinct, 1 - tail)  # the limit of large n
    part = np.empty(int(few.sum()))
    _solve(a[few], n[few], np.log(tail), start, part)
    found[few] = part
    return found


@njit(cache=True, nogil=True)
def _solve(
    a: NDArray[Any], n: NDArray[Any], log_tail: float, start: NDArray[Any], out: NDArray[Any]
) -> None:
    # log P(fewer than a) falls and is concave in x: from the right of the root Newton's steps
    # approach it from one side, so only the first can leave the interval.
    for j in range(len(a)):
        low, high = 0.0, 1.0
        x = -np.expm1(-start[a[j]] / (n[j] - 0.5 * (a[j] - 1)))  # Wise's approximation
        for _ in range(100):
            odds = x / (1.0 - x)
            term = np.exp(n[j] * np.log1p(-x))
            total = term
            for i in range(1, a[j]):
                term *= (n[j] - i + 1) / i * odds
                total += term
            gap = np.log(total) - log_tail if total > 0.0 else -np.inf
            if gap > 0.0:
                low = x
            else:
                high = x
            slope = (n[j] - a[j] + 1) * term / ((1.0 - x) * total) if total > 0.0 else 0.0
            step = gap / slope if slope > 0.0 else 0.0
            trial = x + step
            if not (low < trial < high) or slope == 0.0:
                trial = 0.5 * (low + high)
            if abs(trial - x) <= 1e-14 * x:
                x = trial
                break
            x = trial
        out[j] = x
