"""Entropy beside reward: the law R = b - a exp(H) and its rivals.

Source: arXiv 2505.22617 for R = b - a exp(H); the rivals are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.line_labels import colour
from entropilot.report.svg import WIDTH, Plot, element, number, picture, text, x_axis, y_axis
from entropilot.report.training_figures import key_of, nice, written

Floats = NDArray[np.float64]

STEPS: Final = 8  # averaged into one point of the law; fewer in a short run
LEAST_POINTS: Final = 6  # of the law, where there are steps enough
FIRST: Final = 0.3  # of the points, from which the rest is forecast


@dataclass(frozen=True)
class LawRow:
    """The law and its rivals for one arm.

    Args:
        label, seed: of the arm.
        law: fit of R = b - a exp(H).
        line: straight rival.
        ahead: forecast from the first points; None where the entropy hardly moved in them.
    """

    label: str
    seed: int
    law: Any
    line: Any
    ahead: Any


def law_rows(comparison: Comparison) -> list[LawRow]:
    """Fits of every arm with points enough."""
    from entropilot.information import fit_entropy_law, fit_entropy_line, forecast_entropy_law

    rows = []
    for arm in (arm for label in comparison.labels for arm in comparison.of(label)):
        points = law_points(arm)
        if points is None:
            continue
        try:
            fits = fit_entropy_law(*points), fit_entropy_line(*points)
        except InputError:
            continue
        try:
            ahead = forecast_entropy_law(*points, max(3, round(FIRST * len(points[0]))))
        except InputError:
            ahead = None
        rows.append(LawRow(arm.label, arm.seed, *fits, ahead))
    return rows


def law_picture(label: str, arms: Sequence[Arm], kind: str) -> Markup:
    """Reward against entropy of one recipe, with the law and a straight line through all seeds."""
    from entropilot.information import fit_entropy_law, fit_entropy_line

    found = [points for arm in arms if (points := law_points(arm)) is not None]
    if not found:
        return Markup("")
    entropy = np.concatenate([h for h, _ in found])
    reward = np.concatenate([r for _, r in found])
    try:
        law, line = fit_entropy_law(entropy, reward), fit_entropy_line(entropy, reward)
    except InputError:
        return Markup("")
    grid = np.linspace(entropy.min(), entropy.max(), 40)
    every = np.concatenate([reward, law.predict(grid), line.predict(grid)])
    plot = Plot(
        nice(float(entropy.min()), float(entropy.max())),
        nice(float(every.min()), float(every.max())),
        230.0,
    )
    parts = [
        y_axis(plot, "mean reward", written(plot.y_range)),
        x_axis(plot, "entropy, nats", written(plot.x_range), 4),
    ]
    # a stroke of no length with round caps is a dot: a tenth of the bytes of a circle
    places = plot.points(zip(entropy.tolist(), reward.tolist(), strict=True))
    dots = "".join(f"M{number(x)} {number(y)}h0" for x, y in places)
    parts.append(element("path", class_=f"points {kind}", d=dots))
    for fit, drawn in ((line, "straight"), (law, "law")):
        curve = zip(grid.tolist(), fit.predict(grid).tolist(), strict=True)
        parts.append(plot.line(list(curve), drawn))
    said = f"R² {law.r2:.3f}, straight line {line.r2:.3f}"
    parts.append(text(said, WIDTH - plot.right, 11.0, "note", "end"))
    title = f"Reward against entropy: {label}"
    return picture(f"law-{key_of(label)}", title, f"{said}.", plot.height, *parts)


def law_points(arm: Arm) -> tuple[Floats, Floats] | None:
    """Means of entropy and reward over stretches of steps; None where they are too few to fit."""
    entropy, reward = (dict(zip(*arm.curve(name), strict=True)) for name in ("entropy", "reward"))
    steps = sorted(set(entropy) & set(reward))
    size = max(1, min(STEPS, len(steps) // LEAST_POINTS))
    n = len(steps) // size
    if n < 4:
        return None
    h = np.array([entropy[step] for step in steps[: n * size]]).reshape(n, size).mean(1)
    r = np.array([reward[step] for step in steps[: n * size]]).reshape(n, size).mean(1)
    return h, r


def law_pictures(comparison: Comparison) -> list[tuple[str, Markup]]:
    """One a recipe, where it has points enough."""
    made = [
        (label, law_picture(label, comparison.of(label), colour(i)))
        for i, label in enumerate(comparison.labels)
    ]
    return [(label, drawn) for label, drawn in made if drawn]
