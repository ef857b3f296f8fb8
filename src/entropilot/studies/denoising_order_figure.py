"""Figure of the study of the order of denoising steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ARMS: Final = {"uniform": COLOURS[0], "easy first": COLOURS[2], "hard first": COLOURS[1]}


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Two measures of difficulty, loss courses, stages, exposure and sample quality.

    Args:
        measurements: of ``measure``, one a seed.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 3)
    _divergence(axes[0, 0], measurements[0])
    _convergence(axes[0, 1], measurements)
    _courses(axes[0, 2], measurements[0])
    _stages(axes[1, 0], measurements)
    _exposure(axes[1, 1], measurements)
    _distance(axes[1, 2], measurements)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
        axis.spines[["top"]].set_visible(False)
    return figure


def _divergence(axis: Axes, m: Measurement) -> None:
    beta, t = np.array(m["kl"]["beta"]), np.arange(1, len(m["kl"]["beta"]) + 1)
    for name, style, label in (("all", "-", "all pixels"), ("varying", "--", "varying pixels")):
        kl = np.array(m["kl"][name])
        axis.plot(t, kl, style, color=COLOURS[2], label=f"KL, {label}")
        axis.plot(t, kl / beta**2, style, color=COLOURS[1], label=f"KL / beta², {label}")
    axis.set(yscale="log", xlabel="timestep t (of 200)", ylabel="KL(p of t-1 to p of t), nats")
    axis.set_title("Difficulty 1: change of the data's law by a step", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _convergence(axis: Axes, measurements: Sequence[Measurement]) -> None:
    rows = measurements[0]["intervals"]
    middle = [(r["first"] + r["last"]) / 2 for r in rows]
    n = np.array(
        [[np.nan if r["n_tenth"] is None else r["n_tenth"] for r in m["intervals"]]
         for m in measurements]
    )  # fmt: skip
    end = np.array([[r["end"] for r in m["intervals"]] for m in measurements])
    axis.plot(middle, n.mean(0), "-o", color=COLOURS[2], ms=4)
    axis.fill_between(middle, n.min(0), n.max(0), color=COLOURS[2], alpha=0.2, linewidth=0)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("middle of the interval of timesteps")
    axis.set_ylabel("steps until a tenth of the way is left", color=COLOURS[2])
    other = axis.twinx()
    other.plot(middle, end.mean(0), "--s", color=COLOURS[1], ms=4)
    other.set_yscale("log")
    other.set_ylabel("loss at the end", color=COLOURS[1])
    other.set_xlabel("middle of the interval of timesteps")
    other.spines[["top"]].set_visible(False)
    axis.set_title("Difficulty 2: a model for each interval", fontsize=10)


def _courses(axis: Axes, m: Measurement) -> None:
    from matplotlib import colormaps

    rows = m["intervals"]
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(rows)))
    for i, (row, shade) in enumerate(zip(rows, shades, strict=True)):
        course = np.array(row["course"])
        share = np.linspace(0, 1, len(course))
        label = f"t {row['first']} to {row['last']}" if i in (0, 3, 7) else None
        axis.plot(share, course, color=shade, linewidth=1.3, label=label)
    axis.set(yscale="log", xlabel="share of the training", ylabel="loss (20-step mean)")
    axis.set_title("Their courses, low t (dark) to high t (light)", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _stages(axis: Axes, measurements: Sequence[Measurement]) -> None:
    for name in ("easy first", "hard first"):
        for i, m in enumerate(measurements):
            lengths = m["arms"][name]["stage_steps"]
            ends = np.cumsum([0, *lengths])
            stages = np.arange(1, len(lengths) + 1)
            axis.step(
                ends, [*stages, stages[-1]], where="post", color=ARMS[name], alpha=0.75,
                linewidth=1.5, label=name if i == 0 else None,
            )  # fmt: skip
    axis.set(xlabel="training step", ylabel="stage (clusters that are in)", yticks=range(1, 6))
    axis.set_title("Pacing, a line a seed", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _exposure(axis: Axes, measurements: Sequence[Measurement]) -> None:
    for name, colour in ARMS.items():
        rows = np.array([m["arms"][name]["exposure"] for m in measurements])
        t = np.linspace(0, 195, rows.shape[1])
        relative = 200 * rows.mean(0)
        axis.plot(t, relative, color=colour, label=name, drawstyle="steps-mid")
    axis.set_ylim(bottom=0)
    axis.set(xlabel="timestep t (of 200)", ylabel="draws, 1 = as uniform")
    axis.set_title("Training that each timestep received", fontsize=10)
    axis.legend(frameon=False, fontsize=8)


def _distance(axis: Axes, measurements: Sequence[Measurement]) -> None:
    for name, colour in ARMS.items():
        steps = measurements[0]["arms"][name]["steps"]
        rows = np.array([m["arms"][name]["distance"] for m in measurements])
        axis.plot(steps, rows.mean(0), "-o", ms=4, color=colour, label=name)
        axis.fill_between(steps, rows.min(0), rows.max(0), color=colour, alpha=0.15, linewidth=0)
    axis.set_yscale("log")
    axis.set(xlabel="training step", ylabel="Frechet distance to the data, pixels²")
    axis.set_title("Sample quality (lower is better), range over seeds", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
