"""Compiled search for the zero of an exponential sum next to 0; see ``convergence_radius``.

    F(t) = sum_k exp(z_k + a_k t),    t complex

Slopes come centred and with a spread of pi, so that no zero has a modulus below 1. F is real on
the real line, so zeros come in conjugate pairs, and the upper half of a circle tells the whole.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

UNDECIDED: Final = -1  # a zero lies on the circle, as far as float64 can tell
_NOISE: Final = 1e-13  # |F| below this share of sum |terms| has a phase of rounding errors
_TURN: Final = 1.0  # rad: a longer change of phase between two points is looked at more closely
_DEPTH: Final = 24
_FARTHEST: Final = 1e5  # in units of the bound; logits 3e5 nats apart


@njit(cache=True, nogil=True)
def _value(t: complex, z: Array, a: Array) -> tuple[complex, complex, float]:
    """F, F' and sum |terms|, all divided by the largest |term|."""
    top = -np.inf
    for k in range(z.size):
        top = max(top, z[k] + a[k] * t.real)
    f, slope, total = 0j, 0j, 0.0
    for k in range(z.size):
        size = math.exp(z[k] + a[k] * t.real - top)
        if size < 1e-300:
            continue
        angle = a[k] * t.imag
        term = complex(size * math.cos(angle), size * math.sin(angle))
        f += term
        slope += a[k] * term
        total += size
    return f, slope, total


@njit(cache=True, nogil=True)
def _turning(
    centre: complex, radius: float, first: float, last: float, z: Array, a: Array
) -> float:
    """Change of arg F along an arc, rad; nan where it can't be told."""
    turned = 0.0
    stack = np.empty((_DEPTH + 2, 2))
    values = np.empty(_DEPTH + 2, np.complex128)
    largest = np.abs(a).max()
    n = 12 + int(2 * largest * radius * (last - first))
    step = (last - first) / n
    here = first
    f, _, total = _value(centre + radius * complex(math.cos(here), math.sin(here)), z, a)
    if abs(f) < _NOISE * total:
        return np.nan
    for i in range(n):
        depth = 0
        stack[0, 0] = last if i == n - 1 else first + (i + 1) * step
        stack[0, 1] = 0.0  # is the value at this end known?
        while depth >= 0:
            end = stack[depth, 0]
            if stack[depth, 1] == 0.0:
                at = centre + radius * complex(math.cos(end), math.sin(end))
                g, _, total = _value(at, z, a)
                if abs(g) < _NOISE * total:
                    return np.nan
                values[depth] = g / abs(g)
                stack[depth, 1] = 1.0
            ratio = values[depth] * (f / abs(f)).conjugate()
            change = math.atan2(ratio.imag, ratio.real)
            if abs(change) <= _TURN:
                turned += change
                f = values[depth]
                here = end
                depth -= 1
            elif depth == _DEPTH:
                return np.nan
            else:
                depth += 1
                stack[depth, 0] = 0.5 * (here + end)
                stack[depth, 1] = 0.0
    return turned


@njit(cache=True, nogil=True)
def zeros_inside(radius: float, z: Array, a: Array) -> int:
    """Zeros with a modulus below ``radius``, by the argument principle; UNDECIDED near one."""
    turned = _turning(0j, radius, 0.0, math.pi, z, a)
    if math.isnan(turned):
        return UNDECIDED
    pairs: int = round(turned / (2 * math.pi))
    return 2 * pairs


@njit(cache=True, nogil=True)
def _settled(t: complex, z: Array, a: Array) -> complex:
    """The zero that Newton's method finds from ``t``; nan where it finds none."""
    for _ in range(60):
        f, slope, _total = _value(t, z, a)
        if slope == 0:
            return complex(np.nan, 0.0)
        move = f / slope
        size = abs(move)
        if size > 0.5 * abs(t):  # a leap would end at another zero
            move *= 0.5 * abs(t) / size
        t -= move
        if size < 1e-15 * abs(t):
            break
    f, slope, total = _value(t, z, a)
    if not abs(f) < 1e-9 * total:
        return complex(np.nan, 0.0)
    if 1e-14 * total <= 1e-9 * abs(slope) * abs(t):
        return t
    # F is flat here: a multiple zero, of which Newton knows half the digits or fewer. The mean of
    # the zeros inside a small circle is an integral over that circle, where F is not small.
    radius, n = 0.08 * abs(t), 256
    count, first = 0j, 0j
    for j in range(n):
        angle = 2 * math.pi * j / n
        away = radius * complex(math.cos(angle), math.sin(angle))
        f, slope, _total = _value(t + away, z, a)
        if f == 0:
            return t
        share = away * slope / f / n
        count += share
        first += away * share
    return t + first / count if count.real > 0.5 else t


