"""Intervals for rates and for statistics of grouped samples.

Wilson and Clopper-Pearson serve a single rate. The cluster bootstrap serves the rest: whole groups
(all answers to one question) are drawn with replacement, because answers to one question are alike.
A resample is a row of weights, how often each group was drawn, so that ratios of sums become one
matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import checked_counts

Floats = NDArray[np.float64]

CHUNK = 1 << 22  # weights held at once (32 MB); part of what a seed means, so not a setting


@dataclass(frozen=True)
class BootstrapInterval:
    """A statistic with its percentile interval; scalars, or arrays of one shape."""

    value: Any  # on the sample itself
    low: Any
    high: Any
    n_groups: int
    n_resamples: int
    n_undefined: int  # resamples in which the statistic was nan (0/0); they are left out


def normal_quantile(confidence: float) -> float:
    """Half-width, in standard errors, of a two-sided normal interval.

    Args:
        confidence: in (0, 1).

    Raises:
        InputError: for a confidence outside (0, 1), such as 95.

    Examples:
        >>> round(normal_quantile(0.95), 4)
        1.96
    """
    if not 0 < confidence < 1:
        raise InputError(
            f"confidence is {confidence}; expected a share between 0 and 1, such as 0.95"
        )
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(n_success: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Wilson score interval of a rate; (0, 1) where nothing was tried.

        centre = (p + z^2/2n) / (1 + z^2/n),  half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)

    Args:
        n_success: counts, 0 <= n_success <= n.
        n: trials, >= 0; broadcasts against ``n_success``.
        confidence: in (0, 1).

    Returns:
        Low and high, each in [0, 1], of the broadcast shape (numpy scalars for scalars).

    Raises:
        InputError: for counts that are not whole, negative, or above ``n``.

    Examples:
        >>> low, high = wilson(8, 10)
        >>> round(float(low), 3), round(float(high), 3)
        (0.49, 0.943)

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927), 209.
    """
    z = normal_quantile(confidence)
    trials = np.asarray(n)
    empty = trials == 0
    c, m = checked_counts(n_success, np.where(empty, 1, trials), names=("n_success", "n"))
    if np.any((c > 0) & empty):
        raise InputError("n_success is above 0 where n is 0; count the trials again")
    p = c / m
    scale = 1 + z * z / m
    centre = (p + z * z / (2 * m)) / scale
    half = z * np.sqrt(p * (1 - p) / m + z * z / (4.0 * m * m)) / scale
    low = np.where(empty | (c == 0), 0.0, np.maximum(centre - half, 0.0))
    high = np.where(empty | (c == m), 1.0, np.minimum(centre + half, 1.0))
    return low[()], high[()]


