"""Compiled passes of gradient descent and perceptrons; see ``logistic_descent``.

One pass reads the signed samples Z once: four rows give their margins, their weights, and are added
to the direction while they are still in the cache. Two matrix-vector products would read Z twice.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

LOGISTIC: Final = 0  # theta += gamma sum w z / n
NORMALIZED: Final = 1  # theta += gamma sum w z / sum w
BATCH: Final = 2  # theta += sum_S z / n
NORMALIZED_BATCH: Final = 3  # theta += sum_S z / |S|

NEVER: Final = 0
AT_SEPARATION: Final = 1
AT_LOSS: Final = 2
AT_GRADIENT: Final = 3

LOWEST: Final = 0
WORST: Final = 1
RANDOM: Final = 2

FAST: Final = {"reassoc", "contract", "nsz"}  # a dot product may be summed in any order
_UNDERFLOW: Final = 600.0  # exp(-745) is 0 in float64; weights are shifted well before


@njit(cache=True, nogil=True, inline="always")
def _weight(margin: float, kind: int) -> float:
    if kind >= BATCH:
        return 1.0 if margin <= 0.0 else 0.0
    return 1.0 / (1.0 + math.exp(margin))


@njit(cache=True, nogil=True, fastmath=FAST)
def one_pass(
    z: Array, theta: Array, kind: int, margins: Array, direction: Array
) -> tuple[float, float]:
    """Fill margins [n] and direction [d] = sum_i w_i z_i; the least margin and sum of weights."""
    n, d = z.shape
    direction[:] = 0.0
    least, total = np.inf, 0.0
    whole = n - n % 4
    for i in range(0, whole, 4):
        a, b, c, e = z[i], z[i + 1], z[i + 2], z[i + 3]
        m0, m1, m2, m3 = 0.0, 0.0, 0.0, 0.0
        for j in range(d):
            t = theta[j]
            m0 += a[j] * t
            m1 += b[j] * t
            m2 += c[j] * t
            m3 += e[j] * t
        margins[i], margins[i + 1], margins[i + 2], margins[i + 3] = m0, m1, m2, m3
        least = min(least, m0, m1, m2, m3)
        w0, w1, w2, w3 = _weight(m0, kind), _weight(m1, kind), _weight(m2, kind), _weight(m3, kind)
        here = w0 + w1 + w2 + w3
        if here > 0.0:
            total += here
            for j in range(d):
                direction[j] += w0 * a[j] + w1 * b[j] + w2 * c[j] + w3 * e[j]
    for i in range(whole, n):
        row = z[i]
        m0 = 0.0
        for j in range(d):
            m0 += row[j] * theta[j]
        margins[i] = m0
        least = min(least, m0)
        w0 = _weight(m0, kind)
        total += w0
        for j in range(d):
            direction[j] += w0 * row[j]
    return least, total


@njit(cache=True, nogil=True)
def _shifted(z: Array, margins: Array, least: float, direction: Array) -> float:
    """As ``one_pass``, weights times exp(least): margins so large that all weights vanish."""
    direction[:] = 0.0
    total = 0.0
    for i in range(len(z)):
        w = math.exp(least - margins[i])
        total += w
        if w > 0.0:
            for j in range(z.shape[1]):
                direction[j] += w * z[i, j]
    return total


@njit(cache=True, nogil=True)
def _norm(v: Array) -> float:
    total = 0.0
    for x in v:
        total += x * x
    return math.sqrt(total)


@njit(cache=True, nogil=True)
def margin_measures(margins: Array, row: Array) -> None:
    """Fill loss, error rate, beta, least margin and mean binary entropy (columns 0, 2 to 5)."""
    n = len(margins)
    loss, wrong, weight, least, entropy = 0.0, 0, 0.0, np.inf, 0.0
    for m in margins:
        size = abs(m)
        tail = math.exp(-size)
        soft = math.log1p(tail)
        loss += soft + max(-m, 0.0)
        wrong += m <= 0.0
        weight += tail / (1.0 + tail) if m > 0.0 else 1.0 / (1.0 + tail)
        least = min(least, m)
        entropy += soft + size * tail / (1.0 + tail)  # symmetric, so no digits cancel
    row[0] = loss / n
    row[2] = wrong / n
    row[3] = n / weight if weight > 0.0 else np.inf
    row[4] = least
    row[5] = entropy / n


@njit(cache=True, nogil=True)
def descend(
    z: Array,
    theta: Array,
    step_size: float,
    kind: int,
    first: float,
    stop: int,
    tol: float,
    t: int,
    until: int,
    last: int,
    trace: Array,
    iterates: Array,
    margins: Array,
    direction: Array,
) -> tuple[int, bool]:
    """Update ``theta`` in place from update ``t``; the number of updates made, and whether to stop.

    Iterates t to until - 1 are looked at and updated; iterate ``last`` is only looked at. A trace
    of no rows and iterates of no rows are left alone.
    """
    n, d = z.shape
    start, row = t, np.empty(6)
    while t < until or t == last:
        least, total = one_pass(z, theta, kind, margins, direction)
        if len(trace) or stop >= AT_LOSS:
            margin_measures(margins, row)
            if kind >= BATCH:
                kept = direction.copy()
                one_pass(z, theta, LOGISTIC, margins, direction)
                row[1] = _norm(direction) / n
                direction[:] = kept
            else:
                row[1] = _norm(direction) / n
            if len(trace):
                trace[t - start] = row
        if len(iterates):
            iterates[t - start] = theta
        if stop == AT_SEPARATION and least > 0.0:
            return t, True
        if stop == AT_LOSS and row[0] <= tol:
            return t, True
        if stop == AT_GRADIENT and row[1] <= tol:
            return t, True
        if t == last:
            return t, True
        if kind == NORMALIZED and least > _UNDERFLOW:
            total = _shifted(z, margins, least, direction)
        share = n if kind in (LOGISTIC, BATCH) else total
        factor = step_size / share * (first if t == 0 else 1.0) if share > 0.0 else 0.0
        for j in range(d):
            theta[j] += factor * direction[j]
        t += 1
    return t, False


@njit(cache=True, nogil=True)
def one_by_one(
    z: Array, theta: Array, order: int, rng: Any, t: int, until: int, trace: Array, margins: Array
) -> tuple[int, bool]:
    """The perceptron: one misclassified sample an update."""
    n, d = z.shape
    start, scratch = t, np.empty(d)
    while True:
        chosen, wrong, least = -1, 0, np.inf
        for i in range(n):
            m = 0.0
            for j in range(d):
                m += z[i, j] * theta[j]
            margins[i] = m
            if m <= 0.0:
                wrong += 1
                if order == LOWEST:
                    chosen = i
                    break
                if order == WORST and m < least:
                    least, chosen = m, i
        if len(trace):
            one_pass(z, theta, LOGISTIC, margins, scratch)
            margin_measures(margins, trace[t - start])
            trace[t - start, 1] = _norm(scratch) / n
        if wrong == 0:
            return t, True
        if t >= until:
            return t, False
        if order == RANDOM:
            left = int(rng.random() * wrong)
            for i in range(n):
                if margins[i] <= 0.0:
                    if left == 0:
                        chosen = i
                        break
                    left -= 1
        for j in range(d):
            theta[j] += z[chosen, j]
        t += 1


@njit(cache=True, nogil=True)
def weigh_columns(margins: Array, peak: Array, least: Array, normalize: bool) -> None:
    """Margins [n, G] become weights (of mean 1/n or of sum 1); raises peak losses, sets least."""
    n, g = margins.shape
    loss, total = np.zeros(g), np.zeros(g)
    least[:] = np.inf
    for i in range(n):
        for k in range(g):
            least[k] = min(least[k], margins[i, k])
    for i in range(n):
        for k in range(g):
            m = margins[i, k]
            tail = math.exp(-abs(m))
            loss[k] += math.log1p(tail) + max(-m, 0.0)
            w = tail / (1.0 + tail) if m > 0.0 else 1.0 / (1.0 + tail)
            if normalize and least[k] > _UNDERFLOW:
                w = math.exp(least[k] - m)
            margins[i, k] = w
            total[k] += w
    for k in range(g):
        peak[k] = max(peak[k], loss[k] / n)
        share = total[k] if normalize else n
        for i in range(n):
            margins[i, k] /= share
