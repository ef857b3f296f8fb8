"""Log-ratios of two Gaussian mixtures at many samples, compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from entropilot.information._numeric import exp64

TILE = 256  # samples at a time: a few rows of them stay in the first-level cache
FLOOR = -700.0  # exp of less is 0 in float64


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def step_kl_moments(
    data: Any, noise: Any, log_w: Any, means: Any, stds: Any, before: Any, after: Any
) -> Any:
    """Sum, and sum of squares, of q/p - 1 - ln(q/p) over samples of p.

    Args:
        data: [D, N] clean samples.
        noise: [D, N] standard normal.
        log_w: [K] logarithms of the weights.
        means: [K, D] of the clean mixture.
        stds: [K].
        before: [S] alpha_bar of p.
        after: [S] alpha_bar of q.

    Returns:
        [S, 2].
    """
    d, n = data.shape
    out = np.zeros((len(before), 2))
    x = np.empty((d, TILE))
    term = np.empty((len(log_w), TILE))
    log_p = np.empty(TILE)
    log_q = np.empty(TILE)
    for i in range(len(before)):
        a, b = math.sqrt(before[i]), math.sqrt(1 - before[i])
        first, second = 0.0, 0.0
        for start in range(0, n, TILE):
            size = min(TILE, n - start)
            for j in range(d):
                for r in range(size):
                    x[j, r] = a * data[j, start + r] + b * noise[j, start + r]
            _log_density(x, size, log_w, means, stds, before[i], term, log_p)
            _log_density(x, size, log_w, means, stds, after[i], term, log_q)
            for r in range(size):
                ratio = log_q[r] - log_p[r]
                value = _above_tangent(ratio)
                first += value
                second += value * value
        out[i, 0], out[i, 1] = first, second
    return out


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _log_density(
    x: Any, size: int, log_w: Any, means: Any, stds: Any, alpha_bar: float, term: Any, out: Any
) -> None:
    d, root = x.shape[0], math.sqrt(alpha_bar)
    for r in range(size):
        out[r] = -np.inf
    for k in range(len(log_w)):
        v = alpha_bar * stds[k] ** 2 + 1 - alpha_bar
        constant, scale = log_w[k] - 0.5 * d * math.log(2 * math.pi * v), -0.5 / v
        row = term[k]
        for r in range(size):
            row[r] = 0.0
        for j in range(d):
            centre = root * means[k, j]
            for r in range(size):
                gap = x[j, r] - centre
                row[r] += gap * gap
        for r in range(size):
            row[r] = constant + scale * row[r]
            out[r] = row[r] if row[r] > out[r] else out[r]
    for r in range(size):
        total = 0.0
        for k in range(len(log_w)):
            gap = term[k, r] - out[r]
            total += exp64(gap if gap > FLOOR else FLOOR)
        out[r] += math.log(total)


@njit(cache=True, nogil=True, error_model="numpy")
def _above_tangent(y: float) -> float:
    """exp(y) - 1 - y, by its series near 0."""
    if abs(y) < 1e-3:
        return y * y * (0.5 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120))))
    return math.expm1(y) - y
