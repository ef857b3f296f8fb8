"""The report as one HTML file that needs nothing else: pictures, table, viewer, style, script.

Safe against what models write: every text is escaped or reaches the page through ``textContent``,
hidden characters become symbols, and a Content-Security-Policy allows one style sheet and one
script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from entropilot.diagnosis.assessment import Assessment
from entropilot.files import write_atomically
from entropilot.report import curves, figures, sentences, wording
from entropilot.report.payload import TOKEN_CAP, flagged_columns, script_json, views_payload
from entropilot.report.tokens import LEVELS, TokenMeasures, TraceView, span_levels, trace_view
from entropilot.report.visible import prose, visible

STATIC_ROWS: Final = 20  # of the table that stand in the page itself, for readers without script
STATIC_VIEWS: Final = 2
MOST_VIEWS: Final = 60
MOST_GROUPS: Final = 8
PICTURES: Final = ("overview", "roc", "buckets", "prefix", "timing", "group_bar", "pass")


class Reading(Protocol):
    """What was read and what was not: a ``ReadReport`` of ``entropilot.traces``.

    Examples:
        >>> from entropilot.traces.reading.options import ReadReport
        >>> reading: Reading = ReadReport(traces=3, formats={"OpenAI": 3})
        >>> reading.traces
        3
    """

    @property
    def traces(self) -> int:
        """Traces read."""

    @property
    def formats(self) -> Mapping[str, int]:
        """Traces by format."""

    @property
    def skipped_lines(self) -> int:
        """Lines that could not be read."""

    @property
    def skipped(self) -> Sequence[Any]:
        """The first of them, each with a ``reason``; written out they name file and line."""

    def sentences(self) -> tuple[str, ...]:
        """What a reader must know of the reading."""


@dataclass(frozen=True)
class Meta:
    """What stands at the edges of a report.

    Time and version come in, so that the same report can be made again.

    Examples:
        >>> Meta("Nightly run", sources=("a.jsonl",)).title
        'Nightly run'
    """

    title: str = "Trace report"
    made: str = ""  # date and time, for reading
    version: str = ""  # of entropilot
    command: str = ""  # the line that makes this report again
    sources: Sequence[str] = ()


def exemplar_views(
    assessment: Assessment, measures: TokenMeasures | None = None, *, most: int = MOST_VIEWS
) -> tuple[TraceView, ...]:
    """Views of the traces that the assessment shows in full.

    Args:
        assessment: whose ``exemplars`` are shown.
        measures: of the tokens of ``assessment.exemplars``; computed where not given.
        most: traces, at most.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> exemplar_views(assess(frame))  # a frame alone holds no tokens
        ()
    """
    traces = assessment.exemplars
    if not len(traces):
        return ()
    if measures is None:
        from entropilot.traces.measures import token_measures

        measures = token_measures(traces)
    return tuple(
        trace_view(traces, row, measures, most_tokens=TOKEN_CAP)
        for row in range(min(len(traces), most))
    )


def render_html(
    assessment: Assessment,
    *,
    measures: TokenMeasures | None = None,
    reading: Reading | None = None,
    meta: Meta | None = None,
) -> str:
    """The report as one HTML text.

    Args:
        assessment: what to say.
        measures: of the tokens of the exemplars; computed where not given.
        reading: what was read and skipped, where files were read.
        meta: title, date, version, command.

    Examples:
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> "1 of 2 traces look suspicious" in render_html(assess(frame))
        True
    """
    meta = meta or Meta()
    views = exemplar_views(assessment, measures)
    has_views = any(map(len, views)) or assessment.n_tokens > 0
    views = views if has_views else ()
    pictures, groups = _pictures(assessment), _groups(assessment)
    style, script = _asset("report.css"), _asset("report.js")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(script)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ]
    )
    page = _environment().get_template("report.html.j2")
    return page.render(
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        a=assessment,
        meta=meta,
        reading=reading,
        reasons=skip_reasons(reading) if reading else (),
        unit=sentences.unit(assessment.signal),
        threshold=assessment.threshold if wording.known(assessment.threshold) else None,
        remarks=remarks(assessment, reading),
        label=sentences.name_of(assessment, assessment.signal),
        chances=assessment.flagged["p_wrong"].count() > 0,
        rated=any(signal.auc for signal in assessment.signals),
        rows=assessment.flagged.head(STATIC_ROWS).to_dicts(),
        views=views[:STATIC_VIEWS],
        n_views=len(views),
        level_names=list(LEVELS),
        groups=groups,
        pictures=pictures,
        has_views=has_views,
        has_timing=assessment.n_labelled > 0 and assessment.n_tokens > 0,
        has_problems=assessment.groups is not None
        and bool(groups or pictures["pass"] or assessment.n_labelled),
        flagged_data=script_json(flagged_columns(assessment.flagged, [view.id for view in views])),
        views_data=script_json(views_payload(views)),
    )


def write_html(
    path: str | Path,
    assessment: Assessment,
    *,
    measures: TokenMeasures | None = None,
    reading: Reading | None = None,
    meta: Meta | None = None,
) -> Path:
    """Write the report; the file appears whole or not at all. Arguments as in ``render_html``.

    Examples:
        >>> import tempfile
        >>> import polars as pl
        >>> from entropilot.diagnosis.assess import assess
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_html(f"{folder}/report.html", assess(frame)).read_text()[:15]
        '<!doctype html>'
    """
    write_atomically(
        Path(path), render_html(assessment, measures=measures, reading=reading, meta=meta)
    )
    return Path(path)


def remarks(assessment: Assessment, reading: Reading | None) -> list[str]:
    """Notes of the assessment and of the reading, each once."""
    said = reading.sentences() if reading else ()
    return list(dict.fromkeys([*said, *assessment.notes]))


def skip_reasons(reading: Reading) -> list[tuple[str, int]]:
    """Reasons for skipping lines, most frequent first; lines that are not named come last."""
    reasons = Counter(str(line.reason) for line in reading.skipped).most_common()
    rest = reading.skipped_lines - len(reading.skipped)
    return [*reasons, ("others, not looked at one by one", rest)] if rest > 0 else reasons


def _pictures(assessment: Assessment) -> dict[str, Markup]:
    """Every picture that the numbers allow, by its place in the page."""
    axis = sentences.with_unit(assessment, assessment.signal)
    made = dict.fromkeys(PICTURES, Markup(""))
    if assessment.flagged.height:
        made["overview"] = figures.overview(assessment.flagged, assessment.threshold, axis)
    if any(s.roc for s in assessment.signals if s.name == assessment.signal):
        made["roc"] = figures.roc(assessment.signals, assessment.signal)
    if assessment.buckets:
        made["buckets"] = figures.bucket_bars(assessment.buckets, axis)
    if any(s.auc for _, s in assessment.prefix):
        whole = next((s for s in assessment.signals if s.name == "instability_peak"), None)
        made["prefix"] = figures.prefix_curve(assessment.prefix, whole)
    if assessment.timing is not None and assessment.timing.cells:
        made["timing"] = figures.timing_table(assessment.timing)
    groups = assessment.groups
    if groups is not None:
        mixed = groups.frame.height - groups.n_all_right - groups.n_all_wrong
        made["group_bar"] = curves.group_bar(groups.n_all_right, mixed, groups.n_all_wrong)
        if groups.pass_at_k:
            made["pass"] = curves.pass_at_k(groups)
    return made


def _groups(assessment: Assessment) -> list[dict[str, Any]]:
    """The problems whose samples disagree most."""
    if assessment.groups is None:
        return []
    frame = assessment.groups.frame.filter(pl.col("answer_entropy").is_finite())
    return frame.sort("answer_entropy", descending=True).head(MOST_GROUPS).to_dicts()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("entropilot.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        curves=curves, figures=figures, sentences=sentences, span_levels=span_levels, zip=zip
    )
    environment.filters.update(
        count=wording.count,
        percent=wording.percent,
        decimal=wording.decimal,
        estimate=wording.estimate,
        prose=prose,
        visible=visible,
    )
    return environment


def _asset(name: str) -> str:
    return (files("entropilot.report") / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
