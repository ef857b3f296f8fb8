"""Compiled one-pass statistics of rows of logits; see ``statistics.py``.

A row is read in tiles that stay in the first-level cache: the tile is widened to float32 (float64
stays), its maximum found, and three sums over exp are formed relative to the running maximum. Sums
of a tile are in float32 lanes, sums of a row in float64, so that 300 000 outcomes keep 1e-5 nats.
"""
# ruff: noqa: ARG001 - kernels take their arrays by position; an overload fixes the names

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from entropilot.information._numeric import (
    LN2,
    LN2_32,
    LOG2E_32,
    TILE,
    bfloat16_bits,
    exp2_32,
    exponential,
    float16_bits,
    log_one_plus,
    prefetch,
    tile_maximum,
)

Array = NDArray[Any]


#: Rows of the result of :func:`statistics_kernel`.
MAX, LOG_SUM, MEAN, VARIANCE, LOGPROB, JSD, SUM_P2, SUM_P2_LOGP = range(8)
N_RESULTS: Final = 8

#: Running sums of a row: the maximum, and the sums of e, e z, e z^2, e^2, e^2 z relative to it.
TOP, S, T, U, S2, T2 = range(6)
N_SUMS: Final = 6

#: What the bits of a uint16 array mean.
BFLOAT16, FLOAT16 = 1, 2


def widen(flat: Array, start: int, n: int, bits: int, tile: Array) -> None:
    """Copy n entries from ``start`` on into ``tile``, bits of 16-bit numbers as what they mean.

    A name for the compiler alone: inside kernels the overload below stands in its place.
    """
    raise NotImplementedError


@overload(widen, strict=False)
def _widen_for(flat: Any, start: Any, n: Any, bits: Any, tile: Any) -> Any:
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
def largest_of(tile: Array, n: int) -> float:
    """Maximum of tile[:n]; nan is passed over. The tile is filled up with -inf."""
    for j in range(n, TILE):
        tile[j] = -np.inf
    top: float = tile_maximum(tile)
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


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _tile_sums_and_squares(
    tile: Array, n: int, top: Any, inverse_temperature: Any, floor: Any
) -> tuple[float, float, float, float, float]:
    """The sums of :func:`_tile_sums`, and those of e^2 and e^2 z."""
    zero = tile.dtype.type(0.0)
    half = floor * tile.dtype.type(0.5)  # below, e^2 is no normal number and adds nothing
    s = t = u = s2 = t2 = zero
    for j in range(n):
        z = (tile[j] - top) * inverse_temperature
        z = floor if z < floor else z  # nan stays nan
        e = exponential(z)
        e = zero if z <= floor else e
        s += e
        ez = e * z
        t += ez
        u += ez * z
        w = zero if z <= half else e
        s2 += w * w
        t2 += w * ez
    return s, t, u, s2, t2


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _narrow_tile_sums(
    tile: Array, n: int, top: Any, inverse_temperature: Any, floor: Any
) -> tuple[float, float, float]:
    """The sums of :func:`_tile_sums` for logits that had 16 bits, in fewer instructions.

    With y = z log2(e) and e = 2^y: an error of 6e-8 |z| more, far below the rounding to 16 bits.
    """
    zero = tile.dtype.type(0.0)
    scale, lowest = inverse_temperature * LOG2E_32, floor * LOG2E_32
    s = t = u = zero
    for j in range(n):
        y = (tile[j] - top) * scale
        y = lowest if y < lowest else y  # nan stays nan
        e = zero if y <= lowest else exp2_32(y)
        s += e
        ey = e * y
        t += ey
        u += ey * y
    return s, t * LN2_32, u * (LN2_32 * LN2_32)


