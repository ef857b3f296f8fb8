"""Panels that figures of training studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

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
