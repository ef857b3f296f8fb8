"""Figure of the neural collapse study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Course of SGD, singular values, the sweep of a small class, and two networks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    panels = figure.subplots(2, 3)
    _draw_course(panels[0, 0], measurements)
    _draw_singular(panels[0, 1], measurements)
    _draw_sweep(panels[0, 2], measurements)
    _draw_network(panels[1, 0], measurements)
    _draw_norms(panels[1, 1], measurements, "balanced")
    _draw_norms(panels[1, 2], measurements, "imbalanced")
    for axes in panels.flat:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_course(axes: Axes, measurements: Sequence[Measurement]) -> None:
    names = (("nc1", "NC1"), ("nc2_w", "frame of W"), ("nc3", "alignment"))
    for (name, label), colour in zip(names, COLOURS[1:], strict=False):
        for depth, style in (("1", "-"), ("3", "--")):
            for i, m in enumerate(measurements):
                rows = m["synthetic"][depth]["course"]
                text = f"{label}, M = {depth}" if i == 0 else None
                axes.plot(
                    [r["step"] for r in rows],
                    [max(r[name], 1e-16) for r in rows],
                    style,
                    color=colour,
                    label=text,
                    alpha=0.8,
                    linewidth=1.2,
                )
    axes.set(xscale="log", yscale="log", xlabel="step of SGD", ylabel="distance from collapse")
    axes.set_title("Free features, counts 200, 100, 50, 50", fontsize=10)
    axes.legend(frameon=False, fontsize=7.5)


def _draw_singular(axes: Axes, measurements: Sequence[Measurement]) -> None:
    limits: list[float] = []
    for depth, colour, marker in (("1", COLOURS[2], "o"), ("3", COLOURS[1], "^")):
        for i, m in enumerate(measurements):
            run = m["synthetic"][depth]
            for key, fill in (("layer_sv", colour), ("layer_sv_sgd", "none")):
                closed = np.sort(np.array(run["layer_sv_closed"]), axis=1)[:, ::-1].ravel()
                found = np.array(run[key]).ravel()
                limits += [*closed, *found]
                way = "L-BFGS" if key == "layer_sv" else "SGD"
                axes.scatter(
                    closed,
                    found,
                    s=30 if fill != "none" else 70,
                    marker=marker,
                    edgecolors=colour,
                    facecolors=fill,
                    label=f"M = {depth}, {way}" if i == 0 else None,
                )
    ends = [min(limits) * 0.9, max(limits) * 1.1]
    axes.plot(ends, ends, color=COLOURS[0], linewidth=1, linestyle=":")
    axes.set(xlabel="closed form", ylabel="found", xscale="log", yscale="log")
    axes.minorticks_off()
    ticks = [v for v in (0.8, 1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5) if ends[0] < v < ends[1]]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, labels=[f"{v:g}" for v in ticks])
    axes.set_title("Singular values of every layer", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_sweep(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for depth, colour in (("1", COLOURS[2]), ("3", COLOURS[1])):
        rows = measurements[0]["sweep"][depth]
        m = [r["m"] for r in rows]
        axes.plot(m, [r["w_closed"] for r in rows], color=colour, label=f"M = {depth}, closed form")
        for i, run in enumerate(measurements):
            axes.plot(
                m,
                [r["w"] for r in run["sweep"][depth]],
                "o",
                color=colour,
                ms=4,
                mfc="none",
                label=f"M = {depth}, found" if i == 0 else None,
            )
    axes.axvline(12, color=COLOURS[0], linewidth=1, linestyle=":")
    axes.set(xlabel="samples of the small class (others: 100)", ylabel="|w| of the small class")
    axes.set_title("Minority collapse at 12 samples", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_network(axes: Axes, measurements: Sequence[Measurement]) -> None:
    names = (("nc1", "NC1"), ("nc2_w", "frame of W"), ("nc3", "alignment"))
    for kind, style in (("balanced", "-"), ("imbalanced", "--")):
        for (name, label), colour in zip(names, COLOURS[1:], strict=False):
            runs = [m["networks"][kind]["course"] for m in measurements]
            x = [row["epoch"] for row in runs[0]]
            y = np.array([[row[name] for row in rows] for rows in runs])
            axes.plot(x, y.mean(0), style, color=colour, label=f"{label}, {kind}", linewidth=1.4)
            axes.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.12, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="epoch", ylabel="distance from collapse")
    axes.set_title("Digits, 64-256-256-10", fontsize=10)
    axes.legend(frameon=False, fontsize=7.5)


def _draw_norms(axes: Axes, measurements: Sequence[Measurement], kind: str) -> None:
    runs: list[dict[str, Any]] = [m["networks"][kind] for m in measurements]
    counts = np.array(runs[0]["counts"])
    place = np.arange(len(counts)) if kind == "balanced" else counts
    axes.plot(place, runs[0]["w_sq_closed"], "-", color=COLOURS[2], label="closed form")
    for i, run in enumerate(runs):
        axes.plot(
            place, run["w_sq"], "o", color=COLOURS[1], ms=4, mfc="none",
            label="network" if i == 0 else None,
        )  # fmt: skip
    axes.set_ylim(0, 1.15 * max(max(run["w_sq"]) for run in runs))
    axes.set_ylabel("|w|² of the class")
    axes.set_xlabel("digit (100 samples each)" if kind == "balanced" else "samples of the class")
    axes.set_title(f"Lengths of the classifier, {kind}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