@njit(cache=True, nogil=True)
def _nearest_in_ring(low: float, high: float, z: Array, a: Array) -> float:
    """Least modulus of the zeros that Newton finds from the ring's dips of |F|; inf for none."""
    best = np.inf
    radius = math.sqrt(low * high)
    n = 48 + int(4 * np.abs(a).max() * radius)
    size = np.empty(n + 1)
    for j in range(n + 1):
        angle = math.pi * j / n
        f, _, total = _value(radius * complex(math.cos(angle), math.sin(angle)), z, a)
        size[j] = abs(f) / total
    for j in range(1, n):
        if size[j] <= size[j - 1] and size[j] <= size[j + 1]:
            angle = math.pi * j / n
            t = _settled(radius * complex(math.cos(angle), math.sin(angle)), z, a)
            if not math.isnan(t.real) and 0.98 * low <= abs(t) <= 1.02 * high:
                best = min(best, abs(t))
    return best


@njit(cache=True, nogil=True)
def _bracket(z: Array, a: Array, high: float, width: float) -> tuple[float, float]:
    """A thin ring with no zero inside its inner circle and one inside its outer circle."""
    low = 1 - 1e-9
    while low * (1 + width) < high:
        middle = math.sqrt(low * high)
        n = zeros_inside(middle, z, a)
        if n == UNDECIDED:
            middle *= 0.995
            n = zeros_inside(middle, z, a)
        if n == UNDECIDED:
            break
        if n == 0:
            low = middle
        else:
            high = middle
    return low, high


@njit(cache=True, nogil=True)
def _ring_of_the_nearest(z: Array, a: Array) -> float:
    """Radius of a circle that holds a zero; inf where none is near."""
    low, high = 1 - 1e-9, 1.25
    while high < _FARTHEST:
        n = zeros_inside(high, z, a)
        if n > 0:
            return high
        low = high
        high = low * (1.25 if n == 0 else 1.01)
    return np.inf


@njit(cache=True, nogil=True)
def _proven(found: float, z: Array, a: Array) -> bool:
    """No zero just inside ``found``, and at least a pair just outside."""
    for width in (0.005, 0.02, 0.05):  # wider for a multiple zero, around which F is all rounding
        inner = 0 if found * (1 - width) < 1 else zeros_inside(found * (1 - width), z, a)
        outer = zeros_inside(found * (1 + width), z, a)
        if UNDECIDED not in (inner, outer):
            return inner == 0 and outer >= 2
    return False


@njit(cache=True, nogil=True)
def nearest_zeros(z: Array, a: Array, certify: bool) -> tuple[Array, Array]:
    """[N] least moduli in units of the bound, and whether each is proven.

    z, a: [N, K] float64 with every row of ``a`` centred and of spread pi. inf where no zero is
    within a hundred thousand bounds.
    """
    found = np.empty(z.shape[0])
    proven = np.zeros(z.shape[0], np.bool_)
    for i in range(z.shape[0]):
        high = _ring_of_the_nearest(z[i], a[i])
        found[i] = np.inf
        if high == np.inf:
            continue
        for attempt in range(8):
            low, high = _bracket(z[i], a[i], high, 0.04 / 2**attempt)
            found[i] = _nearest_in_ring(low, high, z[i], a[i])
            if found[i] == np.inf:
                found[i] = low  # the dip of a zero at the ring's edge was missed: a thinner ring
                continue
            if not certify:
                break
            proven[i] = _proven(found[i], z[i], a[i])
            if proven[i]:
                break
            high = min(high, found[i] * 1.01)
    return found, proven
