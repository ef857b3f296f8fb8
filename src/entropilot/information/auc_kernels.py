"""Kernels of the area under the ROC curve: sort once, then one pass for each set of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.information.intervals import CHUNK, Floats


def sorted_ties(s: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Ascending order, and True at the last of each run of equal scores in that order.

    Args:
        s: [n] scores without nan.

    Examples:
        >>> order, tie_end = sorted_ties(np.array([2.0, 1.0, 1.0]))
        >>> order.tolist(), tie_end.tolist()
        ([1, 2, 0], [False, True, True])
    """
    order = np.argsort(s, kind="stable")
    tie_end = np.ones(len(s), dtype=np.bool_)
    tie_end[:-1] = s[order][1:] != s[order][:-1]
    return order, tie_end


@njit(cache=True, nogil=True)
def weighted_auc(
    wrong: NDArray[Any], tie_end: NDArray[Any], weight: NDArray[Any], group: NDArray[Any]
) -> float:
    """AUC of weighted items in ascending order of score; nan when one side has no weight.

    Args:
        wrong: [n] bool, in ascending order of score.
        tie_end: [n] bool, from ``sorted_ties``.
        weight: [G] weight of each group.
        group: [n] group number of each item.

    Returns:
        In [0, 1], or nan.

    Examples:
        >>> yes = np.array([True, True])
        >>> weighted_auc(np.array([False, True]), yes, np.ones(1), np.zeros(2, dtype=np.int64))
        1.0
    """
    right_below, right_here, wrong_here, area, total_wrong = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(wrong)):
        w = weight[group[i]]
        if wrong[i]:
            wrong_here += w
        else:
            right_here += w
        if tie_end[i]:
            area += wrong_here * (right_below + 0.5 * right_here)
            total_wrong += wrong_here
            right_below += right_here
            right_here = 0.0
            wrong_here = 0.0
    pairs = total_wrong * right_below
    return area / pairs if pairs > 0 else np.nan


@njit(cache=True, nogil=True)
def _auc_of_draws(
    wrong: NDArray[Any],
    tie_end: NDArray[Any],
    group: NDArray[Any],
    draws: NDArray[Any],
    out: NDArray[Any],
) -> None:
    weight = np.zeros(draws.shape[1])
    for r in range(draws.shape[0]):
        weight[:] = 0.0
        for i in range(draws.shape[1]):
            weight[draws[r, i]] += 1.0
        out[r] = weighted_auc(wrong, tie_end, weight, group)


def resampled_auc(
    wrong: NDArray[np.bool_],
    tie_end: NDArray[np.bool_],
    group: NDArray[np.int64],
    n_groups: int,
    n_resamples: int,
    *,
    rng: np.random.Generator,
) -> Floats:
    """AUC on bootstrap resamples of groups: one pass over the sorted items each, no [R, n] table.

    Args:
        wrong: [n] bool, in ascending order of score.
        tie_end: [n] bool, from ``sorted_ties``.
        group: [n] group number of each item, 0 .. G-1.
        n_groups: G.
        n_resamples: R.
        rng: source of randomness.

    Returns:
        [R]; nan for a resample in which all labels are equal.

    Examples:
        >>> wrong, ends, group = np.array([False, True]), np.array([True, True]), np.array([0, 1])
        >>> found = resampled_auc(wrong, ends, group, 2, 50, rng=np.random.default_rng(0))
        >>> float(np.nanmin(found))
        1.0
    """
    rows = max(1, CHUNK // n_groups)
    kind = np.uint16 if n_groups <= 1 << 16 else np.uint32
    parts = []
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        draws = rng.integers(0, n_groups, size=(size, n_groups), dtype=kind)
        out = np.empty(size)
        _auc_of_draws(wrong, tie_end, group, draws, out)
        parts.append(out)
    return np.concatenate(parts)
