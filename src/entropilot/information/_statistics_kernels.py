"""Compiled one-pass statistics of rows of logits; see ``statistics.py``.

A row is read in tiles that stay in the first-level cache: the tile is widened to float32 (float64
stays), its maximum found, and three sums over exp are formed relative to the running maximum. Sums
of a tile are in float32 lanes, sums of a row in float64, so that 300 000 outcomes keep 1e-5 nats.
"""
# ruff: noqa: PLR0917, ARG001 - kernels take their arrays by position; an overload fixes the names

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from entropilot.information._numeric import (
    LN2,
    bfloat16_bits,
    exponential,
    float16_bits,
    log_one_plus,
    prefetch,
)

Array = NDArray[Any]

TILE: Final = 1024  # 4 kB of float32
_LANES: Final = 64  # divides TILE; independent maxima, so that the loop vectorises without fastmath

#: Rows of the result of :func:`statistics_kernel`.
MAX, LOG_SUM, MEAN, VARIANCE, LOGPROB, JSD = range(6)

#: What the bits of a uint16 array mean.
BFLOAT16, FLOAT16 = 1, 2


def _widen(flat: Array, start: int, n: int, bits: int, tile: Array) -> None:
    raise NotImplementedError


@overload(_widen, strict=False)
def _widen_overload(flat: Any, start: Any, n: Any, bits: Any, tile: Any) -> Any:
    if flat.dtype == types.uint16:

        def from_bits(flat, start, n, bits, tile):  # type: ignore[no-untyped-def]
            source = flat[start : start + n]
            if bits == BFLOAT16:
                for j in range(n):
                    tile[j] = bfloat16_bits(source[j])
            else:
                for j in range(n):
                    tile[j] = float16_bits(source[j])

        return from_bits

    def copy(flat, start, n, bits, tile):  # type: ignore[no-untyped-def]
        source = flat[start : start + n]
        for j in range(n):
            tile[j] = source[j]

    return copy


@njit(cache=True, nogil=True)
def _largest(tile: Array, n: int, lanes: Array) -> float:
    """Maximum of tile[:n]; nan is passed over. The tile is filled up with -inf."""
    padded = (n + _LANES - 1) // _LANES * _LANES
    for j in range(n, padded):
        tile[j] = -np.inf
    for lane in range(_LANES):
        lanes[lane] = -np.inf
    for block in range(0, padded, _LANES):
        part = tile[block : block + _LANES]
        for lane in range(_LANES):
            x = part[lane]
            lanes[lane] = x if x > lanes[lane] else lanes[lane]
    top: float = lanes[0]
    for lane in range(1, _LANES):
        top = max(top, lanes[lane])
    return top


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _tile_sums(
    tile: Array, n: int, top: Any, inverse_temperature: Any, floor: Any
) -> tuple[float, float, float]:
    """Sums of e, e z and e z^2 with e = exp(z), z = (x - top) / T, raised to the floor."""
    zero = tile.dtype.type(0.0)
    s = t = u = zero
    for j in range(n):
        z = (tile[j] - top) * inverse_temperature
        z = floor if z < floor else z  # nan stays nan
        e = exponential(z)
        e = zero if z <= floor else e
        s += e
        ez = e * z
        t += ez
        u += ez * z
    return s, t, u


