"""Figure of the DSE study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropilot.studies.arm_figures import COLOURS, curves
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Blobs, corrupted labels, and both entropies in training at a fixed and at a tied width."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.0), layout="constrained")
    panels = figure.subplots(2, 3)
    _draw_blobs(panels[0, 0], measurements)
    _draw_corruption(panels[0, 1], measurements)
    _draw_course(panels[0, 2], measurements, "median", "median distance of the features")
    panels[0, 2].set_yscale("log")
    _draw_course(panels[1, 0], measurements, "fixed/dse", "DSE, width 10 (published), bits")
    _draw_course(panels[1, 1], measurements, "scaled/dse", "DSE, width median / 3, bits")
    _draw_course(panels[1, 2], measurements, "scaled/dsmi", "DSMI, width median / 3, bits")
    for axes in panels[1]:
        axes.set_ylim(0, None)
    panels[0, 2].legend(frameon=False, fontsize=9)
    return figure


def _draw_blobs(axes: Axes, measurements: Sequence[Measurement]) -> None:
    k = [row["k"] for row in measurements[0]["blobs"]]
    x = np.log2(k)
    for i, (t, colour) in enumerate(((1, COLOURS[6]), (2, COLOURS[2]), (5, COLOURS[3]))):
        y = np.array([[row["dse"][i] for row in m["blobs"]] for m in measurements])
        axes.plot(x, y.mean(0), "o-", color=colour, ms=4, label=f"DSE, t = {t}")
    binned = np.array([[row["binned"] for row in m["blobs"]] for m in measurements])
    axes.plot(x, binned.mean(0), "s--", color=COLOURS[1], ms=4, label="binned, 2 bins a column")
    axes.plot(x, x, ":", color=COLOURS[0], label="log2 k")
    axes.set_xticks(x, [str(v) for v in k])
    _finish(axes, "entropy of k blobs in 20 dimensions, bits", "blobs k")


def _draw_corruption(axes: Axes, measurements: Sequence[Measurement]) -> None:
    rows: list[dict[str, Any]] = [r for m in measurements for r in m["corrupted"]]
    shares = sorted({r["share"] for r in rows})

    def means(name: str, own: list[dict[str, Any]]) -> list[float]:
        return [float(np.mean([r[name] for r in own if r["share"] == s])) for s in shares]

    for d, colour in zip(sorted({r["d"] for r in rows}), COLOURS[2:], strict=False):
        own = [r for r in rows if r["d"] == d]
        for name, style, t in (("dsmi_2", "o-", 2), ("dsmi", "o--", 1)):
            label = f"DSMI, {d} dimensions, t = {t}"
            axes.plot(shares, means(name, own), style, color=colour, ms=4, label=label)
    middle = [r for r in rows if r["d"] == 20]
    axes.plot(
        shares,
        means("binned", middle),
        "s--",
        color=COLOURS[1],
        ms=4,
        label="binned, 20 dimensions",
    )
    axes.plot(shares, means("exact", rows), ":", color=COLOURS[0], label="exact information")
    _finish(axes, "points and labels of 4 blobs, bits", "share of random labels")
    axes.legend(frameon=False, fontsize=7)


def _draw_course(axes: Axes, measurements: Sequence[Measurement], name: str, title: str) -> None:
    course = measurements[0]["networks"]["true"]
    epochs = [row["epoch"] for row in course]
    lines = {
        f"{kind} labels": [[row[name] for row in m["networks"][kind]] for m in measurements]
        for kind in ("true", "shuffled")
    }
    curves(axes, epochs, lines, title=title, xlabel="epoch")
    for line, colour in zip(axes.lines, (COLOURS[2], COLOURS[1]), strict=False):
        line.set_color(colour)
    for band, colour in zip(axes.collections, (COLOURS[2], COLOURS[1]), strict=False):
        band.set_color(colour)
    axes.set_xscale("symlog", linthresh=1)
    ticks = [e for e in (0, 1, 3, 10, 30, 60, 200) if e <= epochs[-1]]
    axes.set_xticks(ticks, [str(e) for e in ticks])
    axes.minorticks_off()


def _finish(axes: Axes, title: str, xlabel: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
