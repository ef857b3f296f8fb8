"""Bootstrap of a plain mean without storing weights: draw, add, forget.

The general bootstrap hands whole rows of weights to a function of the user's. A mean needs none of
that: each resample is a sum over drawn places, made in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


def resampled_means(
    values: NDArray[np.float64], n_resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of ``n_resamples`` samples drawn with replacement, each as large as ``values``.

    Args:
        values: [n] numbers, 1 <= n < 2^32.
        n_resamples: R.
        rng: gives the seed of the draws, 256 bits.

    Returns:
        [R].

    Examples:
        >>> means = resampled_means(np.array([0.0, 1.0]), 1000, np.random.default_rng(0))
        >>> sorted(set(means.tolist()))
        [0.0, 0.5, 1.0]
    """
    means = np.empty(n_resamples)
    state = rng.integers(0, 1 << 64, size=4, dtype=np.uint64)
    _draw_means(np.ascontiguousarray(values, dtype=np.float64), state, means)
    return means


@njit(cache=True, nogil=True)
def _draw_means(values: NDArray[Any], state: NDArray[Any], means: NDArray[Any]) -> None:
    # xoshiro256++ (Blackman and Vigna 2019); each output gives two 32-bit draws, made exactly
    # uniform below n by Lemire's multiply, shift and reject (2019).
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    low_half, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    n = np.uint64(len(values))
    reject = (np.uint64(1) << half) % n
    for r in range(len(means)):
        total = 0.0
        left = len(values)
        while left > 0:
            word = s0 + s3
            word = ((word << np.uint64(23)) | (word >> np.uint64(41))) + s0
            shifted = s1 << np.uint64(17)
            s2 ^= s0
            s3 ^= s1
            s1 ^= s2
            s0 ^= s3
            s2 ^= shifted
            s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
            first = (word & low_half) * n
            second = (word >> half) * n
            if (first & low_half) >= reject:
                total += values[first >> half]
                left -= 1
            if left > 0 and (second & low_half) >= reject:
                total += values[second >> half]
                left -= 1
        means[r] = total / len(values)
