"""Study of the invisible leash: does reinforcement learning lose what the base could reach?

First what can be said without training a transformer: the published counts, the exact tilt, the
noise of a model against itself, and policies over a few answers trained by groups. Then a
transformer that adds digits, before and after reinforcement learning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.information import (
    answer_entropy,
    beta_for_reward,
    crossing_k,
    expected_support,
    null_support,
    pass_at_k_curve,
    pass_at_k_difference,
    tilt,
)
from entropilot.studies.answer_policies import (
    AnswerProblems,
    draw_answers,
    make_problems,
    train_by_groups,
)
from entropilot.studies.invisible_leash_figure import draw
from entropilot.studies.invisible_leash_judge import BUDGET, JUDGED, KS, judge
from entropilot.studies.leash_transformer import judge_transformer, measure_transformer
from entropilot.studies.study import Measurement, Progress, Scale, Study

Floats = NDArray[np.float64]

N_SAMPLES = 256
N_ENTROPY = 32  # samples behind an answer entropy, as in the paper
FEATURES = (20, 100, 300)  # all tried; the middle one is judged, the others are shown


@dataclass(frozen=True)
class Settings:
    """What a scale runs."""

    n_problems: int
    n_updates: int


SETTINGS: dict[Scale, Settings] = {
    "smoke": Settings(200, 150),
    "quick": Settings(1000, 600),
    "full": Settings(4000, 2400),
}


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Train the policies over answers, tilt the base to the same mean accuracy, and count."""
    s = SETTINGS[scale]
    rng = np.random.default_rng(seed)
    one = make_problems(s.n_problems, 10, 1, spread=1.0, advantage=1.5, rng=rng)
    four = make_problems(s.n_problems, 20, 4, spread=1.0, advantage=0.3, rng=rng)
    kinds: list[tuple[str, int | None]] = [("table", None)]
    kinds += [(f"shared {n}", n) for n in FEATURES]
    policies: dict[str, Floats] = {"base": one.base}
    for i, (name, features) in enumerate(kinds):
        progress(0.15 * i / len(kinds), f"training the policy '{name}'")
        policies[name] = _train(one, s, features, rng)
    policies["tilt"] = _tilted_to(one, float(_accuracy(one, policies[JUDGED]).mean()))
    progress(0.15, "several right answers")
    table_four = _train(four, s, None, rng)
    progress(0.19, "counting")
    counts = {name: _count(one, pi, rng) for name, pi in policies.items()}
    again = _count(one, one.base, rng)
    return {
        "n_problems": s.n_problems,
        "n_updates": s.n_updates,
        "n_samples": N_SAMPLES,
        "policies": {
            name: _policy_row(pi, counts[name], counts["base"], rng)
            for name, pi in policies.items()
        },
        "tilt_exact": _exact_tilt(one, policies["tilt"]),
        "counter_example": _counter_example(),
        "null": _null_row(counts["base"], again),
        "right_answers": _right_answer_row(four, table_four),
        "transformer": measure_transformer(
            scale, seed, lambda share, doing: progress(0.2 + 0.8 * share, doing)
        ),
    }


def _train(
    problems: AnswerProblems, s: Settings, features: int | None, rng: np.random.Generator
) -> Floats:
    return train_by_groups(
        problems, n_updates=s.n_updates, group=8, batch=64, step=1.0, features=features, rng=rng
    )


def _accuracy(problems: AnswerProblems, pi: Floats) -> Floats:
    """[Q] chance of a right answer."""
    return np.asarray((pi * problems.right).sum(axis=1))


def _tilted_to(problems: AnswerProblems, accuracy: float) -> Floats:
    """One beta for all problems, so that the mean accuracy is as asked: the KL projection."""
    a = _accuracy(problems, problems.base)
    low, high = 0.0, 60.0
    for _ in range(100):  # the mean accuracy rises with beta
        middle = (low + high) / 2
        mean = float((a / (a + (1 - a) * np.exp(-middle))).mean())
        low, high = (middle, high) if mean < accuracy else (low, middle)
    return np.asarray(tilt(problems.base, problems.right, (low + high) / 2))


