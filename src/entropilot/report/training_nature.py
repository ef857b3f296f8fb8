"""What became of the entropy under a recipe: one word, from how its curves went.

Entropy is judged against the run's own start and read with the reward, never by one number for all
runs: a fall to half with a rising reward is the price of learning, a rise with answers running into
the length limit is no exploration.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from entropilot.report.training_numbers import RecipeNumbers

GONE: Final = 0.1  # of its own start: nothing is left to explore with, whatever it bought
HALVED: Final = 0.5  # of its own start: a collapse where it bought nothing
EXPLODED: Final = 1.3  # of its own start
CUT: Final = 0.1  # more answers stopped by the length limit than at the start
NARROWED: Final = 0.75  # of the different right answers at the start

Nature = Literal[
    "collapsed",
    "spent",
    "healthy",
    "flat",
    "worse",
    "rose",
    "exploded",
    "exploded with truncation",
    "short",
]

#: Natures of an entropy that rose at the cost of something.
EXPLOSIONS: Final[tuple[Nature, ...]] = ("exploded", "exploded with truncation")


def nature(recipe: RecipeNumbers) -> Nature:
    """What became of the entropy under a recipe, read with reward, diversity and truncation.

    "collapsed": a tenth of its start or less is left, or less than half while neither reward nor
    accuracy rose; "spent": less than half is left, and they were bought with diversity;
    "healthy": accuracy or reward rose; "worse": one of them fell; "exploded": entropy rose and one
    of them fell; "exploded with truncation": it rose and so did the share of answers cut off;
    "rose", "flat": none of these; "short": too few steps to say.
    """
    entropy = recipe.entropy
    if not entropy.is_known or math.isnan(entropy.ratio):
        return "short"
    if entropy.ratio > EXPLODED and entropy.rose:
        if recipe.truncated.end - recipe.truncated.start > CUT:
            return "exploded with truncation"
        return "exploded" if _is_worse(recipe) else "rose"
    if entropy.ratio <= GONE or (entropy.ratio < HALVED and not _is_better(recipe)):
        return "collapsed"
    if entropy.ratio < HALVED and _is_narrower(recipe):
        return "spent"
    if _is_better(recipe):
        return "healthy"
    return "worse" if _is_worse(recipe) else "flat"


def _is_better(recipe: RecipeNumbers) -> bool:
    """Whether accuracy on the fixed problems rose, or the reward did and accuracy did not fall."""
    found = recipe.outcomes.get("pass_1")
    if found is None:
        return recipe.reward.rose
    return found.change.low > 0 or (recipe.reward.rose and found.change.high >= 0)


def _is_worse(recipe: RecipeNumbers) -> bool:
    found = recipe.outcomes.get("pass_1")
    return recipe.reward.fell or (found is not None and found.change.high < 0)


def _is_narrower(recipe: RecipeNumbers) -> bool:
    distinct, reach = recipe.outcomes.get("distinct"), recipe.outcomes.get("reach")
    fewer = distinct is not None and distinct.change.high < 0
    fewer = fewer and distinct.after.value < NARROWED * distinct.before.value  # type: ignore[union-attr]
    return fewer or (reach is not None and reach.change.high < 0)
