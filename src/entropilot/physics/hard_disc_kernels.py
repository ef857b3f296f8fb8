"""Compiled event loop of hard discs: cells, one stored event a particle, a calendar queue.

Every particle carries one event, the earliest of its cell crossing, its wall hit and its next
collision; the partner that was predicted later has always checked the pair too. Positions are
moved when they are needed. The queue is a ring of short lists by time, so that putting in and
taking out cost the same at every number of discs. Records are one cache line each:

    real[i]  = x, y, vx, vy, time of that position, time of next event, of pair event, radius
    whole[i] = cell, next in cell, count of velocity changes, partner, partner's count,
               kind of event (0-3: side, 4: pair), bucket, next in bucket
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.physics.gas_start_kernels import cell_along

X, Y, VX, VY, AT, KEY, PAIR, RADIUS = range(8)
CELL, CELL_NEXT, COUNT, PARTNER, PARTNER_COUNT, KIND, BUCKET, QUEUE_NEXT = range(8)
COLLISIONS, CROSSINGS, WALL_HITS, STALE = range(4)

Real = NDArray[np.float64]
Whole = NDArray[np.int64]


@njit(cache=True, inline="always")
def _contact(dx, dy, wx, wy, reach):  # type: ignore[no-untyped-def]
    b = dx * wx + dy * wy
    if b >= 0.0:
        return np.inf
    c = dx * dx + dy * dy - reach * reach
    if c <= 0.0:  # touching up to rounding, and approaching
        return 0.0
    ww = wx * wx + wy * wy
    disc = b * b - ww * c
    if disc <= 0.0:
        return np.inf
    return c / (-b + np.sqrt(disc))  # the root that does not cancel


@njit(cache=True)
def pair_contact_time(dx: float, dy: float, wx: float, wy: float, reach: float) -> float:
    """Time until two discs touch, from their relative place and velocity; inf for never.

    Examples:
        >>> pair_contact_time(2.0, 0.0, -1.0, 0.0, 1.0)
        1.0
    """
    return _contact(dx, dy, wx, wy, reach)  # type: ignore[no-any-return]


@njit(cache=True, inline="always")
def _look(real, whole, head, i, now, cx, cy, grid, length, periodic):  # type: ignore[no-untyped-def]
    """Compare the stored pair event of disc i with its partners in one cell."""
    shift_x = shift_y = 0.0
    inside = True
    if cx < 0 or cx >= grid[0]:
        inside = periodic[0]
        shift_x = -length[0] if cx < 0 else length[0]
        cx += grid[0] if cx < 0 else -grid[0]
    if cy < 0 or cy >= grid[1]:
        inside = inside and periodic[1]
        shift_y = -length[1] if cy < 0 else length[1]
        cy += grid[1] if cy < 0 else -grid[1]
    if inside:
        j = head[cy * grid[0] + cx]
        while j >= 0:
            if j != i:
                vx, vy = real[j, VX], real[j, VY]
                lag = now - real[j, AT]
                found = now + _contact(
                    real[j, X] + vx * lag + shift_x - real[i, X],
                    real[j, Y] + vy * lag + shift_y - real[i, Y],
                    vx - real[i, VX],
                    vy - real[i, VY],
                    real[i, RADIUS] + real[j, RADIUS],
                )
                if found < real[i, PAIR]:
                    real[i, PAIR] = found
                    whole[i, PARTNER] = j
                    whole[i, PARTNER_COUNT] = whole[j, COUNT]
            j = whole[j, CELL_NEXT]


@njit(cache=True, inline="always")
def _exit(place, velocity, cell, cells, length, periodic, radius):  # type: ignore[no-untyped-def]
    """Time until a coordinate leaves its cell, or meets the wall of an outermost one."""
    if velocity > 0.0:
        edge = length * (cell + 1) / cells
        if cell == cells - 1 and not periodic:
            edge = length - radius
    elif velocity < 0.0:
        edge = length * cell / cells
        if cell == 0 and not periodic:
            edge = radius
    else:
        return np.inf
    return max((edge - place) / velocity, 0.0)


@njit(cache=True, inline="always")
def _schedule(real, whole, ring, i, now, width, current, grid, length, periodic):  # type: ignore[no-untyped-def]
    """Put disc i into the queue with the earliest of its events."""
    cell = whole[i, CELL]
    radius = real[i, RADIUS]
    cy = cell // grid[0]
    cx = cell - cy * grid[0]
    out_x = _exit(real[i, X], real[i, VX], cx, grid[0], length[0], periodic[0], radius)
    out_y = _exit(real[i, Y], real[i, VY], cy, grid[1], length[1], periodic[1], radius)
    if out_x <= out_y:
        key, kind = now + out_x, 0 if real[i, VX] < 0.0 else 1
    else:
        key, kind = now + out_y, 2 if real[i, VY] < 0.0 else 3
    if real[i, PAIR] <= key:
        key, kind = real[i, PAIR], 4
    real[i, KEY] = key
    whole[i, KIND] = kind
    if key == np.inf:
        whole[i, BUCKET] = -1
        return
    ahead = key / width
    bucket = max(np.int64(ahead), current) if ahead < 9e18 else np.int64(9e18)
    slot = bucket & (len(ring) - 1)
    whole[i, BUCKET] = bucket
    whole[i, QUEUE_NEXT] = ring[slot]
    ring[slot] = i


@njit(cache=True, inline="always")
def _unschedule(whole, ring, i):  # type: ignore[no-untyped-def]
    if whole[i, BUCKET] < 0:
        return
    slot = whole[i, BUCKET] & (len(ring) - 1)
    if ring[slot] == i:
        ring[slot] = whole[i, QUEUE_NEXT]
        return
    j = ring[slot]
    while whole[j, QUEUE_NEXT] != i:
        j = whole[j, QUEUE_NEXT]
    whole[j, QUEUE_NEXT] = whole[i, QUEUE_NEXT]


@njit(cache=True, inline="always")
def _move(real, i, now):  # type: ignore[no-untyped-def]
    lag = now - real[i, AT]
    real[i, X] += real[i, VX] * lag
    real[i, Y] += real[i, VY] * lag
    real[i, AT] = now


@njit(cache=True)
def _look_around(real, whole, head, i, now, grid, length, periodic):  # type: ignore[no-untyped-def]
    """The next collision of disc i with any disc in the 3 x 3 cells around it."""
    real[i, PAIR] = np.inf
    whole[i, PARTNER] = -1
    cy = whole[i, CELL] // grid[0]
    cx = whole[i, CELL] - cy * grid[0]
    for y in range(cy - 1, cy + 2):
        for x in range(cx - 1, cx + 2):
            _look(real, whole, head, i, now, x, y, grid, length, periodic)


@njit(cache=True)
def _cross(real, whole, head, i, kind, now, grid, length, periodic):  # type: ignore[no-untyped-def]
    """Move disc i, which stands on the edge of its cell, into the next; look at the new cells.

    The pair event found before stays a candidate: when it has gone stale it is found out later.
    """
    cell = whole[i, CELL]
    if head[cell] == i:
        head[cell] = whole[i, CELL_NEXT]
    else:
        j = head[cell]
        while whole[j, CELL_NEXT] != i:
            j = whole[j, CELL_NEXT]
        whole[j, CELL_NEXT] = whole[i, CELL_NEXT]
    cy = cell // grid[0]
    cx = cell - cy * grid[0]
    axis = kind // 2
    step = -1 if kind % 2 == 0 else 1
    n = grid[axis]
    at = (cx if axis == 0 else cy) + step
    if at < 0:
        at = n - 1
        real[i, axis] = length[axis]
    elif at >= n:
        at = 0
        real[i, axis] = 0.0
    else:
        real[i, axis] = length[axis] * (at if step > 0 else at + 1) / n
    if axis == 0:
        cx = at
    else:
        cy = at
    cell = cy * grid[0] + cx
    whole[i, CELL] = cell
    whole[i, CELL_NEXT] = head[cell]
    head[cell] = i
    for side in range(-1, 2):
        if axis == 0:
            _look(real, whole, head, i, now, cx + step, cy + side, grid, length, periodic)
        else:
            _look(real, whole, head, i, now, cx + side, cy + step, grid, length, periodic)


@njit(cache=True)
def _collide(real, whole, i, j, length, periodic):  # type: ignore[no-untyped-def]
    """Exchange the normal components of two touching discs; returns sigma |w.n|."""
    dx = real[j, X] - real[i, X]
    dy = real[j, Y] - real[i, Y]
    if periodic[0]:
        dx -= length[0] * np.rint(dx / length[0])
    if periodic[1]:
        dy -= length[1] * np.rint(dy / length[1])
    wx = real[j, VX] - real[i, VX]
    wy = real[j, VY] - real[i, VY]
    square = dx * dx + dy * dy
    along = dx * wx + dy * wy
    px, py = dx * along / square, dy * along / square
    real[i, VX] += px
    real[i, VY] += py
    real[j, VX] -= px
    real[j, VY] -= py
    whole[i, COUNT] += 1
    whole[j, COUNT] += 1
    return -along


@njit(cache=True)
def build_events(real, whole, head, ring, grid, length, periodic):  # type: ignore[no-untyped-def]
    """Fill cells and queue from positions and velocities at time 0; returns the bucket width."""
    n = len(real)
    head[:] = -1
    ring[:] = -1
    for i in range(n):
        cx = cell_along(real[i, X], length[0], grid[0])
        cy = cell_along(real[i, Y], length[1], grid[1])
        cell = cy * grid[0] + cx
        whole[i, CELL] = cell
        whole[i, CELL_NEXT] = head[cell]
        head[cell] = i
        whole[i, COUNT] = 0
        real[i, AT] = 0.0
    speed = 0.0
    for i in range(n):
        speed += abs(real[i, VX]) * grid[0] / length[0] + abs(real[i, VY]) * grid[1] / length[1]
    # one disc crosses a cell every n/speed; collisions at most about double the events
    width = 0.5 / speed if speed > 0.0 else 1.0
    for i in range(n):
        _look_around(real, whole, head, i, 0.0, grid, length, periodic)
        _schedule(real, whole, ring, i, 0.0, width, 0, grid, length, periodic)
    return width


@njit(cache=True)
def run_events(  # type: ignore[no-untyped-def]
    real, whole, head, ring, grid, length, periodic, width, until, counts, pairs
):
    """All events up to a time; every disc is moved there. Returns the virial sum.

    Collisions, crossings, wall hits and stale events are added to ``counts``; the first colliding
    pairs are written to ``pairs`` [P, 2].
    """
    current = np.int64(0)
    last = np.int64(until / width)
    virial = 0.0
    noted = 0
    mask = len(ring) - 1
    while current <= last:
        i = -1
        earliest = np.inf
        j = ring[current & mask]
        while j >= 0:
            if whole[j, BUCKET] == current and real[j, KEY] < earliest:
                i, earliest = j, real[j, KEY]
            j = whole[j, QUEUE_NEXT]
        if i < 0:
            current += 1
            continue
        if earliest > until:
            break
        _unschedule(whole, ring, i)
        now = earliest
        kind = whole[i, KIND]
        _move(real, i, now)
        if kind == 4:
            j = whole[i, PARTNER]
            if whole[j, COUNT] != whole[i, PARTNER_COUNT]:
                counts[STALE] += 1
                _look_around(real, whole, head, i, now, grid, length, periodic)
            else:
                _move(real, j, now)
                _unschedule(whole, ring, j)
                virial += _collide(real, whole, i, j, length, periodic)
                counts[COLLISIONS] += 1
                if noted < len(pairs):
                    pairs[noted, 0] = i
                    pairs[noted, 1] = j
                    noted += 1
                _look_around(real, whole, head, i, now, grid, length, periodic)
                _look_around(real, whole, head, j, now, grid, length, periodic)
                _schedule(real, whole, ring, j, now, width, current, grid, length, periodic)
        else:
            axis = kind // 2
            cell = whole[i, CELL]
            at = cell // grid[0] if axis == 1 else cell % grid[0]
            outermost = at == (0 if kind % 2 == 0 else grid[axis] - 1)
            if outermost and not periodic[axis]:
                radius = real[i, RADIUS]
                real[i, axis] = radius if kind % 2 == 0 else length[axis] - radius
                real[i, 2 + axis] = -real[i, 2 + axis]
                whole[i, COUNT] += 1
                counts[WALL_HITS] += 1
                _look_around(real, whole, head, i, now, grid, length, periodic)
            else:
                counts[CROSSINGS] += 1
                _cross(real, whole, head, i, kind, now, grid, length, periodic)
        _schedule(real, whole, ring, i, now, width, current, grid, length, periodic)
    for i in range(len(real)):
        _move(real, i, until)
    return virial


@njit(cache=True)
def tile_order(x: Real, grid: NDArray[np.int64], length: Real, tile: int) -> Any:
    """Order of the discs by tiles of cells, so that neighbours in space are so in memory."""
    n_x = grid[0] // tile + 1
    n_y = grid[1] // tile + 1
    n = len(x)
    key = np.empty(n, np.int64)
    start = np.zeros(n_x * n_y + 1, np.int64)
    for i in range(n):
        cx = cell_along(x[i, 0], length[0], grid[0])
        cy = cell_along(x[i, 1], length[1], grid[1])
        key[i] = (cy // tile) * n_x + cx // tile
        start[key[i] + 1] += 1
    for k in range(n_x * n_y):
        start[k + 1] += start[k]
    order = np.empty(n, np.int64)
    for i in range(n):
        order[start[key[i]]] = i
        start[key[i]] += 1
    return order