def _count(problems: AnswerProblems, pi: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """[Q] right ones among the samples of each problem."""
    return rng.binomial(N_SAMPLES, np.clip(_accuracy(problems, pi), 0, 1))


def _policy_row(
    pi: Floats,
    count: NDArray[np.int64],
    base_count: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, Any]:
    curve = pass_at_k_curve(N_SAMPLES, count, KS)
    base = pass_at_k_curve(N_SAMPLES, base_count, KS)
    gain = pass_at_k_difference(N_SAMPLES, base_count, count, KS, n_resamples=2000)
    support = expected_support(base_count, count, N_SAMPLES, BUDGET)
    answers = draw_answers(pi, N_ENTROPY, rng)
    return {
        "pass_at_k": curve.mean.tolist(),
        "gain": gain.value.tolist(),
        "gain_low": gain.low.tolist(),
        "gain_high": gain.high.tolist(),
        "crossing_k": crossing_k(base, curve),
        "support": {key: float(value) for key, value in support.items()},
        "answer_entropy": float(answer_entropy(answers).mean()),
    }


def _exact_tilt(problems: AnswerProblems, tilted: Floats) -> dict[str, Any]:
    """Exact pass@k of the tilt less that of the base, over many beta and all k."""
    a = _accuracy(problems, problems.base)
    base_entropy = _entropy(problems.base)
    smallest, rising = np.inf, []
    betas = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    for beta in betas:
        pi = tilt(problems.base, problems.right, beta)
        p = _accuracy(problems, pi)
        gains = [float(((1 - a) ** k - (1 - p) ** k).min()) for k in KS]
        smallest = min(smallest, *gains)
        rising.append(float((_entropy(pi) > base_entropy).mean()))
    return {
        "smallest_gain": smallest,
        "betas": list(betas),
        "share_entropy_rises": rising,
        "mean_gain": [
            float(((1 - a) ** k - (1 - _accuracy(problems, tilted)) ** k).mean()) for k in KS
        ],
    }


def _counter_example() -> dict[str, Any]:
    """Entropy of one tilted distribution whose right answers are the unlikely ones."""
    q, reward = np.array([0.96, 0.02, 0.02]), np.array([0, 1, 1])
    betas = (0.0, 2.0, 4.0, 20.0)
    return {
        "beta": list(betas),
        "entropy": [float(_entropy(tilt(q, reward, beta))) for beta in betas],
        "beta_for_half": float(beta_for_reward(q, reward, 0.5)),
    }


def _entropy(p: Floats) -> Floats:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1))


def _null_row(first: NDArray[np.int64], second: NDArray[np.int64]) -> dict[str, Any]:
    """Two sample sets of the base: expected counts from both, and from the first alone."""
    found = expected_support(first, second, N_SAMPLES, BUDGET)
    row = {key: float(value) for key, value in found.items()}
    row["predicted"] = null_support(first, N_SAMPLES, BUDGET, unbiased=True)
    return row


def _right_answer_row(problems: AnswerProblems, pi: Floats) -> dict[str, Any]:
    """Support of problems and of single right answers where each problem has four (exact)."""
    row: dict[str, Any] = {}
    pairs = (
        ("problem", _accuracy(problems, problems.base), _accuracy(problems, pi)),
        ("answer", problems.base[problems.right], pi[problems.right]),
    )
    for name, before, after in pairs:
        u, v = 1 - (1 - before) ** BUDGET, 1 - (1 - after) ** BUDGET
        row[name] = {
            "E": float(((1 - u) * v).sum()),
            "S": float((u * (1 - v)).sum()),
            "null": float((u * (1 - u)).sum()),
            "n": len(u),
            "gain_at_1": float((after - before).mean()),
        }
    return row


STUDY = Study(
    slug="invisible-leash",
    title="What reinforcement learning loses of the base's reach",
    paper="2507.14843",
    claim=(
        "Reinforcement learning with verifiable rewards raises pass@1 but mostly re-weights what "
        "the base can reach: at large k the base overtakes, and more problems drop out of the "
        "empirical support than enter it."
    ),
    scales={
        "smoke": "200 problems, 150 updates; seconds",
        "quick": "1000 problems; four policies over answers, and a transformer; 1.5 min a seed",
        "full": "4000 problems, 2400 updates; 3 minutes a seed (estimated)",
    },
    measure=measure,
    judge=lambda measurements: [*judge(measurements), *judge_transformer(measurements)],
    draw=draw,
    notes=(
        "The policies choose among 10 final answers and are no language models: they separate what "
        "the exact projection does (never lose) from what finite groups and shared parameters do. "
        "Their shrinkage is larger than the paper's, and its size means little. One step size, "
        "groups of 8 and 20, 100 and 300 features were tried, with 600, 1500 and 3000 updates; 600 "
        "updates were kept, all three numbers of features are shown, and 100 is judged. Two "
        "statements of the paper's theory fail here and are printed as such. The transformer has "
        "106,000 parameters and ten possible answers a problem; its training and 128 answers to "
        "each of 1000 problems were fixed before the first run."
    ),
)
