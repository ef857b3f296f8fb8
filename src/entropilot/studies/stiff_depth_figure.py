"""Figure of the study of stiffness along depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARMS: Final = {
    "plain": COLOURS[4],
    "plain, wider": COLOURS[3],
    "sam": COLOURS[2],
    "step": COLOURS[1],
}


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Rates of three starts (fast to slower bursts), errors, gate against rate, rates along depth.

    Args:
        measurements: of ``measure``, one a seed.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 3)
    for number, axis in enumerate(axes[0]):
        _course(axis, measurements[0], number)
    _errors(axes[1, 0], measurements)
    _gates(axes[1, 1], measurements)
    _depth(axes[1, 2], measurements)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _course(axis: Axes, m: Measurement, number: int) -> None:
    truth = m["truth"]["shown"][number]
    place = np.arange(len(truth))
    axis.plot(place, truth, "-o", color="black", ms=3.5, linewidth=1.8, label="truth")
    for name, colour in ARMS.items():
        if name != "plain":
            found = m["trajectories"][name]["shown"][number]
            axis.plot(place, found, color=colour, linewidth=1.4, label=name)
    axis.set(yscale="log", xlabel="step (block)", ylabel="rate index R, 1 / step")
    axis.set_title(f"Oscillator: stiffness over time, start {number + 1}", fontsize=10)
    if number == 0:
        axis.legend(frameon=False, fontsize=8)


def _errors(axis: Axes, measurements: Sequence[Measurement]) -> None:
    for place, (name, colour) in enumerate(ARMS.items()):
        values = [m["trajectories"][name]["rmse"] for m in measurements]
        axis.plot([place] * len(values), values, "o", color=colour, ms=6, mfc="none")
        axis.plot([place - 0.25, place + 0.25], [np.mean(values)] * 2, color=colour, linewidth=2)
    names = [f"{name}\n({measurements[0]['trajectories'][name]['parameters']:,})" for name in ARMS]
    axis.set_xticks(range(len(ARMS)), labels=names, fontsize=8)
    largest = max(m["trajectories"][name]["rmse"] for m in measurements for name in ARMS)
    axis.set_ylim(0, 1.1 * largest)
    axis.set(xlabel="network (parameters)", ylabel="test RMSE of the states, standard deviations")
    axis.set_title("Oscillator: error (circle: a seed, bar: mean)", fontsize=10)


def _gates(axis: Axes, measurements: Sequence[Measurement]) -> None:
    m = measurements[0]["trajectories"]
    for name, marker in (("sam", "s"), ("step", "o")):
        run = m[name]
        axis.plot(
            run["gate_rate"], run["gate"], marker, color=ARMS[name], ms=3, alpha=0.45,
            mew=0, label=f"{name}, correlation {run['gate_correlation']:.2f}",
        )  # fmt: skip
    axis.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axis.set(xscale="log", xlabel="rate index R of the network", ylabel="mean gate a, start 1")
    axis.set_title("Oscillator: step size against stiffness", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _depth(axis: Axes, measurements: Sequence[Measurement]) -> None:
    for name in measurements[0]["digits"]:
        rows = [m["digits"][name] for m in measurements]
        rate = np.array([row["rate"] for row in rows])
        before = np.array([row["rate_before"] for row in rows])
        block = np.arange(1, rate.shape[1] + 1)
        accuracy = np.mean([row["accuracy"] for row in rows])
        colour = ARMS[name]
        axis.plot(block, rate.mean(0), color=colour, label=f"{name}, accuracy {accuracy:.3f}")
        axis.fill_between(block, rate.min(0), rate.max(0), color=colour, alpha=0.15, linewidth=0)
        label = "before training" if name == "plain" else None
        axis.plot(block, before.mean(0), "--", color=colour, linewidth=1, label=label)
    axis.set_ylim(bottom=0)
    axis.set(xlabel="block", ylabel="mean rate index R")
    axis.set_title("Digits: stiffness along depth", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
