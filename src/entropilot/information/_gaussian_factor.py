"""Low-rank factor of a Gaussian kernel by pivoted Cholesky, without the matrix.

Legend: N points, D dimensions, r rank.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEFT: Final = 1e-12  # share of the trace that may be left out of an exact spectrum


def pivoted_cholesky(
    points: Floats, sigma: float, most: int, left: float, *, patient: bool = False
) -> tuple[Floats, Floats]:
    """Rows L with G ~ L'L, and what of the diagonal is left: the error is positive semidefinite.

    Args:
        points: [N, D].
        sigma: width.
        most: largest rank.
        left: stop where the sum of the rest is below.
        patient: go on to ``most`` even where the rank looks too small to reach ``left``.

    Returns:
        [r, N] factor and [N] rest of the diagonal; ``rest.sum()`` bounds the error's trace.

    Source: Harbrecht, Peters and Schneider 2012.
    """
    n = len(points)
    squares, scale = np.square(points).sum(1), 1 / (2 * sigma**2)
    factor, rest = np.empty((min(most, n), n)), np.ones(n)
    course = [float(n)]
    for r in range(len(factor)):
        pivot = int(rest.argmax())
        if rest[pivot] <= 0:
            return factor[:r], rest
        exponent = (2 * (points @ points[pivot]) - squares - squares[pivot]) * scale
        column = np.exp(np.minimum(exponent, 0))
        column -= factor[:r, pivot] @ factor[:r]
        column /= np.sqrt(rest[pivot])
        factor[r] = column
        rest -= column * column
        np.maximum(rest, 0, out=rest)
        rest[pivot] = 0
        course.append(float(rest.sum()))
        if course[-1] <= left:
            return factor[: r + 1], rest
        if not patient and r % 16 == 15 and _too_slow(course, most, left):
            return factor[: r + 1], rest
    return factor, rest


def _too_slow(course: list[float], most: int, left: float) -> bool:
    """Whether the trace, falling as it fell over the last half, misses the mark at ``most``."""
    r = len(course) - 1
    rate = (np.log(course[r // 2]) - np.log(course[r])) / (r - r // 2)
    return bool(np.log(course[r]) - rate * (most - r) > np.log(left))


def low_rank_factor(points: Floats, sigma: float) -> Floats | None:
    """Factor of a kernel whose rank, to the accuracy of an exact spectrum, is low; else None."""
    n = len(points)
    most = n // 5
    if n < 500:
        return None
    left = max(LEFT, n * 4e-16)
    factor, rest = pivoted_cholesky(points, sigma, most, left)
    return factor if rest.sum() <= left else None
