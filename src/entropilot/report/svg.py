"""Small pieces of SVG: elements, scales, axes.

Pictures carry classes and no colours; the page's style sheet colours them, so that one picture
works in light, in dark and on paper. Text inside is escaped like any text.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from entropilot.diagnosis.assessment import Interval

WIDTH: Final = 320.0  # of every picture, in the units of its text size; a small phone's width
_names = {"class_": "class"}


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """One element; attribute names take ``_`` for ``-``, and None leaves an attribute out.

    Examples:
        >>> str(element("text", "a < b", x=1.50, text_anchor="end"))
        '<text x="1.5" text-anchor="end">a &lt; b</text>'
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(
            _names.get(name, name.replace("_", "-")),
            number(value) if isinstance(value, float) else value,
        )
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    if not children:
        return Markup("<{}{}/>").format(Markup(tag), written)
    return Markup("<{}{}>{}</{}>").format(Markup(tag), written, inside, Markup(tag))


def number(value: float) -> str:
    """A coordinate with at most one decimal.

    Examples:
        >>> number(3.04), number(12.0), number(-0.01)
        ('3', '12', '0')
    """
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def path(points: Iterable[tuple[float, float]], *, closed: bool = False) -> str:
    """Path data through points.

    Examples:
        >>> path([(0, 0), (1, 2.5)])
        'M0 0L1 2.5'
    """
    joined = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f"M{joined}{'Z' if closed else ''}" if joined else ""


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About ``n`` round numbers from low to high.

    Examples:
        >>> ticks(0.0, 1.0), ticks(0.0, 37.0, 4)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / n
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = itertools.takewhile(
        lambda value: value <= high + 1e-9 * step, (step * i for i in itertools.count(first))
    )
    return [round(value, 10) for value in found]


@dataclass(frozen=True)
class Plot:
    """The drawing area of a picture and its two scales."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    height: float = 240.0
    left: float = 38.0
    right: float = 18.0
    top: float = 24.0
    bottom: float = 36.0

    def x(self, value: float) -> float:
        """Horizontal place of a value."""
        return self.left + self._share(value, self.x_range) * (WIDTH - self.left - self.right)

    def y(self, value: float) -> float:
        """Vertical place of a value."""
        inner = self.height - self.top - self.bottom
        return self.height - self.bottom - self._share(value, self.y_range) * inner

    def points(self, values: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Places of many (x, y)."""
        return [(self.x(x), self.y(y)) for x, y in values]

    def band(self, values: Sequence[tuple[float, float, float]], kind: str = "band") -> Markup:
        """An interval along a line, from (x, low, high)."""
        upper = [(x, high) for x, _, high in values]
        lower = [(x, low) for x, low, _ in reversed(values)]
        return element("path", class_=kind, d=path(self.points(upper + lower), closed=True))

    def line(self, values: Sequence[tuple[float, float]], kind: str) -> Markup:
        """A line through (x, y)."""
        return element("path", class_=f"line {kind}", d=path(self.points(values)))

    @staticmethod
    def _share(value: float, ends: tuple[float, float]) -> float:
        low, high = ends
        share = (value - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)


def text(content: str, x: float, y: float, kind: str = "", anchor: str | None = None) -> Markup:
    """A label."""
    return element("text", content, class_=kind or None, x=x, y=y, text_anchor=anchor)


def y_axis(plot: Plot, title: str, write: Callable[[float], str], n: int = 5) -> Markup:
    """Grid lines with their numbers, and the title above them."""
    low, high = plot.y_range
    ends = {"x1": plot.left, "x2": WIDTH - plot.right}
    base = plot.y(low)
    parts = [text(title, 0.0, 11.0, "axis-title")]
    parts.append(element("line", class_="grid base", **ends, y1=base, y2=base))
    for value in ticks(low, high, n):
        y = plot.y(value)
        if value > low:
            parts.append(element("line", class_="grid", **ends, y1=y, y2=y))
        parts.append(text(write(value), plot.left - 6, y + 3.8, "tick", "end"))
    return Markup("").join(parts)


def x_axis(
    plot: Plot,
    title: str,
    write: Callable[[float], str],
    n: int = 5,
    at: Sequence[float] | None = None,
) -> Markup:
    """Numbers below, and the title below them."""
    base = plot.height - plot.bottom
    parts = []
    for value in at if at is not None else ticks(*plot.x_range, n):
        x = plot.x(value)
        parts.append(element("line", class_="tickmark", x1=x, x2=x, y1=base, y2=base + 4))
        parts.append(text(write(value), x, base + 15, "tick", "middle"))
    middle = (plot.left + WIDTH - plot.right) / 2
    parts.append(text(title, middle, plot.height - 4, "axis-title", "middle"))
    return Markup("").join(parts)


def picture(key: str, title: str, description: str, height: float, *parts: str) -> Markup:
    """A whole picture with its accessible name and description.

    Args:
        key: unique on the page.
        title: what it shows, a few words.
        description: what is to be seen in it, a sentence.
        height: in the units of ``WIDTH``.
        parts: its elements.
    """
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-desc"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        class_="figure",
        role="img",
        viewBox=f"0 0 {number(WIDTH)} {number(height)}",
        aria_labelledby=f"{key}-title {key}-desc",
    )


def whisker(plot: Plot, x: float, interval: Interval) -> Markup:
    """An interval as a whisker at one place, in picture units across."""
    low, high = number(plot.y(interval.low)), number(plot.y(interval.high))
    a, b = number(x - 4), number(x + 4)
    data = f"M{number(x)} {low}V{high}M{a} {low}H{b}M{a} {high}H{b}"
    return element("path", class_="whisker", d=data)


def dot(x: float, y: float, kind: str) -> Markup:
    """A dot, in picture units."""
    return element("circle", class_=f"dot {kind}", cx=x, cy=y, r=4.0)


def writer(ends: tuple[float, float], digits: int = 0) -> Callable[[float], str]:
    """How to write numbers between two ends, with no more decimals than they need, or some more.

    Examples:
        >>> writer((0.0, 4.5))(2.0), writer((0.0, 3000.0))(1200.0)
        ('2.0', '1,200')
    """
    span = ends[1] - ends[0]
    digits += 0 if span > 10 else 1 if span > 1 else 2
    return lambda value: f"{value:,.{digits}f}"


def ceiling(value: object) -> float:
    """The next half above a number; 1 where there is none.

    Examples:
        >>> ceiling(3.2), ceiling(None)
        (3.5, 1.0)
    """
    known = isinstance(value, int | float) and math.isfinite(value) and value > 0
    return math.ceil(float(value) * 2) / 2 if known and isinstance(value, int | float) else 1.0


def share_ceiling(values: Iterable[float]) -> float:
    """The next tenth above some shares, at most 1.

    Examples:
        >>> share_ceiling([0.12, 0.31]), share_ceiling([])
        (0.4, 0.1)
    """
    return min(1.0, math.ceil(max([*values, 0.1]) * 10 - 1e-9) / 10)
