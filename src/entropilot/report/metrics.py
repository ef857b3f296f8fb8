"""Any metrics file as one HTML file that needs nothing else: curves by layer, and a table.

It has no script. Every text is escaped, hidden characters become symbols, and a
Content-Security-Policy allows one style sheet, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from entropilot.errors import InputError
from entropilot.files import write_atomically
from entropilot.policy.training.metrics_log import read_metrics
from entropilot.report.html import Meta
from entropilot.report.line_labels import N_COLOURS, Label, colour, end_labels, margin
from entropilot.report.metric_series import WHOLE, Series, layers_of, metric_series
from entropilot.report.svg import Plot, dot, picture, y_axis
from entropilot.report.training_figures import (
    HEIGHT,
    key_of,
    nice,
    power_of_ten,
    steps_axis,
    thinned,
    written,
)
from entropilot.report.visible import prose, visible
from entropilot.report.wording import count

SHADES: Final = 5  # of depth, where there are more layers than colours
DECADES: Final = 2.5  # beyond which a positive quantity is drawn on a scale of powers of ten
FIRST: Final = ("loss", "reward", "accuracy", "entropy")
LONGEST: Final = 16  # characters of a layer's name at the end of a line


class Panel(NamedTuple):
    """One picture with its words."""

    picture: Markup
    title: str
    text: str


class Section(NamedTuple):
    """The pictures and numbers of one meter."""

    key: str
    title: str
    panels: list[Panel]
    rows: list[dict[str, Any]]


def render_metrics(rows: Sequence[Mapping[str, Any]], *, meta: Meta | None = None) -> str:
    """The report of a metrics file as one HTML text.

    Args:
        rows: as ``read_metrics`` gives them.
        meta: title, date, version, command.

    Raises:
        InputError: there is nothing to draw.

    Examples:
        >>> page = render_metrics([{"step": 1, "collapse/nc1@fc": 2.0},
        ...                        {"step": 2, "collapse/nc1@fc": 1.0}])
        >>> "scatter within classes" in page
        True
    """
    series = metric_series(rows)
    if not series:
        raise InputError("the metrics file holds no rows with numbers; train a step first")
    style = _asset("report.css") + _asset("training.css") + _asset("metrics.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    layers = layers_of(series)
    kinds = layer_colours(layers)
    steps = sorted({float(row["step"]) for row in rows})
    environment = Environment(
        loader=PackageLoader("entropilot.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=count, prose=prose, visible=visible, short=short_number)
    return environment.get_template("metrics.html.j2").render(
        policy=policy,
        style=Markup(style),
        meta=meta or Meta("Metrics"),
        layers=[(layer, kinds[layer]) for layer in layers],
        sections=_sections(series, kinds),
        n_quantities=len(series),
        n_rows=len(steps),
        first=steps[0],
        last=steps[-1],
        failed=_failed(series),
    )


def write_metrics_report(source: Path, output: Path, *, meta: Meta | None = None) -> Path:
    """Write the report of a metrics file; it appears whole or not at all.

    Args:
        source: ``metrics.jsonl`` of a run or of a ``MeterRecorder``.
        output: HTML file.
        meta: title, date, version, command.

    Raises:
        InputError: no such file, a line that is no row, or nothing to draw.
    """
    if not source.is_file():
        raise InputError(f"{source} is no file; give the metrics.jsonl of a run")
    write_atomically(output, render_metrics(read_metrics(source), meta=meta))
    return output


def layer_colours(layers: Sequence[str]) -> dict[str, str]:
    """Classes of the layers: a colour each, or shades by depth where there are more than seven.

    Examples:
        >>> layer_colours(["a", "b"])
        {'a': 'own c1', 'b': 'own c2'}
        >>> list(layer_colours([str(i) for i in range(20)]).values())[::19]
        ['own s0', 'own s4']
    """
    n = len(layers)
    if n < N_COLOURS:
        return {layer: colour(i + 1) for i, layer in enumerate(layers)}
    return {layer: f"own s{i * (SHADES - 1) // (n - 1)}" for i, layer in enumerate(layers)}


def series_picture(series: Series, kinds: Mapping[str, str], key: str) -> Markup:
    """A quantity against steps, a line a layer; empty where it has no finite value.

    Args:
        series: to draw.
        kinds: classes of the layers.
        key: unique on the page.
    """
    lines = {layer: points for layer, points in series.points.items() if points}
    if not lines:
        return Markup("")
    low, high = min(series.values), max(series.values)
    powers = low > 0 and math.log10(high / low) > DECADES
    if powers:
        lines = {k: [(x, math.log10(y)) for x, y in points] for k, points in lines.items()}
        low, high = math.floor(math.log10(low)), math.ceil(math.log10(high))
    else:
        low, high = nice(low, high)
    names = _end_names(list(lines))
    ends = [x for points in lines.values() for x, _ in points]
    right = margin(names.values()) if names else 18.0
    plot = Plot((min(ends), max(*ends, min(ends) + 1)), (low, high), HEIGHT, 46.0, right)
    parts = [y_axis(plot, "", _tick_writer(low, high, powers=powers)), steps_axis(plot)]
    labels = []
    for layer, points in lines.items():
        kind = kinds.get(layer, "own c2")
        shown = [points[i] for i in thinned(len(points))]
        parts.append(plot.line(shown, kind))
        if len(shown) == 1:
            parts.append(dot(plot.x(shown[0][0]), plot.y(shown[0][1]), kind))
        if layer in names:
            labels.append(Label(names[layer], shown[-1][1], kind))
    parts.append(end_labels(plot, labels))
    said = "; ".join(
        f"{visible(layer) or 'run'}: {short_number(points[0][1])} to {short_number(points[-1][1])}"
        for layer, points in series.points.items()
        if points
    )
    return picture(key, visible(series.quantity), said, plot.height, *parts)


def short_number(value: float) -> str:
    """Three significant digits, for a table.

    Examples:
        >>> short_number(1234.5), short_number(0.01234), short_number(1.2e-7), short_number(3.0)
        ('1,234', '0.0123', '1.2e-07', '3')
    """
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        digits = 0 if abs(value) >= 1000 else max(0, 2 - math.floor(math.log10(abs(value) or 1)))
        text = f"{value:,.{digits}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.2g}"


def _tick_writer(low: float, high: float, *, powers: bool) -> Callable[[float], str]:
    """Numbers of the y axis, none longer than the room beside it."""
    if powers:
        return lambda v: power_of_ten(round(v)) if v == round(v) else ""
    largest = max(abs(low), abs(high))
    return written((low, high)) if 1e-4 <= largest < 1e6 else lambda v: f"{v:.3g}"


def _end_names(layers: Sequence[str]) -> dict[str, str]:
    """Names at the ends of lines: all of few, the first and the last of many, none of the run."""
    named = [layer for layer in layers if layer != WHOLE]
    if len(named) >= N_COLOURS:
        named = [named[0], named[-1]]
    said = {layer: visible(layer) for layer in named}
    return {
        layer: name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"
        for layer, name in said.items()
    }


def _sections(series: Sequence[Series], kinds: Mapping[str, str]) -> list[Section]:
    groups: dict[str, list[Series]] = {}
    for one in series:
        if one.short != "failed":
            groups.setdefault(one.group, []).append(one)
    made = []
    ordered = sorted(groups.items(), key=lambda item: item[0] != "")
    for number, (group, members) in enumerate(ordered):
        order = sorted(members, key=lambda s: FIRST.index(s.short) if s.short in FIRST else 99)
        drawn = [s for s in order if not s.is_constant] or order
        key = f"{key_of(group) or 'run'}-{number}"
        panels = [
            Panel(series_picture(s, kinds, f"{key}-{i}"), s.short, s.meaning)
            for i, s in enumerate(drawn)
        ]
        rows = [row for s in order for row in _table(s, kinds)]
        title = group[:1].upper() + group[1:] if group else "The run"
        made.append(Section(key, title, [p for p in panels if p.picture], rows))
    return made


def _table(series: Series, kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = []
    for layer, points in series.points.items():
        values = [value for _, value in points]
        rows.append({
            "quantity": series.short, "layer": layer, "kind": kinds.get(layer, ""),
            "n": len(values), "start": values[0] if values else None,
            "end": values[-1] if values else None,
            "low": min(values, default=None), "high": max(values, default=None),
        })  # fmt: skip
    return rows


def _failed(series: Sequence[Series]) -> list[tuple[str, str, int]]:
    return [
        (one.group, layer, len(points))
        for one in series
        if one.short == "failed"
        for layer, points in one.points.items()
    ]


def _asset(name: str) -> str:
    return (files("entropilot.report") / "static" / name).read_text(encoding="utf-8")
