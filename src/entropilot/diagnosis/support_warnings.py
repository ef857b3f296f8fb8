"""What may explain a difference between two runs beside the models: settings, cuts, no answers."""

from __future__ import annotations

import warnings
from typing import Final

import polars as pl

from entropilot.diagnosis.support_samples import SupportSamples
from entropilot.information.answers import MISSING_SHARE, ZERO_SHARE
from entropilot.information.samples import compare_settings

FEW_PROBLEMS: Final = 20  # below it only large changes can be told from noise


def support_warnings(
    base: SupportSamples,
    new: SupportSamples,
    base_frame: pl.DataFrame,
    new_frame: pl.DataFrame,
    *,
    k: int,
    asked: int | None,
) -> tuple[str, ...]:
    """Sentences on everything that a reader of the comparison must know.

    Args:
        base: samples of the base, with its settings.
        new: samples of the new model.
        base_frame: those of the problems that both have.
        new_frame: likewise.
        k: budget that was used.
        asked: budget that was asked for.

    Returns:
        Full sentences; empty when nothing is odd.

    Examples:
        >>> from entropilot.diagnosis.support_samples import support_samples
        >>> table = pl.DataFrame({"problem": [f"q{i}" for i in range(20)], "correct": [True] * 20})
        >>> cold, warm = (table.with_columns(temperature=t) for t in (0.6, 1.0))
        >>> cold, warm = support_samples(cold), support_samples(warm)
        >>> support_warnings(cold, warm, cold.frame, warm.frame, k=1, asked=1)[0][:47]
        'temperature is 0.6 in the base run and 1.0 in t'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told here, in the report
        settings = compare_settings(base.settings, new.settings)
    cause = "Part of any change may come from that."
    found = [f"{sentence}. {cause}" for sentence in settings]
    found += _prompts(base_frame, new_frame)
    same = ["problem", "sample", "answer", "correct", "token_entropy"]
    if base_frame.select(same).equals(new_frame.select(same)):
        found.append("Both runs hold the same samples; was one file given twice?")
    if base.entropy_kind and new.entropy_kind and base.entropy_kind != new.entropy_kind:
        found.append(
            f"Token entropies are of the {base.entropy_kind} in the base run and of the "
            f"{new.entropy_kind} in the new one; they can't be compared."
        )
    sizes = [set(x.group_by("problem").len()["len"].to_list()) for x in (base_frame, new_frame)]
    if len(sizes[0] | sizes[1]) > 1:
        found.append(
            "Problems have different numbers of samples; every rule looks at the same budget k, "
            "and certified counts find more where there are more samples."
        )
    for name, samples, frame in (("base", base, base_frame), ("new", new, new_frame)):
        found += _of_one(name, samples, frame)
    n = base_frame["problem"].n_unique()
    if n < FEW_PROBLEMS:
        found.append(f"With {n} problems only large changes can be told from noise.")
    if asked is None:
        found.append(f"The budget k = {k} was chosen here; --k sets another.")
    return tuple(found)


def _prompts(base: pl.DataFrame, new: pl.DataFrame) -> list[str]:
    firsts = [
        x.drop_nulls("prompt").group_by("problem").agg(pl.col("prompt").first())
        for x in (base, new)
    ]
    both = firsts[0].join(firsts[1], on="problem", suffix="_new")
    differ = both.filter(pl.col("prompt") != pl.col("prompt_new")).height
    if not differ:
        return []
    return [
        f"The prompt differs on {differ} of {both.height} problems. Part of any change may come "
        "from the format."
    ]


def _of_one(name: str, samples: SupportSamples, frame: pl.DataFrame) -> list[str]:
    found = [f"{name.capitalize()} run: {note}" for note in samples.notes]
    found += [
        f"{setting} is {value} within the {name} run; samples of one run must be drawn alike."
        for setting, value in samples.settings.items()
        if str(value).startswith("mixed")
    ]
    if samples.settings.get("temperature") == 0:
        found.append(
            f"The {name} run is greedy (temperature 0); its samples are copies, not draws."
        )
    if samples.n_unlabelled:
        found.append(
            f"{samples.n_unlabelled} samples of the {name} run have no label and are left out."
        )
    answers = frame["answer"]
    absent = answers.is_null() | answers.is_in(["na", "n/a", "none", ""])
    share = float(absent.mean()) if frame.height and answers.count() else 0.0  # type: ignore[arg-type]
    if share > MISSING_SHARE:
        found.append(
            f"{share:.0%} of the answers in the {name} run are missing; were answers cut off by "
            "the token limit?"
        )
    if samples.zero_share > ZERO_SHARE:
        found.append(
            f"{samples.zero_share:.0%} of the token entropies in the {name} run are exactly 0; "
            "were they computed after a top-p or top-k cut? Take them from the full distribution."
        )
    if samples.entropy_kind == "listed tokens":
        found.append(
            f"Token entropies of the {name} run are of the listed alternatives, which lie below "
            "or above those of the full vocabulary."
        )
    return found
