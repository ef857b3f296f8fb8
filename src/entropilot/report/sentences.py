"""What each picture says, as a sentence: computed, and never more than the numbers allow."""

from __future__ import annotations

from typing import Final

from entropilot.diagnosis.assessment import Assessment, Interval, Replay, Signal
from entropilot.diagnosis.signals import signal_label
from entropilot.report.wording import count, decimal, estimate, known, percent, plural

#: Measures of tokens, of which a ``Summary`` keeps histograms, with their names for reading.
TOKEN_MEASURES: Final = {
    "entropy": "token entropy",
    "surprisal": "token surprisal",
    "jsd": "token divergence",
    "mass": "probability of the listed tokens",
}


def main_signal(assessment: Assessment) -> Signal | None:
    """The signal by which traces are flagged, where it is among the signals."""
    return next((s for s in assessment.signals if s.name == assessment.signal), None)


def name_of(assessment: Assessment, column: str) -> str:
    """A column's name for reading, as the signals have it."""
    known_names = {signal.name: signal.label for signal in assessment.signals} | TOKEN_MEASURES
    return known_names.get(column) or signal_label(column) or "score"


def with_unit(assessment: Assessment, column: str) -> str:
    """A column's name with its unit, for an axis."""
    label, measured = name_of(assessment, column), unit(column).strip()
    return f"{label}, {measured}" if measured and measured != label else label


def unit(signal: str) -> str:
    """In what a signal (its column or its label) is measured; to stand behind a number.

    Examples:
        >>> unit("entropy_mean"), unit("n_tokens"), unit("probability_min")
        (' nats', ' tokens', '')
    """
    if signal in ("n_tokens", "length"):
        return " tokens"
    unitless = ("probability", "mass", "peak_position", "smallest token probability")
    return "" if signal.startswith(unitless) else " nats"


def detection(assessment: Assessment) -> str:
    """How well the flagging signal finds wrong traces."""
    signal = main_signal(assessment)
    if signal is None or signal.auc is None or not known(signal.auc.value):
        return "Whether the signal finds wrong traces can’t be said"
    name = signal.label[:1].upper() + signal.label[1:]
    if not _apart(signal.auc, 0.5):
        return f"{name} does no better than chance here, as far as can be told"
    if signal.auc.value < 0.5:
        return f"{name} points the wrong way here: higher means right"
    strength = "clearly" if signal.auc.value >= 0.8 else "fairly" if signal.auc.value >= 0.7 else ""
    how = f"{strength} better than chance" if strength else "better than chance, but weakly"
    return f"{name} tells wrong from right {how}"


def buckets(assessment: Assessment) -> str:
    """How accuracy changes from the calmest bucket to the most unstable."""
    if len(assessment.buckets) < 2:
        return "Accuracy by bucket can’t be said"
    calm, wild = assessment.buckets[0].accuracy, assessment.buckets[-1].accuracy
    ends = f"from {percent(calm.value)} in the calmest bucket to {percent(wild.value)} in the last"
    if calm.low > wild.high:
        return f"Accuracy falls {ends}"
    if wild.low > calm.high:
        return f"Accuracy rises {ends}"
    return f"Accuracy goes {ends}; the intervals overlap"


def best_signal(assessment: Assessment) -> str:
    """Which signal does best on these traces, and whether that matters."""
    rated = [s for s in assessment.signals if s.auc is not None and known(s.auc.value)]
    if not rated:
        return "No signal could be tested: that needs traces labelled right and wrong."
    best = max(rated, key=lambda s: s.auc.value if s.auc else 0.0)
    own = main_signal(assessment)
    if own is None or own.auc is None or own.name == best.name or best.auc is None:
        return f"The best of {len(rated)} here is {best.label}, {estimate(best.auc)}."
    overlap = own.auc.high >= best.auc.low
    weight = "their intervals overlap" if overlap else "and their intervals are apart"
    return (
        f"The best of {len(rated)} here is {best.label}, {estimate(best.auc)}; "
        f"{own.label} has {estimate(own.auc)}, {weight}."
    )


def timing(assessment: Assessment) -> str:
    """Whether early peaks end better than late ones of comparable size."""
    found = assessment.timing
    if found is None or found.odds_ratio is None or not known(found.odds_ratio.value):
        return "Whether the time of the peak matters can’t be said"
    ratio = found.odds_ratio
    if not _apart(ratio, 1.0):
        return "At comparable size, early and late peaks can’t be told apart by their outcome"
    if ratio.value > 1:
        return "At comparable size, early peaks end in a right answer more often than late ones"
    return "At comparable size, late peaks end in a right answer more often than early ones"


def pass_curve(assessment: Assessment) -> str:
    """How far more samples help."""
    groups = assessment.groups
    if groups is None or not groups.pass_at_k:
        return ""
    (k, first), (most, last) = groups.pass_at_k[0], groups.pass_at_k[-1]
    if most == k:
        return f"{percent(first.value)} of problems are solved with {plural(k, 'sample')}"
    start = "one sample" if k == 1 else plural(k, "sample")
    return (
        f"{percent(first.value)} of problems are solved with {start}, "
        f"{percent(last.value)} with {count(most)}"
    )


def replay(assessment: Assessment, found: Replay) -> str:
    """Name of one replay."""
    names = {
        "early stop": "Stop early",
        "route": "Hand over to a larger model",
        "drop": "Leave out the worst",
        "vote": "Vote without the worst",
    }
    return f"{names.get(found.policy, found.policy)}, by {name_of(assessment, found.signal)}"


def chosen(found: Replay) -> str:
    """The threshold that is marked in the picture of a replay."""
    if found.chosen is None:
        return ""
    cut = estimate(found.threshold) if found.threshold else decimal(found.chosen.threshold)
    return (
        f"Marked: threshold {cut}{unit(found.signal)}, {percent(found.chosen.share)} "
        f"of the traces, accuracy {estimate(found.chosen.accuracy, share=True)}."
    )


def _apart(interval: Interval, value: float) -> bool:
    return interval.low > value or interval.high < value
