"""Tables of a comparison of recipes: outcomes, covariance by share of the tokens, objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from entropilot.policy.training.results import Comparison
from entropilot.report.training_courses import window
from entropilot.report.training_numbers import RecipeNumbers, mean_curve
from entropilot.report.training_words import signed
from entropilot.report.wording import ABSENT, decimal

TOP: Final = "covariance/top_"


def summary_table(
    recipes: Sequence[RecipeNumbers],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows: what each recipe ended with.

    Args:
        recipes: of ``recipe_numbers``, at least one.
    """
    n, first = recipes[0].n, recipes[0].label
    head = (
        *("recipe", "entropy, nats", "pass@1", f"pass@1 against {first}", f"pass@{n}"),
        *("different right answers", "length, tokens"),
    )
    return head, [_summary_row(recipe) for recipe in recipes]


class CovarianceTable(NamedTuple):
    """Mean covariance of log-prob and advantage of the tokens with the largest.

    Examples:
        >>> CovarianceTable(["2%", "100%"], [("grpo", ["0.31 to 0.02", "0.01 to 0.00"])]).shares[0]
        '2%'
    """

    shares: list[str]  # of the tokens
    rows: list[tuple[str, list[str]]]  # recipe, over the first and over the last steps


def covariance_table(comparison: Comparison) -> CovarianceTable | None:
    """Means over the first and the last steps; None where it was not logged."""
    names = {name for arm in comparison.arms for row in arm.rows for name in row}
    tops = sorted((name for name in names if name.startswith(TOP)), key=_share)
    if not tops:
        return None
    rows = []
    for label in comparison.labels:
        cells = []
        for name in tops:
            values = [float(np.mean(v)) for _, v in mean_curve(comparison.of(label), name)]
            size = window(len(values))
            ends = [f"{np.mean(part):.3f}" for part in (values[:size], values[-size:]) if part]
            cells.append(" to ".join(ends) or ABSENT)
        rows.append((label, cells))
    return CovarianceTable([f"{100 * _share(name):g}%" for name in tops], rows)


class ObjectiveCard(NamedTuple):
    """What a recipe minimises, in full.

    Examples:
        >>> ObjectiveCard("grpo", "group-advantage; ...", "", "", []).label
        'grpo'
    """

    label: str
    objective: str
    title: str
    what: str
    knobs: list[tuple[str, str, str]]  # name, value ("given" is said), meaning with range


def objective_cards(recipes: Sequence[RecipeNumbers]) -> list[ObjectiveCard]:
    """Every recipe with all its knobs, those that were given and those at their defaults."""
    from entropilot.policy.recipe_table import RECIPES

    cards = []
    for recipe in recipes:
        known = RECIPES.get(recipe.recipe)
        if known is None:
            knobs = [(name, str(value), "") for name, value in recipe.knobs.items()]
            cards.append(ObjectiveCard(recipe.label, recipe.objective, recipe.recipe, "", knobs))
            continue
        knobs = [
            (
                knob.name,
                f"{_value(recipe.knobs.get(knob.name, knob.default))}"
                + ("" if knob.name in recipe.knobs else " (default)"),
                f"{knob.meaning}; {knob.range}",
            )
            for knob in known.knobs
        ]
        cards.append(ObjectiveCard(recipe.label, recipe.objective, known.title, known.what, knobs))
    return cards


def settings_table(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings, seeds and versions for reading; nested ones by their path.

    Examples:
        >>> settings_table({"steps": 80, "versions": {"torch": "2.1"}, "max_tokens": None})
        [('steps', '80'), ('versions.torch', '2.1'), ('max_tokens', 'none')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}.{inner}", text) for inner, text in settings_table(value)]
        else:
            rows.append((str(name), _value(value)))
    return rows


def _summary_row(recipe: RecipeNumbers) -> tuple[str, ...]:
    entropy, length = recipe.entropy, recipe.length
    found = recipe.outcomes
    if not found:
        outcome: tuple[str, ...] = (ABSENT, ABSENT, ABSENT, ABSENT)
    else:
        against, distinct = found["pass_1"].against, found["distinct"]
        outcome = (
            f"{found['pass_1'].after.value:.3f}",
            ABSENT if against is None else signed(against),
            f"{found['reach'].after.value:.3f}",
            f"{distinct.before.value:.1f} to {distinct.after.value:.1f}",
        )
    return (
        recipe.label,
        f"{decimal(entropy.start, 3)} to {decimal(entropy.end, 3)}",
        *outcome,
        f"{decimal(length.start, 1)} to {decimal(length.end, 1)}",
    )


def _share(name: str) -> float:
    try:
        return float(name.removeprefix(TOP))
    except ValueError:
        return 1.0


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
