"""From anything that holds traces to a diagnosis, in one call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from entropilot.diagnosis.assess import assess
from entropilot.diagnosis.assessment import Assessment
from entropilot.diagnosis.labels import join_labels
from entropilot.traces.reading.options import ReadOptions
from entropilot.traces.reading.sources import load_traces
from entropilot.traces.steps.splitting import split_steps
from entropilot.traces.summary import Summary, SummarySettings, summarise
from entropilot.traces.table import Traces

_STRICT: Final = ReadOptions(strict=True)  # there is no report that could name what was skipped


@dataclass(frozen=True)
class Diagnosis:
    """What was measured, and what it says."""

    summary: Summary
    assessment: Assessment

    @property
    def frame(self) -> pl.DataFrame:
        """One row of numbers a trace; columns in ``FRAME_SCHEMA``."""
        return self.summary.frame


def diagnose(
    source: Any,
    *,
    labels: str | Path | pl.DataFrame | None = None,
    steps: str = "auto",
    vocab_size: int = 0,
    options: ReadOptions = _STRICT,
    signal: str = "auto",
    rate: float = 0.1,
    seed: int = 0,
) -> Diagnosis:
    """Measure traces and say which look failing, where, and how sure that is.

    For logs larger than memory see ``summarise_logs``, which gives the same summary shard by shard.

    Args:
        source: ``Traces``, or what ``load_traces`` takes: a response, a dict, a path, a list.
        labels: table of labels, see ``join_labels``; the log's own labels where None.
        steps: rule by which traces are cut into steps, see ``split_steps``.
        vocab_size: of the model; gives upper entropy bounds.
        options: how the source is read.
        signal: column that flags traces, or "auto".
        rate: share of the traces to flag, in (0, 1).
        seed: of folds and bootstraps.

    Returns:
        ``Diagnosis``: ``.frame`` for the numbers, ``.assessment`` for the judgement.

    Raises:
        InputError, FormatError, LimitError: the source or the labels can't be used.

    Examples:
        >>> best = [{"token": "Hi", "logprob": -0.5}, {"token": "No", "logprob": -1.0}]
        >>> entry = {**best[0], "top_logprobs": best}
        >>> answer = {"id": "a", "choices": [{"logprobs": {"content": [entry, entry]}}]}
        >>> round(diagnose(answer).frame["entropy_mean"][0], 3)
        0.663
    """
    traces = source if isinstance(source, Traces) else load_traces(source, options=options)
    summary = summarise(split_steps(traces, steps), settings=SummarySettings(vocab_size=vocab_size))
    if labels is not None:
        summary = replace(summary, frame=join_labels(summary.frame, labels).frame)
    return Diagnosis(summary, assess(summary, signal=signal, rate=rate, seed=seed))
