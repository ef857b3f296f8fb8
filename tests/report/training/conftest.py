"""Made-up comparisons of recipes with planted outcomes, and a realistic one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from entropilot.policy.training.evaluation import Evaluation
from entropilot.policy.training.results import Arm, Comparison

N_ANSWERS, N_PROBLEMS = 16, 60


def evaluation(
    accuracy: float = 0.5,
    *,
    distinct: float = 3.0,
    seed: int = 0,
    spread: float = 1.5,
    length: float = 18.0,
    truncated: float = 0.0,
) -> Evaluation:
    """Answers to problems of beta-distributed difficulty; ``spread`` near 0 is all or nothing."""
    hard = np.random.default_rng(99)  # the same problems everywhere
    draws = np.random.default_rng(seed)
    base = hard.beta(1.5 * spread, 1.5 * spread, N_PROBLEMS)
    odds = base / (1 - base) * accuracy / max(1 - accuracy, 1e-9)
    p = np.clip(odds / (1 + odds), 0.0, 1.0)
    right = draws.binomial(N_ANSWERS, p)
    different = np.minimum(right, draws.poisson(distinct, N_PROBLEMS) + (right > 0))
    return Evaluation(
        n=N_ANSWERS,
        n_correct=right.tolist(),
        n_distinct=different.tolist(),
        answer_entropy=np.clip(draws.normal(0.25 * distinct, 0.1, N_PROBLEMS), 0, 2.7).tolist(),
        entropy=0.5,
        length=length,
        truncated=truncated,
    )


def arm(
    label: str = "grpo",
    seed: int = 0,
    *,
    entropy: tuple[float, float] = (0.55, 0.3),
    reward: tuple[float, float] = (0.4, 0.7),
    n_steps: int = 60,
    truncated: tuple[float, float] = (0.0, 0.0),
    wrong: tuple[float, float] = (0.1, 0.05),
    right: tuple[float, float] = (0.1, 0.3),
    accuracy: tuple[float, float] = (0.4, 0.7),
    distinct: tuple[float, float] = (3.0, 3.0),
    spread: float = 1.5,
    objective: str = "group-advantage; clipped-ratio(eps_low=0.2, eps_high=0.2); token-mean",
    knobs: dict[str, Any] | None = None,
    stopped: str = "",
    control: dict[str, Any] | None = None,
    at_limit: float = 0.0,
) -> Arm:
    """One arm whose curves go from one value to another, with noise."""
    noise = np.random.default_rng([seed, len(label)])
    start = evaluation(accuracy[0], distinct=distinct[0], seed=1000)
    end = evaluation(
        accuracy[1], distinct=distinct[1], seed=seed, spread=spread, truncated=truncated[1]
    )
    rows: list[dict[str, Any]] = [{"step": 0, **start.metrics()}]
    for step in range(1, n_steps + 1):
        share = 1 - np.exp(-3.5 * step / n_steps)

        def between(ends: tuple[float, float], share: float = share) -> float:
            return float(ends[0] + (ends[1] - ends[0]) * share)

        def wobbled(ends: tuple[float, float], size: float) -> float:
            return float(np.clip(between(ends) + noise.normal(0, size), 0, 1))

        h = entropy[0] * (entropy[1] / entropy[0]) ** share * float(np.exp(noise.normal(0, 0.04)))
        slope = (entropy[1] - entropy[0]) * 3.5 / n_steps * (1 - share)
        dead = [wobbled(ends, 0.0 if 1.0 in ends else 0.02) for ends in (wrong, right)]
        row = {
            "step": step,
            "reward": wobbled(reward, 0.03),
            "accuracy": wobbled(reward, 0.03),
            "entropy": h,
            "length": between((18.0, 22.0)) + noise.normal(0, 0.3),
            "truncated": between(truncated),
            "n_tokens": 4600,
            "frac_all_wrong_groups": dead[0],
            "frac_all_right_groups": dead[1],
            "frac_zero_std_groups": min(1.0, sum(dead)),
            "dead_tokens": min(1.0, sum(dead)),
            "tokens_all_wrong": round(4600 * dead[0]),
            "tokens_all_right": round(4600 * dead[1]),
            "surrogate/clip_fraction": abs(noise.normal(0.01, 0.004)),
            "covariance": 0.02 * (1 - 0.8 * share) + noise.normal(0, 0.001),
            "predicted_entropy_change": 12 * slope + noise.normal(0, 0.02),
            "entropy_change": slope + noise.normal(0, 0.004),
            "seconds": 0.9,
            "seconds_rollout": 0.4,
            "tokens_per_second": 5100.0,
        }
        row["entropy_change/first_order"] = row["entropy_change"] + noise.normal(0, 0.002)
        if control is not None:
            row |= {
                "control/value": 0.01 * (1 + share) * float(np.exp(noise.normal(0, 0.1))),
                "control/set_point": control["set_point"] * entropy[0],
                "control/error": 1 - h / (control["set_point"] * entropy[0]),
                "control/at_limit": at_limit,
            }
        for top, size in ((0.002, 6.0), (0.02, 2.5), (0.2, 0.5), (0.5, 0.2), (1.0, 0.02)):
            row[f"covariance/top_{top:g}"] = size * (1 - 0.8 * share)
        if step % 20 == 0:
            now = evaluation(
                between(accuracy), distinct=between(distinct), seed=step + seed, spread=spread
            )
            row |= now.metrics()
        rows.append(row)
    recipe = label.partition(" ")[0]
    return Arm(
        label, recipe, objective, seed, rows, start, end, stopped, knobs or {}, control or {}
    )


CONTROL: dict[str, Any] = {
    "knob": "coef", "quantity": "entropy", "set_point": 0.5, "low": 0.001, "high": 0.1,
    "scale": "log", "relative": True, "slope": False,
}  # fmt: skip


def answer(rng: np.random.Generator, scale: float, correct: bool) -> dict[str, Any]:
    """A worked addition, token by token."""
    tokens = [*"48+37=8+7=15;4+3+1", "=8", "\n", "#", "85" if correct else "<b>84</b>", "."]
    entropy = rng.gamma(0.5, scale, len(tokens))
    return {"tokens": tokens, "entropy": entropy.tolist(), "correct": correct}


def realistic(n_seeds: int = 2) -> Comparison:
    """Five recipes by some seeds by 60 steps, as a run on the tiny reasoner looks."""
    plans: list[tuple[str, dict[str, Any]]] = [
        ("grpo", {"entropy": (0.61, 0.02), "accuracy": (0.4, 0.75), "distinct": (3.4, 1.0),
                  "spread": 0.25, "right": (0.1, 0.7)}),
        ("clip-higher eps_high=0.28", {"entropy": (0.61, 0.21), "accuracy": (0.4, 0.76),
                                       "distinct": (3.4, 2.4), "knobs": {"eps_high": 0.28}}),
        ("kl-cov ratio=0.2", {"entropy": (0.61, 0.42), "accuracy": (0.4, 0.62),
                              "distinct": (3.4, 3.6), "knobs": {"ratio": 0.2}}),
        ("siren coef=1.0", {"entropy": (0.61, 0.55), "accuracy": (0.4, 0.72),
                            "distinct": (3.4, 3.5), "knobs": {"coef": 1.0}}),
        ("entropy-bonus held", {"entropy": (0.61, 0.3), "accuracy": (0.4, 0.7),
                                "distinct": (3.4, 3.0), "control": CONTROL}),
    ]  # fmt: skip
    arms = [
        arm(label, seed, reward=settings["accuracy"], **settings)
        for seed in range(n_seeds)
        for label, settings in plans
    ]
    rng = np.random.default_rng(5)
    before = answer(rng, 1.2, False)
    examples = [
        {
            "label": label,
            "seed": 0,
            "prompt": prompt,
            "reference": "85",
            "before": before,
            "after": answer(rng, 0.1 + 0.4 * i, i != 1),
        }
        for prompt in ("48+37=", "<script>alert(1)</script>\u202e")
        for i, (label, _) in enumerate(plans)
    ]
    settings = {
        "steps": 60, "n_prompts": 32, "n_answers": 8, "n_updates": 2, "learning_rate": 3e-4,
        "temperature": 1.0, "max_tokens": None, "seeds": [0, 1], "entropilot": "0.1.0",
        "python": "3.11.9", "machine": "x86_64",
    }  # fmt: skip
    return Comparison("addition", "reasoner", arms, settings, examples)


@pytest.fixture(scope="session")
def make_arm() -> Callable[..., Arm]:
    return arm


@pytest.fixture(scope="session")
def compare() -> Callable[..., Comparison]:
    """A comparison of some arms on a made-up task."""
    return lambda *arms: Comparison("addition", "reasoner", arms)


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    return realistic()


@pytest.fixture(scope="session")
def one_seed() -> Comparison:
    return realistic(1)


@pytest.fixture(scope="session")
def half_stopped() -> Comparison:
    """One arm of the third recipe met a number that is not finite."""
    found = realistic()
    reason = "the term 'kl-cov' gave 3 of 4600 values that are not finite."
    arms = list(found.arms)
    place = max(i for i, arm in enumerate(arms) if arm.recipe == "kl-cov")
    whole = arms[place]
    arms[place] = replace(whole, stopped=reason, rows=whole.rows[:31], end=whole.start)
    return replace(found, arms=arms)
