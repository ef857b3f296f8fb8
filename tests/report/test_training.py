"""The report of recipes: a verdict from planted numbers, and a page that stands alone."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.policy.training.evaluation import Evaluation
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.training import (
    law_rows,
    render_training,
    summary_table,
    training_markdown,
    write_training_report,
)
from entropilot.report.training_verdict import training_verdict

STEPS, N, Q = 48, 16, 60


def evaluation(rate: float, distinct: float, seed: int) -> Evaluation:
    random = np.random.default_rng(seed)
    return Evaluation(
        n=N,
        n_correct=random.binomial(N, rate, Q).tolist(),
        n_distinct=random.poisson(distinct, Q).tolist(),
        answer_entropy=[1.0] * Q,
        entropy=0.5,
        length=20.0,
        truncated=0.0,
    )


def arm(
    label: str,
    seed: int,
    *,
    entropy: tuple[float, float] = (0.6, 0.3),
    reward: tuple[float, float] = (0.4, 0.9),
    distinct: float = 8.0,
    **extra: Any,
) -> Arm:
    share = np.linspace(0, 1, STEPS)
    random = np.random.default_rng([seed, len(label)])
    noise = random.normal(0, 0.004, (2, STEPS))
    rows: list[dict[str, Any]] = [{"step": 0, "eval/pass@1": reward[0]}]
    for i in range(STEPS):
        row: dict[str, Any] = {
            "step": i + 1,
            "entropy": entropy[0] + share[i] * (entropy[1] - entropy[0]) + noise[0, i],
            "reward": reward[0] + share[i] * (reward[1] - reward[0]) + noise[1, i],
            "length": 20.0,
            "n_tokens": 1000,
            "seconds": 0.1,
            "truncated": 0.0,
            "frac_all_wrong_groups": 0.1,
            "frac_all_right_groups": 0.2,
            "dead_tokens": 0.3,
            "covariance/top_0.02": 0.4,
        }
        for name, value in extra.items():
            row[name] = value[i] if isinstance(value, list) else value
        rows.append(row)
    return Arm(
        label,
        label,
        f"objective of {label}",
        seed,
        rows,
        evaluation(reward[0], 8.0, seed),
        evaluation(reward[1], distinct, seed + 1),
    )


def comparison(*arms: Arm, **fields: Any) -> Comparison:
    return Comparison("addition", "reasoner", arms, **fields)


def said(*arms: Arm) -> str:
    return " ".join(training_verdict(comparison(*arms)))


def test_ordinary_fall_with_rising_reward_is_no_collapse() -> None:
    verdict = said(*(arm("grpo", seed, entropy=(0.55, 0.30)) for seed in (0, 1)))
    assert "is healthy" in verdict
    assert "collapse" not in verdict


def test_fall_that_buys_nothing_is_a_collapse() -> None:
    verdict = said(*(arm("grpo", s, entropy=(0.61, 0.01), reward=(0.5, 0.5)) for s in (0, 1)))
    assert verdict.startswith("Entropy collapsed under grpo and bought nothing")


def test_control_that_holds_entropy_is_named_with_its_cost() -> None:
    plain = [arm("grpo", s, entropy=(0.6, 0.15), distinct=3.0) for s in (0, 1)]
    held = [arm("siren", s, entropy=(0.6, 0.5), reward=(0.4, 0.7)) for s in (0, 1)]
    verdict = said(*plain, *held)
    assert "Held entropy where grpo lost it: siren (" in verdict
    assert re.search(r"pass@1 against grpo's 0\.\d+: siren -0\.\d+ \[-0\.\d+, -0\.\d+\]", verdict)


def test_same_recipe_twice_shows_no_difference() -> None:
    twice = [arm("grpo", s) for s in (0, 1)], [arm("gspo", s) for s in (0, 1)]
    assert "gspo no difference seen" in said(*twice[0], *twice[1])


def test_rising_entropy_with_truncation_is_an_explosion() -> None:
    cut = np.linspace(0, 0.8, STEPS).tolist()
    wild = [arm("bonus", s, entropy=(0.6, 2.0), reward=(0.6, 0.2), truncated=cut) for s in (0, 1)]
    verdict = said(arm("grpo", 0), arm("grpo", 1), *wild)
    assert "bonus exploded" in verdict
    assert "no exploration" in verdict


@pytest.mark.parametrize(
    ("which", "words"), [("wrong", "learn nothing"), ("right", "nothing left")]
)
def test_groups_that_teach_nothing_are_diagnosed(which: str, words: str) -> None:
    dead = {f"frac_all_{which}_groups": 1.0, "dead_tokens": 0.97}
    verdict = said(*(arm("grpo", s, reward=(0.5, 0.5), entropy=(0.5, 0.5), **dead) for s in (0, 1)))
    assert words in verdict
    assert "97% of all tokens" in verdict


def test_stopped_arm_and_single_seed_are_said() -> None:
    import dataclasses

    broken = dataclasses.replace(arm("siren", 0), stopped="the term 'siren' gave nan")
    verdict = said(arm("grpo", 0), broken)
    assert "siren stopped early" in verdict
    assert "the term 'siren' gave nan" in verdict
    assert "One seed was run" in verdict


def test_nothing_to_compare() -> None:
    assert training_verdict(comparison()) == [
        "No arm came to its end, so there is nothing to compare."
    ]


def four_recipes() -> Comparison:
    arms = [
        arm(label, seed, entropy=(0.6, end), distinct=distinct)
        for seed in (0, 1)
        for label, end, distinct in (
            ("grpo", 0.15, 3.0),
            ("clip-higher", 0.2, 4.0),
            ("kl-cov ratio=0.2", 0.3, 5.0),
            ("siren", 0.5, 8.0),
        )
    ]
    answer = {
        "tokens": ["<b>", "1", "\u202e"],
        "entropy": [0.1, 1.2, 2.5],
        "correct": False,
        "logprob": [-0.1] * 3,
    }
    example = {
        "label": "grpo",
        "seed": 0,
        "prompt": "<script>alert(1)</script>",
        "reference": "2",
        "before": answer,
        "after": answer,
    }
    return comparison(*arms, settings={"steps": STEPS}, examples=[example])


def test_page_stands_alone_and_escapes_what_models_write(tmp_path: Path) -> None:
    file = write_training_report(tmp_path / "report.html", four_recipes())
    page = file.read_text(encoding="utf-8")
    assert len(page) < 600_000
    assert "default-src 'none'" in html.unescape(page)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert page.count('class="figure"') >= 6
    for words in ("Support kept and lost", "objective of siren", "R² alone says little"):
        assert words in page


def test_markdown_and_table_have_a_row_a_recipe() -> None:
    head, rows = summary_table(four_recipes())
    assert [row[0] for row in rows] == ["grpo", "clip-higher", "kl-cov ratio=0.2", "siren"]
    assert all(len(row) == len(head) for row in rows)
    text = training_markdown(four_recipes())
    assert text.startswith("# Recipes on addition")
    assert text.count("\n|") == 6


def test_law_is_shown_beside_its_rivals() -> None:
    rows = law_rows(four_recipes())
    assert len(rows) == 8
    assert all(row["law"].r2 > 0.9 and row["line"].r2 > 0.9 for row in rows)


def test_short_run_renders() -> None:
    short = four_recipes()
    arms = [
        Arm(a.label, a.recipe, a.objective, a.seed, a.rows[:3], a.start, a.end) for a in short.arms
    ]
    assert "Outcome" in render_training(comparison(*arms))
