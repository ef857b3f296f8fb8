"""What a report says of a set of traces: plain results, ready to be shown or written as JSON.

These types carry numbers only; ``assess`` in ``assess.py`` makes them from a ``Summary``, and the
report renders them. Every interval is 95 % unless it says otherwise. A quantity that could not be
computed is None, and ``notes`` says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from entropilot.traces.table import Traces


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Signal:
    """How well one number of a trace tells wrong from right (higher means wrong)."""

    name: str  # column of the frame, for example "instability_peak"
    label: str  # for reading, for example "peak instability"
    auc: Interval | None
    n_right: int
    n_wrong: int
    roc: tuple[tuple[float, float], ...] = ()  # (false alarm rate, detection rate), thinned
    note: str = ""


@dataclass(frozen=True)
class Bucket:
    """Accuracy of the traces in one equal-count bucket of a signal."""

    low: float  # smallest and largest value of the signal in the bucket
    high: float
    n: int
    n_right: int
    accuracy: Interval  # Wilson


@dataclass(frozen=True)
class TimingCell:
    """Accuracy of traces with peaks of comparable size (same fifth) at one time."""

    fifth: int  # 0 = smallest peaks
    timing: str  # "early" | "middle" | "late"
    n: int
    n_right: int


@dataclass(frozen=True)
class Timing:
    """Early peaks against late peaks at comparable size."""

    cells: tuple[TimingCell, ...]
    odds_ratio: (
        Interval | None
    )  # Mantel-Haenszel, right given early against late, stratified by fifth
    n_corrective: int  # high, early, right
    n_destructive: int  # high, late, wrong
    n_stable_wrong: int  # low quarter and wrong
    note: str = ""


@dataclass(frozen=True)
class ReplayPoint:
    """One threshold of an offline replay."""

    threshold: float
    share: float  # of traces stopped early, or handed over
    tokens_saved: float  # share of the generated tokens
    accuracy: Interval  # of what remains under the policy, paired bootstrap over groups


@dataclass(frozen=True)
class Replay:
    """What one policy would have done on the recorded traces."""

    policy: str  # "early stop" | "route" | "drop"
    signal: str
    baseline: Interval  # accuracy without the policy
    random: tuple[ReplayPoint, ...]  # the same share chosen at random: the line to beat
    curve: tuple[ReplayPoint, ...]
    chosen: ReplayPoint | None  # the threshold at the asked rate
    threshold: Interval | None  # with its bootstrap interval
    verdict: str  # a sentence; says so when there is no saving to be had


@dataclass(frozen=True)
class GroupView:
    """Problems with several samples."""

    frame: (
        pl.DataFrame
    )  # group, n, n_right, answer_entropy, majority_answer, majority_share, majority_right
    pass_at_k: tuple[tuple[int, Interval], ...]  # (k, estimate), bootstrap over groups
    majority_accuracy: Interval | None
    answer_entropy_auc: Interval | None  # answer entropy against the group's majority being wrong
    n_all_right: int
    n_all_wrong: int


@dataclass(frozen=True)
class Assessment:
    """All that a report says, in the order in which it says it."""

    headline: tuple[str, ...]  # plain sentences: how many look failing, which, where, how sure
    n_traces: int
    n_tokens: int
    n_labelled: int
    n_wrong: int
    signal: str  # the column by which traces are flagged
    threshold: float | None  # at or above it a trace is flagged
    # Columns of flagged: id, group, correct, score, p_wrong, p_wrong_low, p_wrong_high, peak_token,
    # peak_step, peak_position, timing, reason.
    flagged: pl.DataFrame
    signals: tuple[Signal, ...]
    prefix: tuple[tuple[int, Signal], ...]  # AUC of the peak within the first w tokens
    buckets: tuple[Bucket, ...]
    timing: Timing | None
    groups: GroupView | None
    replays: tuple[Replay, ...]
    next_steps: tuple[str, ...]  # what to do next, each a sentence with its number
    notes: tuple[str, ...]  # what could not be said, and why; warnings
    exemplars: Traces  # the traces that a report shows in full, most suspicious first
    histograms: dict[str, tuple[tuple[float, ...], tuple[int, ...]]] = field(default_factory=dict)
