"""A report in the form that was asked for, to a file or to standard output."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from entropilot.cli.console import err, out, print_bytes, printable

if TYPE_CHECKING:
    from rich.console import Console

    from entropilot.diagnosis.assessment import Assessment
    from entropilot.report import Meta
    from entropilot.traces.summary import Summary

TEXT_WIDTH: Final = 100  # columns of a text that goes to a file


class ReportFormat(StrEnum):
    """Form of the report."""

    HTML = "html"
    JSON = "json"
    MD = "md"
    PARQUET = "parquet"
    TEXT = "text"


ENDINGS: Final = {
    ".htm": ReportFormat.HTML,
    ".json": ReportFormat.JSON,
    ".markdown": ReportFormat.MD,
    ".md": ReportFormat.MD,
    ".parquet": ReportFormat.PARQUET,
    ".txt": ReportFormat.TEXT,
}


def format_of(output: Path | None) -> ReportFormat:
    """The form that a file's name asks for, HTML where it says nothing.

    Examples:
        >>> format_of(Path("night.json")).value, format_of(None).value
        ('json', 'html')
    """
    ending = "" if output is None else output.suffix.lower()
    return ENDINGS.get(ending, ReportFormat.HTML)


def names_of(sources: Sequence[Path]) -> list[str]:
    """Sources as a reader calls them.

    Examples:
        >>> names_of([Path("-"), Path("a.jsonl")])
        ['standard input', 'a.jsonl']
    """
    return ["standard input" if str(source) == "-" else str(source) for source in sources]


def report_meta(title: str, sources: Sequence[str]) -> Meta:
    """Title, time, version, and the line that makes the report again."""
    from datetime import datetime

    from entropilot import __version__
    from entropilot.report import Meta

    return Meta(
        title=title,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        version=__version__,
        command=shlex.join(["entropilot", *sys.argv[1:]]),
        sources=list(sources),
    )


def write_report(
    form: ReportFormat,
    output: Path | None,
    assessment: Assessment,
    summary: Summary,
    sources: Sequence[Path],
    *,
    show: int = 0,
) -> None:
    """Write the report; where it goes to a file, say the main things on standard error.

    Args:
        form: of the report.
        output: file; None or ``-`` is standard output.
        assessment: what to say.
        summary: of the traces; its frame is the Parquet form.
        sources: what was read.
        show: traces to print, token by token, where people read.
    """
    if output is None or str(output) == "-":
        if form is ReportFormat.TEXT:
            _print_all(assessment, out(), show)
        else:
            print_bytes(_content(form, assessment, summary, sources))
            if show:
                print_traces(assessment, err(), show)
        _warn(summary)
        return
    from entropilot.files import write_atomically

    if form is ReportFormat.TEXT:
        write_atomically(output, _as_text(assessment, show))
    else:
        write_atomically(output, _content(form, assessment, summary, sources))
        _print_all(assessment, err(), show)
    _warn(summary)
    err().print(printable(f"written: {output}"), markup=False, soft_wrap=True)


def print_traces(assessment: Assessment, console: Console, n: int) -> None:
    """Print the most suspicious traces token by token, as many as are kept in full."""
    from rich.text import Text

    from entropilot.report import exemplar_views, print_trace, visible

    views = exemplar_views(assessment, most=n)
    for i, view in enumerate(views):
        console.print()
        print_trace(view, console, explain=i == 0)
    shown = {view.id for view in views}
    first = [visible(id_ or "", limit=60) for id_ in assessment.flagged["id"].head(n)]
    missing = [id_ for id_ in first if id_ not in shown]
    if missing:
        said = f"{', '.join(missing[:10])}{', …' if len(missing) > 10 else ''}"
        console.print(Text(f"\nmore suspicious, but not kept in full: {said}", "dim"))


def _print_all(assessment: Assessment, console: Console, show: int) -> None:
    from entropilot.report import print_assessment

    print_assessment(assessment, console)
    if show:
        print_traces(assessment, console, show)


def _warn(summary: Summary) -> None:
    for sentence in summary.report.sentences():
        err().print(printable(sentence), style="yellow", markup=False)


def _as_text(assessment: Assessment, show: int) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=TEXT_WIDTH, color_system=None)
    with console.capture() as written:
        _print_all(assessment, console, show)
    return written.get()


def _content(
    form: ReportFormat, assessment: Assessment, summary: Summary, sources: Sequence[Path]
) -> bytes:
    """The whole file, whichever way it leaves."""
    from entropilot import report

    names = names_of(sources)
    title = f"Trace report: {Path(names[0]).name}" if len(names) == 1 else "Trace report"
    meta, reading = report_meta(title, names), summary.report
    if form is ReportFormat.PARQUET:
        buffer = io.BytesIO()
        summary.frame.write_parquet(buffer)
        return buffer.getvalue()
    if form is ReportFormat.JSON:
        return report.json_text(assessment, reading=reading, meta=meta).encode()
    if form is ReportFormat.MD:
        text = report.render_markdown(assessment, reading=reading, meta=meta)
    else:
        text = report.render_html(assessment, reading=reading, meta=meta)
    return text.encode(errors="replace")  # a file's name may hold bytes that are no text
