"""How fast is a school of fish beside dewi-kadita, and does the cost grow with the fish alone?

    pip install --no-deps dewi-kadita==0.0.4
    python benchmarks/fish_school.py [--repeats 5] [--largest 100000]

One thread, CPU seconds, median of the repeats. The rival's numba kernel finds new velocities; ours
draws the noise, sorts into cells, finds new headings and swims. Density and radii are the swarm's
(150 fish in a box of 25) with zones of 1, 3 and 5, so that cells pay; the presets, whose attraction
reaches half the box, go by pairs. Then the twelve metrics of a frame, the growth of a step with the
number of fish, and the share of a step that finding the neighbours alone would take.
"""

import argparse
import platform
import time
import warnings
from collections.abc import Callable

import numba
import numpy as np
from numba import njit

from _timing import seconds_of
from entropilot.physics.fish_school import PRESETS, Couzin, couzin_step, initial_state, swum
from entropilot.physics.fish_school_kernels import sort_into_cells
from entropilot.physics.fish_school_metrics import all_metrics


def seconds(work: Callable[[], object], repeats: int) -> float:
    return seconds_of(work, repeats, warm=False)[0]


def school(n: int) -> Couzin:
    return Couzin(n, 25.0 * (n / 150) ** (1 / 3), 1.0, 1.0, 3.0, 5.0, noise=0.05)


def theirs(params: Couzin, noise: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    from dewi_kadita.core.solver import _update_velocities_numba

    return lambda x, v: _update_velocities_numba(
        x, v, params.box_size, params.r_repulsion, params.r_orientation, params.r_attraction,
        params.max_turn, noise, np.radians(params.blind_angle), params.speed,
        params.orientation_weight,
    )  # fmt: skip


def race(name: str, params: Couzin, repeats: int) -> None:
    x, u = initial_state(params)
    v = params.speed * u
    rival, silent = theirs(params, params.noise), theirs(params, 0.0)
    rng = np.random.default_rng(0)
    n = len(x)
    x, u = swum(x, u, params, 20, rng)
    v = params.speed * u
    apart = abs(silent(x, v) - params.speed * couzin_step(x, u, params)[1]).max()
    times = max(1, 400 // n)
    slow = seconds(lambda: [rival(x, v) for _ in range(times)], repeats) / times
    times = max(20, 20_000 // n)
    fast = seconds(lambda: swum(x, u, params, times, rng), repeats) / times
    print(
        f"{name:>22} {n:>6,} fish: theirs {slow * 1e3:8.2f} ms, ours {fast * 1e3:7.3f} ms, "
        f"{slow / fast:5.0f} x; velocities differ by {apart:.1e}"
    )


def race_metrics(n: int, repeats: int) -> None:
    from dewi_kadita.core.metrics import compute_all_metrics

    params = school(n)
    x, u = initial_state(params)
    x, u = swum(x, u, params, 20, np.random.default_rng(0))
    apart = max(
        abs(all_metrics(x, u, params.box_size)[name] - value)
        for name, value in compute_all_metrics(x, u, params.box_size).items()
    )
    slow = seconds(lambda: [compute_all_metrics(x, u, params.box_size) for _ in range(10)], repeats)
    fast = seconds(lambda: [all_metrics(x, u, params.box_size) for _ in range(10)], repeats)
    print(
        f"{'twelve metrics':>22} {n:>6,} fish: theirs {slow * 100:8.2f} ms, ours "
        f"{fast * 100:7.2f} ms, {slow / fast:5.1f} x; differ by {apart:.1e}"
    )


@njit(cache=True)
def near_pairs(x: np.ndarray, box: float, m: int, start: np.ndarray, r2: float) -> int:
    """Pairs within a radius, and nothing else: what any pass over the same cells has to do."""
    found = 0
    for cx in range(m):
        for cy in range(m):
            for cz in range(m):
                home = (cx * m + cy) * m + cz
                for ix in range(-1, 2):
                    for iy in range(-1, 2):
                        base = ((cx + ix) % m * m + (cy + iy) % m) * m
                        for iz in range(-1, 2):
                            other = base + (cz + iz) % m
                            for i in range(start[home], start[home + 1]):
                                for j in range(start[other], start[other + 1]):
                                    dx = x[0, j] - x[0, i]
                                    dy = x[1, j] - x[1, i]
                                    dz = x[2, j] - x[2, i]
                                    dx -= box * np.rint(dx / box)
                                    dy -= box * np.rint(dy / box)
                                    dz -= box * np.rint(dz / box)
                                    found += dx * dx + dy * dy + dz * dz < r2
    return found


def growth(largest: int, repeats: int) -> None:
    sizes = [n for n in (1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000) if n <= largest]
    taken = []
    for n in sizes:
        params, rng = school(n), np.random.default_rng(0)
        x, u = initial_state(params)
        times = max(2, 40_000 // n)
        taken.append(
            seconds(lambda: swum(x, u, params, times, rng), repeats) / times  # noqa: B023
        )
        print(
            f"{n:>8,} fish: {taken[-1] * 1e3:8.2f} ms a step, {taken[-1] / n * 1e9:.0f} ns a fish"
        )
    slope = np.polyfit(np.log(sizes), np.log(taken), 1)[0]
    print(f"a step grows as N to the power {slope:.3f} from {sizes[0]:,} to {sizes[-1]:,} fish")
    params, n = school(sizes[-1]), sizes[-1]
    x, u = initial_state(params)
    m = int(params.box_size / params.r_attraction)
    start, order = np.empty(m**3 + 1, np.int64), np.empty(n, np.int64)
    xs, us = np.empty((3, n)), np.empty((3, n))
    sort_into_cells(x, u, params.box_size, m, start, order, xs, us)
    near_pairs(xs, params.box_size, m, start, 25.0)
    bare = seconds(lambda: near_pairs(xs, params.box_size, m, start, 25.0), repeats)
    found = near_pairs(xs, params.box_size, m, start, 25.0) - n
    print(
        f"finding the {found:,} pairs in reach alone: {bare * 1e3:.1f} ms; a step takes "
        f"{taken[-1] / bare:.2f} x that, {taken[-1] / found * 1e9:.1f} ns a pair in reach"
    )
    rng = np.random.default_rng(0)
    began = time.process_time()
    x, u = swum(x, u, params, 100, rng)
    ran = time.process_time() - began
    began = time.process_time()
    found = all_metrics(x, u, params.box_size)
    print(
        f"{n:,} fish, 100 steps: {ran:.1f} s ({100 * n / ran / 1e6:.2f}M fish steps a second); "
        f"metrics of a frame {time.process_time() - began:.1f} s, P = {found['polarization']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=100_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    numba.set_num_threads(1)
    print(
        f"python {platform.python_version()}, numba {numba.__version__}, numpy {np.__version__}, "
        f"dewi-kadita 0.0.4, {platform.machine()}, one thread"
    )
    for n in (100, 200, 500, 1000, 2000):
        race("zones 1, 3, 5", school(n), options.repeats if n < 1000 else 3)
    for name, params in PRESETS.items():
        race(name, params, options.repeats)
    for n in (100, 500, 2000):
        race_metrics(n, options.repeats)
    growth(options.largest, options.repeats)


if __name__ == "__main__":
    main()
