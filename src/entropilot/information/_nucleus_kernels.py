"""Compiled search of the nucleus: the fewest most likely outcomes that hold a given mass.

No row is sorted. Outcomes near the maximum are gathered (blocks without one are skipped after their
maximum is known, and the distance grows until the mass is there), then a selection by weight, a
quickselect that counts mass in place of elements, finds the outcome at which the mass is reached.

A nucleus is written as ``(threshold, last)``: outcome j belongs to it where x_j > threshold, or
x_j == threshold and j <= last. Of equal outcomes the first ones belong.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.information._numeric import TILE, exponential
from entropilot.information._statistics_kernels import largest_of, widen

Array = NDArray[Any]

#: Rows of the result of :func:`nucleus_kernel`.
ENTROPY, SIZE, LOG_MASS, THRESHOLD, LAST = range(5)
N_NUCLEUS: Final = 5

_FIRST_DISTANCE: Final = 4.0  # nats below the maximum; doubles until the mass is there


@njit(cache=True, nogil=True)
def _gather(
    flat: Array, start: int, n: int, bits: int, limit: Any, tile: Array, values: Array
) -> int:
    """Copy the outcomes at or above the limit to ``values``; how many there are."""
    count = 0
    for j in range(0, n, TILE):
        width = min(TILE, n - j)
        widen(flat, start + j, width, bits, tile)
        if largest_of(tile, width) < limit:
            continue
        for i in range(width):  # without a branch: what is too small is written over
            values[count] = tile[i]
            count += tile[i] >= limit
    return count


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _mass(
    values: Array, first: int, last: int, top: Any, inverse_temperature: Any, floor: Any
) -> float:
    """Sum of exp(z) over values[first:last], without the normalisation."""
    zero = values.dtype.type(0.0)
    total = 0.0
    for block in range(first, last, TILE):
        part = values[block : min(block + TILE, last)]
        mass = zero
        for i in range(part.size):
            z = (part[i] - top) * inverse_temperature
            e = exponential(z if z > floor else floor)
            mass += e if z > floor else zero
        total += mass
    return total


@njit(cache=True, nogil=True)
def _partition(values: Array, first: int, last: int) -> tuple[int, int]:
    """Order values[first:last] as above, equal to and below a pivot; the two cuts."""
    a, b, c = values[first], values[(first + last) // 2], values[last - 1]
    pivot = max(min(a, b), min(max(a, b), c))
    above, i, below = first, first, last
    while i < below:
        x = values[i]
        if x > pivot:
            values[i] = values[above]
            values[above] = x
            above += 1
            i += 1
        elif x < pivot:
            below -= 1
            values[i] = values[below]
            values[below] = x
        else:
            i += 1
    return above, below


@njit(cache=True, nogil=True)
def _select(
    values: Array, count: int, top: Any, inverse_temperature: Any, floor: Any, wanted: float,
    rank: int,
) -> tuple[Any, int, int, bool]:  # fmt: skip
    """Where the outcomes, most likely first, reach the wanted mass or the rank.

    Returns the threshold, how many lie above it, how many equal ones belong, and whether the mass
    was reached. ``values`` is put in a different order: those above the threshold come first.
    """
    first, last, gathered = 0, count, 0.0
    while True:
        above, below = _partition(values, first, last)
        mass = _mass(values, first, above, top, inverse_temperature, floor)
        if above > first and (gathered + mass >= wanted or above >= rank):
            last = above
            continue
        each = _mass(values, above, above + 1, top, inverse_temperature, floor)
        equal = below - above
        lacking = wanted - gathered - mass
        needed = equal if lacking > equal * each else max(int(np.ceil(lacking / each)), 1)
        needed = min(needed, rank - above)
        reached = gathered + mass + needed * each >= wanted
        if reached or above + needed >= rank or below == last:
            return values[above], above, needed, reached
        gathered += mass + equal * each
        first = below


@njit(cache=True, nogil=True)
def _last_equal(
    flat: Array, start: int, n: int, bits: int, threshold: Any, needed: int, tile: Array,
) -> int:  # fmt: skip
    """Position of the needed-th outcome that equals the threshold; -1 for none."""
    if needed == 0:
        return -1
    for j in range(0, n, TILE):
        width = min(TILE, n - j)
        widen(flat, start + j, width, bits, tile)
        if largest_of(tile, width) < threshold:
            continue
        for i in range(width):
            if tile[i] == threshold:
                needed -= 1
                if needed == 0:
                    return j + i
    return n - 1


@njit(cache=True, nogil=True)
def nucleus_row(
    flat: Array, start: int, n: int, bits: int, inverse_temperature: Any, floor: Any,
    top: float, log_sum: float, p: float, slack: float, inclusive: bool, max_rank: int,
    tile: Array, values: Array, result: Array, row: int,
) -> None:  # fmt: skip
    """Column ``row`` of the result, by the maximum and ln sum exp(z) of the whole row."""
    real = tile.dtype.type
    peak = real(top)
    whole = np.exp(log_sum)
    wanted = p * whole * (1.0 - slack) if p < 1.0 else np.inf
    distance = _FIRST_DISTANCE if p < 1.0 else -float(floor)
    while True:
        limit = peak - real(distance) / inverse_temperature
        count = _gather(flat, start, n, bits, limit, tile, values)
        mass = _mass(values, 0, count, peak, inverse_temperature, floor)
        if mass >= wanted or count >= max_rank or distance >= -floor:
            break
        distance *= 2.0
    threshold, above, equal, reached = _select(
        values, count, peak, inverse_temperature, floor, wanted, max_rank
    )
    if reached and not inclusive:
        equal -= 1
    size = above + equal
    result[SIZE, row] = size
    result[THRESHOLD, row] = threshold
    result[LAST, row] = _last_equal(flat, start, n, bits, threshold, equal, tile)
    s = t = 0.0
    for i in range(size):  # those equal to the threshold follow those above it
        z = (values[i] - peak) * inverse_temperature
        if z > floor:
            e = np.float64(exponential(z))
            s += e
            t += e * z
    result[ENTROPY, row] = max(np.log(s) - t / s, 0.0) if size > 0 else 0.0
    result[LOG_MASS, row] = np.log(s) - log_sum if size > 0 else -np.inf


@njit(cache=True, nogil=True)
def nucleus_kernel(
    flat: Array, starts: Array, n: int, bits: int, inverse_temperature: Any, floor: Any,
    tops: Array, log_sums: Array, p: float, slack: float, inclusive: bool, max_rank: int,
    tile: Array, result: Array,
) -> None:  # fmt: skip
    """Fill result [5, N] with entropy, size, ln mass, threshold and last equal outcome of the rows.

    ``tops`` and ``log_sums`` [N] are the maxima and ln sum exp(z) of the one-pass statistics.
    """
    values = np.empty(n + 1, tile.dtype)
    for i in range(starts.size):
        nucleus_row(
            flat, starts[i], n, bits, inverse_temperature, floor, tops[i], log_sums[i], p, slack,
            inclusive, max_rank, tile, values, result, i,
        )  # fmt: skip
