"""pass@k: the chance that at least one of k answers is right, from n samples with c right.

Source: Chen et al. (arXiv 2107.03374) for the estimator; intervals as in 2507.14843's study.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import checked_counts, reject, whole_numbers
from entropilot.information.intervals import (
    BootstrapInterval,
    Floats,
    clopper_pearson,
    cluster_bootstrap,
    percentile_interval,
)


class PassCurve(NamedTuple):
    """pass@k over a list of k."""

    ks: NDArray[np.int64]  # [K]
    mean: Floats  # [K] over problems
    per_problem: Floats  # [Q, K]


@njit(cache=True, nogil=True)
def _pass_at_k(n: NDArray[Any], c: NDArray[Any], k: NDArray[Any], out: NDArray[Any]) -> None:
    # 1 - prod_i (1 - large/(n-i)) over the smaller of c and k, kept as u <- u + x (1 - u), which
    # loses nothing where pass@k is small. It stops when the rest is below rounding: about
    # sqrt(40 n) steps.
    for j in range(len(out)):
        small, large = min(c[j], k[j]), max(c[j], k[j])
        u = 0.0
        for i in range(small):
            if n[j] - i <= large:
                u = 1.0
                break
            left = 1.0 - u
            if left < 1e-17:
                break
            u += left * large / (n[j] - i)
        out[j] = min(u, 1.0)


def pass_at_k(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> Floats:
    """Unbiased chance that at least one of k answers is right.

        pass@k = 1 - C(n-c, k) / C(n, k)        (1 where n - c < k)

    Args:
        n: samples of a problem, >= 1.
        c: how many of them are right, 0 <= c <= n.
        k: answers allowed, 1 <= k <= n. The three broadcast against each other.

    Returns:
        float64 of the broadcast shape; absolute error below 1e-12.

    Raises:
        InputError: for k > n, k < 1, or counts that are not whole, negative or above n.

    Examples:
        >>> pass_at_k(10, [0, 3, 10], 4).round(6).tolist()
        [0.0, 0.833333, 1.0]

    Source: arXiv 2107.03374, section 2.1.
    """
    counts, trials = checked_counts(c, n)
    draws = whole_numbers(k, "k")
    reject(draws < 1, draws, "k must be at least 1 answer")
    counts, trials, draws = np.broadcast_arrays(counts, trials, draws)
    if np.any(draws > trials):
        smallest = int(trials.min())
        reject(
            draws > trials,
            draws,
            f"k may not exceed the samples n of a problem; n is {smallest} and the largest k "
            f"allowed here is {smallest}, so lower k, draw more samples, or say that it is "
            f"extrapolated (pass_at_k_extrapolated)",
        )
    out = np.empty(counts.shape)
    flat = np.empty(counts.size)
    _pass_at_k(trials.flatten(), counts.flatten(), draws.flatten(), flat)
    out[...] = flat.reshape(counts.shape)
    return out[()]


def pass_at_k_curve(n: ArrayLike, c: ArrayLike, ks: ArrayLike) -> PassCurve:
    """pass@k of every problem at every k, and the mean over problems.

    Args:
        n: scalar or [Q], samples of each problem.
        c: [Q], right ones.
        ks: [K], each between 1 and the smallest n.

    Returns:
        ks, mean [K], per problem [Q, K].

    Raises:
        InputError: as ``pass_at_k``.

    Examples:
        >>> pass_at_k_curve(4, [0, 1, 4], [1, 2, 4]).mean.round(3).tolist()
        [0.417, 0.5, 0.667]
    """
    counts, trials = checked_counts(np.atleast_1d(np.asarray(c)), n)
    budgets = np.atleast_1d(whole_numbers(ks, "k"))
    if counts.size == 0:
        raise InputError("there are no problems; pass@k needs at least one")
    pairs, where = np.unique(trials * (int(trials.max()) + 1) + counts, return_inverse=True)
    distinct_n, distinct_c = np.divmod(pairs, int(trials.max()) + 1)
    table = pass_at_k(distinct_n[:, None], distinct_c[:, None], budgets)
    per_problem = table[where.ravel()]
    return PassCurve(budgets, per_problem.mean(axis=0), per_problem)


def pass_at_k_interval(
    n: ArrayLike,
    c: ArrayLike,
    k: ArrayLike,
    method: str = "clopper-pearson",
    *,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    nested: bool = False,
    groups: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Interval of pass@k: of each problem, or of the mean over problems.

        clopper-pearson: both ends of the interval of p go through 1 - (1-p)^k
        bootstrap:       percentiles of the mean over problems drawn with replacement

    Args:
        n: scalar or [Q], samples.
        c: [Q], right ones.
        k: scalar for "clopper-pearson"; scalar or [K] for "bootstrap".
        method: "clopper-pearson" gives [Q] ends, one interval a problem; "bootstrap" gives the
            benchmark's ends, scalar or [K].
        confidence: in (0, 1).
        n_resamples: of the bootstrap.
        nested: also draw c ~ Binomial(n, c/n) of each drawn problem. That counts the noise of the
            samples twice (the spread over problems holds it already), so it errs to the wide side.
        groups: [Q], problems that belong together are drawn together; not with ``nested``.
        seed: of the bootstrap.

    Returns:
        Low and high.

    Raises:
        InputError: for bad counts, an unknown method, or ``nested`` with ``groups``.

    Examples:
        >>> low, high = pass_at_k_interval(10, [0, 5], 4)
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.0, 0.563], [0.771, 0.999])

    Source: arXiv 2507.14843, study; the intervals are ours.
    """
    if method == "clopper-pearson":
        pass_at_k(n, c, k)  # the same refusals as the estimate
        low, high = clopper_pearson(c, n, confidence)
        draws = np.asarray(k)
        # log1p and expm1 keep tiny rates; high = 1 gives -inf and so exactly 1.
        with np.errstate(divide="ignore"):
            return -np.expm1(draws * np.log1p(-low)), -np.expm1(draws * np.log1p(-high))
    if method != "bootstrap":
        raise InputError(
            f"method is {method!r}; expected 'clopper-pearson' (each problem) or 'bootstrap' (mean)"
        )
    rng = np.random.default_rng(seed)
    curve = pass_at_k_curve(n, c, k)
    if nested and groups is not None:
        raise InputError("nested=True draws problems one by one; leave groups out")
    if nested:
        low, high = _nested_ends(n, c, curve.ks, confidence, n_resamples=n_resamples, rng=rng)
    else:
        found = cluster_bootstrap(
            curve.per_problem,
            groups=groups,
            rng=rng,
            n_resamples=n_resamples,
            confidence=confidence,
        )
        low, high = found.low, found.high
    return (low, high) if np.ndim(k) else (low[0], high[0])


