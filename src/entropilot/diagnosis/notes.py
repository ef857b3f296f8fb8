"""What stays unsure in an assessment, and why: each a sentence."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from entropilot.diagnosis.assessment import Bucket, Signal, Timing
from entropilot.diagnosis.buckets import is_falling
from entropilot.diagnosis.headline import Facts
from entropilot.diagnosis.scores import score_of
from entropilot.information.sampler_match import WHOLE

HESITANT: Final = 0.05  # nats; below it next to all mass is on one token anyhow
FEW: Final = 30  # labels of the rarer kind below which small numbers are warned of
CAUTION: Final = (
    "Instability and entropy go along with errors and do not prove them: a model can be wrong with "
    "confidence, and hesitate on the way to a right answer."
)


def assessment_notes(
    frame: pl.DataFrame,
    facts: Facts,
    timing: Timing | None,
    signals: tuple[Signal, ...],
    buckets: tuple[Bucket, ...],
) -> list[str]:
    """Cautions that belong to an assessment.

    Args:
        frame: one row a trace.
        facts: what was found.
        timing: early against late peaks, or None.
        signals: those that were compared.
        buckets: of the chosen signal.

    Returns:
        Sentences; none is there without its cause.

    Examples:
        >>> facts = Facts(0, 0, 0, None, None, None, pl.DataFrame(), None, None, None, None, (0, 0),
        ...     0.1, 0.95)
        >>> assessment_notes(pl.DataFrame(), facts, None, (), ())
        []
    """
    notes = []
    if facts.choice is not None:
        notes += [CAUTION, facts.choice.reason]
    notes += _labels(facts)
    if len(signals) > 1:
        notes.append(
            f"{len(signals)} signals were compared on the same traces; the best of them looks "
            "better than it is."
        )
    if facts.calibration is not None:
        found = facts.calibration
        better = "better" if found.brier < found.brier_base else "no better"
        notes.append(
            "Probabilities were checked on problems that the fit had not seen: off by "
            f"{100 * found.gap:.0f} points on average; Brier score {found.brier:.3f}, {better} "
            f"than {found.brier_base:.3f} for giving all the same."
        )
    if buckets:
        notes.append(
            "Accuracy falls from bucket to bucket of the signal."
            if is_falling(buckets)
            else "Accuracy does not fall at every step from bucket to bucket of the signal."
        )
    if timing is not None and timing.note:
        notes.append(f"Timing: {timing.note}.")
    return notes + _mixtures(frame, facts)


def _labels(facts: Facts) -> list[str]:
    n_right = facts.n_labelled - facts.n_wrong
    fewer = min(facts.n_wrong, n_right)
    if not facts.n_labelled or fewer >= FEW:
        return []
    if fewer == 0:
        kind = "right" if facts.n_wrong == 0 else "wrong"
        return [
            f"All {facts.n_labelled} labels say {kind}, so there is no AUC, calibration or replay."
        ]
    return [
        f"Small numbers: {n_right} right and {facts.n_wrong} wrong labels; differences between "
        "signals and buckets may be chance."
    ]


def _mixtures(frame: pl.DataFrame, facts: Facts) -> list[str]:
    notes = []
    if facts.choice is not None:
        n_unranked = int(np.isnan(score_of(frame, facts.choice.name)).sum())
        if n_unranked:
            notes.append(
                f"{n_unranked} of {facts.n_traces} traces have no {facts.choice.name} and are not "
                "ranked."
            )
        n_short = int((score_of(frame, "n_tokens") < 2).sum())
        if n_short:
            notes.append(
                f"{n_short} traces have fewer than 2 tokens; no peak is defined for them, and it "
                "is not taken to be 0."
            )
    n_bare = int(((score_of(frame, "k") < 2) & (score_of(frame, "n_tokens") > 0)).sum())
    if n_bare:
        notes.append(
            f"{n_bare} of {facts.n_traces} traces list fewer than 2 alternatives a token, which "
            "say nothing of entropy or instability; ask for more, for example top_logprobs=20."
        )
    notes += _truncated(frame)
    for column, what in (
        ("logprobs_kind", "kinds of log-probabilities (raw, or after temperature and truncation)"),
        ("model", "models"),
    ):
        if column not in frame.columns:
            continue
        values = sorted(frame[column].drop_nulls().unique().to_list())
        if len(values) > 1:
            shown = ", ".join(values[:5])
            notes.append(
                f"The traces mix {what}: {shown}. Their entropies may differ for that reason alone."
            )
    return notes


def _truncated(frame: pl.DataFrame) -> list[str]:
    """Lists without missing mass although the model hesitates: taken after top-p or top-k."""
    if not {"mass_min", "entropy_mean", "k"} <= set(frame.columns):
        return []
    whole = frame.filter(
        (pl.col("k") >= 2) & (pl.col("mass_min") >= 1 - WHOLE) & (pl.col("entropy_mean") > HESITANT)
    )
    if whole.is_empty():
        return []
    called = ""
    if "logprobs_kind" in whole.columns and "raw" in whole["logprobs_kind"].to_list():
        called = " The log calls them raw."
    return [
        f"In {len(whole)} of {len(frame)} traces the listed tokens leave no probability over, at "
        "any token. Either they list the whole vocabulary, or these log-probabilities were taken "
        "after top-p or top-k truncation: then entropies are too small, and ratios to a trainer's "
        f"log-probabilities are wrong.{called}"
    ]
