"""Figure of the fish study: courses of P, M and OSI, the entropies, and the published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from entropilot.physics.fish_school_metrics import ENTROPIES
from entropilot.studies.schooling_states_judge import PUBLISHED, STATES, profile, second_half
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by readers with any colour vision.
COLOURS: Final = dict(zip(STATES, ("#666666", "#D55E00", "#0072B2", "#009E73"), strict=True))
LABELS: Final = (
    "cohesion",
    "heading",
    "depth",
    "angular\nmomentum",
    "neighbour\ndistances",
    "velocity\ncorrelation",
    "shape",
)


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Three courses above; below, seven entropies a state, and ours beside the published means."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.4), layout="constrained")
    grid = figure.add_gridspec(2, 3)
    for column, (name, title) in enumerate(
        (
            ("rotation", "Rotation M: the ring of the torus decays"),
            ("polarization", "Polarization P"),
            ("oceanic_schooling_index", "Oceanic schooling index OSI"),
        )
    ):
        _draw_course(figure.add_subplot(grid[0, column]), measurements, name, title)
    _draw_profiles(figure.add_subplot(grid[1, :2]), measurements)
    _draw_published(figure.add_subplot(grid[1, 2]), measurements)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_course(axes: Axes, measurements: Sequence[Measurement], name: str, title: str) -> None:
    for state in STATES:
        curves = [m["states"][state]["curves"] for m in measurements]
        time = np.asarray(curves[0]["time"])
        lines = np.array([curve[name] for curve in curves])
        axes.fill_between(
            time, lines.min(axis=0), lines.max(axis=0), color=COLOURS[state], alpha=0.2, lw=0
        )
        label = state.replace("_", " ")
        axes.plot(time, lines.mean(axis=0), color=COLOURS[state], lw=1.6, label=label)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("time (band: least and largest seed)")
    axes.set_title(title, fontsize=11)
    _tidy(axes)


def _draw_profiles(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for i, state in enumerate(STATES):
        found = np.array([profile(m, state) for m in measurements])
        mean = found.mean(axis=0)
        reach = np.stack([mean - found.min(axis=0), found.max(axis=0) - mean])
        axes.bar(
            np.arange(7) + 0.2 * (i - 1.5),
            mean,
            0.19,
            yerr=reach,
            color=COLOURS[state],
            error_kw={"lw": 1, "ecolor": "#222222"},
        )
    axes.set_xticks(range(len(ENTROPIES)), LABELS, fontsize=9)
    axes.set_ylim(0, 1.05)
    axes.set_title("Entropies in the second half / ln(bins)", fontsize=11)
    _tidy(axes)


def _draw_published(axes: Axes, measurements: Sequence[Measurement]) -> None:
    rows = [("P", "polarization"), ("M", "rotation"), ("OSI", "oceanic_schooling_index")]
    for i, (_, name) in enumerate(rows):
        for k, state in enumerate(STATES):
            x = i + 0.2 * (k - 1.5)
            found = second_half(measurements, state, name)
            axes.plot([x] * len(found), found, "o", color=COLOURS[state], ms=5, alpha=0.75)
            if name in PUBLISHED[state]:
                axes.plot(x, PUBLISHED[state][name], "x", color="black", ms=8, mew=1.8)
    axes.plot([], [], "o", color="#666666", label="a seed")
    axes.plot([], [], "x", color="black", ms=8, mew=1.8, label="published")
    axes.set_xticks(range(3), [label for label, _ in rows])
    axes.set_ylim(-0.03, 1.05)
    axes.legend(frameon=False, fontsize=9, loc="upper right", bbox_to_anchor=(0.99, 0.92))
    axes.set_title("Second-half means beside the published", fontsize=11)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
