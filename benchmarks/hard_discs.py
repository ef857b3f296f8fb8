"""How many events a second does a hard-disc gas make, and how far is that from the bound?

    python benchmarks/hard_discs.py [--repeats 5] [--events 2000000]

An event is a collision, a crossing of a cell edge, a wall hit or a stale event. The rival is the
textbook's event loop on the same gas: one binary heap of all predicted pairs and crossings with
lazy deletion, in Python with heapq (small N only). The bound is the same memory traffic without
physics: for every event, random reads of the nine cells around a disc and of the records there.
One thread, CPU seconds, median of the repeats.
"""

import argparse
import heapq
import math
import statistics
import time

import numba
import numpy as np
from numba import njit

from entropilot.physics.hard_discs import HardDiscGas, cell_grid
from entropilot.physics.phase_space import collision_rate

PACKINGS = (0.001, 0.01, 0.1)


@njit(cache=False)
def traffic(real, whole, head, nx, ny, order):
    """Nine cells and their discs' records, read and written at random places."""
    total = 0.0
    for i in order:
        cell = whole[i, 0]
        cy, cx = cell // nx, cell % nx
        for y in range(max(cy - 1, 0), min(cy + 2, ny)):
            for x in range(max(cx - 1, 0), min(cx + 2, nx)):
                j = head[y * nx + x]
                while j >= 0:
                    total += real[j, 0] * real[j, 2] + real[j, 1] * real[j, 3]
                    j = whole[j, 1]
        real[i, 4] += 1.0
    return total


def bound(gas: HardDiscGas, count: int) -> float:
    """Events a second if an event were its reads alone."""
    nx, ny = cell_grid(gas.n, float(gas.sigma.max()), gas.box)
    rng = np.random.default_rng(0)
    x = gas.positions
    cell = (x[:, 1] * ny).astype(int) * nx + (x[:, 0] * nx).astype(int)
    place = np.argsort(cell)
    real, whole = np.zeros((gas.n, 8)), np.full((gas.n, 8), -1)
    real[:, :2], real[:, 2:4], whole[:, 0] = x[place], gas.velocities[place], cell[place]
    head = np.full(nx * ny, -1)
    for i, c in enumerate(cell[place]):
        whole[i, 1], head[c] = head[c], i
    traffic(real, whole, head, nx, ny, rng.integers(0, gas.n, 10))
    order = rng.integers(0, gas.n, count)
    begin = time.process_time()
    traffic(real, whole, head, nx, ny, order)
    return count / (time.process_time() - begin)


def heap_of_pairs(x, v, sigma, until):
    """All pairs in one heap (N small): the plain way. Returns collisions."""
    x, v = x.copy(), v.copy()
    n, at, count = len(x), np.zeros(len(x)), np.zeros(len(x), int)
    heap: list[tuple[float, int, int, int, int]] = []

    def predict(i, now):
        here = x + v * (now - at)[:, None]
        d, w = here - here[i], v - v[i]
        b, ww = (d * w).sum(1), (w * w).sum(1)
        c = (d * d).sum(1) - sigma**2
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where((b < 0) & (b * b > ww * c), c / (-b + np.sqrt(b * b - ww * c)), np.inf)
        t[i] = np.inf
        for j in np.flatnonzero(now + t < until):
            heapq.heappush(heap, (now + t[j], i, int(j), count[i], count[j]))
        for axis in range(2):
            if v[i, axis]:
                end = 1 - sigma / 2 if v[i, axis] > 0 else sigma / 2
                hit = now + max((end - here[i, axis]) / v[i, axis], 0.0)
                heapq.heappush(heap, (hit, i, -1 - axis, count[i], 0))

    for i in range(n):
        predict(i, 0.0)
    done = 0
    while heap and heap[0][0] < until:
        now, i, j, count_i, count_j = heapq.heappop(heap)
        if count[i] != count_i or (j >= 0 and count[j] != count_j):
            continue
        for k in (i, j) if j >= 0 else (i,):
            x[k] += v[k] * (now - at[k])
            at[k] = now
            count[k] += 1
        if j >= 0:
            d = x[j] - x[i]
            push = d * (d @ (v[j] - v[i])) / (d @ d)
            v[i] += push
            v[j] -= push
            done += 1
            predict(i, now)
            predict(j, now)
        else:
            v[i, -1 - j] *= -1
            predict(i, now)
    return done


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    print(f"numpy {np.__version__}, numba {numba.__version__}, one thread, CPU seconds")
    for n in (1_000, 10_000, 100_000):
        for phi in PACKINGS:
            gas = HardDiscGas(n, math.sqrt(4 * phi / (math.pi * n)), seed=1)
            gas.advance(1e-6)
            rate = n * collision_rate(n, float(gas.sigma[0]), phi=phi) / 2 + 1.4 * n * math.sqrt(n)
            duration = options.events / rate
            made, hit = [], []
            for _ in range(options.repeats):
                before, begin = gas.stats, time.process_time()
                gas.advance(duration)
                spent = time.process_time() - begin
                made.append((gas.stats.events - before.events) / spent / 1e6)
                hit.append((gas.stats.collisions - before.collisions) / spent / 1e6)
            most = bound(gas, 1_000_000) / 1e6
            print(
                f"N = {n:>7,}, packing {phi:<5}: {statistics.median(made):.2f} M events/s, "
                f"{statistics.median(hit):.3f} M collisions/s; reads alone {most:.2f} M/s "
                f"({statistics.median(made) / most:.2f} of the bound)"
            )
    gas = HardDiscGas(400, math.sqrt(4 * 0.1 / (math.pi * 400)), seed=1)
    begin = time.process_time()
    plain = heap_of_pairs(gas.positions, gas.velocities, float(gas.sigma[0]), 0.5)
    plain_rate = plain / (time.process_time() - begin)
    begin = time.process_time()
    gas.advance(50.0)
    ours = gas.stats.collisions / (time.process_time() - begin)
    print(f"N = 400, packing 0.1: {ours:,.0f} collisions/s, heap of pairs {plain_rate:,.0f}: "
          f"{ours / plain_rate:,.0f} x")  # fmt: skip


if __name__ == "__main__":
    main()
