"""Pictures of what training ended with: problems solved in k answers, diversity, support."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from entropilot.diagnosis.assessment import Interval
from entropilot.information import PassCurve, crossing_k
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.line_labels import Label, colour, end_labels, margin, short_names
from entropilot.report.svg import WIDTH, Plot, element, picture, text, x_axis, y_axis
from entropilot.report.training_figures import key_of, nice
from entropilot.report.training_numbers import (
    Outcome,
    RecipeNumbers,
    budgets,
    ended,
    intervals,
    pass_curve,
)
from entropilot.report.wording import percent

ROW = 26.0  # height of a row of a picture with one row a recipe


class Reach(NamedTuple):
    """pass@k of one recipe before and after training.

    Examples:
        >>> Reach("grpo", "own c0", [1], [], [], [], None).ks
        [1]
    """

    label: str
    kind: str  # classes of its colour
    ks: list[int]
    before: list[Interval]
    after: list[Interval]
    change: list[Interval]
    crossing: float | None  # k from which the start is ahead; None where it never is

    @property
    def sentence(self) -> str:
        """Where the start overtakes the trained policy."""
        if not self.ks:
            return "no seed came to its end"
        if self.crossing is not None:
            return f"the start is ahead from k = {self.crossing:.1f} on"
        first, last = self.change[0].value, self.change[-1].value
        if first <= 0 and last <= 0:
            return f"never ahead of the start up to k = {self.ks[-1]}"
        return f"no crossing up to k = {self.ks[-1]}"


def reaches(comparison: Comparison) -> list[Reach]:
    """pass@k of every recipe, at powers of two."""
    return [
        _reach(label, colour(i), ended(comparison.of(label)))
        for i, label in enumerate(comparison.labels)
    ]


def reach_picture(found: Sequence[Reach]) -> Markup:
    """pass@k after training, all recipes, and before it; single pictures have the intervals."""
    known = [reach for reach in found if reach.ks]
    if not known or len(known[0].ks) < 2:
        return Markup("")
    short = short_names([reach.label for reach in found])
    first = known[0]
    plot, at = _plot(known, margin([*short.values(), "start"]))
    lines = [(short[r.label], r.kind, r.after) for r in known] + [("start", "before", first.before)]
    parts = [_axes(plot, first.ks)]
    for _, kind, values in lines:
        parts.append(plot.line([(x, i.value) for x, i in zip(at, values, strict=True)], kind))
    parts.append(end_labels(plot, [Label(n, values[-1].value, k) for n, k, values in lines]))
    said = "; ".join(f"{n}: {v[0].value:.3f} to {v[-1].value:.3f}" for n, _, v in lines)
    return picture("reach", "Problems solved in k answers", said, plot.height, *parts)


def recipe_reach_picture(reach: Reach, beside: Sequence[Reach]) -> Markup:
    """pass@k of one recipe before and after, with intervals and the crossing.

    Args:
        reach: drawn.
        beside: all recipes, for one scale.
    """
    if len(reach.ks) < 2:
        return Markup("")
    plot, at = _plot([r for r in beside if r.ks], margin(["before"]))
    parts = [_axes(plot, reach.ks)]
    for kind, values in (("before", reach.before), (reach.kind, reach.after)):
        edges = [(x, i.low, i.high) for x, i in zip(at, values, strict=True)]
        parts.append(plot.band(edges, f"seeds {kind}"))
    for kind, values in (("before", reach.before), (reach.kind, reach.after)):
        parts.append(plot.line([(x, i.value) for x, i in zip(at, values, strict=True)], kind))
    if reach.crossing is not None:
        x = plot.x(math.log2(reach.crossing))
        parts.append(
            element("line", class_="cut", x1=x, x2=x, y1=plot.top, y2=plot.height - plot.bottom)
        )
        late = x > WIDTH / 2
        note = f"k = {reach.crossing:.1f}"
        parts.append(
            text(
                note,
                x - 5 if late else x + 5,
                plot.height - plot.bottom - 7,  # curves are high up where they cross
                "note halo",
                "end" if late else None,
            )
        )
    names = [
        Label("before", reach.before[-1].value, "before"),
        Label("after", reach.after[-1].value, reach.kind),
    ]
    parts.append(end_labels(plot, names))
    said = f"From {reach.before[0].value:.3f} to {reach.after[0].value:.3f} at k = 1; "
    said += f"from {reach.before[-1].value:.3f} to {reach.after[-1].value:.3f} at k = "
    said += f"{reach.ks[-1]}; {reach.sentence}."
    title = f"Problems solved in k answers: {reach.label}"
    return picture(f"reach-{key_of(reach.label)}", title, said, plot.height, *parts)


def change_picture(recipes: Sequence[RecipeNumbers], name: str, title: str, unit: str) -> Markup:
    """One quantity before and after, a row a recipe: a ring for the start, a dot for the end.

    Args:
        recipes: all.
        name: of the quantity, a key of ``QUANTITIES``.
        title: of the picture.
        unit: on its axis.
    """
    rows: list[tuple[RecipeNumbers, str, Outcome]] = [
        (recipe, colour(i), recipe.outcomes[name])
        for i, recipe in enumerate(recipes)
        if name in recipe.outcomes
    ]
    if not rows:
        return Markup("")
    short = short_names([recipe.label for recipe in recipes])
    most = max(i.high for _, _, outcome in rows for i in (outcome.before, outcome.after))
    plot = _rows_plot([short[r.label] for r, _, _ in rows], (0.0, nice(0.0, most)[1]))
    parts = [_rows_axis(plot, unit)]
    for row, (recipe, kind, outcome) in enumerate(rows):
        y = plot.top + (row + 0.5) * ROW
        before, after = plot.x(outcome.before.value), plot.x(outcome.after.value)
        low, high = plot.x(outcome.after.low), plot.x(outcome.after.high)
        parts.append(text(short[recipe.label], plot.left - 8, y + 3.8, f"note {kind}", "end"))
        parts.append(element("line", class_=f"stem {kind}", x1=before, x2=after, y1=y, y2=y))
        parts.append(element("line", class_="whisker", x1=low, x2=high, y1=y, y2=y))
        parts.append(element("circle", class_=f"ring {kind}", cx=before, cy=y, r=4.0))
        parts.append(element("circle", class_=f"dot {kind}", cx=after, cy=y, r=4.5))
    said = "; ".join(
        f"{short[r.label]}: {o.before.value:.2f} to {o.after.value:.2f}" for r, _, o in rows
    )
    return picture(key_of(name), title, said, plot.height, *parts)


def support_picture(recipes: Sequence[RecipeNumbers]) -> Markup:
    """Problems lost (left) and found (right) of each recipe, with what chance alone would show."""
    rows = [
        (recipe, colour(i), recipe.support)
        for i, recipe in enumerate(recipes)
        if recipe.support is not None
    ]
    if not rows:
        return Markup("")
    short = short_names([recipe.label for recipe in recipes])
    lost = max([1.0, *(max(s.lost.high, s.by_chance) for _, _, s in rows)])
    found = max([1.0, *(max(s.found.high, s.by_chance) for _, _, s in rows)])
    ends = (-nice(0.0, lost)[1], nice(0.0, found)[1])
    plot = _rows_plot([short[r.label] for r, _, _ in rows], ends)
    zero = plot.x(0.0)
    parts = [_rows_axis(plot, "problems lost, and found", magnitude=True)]
    for row, (recipe, kind, support) in enumerate(rows):
        y = plot.top + (row + 0.5) * ROW
        parts.append(text(short[recipe.label], plot.left - 8, y + 3.8, f"note {kind}", "end"))
        for value, sign, of in ((support.lost, -1, "lost"), (support.found, 1, "found")):
            x = plot.x(sign * value.value)
            wide = abs(x - zero)
            rect = {"x": min(x, zero), "y": y - 6, "width": wide, "height": 12.0}
            parts.append(element("rect", class_=f"support {of} {kind}", **rect))
            low, high = plot.x(sign * value.low), plot.x(sign * value.high)
            parts.append(element("line", class_="whisker", x1=low, x2=high, y1=y, y2=y))
            chance = plot.x(sign * support.by_chance)
            parts.append(element("line", class_="cut", x1=chance, x2=chance, y1=y - 9, y2=y + 9))
    parts.append(element("line", class_="grid base", x1=zero, x2=zero, y1=plot.top, y2=_base(plot)))
    said = "; ".join(
        f"{short[r.label]}: lost {s.lost.value:.1f}, found {s.found.value:.1f}" for r, _, s in rows
    )
    return picture("support", "Problems lost and found", said, plot.height, *parts)


def _reach(label: str, kind: str, arms: Sequence[Arm]) -> Reach:
    if not arms:
        return Reach(label, kind, [], [], [], [], None)
    ks = budgets(arms[0].end.n)
    before, after = pass_curve(arms, "start", ks), pass_curve(arms, "end", ks)
    points = np.asarray(ks)
    crossing = crossing_k(
        PassCurve(points, before.mean(0), before), PassCurve(points, after.mean(0), after)
    )
    return Reach(
        label, kind, ks, intervals(before), intervals(after), intervals(after - before), crossing
    )


def _plot(found: Sequence[Reach], right: float) -> tuple[Plot, list[float]]:
    ks = found[0].ks
    every = [i for reach in found for i in (*reach.before, *reach.after)]
    low, high = nice(min(i.low for i in every), max(i.high for i in every))
    ends = (max(0.0, low), min(1.0, high))
    at = [math.log2(k) for k in ks]
    return Plot((0.0, at[-1]), ends, 230.0, right=right), at


def _axes(plot: Plot, ks: Sequence[int]) -> Markup:
    names: Mapping[float, str] = {math.log2(k): str(k) for k in ks}
    return y_axis(plot, "problems solved", percent) + x_axis(
        plot, "answers a problem (k)", lambda v: names[v], at=list(names)
    )


def _rows_plot(names: Sequence[str], ends: tuple[float, float]) -> Plot:
    return Plot(ends, (0.0, 1.0), 46.0 + ROW * len(names), margin(names), 14.0, 4.0, 38.0)


def _rows_axis(plot: Plot, unit: str, *, magnitude: bool = False) -> Markup:
    high = plot.x_range[1]
    digits = 0 if high >= 4 else 1 if high >= 0.5 else 2

    def write(value: float) -> str:
        return f"{abs(value) if magnitude else value:.{digits}f}"

    ends: dict[str, Any] = {"x1": plot.left, "x2": WIDTH - plot.right}
    base = element("line", class_="grid base", **ends, y1=_base(plot), y2=_base(plot))
    return base + x_axis(plot, unit, write, 6 if magnitude else 4)


def _base(plot: Plot) -> float:
    return plot.height - plot.bottom
