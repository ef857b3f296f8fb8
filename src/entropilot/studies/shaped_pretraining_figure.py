"""Figure of the study of diversity against precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import COLOURS, curves
from entropilot.studies.path_arms import ends, starts
from entropilot.studies.seed_numbers import smooth
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Entropy and prediction before RL; entropy and reward in it; reach and diversity after."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.6), layout="constrained")
    figure.subplots(2, 3)
    panels = figure.axes
    arms = list(measurements[0]["arms"])
    for axes, what, title in (
        (panels[0], "entropy", "held-out entropy before RL, nats"),
        (panels[1], "cross_entropy", "held-out cross-entropy before RL, nats"),
    ):
        for row, (arm, colour) in enumerate(zip(arms, COLOURS, strict=False)):
            values = [m["prediction"][arm][what] for m in measurements]
            axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.7)
        axes.set_yticks(range(len(arms)), arms)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    steps = 8 * np.arange(len(smooth(measurements[0]["arms"][arms[0]]["curves"]["entropy"]))) + 4
    for axes, name, title in (
        (panels[2], "entropy", "entropy in RL, nats"),
        (panels[3], "reward", "reward in RL"),
    ):
        lines = {
            arm: [smooth(m["arms"][arm]["curves"][name]) for m in measurements] for arm in arms
        }
        curves(axes, steps.tolist(), lines, title=title, xlabel="step (means of 8)")
    panels[2].legend(frameon=False, fontsize=8)
    for axes, name, title in (
        (panels[4], "pass@16", "pass@16: ring before, dot after RL"),
        (panels[5], "distinct", "different right of 16: ring before, dot after RL"),
    ):
        for row, (arm, colour) in enumerate(zip(arms, COLOURS, strict=False)):
            before, after = starts(measurements, arm, name), ends(measurements, arm, name)
            axes.plot(before, [row] * len(before), "o", color=colour, fillstyle="none")
            axes.plot(after, [row] * len(after), "o", color=colour, alpha=0.7)
        axes.set_yticks(range(len(arms)), arms)
        axes.invert_yaxis()
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
