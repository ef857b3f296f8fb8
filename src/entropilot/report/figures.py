"""The pictures of an assessment, each a function from plain numbers to one SVG.

Blue is right, orange is wrong (a pair that colour-blind readers can tell apart, and shape says it too where
it can); violet is the signal itself; grey is what to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from markupsafe import Markup

from entropilot.report.svg import WIDTH, Plot, element, number, path, picture, text, x_axis, y_axis
from entropilot.report.tokens import TraceView
from entropilot.report.wording import count, decimal, estimate, known, percent
from entropilot.traces.assessment import Bucket, GroupView, Interval, Replay, Signal, Timing

DOTS = 2000  # drawn at most; beyond it a picture is a blot


def overview(flagged: pl.DataFrame, threshold: float | None, axis: str) -> Markup:
    """Where each trace peaks and how high: one dot a trace."""
    frame = flagged.filter(pl.col("score").is_finite() & pl.col("peak_position").is_finite())
    thinned = frame.gather_every(max(1, math.ceil(frame.height / DOTS)))
    top = _ceiling(frame["score"].max())
    low = frame["score"].min()
    floor = min(float(low) if isinstance(low, int | float) else 0.0, top)
    plot = Plot((0.0, 1.0), (math.floor(floor * 2) / 2, top), height=280.0)
    parts = [
        y_axis(plot, axis, _writer(plot.y_range), 5),
        x_axis(plot, "where in the trace the peak is", percent, at=(0, 0.25, 0.5, 0.75, 1)),
    ]
    # a stroke of no length with round caps is a dot: a tenth of the bytes of a circle
    for kind, right in (("unlabelled", None), ("right", True), ("wrong", False)):
        match = pl.col("correct").is_null() if right is None else pl.col("correct") == right
        chosen = thinned.filter(match)
        places = plot.points(zip(chosen["peak_position"], chosen["score"], strict=True))
        dots = "".join(f"M{number(x)} {number(y)}h0" for x, y in places)
        if dots:
            parts.append(element("path", class_=f"dots {kind}", d=dots))
    if threshold is not None and known(threshold) and plot.y_range[0] <= threshold <= top:
        y = plot.y(threshold)
        parts.append(element("line", class_="cut", x1=plot.left, x2=WIDTH - plot.right, y1=y, y2=y))
        parts.append(
            text(f"flagged from {decimal(threshold)}", WIDTH - plot.right, y - 5, "note halo", "end")
        )
    said = f"{count(thinned.height)} traces, by the place and the height of their peak."
    return picture("overview", "Every trace by its peak", said, plot.height, *parts)


def roc(signals: Sequence[Signal], main: str) -> Markup:
    """Detections against false alarms of the flagging signal, the others thin behind it."""
    plot = Plot((0.0, 1.0), (0.0, 1.0), height=300.0)
    parts = [
        y_axis(plot, "wrong traces found", percent),
        x_axis(plot, "right traces flagged in error", percent),
        plot.line([(0, 0), (1, 1)], "chance"),
    ]
    for signal in signals:
        if signal.name != main and signal.roc:
            parts.append(plot.line(signal.roc, "other"))
    chosen = next((s for s in signals if s.name == main and s.roc), None)
    said = "No curve: both right and wrong traces are needed."
    if chosen is not None:
        edges = [(x, *_wilson(y, chosen.n_wrong)) for x, y in chosen.roc]
        parts += [plot.band(edges), plot.line(chosen.roc, "signal")]
        parts.append(text(chosen.label, WIDTH - plot.right - 2, plot.y(0.12), "note strong", "end"))
        parts.append(text(f"AUC {estimate(chosen.auc)}", WIDTH - plot.right - 2, plot.y(0.06), "note", "end"))
        said = f"{chosen.label}: area under the curve {estimate(chosen.auc)}; chance is 0.50."
    return picture("roc", "Wrong traces found against false alarms", said, plot.height, *parts)


def bucket_bars(buckets: Sequence[Bucket], axis: str) -> Markup:
    """Accuracy of each equal-count bucket, calmest first, with its interval."""
    top = _share_ceiling([bucket.accuracy.high + 0.04 for bucket in buckets])
    plot = Plot((0.0, float(len(buckets))), (0.0, top), height=300.0, bottom=50.0)
    parts = [y_axis(plot, "accuracy", percent)]
    write = _writer((buckets[0].low, buckets[-1].high))
    for i, bucket in enumerate(buckets):
        left, right, middle = plot.x(i + 0.16), plot.x(i + 0.84), plot.x(i + 0.5)
        y, base = plot.y(bucket.accuracy.value), plot.y(0)
        parts.append(
            element("rect", class_="bar", x=left, y=y, width=right - left, height=base - y)
        )
        parts.append(_whisker(plot, middle, bucket.accuracy))
        above = plot.y(min(max(bucket.accuracy.high, bucket.accuracy.value), top)) - 5
        parts.append(text(percent(bucket.accuracy.value), middle, above, "strong halo", "middle"))
        span = f"{write(bucket.low)}–{write(bucket.high)}"
        parts.append(text(span, middle, base + 15, "tick", "middle"))
        parts.append(text(f"n = {count(bucket.n)}", middle, base + 28, "tick faint", "middle"))
    parts.append(text(axis, (plot.left + WIDTH) / 2, plot.height - 4, "axis-title", "middle"))
    said = "; ".join(
        f"{decimal(b.low)} to {decimal(b.high)}: {estimate(b.accuracy, share=True)}"
        for b in buckets
    )
    return picture("buckets", "Accuracy by bucket of the signal", said, plot.height, *parts)


def prefix_curve(prefix: Sequence[tuple[int, Signal]], whole: Signal | None) -> Markup:
    """AUC when only the first w tokens are seen."""
    rows = [(str(w), s.auc) for w, s in prefix if s.auc is not None]
    if whole is not None and whole.auc is not None:
        rows.append(("all", whole.auc))
    low = min([0.45, *(auc.low for _, auc in rows)])
    plot = Plot((0.0, float(max(len(rows), 1))), (math.floor(low * 10) / 10, 1.0), height=240.0)
    parts = [y_axis(plot, "AUC", lambda v: decimal(v, 1))]
    y = plot.y(0.5)
    parts.append(element("line", class_="line chance", x1=plot.left, x2=WIDTH - plot.right, y1=y, y2=y))
    parts.append(text("chance", WIDTH - plot.right, y - 4, "note faint halo", "end"))
    for i, (label, auc) in enumerate(rows):
        x = plot.x(i + 0.5)
        parts += [_whisker(plot, x, auc), _dot(x, plot.y(auc.value), "signal")]
        parts.append(text(decimal(auc.value), x + 8, plot.y(auc.value) + 4, "note halo"))
        parts.append(text(label, x, plot.height - 21, "tick", "middle"))
    title = "tokens seen"
    parts.append(text(title, (plot.left + WIDTH) / 2, plot.height - 4, "axis-title", "middle"))
    said = "; ".join(f"first {label} tokens: {estimate(auc)}" for label, auc in rows)
    return picture("prefix", "How early the signal is there", said, plot.height, *parts)


def timing_table(timing: Timing) -> Markup:
    """Accuracy by size of the peak (fifth) and by its time."""
    times = ("early", "middle", "late")
    wide, tall, left, top = 88.0, 38.0, 84.0, 40.0
    most = max([cell.n_right / cell.n for cell in timing.cells if cell.n] + [0.01])
    parts = [text("time of the peak", left + 1.5 * wide, 11.0, "axis-title", "middle")]
    for j, when in enumerate(times):
        parts.append(text(when, left + (j + 0.5) * wide, 30.0, "tick", "middle"))
    cells = {(cell.fifth, cell.timing): cell for cell in timing.cells}
    fifths = sorted({cell.fifth for cell in timing.cells}, reverse=True)
    for i, fifth in enumerate(fifths):
        y = top + i * tall
        name = "largest" if i == 0 else "smallest" if i == len(fifths) - 1 else ""
        parts.append(text(name or f"{fifth + 1}. fifth", left - 8, y + 23, "tick", "end"))
        for j, when in enumerate(times):
            cell = cells.get((fifth, when))
            x = left + j * wide
            share = cell.n_right / cell.n if cell and cell.n else None
            kind = "none" if share is None else str(round(6 * share / most))
            parts.append(
                element(
                    "rect",
                    class_=f"cell a{kind}",
                    x=x + 1,
                    y=y + 1,
                    width=wide - 2,
                    height=tall - 2,
                    rx=2.0,
                )
            )
            if cell and share is not None:
                parts.append(
                    text(percent(share), x + wide / 2, y + 17, f"on-cell a{kind} strong", "middle")
                )
                of = f"{count(cell.n_right)} of {count(cell.n)}"
                parts.append(text(of, x + wide / 2, y + 30, f"on-cell a{kind}", "middle"))
    said = "Share right among traces with peaks of comparable size, by the time of the peak."
    height = top + tall * len(fifths) + 4
    return picture("timing", "Accuracy by size and time of the peak", said, height, *parts)


def histogram(
    key: str, name: str, edges: Sequence[float], counts: Sequence[int], cut: float | None = None
) -> Markup:
    """How one number of a trace is spread."""
    ceiling = float(max([*counts, 1]))
    plot = Plot((edges[0], edges[-1]), (0.0, ceiling), height=170.0)
    parts = [y_axis(plot, "traces", lambda v: count(round(v)), 3)]
    bars = "".join(
        f"M{number(plot.x(a) + 0.4)} {number(plot.y(0))}V{number(plot.y(n))}"
        f"H{number(plot.x(b) - 0.4)}V{number(plot.y(0))}Z"
        for a, b, n in zip(edges, edges[1:], counts, strict=False)
        if n
    )
    parts.append(element("path", class_="bar", d=bars))
    parts.append(x_axis(plot, name, _writer(plot.x_range), 5))
    if cut is not None and edges[0] <= cut <= edges[-1]:
        x = plot.x(cut)
        parts.append(element("line", class_="cut", x1=x, x2=x, y1=plot.top, y2=plot.y(0)))
    said = f"{count(sum(counts))} traces between {decimal(edges[0])} and {decimal(edges[-1])}."
    return picture(key, f"Spread of {name}", said, plot.height, *parts)


def pass_at_k(view: GroupView) -> Markup:
    """Chance that at least one of k samples is right, with its interval."""
    curve = view.pass_at_k
    ends = (math.log2(curve[0][0]), math.log2(max(curve[-1][0], curve[0][0] + 1)))
    plot = Plot(ends, (0.0, 1.0), height=240.0)
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
    parts += [_dot(plot.x(x), plot.y(e.value), "signal") for x, e in places if x in names]
    if view.majority_accuracy is not None:
        y = plot.y(view.majority_accuracy.value)
        parts.append(element("line", class_="line other", x1=plot.left, x2=WIDTH - plot.right, y1=y, y2=y))
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
    routes = replay.policy != "early stop"
    cost = "share" if routes else "tokens_saved"
    lines = [[(getattr(p, cost), p) for p in points] for points in (replay.curve, replay.random)]
    curve, chance = ([(x, p) for x, p in line if known(x)] for line in lines)
    intervals = [replay.baseline, *(p.accuracy for _, p in curve)]
    highs = [i.high for i in intervals if known(i.high)]
    lows = [i.low for i in intervals if known(i.low)]
    ends = (math.floor(min([*lows, 1.0]) * 10) / 10, _share_ceiling(highs))
    most = max([x for x, _ in curve] + [0.1])
    plot = Plot((0.0, math.ceil(most * 10) / 10), ends, height=260.0)
    name = {"route": "traces handed over", "drop": "traces dropped"}.get(
        replay.policy, "tokens saved"
    )
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
        parts.append(_dot(x, plot.y(replay.chosen.accuracy.value), "chosen"))
    said = f"{replay.verdict} Accuracy without it {estimate(replay.baseline, share=True)}."
    return picture(key, f"Replay: {replay.policy} by {replay.signal}", said, plot.height, *parts)


def step_curve(key: str, view: TraceView) -> Markup:
    """Instability and entropy over the tokens of one trace, the peak marked."""
    n = max(len(view), 2)
    top = _ceiling(np.nanmax([1.0, *view.instability, *view.entropy]))
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
        parts.append(_dot(x, y, "chosen"))
        late = view.peak > n / 2
        label = f"peak {decimal(height)} at token {view.peak}"
        parts.append(
            text(
                label, x - 8 if late else x + 8, y + 4, "note strong halo", "end" if late else None
            )
        )
        said = f"{said} Instability peaks at {decimal(height)} nats, at token {view.peak}."
    return picture(key, "Instability over the trace", said, plot.height, *parts)


def interval_strip(auc: Interval, low: float = 0.2) -> Markup:
    """One AUC with its interval as a strip, for a row of a table."""

    def x(value: float) -> float:
        return 2 + 116 * min(max((value - low) / (1 - low), 0.0), 1.0)

    return element(
        "svg",
        element("line", class_="line chance", x1=x(0.5), x2=x(0.5), y1=0.0, y2=18.0),
        element("line", class_="whisker", x1=x(auc.low), x2=x(auc.high), y1=9.0, y2=9.0),
        _dot(x(auc.value), 9.0, "signal"),
        class_="strip",
        viewBox="0 0 120 18",
        aria_hidden="true",
    )


def _wilson(share: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share."""
    if n == 0:
        return 0.0, 1.0
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def _writer(ends: tuple[float, float]) -> Callable[[float], str]:
    span = ends[1] - ends[0]
    digits = 0 if span > 10 else 1 if span > 1 else 2
    return lambda value: f"{value:,.{digits}f}"


def _whisker(plot: Plot, x: float, interval: Interval) -> Markup:
    low, high = number(plot.y(interval.low)), number(plot.y(interval.high))
    a, b = number(x - 4), number(x + 4)
    data = f"M{number(x)} {low}V{high}M{a} {low}H{b}M{a} {high}H{b}"
    return element("path", class_="whisker", d=data)


def _dot(x: float, y: float, kind: str) -> Markup:
    return element("circle", class_=f"dot {kind}", cx=x, cy=y, r=4.0)


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


def _ceiling(value: object) -> float:
    return math.ceil(float(value) * 2) / 2 if isinstance(value, int | float) and value > 0 else 1.0


def _share_ceiling(values: Sequence[float]) -> float:
    return min(1.0, math.ceil(max([*values, 0.1]) * 10 - 1e-9) / 10)
