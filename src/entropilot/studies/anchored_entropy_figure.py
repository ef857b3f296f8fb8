"""Figure of the SIREN study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import curves, outcome_bars
from entropilot.studies.seed_numbers import smooth
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("GRPO", "bonus 0.02", "bonus 0.1", "SIREN", "SIREN, no anchor 0.02")


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Entropy, selected entropy with its anchor, reward; diversity and accuracy at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.6), layout="constrained")
    figure.subplots(2, 3)
    panels = figure.axes
    steps = 8 * np.arange(len(smooth(measurements[0]["arms"]["GRPO"]["curves"]["entropy"]))) + 4
    for axes, name, title in (
        (panels[0], "entropy", "entropy of rollouts, nats"),
        (panels[1], "reward", "reward of rollouts"),
    ):
        lines = {
            arm: [smooth(m["arms"][arm]["curves"][name]) for m in measurements] for arm in SHOWN
        }
        curves(axes, steps.tolist(), lines, title=title, xlabel="step (means of 8)")
    selected = {
        "SIREN": [
            smooth(m["arms"]["SIREN"]["curves"]["siren/selected_entropy"]) for m in measurements
        ]
    }
    curves(panels[2], steps.tolist(), selected, title="selected entropy, nats; dashed: anchors")
    for m in measurements:
        anchor = m["arms"]["SIREN"]["curves"]["siren/anchor"][-1]
        panels[2].axhline(anchor, color="#D55E00", linewidth=1, linestyle="--")
    for axes, name, title in (
        (panels[3], "entropy", "entropy at the end, nats"),
        (panels[4], "distinct", "different right answers of 16"),
        (panels[5], "pass@1", "pass@1"),
    ):
        outcome_bars(axes, measurements, name, title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure
