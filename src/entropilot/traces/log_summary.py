"""From a shard of traces to its summary: read, split into steps, measure, a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from entropilot.errors import ConfigurationError, FormatError, InputError, unknown_name
from entropilot.traces.measures import truncate_top_k, usable_traces
from entropilot.traces.reading.options import ReadOptions, ReadReport, Shard
from entropilot.traces.reading.sources import Source, read_traces
from entropilot.traces.steps.splitting import RULES, split_steps
from entropilot.traces.summary import (
    Summary,
    SummarySettings,
    canonical_summary,
    empty_summary,
    summarise,
)
from entropilot.traces.table import Traces


@dataclass(frozen=True)
class LogSettings:
    """What is done to each shard.

    Args:
        rule: how traces are split into steps, a name of ``RULES`` that needs no further option.
        min_tokens: shortest step, >= 1.
        options: how traces are read.
        summary: what the summary holds.
        top_k: cut the lists of alternatives to so many first; makes logs of different k comparable.

    Examples:
        >>> LogSettings().rule
        'auto'
    """

    rule: str = "auto"
    min_tokens: int = 1
    options: ReadOptions = field(default_factory=ReadOptions)
    summary: SummarySettings = field(default_factory=SummarySettings)
    top_k: int | None = None

    def __post_init__(self) -> None:
        known = [name for name in RULES if name not in ("regex", "spans")]
        if self.rule not in known:
            raise ConfigurationError(unknown_name("rule", self.rule, known))
        if self.min_tokens < 1 or (self.top_k is not None and self.top_k < 1):
            raise ConfigurationError(
                f"min_tokens is {self.min_tokens} and top_k {self.top_k}; both are at least 1"
            )


def summarise_log(shard: Source, settings: LogSettings = LogSettings()) -> Summary:
    """Read one shard and summarise it, a batch at a time.

    Memory does not grow with the shard, except by one row of numbers a trace.

    Raises:
        InputError, FormatError, LimitError: as ``read_traces``.

    Examples:
        >>> summarise_log("no such file.jsonl")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        entropilot.errors.InputError: ...
    """
    summary, unreadable = read_and_summarise(shard, settings)
    if unreadable:
        raise FormatError(unreadable)
    return canonical_summary(summary)


def read_and_summarise(source: Source, settings: LogSettings) -> tuple[Summary, str]:
    """The summary of a source, and why nothing of it could be read, or "".

    Raises:
        InputError, LimitError: as ``read_traces``; with strict options also FormatError.

    Examples:
        >>> read_and_summarise("no such file", LogSettings())  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        entropilot.errors.InputError: ...
    """
    summary = empty_summary(settings.summary)
    # Only the first range of a file counts the file, so that the count does not tell the sharding.
    continues = isinstance(source, Shard) and source.start > 0
    try:
        for batch in read_traces(source, options=settings.options):
            traces = batch.traces
            if settings.top_k is not None:
                traces = truncate_top_k(traces, settings.top_k)
            traces = split_steps(traces, settings.rule, min_tokens=settings.min_tokens)
            report = replace(batch.report, files=0) if continues else batch.report
            summary = _add(summary, traces, report, settings.options.strict)
    except FormatError as error:
        if settings.options.strict or len(summary):
            raise
        return summary, str(error)
    skipped = summary.report.skipped
    nothing = skipped and not len(summary)
    return summary, f"nothing could be read. {skipped[0]}" if nothing else ""


def _add(summary: Summary, traces: Traces, report: ReadReport, strict: bool) -> Summary:
    """Summarise a batch; traces whose lists are no distributions are counted, or raised."""
    try:
        return summarise(traces, report, onto=summary)
    except InputError as error:
        usable, skipped = usable_traces(traces)
        if not skipped:
            raise
        if strict:
            raise InputError(str(skipped[0])) from error
    report = replace(
        report,
        traces=report.traces - len(skipped),
        tokens=report.tokens - (len(traces.tokens) - len(usable.tokens)),
        skipped_lines=report.skipped_lines + len(skipped),
        skipped=report.skipped + skipped,
    )
    return summarise(usable, report, onto=summary)
