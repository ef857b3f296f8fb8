"""Figure of the study of conservative exploration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropilot.studies.arm_figures import COLOURS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "stepmix": ("StepMix", COLOURS[2]),
    "epsmix": ("EpsMix", COLOURS[3]),
    "bpi-ucbvi": ("BPI-UCBVI", COLOURS[1]),
    "baseline": ("baseline", COLOURS[0]),
}


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Regret, return, the baseline's part, entropy, the constraint's tightness, and theory."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    panels = figure.subplots(2, 3)
    curves = measurements[0]["curves"]
    row = measurements[0]["practical"][0]
    _lines(panels[0, 0], curves["practical"], "regret", "cumulative regret")
    panels[0, 0].set_title("Cost (bonus 0.02)", fontsize=10)
    _lines(panels[0, 1], curves["practical"], "value", "expected return of the policy")
    panels[0, 1].axhline(row["gamma"], color="black", lw=1, ls=":", label="γ")
    panels[0, 1].axhline(row["optimum"], color="black", lw=1, ls="--", label="best policy")
    panels[0, 1].set_title("Return (means of 1/60 of the run)", fontsize=10)
    _lines(panels[0, 2], curves["practical"], "entropy", "entropy of the policy, nats an episode")
    panels[0, 2].set_title("Entropy leaves as the baseline does", fontsize=10)
    for key, style in (("practical", "-"), ("theory", "--")):
        curve = curves[key]["stepmix"]
        x = np.array(curve["episode"]) / curve["episode"][-1]
        n = measurements[0]["episodes"][key]
        panels[1, 0].plot(
            x, curve["baseline_steps"], style, color=COLOURS[2],
            label=f"{'bonus 0.02' if key == 'practical' else 'theory'}, {n:,} episodes",
        )  # fmt: skip
    panels[1, 0].set(xlabel="share of the run", ylabel="steps by the baseline, h0 - 1 + ρ")
    panels[1, 0].set_title("StepMix hands over step by step", fontsize=10)
    _draw_tightness(panels[1, 1], measurements)
    _lines(panels[1, 2], curves["theory"], "regret", "cumulative regret")
    panels[1, 2].set_title("With the theory's bonus", fontsize=10)
    for axes in panels.flat:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _lines(axes: Axes, arms: dict[str, dict[str, Any]], key: str, label: str) -> None:
    for arm, (name, colour) in LABELS.items():
        curve = arms[arm]
        axes.plot(curve["episode"], curve[key], color=colour, lw=1.5, label=name)
    axes.set(xlabel="episode", ylabel=label)
    last = next(iter(arms.values()))["episode"][-1]
    ticks = np.linspace(0, last, 5)
    unit, word = (1e6, "M") if last >= 2_000_000 else (1e3, "k")
    axes.set_xticks(ticks, [f"{t / unit:.3g}{word}" if t else "0" for t in ticks])


def _draw_tightness(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for i, m in enumerate(measurements):
        rows = [r for r in m["sweep"] if r["first_mixture"]]
        axes.plot(
            [r["kappa"] for r in rows], [r["first_mixture"] for r in rows], "o-",
            color=COLOURS[2], ms=4, lw=1, alpha=0.7, label="seeds" if i == 0 else None,
        )  # fmt: skip
    rows = [r for r in measurements[0]["sweep"] if r["first_mixture"]]
    if rows:
        x = np.array([r["kappa"] for r in rows])
        for power, style in ((1, ":"), (2, "--")):
            axes.plot(
                x, rows[0]["first_mixture"] * (x[0] / x) ** power, style, color="black", lw=1,
                label=f"power {power} of 1/κ",
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="room κ = baseline's value - γ")
    axes.minorticks_off()
    axes.set_xticks([0.05, 0.1, 0.2, 0.4], ["0.05", "0.1", "0.2", "0.4"])
    axes.set_ylabel("first mixed episode")
    axes.set_title("A tight constraint takes patience", fontsize=10)
