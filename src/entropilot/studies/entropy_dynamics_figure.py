"""Figure of the study of entropy dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropilot.studies.arm_figures import curves, outcome_bars
from entropilot.studies.seed_numbers import smooth
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """The four sides; the masks; predicted and measured change; what was dropped and kept."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.8), layout="constrained")
    figure.subplots(2, 3)
    panels = figure.axes
    names = list(measurements[0]["arms"])
    sides = [n for n in names if n.startswith("A ")]
    masks = ["GRPO", *(n for n in names if n.startswith("Clip"))]
    _curves(panels[0], measurements, sides, "entropy", "one side only: entropy, nats", 4)
    shown = [n for n in masks if n in ("GRPO", "Clip_B 2.5", "Clip_B 2.5 both", "Clip_B 1.5 both")]
    _curves(panels[1], measurements, shown, "entropy", "masks: entropy, nats", 8)
    lines: dict[str, Any] = {"measured": [], "predicted, scaled": []}
    for m in measurements:
        run = m["arms"]["GRPO"]["curves"]
        change = np.diff(smooth(run["entropy"]))
        predicted = np.array(smooth(run["predicted_entropy_change"]))[:-1]
        size = float(np.abs(predicted).sum()) or 1.0
        lines["measured"].append(change.tolist())
        lines["predicted, scaled"].append((predicted * float(np.abs(change).sum()) / size).tolist())
    x = 8 * np.arange(len(lines["measured"][0])) + 8
    curves(panels[2], x.tolist(), lines, title="change of entropy in 8 steps (GRPO)", xlabel="step")
    panels[2].legend(frameon=False, fontsize=8)
    outcome_bars(panels[3], measurements, "entropy", "entropy at the end, nats", masks)
    outcome_bars(panels[4], measurements, "pass@1", "pass@1", masks)
    outcome_bars(panels[5], measurements, "distinct", "different right answers of 16", masks)
    return figure


def _curves(
    axes: Any,
    measurements: Sequence[Measurement],
    arms: Sequence[str],
    name: str,
    title: str,
    window: int,
) -> None:
    lines = {a: [smooth(m["arms"][a]["curves"][name], window) for m in measurements] for a in arms}
    n = len(next(iter(lines.values()))[0])
    x = window * np.arange(n) + window / 2
    curves(axes, x.tolist(), lines, title=title, xlabel=f"step (means of {window})")
    axes.legend(frameon=False, fontsize=8, loc="center right")
