"""What does a step of three bodies cost, and what accuracy does it buy beside REBOUND's IAS15?

    python benchmarks/three_bodies.py [--starts 10] [--repeats 3]

One thread, CPU seconds, median of the repeats; 30 years, 300 checks. The bound of a Hermite step is
its arithmetic: three pairs of about 60 operations with a square root and three divisions each.
"""

import argparse
import platform
import statistics
import time

import numpy as np
import rebound

from entropilot.physics.three_bodies import CHECK, energy, initial_conditions
from entropilot.physics.three_body_kernels import hermite_interval, leapfrog_interval


def ours(kernel, m, x, v, mu, checks):
    x, v, work, steps, t = x.copy(), v.copy(), np.empty((6, 3, 3)), 0, 0.0
    for check in range(1, checks + 1):
        taken, _, t = kernel(m, x, v, t, check * CHECK, mu, 10**9, work)
        steps += taken
    return x, v, steps


def theirs(m, x, v, _mu, checks):
    simulation = rebound.Simulation()
    simulation.integrator = "ias15"
    for i in range(3):
        names = ("x", "y", "z", "vx", "vy", "vz")
        simulation.add(m=m[i], **dict(zip(names, (*x[i], *v[i]), strict=True)))
    for check in range(1, checks + 1):
        simulation.integrate(check * CHECK)
    bodies = simulation.particles
    place = np.array([(b.x, b.y, b.z) for b in bodies])
    return place, np.array([(b.vx, b.vy, b.vz) for b in bodies]), simulation.steps_done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, rebound {rebound.__version__}"
    )
    ways = [(f"Hermite, mu = {mu:g}", hermite_interval, mu) for mu in (1e-3, 3e-3, 1e-2)]
    ways += [(f"leapfrog, mu = {mu:g}", leapfrog_interval, mu) for mu in (1e-3, 1e-2)]
    ways += [("REBOUND IAS15", None, 0.0)]
    starts = [initial_conditions(100_000 + seed) for seed in range(arguments.starts)]
    print(f"{'':24} {'ms a start':>10} {'us a step':>10} {'log10 error':>12}")
    for name, kernel, mu in ways:
        seconds, errors, steps = [], [], 0
        for repeat in range(arguments.repeats + 1):  # the first compiles
            errors, steps, began = [], 0, time.process_time()
            for m, x, v in starts:
                run = theirs if kernel is None else lambda *a, k=kernel: ours(k, *a)
                place, speed, taken = run(m, x, v, mu, 300)
                first = energy(m, x, v)
                errors.append(abs((energy(m, place, speed) - first) / first) + 1e-17)
                steps += taken
            if repeat:
                seconds.append(time.process_time() - began)
        middle = statistics.median(seconds)
        print(
            f"{name:24} {1e3 * middle / len(starts):10.2f} {1e6 * middle / steps:10.3f} "
            f"{np.log10(errors).mean():12.2f}"
        )


if __name__ == "__main__":
    main()
