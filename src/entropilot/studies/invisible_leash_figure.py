"""Figure of the invisible-leash study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropilot.studies.invisible_leash_judge import KS
from entropilot.studies.study import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by readers with any colour vision.
SERIES = {
    "base": ("base", "#000000", "-", "o"),
    "tilt": ("exact tilt", "#009E73", "--", "^"),
    "table": ("table", "#0072B2", "-", "s"),
    "shared 20": ("shared, 20", "#E69F00", ":", "v"),
    "shared 100": ("shared, 100", "#D55E00", "-", "D"),
    "shared 300": ("shared, 300", "#CC79A7", ":", "P"),
}


LEAST_UNSOLVED = 1e-4  # a tenth of a problem of 1000; less is not drawn


def draw(measurements: Sequence[Measurement]) -> Figure:
    """pass@k of simulated policies and of the transformer, support, and entropy along the tilt.

    Args:
        measurements: of all seeds.

    Returns:
        A figure with four panels; three where no seed has trained the transformer.

    Examples:
        >>> callable(draw)
        True
    """
    from matplotlib.figure import Figure

    trained = [m["transformer"] for m in measurements if "transformer" in m]
    if not trained:
        figure = Figure(figsize=(12.5, 4.3), layout="constrained")
        left, middle, right = figure.subplots(1, 3)
    else:
        figure = Figure(figsize=(10.5, 8.4), layout="constrained")
        ((left, middle), (below, right)) = figure.subplots(2, 2)
        _draw_transformer(below, trained)
    _draw_curves(left, measurements)
    _draw_support(middle, measurements)
    _draw_entropy(right, measurements)
    return figure


def _draw_curves(axes: Axes, measurements: Sequence[Measurement]) -> None:
    for name, (label, colour, style, marker) in SERIES.items():
        values = np.array([m["policies"][name]["pass_at_k"] for m in measurements])
        axes.plot(KS, values.mean(axis=0), style, marker=marker, ms=5, color=colour, label=label)
        if len(values) > 1:
            axes.fill_between(KS, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(KS, [str(k) for k in KS])
    axes.set_xlabel("answers k")
    axes.set_ylabel("pass@k")
    axes.set_title("Simulated: sharing makes the base overtake", fontsize=11)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    _tidy(axes)


def _draw_support(axes: Axes, measurements: Sequence[Measurement]) -> None:
    names = ["base", *[n for n in SERIES if n != "base"]]
    expanded, shrunk, null = [], [], 0.0
    for name in names:
        rows = [
            m["null"] if name == "base" else m["policies"][name]["support"] for m in measurements
        ]
        expanded.append(float(np.mean([row["E"] for row in rows])))
        shrunk.append(float(np.mean([row["S"] for row in rows])))
    null = float(np.mean([m["null"]["predicted"] for m in measurements]))
    place = np.arange(len(names))
    axes.barh(place - 0.2, expanded, 0.38, color="#56B4E9", label="gained (E)")
    axes.barh(place + 0.2, shrunk, 0.38, color="#D55E00", hatch="//", ec="white", label="lost (S)")
    axes.axvline(null, color="#000000", ls=":", lw=1.2, label="each, by chance")
    labels = [SERIES[n][0] if n != "base" else "base again" for n in names]
    axes.set_yticks(place, labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"expected problems of {measurements[0]['n_problems']} at k = 16")
    axes.set_title("Simulated: support against the base", fontsize=11)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    _tidy(axes)


def _draw_transformer(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """What is left unsolved, on a logarithmic axis: both policies solve nearly everything."""
    for i, row in enumerate(rows):
        for name, colour, style, marker, label in (
            ("pass_base", "#000000", "-", "o", "base"),
            ("pass_rl", "#D55E00", "--", "D", "after RL"),
        ):
            left = 1 - np.array(row[name])
            axes.plot(
                KS, np.maximum(left, LEAST_UNSOLVED / 10), style, marker=marker, ms=4.5,
                color=colour, alpha=0.8, label=label if i == 0 else None,
            )  # fmt: skip
    crossed = sum(row["crossing_k"] is not None for row in rows)
    axes.set_xscale("log", base=2)
    axes.set_xticks(KS, [str(k) for k in KS])
    axes.set_yscale("log")
    axes.set_ylim(LEAST_UNSOLVED, 1)
    axes.set_xlabel("answers k")
    axes.set_ylabel("share of problems unsolved, 1 - pass@k")
    axes.set_title(
        f"Transformer: the base overtakes in {crossed} of {len(rows)} seeds", fontsize=11
    )
    axes.legend(frameon=False, fontsize=8.5, loc="upper right", title="a line a seed")
    _tidy(axes)


def _draw_entropy(axes: Axes, measurements: Sequence[Measurement]) -> None:
    from entropilot.information import tilt

    beta = np.linspace(0, 10, 201)
    cases = (
        ((0.96, 0.02, 0.02), (0, 1, 1), "#D55E00", "-", "right answers unlikely"),
        ((0.2, 0.6, 0.2), (0, 1, 0), "#0072B2", "--", "right answer likely"),
    )
    for q, reward, colour, style, label in cases:
        pi = tilt(np.array(q), np.array(reward), beta)
        entropy = -(pi * np.log(np.where(pi > 0, pi, 1))).sum(axis=-1)
        axes.plot(beta, entropy, style, color=colour, label=label)
    example = measurements[0]["counter_example"]
    shown = [(b, h) for b, h in zip(example["beta"], example["entropy"], strict=True) if b <= 10]
    axes.plot(*zip(*shown, strict=True), "o", color="#D55E00", mfc="white")
    axes.set_xlabel("tilt beta")
    axes.set_ylabel("entropy of the answers, nats")
    axes.set_title("In theory: more reward can mean more entropy", fontsize=11)
    axes.set_ylim(0, 1.4)
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
