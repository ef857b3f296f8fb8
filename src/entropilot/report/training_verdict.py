"""The verdict on a comparison of recipes, in plain words that follow from its numbers.

Entropy is judged against the run's own start and read with the reward, never by one number for all
runs: a fall to half with a rising reward is the price of learning, a rise with answers running into
the length limit is no exploration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from entropilot.policy.training.results import Comparison
from entropilot.report.training_controls import controls
from entropilot.report.training_courses import DeadStretch
from entropilot.report.training_held import held_sentences
from entropilot.report.training_nature import nature
from entropilot.report.training_numbers import RecipeNumbers, recipe_numbers
from entropilot.report.training_words import difference, is_apart, joined, times
from entropilot.report.wording import count, percent, plural

MOSTLY_CUT: Final = 0.5  # share of answers stopped by the length limit that is said
Kind = Literal["baseline", "trouble", "control", "held", "support", "caveat"]


class Finding(NamedTuple):
    """One sentence of the verdict.

    Examples:
        >>> Finding("caveat", "", "One seed was run.").text
        'One seed was run.'
    """

    kind: Kind
    label: str  # of the recipe it speaks of, "" where of all
    text: str


def verdict_sentences(comparison: Comparison) -> list[str]:
    """What the numbers say, the most important first.

    Args:
        comparison: its first recipe is the baseline.

    Examples:
        >>> verdict_sentences(Comparison("addition", "reasoner", ()))
        ['No arm came to its end, so there is nothing to compare.']
    """
    return [f.text for f in findings(recipe_numbers(comparison), comparison.unfinished)]


def findings(
    recipes: Sequence[RecipeNumbers], unfinished: Mapping[str, str] | None = None
) -> list[Finding]:
    """The verdict, sentence by sentence, with what each speaks of.

    Args:
        recipes: of ``recipe_numbers``, the baseline first.
        unfinished: arms that are missing from them, with why.
    """
    missing = [
        Finding("trouble", "", f"{arm} did not come to its end: {why.rstrip('.')}.")
        for arm, why in (unfinished or {}).items()
    ]
    if not recipes:
        nothing = "No arm came to its end, so there is nothing to compare."
        return [Finding("caveat", "", nothing), *missing]
    plain, others = recipes[0], recipes[1:]
    said = [Finding("baseline", plain.label, _baseline(plain))]
    if bought := _bought(plain):
        said.append(Finding("baseline", plain.label, bought))
    said += missing
    said += [Finding("trouble", r.label, text) for r in recipes for text in troubles(r)]
    said += _worse(recipes)
    said += [Finding("control", label, text) for label, text in controls(plain, others)]
    said += [Finding("held", "", text) for text in held_sentences(recipes)]
    said += _support(recipes)
    return said + _caveats(recipes)


def troubles(recipe: RecipeNumbers) -> list[str]:
    """What went wrong with a recipe, each with its evidence and what to do."""
    said = []
    if recipe.unverified:
        share = percent(recipe.unverified / recipe.n_answers) if recipe.n_answers else "some"
        said.append(
            f"The verifier gave no verdict on {count(recipe.unverified)} answers of "
            f"{recipe.label}, {share} of them: it raised, took too long or died, and each counted "
            "as wrong. What it taught is in part the verifier's doing; mend it, or raise "
            "task.time_limit."
        )
    for seed, step, why in recipe.stopped:
        reason = why.rstrip(".")
        said.append(f"{recipe.label}, seed {seed}, stopped after step {step}: {reason}.")
    kind, entropy, cut = nature(recipe), recipe.entropy, recipe.truncated
    if kind == "exploded with truncation":
        said.append(
            f"{recipe.label} exploded with truncation: its entropy rose to {entropy.ratio:.1f} x "
            f"its start, and answers cut off by the length limit went from {percent(cut.start)} to "
            f"{percent(cut.end)}. This is no exploration: weaken what raises its entropy, and look "
            "at answers that run into the limit."
        )
    elif kind == "exploded":
        said.append(
            f"{recipe.label} exploded: its entropy rose to {entropy.ratio:.1f} x its start while "
            f"{_fallen(recipe)}. Weaken what raises its entropy."
        )
    elif cut.end >= MOSTLY_CUT:
        said.append(
            f"{percent(cut.end)} of {recipe.label}'s answers were cut off by the length limit, at "
            f"{recipe.length.end:.0f} tokens, before they had an end to be judged by: raise "
            "train.max_tokens, or ask for shorter answers."
        )
    if recipe.reward.rose and (pass_1 := recipe.outcomes.get("pass_1")) and pass_1.change.high < 0:
        said.append(
            f"{recipe.label} earned more reward ({recipe.reward.start:.2f} to "
            f"{recipe.reward.end:.2f}) and solved fewer of the fixed problems "
            f"({difference(pass_1.change)} in pass@1): look at what the reward pays for."
        )
    return said + ([_dead(recipe.label, recipe.dead)] if recipe.dead else [])


def _baseline(plain: RecipeNumbers) -> str:
    entropy = plain.entropy
    kind = nature(plain)
    if kind == "short":
        return f"{plain.label} was not trained long enough to say anything of its entropy."
    if lost := _lost(plain):
        return lost
    change = f"{entropy.start:.3f} to {entropy.end:.3f} nats, {times(entropy.ratio)} its start"
    rising = "a rising reward" if plain.reward.rose else "rising accuracy"
    said = {
        "collapsed": f"Entropy collapsed under {plain.label}: {change}",
        "spent": f"{plain.label} spent its entropy: {change}",
        "healthy": f"Entropy is healthy under {plain.label}: {change}, with {rising}",
        "flat": f"Entropy did not collapse under {plain.label}: {change}",
        "worse": f"Training made {plain.label} worse, and its entropy went from {change}",
        "rose": f"Entropy rose under {plain.label}: {change}",
    }
    return said.get(kind, f"Entropy exploded under {plain.label}: {change}") + "."


def _lost(recipe: RecipeNumbers) -> str:
    """That most of the run taught nothing, under every seed, and that nothing worse befell it."""
    if nature(recipe) not in ("healthy", "flat", "rose"):
        return ""
    dead = recipe.dead
    through = [s for s in dead if s.to_the_end and s.n_steps >= 0.5 * recipe.entropy.n_steps]
    if not dead or len(through) < recipe.n_seeds or len({s.kind for s in dead}) > 1:
        return ""
    first = max(stretch.first for stretch in dead)
    if dead[0].kind == "all right":
        return (
            f"{recipe.label} had nothing left to learn from step {first} on: in (nearly) every "
            "group every answer was right."
        )
    why = "was wrong" if dead[0].kind == "all wrong" else "had one and the same reward"
    return (
        f"{recipe.label} could learn nothing from step {first} on: in (nearly) every group every "
        f"answer {why}."
    )


def _bought(plain: RecipeNumbers) -> str:
    """What the entropy was given for."""
    reward = plain.reward
    parts = []
    if reward.is_known:
        parts.append(f"its reward went from {reward.start:.2f} to {reward.end:.2f}")
    if _lost(plain) and plain.entropy.is_known:  # else the sentence before has it
        entropy = plain.entropy
        parts.append(f"its entropy went from {entropy.start:.3f} to {entropy.end:.3f} nats")
    names = (("pass_1", "pass@1"), ("reach", f"pass@{plain.n}"), ("distinct", "different answers"))
    for key, name in names:
        found = plain.outcomes.get(key)
        if found is None or (key == "reach" and plain.n == 1):
            continue
        name = f"different right answers among {plain.n}" if key == "distinct" else name
        digits = 1 if key == "distinct" else 3
        moved = f"from {found.before.value:.{digits}f} to {found.after.value:.{digits}f}"
        seen = "" if is_apart(found.change) else " (no difference seen)"
        parts.append(f"{name} went {moved}{seen}")
    if not parts:
        return ""
    surge = plain.entropy
    if surge.is_known and surge.lowest < 0.25 * surge.start and surge.lowest < 0.5 * surge.end:
        parts.append(
            f"its entropy had been down to {surge.lowest:.3f} nats by step {surge.lowest_step} and "
            "surged again"
        )
    sentence = joined(parts)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def _worse(recipes: Sequence[RecipeNumbers]) -> list[Finding]:
    """Recipes under which fewer problems are solved than before."""
    parts = [
        f"{r.label} ({difference(r.outcomes['pass_1'].change)})"
        for r in recipes
        if r.outcomes
        and r.outcomes["pass_1"].change.high < 0
        and not nature(r).startswith("exploded")  # that has a sentence of its own
    ]
    if not parts:
        return []
    text = (
        f"Training lowered pass@1 under {joined(parts)}: lower the learning rate, or the updates a "
        "rollout batch."
    )
    return [Finding("trouble", "", text)]


def _support(recipes: Sequence[RecipeNumbers]) -> list[Finding]:
    """Problems out of reach that were in reach, beyond chance; and the other way round."""
    known = [(recipe.label, recipe.support) for recipe in recipes if recipe.support is not None]
    said = []
    for verb, chosen in (
        ("put more problems out of reach than into it", [x for x in known if x[1].shrank]),
        ("brought more problems into reach than it put out of it", [x for x in known if x[1].grew]),
    ):
        if chosen:
            parts = [
                f"{label} (lost {found.lost.value:.1f}, found {found.found.value:.1f})"
                for label, found in chosen
            ]
            first = chosen[0][1]
            said.append(
                f"Within {first.budget} answers, training {verb} under {joined(parts)}, of "
                f"{first.n_problems} problems; by chance {first.by_chance:.1f} each."
            )
    return [Finding("support", "", text) for text in said]


def _caveats(recipes: Sequence[RecipeNumbers]) -> list[Finding]:
    said = []
    most = max(recipe.n_seeds for recipe in recipes)
    if most == 1:
        said.append(
            "One seed was run, so nothing is known of the spread over seeds: another seed may rank "
            "the recipes differently. Set run.n_seeds to 3 or more."
        )
    few = [f"{r.label} ({plural(r.n_seeds, 'seed')})" for r in recipes if r.n_seeds < most]
    if few:
        said.append(f"Fewer seeds than the others: {joined(few)}.")
    return [Finding("caveat", "", text) for text in said]


def _dead(label: str, stretches: Sequence[DeadStretch]) -> str:
    """Steps in which there was nothing to learn: which, why, and what they cost."""
    longest = max(stretches, key=lambda stretch: stretch.n_steps)
    why, mend = {
        "all wrong": (
            "every answer was wrong, so no answer was preferred: the prompts are too hard",
            "Take easier prompts, more answers a prompt, or a start that is right now and then",
        ),
        "all right": (
            "every answer was right, so nothing was left to learn: the prompts are too easy",
            "Take harder prompts, or stop earlier",
        ),
        "one reward": (
            "all answers to a prompt had one and the same reward, so none was preferred",
            "Take more answers a prompt, or prompts nearer to half right",
        ),
    }[longest.kind]
    until = "to the end" if longest.to_the_end else f"to {longest.last}"
    seeds = "" if len(stretches) == 1 else f" (the longest of {len(stretches)} seeds)"
    return (
        f"{label} could learn nothing from step {longest.first} {until}{seeds}: in (nearly) every "
        f"group {why}. That cost {count(longest.n_tokens)} tokens, {percent(longest.share)} of the "
        f"arm's. {mend}."
    )


def _fallen(recipe: RecipeNumbers) -> str:
    found = recipe.outcomes.get("pass_1")
    if found is not None and found.change.high < 0:
        return f"pass@1 changed by {difference(found.change)}"
    return f"its reward fell from {recipe.reward.start:.2f} to {recipe.reward.end:.2f}"