@njit(cache=True, nogil=True)
def extend_sums(
    flat: Array, start: int, n: int, bits: int, inverse_temperature: Any, floor: Any, tile: Array,
    squares: bool, sums: Array,
) -> bool:  # fmt: skip
    """Add flat[start : start + n] to the running sums of a row; False where there is nan.

    A row starts from ``sums = [-inf, 0, 0, 0, 0, 0]``.
    """
    top = tile.dtype.type(sums[TOP])
    s, t, u, s2, t2 = sums[S], sums[T], sums[U], sums[S2], sums[T2]
    for j in range(0, n, TILE):
        width = min(TILE, n - j)
        widen(flat, start + j, width, bits, tile)
        for line in range(0, TILE, 64 // flat.itemsize):  # what comes next arrives meanwhile
            prefetch(flat, start + j + 2 * TILE + line)
        largest = largest_of(tile, width)
        if largest == -np.inf:  # nothing possible in this tile; but nan must not pass unseen
            for i in range(width):
                if np.isnan(tile[i]):
                    return False
            continue
        if largest > top:
            if s > 0.0:
                d = (np.float64(top) - np.float64(largest)) * np.float64(inverse_temperature)
                scale = math.exp(d)
                u = scale * (u + d * (2.0 * t + d * s)) if scale > 0.0 else 0.0
                t = scale * (t + d * s) if scale > 0.0 else 0.0
                s = scale * s
                scale *= scale
                t2 = scale * (t2 + d * s2) if scale > 0.0 else 0.0
                s2 = scale * s2
            top = largest
        if squares:
            ds, dt, du, ds2, dt2 = _tile_sums_and_squares(
                tile, width, top, inverse_temperature, floor
            )
            s2 += ds2
            t2 += dt2
        elif bits == 0:
            ds, dt, du = _tile_sums(tile, width, top, inverse_temperature, floor)
        else:
            ds, dt, du = _narrow_tile_sums(tile, width, top, inverse_temperature, floor)
        s += ds
        t += dt
        u += du
    sums[TOP], sums[S], sums[T], sums[U], sums[S2], sums[T2] = top, s, t, u, s2, t2
    return not np.isnan(s)


@njit(cache=True, nogil=True)
def finish_row(sums: Array, result: Array, i: int) -> None:
    """Column i of the result from the sums of a whole row; nan for a row without an outcome."""
    s = sums[S]
    if not s > 0.0:  # all -inf, or nan somewhere
        for k in (MAX, LOG_SUM, MEAN, VARIANCE, SUM_P2, SUM_P2_LOGP):
            result[k, i] = np.nan
        return
    mean = sums[T] / s
    log_sum = math.log(s)
    result[MAX, i] = sums[TOP]
    result[LOG_SUM, i] = log_sum
    result[MEAN, i] = mean
    result[VARIANCE, i] = max(sums[U] / s - mean * mean, 0.0)
    result[SUM_P2, i] = sums[S2] / (s * s)
    result[SUM_P2_LOGP, i] = (sums[T2] - log_sum * sums[S2]) / (s * s)


@njit(cache=True, nogil=True)
def start_sums(sums: Array) -> None:
    """The sums of an empty row."""
    sums[:] = 0.0
    sums[TOP] = -np.inf


@njit(cache=True, nogil=True)
def _row(
    flat: Array, start: int, n: int, bits: int, inverse_temperature: Any, floor: Any, tile: Array,
    squares: bool, sums: Array, result: Array, i: int,
) -> None:  # fmt: skip
    """Column i of the result: maximum, ln sum exp(z), mean and variance of z, squares."""
    start_sums(sums)
    if not extend_sums(flat, start, n, bits, inverse_temperature, floor, tile, squares, sums):
        sums[S] = np.nan
    finish_row(sums, result, i)


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
        widen(flat_a, start_a + j, width, bits_a, tile_a)
        widen(flat_b, start_b + j, width, bits_b, tile_b)
        total += _tile_jsd(
            tile_a, tile_b, width, real(top_a), real(log_a), real(top_b), real(log_b),
            inverse_temperature, floor, real(LN2),
        )  # fmt: skip
    jsd: float = min(max(0.5 * total, 0.0), LN2)
    return jsd


@njit(cache=True, nogil=True)
def statistics_kernel(
    flat: Array, starts: Array, follows: Array, targets: Array, n: int, bits: int,
    inverse_temperature: Any, floor: Any, tile: Array, squares: bool, result: Array,
) -> None:  # fmt: skip
    """Fill result [8, N]: see the names of its rows above.

    Row i is flat[starts[i] : starts[i] + n]. Its divergence is to row i - 1 where follows[i], read
    while that row is still in the second-level cache, and nan elsewhere. An empty ``targets`` asks
    for no log-prob, an empty ``follows`` for no divergence. ``tile`` [2, TILE] gives the precision.
    """
    sums = np.empty(N_SUMS)
    for i in range(starts.size):
        start = starts[i]
        _row(
            flat, start, n, bits, inverse_temperature, floor, tile[0], squares, sums,
            result, i,
        )  # fmt: skip
        top, log_sum = result[MAX, i], result[LOG_SUM, i]
        if targets.size > 0:
            widen(flat, start + targets[i], 1, bits, tile[0])
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
    sums = np.empty(N_SUMS)
    row_a, row_b = np.empty((N_RESULTS, 1)), np.empty((N_RESULTS, 1))
    for i in range(starts_a.size):
        _row(
            flat_a, starts_a[i], n, bits_a, inverse_temperature, floor, tile[0], False, sums,
            row_a, 0,
        )  # fmt: skip
        _row(
            flat_b, starts_b[i], n, bits_b, inverse_temperature, floor, tile[0], False, sums,
            row_b, 0,
        )  # fmt: skip
        top_a, log_a = row_a[MAX, 0], row_a[LOG_SUM, 0]
        top_b, log_b = row_b[MAX, 0], row_b[LOG_SUM, 0]
        if np.isnan(log_a) or np.isnan(log_b):
            return i
        result[i] = _row_jsd(
            flat_a, starts_a[i], top_a, log_a, bits_a, flat_b, starts_b[i], top_b, log_b, bits_b,
            n, inverse_temperature, floor, tile[0], tile[1],
        )  # fmt: skip
    return -1
