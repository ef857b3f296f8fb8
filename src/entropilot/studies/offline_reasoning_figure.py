"""Figure of the OREO study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import COLOURS, curves
from entropilot.studies.seed_numbers import smooth
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Accuracy by arm, the residual over updates, and the searches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    arms = list(measurements[0]["accuracy"])
    for row, arm in enumerate(arms):
        values = [m["accuracy"][arm] for m in measurements]
        left.plot(values, [row] * len(values), "o", color=COLOURS[2], alpha=0.7)
        left.plot([np.mean(values)], [row], "|", color="black", markersize=14)
    left.set_yticks(range(len(arms)), arms)
    left.invert_yaxis()
    left.set_title("sampled accuracy on fresh problems", fontsize=10)
    lines = {
        name: [smooth(m["fits"][name]["residual_rms"], 4) for m in measurements]
        for name in measurements[0]["fits"]
        if "residual_rms" in measurements[0]["fits"][name]
    }
    if lines:
        x = 4 * np.arange(len(next(iter(lines.values()))[0])) + 2
        curves(middle, x.tolist(), lines, title="soft Bellman residual, RMS", xlabel="update")
        middle.legend(frameon=False, fontsize=8)
    searches = measurements[0]["search"]
    beams = [int(beam) for beam in next(iter(searches.values()))]
    curves(
        right,
        beams,
        {
            name: [[m["search"][name][str(b)] for b in beams] for m in measurements]
            for name in searches
        },
        title="accuracy of step beam search, start policy",
        xlabel="beam",
    )
    right.set_xticks(beams)
    right.legend(frameon=False, fontsize=8)
    for axes in (left,):
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
