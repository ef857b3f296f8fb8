"""Summaries as bytes and files: Arrow tables, plain arrays and JSON in one archive, no pickle.

A summary is written in its canonical form.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import polars as pl

from entropilot.errors import FormatError
from entropilot.files import write_atomically
from entropilot.traces.exemplars import Exemplars
from entropilot.traces.reading.options import ReadReport, Skipped
from entropilot.traces.summary import HISTOGRAM_BINS, Summary, SummarySettings, canonical_summary
from entropilot.traces.table import Steps, Tokens, Traces, Vocabulary

FORMAT: Final = "entropilot summary 2"
_UNREADABLE: Final = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pl.exceptions.PolarsError,
)


def summary_to_bytes(summary: Summary) -> bytes:
    """A summary as one archive.

    Examples:
        >>> from entropilot.traces.summary import empty_summary
        >>> summary_to_bytes(empty_summary())[:2]
        b'PK'
    """
    summary = canonical_summary(summary)
    traces = summary.exemplars.traces
    head = {
        "format": FORMAT,
        "settings": asdict(summary.settings),
        "counts": dict(summary.counts),
        "report": _report_to_json(summary.report),
        "histogram_bins": HISTOGRAM_BINS,
    }
    arrays: dict[str, Any] = {
        "head": np.frombuffer(json.dumps(head).encode(), dtype=np.uint8),
        "frame": _table(summary.frame),
        "exemplar_rows": _table(summary.exemplars.rows),
        "trace_rows": _table(traces.rows),
    }
    arrays |= {f"histogram.{name}": counts for name, counts in summary.histograms.items()}
    for name, part in (
        ("tokens", traces.tokens),
        ("vocabulary", traces.vocabulary),
        ("steps", traces.steps),
    ):
        if part is not None:
            columns = {f"{name}.{f.name}": getattr(part, f.name) for f in fields(part)}
            arrays |= {key: column for key, column in columns.items() if column is not None}
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)  # not compressed: that would double the time
    return out.getvalue()


def summary_from_bytes(content: bytes, name: str = "the summary") -> Summary:
    """The summary of an archive.

    Args:
        content: from ``summary_to_bytes``.
        name: of the file, for messages.

    Raises:
        FormatError: not an archive of this version.

    Examples:
        >>> from entropilot.traces.summary import empty_summary, equal_summaries
        >>> equal_summaries(summary_from_bytes(summary_to_bytes(empty_summary())), empty_summary())
        True
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        head = json.loads(arrays["head"].tobytes())
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}")
        return _summary(head, arrays)
    except _UNREADABLE as error:
        raise FormatError(
            f"{name} is not a summary that this version can read ({error}); expected "
            f"{FORMAT!r}. Make it anew from the traces"
        ) from error


def save_summary(summary: Summary, path: str | Path) -> None:
    """Write a summary, whole or not at all.

    Examples:
        >>> import tempfile
        >>> from entropilot.traces.summary import empty_summary
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_summary(empty_summary(), Path(folder, "a.summary"))
        ...     len(load_summary(Path(folder, "a.summary")))
        0
    """
    write_atomically(Path(path), summary_to_bytes(summary))


def load_summary(path: str | Path) -> Summary:
    """Read what ``save_summary`` wrote.

    Raises:
        FormatError: not such a file.

    Examples:
        >>> import tempfile
        >>> from entropilot.traces.summary import empty_summary
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_summary(empty_summary(), Path(folder, "a.summary"))
        ...     len(load_summary(Path(folder, "a.summary")))
        0
    """
    return summary_from_bytes(Path(path).read_bytes(), str(path))


def _summary(head: dict[str, Any], arrays: dict[str, Any]) -> Summary:
    def columns(kind: Any, name: str) -> Any:
        given = {f.name: arrays.get(f"{name}.{f.name}") for f in fields(kind)}
        return kind(**given)

    traces = Traces(
        _frame(arrays["trace_rows"]),
        columns(Tokens, "tokens"),
        columns(Vocabulary, "vocabulary"),
        columns(Steps, "steps") if "steps.start" in arrays else None,
    )
    rows = _frame(arrays["exemplar_rows"])
    return Summary(
        SummarySettings(**head["settings"]),
        _frame(arrays["frame"]),
        MappingProxyType({name: arrays[f"histogram.{name}"] for name in HISTOGRAM_BINS}),
        MappingProxyType(head["counts"]),
        _report_from_json(head["report"]),
        Exemplars((traces,) if rows.height else (), rows),
    )


def _table(frame: pl.DataFrame) -> Any:
    out = io.BytesIO()
    frame.write_ipc(out)
    return np.frombuffer(out.getvalue(), dtype=np.uint8)


def _frame(content: Any) -> pl.DataFrame:
    return pl.read_ipc(io.BytesIO(content.tobytes()))


def _report_to_json(report: ReadReport) -> dict[str, Any]:
    values = {f.name: getattr(report, f.name) for f in fields(report)}
    values["formats"] = dict(report.formats)
    values["skipped"] = [[s.file, s.line, s.reason] for s in report.skipped]
    return values


def _report_from_json(values: dict[str, Any]) -> ReadReport:
    formats = MappingProxyType(dict(values["formats"]))
    skipped = tuple(Skipped(*entry) for entry in values["skipped"])
    return ReadReport(**{**values, "formats": formats, "skipped": skipped})
