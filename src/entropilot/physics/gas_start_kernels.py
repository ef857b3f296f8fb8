"""Compiled search for discs that touch: the closest pair, and random places without overlap."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, inline="always")
def cell_along(place, length, cells):  # type: ignore[no-untyped-def]
    """The cell of a coordinate; one that rounding put outside belongs to the outermost.

    Examples:
        >>> cell_along(0.5, 1.0, 4), cell_along(1.0, 1.0, 4), cell_along(-1e-17, 1.0, 4)
        (2, 3, 0)
    """
    return min(max(np.int64(place / length * cells), 0), cells - 1)


@njit(cache=True)
def closest_pair(x, radius, length, periodic, cells_x, cells_y):  # type: ignore[no-untyped-def]
    """The pair with the smallest gap among discs in neighbouring cells: i, j, gap."""
    head = np.full(cells_x * cells_y, -1, np.int64)
    following = np.full(len(x), -1, np.int64)
    least, one, other = np.inf, -1, -1
    for i in range(len(x)):
        cx = cell_along(x[i, 0], length[0], cells_x)
        cy = cell_along(x[i, 1], length[1], cells_y)
        for py in range(cy - 1, cy + 2):
            for px in range(cx - 1, cx + 2):
                qx, qy = px, py
                if px < 0 or px >= cells_x:
                    if not periodic[0]:
                        continue
                    qx = px % cells_x
                if py < 0 or py >= cells_y:
                    if not periodic[1]:
                        continue
                    qy = py % cells_y
                j = head[qy * cells_x + qx]
                while j >= 0:
                    dx = x[j, 0] - x[i, 0]
                    dy = x[j, 1] - x[i, 1]
                    if periodic[0]:
                        dx -= length[0] * np.rint(dx / length[0])
                    if periodic[1]:
                        dy -= length[1] * np.rint(dy / length[1])
                    gap = np.sqrt(dx * dx + dy * dy) - radius[i] - radius[j]
                    if gap < least:
                        least, one, other = gap, j, i
                    j = following[j]
        cell = cy * cells_x + cx
        following[i] = head[cell]
        head[cell] = i
    return one, other, least


@njit(cache=True)
def insert_at_random(rng, n, radius, length, periodic, cells_x, cells_y, tries):  # type: ignore[no-untyped-def]
    """Place discs one after another where they touch none; fewer than n when it got stuck."""
    x = np.empty((n, 2))
    head = np.full(cells_x * cells_y, -1, np.int64)
    following = np.full(n, -1, np.int64)
    least = 4.0 * radius * radius
    low_x = 0.0 if periodic[0] else radius
    low_y = 0.0 if periodic[1] else radius
    done = 0
    while done < n and tries > 0:
        tries -= 1
        a = low_x + rng.random() * (length[0] - 2 * low_x)
        b = low_y + rng.random() * (length[1] - 2 * low_y)
        cx = cell_along(a, length[0], cells_x)
        cy = cell_along(b, length[1], cells_y)
        free = True
        for py in range(cy - 1, cy + 2):
            for px in range(cx - 1, cx + 2):
                if not periodic[0] and (px < 0 or px >= cells_x):
                    continue
                if not periodic[1] and (py < 0 or py >= cells_y):
                    continue
                j = head[(py % cells_y) * cells_x + px % cells_x]
                while j >= 0 and free:
                    dx = x[j, 0] - a
                    dy = x[j, 1] - b
                    if periodic[0]:
                        dx -= length[0] * np.rint(dx / length[0])
                    if periodic[1]:
                        dy -= length[1] * np.rint(dy / length[1])
                    free = dx * dx + dy * dy > least
                    j = following[j]
        if free:
            x[done, 0] = a
            x[done, 1] = b
            following[done] = head[cy * cells_x + cx]
            head[cy * cells_x + cx] = done
            done += 1
    return x[:done]
