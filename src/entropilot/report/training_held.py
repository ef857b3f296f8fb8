"""How close a controller kept its quantity to the set point, and how fixed settings fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from entropilot.policy.training.results import Arm
from entropilot.report.training_courses import LEAST_STEPS, window
from entropilot.report.training_words import joined
from entropilot.report.wording import percent

if TYPE_CHECKING:
    from entropilot.report.training_numbers import RecipeNumbers

VALUE: Final = "control/value"
SET_POINT: Final = "control/set_point"
AT_LIMIT: Final = "control/at_limit"
STUCK: Final = 0.5  # share of the last steps at a limit, from which the set point is out of reach


@dataclass(frozen=True)
class HeldNumbers:
    """What a controller did, seeds together; all but the knob's range over the last steps.

    Args:
        knob: that was turned.
        quantity: that was held.
        slope: whether its slope was.
        n_steps: how many steps are the last ones.
        wanted: mean set point, in the quantity's unit.
        kept: mean quantity.
        by_seed: that of each seed.
        knob_low, knob_high: where the knob was over the second half of the run.
        at_limit: share of steps with the knob at a limit.
    """

    knob: str
    quantity: str
    slope: bool
    n_steps: int
    wanted: float
    kept: float
    by_seed: tuple[float, ...]
    knob_low: float
    knob_high: float
    at_limit: float

    @property
    def off(self) -> float:
        """Quantity over set point, less 1."""
        return self.kept / self.wanted - 1 if self.wanted else float("nan")


def held_numbers(arms: Sequence[Arm]) -> HeldNumbers | None:
    """Of the arms of one recipe; None where no knob was turned, or not for long."""
    control = arms[0].control
    if not control:
        return None
    quantity = str(control["quantity"])
    rows = [
        [row for row in arm.rows if row.get(SET_POINT) is not None and row.get(quantity)]
        for arm in arms
    ]
    rows = [found for found in rows if len(found) >= LEAST_STEPS]
    if not rows:
        return None
    size = window(min(map(len, rows)))
    ends = [found[-size:] for found in rows]
    knob = [row[VALUE] for found in rows for row in found[len(found) // 2 :]]
    by_seed = tuple(float(np.mean([row[quantity] for row in end])) for end in ends)
    return HeldNumbers(
        knob=str(control["knob"]),
        quantity=quantity,
        slope=bool(control.get("slope")),
        n_steps=size,
        wanted=float(np.mean([row[SET_POINT] for end in ends for row in end])),
        kept=float(np.mean(by_seed)),
        by_seed=by_seed,
        knob_low=float(min(knob)),
        knob_high=float(max(knob)),
        at_limit=float(np.mean([row[AT_LIMIT] for end in ends for row in end])),
    )


def held_sentences(recipes: Sequence[RecipeNumbers]) -> list[str]:
    """One a controller: how close it kept its quantity, and where fixed settings left it."""
    fixed = [r for r in recipes if r.held is None and r.entropy_ends]
    said = []
    for recipe in recipes:
        held = recipe.held
        if held is None:
            continue
        sentence = f"{recipe.label} {_kept(held)}"
        if held.quantity == "entropy" and fixed:
            sentence += f" {_beside(recipe, held, fixed)}"
        said.append(sentence)
    return said


def _kept(held: HeldNumbers) -> str:
    unit = " nats" if "entropy" in held.quantity else ""
    low, high = f"{min(held.by_seed):.3f}", f"{max(held.by_seed):.3f}"
    seeds = f" ({low} to {high} over seeds)" if low != high else ""
    what = f"{held.quantity} on its line" if held.slope else held.quantity
    point = "where the line ends" if held.slope else "its set point"
    sentence = (
        f"kept {what}: {held.kept:.3f}{unit} over the last {held.n_steps} steps{seeds}, "
        f"{_off(held.off)} {point}, {held.wanted:.3f}, with {held.knob} between "
        f"{held.knob_low:.3g} and {held.knob_high:.3g}."
    )
    if held.at_limit >= STUCK:
        sentence = sentence.replace("kept", "did not keep", 1)
        sentence += (
            f" The knob was at a limit in {percent(held.at_limit)} of them, so the set point was "
            "out of its reach: widen the limits, or turn another knob."
        )
    return sentence


def _beside(recipe: RecipeNumbers, held: HeldNumbers, fixed: Sequence[RecipeNumbers]) -> str:
    """Where recipes with fixed settings ended against the same set point, the nearest kin first."""
    ends = {r.label: float(np.mean(r.entropy_ends)) for r in fixed}
    kin = [r.label for r in fixed if r.recipe == recipe.recipe]
    parts = []
    if kin:
        shown = [f"{_off(ends[label] / held.wanted - 1)} it ({label})" for label in kin]
        parts.append(f"the same recipe with {held.knob} fixed ended {joined(shown)}")
    rest = [
        f"{_off(ends[r.label] / held.wanted - 1)} ({r.label})" for r in fixed if r.label not in kin
    ]
    if rest:
        what = "other fixed settings" if kin else "fixed settings, which know no set point,"
        parts.append(f"{what} ended {joined(rest)}")
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _off(share: float) -> str:
    """How far from a value.

    Examples:
        >>> _off(-0.031), _off(0.12), _off(0.004)
        ('3% below', '12% above', 'at')
    """
    size = round(100 * abs(share))
    return "at" if size == 0 else f"{size}% {'below' if share < 0 else 'above'}"
