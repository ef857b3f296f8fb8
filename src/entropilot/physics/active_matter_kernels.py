"""Compiled motion of self-propelled discs: forces by pairs or by cells, and many steps at once.

Legend: N particles, d dimensions. ``half`` is half the box, infinite for an open plane. A pair that
lies on one point has no direction; its indices are handed back, and -1 means that none does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.kernel_cache import make_room_for_kernels

make_room_for_kernels(Path(__file__).parent)

from numba import njit  # noqa: E402

Floats = NDArray[np.float64]
Pair = tuple[int, int]

CELLS_FROM: Final = 500  # particles; below, looking at all pairs is as fast
#: Entries of the constants that the kernels read; ``BETA`` is 0 for the kinked force.
V0, STIFF, EPS, GAMMA, TRAP, HALF, CUT, REACH, BETA, NEAR, OBSTACLE = range(11)


@njit(cache=True, inline="always")
def _push(distance, reach, beta):  # type: ignore[no-untyped-def]
    """Size of the force and minus its slope, at a distance."""
    z = reach - distance
    if beta == 0.0:
        return (z, 1.0) if z > 0.0 else (0.0, 0.0)
    e = np.exp(-abs(beta * z))
    size = max(z, 0.0) + np.log1p(e) / beta
    return (size, 1.0 / (1.0 + e)) if z > 0.0 else (size, e / (1.0 + e))


@njit(cache=True, inline="always")
def _image(distance, half):  # type: ignore[no-untyped-def]
    if distance > half or distance < -half:
        return distance - 2.0 * half * np.rint(distance / (2.0 * half))
    return distance


@njit(cache=True, inline="always")
def _meet(x, i, j, c, force, contraction, near):  # type: ignore[no-untyped-def]
    """Add what a pair does to both; whether the two lie on one point."""
    d = x.shape[1]
    squared = 0.0
    for a in range(d):
        r = _image(x[i, a] - x[j, a], c[HALF])
        squared += r * r
    if squared > c[CUT] * c[CUT]:
        return False
    if squared == 0.0:
        return True
    distance = np.sqrt(squared)
    size, slope = _push(distance, c[REACH], c[BETA])
    for a in range(d):
        pull = size * _image(x[i, a] - x[j, a], c[HALF]) / distance
        force[i, a] += pull
        force[j, a] -= pull
    change = (d - 1) * size / distance - slope
    contraction[i] += change
    contraction[j] += change
    if distance < c[NEAR]:
        near[i] += 1
        near[j] += 1
    return False


@njit(cache=True, nogil=True)
def _by_cells(
    x: Floats, m: int, c: Floats, force: Floats, contraction: Floats, near: Floats
) -> Pair:
    """All pairs within the cut, found through ``m`` by ``m`` cells of a periodic square."""
    n = x.shape[0]
    cell = np.empty(n, np.int64)
    first = np.zeros(m * m + 1, np.int64)
    for i in range(n):
        column = min(m - 1, max(0, int((x[i, 0] + c[HALF]) / (2 * c[HALF]) * m)))
        row = min(m - 1, max(0, int((x[i, 1] + c[HALF]) / (2 * c[HALF]) * m)))
        cell[i] = row * m + column
        first[cell[i] + 1] += 1
    for k in range(m * m):
        first[k + 1] += first[k]
    at = first[:-1].copy()
    held = np.empty(n, np.int64)
    for i in range(n):
        held[at[cell[i]]] = i
        at[cell[i]] += 1
    for row in range(m):
        for column in range(m):
            k = row * m + column
            for p in range(first[k], first[k + 1]):
                i = held[p]
                for q in range(p + 1, first[k + 1]):
                    if _meet(x, i, held[q], c, force, contraction, near):
                        return i, held[q]
                for side in range(4):  # half of the cells around: every pair once
                    to = (row + (0 if side == 0 else 1)) % m
                    over = (column + (1 if side == 0 else side - 2)) % m
                    other = to * m + over
                    for q in range(first[other], first[other + 1]):
                        if _meet(x, i, held[q], c, force, contraction, near):
                            return i, held[q]
    return -1, -1


@njit(cache=True, nogil=True)
def pair_sums(x: Floats, c: Floats, force: Floats, contraction: Floats, near: Floats) -> Pair:
    """Force, its divergence by the particle's own place, and neighbours, of one configuration.

    Args:
        x: [N, d] places.
        c: the constants.
        force: [N, d] is overwritten; in units of the stiffness.
        contraction: [N] is overwritten.
        near: [N] is overwritten; others nearer than ``c[NEAR]``.

    Returns:
        Two particles on one point, or -1, -1.
    """
    n, d = x.shape
    force[:] = 0.0
    contraction[:] = 0.0
    near[:] = 0.0
    if c[STIFF] == 0.0:
        return -1, -1
    if c[OBSTACLE] > 0.0:
        for i in range(n):
            squared = 0.0
            for a in range(d):
                squared += x[i, a] * x[i, a]
            distance = max(np.sqrt(squared), 1e-300)
            if distance <= c[CUT]:
                size, slope = _push(distance, c[REACH], c[BETA])
                for a in range(d):
                    force[i, a] += size * x[i, a] / distance
                contraction[i] += (d - 1) * size / distance - slope
    m = int(min(2.0 * c[HALF] / c[CUT], 2.0 * np.sqrt(n))) if np.isfinite(c[HALF]) else 0
    if n >= CELLS_FROM and d == 2 and m >= 3:
        return _by_cells(x, m, c, force, contraction, near)  # type: ignore[no-any-return]
    for i in range(n):
        for j in range(i + 1, n):
            if _meet(x, i, j, c, force, contraction, near):
                return i, j
    return -1, -1


@njit(cache=True, nogil=True)
def roll(
    x: Floats, g: Floats, steps: int, dt: float, c: Floats, rng: np.random.Generator, heat: Floats
) -> tuple[int, int, int]:
    """Move every walker by some steps, in place, and add up the work of its drift.

    Euler-Maruyama for places, by the old propulsion; the exact Ornstein-Uhlenbeck step for g.

    Args:
        x: [walkers, N, d] places.
        g: [walkers, N, d] propulsions.
        steps: of each walker.
        dt: time step.
        c: the constants.
        rng: noise.
        heat: [walkers, N]; the sums of (b_old + b_new)/2 . dx are added.

    Returns:
        Walker and the two particles that came to lie on one point; -1 for none.
    """
    walkers, n, d = x.shape
    force, ahead = np.empty((n, d)), np.empty((n, d))
    contraction, near = np.empty(n), np.empty(n)
    keep = np.exp(-c[GAMMA] * dt)
    kick, shake = np.sqrt(1.0 - keep * keep), np.sqrt(2.0 * c[EPS] * dt)
    for w in range(walkers):
        i, j = pair_sums(x[w], c, force, contraction, near)
        if i >= 0:
            return w, i, j
        for i in range(n):
            for a in range(d):
                force[i, a] = c[V0] * g[w, i, a] + c[STIFF] * force[i, a] - c[TRAP] * x[w, i, a]
        for _ in range(steps):
            for i in range(n):
                for a in range(d):
                    move = force[i, a] * dt
                    if shake > 0.0:
                        move += shake * rng.standard_normal()
                    ahead[i, a] = move
                    place = x[w, i, a] + move
                    x[w, i, a] = _image(place, c[HALF])
                    heat[w, i] += 0.5 * force[i, a] * move
                    g[w, i, a] = keep * g[w, i, a] + kick * rng.standard_normal()
            i, j = pair_sums(x[w], c, force, contraction, near)
            if i >= 0:
                return w, i, j
            for i in range(n):
                for a in range(d):
                    drift = c[V0] * g[w, i, a] + c[STIFF] * force[i, a] - c[TRAP] * x[w, i, a]
                    force[i, a] = drift
                    heat[w, i] += 0.5 * drift * ahead[i, a]
    return -1, -1, -1
