"""Figure of the SKA study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Entropy of every layer over time for all step sizes, then flow, nets and the probe."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 9.2), layout="constrained")
    panels = figure.subplots(3, 4)
    etas = sorted(measurements[0]["runs"], key=float, reverse=True)
    shown = min(etas, key=lambda e: abs(float(e) - 0.01))
    for layer in range(4):
        _draw_entropy(panels[0, layer], measurements[0], etas, layer)
        _draw_net(panels[1, layer], measurements, shown, layer)
    _draw_flow(panels[2, 0], measurements, shown)
    _draw_deviation(panels[2, 1], measurements)
    _draw_probe(panels[2, 2], measurements, "accuracy", "accuracy of a linear probe")
    _draw_probe(panels[2, 3], measurements, "saturation", "saturation, mean |2 D - 1|")
    panels[0, 0].legend(frameon=False, fontsize=7.5, title="eta", title_fontsize=8)
    panels[1, 0].legend(frameon=False, fontsize=8)
    panels[2, 2].legend(frameon=False, fontsize=8)
    return figure


def _draw_entropy(axes: Axes, m: Measurement, etas: Sequence[str], layer: int) -> None:
    for eta, shade in zip(etas, np.linspace(0.25, 1, len(etas)), strict=True):
        run = m["runs"][eta]
        y = np.array(run["entropy"][layer]) / 1000
        axes.plot(run["time"], y, color=COLOURS[2], alpha=float(shade), linewidth=1.1, label=eta)
    axes.axvline(m["runs"][etas[-1]]["entropy_minimum"][layer], color=COLOURS[1], lw=1, ls=":")
    _finish(axes, f"layer {layer + 1}: H / eta, thousand bits", "time eta k")


def _draw_net(axes: Axes, measurements: Sequence[Measurement], shown: str, layer: int) -> None:
    for name, colour, label in (
        ("tensor_net", COLOURS[2], "code's sign"),
        ("tensor_net_paper", COLOURS[1], "paper's sign"),
    ):
        for i, m in enumerate(measurements):
            run = m["runs"][shown]
            y = np.array(run[name][layer]) / 1000
            axes.plot(run["time"], y, color=colour, lw=1.1, label=label if i == 0 else None)
    axes.axhline(0, color=COLOURS[0], linewidth=0.8)
    _finish(axes, f"layer {layer + 1}: tensor net / eta, thousands", "time eta k")


def _draw_flow(axes: Axes, measurements: Sequence[Measurement], shown: str) -> None:
    run = measurements[0]["runs"][shown]
    for layer in range(4):
        y = np.array(run["flow_norm"][layer])
        axes.plot(run["time"], y / y.max(), color=COLOURS[1 + layer], label=f"layer {layer + 1}")
        axes.axvline(run["entropy_minimum"][layer], color=COLOURS[1 + layer], lw=1, ls=":")
    _finish(axes, "knowledge flow (dotted: least entropy)", "time eta k")
    axes.legend(frameon=False, fontsize=8)


def _draw_deviation(axes: Axes, measurements: Sequence[Measurement]) -> None:
    etas = sorted(measurements[0]["deviation"], key=float)
    x = [float(e) for e in etas]
    for layer in range(4):
        y = np.mean([[m["deviation"][e][layer] for e in etas] for m in measurements], axis=0)
        axes.plot(x, y, "o-", color=COLOURS[1 + layer], ms=4, label=f"layer {layer + 1}")
    middle = np.mean([m["deviation"][etas[-1]][0] for m in measurements])
    axes.plot(x, middle * np.array(x) / x[-1], ":", color=COLOURS[0], label="proportional to eta")
    axes.set(xscale="log", yscale="log")
    axes.minorticks_off()
    axes.set_xticks(x, [f"{v:g}" for v in x], fontsize=8)
    _finish(axes, "largest deviation of H / eta", "eta")
    axes.legend(frameon=False, fontsize=7.5)


def _draw_probe(axes: Axes, measurements: Sequence[Measurement], name: str, title: str) -> None:
    times = [row["time"] for row in measurements[0]["probes"]]
    for layer in range(4):
        y = np.array([[row[name][layer] for row in m["probes"]] for m in measurements])
        colour = COLOURS[1 + layer]
        axes.plot(times, y.mean(0), "o-", color=colour, ms=3.5, label=f"layer {layer + 1}")
        axes.fill_between(times, y.min(0), y.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 1.02)
    _finish(axes, title, "time eta k")


def _finish(axes: Axes, title: str, xlabel: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(xlabel)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
