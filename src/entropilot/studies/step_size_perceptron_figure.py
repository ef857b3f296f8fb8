"""Figure of the study of logistic descent with large steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Loss, errors and entropy on two digits, the limit, the constructed set, and the bounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    panels = figure.subplots(2, 3)
    runs = next(s["runs"] for s in measurements[0]["sets"] if s["pair"] == [1, 8] and not s["cut"])
    gammas = measurements[0]["gammas"]
    for axes, key, label, floor in (
        (panels[0, 0], "errors", "share of wrong samples", 1e-3),
        (panels[0, 1], "loss", "mean loss, nats", 1e-2),
        (panels[0, 2], "entropy", "mean entropy of the prediction, nats", 1e-5),
    ):
        for gamma, colour in zip(gammas, COLOURS[1:], strict=False):
            curve = runs[f"plain {gamma}"]["curve"]
            x = np.array(curve["t"]) + 1
            y = np.maximum(curve[key], floor)
            axes.plot(x, y, color=colour, lw=1.3, label=f"γ = {gamma:g}")
        if key == "errors":
            curve = runs["batch"]["curve"]
            x, y = np.array(curve["t"]) + 1, np.maximum(curve[key], floor)
            axes.plot(x, y, ":", color="black", lw=1.6, label="batch perceptron")
        axes.set(xscale="log", yscale="log", xlabel="update + 1", ylabel=label)
        axes.legend(frameon=False, fontsize=8)
    panels[0, 0].set_title("Digits 1 and 8: errors (lowest line: none)", fontsize=10)
    panels[0, 1].set_title("Their loss: the fastest have the highest", fontsize=10)
    panels[0, 2].set_title("Large steps are sure, right or wrong", fontsize=10)
    _draw_limit(panels[1, 0], measurements)
    _draw_lower_bound(panels[1, 1], measurements)
    _draw_bounds(panels[1, 2], measurements)
    for axes in panels.flat:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_limit(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for m in measurements:
        for row in m["gaussian"]:
            axes.plot(
                m["limit_gammas"], np.maximum(row["distance"], 1e-16), "o-", color=COLOURS[2],
                ms=4, lw=1, alpha=0.6,
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="step size γ")
    axes.set_ylabel("max |θ/γ - batch perceptron|, 20 iterates")
    axes.set_title("The limit of large steps (Gaussian sets)", fontsize=10)


def _draw_lower_bound(axes: Axes, measurements: Sequence[Measurement]) -> None:
    rows = measurements[0]["lower"]
    n = [r["n"] for r in rows]
    for values, marker, colour, label in (
        ([r["plain_100"] for r in rows], "o-", COLOURS[1], "plain, γ = 100"),
        ([r["batch"] for r in rows], "x--", "black", "batch perceptron"),
        ([r["normalized"]["0.1"] for r in rows], "s-", COLOURS[6], "normalised, γ = 0.1"),
        ([r["normalized"]["1.0"] for r in rows], "^-", COLOURS[2], "normalised, γ = 1"),
        ([r["normalized"]["100.0"] for r in rows], "v-", COLOURS[3], "normalised, γ = 100"),
    ):
        axes.plot(n, values, marker, color=colour, ms=4, lw=1.2, label=label)
    axes.set(xscale="log", yscale="log", xlabel="samples n", ylabel="updates to zero errors")
    axes.set_title("The set of the lower bound", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _draw_bounds(axes: Axes, measurements: Sequence[Measurement]) -> None:
    kinds = (
        ("batch", "batch", "batch perceptron", "o", COLOURS[0]),
        ("normalized_batch", "perceptron", "normalised batch", "^", COLOURS[3]),
        ("perceptron", "perceptron", "perceptron", "s", COLOURS[2]),
        ("normalized 1.0", "normalized 1.0", "normalised LR, γ = 1", "D", COLOURS[1]),
    )
    values: list[float] = []
    for name, bound, label, marker, colour in kinds:
        pairs = [
            (s["bounds"][bound], s["runs"][name]["iterations"])
            for m in measurements
            for s in m["sets"]
        ]
        x, y = zip(*pairs, strict=True)
        values += [*x, *y]
        axes.plot(x, y, marker, color=colour, ms=5, mfc="none", label=label)
    ends = [max(1.0, min(values) / 2), max(values) * 2]
    axes.plot(ends, ends, ":", color="black", lw=1)
    axes.set(
        xscale="log", yscale="log", xlabel="bound on updates", ylabel="updates (dotted: bound)"
    )
    axes.set_title("Updates and their bounds, all pairs of digits", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