@njit(cache=True, nogil=True)
def _row(
    flat: Array, start: int, n: int, bits: int, inverse_temperature: Any, floor: Any, tile: Array,
    lanes: Array,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Maximum, ln sum exp(z), mean and variance of z under the softmax; nan for a bad row."""
    top = tile.dtype.type(-np.inf)
    s = t = u = 0.0
    for j in range(0, n, TILE):
        width = min(TILE, n - j)
        _widen(flat, start + j, width, bits, tile)
        for line in range(0, TILE, 16):  # the next tile arrives while this one is computed
            prefetch(flat, start + j + TILE + line)
        largest = _largest(tile, width, lanes)
        if largest == -np.inf:  # nothing possible in this tile; but nan must not pass unseen
            for i in range(width):
                if np.isnan(tile[i]):
                    return np.nan, np.nan, np.nan, np.nan
            continue
        if largest > top:
            if s > 0.0:
                d = (np.float64(top) - np.float64(largest)) * np.float64(inverse_temperature)
                scale = math.exp(d)
                u = scale * (u + d * (2.0 * t + d * s)) if scale > 0.0 else 0.0
                t = scale * (t + d * s) if scale > 0.0 else 0.0
                s = scale * s
            top = largest
        ds, dt, du = _tile_sums(tile, width, top, inverse_temperature, floor)
        s += ds
        t += dt
        u += du
    if not s > 0.0:  # all -inf, or nan somewhere
        return np.nan, np.nan, np.nan, np.nan
    mean = t / s
    return top, math.log(s), mean, max(u / s - mean * mean, 0.0)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _tile_jsd(
    a: Array, b: Array, n: int, top_a: Any, log_a: Any, top_b: Any, log_b: Any,
    inverse_temperature: Any, floor: Any, ln2: Any,
) -> float:  # fmt: skip
    """Twice the tile's share of the divergence.

    With L the larger of the two log-probabilities, d their distance and e = exp(-d), a pair adds
    exp(L) ((1 + e) (ln 2 - ln(1 + e)) - e d): this is logaddexp, and loses no small probability.
    """
    total: float = a.dtype.type(0.0)
    one = a.dtype.type(1.0)
    for j in range(n):
        p = (a[j] - top_a) * inverse_temperature - log_a
        q = (b[j] - top_b) * inverse_temperature - log_b
        p = floor if p < floor else p
        q = floor if q < floor else q
        larger = p if p > q else q
        d = p - q if p > q else q - p
        d = d if d < -floor else -floor
        e = exponential(-d)
        total += exponential(larger) * ((one + e) * (ln2 - log_one_plus(e)) - e * d)
    return total


@njit(cache=True, nogil=True)
def _row_jsd(
    flat_a: Array, start_a: int, top_a: float, log_a: float, bits_a: int,
    flat_b: Array, start_b: int, top_b: float, log_b: float, bits_b: int,
    n: int, inverse_temperature: Any, floor: Any, tile_a: Array, tile_b: Array,
) -> float:  # fmt: skip
    real = tile_a.dtype.type
    total = 0.0
    for j in range(0, n, TILE):
        width = min(TILE, n - j)
        _widen(flat_a, start_a + j, width, bits_a, tile_a)
        _widen(flat_b, start_b + j, width, bits_b, tile_b)
        total += _tile_jsd(
            tile_a, tile_b, width, real(top_a), real(log_a), real(top_b), real(log_b),
            inverse_temperature, floor, real(LN2),
        )  # fmt: skip
    jsd: float = min(max(0.5 * total, 0.0), LN2)
    return jsd


@njit(cache=True, nogil=True)
def statistics_kernel(
    flat: Array, starts: Array, follows: Array, targets: Array, n: int, bits: int,
    inverse_temperature: Any, floor: Any, tile: Array, result: Array,
) -> None:  # fmt: skip
    """Fill result [6, N]: max, ln sum exp(z), mean and variance of z, log-prob, divergence.

    Row i is flat[starts[i] : starts[i] + n]. Its divergence is to row i - 1 where follows[i], read
    while that row is still in the second-level cache, and nan elsewhere. An empty ``targets`` asks
    for no log-prob, an empty ``follows`` for no divergence. ``tile`` [2, TILE] gives the precision.
    """
    lanes = np.empty(_LANES, tile.dtype)
    for i in range(starts.size):
        start = starts[i]
        top, log_sum, mean, variance = _row(
            flat, start, n, bits, inverse_temperature, floor, tile[0], lanes
        )
        result[MAX, i] = top
        result[LOG_SUM, i] = log_sum
        result[MEAN, i] = mean
        result[VARIANCE, i] = variance
        if targets.size > 0:
            _widen(flat, start + targets[i], 1, bits, tile[0])
            z = (np.float64(tile[0, 0]) - top) * np.float64(inverse_temperature)
            result[LOGPROB, i] = z - log_sum
        if follows.size > 0:
            if follows[i]:
                result[JSD, i] = _row_jsd(
                    flat, starts[i - 1], result[MAX, i - 1], result[LOG_SUM, i - 1], bits,
                    flat, start, top, log_sum, bits,
                    n, inverse_temperature, floor, tile[0], tile[1],
                )  # fmt: skip
            else:
                result[JSD, i] = np.nan


@njit(cache=True, nogil=True)
def jsd_kernel(
    flat_a: Array, starts_a: Array, bits_a: int, flat_b: Array, starts_b: Array, bits_b: int,
    n: int, inverse_temperature: Any, floor: Any, tile: Array, result: Array,
) -> int:  # fmt: skip
    """Fill result [N] with the divergence of row i of a and of b; the first bad row, or -1."""
    lanes = np.empty(_LANES, tile.dtype)
    for i in range(starts_a.size):
        top_a, log_a, _, _ = _row(
            flat_a, starts_a[i], n, bits_a, inverse_temperature, floor, tile[0], lanes
        )
        top_b, log_b, _, _ = _row(
            flat_b, starts_b[i], n, bits_b, inverse_temperature, floor, tile[0], lanes
        )
        if np.isnan(log_a) or np.isnan(log_b):
            return i
        result[i] = _row_jsd(
            flat_a, starts_a[i], top_a, log_a, bits_a, flat_b, starts_b[i], top_b, log_b, bits_b,
            n, inverse_temperature, floor, tile[0], tile[1],
        )  # fmt: skip
    return -1
