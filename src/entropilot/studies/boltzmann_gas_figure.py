"""Figure of the study of an expanding gas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.physics.phase_space import free_shear_entropy, scaling_entropy
from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LN2: Final = math.log(2)
WIDTH_COLOURS: Final = {0.5: COLOURS[0], 1.0: COLOURS[1], 2.0: COLOURS[2]}


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Entropy without collisions, at three Knudsen numbers, reversed, scaled; density.

    Args:
        measurements: of ``measure``, one a seed; means over seeds are drawn.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15.0, 7.4), layout="constrained")
    axes = figure.subplots(2, 4)
    _free(axes[0, 0], measurements)
    for k, axis in enumerate(axes[0, 1:]):
        _discs(axis, measurements, k)
    _slopes(axes[1, 0], measurements)
    _density(axes[1, 1], measurements[0]["discs"][0])
    _reversal(axes[1, 2], measurements)
    _scaling(axes[1, 3], measurements)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _free(axis: Axes, runs: Sequence[Measurement]) -> None:
    tau = np.linspace(0, 4, 401)
    axis.plot(tau, free_shear_entropy(tau) / LN2, color="black", linewidth=1.2, label="exact")
    for k, one in enumerate(runs[0]["ideal"]):
        gain = np.mean([run["ideal"][k]["gain"] for run in runs], axis=0)
        width = one["width"]
        axis.plot(
            one["tau"], gain / LN2, "o", ms=4.5, color=WIDTH_COLOURS[width], label=f"{width:g}"
        )
    axis.set(xlabel="velocity cell x time / L", ylabel="entropy gained / ln 2")
    axis.set_title("No collisions: time in units of the cells", fontsize=10)
    axis.legend(title="velocity cell", fontsize=8, title_fontsize=8, frameon=False)


def _discs(axis: Axes, runs: Sequence[Measurement], k: int) -> None:
    one = runs[0]["discs"][k]
    for row, (width, colour) in enumerate(WIDTH_COLOURS.items()):
        gain = np.mean([run["discs"][k]["gain"][row] for run in runs], axis=0)
        axis.plot(one["time"], gain / LN2, color=colour, linewidth=1.7, label=f"{width:g}")
    axis.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    axis.set(xlabel="time, L / thermal speed", ylim=(-0.03, 1.08))
    axis.set_title(f"Discs, mean free path {one['kn']:g} L", fontsize=10)
    if k == 0:
        axis.set_ylabel("entropy gained / ln 2")
        axis.legend(
            title="velocity cell", fontsize=8, title_fontsize=8, frameon=False, loc="lower right"
        )


def _slopes(axis: Axes, runs: Sequence[Measurement]) -> None:
    widths = list(WIDTH_COLOURS)
    tau = np.array(runs[0]["ideal"][0]["tau"])
    early = (tau >= 0.1) & (tau <= 0.5)
    free = [
        np.mean([np.polyfit(tau[early], np.array(run["ideal"][k]["gain"])[early], 1)[0] for run in runs])
        * width
        for k, width in enumerate(widths)
    ]  # fmt: skip
    axis.plot([0, 2.1], [0, 1.05], color="black", linewidth=1.0, label="cell / 2L, exact")
    axis.plot(widths, free, "o", color="black", label="no collisions")
    for k, one in enumerate(runs[0]["discs"]):
        frame = int(np.argmin(np.abs(np.array(one["time"]) - 0.5)))
        rate = [
            np.mean([run["discs"][k]["gain"][row][frame] for run in runs]) / one["time"][frame]
            for row in range(len(widths))
        ]
        axis.plot(
            widths, rate, "-s", ms=4, color=COLOURS[k + 3], label=f"mean free path {one['kn']:g} L"
        )
    axis.set(xlabel="velocity cell, thermal speeds", ylabel="early rate, per L / thermal speed")
    axis.set(xlim=(0, 2.15), ylim=(0, 1.6))
    axis.set_title("Rate of entropy production (discs: up to t = 0.5)", fontsize=10)
    axis.legend(fontsize=7.5, frameon=False, loc="upper left", ncols=2)


def _density(axis: Axes, one: dict[str, Any]) -> None:
    for time, row in zip(one["density_time"], one["density"], strict=True):
        place = np.linspace(0, 1, len(row) + 1)
        axis.stairs(row, place, label=f"t = {time:g}", linewidth=1.4)
    axis.set(xlabel="x / L", ylabel="density / final density", ylim=(0, None))
    axis.set_title(f"Density, mean free path {one['kn']:g} L", fontsize=10)
    axis.legend(fontsize=8, frameon=False)


def _reversal(axis: Axes, runs: Sequence[Measurement]) -> None:
    cases = runs[0]["reversal"]["entropies"]
    gain = np.mean([[c["gain"] for c in run["reversal"]["entropies"]] for run in runs], axis=0)
    left = np.mean([[c["left"] for c in run["reversal"]["entropies"]] for run in runs], axis=0)
    place = np.arange(len(cases))
    axis.bar(place - 0.2, gain / LN2, 0.38, color=COLOURS[0], label="gained at t")
    axis.bar(place + 0.2, left / LN2, 0.38, color=COLOURS[1], label="left after reversal, at 2t")
    for k, value in enumerate(left / gain):
        axis.text(k + 0.2, left[k] / LN2 + 0.02, f"{100 * value:.1f} %", ha="center", fontsize=8)
    labels = [
        f"Kn {c['kn']:g}, t {c['time']:g}\n{c['collisions_a_disc']:.1f} coll. a disc" for c in cases
    ]
    axis.set_xticks(place, labels, fontsize=7.5)
    axis.set(ylabel="entropy gained / ln 2", ylim=(0, 1.12))
    axis.set_title("All velocities reversed", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="upper left")


def _scaling(axis: Axes, runs: Sequence[Measurement]) -> None:
    tau = np.linspace(0, 2, 201)
    axis.plot(tau, scaling_entropy(tau, math.sqrt(math.pi / 2)) / LN2, color="black", linewidth=1.3,
              label="S(tau; R = 1.25), limit")  # fmt: skip
    axis.plot(tau, free_shear_entropy(tau) / LN2, color="grey", linestyle=":", linewidth=1.2,
              label="no collisions")  # fmt: skip
    for k, pair in enumerate(runs[0]["scaling"]):
        gain = np.mean([run["scaling"][k]["gain"] for run in runs], axis=0)
        axis.plot(pair["tau"], gain / LN2, "o-", ms=4, linewidth=0.9, color=COLOURS[k],
                  label=f"cell {pair['width']:g}, Kn {pair['kn']:g}")  # fmt: skip
    axis.set(xlabel="velocity cell x time / L", ylabel="entropy gained / ln 2", ylim=(0, 1.05))
    axis.set_title("Both mechanisms, at one ratio of rates", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
