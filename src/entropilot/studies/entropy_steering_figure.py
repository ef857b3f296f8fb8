"""Figure of the STEER study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import COLOURS, curves, outcome_bars
from entropilot.studies.seed_numbers import smooth
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("GRPO", "STEER 0.8", "STEER 0.7", "STEER 0.5", "STEER 0.5 exact")


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Entropy, reward and spread of the weights; the ends; the scores against the exact change."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.8), layout="constrained")
    figure.subplots(2, 3)
    panels = figure.axes
    for axes, name, title, arms in (
        (panels[0], "entropy", "entropy of rollouts, nats", SHOWN),
        (panels[1], "reward", "reward of rollouts", SHOWN),
        (panels[2], "steer/std", "standard deviation of the weights", SHOWN[1:]),
    ):
        lines = {a: [smooth(m["arms"][a]["curves"][name]) for m in measurements] for a in arms}
        x = 8 * np.arange(len(next(iter(lines.values()))[0])) + 4
        curves(axes, x.tolist(), lines, title=title, xlabel="step (means of 8)")
    panels[0].legend(frameon=False, fontsize=8)
    panels[2].legend(frameon=False, fontsize=8)
    outcome_bars(panels[3], measurements, "entropy", "entropy at the end, nats")
    outcome_bars(panels[4], measurements, "distinct", "different right answers of 16")
    axes = panels[5]
    names = list(measurements[0]["scores"]["50"])
    for offset, (width, colour) in enumerate(zip(("50", "1000"), COLOURS[1:], strict=False)):
        values = [
            np.mean([m["scores"][width][name]["spearman"] for m in measurements]) for name in names
        ]
        place = np.arange(len(names)) + 0.38 * offset
        axes.barh(place, values, height=0.36, color=colour, label=f"V = {width}")
    axes.set_yticks(np.arange(len(names)) + 0.19, names)
    axes.invert_yaxis()
    axes.set_title("rank correlation with the exact change", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
