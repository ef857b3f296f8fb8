"""Pictures of a comparison of recipes. Colours are classes c0 .. c6, one a recipe throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from markupsafe import Markup

from entropilot.information import fit_entropy_law, fit_entropy_line
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.svg import (
    WIDTH,
    Plot,
    dot,
    element,
    picture,
    text,
    ticks,
    writer,
    x_axis,
    y_axis,
)
from entropilot.report.training_numbers import Floats, intervals, ks, solved

N_COLOURS: Final = 7
MOST_POINTS: Final = 80  # of a curve; longer ones are averaged

Band = tuple[list[float], list[float], list[float], list[float]]  # x, mean, low, high


def colour(index: int) -> str:
    """Class of the recipe at that place."""
    return f"c{index % N_COLOURS}"


def over_seeds(arms: Sequence[Arm], name: str) -> Band | None:
    """Mean and range over seeds of a metric, thinned to what a picture can show."""
    curves = [arm.curve(name) for arm in arms]
    curves = [c for c in curves if c[0]]
    if not curves:
        return None
    n = min(len(steps) for steps, _ in curves)
    steps = np.array(curves[0][0][:n], float)
    values = np.array([v[:n] for _, v in curves])
    size = math.ceil(n / MOST_POINTS)
    starts = range(0, n, size)
    steps = np.array([steps[i : i + size].mean() for i in starts])
    values = np.array([[row[i : i + size].mean() for i in starts] for row in values])
    mean, low, high = values.mean(0), values.min(0), values.max(0)
    return steps.tolist(), mean.tolist(), low.tolist(), high.tolist()


def curve_picture(comparison: Comparison, name: str, title: str, unit: str) -> Markup:
    """A metric against steps: one line a recipe, a band over seeds, labels at the ends."""
    bands = [
        (i, label, band)
        for i, label in enumerate(comparison.labels)
        if (band := over_seeds(comparison.of(label), name)) is not None
    ]
    if not bands:
        return Markup("")
    lows = [v for _, _, band in bands for v in band[2]]
    highs = [v for _, _, band in bands for v in band[3]]
    low, high = _nice(min(lows), max(highs))
    last = max(band[0][-1] for _, _, band in bands)
    plot = Plot((0.0, max(last, 1.0)), (low, high), height=250.0)
    parts = [y_axis(plot, unit, writer((low, high))), x_axis(plot, "step", writer((0, 100)))]
    for i, _, (x, _, lows_, highs_) in bands:
        parts.append(plot.band(list(zip(x, lows_, highs_, strict=True)), f"seeds {colour(i)}"))
    for i, _, (x, mean, _, _) in bands:
        parts.append(plot.line(list(zip(x, mean, strict=True)), colour(i)))
        if len(x) == 1:
            parts.append(dot(plot.x(x[0]), plot.y(mean[0]), colour(i)))
    said = "; ".join(f"{label}: {band[1][0]:.3g} to {band[1][-1]:.3g}" for _, label, band in bands)
    return picture(name.replace("/", "-").replace("@", ""), title, said, plot.height, *parts)


def pass_picture(comparison: Comparison) -> Markup:
    """pass@k after training by recipe, and before it, with 95 % intervals over problems."""
    n = comparison.arms[0].end.n
    points = ks(n)
    first = comparison.of(comparison.labels[0])
    curves = [("before", "before", intervals(solved(first, "start", points)))]
    curves += [
        (label, colour(i), intervals(solved(comparison.of(label), "end", points)))
        for i, label in enumerate(comparison.labels)
    ]
    lowest = min(interval.low for _, _, found in curves for interval in found)
    plot = Plot((0.0, math.log2(max(n, 2))), (math.floor(lowest * 10) / 10, 1.0), height=250.0)
    at = [math.log2(k) for k in points]
    parts = [
        y_axis(plot, "problems solved", lambda v: f"{v:.0%}"),
        x_axis(plot, "k answers", lambda v: f"{2**v:.0f}", at=at),
    ]
    for _, kind, found in curves:
        edges = [(x, i.low, i.high) for x, i in zip(at, found, strict=True)]
        parts.append(plot.band(edges, f"seeds {kind}"))
    for _, kind, found in curves:
        parts.append(plot.line([(x, i.value) for x, i in zip(at, found, strict=True)], kind))
    said = "; ".join(
        f"{name}: {found[0].value:.3f} at k = 1, {found[-1].value:.3f} at k = {n}"
        for name, _, found in curves
    )
    return picture("pass", "Problems solved within k answers", said, plot.height, *parts)


def law_picture(comparison: Comparison, window: int) -> Markup:
    """Reward against entropy of the baseline, with R = b - a exp(H) and a straight line."""
    runs = [law_points(arm, window) for arm in comparison.of(comparison.labels[0])]
    found = [pair for pair in runs if pair is not None]
    if not found:
        return Markup("")
    entropy = np.concatenate([h for h, _ in found])
    reward = np.concatenate([r for _, r in found])
    plot = Plot(_nice(*_ends(entropy)), _nice(*_ends(reward)), height=250.0)
    parts = [
        y_axis(plot, "reward", writer(plot.y_range)),
        x_axis(plot, "entropy, nats", writer(plot.x_range)),
    ]
    law, line = fit_entropy_law(entropy, reward), fit_entropy_line(entropy, reward)
    grid = np.linspace(*_ends(entropy), 40)
    for fit, kind in ((line, "chance"), (law, "signal")):
        y = np.asarray(fit.predict(grid), float)
        parts.append(plot.line(list(zip(grid.tolist(), y.tolist(), strict=True)), kind))
    for h, r in zip(entropy.tolist(), reward.tolist(), strict=True):
        parts.append(element("circle", class_="dot c0", cx=plot.x(h), cy=plot.y(r), r=2.6))
    said = f"R^2 of the law {law.r2:.3f}, of a straight line {line.r2:.3f}"
    parts.append(text(said, WIDTH - plot.right, plot.top + 12, "note halo", "end"))
    return picture("law", "Reward against entropy", said, plot.height, *parts)


def law_points(arm: Arm, window: int) -> tuple[Floats, Floats] | None:
    """Window means of entropy and reward; None where they are too few to fit."""
    _, entropy = arm.curve("entropy")
    _, reward = arm.curve("reward")
    n = min(len(entropy), len(reward)) // window
    if n < 3:
        return None
    h = np.array(entropy[: n * window]).reshape(n, window).mean(1)
    r = np.array(reward[: n * window]).reshape(n, window).mean(1)
    return None if len(np.unique(h)) < 3 else (h, r)


def _ends(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _nice(low: float, high: float) -> tuple[float, float]:
    """Ends on round numbers around the values; from 0 where it is near."""
    if 0 < low < 0.4 * high:
        low = 0.0
    if not high > low:
        low, high = low - 0.5, high + 0.5
    step = _step(low, high)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def _step(low: float, high: float) -> float:
    found = ticks(low, high, 4)
    return found[1] - found[0] if len(found) > 1 else high - low
