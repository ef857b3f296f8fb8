"""Study of PassUntil: do tiny pass rates of small models predict the largest one?

A ladder of digit predictors learns to add. PassUntil measures every size by sampling; the exact
pass rate of each problem is known too, so that the estimator itself is on trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.information import (
    circuits,
    growth_shape,
    pass_rate,
    pass_until,
    pu_from_counts,
    stack_results,
    task_pu,
)
from entropilot.information.pass_until import PassUntilResult
from entropilot.studies.digit_ladder import (
    LadderTask,
    digit_probabilities,
    digit_sampler,
    train_ladder,
)
from entropilot.studies.passuntil_figure import draw
from entropilot.studies.passuntil_judge import SHAPES, judge, pooled_rates, prediction_rows
from entropilot.studies.study import Measurement, Progress, Scale, Study

Floats = NDArray[np.float64]

BINS = (0.0, 1e-3, 1e-2, 1e-1, 1.0)  # of the exact pass rate, to judge the estimators in
K_MAX = 20_000
PROBLEM_SEED = 2024  # one set of problems for all seeds, so that seeds can be averaged


@dataclass(frozen=True)
class Settings:
    """What a scale runs."""

    task: LadderTask
    widths: tuple[int, ...]
    n_steps: int
    n_problems: int
    n_repeats: int
    n_shapes: int  # synthetic tasks of each kind


SETTINGS: dict[Scale, Settings] = {
    "smoke": Settings(LadderTask(2), (4, 10, 26, 68), 150, 40, 3, 3),
    "quick": Settings(LadderTask(4), (2, 3, 4, 6, 10, 16, 26, 42, 68), 4000, 200, 20, 34),
    "full": Settings(LadderTask(4), (2, 3, 4, 6, 10, 16, 26, 42, 68, 110), 16_000, 1000, 20, 100),
}


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Train the ladder, sample every size until two passes, and classify synthetic tasks."""
    s = SETTINGS[scale]
    ladder = train_ladder(
        s.task,
        s.widths,
        n_steps=s.n_steps,
        seed=seed,
        progress=lambda share: progress(0.7 * share, "training the ladder"),
    )
    operands = np.random.default_rng(PROBLEM_SEED).integers(
        0, 10**s.task.n_digits, (s.n_problems, 2)
    )
    sizes, bins = [], np.zeros((len(BINS) - 1, 8))
    for i, (width, model) in enumerate(zip(s.widths, ladder["models"], strict=True)):
        progress(0.7 + 0.25 * i / len(s.widths), f"sampling the predictor of width {width}")
        sizes.append(_measure_size(model, operands, s, 1000 * seed + i, bins))
    progress(0.95, "classifying synthetic tasks")
    return {
        "widths": list(s.widths),
        "parameters": ladder["parameters"],
        "n_digits": s.task.n_digits,
        "n_steps": s.n_steps,
        "n_problems": s.n_problems,
        "k_max": K_MAX,
        "chance": 10.0**-s.task.n_out,
        "sizes": sizes,
        "estimator_bins": _bin_rows(bins),
        "shapes": _classify_synthetic(s.n_shapes, s.n_problems, seed),
    }


