"""The figure of the instability study: ROC, accuracy by fifth, four traces, and timing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.information.intervals import wilson
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too.
BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREEN: Final = "#009E73"
GREY: Final = "#666666"
PURPLE: Final = "#CC79A7"
SOURCES: Final = {
    "sampled": "fresh traces of SmolLM2-135M-Instruct",
    "recorded": "recorded traces of SmolLM2-135M-Instruct",
    "planted": "planted traces of a Markov chain",
}


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Four panels of the best source that was measured, all seeds together.

    Args:
        measurements: one a seed.

    Returns:
        A matplotlib figure that belongs to no window.

    Examples:
        >>> from entropilot.studies.instability import measure
        >>> figure = draw([measure("smoke", 0, lambda share, doing: None)])
        >>> len(figure.axes)
        4
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 7.6), layout="constrained")
    parts: list[dict[str, Any]] = []
    name = ""
    for name in SOURCES:
        parts = [m["parts"][name] for m in measurements if name in m["parts"]]
        if parts:
            break
    if not parts:
        figure.text(0.5, 0.5, "nothing was measured", ha="center")
        return figure
    axes = figure.subplots(2, 2)
    _roc(axes[0, 0], parts)
    _fifths(axes[0, 1], parts)
    _traces(axes[1, 0], parts[0]["examples"])
    _timing(axes[1, 1], parts)
    n = sum(part["n_traces"] for part in parts)
    right = sum(part["n_right"] for part in parts)
    figure.suptitle(
        f"Peak instability and wrong answers: {n} {SOURCES[name]}, {right / n:.0%} right",
        fontsize=12,
    )
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _roc(axis: Axes, parts: list[dict[str, Any]]) -> None:
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="chance")
    for name, label, colour in (
        ("entropy_mean", "mean entropy", ORANGE),
        ("instability_peak", "peak instability", BLUE),
    ):
        values = [part["auc"][name][0] for part in parts if part["auc"].get(name)]
        mean = f", AUC {np.mean(values):.2f}" if values else ""
        for number, part in enumerate(parts):
            curve = np.array(part["roc"].get(name) or [[0, 0], [1, 1]])
            axis.plot(
                curve[:, 0],
                curve[:, 1],
                color=colour,
                linewidth=1.6 if len(parts) == 1 else 1.1,
                alpha=1.0 if len(parts) == 1 else 0.75,
                label=f"{label}{mean}" if number == 0 else None,
            )
    axis.set(
        xlim=(0, 1), ylim=(0, 1.01), xlabel="right traces flagged", ylabel="wrong traces flagged"
    )
    axis.set_title("How well they tell wrong from right", loc="left", fontsize=10)
    axis.legend(loc="lower right", frameon=False, fontsize=8)


def _fifths(axis: Axes, parts: list[dict[str, Any]]) -> None:
    for name, label, colour, shift in (
        ("instability_peak", "peak instability", BLUE, -0.08),
        ("entropy_mean", "mean entropy", ORANGE, 0.08),
    ):
        tables = [part["buckets"][name] for part in parts if part["buckets"][name]]
        if not tables:
            continue
        counts = np.array(tables).sum(axis=0)
        n, right = counts[:, 2], counts[:, 3]
        low, high = wilson(right, n)
        share = right / n
        place = np.arange(1, len(share) + 1) + shift
        axis.errorbar(
            place,
            share,
            yerr=[share - low, high - share],
            fmt="o-",
            markersize=4,
            capsize=3,
            linewidth=1.2,
            color=colour,
            label=label,
        )
    axis.set(
        xticks=range(1, 6),
        xticklabels=["lowest", "2", "3", "4", "highest"],
        xlabel="fifth of the signal",
        ylabel="share of right answers",
    )
    axis.set_ylim(bottom=0)
    axis.set_title("Accuracy by fifth, 95% Wilson intervals", loc="left", fontsize=10)
    axis.legend(loc="best", frameon=False, fontsize=8)


def _traces(axis: Axes, examples: list[dict[str, Any]]) -> None:
    colours = {
        "early peak, right": GREEN,
        "late peak, wrong": ORANGE,
        "stable, right": BLUE,
        "stable, wrong": PURPLE,
    }
    for example in examples:
        values = np.array(
            [np.nan if v is None else v for v in example["instability"]], dtype=np.float64
        )
        kind = example["kind"]
        stable = kind.startswith("stable")
        axis.plot(
            values,
            color=colours.get(kind, GREY),
            linewidth=1.2,
            linestyle="--" if stable else "-",
            label=kind,
        )
        if not stable and not np.isnan(values).all():
            top = int(np.nanargmax(values))
            axis.plot(top, values[top], "o", color=colours.get(kind, GREY), markersize=5)
    axis.axhline(
        np.log(2), color=GREY, linewidth=0.8, linestyle=":", label="ln 2, the largest divergence"
    )
    axis.set(xlabel="token", ylabel="instability I = D + H, nats")
    axis.set_ylim(0, 1.45 * axis.get_ylim()[1])  # room for the legend
    axis.set_title("Four traces (dot: the peak)", loc="left", fontsize=10)
    axis.legend(loc="upper right", frameon=False, fontsize=8, ncols=2)


def _timing(axis: Axes, parts: list[dict[str, Any]]) -> None:
    count = np.zeros((3, 5, 2))
    names = ("early", "middle", "late")
    for part in parts:
        for fifth, timing, n, n_right in part["timing"]:
            count[names.index(timing), fifth] += [n, n_right]
    for row, label, colour, shift in ((0, "early", GREEN, -0.2), (2, "late", ORANGE, 0.2)):
        n, right = count[row, :, 0].astype(int), count[row, :, 1].astype(int)
        share = np.divide(right, n, out=np.zeros(5), where=n > 0)
        low, high = wilson(right, n)
        place = np.arange(1, 6) + shift
        axis.bar(place, share, width=0.36, color=colour, alpha=0.75, label=f"{label} peak")
        known = n > 0
        axis.errorbar(
            place[known],
            share[known],
            yerr=[(share - low)[known], (high - share)[known]],
            fmt="none",
            ecolor="#333333",
            elinewidth=0.9,
            capsize=2,
        )
    sizes = ["smallest", "2", "3", "4", "largest"]
    totals = count[:, :, 0].astype(int)
    labels = [f"{size}\n{totals[0, f]} | {totals[2, f]}" for f, size in enumerate(sizes)]
    axis.set(
        xticks=range(1, 6),
        xticklabels=labels,
        xlabel="fifth of the peak's size; traces with an early | a late peak",
        ylabel="share of right answers",
        ylim=(0, 1.25),
        yticks=np.linspace(0, 1, 6),
    )
    axis.set_title("Early against late peaks of equal size", loc="left", fontsize=10)
    axis.legend(loc="upper right", frameon=False, fontsize=8, ncols=2)
