"""The figure of the convergence-radius study: radius against collapse, temperatures, spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.convergence_radius_judge import RADII, onsets
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GREY, ORANGE, BLUE, GREEN = COLOURS[:4]
ARMS: Final = {"Adam": ORANGE, "clip 1.0": "#E69F00", "SafeStep": BLUE}
MARKERS: Final = ("o", "s", "^", "D", "v", "P")


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Six panels: one step, radius against collapse, temperatures, two of spikes, slack.

    Args:
        measurements: of ``measure``, one a seed.

    Returns:
        A matplotlib figure that belongs to no window.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 7.8), layout="constrained")
    axes = figure.subplots(2, 3)
    _accuracy(axes[0, 0], measurements)
    _scatter(axes[0, 1], measurements)
    _temperatures(axes[0, 2], measurements)
    _course(axes[1, 0], measurements[0]["lasting"]["0.001"])
    _ends(axes[1, 1], measurements)
    _slack(axes[1, 2], measurements)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    seeds = f"{len(measurements)} seed{'s' if len(measurements) > 1 else ''}"
    figure.suptitle(f"Steps in units of the softmax's convergence radius (digits, {seeds})")
    return figure


def _accuracy(axis: Axes, measurements: Sequence[Measurement]) -> None:
    axis.axvspan(RADII[0], 1, color=GREEN, alpha=0.1, linewidth=0)
    for number, name in enumerate(measurements[0]["networks"]):
        values = np.array([m["networks"][name]["accuracy"] for m in measurements])
        axis.plot(RADII, values.mean(0), color=COLOURS[number], label=name, linewidth=1.5)
        if len(values) > 1:
            axis.fill_between(
                RADII, values.min(0), values.max(0), color=COLOURS[number], alpha=0.13, linewidth=0
            )
    axis.set(
        xscale="log",
        xlim=(RADII[0], RADII[-1]),
        ylim=(0, 1.02),
        xlabel="length of one step downhill, radii",
        ylabel="test accuracy after it",
    )
    axis.set_title("One step from a trained network", loc="left", fontsize=10)
    axis.legend(loc="lower left", frameon=False, fontsize=8)


def _scatter(axis: Axes, measurements: Sequence[Measurement]) -> None:
    every: list[float] = []
    for number, name in enumerate(measurements[0]["networks"]):
        for m in measurements:
            for downhill, rho, r in onsets(m["networks"][name]):
                axis.plot(
                    rho,
                    r * rho,
                    MARKERS[number],
                    color=COLOURS[number],
                    markersize=6 if downhill else 4,
                    markerfacecolor=COLOURS[number] if downhill else "none",
                    alpha=0.85,
                )
                every += [rho, r * rho]
        axis.plot([], [], MARKERS[number], color=COLOURS[number], markersize=5, label=name)
    span = np.array([min(every, default=0.01) / 2, max(every, default=1.0) * 2])
    axis.fill_between(span, span[0], span, color=GREEN, alpha=0.1, linewidth=0)
    axis.plot(span, span, color="black", linewidth=1.0)
    axis.plot(span, 10 * span, color=GREY, linewidth=0.8, linestyle=":")
    middle = float(np.sqrt(span[0] * span[1])) / 3
    for factor, colour in ((1, "black"), (10, GREY)):
        axis.annotate(
            f"r = {factor}",
            (middle, factor * middle),
            xytext=(-3, 4) if factor > 1 else (5, -11),
            textcoords="offset points",
            ha="right" if factor > 1 else "left",
            fontsize=8,
            color=colour,
        )
    axis.set(
        xscale="log",
        yscale="log",
        xlim=tuple(span),
        ylim=(span[0], span[1] * 1.5),
        xlabel="convergence radius along the step",
        ylabel="step length at which 10 points are lost",
    )
    axis.set_title(
        "Radius against collapse (filled: downhill, open: random)", loc="left", fontsize=10
    )
    axis.legend(loc="lower right", frameon=False, fontsize=8)


def _temperatures(axis: Axes, measurements: Sequence[Measurement]) -> None:
    for key, label, colour in (("tau", "length", ORANGE), ("r", "radii", BLUE)):
        for number, m in enumerate(measurements):
            rows = [row for row in m["temperature"] if row["onset"] is not None]
            if not rows:
                continue
            t = np.array([row["temperature"] for row in rows])
            y = np.array([row["onset"] / (row["rho"] if key == "r" else 1) for row in rows])
            axis.plot(
                t,
                y / np.exp(np.log(y).mean()),
                "o-",
                color=colour,
                markersize=4,
                linewidth=1.2,
                alpha=0.8,
                label=f"onset in {label}" if number == 0 else None,
            )
    axis.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    ticks = [0.25, 0.5, 1, 2, 4, 8]
    axis.set(xscale="log", yscale="log", xlabel="temperature T", ylabel="onset / its mean")
    axis.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axis.set_xticks([], minor=True)
    axis.set_yticks([0.5, 1, 2], ["0.5", "1", "2"])
    axis.set_yticks([], minor=True)
    axis.set_title("Where the loss has doubled, by temperature", loc="left", fontsize=10)
    axis.legend(loc="upper left", frameon=False, fontsize=8)


def _course(axis: Axes, arms: dict[str, Any]) -> None:
    safe = arms["SafeStep"]
    steps = np.arange(1, len(safe["loss"]) + 1)
    for arm, colour in ARMS.items():
        loss = np.array([np.nan if v is None else v for v in arms[arm]["loss"]], float)
        axis.plot(steps, np.maximum(loss, 1e-4), color=colour, linewidth=1.3, label=f"loss, {arm}")
    rho = np.array([np.nan if v is None else v for v in safe["rho"]], float)
    axis.plot(steps, rho, color=GREEN, linewidth=1.0, label="radius, SafeStep")
    axis.plot(steps, safe["tau"], color="black", linewidth=0.9, linestyle="--", label="its step")
    axis.axvline(safe["spike"] + 0.5, ymax=0.8, color=GREY, linewidth=0.9, linestyle=":")
    axis.set(yscale="log", xlabel="step", ylabel="training loss, nats; lengths")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * 30)
    axis.set_title("Learning rate 0.001, x 1000 from the line on", loc="left", fontsize=10)
    axis.legend(loc="upper left", frameon=False, fontsize=8, ncols=2)


def _ends(axis: Axes, measurements: Sequence[Measurement]) -> None:
    groups = [(f"MLP, lr {lr}\nx 1000 lasting", "lasting", lr) for lr in ("0.001", "0.01")]
    groups += [(f"{name}\nx 10,000 once", "single", name) for name in measurements[0]["single"]]
    for row, (_, part, key) in enumerate(groups):
        for number, (arm, colour) in enumerate(ARMS.items()):
            values = [m[part][key][arm]["after"] for m in measurements]
            y = row + 0.22 * (number - 1)
            axis.plot(values, [y] * len(values), "o", color=colour, markersize=4.5, alpha=0.8)
            axis.plot([np.median(values)], [y], "|", color="black", markersize=9)
    for arm, colour in ARMS.items():
        axis.plot([], [], "o", color=colour, markersize=5, label=arm)
    axis.set_yticks(range(len(groups)), [label for label, _, _ in groups], fontsize=8)
    axis.set(xlim=(0, 1.02), ylim=(len(groups) - 0.4, -1.1), xlabel="test accuracy at step 200")
    axis.grid(axis="x", alpha=0.25)
    axis.set_title("After a spike of the learning rate", loc="left", fontsize=10)
    axis.legend(loc="upper left", frameon=False, fontsize=8, ncols=3)


def _slack(axis: Axes, measurements: Sequence[Measurement]) -> None:
    names = list(measurements[0]["networks"])
    for row, name in enumerate(names):
        for number, m in enumerate(measurements):
            slack = m["networks"][name]["slack"]
            low, middle, high = slack["quartiles"]
            y = row + 0.2 * (number - (len(measurements) - 1) / 2)
            axis.plot([low, high], [y, y], color=BLUE, linewidth=2.2, alpha=0.6)
            axis.plot([middle], [y], "o", color=BLUE, markersize=4.5)
            axis.plot([slack["bottleneck"]], [y], "x", color=ORANGE, markersize=6)
    axis.plot([], [], "o-", color=BLUE, linewidth=2, markersize=4.5, label="quartiles, 200 samples")
    axis.plot([], [], "x", color=ORANGE, markersize=6, linestyle="none", label="limiting sample")
    axis.axvline(1, color="black", linewidth=1.0)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.set(xscale="log", ylim=(len(names) - 0.4, -1.2), xlabel="exact radius / bound")
    ticks = [1, 2, 5, 10, 20]
    axis.set_xticks(ticks, [str(v) for v in ticks])
    axis.set_xticks([], minor=True)
    axis.set_title("Slack of the bound", loc="left", fontsize=10)
    axis.legend(loc="upper left", frameon=False, fontsize=8, ncols=2)
