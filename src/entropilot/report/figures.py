"""Pictures of the evidence: what flags traces, and how far it can be trusted.

Each is a function from plain numbers to one SVG. Blue is right, orange is wrong (a pair that
colour-blind readers can tell apart); violet is the signal itself; grey is what to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import polars as pl
from markupsafe import Markup

from entropilot.diagnosis.assessment import Bucket, Interval, Signal, Timing
from entropilot.information.intervals import wilson
from entropilot.report.svg import (
    WIDTH,
    Plot,
    ceiling,
    dot,
    element,
    number,
    picture,
    share_ceiling,
    text,
    whisker,
    writer,
    x_axis,
    y_axis,
)
from entropilot.report.wording import count, decimal, estimate, known, percent

DOTS: Final = 2000  # drawn at most; beyond it a picture is a blot
MOST_BARS: Final = 60


def overview(flagged: pl.DataFrame, threshold: float | None, axis: str) -> Markup:
    """Where each trace peaks and how high: one dot a trace."""
    frame = flagged.filter(pl.col("score").is_finite() & pl.col("peak_position").is_finite())
    thinned = frame.gather_every(max(1, math.ceil(frame.height / DOTS)))
    top = ceiling(frame["score"].max())
    low = frame["score"].min()
    floor = min(float(low) if isinstance(low, int | float) else 0.0, top)
    step = min(0.5, 10.0 ** math.floor(math.log10(max(top - floor, 1e-6))))
    room = (top - floor) / 10  # below the line of the threshold, for what it says
    plot = Plot((0.0, 1.0), (math.floor((floor - room) / step) * step, top), height=250.0)
    parts = [
        y_axis(plot, axis, writer(plot.y_range), 5),
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
        note = f"flagged from {decimal(threshold)}"
        parts.append(text(note, WIDTH - plot.right, y + 12, "note halo", "end"))
    said = f"{count(thinned.height)} traces, by the place and the height of their peak."
    return picture("overview", "Every trace by its peak", said, plot.height, *parts)


def roc(signals: Sequence[Signal], main: str) -> Markup:
    """Detections against false alarms of the flagging signal, the others thin behind it."""
    plot = Plot((0.0, 1.0), (0.0, 1.0), height=275.0)
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
        found = [round(y * chosen.n_wrong) for _, y in chosen.roc]
        low, high = wilson(found, chosen.n_wrong)
        edges = [
            (x, min(float(a), y), max(float(b), y))  # a thinned point may lie between two counts
            for (x, y), a, b in zip(chosen.roc, low, high, strict=True)
        ]
        parts += [plot.band(edges), plot.line(chosen.roc, "signal")]
        parts.append(text(chosen.label, WIDTH - plot.right - 2, plot.y(0.12), "note strong", "end"))
        parts.append(
            text(f"AUC {estimate(chosen.auc)}", WIDTH - plot.right - 2, plot.y(0.06), "note", "end")
        )
        said = f"{chosen.label}: area under the curve {estimate(chosen.auc)}; chance is 0.50."
    return picture("roc", "Wrong traces found against false alarms", said, plot.height, *parts)


def bucket_bars(buckets: Sequence[Bucket], axis: str) -> Markup:
    """Accuracy of each equal-count bucket, calmest first, with its interval."""
    top = share_ceiling([bucket.accuracy.high + 0.04 for bucket in buckets])
    plot = Plot((0.0, float(len(buckets))), (0.0, top), height=275.0, bottom=50.0)
    parts = [y_axis(plot, "accuracy", percent)]
    write = writer((buckets[0].low, buckets[-1].high), digits=1)
    base = plot.y(0)
    for i, bucket in enumerate(buckets):
        left, right, middle = plot.x(i + 0.16), plot.x(i + 0.84), plot.x(i + 0.5)
        y = plot.y(bucket.accuracy.value)
        parts.append(
            element("rect", class_="bar", x=left, y=y, width=right - left, height=base - y)
        )
        parts.append(whisker(plot, middle, bucket.accuracy))
        above = plot.y(min(max(bucket.accuracy.high, bucket.accuracy.value), top)) - 5
        parts.append(text(percent(bucket.accuracy.value), middle, above, "strong halo", "middle"))
        parts.append(text(f"n = {count(bucket.n)}", middle, base + 28, "tick faint", "middle"))
        parts.append(text(write(bucket.low), plot.x(i), base + 15, "tick", "middle"))
    parts.append(text(write(buckets[-1].high), plot.x(len(buckets)), base + 15, "tick", "middle"))
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
    plot = Plot((0.0, float(max(len(rows), 1))), (math.floor(low * 10) / 10, 1.0), height=230.0)
    parts = [y_axis(plot, "AUC", lambda v: decimal(v, 1))]
    y = plot.y(0.5)
    parts.append(
        element("line", class_="line chance", x1=plot.left, x2=WIDTH - plot.right, y1=y, y2=y)
    )
    for i, (label, auc) in enumerate(rows):
        x = plot.x(i + 0.5)
        parts += [whisker(plot, x, auc), dot(x, plot.y(auc.value), "signal")]
        parts.append(text(decimal(auc.value), x, plot.y(auc.high) - 5, "strong halo", "middle"))
        parts.append(text(label, x, plot.height - 21, "tick", "middle"))
    title = "tokens seen"
    parts.append(text(title, (plot.left + WIDTH) / 2, plot.height - 4, "axis-title", "middle"))
    said = "; ".join(f"first {label} tokens: {estimate(auc)}" for label, auc in rows)
    return picture("prefix", "How early the signal is there", said, plot.height, *parts)


def timing_table(timing: Timing) -> Markup:
    """Accuracy by size of the peak (fifth) and by its time."""
    times = ("early", "middle", "late")
    tall, left, top = 38.0, 62.0, 40.0
    wide = (WIDTH - left) / len(times)
    most = max([cell.n_right / cell.n for cell in timing.cells if cell.n] + [0.01])
    parts = [text("time of the peak", left + 1.5 * wide, 11.0, "axis-title", "middle")]
    for j, when in enumerate(times):
        parts.append(text(when, left + (j + 0.5) * wide, 30.0, "tick", "middle"))
    cells = {(cell.fifth, cell.timing): cell for cell in timing.cells}
    fifths = sorted({cell.fifth for cell in timing.cells}, reverse=True)
    for i, fifth in enumerate(fifths):
        y = top + i * tall
        name = ("smallest", "second", "third", "fourth", "largest")[min(fifth, 4)]
        parts.append(text(name, left - 8, y + 23, "tick", "end"))
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
    key: str,
    name: str,
    edges: Sequence[float],
    counts: Sequence[int],
    *,
    of: str = "traces",
    cut: float | None = None,
) -> Markup:
    """How one number is spread. A bar that would dwarf the others is cut, and says its count.

    Args:
        key: unique on the page.
        name: of the number, with its unit.
        edges: one more than ``counts``.
        counts: of each bin.
        of: what is counted, "traces" or "tokens".
        cut: where to draw the threshold.
    """
    size = math.ceil(len(counts) / MOST_BARS)
    heights = [sum(counts[i : i + size]) for i in range(0, len(counts), size)]
    edges = [*edges[:-1:size], edges[-1]]
    ordered = sorted(heights, reverse=True)
    usual = ordered[min(2, len(ordered) - 1)]  # two spikes may stand out, at the ends
    top = 1.25 * usual if usual and ordered[0] > 3 * usual else ordered[0]
    plot = Plot((edges[0], edges[-1]), (0.0, float(max(top, 1))), height=160.0)
    gap = 0.4 if len(heights) <= 30 else 0.1
    bars = "".join(
        f"M{number(plot.x(a) + gap)} {number(plot.y(0))}V{number(plot.y(n))}"
        f"H{number(plot.x(b) - gap)}V{number(plot.y(0))}Z"
        for a, b, n in zip(edges, edges[1:], heights, strict=False)
        if n
    )
    parts = [
        y_axis(plot, of, lambda v: count(round(v)), 3),
        element("path", class_="bar", d=bars),
        x_axis(plot, name, writer(plot.x_range), 5),
    ]
    if ordered[0] > top:
        i = heights.index(ordered[0])
        late = plot.x(edges[i]) > WIDTH / 2
        x, anchor = (plot.x(edges[i]) - 10, "end") if late else (plot.x(edges[i + 1]) + 10, None)
        parts.append(text(f"↑ {count(ordered[0])}", x, plot.top + 8, "note halo", anchor))
    if cut is not None and edges[0] <= cut <= edges[-1]:
        x = plot.x(cut)
        parts.append(element("line", class_="cut", x1=x, x2=x, y1=plot.top, y2=plot.y(0)))
    said = f"{count(sum(heights))} {of} between {decimal(edges[0])} and {decimal(edges[-1])}."
    return picture(key, f"Spread of {name}", said, plot.height, *parts)


def interval_strip(auc: Interval, low: float = 0.2) -> Markup:
    """One AUC with its interval as a strip, for a row of a table."""

    def x(value: float) -> float:
        return 2 + 116 * min(max((value - low) / (1 - low), 0.0), 1.0)

    return element(
        "svg",
        element("line", class_="line chance", x1=x(0.5), x2=x(0.5), y1=0.0, y2=18.0),
        element("line", class_="whisker", x1=x(auc.low), x2=x(auc.high), y1=9.0, y2=9.0),
        dot(x(auc.value), 9.0, "signal"),
        class_="strip",
        viewBox="0 0 120 18",
        aria_hidden="true",
    )
