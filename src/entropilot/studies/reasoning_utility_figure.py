"""Figure of the reasoning-utility study, from its stored measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.information import cluster_bootstrap
from entropilot.studies.reasoning_utility_judge import Pooled, pool
from entropilot.studies.study import Measurement
from entropilot.traces.utility import GRID, align

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT: Final = "#0072b2"  # blue and vermilion: told apart with any colour vision
WRONG: Final = "#d55e00"
GREY: Final = "#6b7280"


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Mean trajectories; what separates right from wrong; lengths by source."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.1, 1.1, 1.0])
    pooled = pool(measurements)
    if len(pooled.chains):
        _trajectories(left, pooled)
        _areas(middle, pooled)
    else:
        for axes in (left, middle):
            _nothing(axes, "no chains were measured")
    lengths = measurements[0]["lengths"] if measurements else []
    if lengths:
        _lengths(right, lengths)
    else:
        _nothing(right, "lengths were not measured")
    return figure


def _nothing(axes: Any, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", color=GREY)
    axes.set_axis_off()


def _trajectories(axes: Any, pooled: Pooled) -> None:
    grid = np.linspace(0, 1, GRID)
    for name, key, colour, line, wrong in (
        ("right chains", "gold", RIGHT, "-", False),
        ("wrong chains, reference answer", "gold", WRONG, "-", True),
        ("wrong chains, their own answer", "own", WRONG, "--", True),
    ):
        chosen = pooled.wrong == wrong
        rows = align([one[key] for one, here in zip(pooled.chains, chosen, strict=True) if here])
        band = cluster_bootstrap(
            rows, groups=pooled.problem[chosen], rng=np.random.default_rng(0), n_resamples=1000
        )
        axes.plot(grid, np.maximum(band.value, 0), line, color=colour, label=name, lw=2)
        if line == "-":
            axes.fill_between(
                grid, np.maximum(band.low, 0), band.high, color=colour, alpha=0.18, lw=0
            )
    axes.set(
        xlabel="share of the steps read",
        ylabel="entropy of the answer, nats",
        title=f"After each step ({len(pooled.chains)} chains)",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    _clean(axes)


def _areas(axes: Any, pooled: Pooled) -> None:
    entries = [
        ("fall, reference answer", "gold", "drop"),
        ("the same without the last step", "gold", "drop_before_last"),
        ("fall, own answer", "own", "drop"),
        ("the same without the last step", "own", "drop_before_last"),
        ("likelihood, reference answer", "gold_nll", "h_last"),
        ("the same without the last step", "gold_nll", "h_before_last"),
    ]
    for i, (_, key, number) in enumerate(entries):
        found = pooled.auc(key, number)
        colour = GREY if number in ("drop_before_last", "h_before_last") else "black"
        axes.plot([found.low, found.high], [i, i], color=colour, lw=2, solid_capstyle="butt")
        axes.plot(found.value, i, "o", color=colour, ms=6)
        axes.annotate(
            f"{found.value:.2f}",
            (found.value, i),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=colour,
        )
    axes.axvline(0.5, color=GREY, lw=1, ls=":")
    axes.text(0.49, -0.72, "chance", ha="right", va="center", fontsize=8, color=GREY)
    axes.set_yticks(range(len(entries)), [name for name, _, _ in entries])
    axes.set(
        xlabel="AUC for wrong chains, 95 % interval",
        title="What separates",
        xlim=(0.15, 1.02),
        ylim=(len(entries) - 0.5, -0.95),
    )
    _clean(axes)
    axes.tick_params(axis="y", length=0)


def _lengths(axes: Any, lengths: Sequence[dict[str, Any]]) -> None:
    for i, one in enumerate(lengths):
        for shift, colour, ends in (
            (-0.17, RIGHT, one["quantiles"][0]),
            (0.17, WRONG, one["quantiles"][1]),
        ):
            y = i + shift
            axes.plot([ends[0], ends[4]], [y, y], color=colour, lw=1.2)
            axes.plot(
                [ends[1], ends[3]], [y, y], color=colour, lw=7, alpha=0.45, solid_capstyle="butt"
            )
            axes.plot(ends[2], y, "o", color=colour, ms=5)
    axes.set_yticks(
        range(len(lengths)), [f"{one['source']}\nAUC {one['auc'][0]:.2f}" for one in lengths]
    )
    axes.plot([], [], "o-", color=RIGHT, label="right")
    axes.plot([], [], "o-", color=WRONG, label="wrong")
    axes.set(
        xlabel="words a chain (5, 25, 50, 75, 95 %)",
        title="Wrong chains are longer",
        xlim=(0, 1.35 * max(max(map(max, one["quantiles"])) for one in lengths)),
        ylim=(len(lengths) - 0.5, -0.5),
    )
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    _clean(axes)
    axes.tick_params(axis="y", length=0)


def _clean(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
