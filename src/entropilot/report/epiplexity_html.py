"""The report of a comparison of data sets: one HTML file that needs nothing else, no script."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from entropilot.report import wording
from entropilot.report.epiplexity import ONE, bits, bits_interval, setting
from entropilot.report.html import Meta
from entropilot.report.line_labels import Label, colour, end_labels, margin, short_names
from entropilot.report.svg import WIDTH, Plot, dot, element, picture, text, ticks, x_axis, y_axis
from entropilot.report.visible import prose, visible

BAR: Final = 20.0  # height of a row of the first picture
MOST_ORDERS: Final = 8  # pictures of the code by order


def render_epiplexity(document: Mapping[str, Any], *, meta: Meta | None = None) -> str:
    """The report as one HTML text.

    Args:
        document: of ``epiplexity_document``.
        meta: title, date, version, command.
    """
    style = "".join(
        (files("entropilot.report") / "static" / name).read_text(encoding="utf-8")
        for name in ("report.css", "training.css", "epiplexity.css")
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("entropilot.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bits=bits,
        bits_interval=bits_interval,
        count=wording.count,
        decimal=wording.decimal,
        percent=wording.percent,
        prose=prose,
        visible=visible,
    )
    data = document["data"]
    return environment.get_template("epiplexity.html.j2").render(
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'",
        style=Markup(style),
        meta=meta or Meta("Data report"),
        document=document,
        setting=setting(document),
        unit=ONE[data[0]["kind"]] if document["is_ranked"] else "symbol",
        colours=[colour(i) for i in range(len(data))],
        structure=structure_picture(data),
        learnt=learnt_picture(data),
        orders=[order_picture(one, i) for i, one in enumerate(data[:MOST_ORDERS])],
    )


def structure_picture(data: Sequence[Mapping[str, Any]]) -> Markup:
    """S of every data set with its interval, a row each."""
    ends = [x for one in data for x in one["S_bits"].values() if x is not None]
    scale, unit = _unit(max(ends))
    most = max(max(ends) / scale, 1e-9) * 1.02
    names = list(short_names(_names(data)).values())
    height = 44.0 + 2 * BAR * len(data)
    plot = Plot((0.0, most), (0.0, 1.0), height, left=6.0, right=10.0, top=4.0)
    parts = [x_axis(plot, f"S, {unit}", _short, 4)]
    for x in ticks(0.0, most, 4):
        at = plot.x(x)
        parts.append(element("line", class_="grid", x1=at, x2=at, y1=4.0, y2=height - plot.bottom))
    for i, (one, name) in enumerate(zip(data, names, strict=True)):
        y = 4.0 + BAR * (2 * i + 1.45)
        found = {k: None if v is None else v / scale for k, v in one["S_bits"].items()}
        value = plot.x(found["value"] or 0.0)
        kind = colour(i)
        parts.append(text(name, plot.left, y - 9.0, f"{kind} halo"))
        parts.append(element("line", class_=f"stem {kind}", x1=plot.x(0.0), x2=value, y1=y, y2=y))
        if found["low"] is not None and found["high"] is not None:
            low, high = plot.x(max(0.0, found["low"])), plot.x(found["high"])
            parts.append(element("line", class_="spread", x1=low, x2=high, y1=y, y2=y))
        parts.append(dot(value, y, kind))
    said = "; ".join(f"{visible(one['name'])}: {bits_interval(one['S_bits'])}" for one in data)
    return picture("structure", "Learnable structure", said, height, *parts)


def learnt_picture(data: Sequence[Mapping[str, Any]]) -> Markup:
    """How much structure the first n symbols have brought, a line a data set."""
    scale, unit = _unit(max(p["S_bits"] for one in data for p in one["learnt"]))
    lines = [[(p["symbols"], p["S_bits"] / scale) for p in one["learnt"]] for one in data]
    values = [y for line in lines for _, y in line]
    last = max(x for line in lines for x, _ in line)
    names = list(short_names(_names(data)).values())
    low, high = min(0.0, *values), max(*values, 1e-9) * 1.05
    plot = Plot((0.0, last), (low, high), 230.0, 42.0, margin(names))
    parts = [y_axis(plot, unit, _short, 4), x_axis(plot, "symbols read", _symbols, 3)]
    parts += [plot.line(line, colour(i)) for i, line in enumerate(lines)]
    ends = [
        Label(n, line[-1][1], colour(i))
        for i, (n, line) in enumerate(zip(names, lines, strict=True))
    ]
    parts.append(end_labels(plot, ends))
    said = "; ".join(f"{n}: {line[-1][1]:.3g} {unit}" for n, line in zip(names, lines, strict=True))
    return picture("learnt", "Structure learnt", said, plot.height, *parts)


def order_picture(one: Mapping[str, Any], index: int) -> Markup:
    """Both parts of the code against the observer's reach: noise below, structure on top."""
    n = one["H_bits"]["value"] / max(one["H_bits_per_symbol"]["value"] or 0.0, 1e-12)
    if not n:
        n = 1.0
    rows = [
        (r["order"], r["H_bits"]["value"] / n, max(r["S_bits"]["value"], 0.0) / n)
        for r in one["orders"]
    ]
    most = max(h + s for _, h, s in rows)
    top = max(most, 1e-9)
    wide = len(rows)
    plot = Plot((-0.5, wide - 0.5), (0.0, top * 1.04), 190.0, 38.0, 8.0)
    parts = [y_axis(plot, "bits a symbol", _short)]
    base = plot.y(0.0)
    half = (plot.x(1.0) - plot.x(0.0)) * 0.36
    for i, (order, h, s) in enumerate(rows):
        x = plot.x(float(i))
        chosen = order == one["order"]
        kind = f"{colour(index)}{' chosen' if chosen else ''}"
        for low, high, part in ((0.0, h, "noise"), (h, h + s, "gained")):
            y1, y2 = plot.y(high), plot.y(low)
            parts.append(
                element(
                    "rect",
                    class_=f"part {part} {kind}",
                    x=x - half,
                    y=y1,
                    width=2 * half,
                    height=max(y2 - y1, 0.0),
                )
            )
        if chosen:
            parts.append(text("best", x, plot.y(h + s) - 4.0, "note strong halo", "middle"))
        parts.append(text("unif." if order < 0 else str(order), x, base + 15, "tick", "middle"))
    parts.append(
        text("symbols of context", (plot.left + WIDTH - plot.right) / 2, plot.height - 4,
             "axis-title", "middle")
    )  # fmt: skip
    said = "; ".join(f"order {order}: {h:.3f} noise and {s:.3f} structure" for order, h, s in rows)
    return picture(
        f"orders-{index}", f"Code of {visible(one['name'])} by order", said, plot.height, *parts
    )


def _names(data: Sequence[Mapping[str, Any]]) -> list[str]:
    return [visible(one["name"]) for one in data]


def _unit(most: float) -> tuple[float, str]:
    for scale, name in ((1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit")):
        if most >= scale:
            return scale, name
    return 1.0, "bit"


def _short(value: float) -> str:
    return f"{value:g}"


def _symbols(value: float) -> str:
    for scale, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:g}{name}"
    return f"{value:g}" if math.isfinite(value) else ""
