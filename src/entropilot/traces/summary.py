"""What must be known of a log to judge it, small enough to keep and mergeable in any order.

A ``Summary`` holds one row of numbers a trace, integer histograms of the tokens, what the reader
counted, and a bounded choice of whole traces. ``merge`` is associative and commutative up to the
order of rows, and ``empty_summary`` is its unit: summaries of any shards, merged in any order,
equal the summary of the whole, bit for bit (compare them with ``equal_summaries``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.exemplars import (
    Exemplars,
    add_exemplars,
    canonical_exemplars,
    known_full_columns,
    merge_exemplars,
    no_exemplars,
)
from entropilot.traces.frame import FRAME_SCHEMA, trace_frame
from entropilot.traces.measures import TokenMeasures, token_measures
from entropilot.traces.reading.options import MAX_EXAMPLES, ReadReport
from entropilot.traces.table import Traces

#: (low, high, bins) of the token histograms; values outside fall into the end bins.
HISTOGRAM_BINS: Final = {
    "entropy": (0.0, 6.0, 120),
    "surprisal": (0.0, 12.0, 120),
    "jsd": (0.0, 0.7, 70),
    "mass": (0.0, 1.0, 100),
}

#: What is counted beside the histograms; each is a sum over traces or tokens.
COUNTS: Final = (
    "traces",
    "tokens",
    "steps",
    "traces_without_tokens",
    "traces_too_short",  # one token only: no peak is defined
    "traces_without_peak",  # two tokens or more, but no two neighbours with lists of two entries
    "tokens_without_lists",
    "tokens_impossible",  # taken, yet the log calls them impossible
)


@dataclass(frozen=True)
class SummarySettings:
    """What a summary depends on; only summaries of equal settings merge.

    Args:
        vocab_size: of the model; 0 = unknown, then there is no upper entropy bound.
        n_exemplars: traces kept a criterion (mean entropy, peak instability, at random), >= 0.
        exemplar_tokens: tokens kept of one such trace, >= 1.

    Examples:
        >>> SummarySettings().n_exemplars
        12
    """

    vocab_size: int = 0
    n_exemplars: int = 12
    exemplar_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.vocab_size < 0 or self.n_exemplars < 0 or self.exemplar_tokens < 1:
            raise ConfigurationError(
                f"{self} is out of range: vocab_size and n_exemplars are >= 0, exemplar_tokens >= 1"
            )


def _no_counts() -> MappingProxyType[str, int]:
    return MappingProxyType(dict.fromkeys(COUNTS, 0))


def _no_histograms() -> MappingProxyType[str, NDArray[np.int64]]:
    return MappingProxyType({name: np.zeros(b[2], np.int64) for name, b in HISTOGRAM_BINS.items()})


@dataclass(frozen=True)
class Summary:
    """See the top of this module."""

    settings: SummarySettings = SummarySettings()
    frame: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FRAME_SCHEMA))
    histograms: MappingProxyType[str, NDArray[np.int64]] = field(default_factory=_no_histograms)
    counts: MappingProxyType[str, int] = field(default_factory=_no_counts)
    report: ReadReport = field(default_factory=ReadReport)
    exemplars: Exemplars = field(default_factory=no_exemplars)

    def __len__(self) -> int:
        return self.frame.height

    def merge(self, other: Summary) -> Summary:
        """Both together; see ``merge_summaries``."""
        return merge_summaries([self, other])


def empty_summary(settings: SummarySettings = SummarySettings()) -> Summary:
    """The summary of no traces.

    Examples:
        >>> len(empty_summary())
        0
    """
    return Summary(settings)


def summarise(
    traces: Traces,
    report: ReadReport | None = None,
    *,
    onto: Summary | None = None,
    measures: TokenMeasures | None = None,
    settings: SummarySettings | None = None,
) -> Summary:
    """Summarise traces, on top of a summary of earlier ones.

    Args:
        traces: split into steps where step columns are wanted.
        report: what the reader counted for just these traces.
        onto: summary of other traces; going on from it is cheaper than merging afterwards, because
            exemplars that could not stay are never copied.
        measures: of these traces, where they are known already.
        settings: of a new summary; must be left out, or be equal, with ``onto``.

    Returns:
        ``Summary`` of both.

    Raises:
        InputError: see ``token_measures``; or the settings differ.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> len(summarise(empty_traces()))
        0
    """
    base = onto if onto is not None else empty_summary(settings or SummarySettings())
    _same_settings(base.settings, settings or base.settings)
    if measures is None:
        measures = token_measures(traces, base.settings.vocab_size)
    frame = trace_frame(traces, measures)
    counted = _histograms(measures)
    counts = _counts(traces, measures, frame)
    exemplars = add_exemplars(
        base.exemplars,
        traces,
        frame,
        base.settings.n_exemplars,
        base.settings.exemplar_tokens,
    )
    return replace(
        base,
        frame=_stack([base.frame, frame]),
        histograms=_add(base.histograms, counted),
        counts=_add(base.counts, counts),
        report=_add_reports(base.report, report or ReadReport()),
        exemplars=exemplars,
    )


def merge_summaries(parts: Iterable[Summary]) -> Summary:
    """One summary of all that the parts summarise.

    Args:
        parts: of equal settings; in any order. Each trace must be in one part only.

    Returns:
        ``Summary``; that of nothing for no parts.

    Raises:
        InputError: the settings differ.

    Examples:
        >>> len(merge_summaries([empty_summary(), empty_summary()]))
        0
    """
    parts = list(parts)
    if not parts:
        return empty_summary()
    whole = parts[0]
    for part in parts[1:]:
        _same_settings(whole.settings, part.settings)
        whole = replace(
            whole,
            histograms=_add(whole.histograms, part.histograms),
            counts=_add(whole.counts, part.counts),
            report=_add_reports(whole.report, part.report),
            exemplars=merge_exemplars(whole.exemplars, part.exemplars, whole.settings.n_exemplars),
        )
    frame = _stack([part.frame for part in parts])
    return replace(whole, frame=frame)


def canonical_summary(summary: Summary) -> Summary:
    """The same summary with rows in the order (source, line, id) that all routes to it share.

    Examples:
        >>> equal_summaries(canonical_summary(empty_summary()), empty_summary())
        True
    """
    frame = summary.frame
    frame = frame.select(*FRAME_SCHEMA, *known_full_columns(frame)).rechunk()
    first = ("source", "line", "id")
    others = [name for name in frame.columns if name not in first]
    repeated = frame.height and frame.select(pl.struct(first).is_duplicated().any()).item()
    frame = frame.sort(*first, *(others if repeated else ()), nulls_last=True)
    repeats = duplicate_ids(summary)["n"].to_list()
    report = replace(
        summary.report,
        formats=MappingProxyType(dict(sorted(summary.report.formats.items()))),
        duplicate_ids=sum(repeats) - len(repeats),
    )
    exemplars = canonical_exemplars(summary.exemplars)
    return replace(summary, frame=frame, report=report, exemplars=exemplars)


def equal_summaries(a: Summary, b: Summary) -> bool:
    """Whether two summaries say the same, bit for bit, however they came about.

    Examples:
        >>> equal_summaries(empty_summary(), empty_summary(SummarySettings(vocab_size=9)))
        False
    """
    a, b = canonical_summary(a), canonical_summary(b)
    return (
        a.settings == b.settings
        and a.frame.equals(b.frame)
        and dict(a.counts) == dict(b.counts)
        and a.report == b.report
        and all(np.array_equal(a.histograms[name], b.histograms[name]) for name in HISTOGRAM_BINS)
        and a.exemplars.rows.equals(b.exemplars.rows)
        and _equal_traces(a.exemplars.traces, b.exemplars.traces)
    )


def duplicate_ids(summary: Summary) -> pl.DataFrame:
    """Ids that more than one trace has: columns id, n, most frequent first.

    Examples:
        >>> duplicate_ids(empty_summary()).columns
        ['id', 'n']
    """
    counted = summary.frame.filter(pl.col("id").is_not_null()).group_by("id").agg(n=pl.len())
    return counted.filter(pl.col("n") > 1).sort("n", "id", descending=[True, False])


def histogram_edges(name: str) -> NDArray[np.float64]:
    """Edges [bins+1] of a token histogram; the end bins also hold what lies outside.

    Examples:
        >>> len(histogram_edges("jsd"))
        71
    """
    low, high, bins = HISTOGRAM_BINS[name]
    return np.linspace(low, high, bins + 1)


def _same_settings(a: SummarySettings, b: SummarySettings) -> None:
    if a != b:
        raise InputError(
            f"summaries of different settings do not merge: {a} and {b}; summarise both alike"
        )


def _stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    alike = all(frame.columns == frames[0].columns for frame in frames)
    return pl.concat(frames, how="vertical" if alike else "diagonal", rechunk=False)


def _counts(traces: Traces, measures: TokenMeasures, frame: pl.DataFrame) -> dict[str, int]:
    lengths = traces.tokens.lengths
    return {
        "traces": len(traces),
        "tokens": len(traces.tokens),
        "steps": 0 if traces.steps is None else len(traces.steps),
        "traces_without_tokens": int((lengths == 0).sum()),
        "traces_too_short": int((lengths == 1).sum()),
        "traces_without_peak": int(
            (frame["instability_peak"].is_null().to_numpy() & (lengths > 1)).sum()
        ),
        "tokens_without_lists": int((measures.n_top == 0).sum()),
        "tokens_impossible": measures.n_impossible,
    }


def _histograms(measures: TokenMeasures) -> dict[str, NDArray[np.int64]]:
    counted = {}
    for name, (low, high, bins) in HISTOGRAM_BINS.items():
        counted[name] = np.zeros(bins, np.int64)
        _count(getattr(measures, name), low, bins / (high - low), counted[name])
    return counted


@njit(cache=True, nogil=True)
def _count(
    values: NDArray[np.float64], low: float, scale: float, counts: NDArray[np.int64]
) -> None:
    last = counts.size - 1
    for i in range(values.size):
        x = values[i]
        if not np.isnan(x):
            counts[int(min(max((x - low) * scale, 0.0), float(last)))] += 1


def _add(a: Any, b: Any) -> MappingProxyType[str, Any]:
    return MappingProxyType({name: a[name] + b[name] for name in a})


def _add_reports(a: ReadReport, b: ReadReport) -> ReadReport:
    """The sum, naming the first skipped lines by file and line, whatever the order of the parts.

    Ids are compared over the whole summary instead, see ``duplicate_ids``.
    """
    skipped = sorted(a.skipped + b.skipped, key=lambda s: (s.file, s.line, s.reason))
    return replace(a + b, skipped=tuple(skipped[:MAX_EXAMPLES]), duplicate_ids=0)


def _equal_traces(a: Traces, b: Traces) -> bool:
    def equal(x: Any, y: Any) -> bool:
        if x is None or y is None:
            return x is y
        return all(
            (p is None and q is None)
            or (p is not None and q is not None and p.tobytes() == q.tobytes())
            for p, q in ((getattr(x, f.name), getattr(y, f.name)) for f in fields(x))
        )

    return (
        a.rows.equals(b.rows)
        and equal(a.tokens, b.tokens)
        and equal(a.vocabulary, b.vocabulary)
        and equal(a.steps, b.steps)
    )
