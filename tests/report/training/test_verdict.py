"""Sentences of the verdict, on comparisons whose outcome is planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.training_courses import course, dead_stretch
from entropilot.report.training_nature import nature
from entropilot.report.training_numbers import recipe_numbers
from entropilot.report.training_verdict import findings, verdict_sentences

MakeArm = Callable[..., Arm]
Compare = Callable[..., Comparison]


def the_nature(comparison: Comparison, place: int = 0) -> str:
    return nature(recipe_numbers(comparison)[place])


def said(comparison: Comparison) -> str:
    return " ".join(verdict_sentences(comparison))


def test_a_fall_to_half_with_a_rising_reward_is_healthy(
    make_arm: MakeArm, compare: Compare
) -> None:
    found = compare(make_arm(entropy=(0.55, 0.30)))
    assert the_nature(found) == "healthy"
    assert verdict_sentences(found)[0].startswith("Entropy is healthy under grpo: 0.5")
    assert "collapse" not in said(found)


@pytest.mark.parametrize("accuracy", [(0.4, 0.8), (0.4, 0.4)])
def test_nothing_left_is_a_collapse_whatever_it_bought(
    make_arm: MakeArm, compare: Compare, accuracy: tuple[float, float]
) -> None:
    found = compare(make_arm(entropy=(0.61, 0.01), accuracy=accuracy, reward=accuracy))
    assert the_nature(found) == "collapsed"
    assert verdict_sentences(found)[0].startswith("Entropy collapsed under grpo: 0.")


def test_thresholds_are_relative_to_the_start(make_arm: MakeArm, compare: Compare) -> None:
    """A hundred times the entropy, the same course, the same verdict."""
    for low, high in ((0.0061, 0.0001), (0.61, 0.01), (2.4, 0.04)):
        assert the_nature(compare(make_arm(entropy=(low, high)))) == "collapsed"
    for low, high in ((0.0055, 0.0030), (0.55, 0.30), (2.2, 1.2)):
        assert the_nature(compare(make_arm(entropy=(low, high)))) == "healthy"


def test_half_the_entropy_for_nothing_is_a_collapse(make_arm: MakeArm, compare: Compare) -> None:
    idle = {"reward": (0.4, 0.4), "accuracy": (0.4, 0.4)}
    assert the_nature(compare(make_arm(entropy=(0.6, 0.2), **idle))) == "collapsed"
    assert the_nature(compare(make_arm(entropy=(0.6, 0.45), **idle))) == "flat"


def test_accuracy_bought_with_diversity_is_spent_entropy(
    make_arm: MakeArm, compare: Compare
) -> None:
    narrow = make_arm(entropy=(0.6, 0.2), distinct=(4.0, 1.0))
    assert the_nature(compare(narrow)) == "spent"
    assert the_nature(compare(make_arm(entropy=(0.6, 0.2), distinct=(2.0, 4.0)))) == "healthy"


def test_a_rising_reward_counts_where_accuracy_is_too_noisy_to_tell(
    make_arm: MakeArm, compare: Compare
) -> None:
    found = compare(make_arm(entropy=(0.55, 0.25), reward=(0.4, 0.7), accuracy=(0.4, 0.42)))
    assert the_nature(found) == "healthy"
    assert "pass@1 went from 0.400 to 0.407 (no difference seen)" in said(found)
    fewer = make_arm(entropy=(0.55, 0.25), reward=(0.4, 0.7), accuracy=(0.6, 0.2))
    assert the_nature(compare(fewer)) == "collapsed"


def test_only_what_rose_is_said_to_rise(make_arm: MakeArm, compare: Compare) -> None:
    flat = compare(make_arm(entropy=(0.55, 0.35), reward=(0.4, 0.4), accuracy=(0.4, 0.7)))
    assert "with rising accuracy" in verdict_sentences(flat)[0]
    assert "with a rising reward" in verdict_sentences(compare(make_arm()))[0]


def test_a_rise_with_truncation_is_an_explosion_even_where_the_reward_rises(
    make_arm: MakeArm, compare: Compare
) -> None:
    plain = make_arm()
    wild = make_arm("bonus", entropy=(0.5, 2.0), truncated=(0.02, 0.6))
    found = compare(plain, wild)
    assert the_nature(found, 1) == "exploded with truncation"
    text = said(found)
    assert "bonus exploded with truncation" in text
    assert "answers cut off by the length limit went from 5% to 58%" in text
    assert "No recipe held entropy" in text  # an explosion is no control


def test_a_rise_with_falling_accuracy_is_an_explosion_and_else_a_rise(
    make_arm: MakeArm, compare: Compare
) -> None:
    bad = make_arm(entropy=(0.5, 1.5), accuracy=(0.6, 0.2), reward=(0.6, 0.2))
    assert the_nature(compare(bad)) == "exploded"
    assert the_nature(compare(make_arm(entropy=(0.5, 1.5)))) == "rose"


def test_training_that_unlearns_is_said_first(make_arm: MakeArm, compare: Compare) -> None:
    found = compare(make_arm(entropy=(0.5, 0.45), accuracy=(0.8, 0.2), reward=(0.8, 0.2)))
    assert verdict_sentences(found)[0].startswith("Training made grpo worse")
    assert "Training lowered pass@1 under grpo" in said(found)


def test_a_surge_after_a_collapse_is_seen(make_arm: MakeArm, compare: Compare) -> None:
    base = make_arm()
    curve = np.concatenate([np.linspace(0.6, 0.03, 30), np.linspace(0.03, 0.5, 31)])
    rows = [{**row, "entropy": float(h)} for row, h in zip(base.rows, curve, strict=True)]
    assert "surged again" in said(compare(replace(base, rows=rows)))


def test_groups_all_wrong_are_told_from_groups_all_right(
    make_arm: MakeArm, compare: Compare
) -> None:
    hard = compare(make_arm(wrong=(1.0, 1.0), right=(0.0, 0.0), accuracy=(0.01, 0.01)))
    text = said(hard)
    assert "from step 1 to the end: in (nearly) every group every answer was wrong" in text
    assert "276,000 tokens, 100% of the arm's" in text
    easy = compare(make_arm(right=(1.0, 1.0), wrong=(0.0, 0.0)))
    assert "every answer was right" in said(easy)
    assert "could learn nothing" not in said(compare(make_arm()))


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"wrong": (1.0, 1.0), "right": (0.0, 0.0)}, "grpo could learn nothing from step 1 on"),
        ({"right": (1.0, 1.0), "wrong": (0.0, 0.0)}, "grpo had nothing left to learn from step 1"),
    ],
)
def test_a_baseline_that_taught_nothing_opens_the_verdict(
    make_arm: MakeArm, compare: Compare, shares: dict[str, Any], words: str
) -> None:
    lost = [make_arm(seed=s, entropy=(0.5, 0.48), **shares) for s in (0, 1)]
    assert verdict_sentences(compare(*lost))[0].startswith(words)
    assert "its entropy went from 0." in said(compare(*lost))
    one_of_two = compare(lost[0], make_arm(seed=1, entropy=(0.5, 0.48)))
    assert "learn" not in verdict_sentences(one_of_two)[0]
    collapsed = make_arm(entropy=(0.5, 0.01), **shares)
    assert verdict_sentences(compare(collapsed))[0].startswith("Entropy collapsed")


def test_a_dead_stretch_in_the_middle_costs_its_own_tokens_only(make_arm: MakeArm) -> None:
    base = make_arm()
    dead = {"frac_zero_std_groups": 1.0, "frac_all_wrong_groups": 1.0, "dead_tokens": 1.0}
    rows = [row | dead if 20 <= row["step"] < 32 else row for row in base.rows]
    found = dead_stretch(replace(base, rows=rows))
    assert found is not None
    assert (found.first, found.last, found.n_tokens) == (20, 31, 12 * 4600)
    assert not found.to_the_end
    nine = [row | dead if 20 <= row["step"] < 29 else row for row in base.rows]
    assert dead_stretch(replace(base, rows=nine)) is None


def test_an_arm_that_stopped_is_named_with_its_term(half_stopped: Comparison) -> None:
    text = said(half_stopped)
    assert "kl-cov ratio=0.2, seed 1, stopped after step 30: the term 'kl-cov' gave 3 of" in text
    recipe = recipe_numbers(half_stopped)[2]
    assert len(recipe.outcomes["pass_1"].by_seed) == 1  # the seed that ended


def test_where_no_seed_ended_nothing_is_claimed(make_arm: MakeArm, compare: Compare) -> None:
    found = compare(make_arm(), make_arm("b", stopped="the term 'x' gave nan"))
    assert "no seed came to its end" in said(found)
    assert recipe_numbers(found)[1].outcomes == {}


def test_controls_are_listed_with_their_cost(make_arm: MakeArm, compare: Compare) -> None:
    plain = [make_arm(seed=s, entropy=(0.6, 0.02), accuracy=(0.4, 0.8)) for s in (0, 1)]
    free = [make_arm("free", s, entropy=(0.6, 0.3), accuracy=(0.4, 0.8)) for s in (0, 1)]
    dear = [make_arm("dear", s, entropy=(0.6, 0.4), accuracy=(0.4, 0.5)) for s in (0, 1)]
    idle = [make_arm("idle", s, entropy=(0.6, 0.02), accuracy=(0.4, 0.8)) for s in (0, 1)]
    found = compare(*plain, *free, *dear, *idle)
    control = next(f.text for f in findings(recipe_numbers(found)) if f.kind == "control")
    assert control.startswith("free held entropy above grpo's with no loss in pass@1")
    assert "dear (-0." in control
    assert "at a cost in pass@1" in control
    assert "idle" not in control
    assert "no difference seen in pass@1" in said(found)


def test_a_control_that_collapsed_itself_held_nothing(make_arm: MakeArm, compare: Compare) -> None:
    text = said(compare(make_arm(entropy=(0.6, 0.006)), make_arm("kl-cov", entropy=(0.6, 0.02))))
    assert "No recipe held entropy above grpo's." in text
    assert "kl-cov ended above grpo's entropy and collapsed all the same." in text


def test_a_cost_that_is_not_known_is_not_called_none(make_arm: MakeArm, compare: Compare) -> None:
    plain = make_arm(entropy=(0.6, 0.02))
    stopped = make_arm("siren", entropy=(0.6, 0.5), stopped="the term 'siren' gave nan")
    other_seed = make_arm("kl-cov", 7, entropy=(0.6, 0.5))
    text = said(compare(plain, stopped, other_seed))
    assert "siren and kl-cov held entropy above grpo's, and what that cost in pass@1 is not" in text
    assert "no loss" not in text


def test_controls_beside_an_explosion_are_those_that_stayed_calm(
    make_arm: MakeArm, compare: Compare
) -> None:
    bad = {"entropy": (0.5, 2.0), "accuracy": (0.5, 0.2), "reward": (0.5, 0.2)}
    calm = make_arm("grpo", entropy=(0.5, 0.4))
    text = said(compare(make_arm("bonus", **bad), calm, make_arm("wild", **bad)))
    assert "grpo did not explode where bonus did." in text
    assert "held entropy" not in text
    both = said(compare(make_arm("bonus", **bad), make_arm("wild", **bad)))
    assert "Every other recipe exploded as well." in both


def test_the_same_recipe_twice_differs_by_nothing(make_arm: MakeArm, compare: Compare) -> None:
    twin = replace(make_arm(), label="twin")
    against = recipe_numbers(compare(make_arm(), twin))[1].outcomes["pass_1"].against
    assert against is not None
    assert (against.value, against.low, against.high) == (0.0, 0.0, 0.0)
    assert "no difference seen in pass@1 (+0.000 [+0.000, +0.000])" in said(
        compare(make_arm(), twin)
    )


def test_seeds_are_paired_by_their_number(make_arm: MakeArm, compare: Compare) -> None:
    plain = [make_arm(seed=s, accuracy=(0.4, 0.5 + 0.2 * s)) for s in (0, 1)]
    other = [replace(arm, label="other") for arm in reversed(plain)]
    found = recipe_numbers(compare(*plain, *other))[1].outcomes["pass_1"]
    assert found.by_seed == (0.0, 0.0)


def test_seeds_that_disagree_are_said_to(make_arm: MakeArm, compare: Compare) -> None:
    plain = [make_arm(seed=s, accuracy=(0.4, 0.5)) for s in (0, 1)]
    other = [make_arm("b", 0, accuracy=(0.4, 0.9)), make_arm("b", 1, accuracy=(0.4, 0.4))]
    assert "although seeds disagree (+0." in said(compare(*plain, *other))


def test_one_seed_and_missing_seeds_are_caveats(
    one_seed: Comparison, comparison: Comparison
) -> None:
    assert "One seed was run" in verdict_sentences(one_seed)[-1]
    assert "One seed" not in said(comparison)
    fewer = replace(comparison, arms=comparison.arms[:-1])
    assert "Fewer seeds than the others: entropy-bonus held (1 seed)." in said(fewer)


def test_a_few_steps_say_nothing(make_arm: MakeArm, compare: Compare) -> None:
    found = compare(make_arm(n_steps=3), make_arm("b", n_steps=3))
    assert verdict_sentences(found)[0].startswith("grpo was not trained long enough")
    assert "held" not in said(found)


def test_a_log_without_entropy_says_so(make_arm: MakeArm, compare: Compare) -> None:
    base = make_arm()
    rows: list[dict[str, Any]] = [{**row, "entropy": None} for row in base.rows]
    found = compare(base, replace(base, label="b", rows=rows))
    assert "b logged no entropy." in said(found)


def test_values_that_are_not_finite_never_reach_a_course(
    make_arm: MakeArm, compare: Compare
) -> None:
    base = make_arm()
    rows = [{**row, "entropy": math.nan} if row["step"] == 30 else row for row in base.rows]
    recipe = recipe_numbers(compare(replace(base, rows=rows)))[0]
    assert recipe.entropy.n_steps == 59
    assert math.isfinite(recipe.entropy.end)


def test_a_flat_noisy_curve_neither_rises_nor_falls() -> None:
    noise = np.random.default_rng(3)
    wrong = 0
    for _ in range(200):
        found = course(range(60), (0.5 + noise.normal(0, 0.05, 60)).tolist())
        assert found is not None
        wrong += found.rose or found.fell
    assert wrong < 30  # two standard errors of a normal: 5 %, more for so few points


def held_at(**fields: Any) -> dict[str, Any]:
    control = {"knob": "coef", "quantity": "entropy", "set_point": 0.5, "low": 0.001, "high": 0.1}
    return control | {"scale": "log", "relative": True, "slope": False} | fields


def test_a_held_entropy_is_compared_with_fixed_settings(
    make_arm: MakeArm, compare: Compare
) -> None:
    plain = [make_arm(seed=s, entropy=(0.6, 0.05)) for s in (0, 1)]
    fixed = [make_arm("entropy-bonus", s, entropy=(0.6, 0.2)) for s in (0, 1)]
    held = [
        make_arm("entropy-bonus held", s, entropy=(0.6, 0.3), control=held_at()) for s in (0, 1)
    ]
    found = [f.text for f in findings(recipe_numbers(compare(*plain, *fixed, *held)))]
    text = next(t for t in found if t.startswith("entropy-bonus held kept entropy"))
    assert "its set point, 0.300, with coef between 0.0" in text
    assert "The same recipe with coef fixed ended 3" in text
    assert "% below it (entropy-bonus); other fixed settings ended 8" in text
    assert text.endswith("% below (grpo).")
    alone = said(compare(*plain, *held))
    assert "Fixed settings, which know no set point, ended 8" in alone
    assert "set point" not in said(compare(*plain, *fixed))


def test_a_knob_at_its_limit_is_said_to_be_out_of_reach(
    make_arm: MakeArm, compare: Compare
) -> None:
    stuck = make_arm("clip held", entropy=(0.6, 0.1), control=held_at(), at_limit=1.0)
    text = said(compare(make_arm(), stuck))
    assert "clip held did not keep entropy" in text
    assert "at a limit in 100% of them" in text


def test_a_held_slope_speaks_of_its_line(make_arm: MakeArm, compare: Compare) -> None:
    held = make_arm("bonus", entropy=(0.6, 0.3), control=held_at(slope=True))
    assert "kept entropy on its line" in said(compare(make_arm(), held))
    short = make_arm("bonus", n_steps=3, control=held_at())
    assert "set point" not in said(compare(make_arm(), short))


def test_answers_that_the_length_limit_cuts_off_are_said(
    make_arm: MakeArm, compare: Compare
) -> None:
    found = said(compare(make_arm(truncated=(0.9, 0.95))))
    assert "% of grpo's answers were cut off by the length limit" in found
    assert "raise train.max_tokens" in found
    assert "cut off" not in said(compare(make_arm(truncated=(0.1, 0.12))))


def test_arms_that_did_not_end_are_named_with_the_way_to_go_on(
    make_arm: MakeArm, compare: Compare
) -> None:
    whole = compare(make_arm())
    missing = {"siren, seed 1": "its process was killed. The same command again goes on with it"}
    found = replace(whole, unfinished=missing)
    assert "siren, seed 1 did not come to its end: its process was killed. The same" in said(found)
    nothing = Comparison("addition", "reasoner", (), unfinished=missing)
    assert verdict_sentences(nothing)[1].startswith("siren, seed 1 did not come")
    plain = verdict_sentences(whole)
    assert verdict_sentences(found)[0] == plain[0]  # the outcome stays the first thing said


def test_answers_without_a_verdict_are_counted(make_arm: MakeArm, compare: Compare) -> None:
    arm = make_arm()
    rows = [
        row | {"n_answers": 8, "verifier/raised": 2, "verifier/timed_out": 1} for row in arm.rows
    ]
    found = said(compare(replace(arm, rows=rows)))
    n = 3 * len(rows)
    assert f"The verifier gave no verdict on {n:,} answers of grpo, 38% of them" in found
