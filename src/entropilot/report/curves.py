"""Pictures of what follows: more samples, another policy, and one trace from token to token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from markupsafe import Markup

from entropilot.report.svg import (
    WIDTH,
    Plot,
    ceiling,
    dot,
    element,
    path,
    picture,
    share_ceiling,
    text,
    x_axis,
    y_axis,
)
from entropilot.report.tokens import TraceView
from entropilot.report.wording import count, decimal, estimate, known, percent
from entropilot.traces.assessment import GroupView, Replay, ReplayPoint

#: What a policy is drawn against: a field of ``ReplayPoint``, and its name.
COSTS: Final = {
    "route": ("share", "traces handed over"),
    "drop": ("share", "traces left out"),
    "vote": ("share", "samples left out of the vote"),
}


def pass_at_k(view: GroupView) -> Markup:
    """Chance that at least one of k samples is right, with its interval."""
    curve = view.pass_at_k
    ends = (math.log2(curve[0][0]), math.log2(max(curve[-1][0], curve[0][0] + 1)))
    plot = Plot(ends, (0.0, 1.0), height=230.0)
    places = [(math.log2(k), estimate) for k, estimate in curve]
    shown = [(x, k) for (x, _), (k, _) in zip(places, curve, strict=True)]
    if len(shown) > 6:
        shown = [(x, k) for x, k in shown if k & (k - 1) == 0]
    names = {x: str(k) for x, k in shown}
    parts = [
        y_axis(plot, "problems solved at least once", percent),
        x_axis(plot, "samples a problem (k)", lambda v: names[v], at=[x for x, _ in shown]),
        plot.band([(x, e.low, e.high) for x, e in places]),
        plot.line([(x, e.value) for x, e in places], "signal"),
    ]
    parts += [dot(plot.x(x), plot.y(e.value), "signal") for x, e in places if x in names]
    if view.majority_accuracy is not None:
        y = plot.y(view.majority_accuracy.value)
        parts.append(
            element("line", class_="line other", x1=plot.left, x2=WIDTH - plot.right, y1=y, y2=y)
        )
        note = f"majority vote {percent(view.majority_accuracy.value)}"
        parts.append(text(note, WIDTH - plot.right, y + 13, "note faint halo", "end"))
    said = "; ".join(f"k = {k}: {estimate(e, share=True)}" for k, e in curve)
    return picture("pass-at-k", "Problems solved in k samples", said, plot.height, *parts)


def group_bar(all_right: int, mixed: int, all_wrong: int) -> Markup:
    """How many problems are always solved, sometimes, never."""
    total = max(all_right + mixed + all_wrong, 1)
    parts, at = [], 0.0
    shares = (("always right", all_right, "right"), ("mixed", mixed, "mixed"))
    for name, n, kind in (*shares, ("always wrong", all_wrong, "wrong")):
        wide = WIDTH * n / total
        if n:
            parts.append(
                element("rect", class_=f"part {kind}", x=at, y=20.0, width=wide - 1, height=18.0)
            )
            low, anchor = (at, None) if at + wide < WIDTH - 1 else (WIDTH, "end")
            row = 12.0 if kind != "mixed" else 53.0
            parts.append(text(f"{name} {count(n)}", low, row, "note", anchor))
        at += wide
    said = f"{all_right} problems always right, {mixed} mixed, {all_wrong} always wrong."
    return picture("group-bar", "Problems by how often they are solved", said, 58.0, *parts)


def replay_curve(key: str, replay: Replay) -> Markup:
    """Cost against accuracy under one policy, with the same share chosen at random."""
    cost, name = COSTS.get(replay.policy, ("tokens_saved", "tokens saved"))

    def along(points: Sequence[ReplayPoint]) -> list[tuple[float, ReplayPoint]]:
        placed = ((getattr(point, cost), point) for point in points)
        return sorted((pair for pair in placed if known(pair[0])), key=lambda pair: pair[0])

    curve, chance = along(replay.curve), along(replay.random)
    intervals = [replay.baseline, *(p.accuracy for _, p in curve)]
    highs = [i.high for i in intervals if known(i.high)]
    lows = [i.low for i in intervals if known(i.low)]
    ends = (math.floor(min([*lows, 1.0]) * 10) / 10, share_ceiling(highs))
    most = max([x for x, _ in curve] + [0.05])
    plot = Plot((0.0, math.ceil(most * 10) / 10), ends, height=260.0)
    base = plot.y(replay.baseline.value)
    parts = [
        y_axis(plot, "accuracy", percent),
        x_axis(plot, name, percent),
        element("line", class_="line other", x1=plot.left, x2=WIDTH - plot.right, y1=base, y2=base),
    ]
    if curve:
        parts.append(plot.band([(x, p.accuracy.low, p.accuracy.high) for x, p in curve]))
    parts.append(plot.line([(x, p.accuracy.value) for x, p in chance], "chance"))
    parts.append(plot.line([(x, p.accuracy.value) for x, p in curve], "signal"))
    if replay.chosen is not None:
        x = plot.x(getattr(replay.chosen, cost))
        parts.append(dot(x, plot.y(replay.chosen.accuracy.value), "chosen"))
    said = f"{replay.verdict} Accuracy without it {estimate(replay.baseline, share=True)}."
    return picture(key, f"Replay: {replay.policy} by {replay.signal}", said, plot.height, *parts)


def step_curve(key: str, view: TraceView) -> Markup:
    """Instability and entropy over the tokens of one trace, the peak marked."""
    n = max(len(view), 2)
    top = ceiling(np.nanmax([1.0, *view.instability, *view.entropy]))
    plot = Plot((0.0, float(n - 1)), (0.0, top), height=170.0)

    def known_points(values: Sequence[float]) -> list[tuple[float, float]]:
        return [(t, v) for t, v in pooled(values, 600) if known(v)]

    entropy = known_points(view.entropy.tolist())
    area = [(0.0, 0.0), *entropy, (entropy[-1][0] if entropy else 0.0, 0.0)]
    parts = [
        y_axis(plot, "nats", lambda v: decimal(v, 1), 4),
        x_axis(plot, "token", lambda v: count(round(v)), 5),
        element("path", class_="band", d=path(plot.points(area), closed=True)),
        plot.line(known_points(view.instability.tolist()), "signal thin"),
    ]
    said = f"{count(len(view))} tokens."
    if view.peak is not None:
        height = float(view.instability[view.peak])
        x, y = plot.x(view.peak), plot.y(height)
        parts.append(dot(x, y, "chosen"))
        late = view.peak > n / 2
        label = f"peak {decimal(height)} at token {view.peak}"
        parts.append(
            text(
                label, x - 8 if late else x + 8, y + 4, "note strong halo", "end" if late else None
            )
        )
        said = f"{said} Instability peaks at {decimal(height)} nats, at token {view.peak}."
    return picture(key, "Instability over the trace", said, plot.height, *parts)


def pooled(values: Sequence[float], most: int) -> list[tuple[float, float]]:
    """(position, value) of a long line: the largest of each stretch where there are too many."""
    size = max(1, math.ceil(len(values) / most))
    found = []
    for start in range(0, len(values), size):
        stretch = [(v, -t) for t, v in enumerate(values[start : start + size], start) if known(v)]
        if stretch:
            value, position = max(stretch)
            found.append((float(-position), value))
    return found