def _measure_size(
    model: tuple[NDArray[Any], ...],
    operands: NDArray[np.int64],
    s: Settings,
    seed: int,
    bins: Floats,
) -> dict[str, Any]:
    """PassUntil on every problem of one size; repeats are added into the rows of ``bins``."""
    p, right = digit_probabilities(model, operands, s.task)
    exact = np.take_along_axis(p, right[..., None], axis=2)[..., 0].prod(axis=1)
    samplers = [digit_sampler(p[q], right[q]) for q in range(len(operands))]
    rng = np.random.default_rng(seed)
    batch = int(np.clip(2 / exact.mean(), 16, 4096))

    def run(r: int) -> PassUntilResult:
        seeds = rng.integers(0, 2**31, len(samplers))
        return stack_results(
            [
                pass_until(sample, r, K_MAX, batch=batch, seed=int(x))
                for sample, x in zip(samplers, seeds, strict=True)
            ]
        )

    found = run(2)
    task = task_pu(found, seed=seed)
    one_draw = sum(int(sample(1, rng)[0]) for sample in samplers)
    where = np.searchsorted(BINS, exact, side="right") - 1
    where = np.minimum(where, len(BINS) - 2)
    for _ in range(s.n_repeats):
        estimates = (run(2).mvue, run(2).mle, run(1).mle)
        for b in range(len(BINS) - 1):
            chosen = where == b
            error = estimates[0][chosen] - exact[chosen]
            bins[b] += [
                chosen.sum(),
                exact[chosen].sum(),
                *(e[chosen].sum() for e in estimates),
                error.sum(),
                (error**2).sum(),
                1,
            ]
    return {
        "pu": task.value,
        "stderr": task.stderr,
        "ci": list(task.ci),
        "n_censored": task.n_censored,
        "draws": task.draws,
        "exact": float(exact.mean()),
        "one_draw_passes": one_draw,
        "K": np.asarray(found.K).tolist(),
        "passes": np.asarray(found.passes).tolist(),
    }


def _bin_rows(bins: Floats) -> list[dict[str, float]]:
    rows = []
    for b, (n, exact, mvue, mle2, mle1, error, square, _) in enumerate(bins.tolist()):
        if n < 2:
            continue
        rows.append(
            {
                "low": BINS[b],
                "high": BINS[b + 1],
                "n": n,
                "exact": exact / n,
                "mvue_r2": mvue / n,
                "mle_r2": mle2 / n,
                "mle_r1": mle1 / n,
                "sum_error": error,
                "sum_square": square,
            }
        )
    return rows


def _classify_synthetic(n_tasks: int, n_problems: int, seed: int) -> dict[str, dict[str, int]]:
    """Verdicts on tasks whose curve is known; draws until two passes are negative binomial."""
    sizes = np.logspace(7.5, 9.4, 8)
    rng = np.random.default_rng([seed, 77])
    found: dict[str, dict[str, int]] = {}
    for name, (log_c, alpha, vote, _) in SHAPES.items():
        p = pass_rate(circuits(sizes, log_c, alpha, vote))
        verdicts: dict[str, int] = {}
        for task in range(n_tasks):
            draws = rng.negative_binomial(2, p[:, None], (len(sizes), n_problems)) + 2
            results = [pu_from_counts(k, 2, 2, int(k.max())) for k in draws]
            verdict = growth_shape(sizes, results, n_boot=500, seed=task).verdict
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
        found[name] = verdicts
    return found


STUDY = Study(
    slug="passuntil",
    title="Tiny pass rates of small models predict the large one",
    paper="2310.03262",
    claim=(
        "Sampling until a pass resolves pass rates of 1e-5. In them task performance grows "
        "smoothly, log(-log pass rate) falls linearly in log size, and small models predict a "
        "larger one."
    ),
    scales={
        "smoke": "4 widths, 150 steps, two-digit addition; a few seconds",
        "quick": "9 widths, 4000 steps, four-digit addition, 200 problems; 2 minutes a seed",
        "full": "10 widths, 16,000 steps, 1000 problems; 20 minutes a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=lambda measurements: draw(
        measurements, pooled_rates(measurements), prediction_rows(measurements)
    ),
    notes=(
        "The paper samples HumanEval, Emoji Movie and Date Understanding with models of 0.03B to "
        "2.4B parameters. Here hidden layers of 2 to 68 units add two four-digit numbers and write "
        "five digits (random guessing passes at 1e-5, and no problem is excluded). The range of "
        "the line was fixed before these seeds were run, but after a prototype of the ladder had "
        "been seen. The unbiased estimator replaces the paper's r/K."
    ),
)
