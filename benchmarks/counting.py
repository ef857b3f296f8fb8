"""How much faster is counting done on whole arrays than problem by problem?

Races pass@k, its bootstrap, the statistics of PassUntil, a likelihood fit, and the bootstrap of an
AUC against the loops that are usual for them. Slow rivals run on a part of the work, and their time
is scaled up; the table says by how much. CPU time of one thread, best of three for the fast side.

    OMP_NUM_THREADS=1 python benchmarks/counting.py
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import scipy
from scipy.optimize import minimize
from scipy.stats import beta, nbinom
from sklearn.metrics import roc_auc_score

from _timing import cpu_times
from entropilot.information import (
    auc_interval,
    clopper_pearson,
    cluster_bootstrap,
    fit_task_scaling_counts,
    instance_rates,
    pass_at_k_curve,
    pass_until,
    pu_from_counts,
    task_pu,
)

KS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256])


def cpu_time(call: Callable[[], object], repeats: int = 1) -> float:
    return min(cpu_times(call, repeats, warm=False)[0])


def show(name: str, ours: float, rival: float, part: float, bound: str = "") -> None:
    scaled = "" if part == 1 else f" (1/{1 / part:.0f} run)"
    whole = rival / part
    print(f"{name:<58}{1e3 * ours:>10.1f}{whole:>12.2f}{scaled:<12}{whole / ours:>9.0f}x  {bound}")


def loop_pass_at_k(n: int, c: int, k: int) -> float:
    """The estimator as most evaluation harnesses write it."""
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def race_pass_at_k(rng: np.random.Generator) -> None:
    c = rng.binomial(256, rng.beta(0.5, 1, 10_000))
    ours = cpu_time(lambda: pass_at_k_curve(256, c, KS), 3)
    rival = cpu_time(lambda: [[loop_pass_at_k(256, int(x), int(k)) for k in KS] for x in c[:500]])
    show("pass@k, 10,000 problems x 15 k, n = 256", ours, rival, 0.05, "target < 10 ms")


def race_bootstrap(rng: np.random.Generator) -> None:
    c = rng.binomial(256, rng.beta(0.5, 1, 1000))
    table = pass_at_k_curve(256, c, KS).per_problem
    ours = cpu_time(
        lambda: cluster_bootstrap(table, rng=np.random.default_rng(0), n_resamples=10_000), 3
    )

    def rival() -> None:
        for _ in range(5):
            drawn = c[rng.integers(0, 1000, 1000)]
            [np.mean([loop_pass_at_k(256, int(x), int(k)) for x in drawn]) for k in KS]

    name = "its bootstrap, 10,000 resamples x 1000 problems x 15 k"
    show(name, ours, cpu_time(rival), 5e-4, "< 0.5 s")

    def rival_with_table() -> None:
        for _ in range(500):
            table[rng.integers(0, 1000, 1000)].mean(axis=0)

    show("  against a loop over a table made once", ours, cpu_time(rival_with_table), 0.05)


def race_clopper_pearson(rng: np.random.Generator) -> None:
    c = rng.binomial(256, 0.3, 100_000)
    ours = cpu_time(lambda: clopper_pearson(c, 256), 3)

    def rival() -> None:
        for x in c[:500]:
            beta.ppf(0.025, x, 257 - x), beta.ppf(0.975, x + 1, 256 - x)

    show("Clopper-Pearson, 100,000 counts", ours, cpu_time(rival), 0.005)


def race_pass_until(rng: np.random.Generator) -> None:
    p = 10.0 ** rng.uniform(-4, -0.3, 100_000)
    k = rng.negative_binomial(2, p) + 2
    ours = cpu_time(lambda: instance_rates(pu_from_counts(k, 2, 2, int(k.max()))).mean(), 3)

    def rival() -> None:
        for x in k[:500]:
            estimate = 1 / (x - 1)
            nbinom.ppf([0.025, 0.975], 2, estimate)  # the usual plug-in interval

    show(
        "PassUntil, 100,000 instances: validate, estimate", ours, cpu_time(rival), 0.005, "< 50 ms"
    )

    def with_interval() -> object:
        return pu_from_counts(k, 2, 2, int(k.max())).ci

    show("  the same, with exact intervals", cpu_time(with_interval, 3), cpu_time(rival), 0.005)
    few = pu_from_counts(k[:10_000], 2, 2, int(k.max()))
    rates = instance_rates(few)
    ours = cpu_time(lambda: task_pu(few, n_resamples=1000), 3)

    def resample() -> None:
        for _ in range(20):
            np.mean([rates[i] for i in rng.integers(0, len(rates), len(rates))])

    show("PassUntil, bootstrap 1000 x 10,000 instances", ours, cpu_time(resample), 0.02, "< 1 s")


def race_fit(rng: np.random.Generator) -> None:
    sizes = np.logspace(7, 9.5, 8)
    p = np.exp(-1234.5 * sizes**-0.31)
    draws = rng.negative_binomial(2, p[:, None], (8, 200)) + 2
    results = [pu_from_counts(x, 2, 2, int(x.max())) for x in draws]
    ours = cpu_time(lambda: fit_task_scaling_counts(sizes, results, n_resamples=1000), 3)
    x = np.log(sizes)

    def rival() -> None:
        for _ in range(2):
            drawn = draws[:, rng.integers(0, 200, 200)]

            def loss(coef: np.ndarray, drawn: np.ndarray = drawn) -> float:
                rate = np.exp(-np.exp(coef[0] - coef[1] * (x - x.mean())))
                rate = np.clip(rate, 1e-12, 1 - 1e-12)
                return -sum(nbinom.logpmf(drawn[i] - 2, 2, rate[i]).sum() for i in range(8))

            minimize(loss, np.array([0.5, 0.3]), method="L-BFGS-B")

    show("likelihood fit of the law with 1000 resamples", ours, cpu_time(rival), 2e-3)


def race_auc(rng: np.random.Generator) -> None:
    wrong = rng.random(10_000) < 0.3
    score = rng.normal(size=10_000) + wrong
    groups = np.arange(10_000) // 4
    ours = cpu_time(lambda: auc_interval(score, wrong, groups), 3)
    rows = np.arange(10_000).reshape(-1, 4)

    def rival() -> None:
        for _ in range(20):
            drawn = rows[rng.integers(0, 2500, 2500)].ravel()
            roc_auc_score(wrong[drawn], score[drawn])

    show("AUC, bootstrap 2000 x 10,000 answers in 2500 groups", ours, cpu_time(rival), 0.01)


def main() -> None:
    rng = np.random.default_rng(0)
    # Compile the kernels before the clock runs.
    pass_at_k_curve(4, [1], [2])
    cluster_bootstrap([1.0, 0.0], rng=rng, n_resamples=2)
    auc_interval([0.0, 1.0, 2.0], [0, 1, 0], n_resamples=2)
    pass_until(lambda n, g: g.random(n) < 0.5)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(f"{'':<58}{'ours, ms':>10}{'loop, s':>12}{'':<12}{'ratio':>10}  target")
    for race in (
        race_pass_at_k,
        race_bootstrap,
        race_clopper_pearson,
        race_pass_until,
        race_fit,
        race_auc,
    ):
        race(rng)


if __name__ == "__main__":
    main()
