"""The verdict on a comparison of recipes, in plain words that follow from its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from entropilot.diagnosis.assessment import Interval
from entropilot.policy.training.results import Comparison
from entropilot.report.training_numbers import RecipeNumbers, recipe_numbers

COLLAPSED: Final = 0.5  # of its own start; read together with the reward, never alone
EXPLODED: Final = 1.3
HELD: Final = 1.25  # times the baseline's final entropy
DEAD: Final = 0.95  # share of groups that teach nothing


def training_verdict(comparison: Comparison) -> list[str]:
    """Sentences, the most important first.

    Args:
        comparison: its first recipe is the baseline.

    Examples:
        >>> training_verdict(Comparison("addition", "reasoner", ()))
        ['No arm came to its end, so there is nothing to compare.']
    """
    if not comparison.arms:
        return ["No arm came to its end, so there is nothing to compare."]
    recipes = recipe_numbers(comparison)
    plain, others = recipes[0], recipes[1:]
    said = [_baseline(plain)]
    said += [s for recipe in recipes if (s := _trouble(recipe))]
    said += _controls(plain, others)
    said += _costs(others, plain)
    said += _support(recipes)
    if max(recipe.n_seeds for recipe in recipes) == 1:
        said.append(
            "One seed was run: bands over seeds are missing, and another seed may rank the recipes "
            "differently. Set run.n_seeds to 3 or more."
        )
    return said


def _baseline(plain: RecipeNumbers) -> str:
    change = (
        f"its entropy went from {plain.entropy_start:.3f} to {plain.entropy_end:.3f} nats "
        f"({plain.entropy_ratio:.2f} x) while the reward went from {plain.reward_start:.2f} to "
        f"{plain.reward_end:.2f}"
    )
    diversity = (
        f"different right answers among {plain.n} went from {plain.distinct_start:.1f} to "
        f"{plain.distinct:.1f}"
    )
    rises = plain.gain.low > 0
    falls_far = plain.entropy_ratio < COLLAPSED
    narrows = plain.distinct < 0.75 * plain.distinct_start
    if math.isnan(plain.entropy_ratio):
        return f"{plain.label} was not trained long enough to say anything of its entropy."
    if plain.entropy_ratio > EXPLODED:
        return f"Entropy rose under {plain.label}: {change}."
    if falls_far and not rises:
        return f"Entropy collapsed under {plain.label} and bought nothing: {change}; {diversity}."
    if falls_far or (narrows and plain.entropy_ratio < 0.8):
        return f"{plain.label} spent its entropy: {change}, and {diversity}."
    if rises:
        return f"{plain.label} is healthy: {change}, an ordinary price of learning; {diversity}."
    return f"{plain.label} changed little: {change}; {diversity}."


def _trouble(recipe: RecipeNumbers) -> str:
    """What went wrong with one recipe, "" where nothing did."""
    if recipe.stopped:
        return f"{recipe.label} stopped early in {len(recipe.stopped)} arms: {recipe.stopped[0]}"
    exploded = recipe.entropy_ratio > EXPLODED
    if exploded and recipe.truncated_end > recipe.truncated_start + 0.1:
        return (
            f"{recipe.label} exploded: entropy rose {recipe.entropy_ratio:.1f} x and answers cut "
            f"by the length limit rose from {recipe.truncated_start:.0%} to "
            f"{recipe.truncated_end:.0%}. This is no exploration: lower its coefficient, and look "
            "at the length limit."
        )
    if exploded and recipe.gain.high < 0:
        return (
            f"{recipe.label} exploded: entropy rose {recipe.entropy_ratio:.1f} x and accuracy fell "
            f"by {-recipe.gain.value:.3f}. Lower its coefficient."
        )
    if recipe.all_wrong > DEAD:
        return (
            f"{recipe.label} could learn nothing at the end: {recipe.all_wrong:.0%} of the groups "
            f"were all wrong; {recipe.dead_tokens:.0%} of all tokens were spent on groups that "
            "teach nothing. Easier prompts, or more answers a prompt."
        )
    if recipe.all_right > DEAD:
        return (
            f"{recipe.label} had nothing left to learn at the end: {recipe.all_right:.0%} of the "
            f"groups were all right; {recipe.dead_tokens:.0%} of all tokens were spent on groups "
            "that teach nothing. Harder prompts, or fewer steps."
        )
    return ""


def _controls(plain: RecipeNumbers, others: Sequence[RecipeNumbers]) -> list[str]:
    held = [r for r in others if r.entropy_end >= HELD * plain.entropy_end]
    rest = [r for r in others if r not in held]
    said = []
    if held:
        parts = [
            f"{r.label} ({r.entropy_end:.3f} nats, {r.entropy_end / plain.entropy_end:.1f} x; "
            f"{r.distinct:.1f} different right answers)"
            for r in sorted(held, key=lambda r: -r.entropy_end)
        ]
        said.append(f"Held entropy where {plain.label} lost it: {_joined(parts)}.")
    if rest:
        parts = [f"{r.label} ({r.entropy_end / plain.entropy_end:.2f} x)" for r in rest]
        said.append(f"Ended within a quarter of {plain.label}'s entropy: {_joined(parts)}.")
    return said


def _costs(others: Sequence[RecipeNumbers], plain: RecipeNumbers) -> list[str]:
    if not others:
        return []
    parts = [f"{r.label} {against(r.over_plain)}" for r in others]
    said = [f"pass@1 against {plain.label}'s {plain.pass_1:.3f}: {_joined(parts)}."]
    if plain.n > 1:
        parts = [f"{r.label} {against(r.reach_over_plain)}" for r in others]
        said.append(f"pass@{plain.n} against {plain.reach:.3f}: {_joined(parts)}.")
    return said


def _support(recipes: Sequence[RecipeNumbers]) -> list[str]:
    lost = [r for r in recipes if r.lost > 3 * r.by_chance and r.lost > r.found + 0.5]
    if not lost:
        return []
    parts = [
        f"{r.label} {r.lost:.1f} (found {r.found:.1f}, chance {r.by_chance:.1f})" for r in lost
    ]
    return [
        f"Problems that the start solved within {recipes[0].budget} tries and training lost: "
        f"{_joined(parts)}."
    ]


def against(difference: Interval | None) -> str:
    """A difference with its interval, or that none was seen.

    Examples:
        >>> against(Interval(0.02, -0.01, 0.05)), against(Interval(-0.04, -0.06, -0.02))
        ('no difference seen (+0.020 [-0.010, +0.050])', '-0.040 [-0.060, -0.020]')
    """
    if difference is None:
        return "not comparable: other seeds"
    shown = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    if difference.low <= 0 <= difference.high:
        return f"no difference seen ({shown})"
    return shown


def _joined(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
