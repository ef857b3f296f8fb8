"""What recipes did to the entropy beside the baseline, and its cost: sentences of the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from entropilot.diagnosis.assessment import Interval
from entropilot.report.training_nature import EXPLOSIONS, nature
from entropilot.report.training_numbers import Outcome, RecipeNumbers
from entropilot.report.training_words import difference, is_apart, joined, signed, times

HELD: Final = 1.25  # times the baseline's entropy at the end, for every seed


def controls(plain: RecipeNumbers, others: Sequence[RecipeNumbers]) -> list[tuple[str, str]]:
    """Which recipes held the entropy, and what they gave for it: (label, sentence).

    The label is "" where a sentence speaks of several; each recipe then has one of its own.

    Args:
        plain: the baseline.
        others: the recipes beside it.
    """
    if not others or not plain.entropy_ends:
        return []
    if _exploded(plain):
        found = [("", text) for text in _calm(plain, others)]
        return found + [(r.label, _beside(r, plain)) for r in others]
    if nature(plain) == "short":
        return [(r.label, _beside(r, plain)) for r in others]
    above = [r for r in others if _ends_above(r, plain)]
    held = [r for r in above if nature(r) != "collapsed"]
    costs = [(r.label, cost) for r in held if (cost := _cost(r)) is not None]
    free = [(label, cost) for label, cost in costs if cost.high >= 0]
    dear = [f"{label} ({difference(cost)})" for label, cost in costs if cost.high < 0]
    unknown = [r.label for r in held if _cost(r) is None]
    parts = []
    if free:
        parts.append(
            f"{joined([label for label, _ in free])} held entropy above {plain.label}'s with no "
            f"loss in pass@1 that could be seen ({joined([signed(cost) for _, cost in free])})"
        )
    if dear:
        it = "it" if free else f"entropy above {plain.label}'s"
        parts.append(f"{joined(dear)} held {it} at a cost in pass@1")
    if unknown:
        it = "it" if parts else f"entropy above {plain.label}'s"
        parts.append(f"{joined(unknown)} held {it}, and what that cost in pass@1 is not known")
    said = "; ".join(parts) if held else f"No recipe held entropy above {plain.label}'s"
    found = [("", f"{said}.")]
    if fallen := [r.label for r in above if nature(r) == "collapsed"]:
        text = f"{joined(fallen)} ended above {plain.label}'s entropy and collapsed all the same."
        found.append(("", text))
    found += [("", text) for text in _more(plain, others)]
    return found + [(r.label, _beside(r, plain)) for r in others]


def _calm(plain: RecipeNumbers, others: Sequence[RecipeNumbers]) -> list[str]:
    """Which recipes did not explode where the baseline did."""
    calm = [r.label for r in others if not _exploded(r) and nature(r) != "short"]
    if calm:
        return [f"{joined(calm)} did not explode where {plain.label} did.", *_more(plain, others)]
    return ["Every other recipe exploded as well."] if all(map(_exploded, others)) else []


def _more(plain: RecipeNumbers, others: Sequence[RecipeNumbers]) -> list[str]:
    """Which recipes kept more different right answers, and solve more problems in n answers."""
    said = []
    for key, name, digits in (
        ("distinct", "more different right answers", 1),
        ("reach", f"a higher pass@{plain.n}", 3),
    ):
        if key == "reach" and plain.n == 1:
            continue
        parts = [
            f"{r.label} ({found.against.value:+.{digits}f})"
            for r in others
            if (found := r.outcomes.get(key)) and found.against and found.against.low > 0
        ]
        if parts:
            said.append(f"{name} under {joined(parts)}")
    return [f"Against {plain.label}, there were {' and '.join(said)}."] if said else []


def _beside(recipe: RecipeNumbers, plain: RecipeNumbers) -> str:
    """One recipe next to the baseline, every number with its interval."""
    ends, base = recipe.entropy_ends, plain.entropy_ends
    if not ends:
        return f"{recipe.label} logged no entropy."
    own, rival = sum(ends) / len(ends), sum(base) / len(base)
    ratio = own / rival if rival > 0 else float("nan")
    low, high = f"{min(ends):.3f}", f"{max(ends):.3f}"
    seeds = f", {low} to {high} over seeds" if low != high else ""
    start = f"{recipe.label} ended at {own:.3f} nats{seeds} ({times(ratio)} {plain.label}'s)"
    parts = []
    for key, name in (
        ("pass_1", "pass@1"),
        ("reach", f"pass@{recipe.n}"),
        ("distinct", "different right answers"),
    ):
        found = recipe.outcomes.get(key)
        if found is not None and not (key == "reach" and recipe.n == 1):
            parts.append(_against(name, found, 2 if key == "distinct" else 3))
    return f"{start}; {', '.join(parts)}." if parts else f"{start}; no seed came to its end."


def _against(name: str, found: Outcome, digits: int) -> str:
    said = f"{name} {difference(found.against, digits)}"
    if found.against is not None and not is_apart(found.against):
        return f"no difference seen in {name} ({signed(found.against, digits)})"
    if found.seeds_disagree and is_apart(found.against):
        values = ", ".join(f"{value:+.{digits}f}" for value in found.by_seed)
        return f"{said} although seeds disagree ({values})"
    return said


def _ends_above(recipe: RecipeNumbers, plain: RecipeNumbers) -> bool:
    """Whether its entropy ends clearly above the baseline's under every seed, without exploding."""
    if _exploded(recipe) or nature(recipe) == "short" or not recipe.entropy_ends:
        return False
    return min(recipe.entropy_ends) > HELD * max(plain.entropy_ends)


def _exploded(recipe: RecipeNumbers) -> bool:
    return nature(recipe) in EXPLOSIONS


def _cost(recipe: RecipeNumbers) -> Interval | None:
    """Difference to the baseline's pass@1; None where no seed ended under both."""
    found = recipe.outcomes.get("pass_1")
    return None if found is None else found.against
