"""Entropy beside reward, and beside what first order predicts of it.

Source: arXiv 2505.22617 for R = b - a exp(H); the rivals are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.svg import WIDTH, Plot, element, number, picture, text, x_axis, y_axis
from entropilot.report.training_figures import (
    HEIGHT,
    Label,
    colour,
    end_labels,
    key_of,
    margin,
    nice,
    power_of_ten,
    steps_axis,
    thinned,
    written,
)
from entropilot.report.training_numbers import mean_curve

Floats = NDArray[np.float64]

STEPS: Final = 8  # averaged into one point of the law; fewer in a short run
LEAST_POINTS: Final = 6  # of the law, where there are steps enough
N_POINTS: Final = 20  # stretches of a run in which two changes are compared
FIRST: Final = 0.3  # of the points, from which the rest is forecast
PREDICTED: Final = "predicted_entropy_change"


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


@dataclass(frozen=True)
class Predicted:
    """The predicted change of entropy beside the measured one, of one recipe.

    Args:
        label: of the recipe.
        steps: [n].
        measured: [n] entropy less that of the first step, nats.
        predicted: [n] sum of the predicted changes so far, nats.
        correlation: of the two changes over stretches of steps; nan where one is constant.
        same_sign: share of those stretches in which both have one sign.
        scale: a round number by which the prediction is divided in the picture.
    """

    label: str
    steps: Floats
    measured: Floats
    predicted: Floats
    correlation: float
    same_sign: float
    scale: float


def predicted_changes(label: str, arms: Sequence[Arm]) -> Predicted | None:
    """Mean over seeds; None where the prediction was not logged."""
    entropy = {step: float(np.mean(values)) for step, values in mean_curve(arms, "entropy")}
    change = {step: float(np.mean(values)) for step, values in mean_curve(arms, PREDICTED)}
    steps = [step for step in sorted(entropy) if step in change]
    if len(steps) < 6:
        return None
    # the change predicted in a step is seen in the answers of the next one
    measured = np.array([entropy[step] for step in steps]) - entropy[steps[0]]
    told = np.concatenate([[0.0], np.cumsum([change[step] for step in steps[:-1]])])
    at = np.linspace(0, len(steps) - 1, min(N_POINTS, len(steps) // 2) + 1).round().astype(int)
    seen, said = np.diff(measured[at]), np.diff(told[at])
    varied = bool(np.ptp(seen) > 0 and np.ptp(said) > 0)
    largest = float(np.abs(measured).max())
    return Predicted(
        label=label,
        steps=np.array(steps, float),
        measured=measured,
        predicted=told,
        correlation=float(np.corrcoef(seen, said)[0, 1]) if varied else float("nan"),
        same_sign=float(np.mean(np.sign(seen) == np.sign(said))),
        scale=round_scale(float(np.abs(told).max()) / largest if largest > 0 else 1.0),
    )


def predicted_picture(found: Predicted, kind: str) -> Markup:
    """Measured and predicted change since the start, over steps."""
    scaled = found.predicted / found.scale
    both = np.concatenate([found.measured, scaled])
    name = "predicted" if found.scale == 1 else f"pred. {_scaled(found.scale)}"
    low, high = nice(float(both.min()), float(both.max()))
    ends = (0.0, float(found.steps[-1]))
    plot = Plot(ends, (low, high), HEIGHT - 20, 42.0, margin([name, "measured"]))
    parts = [y_axis(plot, "change of entropy, nats", written((low, high)), 4), steps_axis(plot)]
    kept = thinned(len(found.steps))
    steps = found.steps[kept].tolist()
    lines = ((scaled, "law", name), (found.measured, kind, "measured"))
    for values, drawn, _ in lines:
        parts.append(plot.line(list(zip(steps, values[kept].tolist(), strict=True)), drawn))
    parts.append(end_labels(plot, [Label(n, float(v[-1]), k) for v, k, n in lines]))
    said = f"Measured {found.measured[-1]:+.3f} nats, predicted {found.predicted[-1]:+.3f}."
    title = f"Predicted and measured change of entropy: {found.label}"
    return picture(f"predicted-{key_of(found.label)}", title, said, plot.height, *parts)


def predicted_sentence(found: Predicted) -> str:
    """How well the two agree."""
    size = "" if found.scale == 1 else f" The prediction is drawn {_scaled(found.scale)}."
    known = "" if math.isnan(found.correlation) else f"Correlation {found.correlation:+.2f}, "
    start = f"{known}the same sign in {found.same_sign:.0%} of the stretches."
    return f"{start[:1].upper()}{start[1:]}{size}"


def round_scale(ratio: float) -> float:
    """1 for numbers of one size, else the power of ten nearest to the ratio.

    Examples:
        >>> round_scale(2.0), round_scale(37.0), round_scale(0.01)
        (1.0, 100.0, 0.01)
    """
    if not (ratio > 0 and math.isfinite(ratio)) or 1 / 3 < ratio < 3:
        return 1.0
    return float(10.0 ** round(math.log10(ratio)))


def _scaled(scale: float) -> str:
    size = max(scale, 1 / scale)
    said = f"{size:g}" if size < 1e4 else power_of_ten(round(math.log10(size)))
    return f"÷ {said}" if scale > 1 else f"× {said}"


def law_pictures(comparison: Comparison) -> list[tuple[str, Markup]]:
    """One a recipe, where it has points enough."""
    made = [
        (label, law_picture(label, comparison.of(label), colour(i)))
        for i, label in enumerate(comparison.labels)
    ]
    return [(label, drawn) for label, drawn in made if drawn]