def clopper_pearson(c: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Exact interval of a rate: it covers the true rate at least as often as it says.

        low  = BetaQuantile(a/2; c, n-c+1)      (0 where c = 0)
        high = BetaQuantile(1-a/2; c+1, n-c)    (1 where c = n),      a = 1 - confidence

    Args:
        c: counts, 0 <= c <= n.
        n: trials, >= 1; broadcasts against ``c``.
        confidence: in (0, 1).

    Returns:
        Low and high, of the broadcast shape (numpy scalars for scalars).

    Raises:
        InputError: for counts that are not whole, negative, or above ``n``.

    Examples:
        >>> low, high = clopper_pearson(0, 10)
        >>> float(low), round(float(high), 4)
        (0.0, 0.3085)

    Source: Clopper and Pearson, Biometrika 26 (1934), 404.
    """
    normal_quantile(confidence)
    counts, trials = checked_counts(c, n)
    m = int(trials.flat[0]) if trials.size else 1
    if counts.size > m and np.all(trials == m):  # one table serves all, and the next call too
        low, high = _clopper_pearson_table(m, confidence)
        return low[counts][()], high[counts][()]
    pairs, where = np.unique(
        np.stack([counts.ravel(), trials.ravel()]), axis=1, return_inverse=True
    )
    low, high = _beta_quantiles(pairs[0], pairs[1], confidence)
    where = where.reshape(counts.shape)
    return low[where][()], high[where][()]


@lru_cache(maxsize=64)
def _clopper_pearson_table(n: int, confidence: float) -> tuple[Floats, Floats]:
    counts = np.arange(n + 1)
    return _beta_quantiles(counts, np.full_like(counts, n), confidence)


def _beta_quantiles(
    c: NDArray[np.int64], n: NDArray[np.int64], confidence: float
) -> tuple[Floats, Floats]:
    from scipy.special import betaincinv  # costs 0.2 s to import

    tail = (1 - confidence) / 2
    low = np.where(c == 0, 0.0, betaincinv(np.maximum(c, 1), n - c + 1, tail))
    # From the upper tail, 1 - quantile of the mirrored variable: exact where high is near 0 or 1.
    high = np.where(c == n, 1.0, betaincinv(c + 1, np.maximum(n - c, 1), 1 - tail))
    return low, high


def group_index(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.int64], int]:
    """Groups as 0 .. G-1 in order of first sight of their sorted names, and G.

    Args:
        groups: [n] names of any one kind (strings, numbers); None makes each item its own group.
        n: how many items there are.

    Raises:
        InputError: if the lengths differ, or there is nothing.

    Examples:
        >>> group_index(["b", "a", "b"], 3)
        (array([1, 0, 1]), 2)
    """
    if n == 0:
        raise InputError("there are no items; an interval needs at least one")
    if groups is None:
        return np.arange(n), n
    names = np.asarray(groups)
    if names.shape != (n,):
        raise InputError(
            f"groups has shape {names.shape}, but there are {n} items; give one group to each item"
        )
    unique, index = np.unique(names, return_inverse=True)
    return index.astype(np.int64), len(unique)


@njit(cache=True, nogil=True)
def _count_draws(draws: NDArray[Any], weights: NDArray[Any]) -> None:
    for r in range(draws.shape[0]):
        for i in range(draws.shape[1]):
            weights[r, draws[r, i]] += 1.0


def bootstrap_weights(
    n_groups: int, n_resamples: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Multinomial weights of bootstrap resamples, in chunks that fit in memory.

    Args:
        n_groups: G, >= 1.
        n_resamples: R, >= 1.
        rng: source of randomness; the chunks depend on G alone, so a seed means one result.

    Yields:
        [chunk, G] how often each group was drawn; every row sums to G.

    Examples:
        >>> weights = np.concatenate(list(bootstrap_weights(3, 5, np.random.default_rng(0))))
        >>> weights.shape, bool((weights.sum(axis=1) == 3).all())
        ((5, 3), True)
    """
    if n_groups < 1 or n_resamples < 1:
        raise InputError(
            f"found {n_groups} groups and {n_resamples} resamples; "
            f"the bootstrap needs at least 1 of each"
        )
    rows = max(1, CHUNK // n_groups)
    kind = np.uint16 if n_groups <= 1 << 16 else np.uint32  # small draws are quick draws
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        draws = rng.integers(0, n_groups, size=(size, n_groups), dtype=kind)
        weights = np.zeros((size, n_groups))
        _count_draws(draws, weights)
        yield weights


def cluster_bootstrap(
    numerator: ArrayLike,
    denominator: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> BootstrapInterval:
    """Percentile interval of a ratio of sums (accuracy, mean); groups are drawn with replacement.

        value = sum_i numerator_i / sum_i denominator_i

    Args:
        numerator: [n] or [n, K]; the K statistics share the resamples, so that differences
            of columns are paired.
        denominator: as ``numerator`` or [n]; None means ones, and the value is the mean.
        groups: [n] group of each item; None draws items.
        rng: source of randomness.
        n_resamples: R. 2000 gives the ends of a 95 % interval to about 3 % of its width.
        confidence: in (0, 1).

    Returns:
        Scalars for [n] input, arrays [K] for [n, K].

    Raises:
        InputError: for shapes that do not fit, or no items.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> found = cluster_bootstrap([1, 0, 1, 1, 0, 1], groups=[0, 0, 1, 1, 2, 2], rng=rng)
        >>> round(float(found.value), 3), float(found.low), float(found.high)
        (0.667, 0.5, 1.0)
    """
    top = np.asarray(numerator, dtype=np.float64)
    flat = top.ndim == 1
    top = top[:, None] if flat else top.reshape(len(top), -1)
    bottom = np.ones(len(top)) if denominator is None else np.asarray(denominator, dtype=np.float64)
    if len(bottom) != len(top) or (bottom.ndim > 1 and bottom.shape != top.shape):
        raise InputError(
            f"numerator has shape {top.shape} and denominator {bottom.shape}; "
            f"expected one row per item in both"
        )
    index, n_groups = group_index(groups, len(top))
    one_bottom = bottom.ndim == 1  # shared by all columns
    table = np.column_stack([top, bottom])
    if groups is not None:
        table = np.stack([np.bincount(index, column, n_groups) for column in table.T], axis=1)
    k = top.shape[1]

    def statistic(weights: Floats) -> Floats:
        sums = weights @ table
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[:, :k] / (sums[:, k:] if not one_bottom else sums[:, k : k + 1]))

    found = cluster_bootstrap_of(
        statistic, n_groups, rng=rng, n_resamples=n_resamples, confidence=confidence
    )
    if flat:
        return BootstrapInterval(
            found.value[0],
            found.low[0],
            found.high[0],
            found.n_groups,
            found.n_resamples,
            found.n_undefined,
        )
    return found


def cluster_bootstrap_of(
    statistic: Callable[[Floats], Floats],
    n_groups: int,
    *,
    rng: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> BootstrapInterval:
    """Percentile interval of any statistic that can be written as a function of group weights.

    Args:
        statistic: maps weights [R, G] (how often each group counts) to [R] or [R, K] values.
        n_groups: G.
        rng: source of randomness.
        n_resamples: R.
        confidence: in (0, 1).

    Returns:
        The statistic at weights of one, with its interval. Resamples that give nan are counted
        and left out.

    Examples:
        >>> x = np.array([1.0, 2.0, 4.0, 8.0])
        >>> log_mean = lambda w: np.log(w @ x / w.sum(axis=1))
        >>> found = cluster_bootstrap_of(log_mean, 4, rng=np.random.default_rng(0))
        >>> round(float(found.value), 3), bool(found.low < found.value < found.high)
        (1.322, True)
    """
    normal_quantile(confidence)
    value = np.asarray(statistic(np.ones((1, n_groups))))[0]
    resamples = np.concatenate(
        [np.asarray(statistic(w)) for w in bootstrap_weights(n_groups, n_resamples, rng)]
    )
    low, high, n_undefined = percentile_interval(resamples, confidence)
    return BootstrapInterval(value, low, high, n_groups, n_resamples, n_undefined)


def percentile_interval(resamples: Floats, confidence: float = 0.95) -> tuple[Floats, Floats, int]:
    """Low and high quantiles over the first axis; rows with a nan are left out and counted.

    Args:
        resamples: [R, ...] a statistic on R resamples.
        confidence: in (0, 1).

    Returns:
        Low and high [...], and how many rows were left out. Nan ends when no row is left.

    Examples:
        >>> low, high, left_out = percentile_interval(np.arange(101.0), 0.9)
        >>> round(float(low), 6), round(float(high), 6), left_out
        (5.0, 95.0, 0)
    """
    flat = resamples.reshape(len(resamples), -1)
    kept = resamples[~np.isnan(flat).any(axis=1)]
    n_undefined = len(resamples) - len(kept)
    if len(kept) == 0:
        nan = np.full(resamples.shape[1:], np.nan)[()]
        return nan, nan, n_undefined
    tail = (1 - confidence) / 2
    low, high = np.quantile(kept, [tail, 1 - tail], axis=0)
    return low, high, n_undefined
