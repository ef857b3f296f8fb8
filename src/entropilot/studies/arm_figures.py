"""Panels that figures of training studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from entropilot.studies.path_arms import ends, starts
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by readers with any colour vision.
COLOURS: Final = ("#666666", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def curves(
    axes: Axes,
    steps: Sequence[float],
    lines: Mapping[str, Sequence[Sequence[float]]],
    *,
    title: str,
    xlabel: str = "update",
) -> None:
    """One line an arm: the mean over seeds, with the range as a band.

    Args:
        axes: to draw on.
        steps: [n] positions.
        lines: [seeds][n] values by the name of the arm.
        title: what is shown, with its unit.
        xlabel: of the steps.
    """
    for (name, values), colour in zip(lines.items(), COLOURS, strict=False):
        x = np.asarray(values, float)
        axes.plot(steps, x.mean(0), color=colour, label=name, linewidth=1.6)
        if len(x) > 1:
            axes.fill_between(steps, x.min(0), x.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def outcome_bars(
    axes: Axes,
    measurements: Sequence[Measurement],
    name: str,
    title: str,
    shown: Sequence[str] | None = None,
) -> None:
    """A dot a seed and a line at the mean of every arm's end; the start as a dashed line.

    Args:
        axes: to draw on.
        measurements: of ``measure_paths``, one a seed.
        name: as ``path_arms.end`` takes it.
        title: what is shown.
        shown: names of the arms; None shows all.
    """
    arms = list(measurements[0]["arms"]) if shown is None else list(shown)
    for row, arm in enumerate(arms):
        values = ends(measurements, arm, name)
        axes.plot(values, [row] * len(values), "o", color=COLOURS[2], alpha=0.6, markersize=5)
        axes.plot([np.mean(values)], [row], "|", color="black", markersize=14)
    axes.axvline(
        float(np.mean(starts(measurements, arms[0], name))),
        color=COLOURS[0],
        linewidth=1,
        linestyle="--",
    )
    axes.set_yticks(range(len(arms)), arms, fontsize=8)
    axes.invert_yaxis()
    axes.set_title(f"{title} (dashed: start)", fontsize=10)
    axes.grid(axis="x", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
