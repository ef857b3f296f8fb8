"""Figure of the SPAE study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import COLOURS, curves
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Accuracy, tokens, checks and spoilt answers against updates, and the potential by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.4), layout="constrained")
    panels = figure.subplots(2, 3).flat
    steps = measurements[0]["looks"]
    for axes, (name, title) in zip(
        panels,
        (
            ("accuracy", "accuracy on fresh problems"),
            ("tokens", "tokens an answer (11 at least)"),
            ("checks", "checking steps an answer"),
            ("right_to_wrong", "share right, then wrong"),
            ("h_think", "entropy of thinking, nats"),
        ),
        strict=False,
    ):
        lines = {
            arm: [[row[name] for row in m["arms"][arm]["looks"]] for m in measurements]
            for arm in measurements[0]["arms"]
        }
        curves(axes, steps, lines, title=title)
    last = figure.axes[5]
    rows = [m["probe"]["phi_by_step"] for m in measurements]
    width = min(map(len, rows))
    last.bar(range(1, width + 1), np.mean([row[:width] for row in rows], axis=0), color=COLOURS[2])
    last.axhline(0.9, color=COLOURS[1], linewidth=1, linestyle="--")
    last.set_title("mean potential after each step, start policy", fontsize=10)
    last.set_xlabel("step (4 solve the sum; later ones check)")
    last.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure
