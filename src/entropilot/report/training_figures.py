"""Curves of a comparison of recipes: one line a recipe, a band over seeds, labels at the ends.

Colours and labels are those of ``line_labels``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from markupsafe import Markup

from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.line_labels import Label, colour, end_labels, margin, short_names
from entropilot.report.svg import (
    Plot,
    dot,
    picture,
    ticks,
    x_axis,
    y_axis,
)
from entropilot.report.training_numbers import mean_curve

MOST_POINTS: Final = 60  # of a curve; longer ones are thinned
SMOOTHEST: Final = 8  # steps to either side of a running mean, at most
MANY: Final = 4  # recipes, beyond which bands are paler
SMALL: Final = 1e-3  # largest value below which a curve is drawn in powers of ten
TINY: Final = 1e-15  # largest value below which it is nothing but rounding
HEIGHT: Final = 250.0
SUPERSCRIPT: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Band(NamedTuple):
    """A curve over seeds.

    Examples:
        >>> Band([0.0], [0.5], [0.4], [0.6]).mean
        [0.5]
    """

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]

    def times(self, factor: float) -> Band:
        """The same curve in another unit."""
        mean, low, high = ([factor * v for v in part] for part in self[1:])
        return Band(self.x, mean, low, high)


def over_seeds(
    arms: Sequence[Arm], name: str, scale: Callable[[float], float] = float
) -> Band | None:
    """Mean and range over seeds of a metric, as running means that a picture can show.

    Args:
        arms: of one recipe.
        name: of the metric.
        scale: of the axis, applied to every value before the means.
    """
    points = [(step, [scale(v) for v in values]) for step, values in mean_curve(arms, name)]
    if not points:
        return None
    kept = thinned(len(points))
    half = half_width(len(points))
    columns = (
        smoothed([float(of(values)) for _, values in points], half) for of in (np.mean, min, max)
    )
    mean, low, high = ([column[i] for i in kept] for column in columns)
    return Band([float(points[i][0]) for i in kept], mean, low, high)


def power_of(largest: float) -> int:
    """Power of ten of the unit in which small values are drawn; 0 where they need none.

    Examples:
        >>> power_of(0.02), power_of(3.1e-9), power_of(0.0)
        (0, -9, 0)
    """
    return math.floor(math.log10(largest)) if TINY < largest < SMALL else 0


def power_of_ten(power: int) -> str:
    """In type.

    Examples:
        >>> power_of_ten(-9)
        '10⁻⁹'
    """
    return f"10{str(power).translate(SUPERSCRIPT)}"


def half_width(n_points: int) -> int:
    """Steps to either side of a running mean: none of a short curve, few of a long one.

    Examples:
        >>> half_width(10), half_width(60), half_width(1000)
        (0, 2, 8)
    """
    return min(n_points // 24, SMOOTHEST)


def smoothed(values: Sequence[float], half: int) -> list[float]:
    """Running means, centred and narrow at the start, where curves are steep; one-sided at the end.

    Examples:
        >>> smoothed([0.0, 3.0, 0.0, 3.0], 1)
        [0.0, 1.0, 2.0, 1.5]
    """
    if not half:
        return list(values)
    n = len(values)
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = [(i - min(half, i), min(i + min(half, i) + 1, n)) for i in range(n)]
    return [float((total[stop] - total[start]) / (stop - start)) for start, stop in ends]


def thinned(n_points: int) -> list[int]:
    """Places of the points that are drawn, both ends among them.

    Examples:
        >>> thinned(3), len(thinned(1000)), thinned(1000)[-1]
        ([0, 1, 2], 60, 999)
    """
    places = np.linspace(0, n_points - 1, min(n_points, MOST_POINTS)).round().astype(int)
    return [int(place) for place in places]


def curve_picture(comparison: Comparison, name: str, title: str, unit: str) -> Markup:
    """A metric against steps; empty where no arm logged it."""
    short = short_names(comparison.labels)
    bands = [
        (short[label], colour(i), band)
        for i, label in enumerate(comparison.labels)
        if (band := over_seeds(comparison.of(label), name)) is not None
    ]
    if not bands:
        return Markup("")
    power = power_of(max(abs(v) for _, _, band in bands for v in (*band.low, *band.high)))
    if power:
        bands = [(named, kind, band.times(10.0**-power)) for named, kind, band in bands]
        unit = f"{unit}, in {power_of_ten(power)}"
    low, high = nice(
        min(min(band.low) for _, _, band in bands), max(max(band.high) for _, _, band in bands)
    )
    last = max(band.x[-1] for _, _, band in bands)
    plot = Plot((0.0, max(last, 1.0)), (low, high), HEIGHT, 42.0, margin(b[0] for b in bands))
    parts = [y_axis(plot, unit, written((low, high))), steps_axis(plot)]
    pale = " many" if len(bands) > MANY else ""
    for _, kind, band in bands:
        edges = list(zip(band.x, band.low, band.high, strict=True))
        parts.append(plot.band(edges, f"seeds {kind}{pale}"))
    for _, kind, band in bands:
        parts.append(plot.line(list(zip(band.x, band.mean, strict=True)), kind))
        if len(band.x) == 1:
            parts.append(dot(plot.x(band.x[0]), plot.y(band.mean[0]), kind))
    parts.append(end_labels(plot, [Label(n, band.mean[-1], kind) for n, kind, band in bands]))
    said = "; ".join(f"{n}: {band.mean[0]:.3g} to {band.mean[-1]:.3g}" for n, _, band in bands)
    return picture(key_of(name), title, said, plot.height, *parts)


def written(ends: tuple[float, float]) -> Callable[[float], str]:
    """How to write the numbers of a y axis: with as many decimals as its ticks need.

    Examples:
        >>> written((0.0, 0.015))(0.005), written((0.0, 2.0))(0.5), written((0.0, 60.0))(20.0)
        ('0.005', '0.5', '20')
    """
    found = ticks(*ends, 5)
    step = found[1] - found[0] if len(found) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return lambda value: f"{round(value, digits) + 0.0:,.{digits}f}"


def steps_axis(plot: Plot) -> Markup:
    """The axis of training steps."""
    whole = [v for v in ticks(*plot.x_range, 4) if v == round(v)]  # there is no half step
    return x_axis(plot, "step", lambda v: f"{v:,.0f}", at=whole)


def nice(low: float, high: float) -> tuple[float, float]:
    """Ends on round numbers around the values; from 0 where it is near.

    Examples:
        >>> nice(0.12, 0.87), nice(5.0, 5.0)
        ((0.0, 1.0), (4.5, 5.5))
    """
    if 0 < low < 0.4 * high:
        low = 0.0
    if not high - low > 1e-8 * max(1.0, abs(low)):  # flat but for rounding
        half = max(0.5, 0.1 * abs(low)) if abs(low) > 0.5 else 0.5
        low, high = (0.0, 1.0) if 0 <= low < 1e-8 else (low - half, high + half)
    found = ticks(low, high, 4)
    step = found[1] - found[0] if len(found) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def key_of(name: str) -> str:
    """A name as part of an id.

    Examples:
        >>> key_of("eval/pass@1")
        'eval-pass-1'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
