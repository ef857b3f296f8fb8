"""Kernels of the diffusion operator: exponentials of distances, row sums, scaling, in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.information._numeric import exp32, exp64

_LEAST = -700.0  # exp of it is 1e-304


@njit(cache=True, nogil=True)
def gaussian_lower(products: NDArray[Any], squares: NDArray[Any], scale: float) -> NDArray[Any]:
    """Turn the lower triangle of X X' into exp(-d^2 scale), and return the row sums.

    Args:
        products: [N, N]; the lower triangle is read and overwritten.
        squares: [N] squared norms.
        scale: 1 / (2 sigma^2).
    """
    n = len(squares)
    sums = np.ones(n)
    for i in range(n):
        row = products[i]
        own = squares[i]
        for j in range(i):
            x = (2.0 * row[j] - own - squares[j]) * scale
            row[j] = exp64(min(max(x, _LEAST), 0.0))
        total = 0.0
        for j in range(i):
            total += row[j]
            sums[j] += row[j]
        sums[i] += total
        row[i] = 1.0
    return sums


@njit(cache=True, nogil=True)
def scale_lower(matrix: NDArray[Any], factor: NDArray[Any]) -> None:
    """matrix[i, j] *= factor[i] factor[j] in the lower triangle."""
    for i in range(len(factor)):
        row = matrix[i]
        own = factor[i]
        for j in range(i + 1):
            row[j] *= own * factor[j]


@njit(cache=True, nogil=True)
def lower_row_sums(matrix: NDArray[Any]) -> NDArray[Any]:
    """Row sums of the symmetric matrix with this lower triangle."""
    n = len(matrix)
    sums = np.zeros(n)
    for i in range(n):
        row = matrix[i]
        for j in range(i):
            sums[j] += row[j]
        total = 0.0
        for j in range(i + 1):
            total += row[j]
        sums[i] += total
    return sums


@njit(cache=True, nogil=True)
def gaussian_tile(
    products: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], scale: Any
) -> None:
    """Turn a float32 tile of X X' into exp(-d^2 scale), in place.

    Args:
        products: [I, J].
        rows: [I] squared norms.
        columns: [J] squared norms.
        scale: 1 / (2 sigma^2), float32.
    """
    two, low, high = np.float32(2), np.float32(-87), np.float32(0)
    for i in range(len(rows)):
        row = products[i]
        own = rows[i]
        for j in range(len(columns)):
            x = (two * row[j] - own - columns[j]) * scale
            row[j] = exp32(min(max(x, low), high))
