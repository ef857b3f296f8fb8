"""Figure of the study of process free energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.information import path_free_energy
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def draw(measurements: Sequence[Measurement]) -> Figure:
    """The ladder; means; fluctuation and response; entropy production from counts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    (first, second), (third, fourth) = figure.subplots(2, 2)
    _ladder(first, measurements)
    forces = np.linspace(-1.3, 1.3, 131)
    gate = np.array([[0.9, 0.1], [0.2, 0.8]])
    exact = [path_free_energy(gate, [0.0, 1.0], x) for x in forces]
    second.plot(forces, [e.mean for e in exact], color="black", lw=1.2, label="psi', exact")
    third.plot(forces, [e.var for e in exact], color="black", lw=1.2, label="psi'', exact")
    rows = [f for m in measurements for f in m["forces"]]
    at = [f["lam"] for f in rows]
    second.plot(at, [f["mean"] for f in rows], "o", color=BLUE, ms=7, mfc="none", label="simulated")
    third.plot(at, [f["var_rate"] for f in rows], "o", color=BLUE, ms=7, mfc="none",
               label="growth of the variance")  # fmt: skip
    third.plot(at, [f["response"] for f in rows], "x", color=ORANGE, ms=7,
               label="response (step 0.1)")  # fmt: skip
    third.axhline(float(np.interp(0, forces, [e.var for e in exact])), color=GREY, lw=1, ls=":",
                  label="fluctuations at rest")  # fmt: skip
    second.set_title("A gate under a driving force: mean", fontsize=11)
    second.set_ylabel("share of time open")
    third.set_title("Fluctuation and response, near and far from rest", fontsize=11)
    third.set_ylabel("per step")
    for axes in (second, third):
        axes.set_xlabel("driving force")
        axes.legend(frameon=False, fontsize=9)
    third.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(0.0, 0.55))
    _ring(fourth, measurements)
    for axes in (first, second, third, fourth):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure


def _ladder(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for k, m in enumerate(measurements):
        entropy = m["ladder"]["entropy"]
        axes.plot(range(len(entropy)), entropy, "o-", color=BLUE, ms=4, lw=1.2, alpha=0.7,
                  label="maximum entropy, one line a seed" if k == 0 else None)  # fmt: skip
        axes.axhline(m["ladder"]["truth"], color=GREY, lw=1, ls=":",
                     label="entropy of the truth" if k == 0 else None)  # fmt: skip
    names = ["nothing", *measurements[0]["ladder"]["names"]]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8.5)
    axes.set_ylabel("nats, relative to the prior")
    axes.set_title("An ion channel: information added step by step", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _ring(axes: Axes, measurements: Sequence[Measurement]) -> None:
    exact = measurements[0]["exact_ring"]
    for name, colour, shift, label in (
        ("plug_in", ORANGE, 0.94, "from shares"),
        ("corrected", BLUE, 1.06, "bias taken off"),
    ):
        n, mean, error, spread = [], [], [], []
        for k, row in enumerate(measurements[0]["ring"]):
            values = np.concatenate([m["ring"][k][name] for m in measurements]) / exact - 1
            n.append(row["n"] * shift)
            mean.append(100 * values.mean())
            spread.append(100 * values.std(ddof=1))
            error.append(100 * values.std(ddof=1) / np.sqrt(len(values)))
        axes.errorbar(n, mean, spread, fmt="none", ecolor=colour, alpha=0.35, lw=1)
        axes.errorbar(n, mean, error, fmt="o", color=colour, ms=5, capsize=3, lw=2, label=label)
    axes.axhline(0, color="black", lw=1, ls="--")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks([-10, -1, 0, 1, 10], ["-10", "-1", "0", "1", "10"])
    axes.set_xlabel("counted transitions")
    axes.set_ylabel("error of the entropy production, %")
    axes.set_title("A driven ring: mean (thick), spread of single paths (thin)", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
