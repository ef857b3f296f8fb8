"""Compiled passes of the zone model: neighbours of each fish by pairs or by cells, and its turn.

Each fish sums over its neighbours alone and in one order, so that the result is the same, bit for
bit, however the fish are shared out among threads.

Legend: N fish, m cells along an edge. Arrays of the school are [3, N], one row a coordinate.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sums = tuple[float, float, float, float, float, float, float, float, float, int, int]

TINY: Final = 1e-10  # lengths below are none, as in the reference code
_TINY_SQUARED: Final = 1e-20
#: Entries of the constants that the kernels read.
BOX, R2_REPULSION, R2_ORIENTATION, R2_ATTRACTION, REAR, SEES_ALL, WEIGHT, TURN, NOISE = range(9)


@njit(cache=True, nogil=True)
def _gather(
    x: Floats, u: Floats, a: int, b: int, px: float, py: float, pz: float,
    ux: float, uy: float, uz: float, half: float, sees: bool, c: Floats, s: Sums,
) -> Sums:  # fmt: skip
    """Add fish ``a`` to ``b`` to the sums of one fish at p that swims along u.

    ``half`` is half the box where the nearest image has to be found, infinite where p was shifted
    to it. Squares are compared before a root is taken.
    """
    rx, ry, rz, ox, oy, oz, ax, ay, az, n_near, n_other = s
    box, r2r, r2o, r2a, rear = c[0], c[1], c[2], c[3], c[4]
    for j in range(a, b):
        dx, dy, dz = x[0, j] - px, x[1, j] - py, x[2, j] - pz
        dx = dx - box if dx > half else (dx + box if dx < -half else dx)
        dy = dy - box if dy > half else (dy + box if dy < -half else dy)
        dz = dz - box if dz > half else (dz + box if dz < -half else dz)
        d2 = dx * dx + dy * dy + dz * dz
        if d2 >= r2a or d2 < _TINY_SQUARED:
            continue
        d = np.sqrt(d2)
        if not sees and ux * dx + uy * dy + uz * dz <= rear * d:
            continue
        if d2 >= r2o:
            ax += dx / d
            ay += dy / d
            az += dz / d
            n_other += 1
        elif d2 >= r2r:
            vx, vy, vz = u[0, j], u[1, j], u[2, j]
            if vx != 0.0 or vy != 0.0 or vz != 0.0:
                ox += vx
                oy += vy
                oz += vz
                n_other += 1
        else:
            rx -= dx / d
            ry -= dy / d
            rz -= dz / d
            n_near += 1
    return rx, ry, rz, ox, oy, oz, ax, ay, az, n_near, n_other


@njit(cache=True, nogil=True)
def _turned(
    ux: float, uy: float, uz: float, s: Sums, c: Floats, z: Floats, i: int
) -> tuple[float, float, float]:
    """New heading: the wish of the nearest zone, a bounded step towards it, and noise."""
    rx, ry, rz, ox, oy, oz, ax, ay, az, n_near, n_other = s
    weight, most, sigma = c[6], c[7], c[8]
    tx, ty, tz = ux, uy, uz
    if n_near > 0:
        tx, ty, tz = rx, ry, rz
    elif n_other > 0:
        tx, ty, tz = weight * ox + ax, weight * oy + ay, weight * oz + az
    norm = np.sqrt(tx * tx + ty * ty + tz * tz)
    qx, qy, qz = ux, uy, uz
    if norm >= TINY and (n_near > 0 or n_other > 0):
        tx, ty, tz = tx / norm, ty / norm, tz / norm
        theta = np.arccos(min(1.0, max(-1.0, ux * tx + uy * ty + uz * tz)))
        if theta >= TINY:
            if theta <= most:
                qx, qy, qz = tx, ty, tz
            else:
                share = most / theta
                wx = ux * (1 - share) + tx * share
                wy = uy * (1 - share) + ty * share
                wz = uz * (1 - share) + tz * share
                norm = np.sqrt(wx * wx + wy * wy + wz * wz)
                if norm > TINY:
                    qx, qy, qz = wx / norm, wy / norm, wz / norm
    if sigma > 0:
        wx, wy, wz = qx + sigma * z[i, 0], qy + sigma * z[i, 1], qz + sigma * z[i, 2]
        norm = np.sqrt(wx * wx + wy * wy + wz * wz)
        if norm > TINY:
            qx, qy, qz = wx / norm, wy / norm, wz / norm
    return qx, qy, qz


@njit(cache=True, nogil=True)
def steer_by_pairs(
    x: Floats, u: Floats, z: Floats, c: Floats, lo: int, hi: int, out: Floats
) -> None:
    """New headings of the fish ``lo`` to ``hi``, each against all others.

    Args:
        x: [3, N] places in [0, box).
        u: [3, N] unit headings, zero for a fish at rest.
        z: [N, 3] standard normals; not read when the noise is 0.
        c: constants, in the order of the names above.
        lo: first of the fish that are turned.
        hi: one after the last.
        out: [N, 3] receives the headings.
    """
    half, n = 0.5 * c[0], x.shape[1]
    for i in range(lo, hi):
        ux, uy, uz = u[0, i], u[1, i], u[2, i]
        sees = c[5] > 0 or (ux == 0.0 and uy == 0.0 and uz == 0.0)
        s = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)
        s = _gather(x, u, 0, n, x[0, i], x[1, i], x[2, i], ux, uy, uz, half, sees, c, s)
        out[i, 0], out[i, 1], out[i, 2] = _turned(ux, uy, uz, s, c, z, i)


@njit(cache=True, nogil=True)
def sort_into_cells(
    x: Floats, u: Floats, box: float, m: int, start: Ints, order: Ints, xs: Floats, us: Floats
) -> None:
    """Counting sort into m^3 cells; fish of a cell keep their order.

    Args:
        x: [N, 3] places in [0, box).
        u: [N, 3] headings.
        box: edge of the cube.
        m: cells along an edge.
        start: [m^3 + 1] receives where each cell begins.
        order: [N] receives the fish in cell order.
        xs: [3, N] receives the places in that order.
        us: [3, N] receives the headings.
    """
    n, scale = x.shape[0], m / box
    cell = np.empty(n, np.int64)
    start[:] = 0
    for i in range(n):
        cx = min(m - 1, int(x[i, 0] * scale))
        cy = min(m - 1, int(x[i, 1] * scale))
        cz = min(m - 1, int(x[i, 2] * scale))
        cell[i] = (cx * m + cy) * m + cz
        start[cell[i] + 1] += 1
    for k in range(m * m * m):
        start[k + 1] += start[k]
    place = start[:-1].copy()
    for i in range(n):
        at = place[cell[i]]
        place[cell[i]] += 1
        order[at] = i
        for k in range(3):
            xs[k, at] = x[i, k]
            us[k, at] = u[i, k]


@njit(cache=True, nogil=True)
def steer_by_cells(
    x: Floats, u: Floats, z: Floats, c: Floats, m: int, start: Ints, order: Ints,
    lo: int, hi: int, out: Floats,
) -> None:  # fmt: skip
    """New headings of the fish in the columns of cells ``lo`` to ``hi``, of m^2.

    Three cells in a row are one stretch of memory. Places are shifted once a stretch, and no
    nearest image is looked for.

    Args:
        x: [3, N] places in cell order.
        u: [3, N] headings in cell order.
        z: [N, 3] standard normals in the order of the fish.
        c: constants.
        m: cells along an edge, at least 3; a cell is no smaller than the attraction radius.
        start: as from ``sort_into_cells``.
        order: likewise.
        lo: first of the columns that are turned.
        hi: one after the last.
        out: [N, 3] receives the headings in the order of the fish.
    """
    box = c[0]
    for column in range(lo, hi):
        cx, cy = column // m, column % m
        for cz in range(m):
            home = column * m + cz
            for i in range(start[home], start[home + 1]):
                ux, uy, uz = u[0, i], u[1, i], u[2, i]
                sees = c[5] > 0 or (ux == 0.0 and uy == 0.0 and uz == 0.0)
                s = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0)
                for ix in range(cx - 1, cx + 2):
                    kx, px = ix, x[0, i]
                    if ix < 0:
                        kx, px = m - 1, px + box
                    elif ix == m:
                        kx, px = 0, px - box
                    for iy in range(cy - 1, cy + 2):
                        ky, py = iy, x[1, i]
                        if iy < 0:
                            ky, py = m - 1, py + box
                        elif iy == m:
                            ky, py = 0, py - box
                        base, pz = (kx * m + ky) * m, x[2, i]
                        a, b = start[base + max(0, cz - 1)], start[base + min(m, cz + 2)]
                        s = _gather(x, u, a, b, px, py, pz, ux, uy, uz, np.inf, sees, c, s)
                        if cz == 0:
                            a, b = start[base + m - 1], start[base + m]
                            s = _gather(
                                x, u, a, b, px, py, pz + box, ux, uy, uz, np.inf, sees, c, s
                            )
                        elif cz == m - 1:
                            a, b = start[base], start[base + 1]
                            s = _gather(
                                x, u, a, b, px, py, pz - box, ux, uy, uz, np.inf, sees, c, s
                            )
                k = order[i]
                out[k, 0], out[k, 1], out[k, 2] = _turned(ux, uy, uz, s, c, z, k)


@njit(cache=True, nogil=True)
def swim(x: Floats, u: Floats, way: float, box: float) -> Floats:
    """Places [N, 3] after a step of length ``way`` along u, in [0, box)."""
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        for k in range(3):
            y = x[i, k] + way * u[i, k]
            if y >= box:
                y = y - box if y < 2 * box else y % box
            elif y < 0:
                y = y + box if y >= -box else y % box
            out[i, k] = y if y < box else 0.0  # a tiny negative place wraps to the box itself
    return out


@njit(cache=True, nogil=True)
def nearest_distances(x: Floats, box: float, k: int) -> Floats:
    """Distances [N, k] to the k nearest others, ascending; ``box`` 0 for none.

    Each fish against all: faster than a tree below about a thousand fish.
    """
    n = x.shape[0]
    half = 0.5 * box if box > 0 else np.inf
    found = np.full((n, k), np.inf)
    for i in range(n):
        row = found[i]
        for j in range(n):
            if j == i:
                continue
            d2 = 0.0
            for axis in range(3):
                d = abs(x[j, axis] - x[i, axis])
                if d > half:
                    d = box - d
                d2 += d * d
            if d2 < row[k - 1]:
                at = k - 1
                while at > 0 and row[at - 1] > d2:
                    row[at] = row[at - 1]
                    at -= 1
                row[at] = d2
    made: Floats = np.sqrt(found)
    return made


@njit(cache=True, nogil=True)
def add_to_histogram(values: Any, skip: int, edges: Floats, counts: Ints) -> None:
    """Count cosines, moved to [0, 1], of a block of rows of the matrix of all pairs.

    Row r counts from column ``skip + r``. Bins are numpy's: left-closed, the last one closed.
    """
    n_bins = counts.size
    for r in range(values.shape[0]):
        for j in range(skip + r, values.shape[1]):
            y = (min(1.0, max(-1.0, values[r, j])) + 1.0) / 2.0
            k = min(n_bins - 1, int(y * n_bins))
            if y < edges[k]:
                k -= 1
            elif k < n_bins - 1 and y >= edges[k + 1]:
                k += 1
            counts[k] += 1
