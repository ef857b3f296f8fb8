"""How fast is maximum entropy beside general optimisers, and how fast are chains drawn?

    python benchmarks/maximum_entropy.py [--states 10000] [--features 10] [--repeats 5]

One thread, CPU seconds, median of the repeats. scipy's SLSQP on the primal factors a matrix of
states x states at each step, so it runs on fewer states, and its time is extended by the law that
its last two sizes show. scipy's trust-exact and BFGS on the dual do the same work as ``maxent``.
"""

import argparse
import platform
from collections.abc import Callable

import numpy as np
import scipy
from scipy.optimize import minimize
from scipy.special import logsumexp

from _timing import seconds_of
from entropilot.information import maxent, simulate_chain


def timed(call: Callable[[], object], repeats: int) -> tuple[float, object]:
    return seconds_of(call, repeats, warm=False)


def problem(n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    f = rng.standard_normal((n, m))
    return f, rng.dirichlet(np.full(n, 0.3)) @ f


def slsqp(f: np.ndarray, m: np.ndarray) -> np.ndarray:
    n = len(f)
    rows = np.concatenate([f, np.ones((n, 1))], axis=1)
    found = minimize(
        lambda p: float(p @ np.log(p)),
        np.full(n, 1 / n),
        jac=lambda p: np.log(p) + 1,
        method="SLSQP",
        bounds=[(1e-12, 1)] * n,
        constraints=[
            {"type": "eq", "fun": lambda p: p @ rows - np.append(m, 1), "jac": lambda _: rows.T}
        ],
        options={"ftol": 1e-10, "maxiter": 200},
    )
    return found.x


def dual(f: np.ndarray, m: np.ndarray, method: str) -> np.ndarray:
    def weights(x: np.ndarray) -> np.ndarray:
        e = -f @ x
        return np.exp(e - logsumexp(e))

    def curvature(x: np.ndarray) -> np.ndarray:
        p = weights(x)
        spread = f - p @ f
        return (spread * p[:, None]).T @ spread

    found = minimize(
        lambda x: logsumexp(-f @ x) + x @ m,
        np.zeros(f.shape[1]),
        jac=lambda x: m - weights(x) @ f,
        hess=curvature if method == "trust-exact" else None,
        method=method,
        options={"gtol": 1e-10},
    )
    return weights(found.x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    settings = parser.parse_args()
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"{platform.machine()}, one thread"
    )
    small = []
    for n in (200, 400, 800):
        f, m = problem(n, settings.features)
        ours, made = timed(lambda f=f, m=m: maxent(f, m), settings.repeats)
        rival, found = timed(lambda f=f, m=m: slsqp(f, m), 1)
        small.append((n, rival))
        print(
            f"{n:>6} states: maxent {1e3 * ours:8.2f} ms, SLSQP {rival:8.3f} s, "
            f"{rival / ours:8.0f}x; largest difference {np.abs(made.p - found).max():.1e}"
        )
    (n1, t1), (n2, t2) = small[-2:]
    power = float(np.log(t2 / t1) / np.log(n2 / n1))
    f, m = problem(settings.states, settings.features)
    ours, made = timed(lambda: maxent(f, m), settings.repeats)
    extended = t2 * (settings.states / n2) ** power
    print(
        f"{settings.states:>6} states: maxent {1e3 * ours:8.2f} ms, {made.iterations} steps, gap "
        f"{made.gap:.0e}; SLSQP at {n2} states {t2:.2f} s ({t2 / ours:.0f}x), extended with power "
        f"{power:.1f} {extended:.3g} s ({extended / ours:.2g}x)"
    )
    hard = f * 10.0 ** np.linspace(-3, 3, settings.features)
    steep = np.exp(f.sum(axis=1)) / np.exp(f.sum(axis=1)).sum()
    for name, features, targets in (
        ("means of even weights", f, m),
        ("means far from even", f, steep @ f),
        ("the same in six orders of units", hard, steep @ hard),
    ):
        own, solved = timed(lambda g=features, t=targets: maxent(g, t), settings.repeats)
        print(f"{'':>6} {name}: maxent {1e3 * own:.2f} ms, {solved.iterations} steps")
        size = np.abs(features).max(axis=0)
        for method in ("BFGS", "trust-exact"):
            rival, found = timed(
                lambda g=features, t=targets, method=method: dual(g, t, method), settings.repeats
            )
            missed = np.abs((found @ features - targets) / size).max()
            left = np.abs((solved.mean - targets) / size).max()
            print(
                f"{'':>8} dual by {method}: {1e3 * rival:.2f} ms, {rival / own:.1f}x; targets "
                f"missed by {missed:.0e} (maxent {left:.0e})"
            )

    def bound() -> None:
        for _ in range(made.iterations + 1):
            p = np.exp(-f @ made.lam)
            (f * p[:, None]).T @ f

    lowest, _ = timed(bound, settings.repeats)
    print(f"{'':>6} bare exponentials and products of as many steps: {1e3 * lowest:.2f} ms")
    rng = np.random.default_rng(0)
    for n in (2, 3, 100):
        chain = np.random.default_rng(1).dirichlet(np.ones(n), n)
        simulate_chain(chain, 10, rng)
        seconds, _ = timed(lambda chain=chain: simulate_chain(chain, 5_000_000, rng), 3)
        print(f"chain of {n} states: {5 / seconds:.1f} million steps/s")
    seconds, _ = timed(lambda: rng.random(5_000_000), 3)
    print(f"bound: {5 / seconds:.0f} million uniform numbers/s")


if __name__ == "__main__":
    main()
