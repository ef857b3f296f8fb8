"""Figure of the epiplexity study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.epiplexity_judge import best_run, domain_bars
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RULE_COLOURS: Final = {"rule 15": COLOURS[2], "rule 30": COLOURS[1], "rule 54": COLOURS[3]}
KINDS: Final = {"rule 15": "orderly", "rule 30": "random", "rule 54": "rich"}
OTHERS: Final = ((COLOURS[4], "D"), (COLOURS[0], "s"))


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Automata, what is learnt of them, both orders, both estimates, and natural data.

    Examples:
        >>> callable(draw)
        True
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    upper, lower = parts
    above = upper.subplots(1, 4, width_ratios=(1, 1, 1, 1.75))
    below = lower.subplots(1, 3, width_ratios=(1.15, 1, 1.2))
    for axes, (rule, lines) in zip(above[:3], measurements[0]["pictures"].items(), strict=True):
        _automaton(axes, f"rule {rule}", lines)
    _split(above[3], measurements)
    _learning(below[0], measurements)
    _order(below[1], measurements)
    _domains(below[2])
    return figure


def _automaton(axes: Axes, name: str, lines: Sequence[str]) -> None:
    cells = np.array([[int(c) for c in line] for line in lines])
    axes.imshow(cells, cmap="Greys", interpolation="nearest", vmin=0, vmax=1.15)
    axes.set_title(f"{name}: {KINDS.get(name, '')}", fontsize=10, color=RULE_COLOURS.get(name))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("cells", fontsize=8.5)
    if name == "rule 15":
        axes.set_ylabel("time, downwards", fontsize=8.5)


def _split(axes: Axes, measurements: Sequence[Measurement]) -> None:
    others = iter(OTHERS)
    for name in measurements[0]["rules"]:
        runs = [best_run(m, name) for m in measurements]
        colour, marker = (RULE_COLOURS[name], "o") if name in RULE_COLOURS else next(others)
        h, s = [run["H"] for run in runs], [max(run["S"], 0) / 1000 for run in runs]
        axes.plot(h, s, marker, color=colour, ms=7, alpha=0.75, label=name, mec="none")
    students = measurements[0]["requential"]
    for name in students:
        runs = [m["requential"][name] for m in measurements]
        axes.plot(
            [run["H"] for run in runs],
            [run["S"] / 1000 for run in runs],
            "o",
            mfc="none",
            color=RULE_COLOURS.get(name, COLOURS[0]),
            ms=7,
            label="requential" if name == "rule 54" else None,
        )
    axes.set_xlim(-0.05, 1.05)
    axes.set_xlabel("H, bits a cell: what stays noise")
    axes.set_ylabel("S, kbit: what was learnt")
    axes.set_title("Structure and entropy, a point a seed", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    _tidy(axes)


def _learning(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for name, colour in RULE_COLOURS.items():
        runs = [best_run(m, name) for m in measurements]
        curve = np.mean([run["curve"] for run in runs], axis=0)
        cells = np.linspace(0, runs[0]["cells"] / 1e6, len(curve))
        final = float(np.mean([run["H"] for run in runs]))
        axes.plot(cells, curve, color=colour, lw=1.6, label=name)
        axes.fill_between(cells, final, curve, color=colour, alpha=0.18, lw=0)
    axes.set_ylim(-0.02, 1.1)
    axes.set_xlabel("cells learnt from, millions")
    axes.set_ylabel("loss before the update, bits a cell")
    axes.set_title("S is the area above the final loss", fontsize=10)
    axes.legend(frameon=False, fontsize=8.5, loc="center right")
    _tidy(axes)


def _order(axes: Axes, measurements: Sequence[Measurement]) -> None:
    steps = measurements[0]["order_steps"]
    for part, label, colour in (
        ("reverse", "start from result", COLOURS[1]),
        ("forward", "result from start", COLOURS[2]),
    ):
        values = np.array([[run["H"] for run in m[part]] for m in measurements])
        axes.plot(steps, values.mean(axis=0), "-", color=colour, lw=1.6, label=label)
        for row in values:
            axes.plot(steps, row, "o", color=colour, ms=5, alpha=0.6, mec="none")
    axes.set_xticks(steps)
    axes.set_ylim(-0.03, 1.05)
    axes.set_xlabel("steps of rule 30 between the two")
    axes.set_ylabel("H, bits a cell")
    axes.set_title("The same pairs in both orders", fontsize=10)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    _tidy(axes)


def _domains(axes: Axes) -> None:
    bars = domain_bars()
    names = sorted(bars, key=lambda name: bars[name][0])
    values = [bars[name][0] for name in names]
    axes.barh(names, values, color=COLOURS[2], height=0.62)
    for i, name in enumerate(names):
        s, h = bars[name]
        axes.text(s * 1.08, i, f"{s / (s + h):.2%} of S + H", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 12)
    axes.tick_params(axis="y", labelsize=8.5)
    axes.set_xlabel("S, nats of a trillion tokens at 1e25 FLOP")
    axes.set_title("Natural data, from scaling laws", fontsize=10)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
