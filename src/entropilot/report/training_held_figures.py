"""Pictures of a controller: its quantity with the set point, and the knob that was turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.line_labels import Label, colour, end_labels, margin
from entropilot.report.svg import WIDTH, Plot, element, picture, text, y_axis
from entropilot.report.training_figures import (
    HEIGHT,
    Band,
    key_of,
    nice,
    over_seeds,
    steps_axis,
    written,
)
from entropilot.report.training_held import SET_POINT, VALUE, held_numbers


class Held(NamedTuple):
    """The two pictures of a controller.

    Examples:
        >>> Held("held", "entropy", Markup(""), "coef", Markup("")).knob
        'coef'
    """

    label: str
    quantity: str
    quantity_picture: Markup
    knob: str
    knob_picture: Markup


def held_pictures(comparison: Comparison) -> list[Held]:
    """Of every recipe with a controller, in the order of the recipes."""
    made = []
    for i, label in enumerate(comparison.labels):
        arms = comparison.of(label)
        found = held_numbers(arms)
        if found is None:
            continue
        kind = colour(i)
        made.append(
            Held(
                label,
                found.quantity,
                quantity_picture(label, arms, kind, found.quantity),
                found.knob,
                knob_picture(label, arms, kind, found.knob),
            )
        )
    return made


def quantity_picture(label: str, arms: Sequence[Arm], kind: str, quantity: str) -> Markup:
    """The quantity over steps, with its set point dashed."""
    band, wanted = over_seeds(arms, quantity), over_seeds(arms, SET_POINT)
    if band is None or wanted is None:
        return Markup("")
    every = [*band.low, *band.high, *wanted.mean]
    ends = nice(min(every), max(every))
    plot = _plot(band, ends, [quantity, "set point"])
    unit = f"{quantity}, nats a token" if quantity == "entropy" else quantity
    parts = [y_axis(plot, unit, written(ends)), steps_axis(plot), *_curve(plot, band, kind)]
    parts.append(plot.line(list(zip(wanted.x, wanted.mean, strict=True)), "before"))
    names = [
        Label(quantity, band.mean[-1], kind),
        Label("set point", wanted.mean[-1], "before"),
    ]
    parts.append(end_labels(plot, names))
    said = f"Ends at {band.mean[-1]:.3g}, set point {wanted.mean[-1]:.3g}."
    title = f"{quantity} and its set point: {label}"
    return picture(f"held-{key_of(label)}", title, said, plot.height, *parts)


def knob_picture(label: str, arms: Sequence[Arm], kind: str, knob: str) -> Markup:
    """The knob over steps between its limits, on its own scale."""
    control = arms[0].control
    is_log = control["scale"] == "log"
    band = over_seeds(arms, VALUE, math.log10 if is_log else float)
    if band is None:
        return Markup("")
    low, high = (float(control[name]) for name in ("low", "high"))
    ends = (math.log10(low), math.log10(high)) if is_log else (low, high)
    plot = _plot(band, ends, [knob])
    parts = [_log_axis(plot, knob) if is_log else y_axis(plot, knob, written(ends))]
    parts += [steps_axis(plot), *_curve(plot, band, kind)]
    parts.append(end_labels(plot, [Label(knob, band.mean[-1], kind)]))
    first, last = ((10**v if is_log else v) for v in (band.mean[0], band.mean[-1]))
    said = f"From {first:.3g} to {last:.3g}, within {low:g} and {high:g}."
    title = f"{knob} turned between its limits: {label}"
    return picture(f"knob-{key_of(label)}", title, said, plot.height, *parts)


def decades(low: float, high: float) -> list[float]:
    """Round numbers between two limits for a logarithmic axis, both powers of ten included.

    Examples:
        >>> decades(0.001, 0.1)
        [0.001, 0.01, 0.1]
        >>> decades(0.5, 2.0)
        [0.5, 1.0, 2.0]
        >>> decades(1.1, 1.9)
        [1.1, 1.9]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if math.log10(high / low) < 1.5 else (1,)
    found = [round(m * 10.0**e, 12) for e in range(first, last + 1) for m in steps]
    inside = [v for v in found if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else [low, high]


def _log_axis(plot: Plot, title: str) -> Markup:
    low, high = (10**v for v in plot.y_range)
    parts = [text(title, 0.0, 11.0, "axis-title")]
    ends = {"x1": plot.left, "x2": WIDTH - plot.right}
    base = plot.y(plot.y_range[0])
    parts.append(element("line", class_="grid base", **ends, y1=base, y2=base))
    for value in decades(low, high):
        y = plot.y(math.log10(value))
        if y < base - 1:
            parts.append(element("line", class_="grid", **ends, y1=y, y2=y))
        parts.append(text(f"{value:g}", plot.left - 6, y + 3.8, "tick", "end"))
    return Markup("").join(parts)


def _plot(band: Band, ends: tuple[float, float], names: Sequence[str]) -> Plot:
    return Plot((0.0, max(band.x[-1], 1.0)), ends, HEIGHT - 20, 42.0, margin(names))


def _curve(plot: Plot, band: Band, kind: str) -> list[Markup]:
    edges = list(zip(band.x, band.low, band.high, strict=True))
    line = list(zip(band.x, band.mean, strict=True))
    return [plot.band(edges, f"seeds {kind}"), plot.line(line, kind)]
