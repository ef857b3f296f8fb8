"""Figure of the three-body study: error against cost, and one start step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropilot.physics.three_body_batch import ACTIONS
from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Error against steps of all policies, one start, the course of training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.6), layout="constrained")
    grid = figure.add_gridspec(3, 5)
    _front(figure.add_subplot(grid[:, :3]), measurements)
    _one(figure.add_subplot(grid[0, 3:]), figure.add_subplot(grid[1, 3:]), measurements[0]["one"])
    _course(figure.add_subplot(grid[2, 3:]), measurements)
    return figure


def _front(axes: Axes, measurements: Sequence[Measurement]) -> None:
    def both(pick: Any) -> tuple[float, float, float]:
        runs = [pick(m) for m in measurements]
        means = [run["mean"] for run in runs]
        spread = float(np.std(means)) if len(means) > 1 else 0.0
        return float(np.mean([run["log_steps"] for run in runs])), float(np.mean(means)), spread

    fixed = [both(lambda m, a=a: m["fixed"][f"{a}"]) for a in range(10)]
    x, y, spread = (np.array(column) for column in zip(*fixed, strict=True))
    axes.errorbar(x, y, spread, color=COLOURS[0], marker="o", markersize=5, label="fixed mu")
    for mu, at, error in zip(ACTIONS, x, y, strict=True):
        axes.annotate(
            f"{mu:.2g}",
            (at, error),
            (6, 5),
            textcoords="offset points",
            fontsize=8,
            color="#444444",
        )
    rows = [
        ("learned policy", "learned", COLOURS[1], "*"),
        ("random actions", "random", COLOURS[5], "X"),
    ]
    for label, key, colour, marker in rows:
        for number, m in enumerate(measurements):
            axes.plot(
                m[key]["log_steps"],
                m[key]["mean"],
                marker,
                color=colour,
                markersize=11,
                label=label if number == 0 else None,
                linestyle="none",
            )
    for name, marker in (("", "s"), (" redo", "D")):
        held = [both(lambda m, k=f"{t}{name}": m["controllers"][k]) for t in ("1e-04", "1e-06")]
        hx, hy, hs = zip(*held, strict=True)
        label = "error controller" + (", bad intervals redone" if name else "")
        axes.errorbar(hx, hy, hs, color=COLOURS[2 if not name else 3], marker=marker, label=label)
    if all(m["ias15"] for m in measurements):
        ix, iy, spread_i = both(lambda m: m["ias15"])
        axes.errorbar(
            [ix],
            [iy],
            [spread_i],
            color=COLOURS[4],
            marker="P",
            markersize=9,
            linestyle="none",
            label="IAS15, default (15 evaluations a step)",
        )
    axes.set_xlabel("mean log10 of integrator steps (30 years)")
    axes.set_ylabel("mean log10 of the relative energy error")
    axes.set_title("Error against cost; bars are the spread over seeds", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _one(actions: Axes, error: Axes, run: dict[str, Any]) -> None:
    years = 0.1 * (1 + np.arange(len(run["actions"])))
    actions.step(
        years, ACTIONS[np.array(run["actions"])], where="post", color=COLOURS[1], linewidth=1.2
    )
    actions.set_yscale("log")
    actions.set_title("One start: mu chosen, and the smallest distance", fontsize=10)
    actions.set_ylabel("mu", color=COLOURS[1])
    twin = actions.twinx()
    twin.set_ylabel("smallest distance, au", color=COLOURS[2])
    twin.plot(years, run["distance"], color=COLOURS[2], linewidth=1.1, alpha=0.8)
    twin.set_yscale("log")
    twin.spines["top"].set_visible(False)
    error.plot(years, np.maximum(run["error"], 1e-16), color=COLOURS[1], linewidth=1.3)
    error.set_yscale("log")
    error.set_title("The same start: relative energy error", fontsize=10)
    error.set_xlabel("years")
    for axes in (actions, error):
        axes.grid(alpha=0.25)
        axes.spines["top"].set_visible(False)


def _course(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for number, m in enumerate(measurements):
        axes.plot(
            np.linspace(0, 1, len(m["rewards"])),
            m["rewards"],
            color=COLOURS[1],
            alpha=0.75,
            linewidth=1.1,
            label="a seed" if number == 0 else None,
        )
    axes.set_yscale("symlog", linthresh=100)
    axes.set_title("Training: reward of an episode", fontsize=10)
    axes.set_xlabel("share of the episodes")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
