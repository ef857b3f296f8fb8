"""Figure of the study of Clip-Cov and KL-Cov."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropilot.errors import InputError
from entropilot.information import fit_entropy_law, fit_entropy_line
from entropilot.studies.arm_figures import COLOURS, curves, outcome_bars
from entropilot.studies.seed_numbers import smooth
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(measurements: Sequence[Measurement]) -> Figure:
    """Entropy and reward, the law with its rival, the covariance, and how the arms end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 6.8), layout="constrained")
    figure.subplots(2, 3)
    panels = figure.axes
    hard = [arm for arm in measurements[0]["arms"] if arm.endswith("hard")]
    for axes, name, title in (
        (panels[0], "entropy", "entropy of rollouts, nats (hard start)"),
        (panels[1], "reward", "reward of rollouts (hard start)"),
    ):
        lines = {
            arm.removesuffix(", hard"): [
                smooth(m["arms"][arm]["curves"][name]) for m in measurements
            ]
            for arm in hard
        }
        steps = 8 * np.arange(len(next(iter(lines.values()))[0])) + 4
        curves(axes, steps.tolist(), lines, title=title, xlabel="step (means of 8)")
    panels[0].legend(frameon=False, fontsize=8)
    _draw_law(panels[2], measurements)
    lines = {
        "covariance": [
            smooth(m["arms"]["GRPO"]["curves"]["covariance"])[:-1] for m in measurements
        ],
        "- change of entropy, x 5": [
            (-5 * np.diff(smooth(m["arms"]["GRPO"]["curves"]["entropy"]))).tolist()
            for m in measurements
        ],
    }
    steps = 8 * np.arange(len(lines["covariance"][0])) + 8
    curves(panels[3], steps.tolist(), lines, title="covariance and fall of entropy (GRPO)")
    panels[3].legend(frameon=False, fontsize=8)
    outcome_bars(panels[4], measurements, "entropy", "entropy at the end, nats")
    outcome_bars(panels[5], measurements, "pass@16", "pass@16")
    return figure


def _draw_law(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for m, colour in zip(measurements, COLOURS[1:], strict=False):
        run = m["arms"]["GRPO"]["curves"]
        entropy, reward = np.array(smooth(run["entropy"])), np.array(smooth(run["reward"]))
        axes.plot(entropy, reward, ".", color=colour, alpha=0.7)
        try:
            law, line = fit_entropy_law(entropy, reward), fit_entropy_line(entropy, reward)
        except InputError:
            continue
        x = np.linspace(entropy.min(), entropy.max(), 50)
        axes.plot(x, law.predict(x), color=colour, linewidth=1.4)
        axes.plot(x, line.predict(x), color=colour, linewidth=1, linestyle=":")
    axes.set_title("reward against entropy: law; dotted: line", fontsize=10)
    axes.set_xlabel("entropy, nats")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