def pass_at_k_difference(
    n: ArrayLike,
    c_base: ArrayLike,
    c_new: ArrayLike,
    ks: ArrayLike,
    *,
    n_new: ArrayLike | None = None,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> BootstrapInterval:
    """pass@k of a new model less that of the base, paired: both see the same resampled problems.

    Args:
        n: samples of the base on each problem.
        c_base: [Q] right ones of the base.
        c_new: [Q] right ones of the new model, problems in the same order.
        ks: [K].
        n_new: samples of the new model; None means ``n``.
        confidence: in (0, 1).
        n_resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        Arrays [K]: difference and ends.

    Examples:
        >>> found = pass_at_k_difference(8, [1, 2, 4, 4], [2, 4, 5, 8], [1])
        >>> float(found.value[0]), bool(found.low[0] > 0)
        (0.25, True)
    """
    base = pass_at_k_curve(n, c_base, ks).per_problem
    new = pass_at_k_curve(n if n_new is None else n_new, c_new, ks).per_problem
    if base.shape != new.shape:
        raise InputError(
            f"the base has {len(base)} problems and the new model {len(new)}; match them by id "
            f"first (match_problems)"
        )
    return cluster_bootstrap(
        new - base,
        rng=np.random.default_rng(seed),
        n_resamples=n_resamples,
        confidence=confidence,
    )


def crossing_k(
    curve_base: PassCurve | Mapping[int, float], curve_new: PassCurve | Mapping[int, float]
) -> float | None:
    """Budget at which the base overtakes the new model, interpolated in log k.

    Args:
        curve_base: pass@k of the base, from ``pass_at_k_curve`` or {k: value}.
        curve_new: of the new model, at the same k.

    Returns:
        The first k at which the lead of the new model becomes 0 and then turns; None if the new
        model never leads, or leads to the end.

    Raises:
        InputError: if the two have different k.

    Examples:
        >>> round(crossing_k({1: 0.4, 4: 0.8, 16: 1.0}, {1: 0.7, 4: 0.8, 16: 0.9}), 3)
        4.0
    """
    ks, base = _points(curve_base)
    ks_new, new = _points(curve_new)
    if not np.array_equal(ks, ks_new):
        raise InputError(
            f"the curves have different k ({ks.tolist()} and {ks_new.tolist()}); use one list"
        )
    lead = new - base
    ahead = np.flatnonzero(lead > 0)
    if len(ahead) == 0:
        return None
    behind = np.flatnonzero((lead < 0) & (np.arange(len(ks)) > ahead[0]))
    if len(behind) == 0:
        return None
    j = int(behind[0])
    i = int(np.flatnonzero(lead[:j] > 0)[-1])  # last lead before; zeros between belong to the flip
    if j - i > 1:
        return float(ks[i + 1])
    share = lead[i] / (lead[i] - lead[j])
    return float(np.exp(np.log(ks[i]) + share * np.log(ks[j] / ks[i])))


def _nested_ends(
    n: ArrayLike,
    c: ArrayLike,
    ks: NDArray[np.int64],
    confidence: float,
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    counts, trials = checked_counts(np.atleast_1d(np.asarray(c)), n)
    q = len(counts)
    rows = max(1, (1 << 19) // q)
    means = np.empty((n_resamples, len(ks)))
    for start in range(0, n_resamples, rows):
        picked = rng.integers(0, q, size=(min(rows, n_resamples - start), q))
        drawn = rng.binomial(trials[picked], counts[picked] / trials[picked])
        values = pass_at_k_curve(trials[picked].ravel(), drawn.ravel(), ks).per_problem
        means[start : start + len(picked)] = values.reshape(len(picked), q, -1).mean(axis=1)
    low, high, _ = percentile_interval(means, confidence)
    return low, high


def _points(curve: PassCurve | Mapping[int, float]) -> tuple[NDArray[np.int64], Floats]:
    if isinstance(curve, PassCurve):
        return curve.ks, curve.mean
    ks = sorted(curve)
    return np.array(ks, dtype=np.int64), np.array([curve[k] for k in ks], dtype=np.float64)
