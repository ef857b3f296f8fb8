"""Sequences of different length side by side with little padding.

Legend: B sequences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def length_buckets(lengths: ArrayLike, per_pass: int) -> list[NDArray[np.int64]]:
    """Split sequences into groups of similar length so that the work is least.

        work = sum over groups of (longest * number of sequences + per_pass)

    The split is the best of all: sorted by length, a group is a run of neighbours.

    Args:
        lengths: [B] tokens, >= 0.
        per_pass: what a pass costs besides its tokens, in tokens; 0 makes a group of each length.

    Returns:
        Positions of each group, longest sequences first; equal lengths keep their order.

    Examples:
        >>> [group.tolist() for group in length_buckets([2, 9, 1, 8], 5)]
        [[1, 3], [0, 2]]
        >>> len(length_buckets([2, 9, 1, 8], 100))
        1
    """
    tokens = np.asarray(lengths, np.int64)
    if not tokens.size:
        return []
    order = np.argsort(-tokens, kind="stable")
    distinct, first = np.unique(-tokens[order], return_index=True)
    longest = -distinct  # falling
    bounds = np.append(first, tokens.size)  # group of lengths i..j-1: sequences bounds[i]:bounds[j]
    best = np.zeros(len(bounds))
    start = np.zeros(len(bounds), np.int64)
    for j in range(1, len(bounds)):
        work = best[:j] + longest[:j] * (bounds[j] - bounds[:j]) + per_pass
        start[j] = np.argmin(work)
        best[j] = work[start[j]]
    groups = []
    j = len(bounds) - 1
    while j:
        i = start[j]
        groups.append(order[bounds[i] : bounds[j]])
        j = i
    return groups[::-1]
