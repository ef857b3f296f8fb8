"""The change of entropy in a step: measured on the step's own answers, and to first order.

A point is a step of a seed. The prediction is the gradient of the entropy times the step that the
optimizer took; the theory of one distribution and one step of plain gradient descent (arXiv
2602.03392) is held against the same measurement, since it is what can be known before the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval
from entropilot.information import cluster_bootstrap_of
from entropilot.policy.training.results import Arm
from entropilot.report.svg import Plot, element, number, picture, text, x_axis, y_axis
from entropilot.report.training_figures import key_of, nice, written

Floats = NDArray[np.float64]

MEASURED: Final = "entropy_change"
PREDICTED: Final = "entropy_change/first_order"
BY_TOKEN: Final = "predicted_entropy_change"
BLOCK: Final = 5  # steps in a row that a resample keeps together: neighbours are alike
LEAST: Final = 12  # steps of all seeds, below which nothing is said
N_RESAMPLES: Final = 2000
MOST_POINTS: Final = 240  # of a picture; of more, some are drawn
SIDE: Final = 270.0  # height of a picture, so that its axes have one length


@dataclass(frozen=True)
class Changes:
    """Predicted and measured changes of one recipe.

    Args:
        label: of the recipe.
        predicted: [n] first order, nats a step.
        measured: [n] nats a step.
        correlation: of the two, with its interval over blocks of steps.
        slope: of the measured change by the predicted one, least squares.
        by_token: correlation of the measured change with the theory of one distribution; None where
            that was not logged.
    """

    label: str
    predicted: Floats
    measured: Floats
    correlation: Interval
    slope: float
    by_token: Interval | None

    @property
    def same_sign(self) -> float:
        """Share of steps in which both have one sign."""
        return float(np.mean(np.sign(self.predicted) == np.sign(self.measured)))


def entropy_changes(label: str, arms: Sequence[Arm]) -> Changes | None:
    """All steps of all seeds; None where they were not logged, or are few."""
    rows = [
        (arm.seed, row)
        for arm in arms
        for row in arm.rows
        if row.get(MEASURED) is not None and row.get(PREDICTED) is not None
    ]
    if len(rows) < LEAST:
        return None
    predicted, measured = (
        np.array([row[name] for _, row in rows], float) for name in (PREDICTED, MEASURED)
    )
    blocks = [(seed, int(row["step"]) // BLOCK) for seed, row in rows]
    order = {block: i for i, block in enumerate(dict.fromkeys(blocks))}
    groups = np.array([order[block] for block in blocks])
    token = np.array([row.get(BY_TOKEN, math.nan) for _, row in rows], float)
    varied = float(np.var(predicted))
    slope = float(np.cov(predicted, measured, bias=True)[0, 1] / varied) if varied else math.nan
    return Changes(
        label,
        predicted,
        measured,
        correlation(predicted, measured, groups),
        slope,
        correlation(token, measured, groups) if np.isfinite(token).all() else None,
    )


def correlation(x: Floats, y: Floats, groups: NDArray[np.int64]) -> Interval:
    """Pearson's correlation with its interval, whole groups drawn with replacement.

    Args:
        x: [n].
        y: [n].
        groups: [n] from 0 on.

    Examples:
        >>> x = np.arange(8.0)
        >>> found = correlation(x, 2 * x, np.arange(8))
        >>> round(found.value, 6), round(found.low, 6)
        (1.0, 1.0)
    """
    x, y = x - x.mean(), y - y.mean()
    columns = np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y])
    table = np.stack([np.bincount(groups, column) for column in columns], axis=1)

    def statistic(weights: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = (weights @ table).T
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt((n * sxx - sx**2) * (n * syy - sy**2))
            return np.asarray((n * sxy - sx * sy) / spread)

    found = cluster_bootstrap_of(
        statistic, len(table), rng=np.random.default_rng(0), n_resamples=N_RESAMPLES
    )
    return Interval(float(found.value), float(found.low), float(found.high))


def change_picture(found: Changes, kind: str) -> Markup:
    """Measured against predicted change, a point a step, with the line of equal values."""
    unit = 1000.0  # thousandths of a nat are numbers that one can read
    x, y = unit * found.predicted, unit * found.measured
    x_ends, y_ends = (nice(float(v.min()), float(v.max())) for v in (x, y))
    plot = Plot(x_ends, y_ends, SIDE)
    parts = [
        y_axis(plot, "measured, 10⁻³ nats", written(y_ends)),
        x_axis(plot, "predicted, 10⁻³ nats", written(x_ends), 5),
    ]
    if y_ends[0] < 0 < y_ends[1]:
        zero = plot.points([(x_ends[0], 0.0), (x_ends[1], 0.0)])
        parts.append(_line(zero, "grid base"))
    if x_ends[0] < 0 < x_ends[1]:
        parts.append(_line(plot.points([(0.0, y_ends[0]), (0.0, y_ends[1])]), "grid base"))
    low, high = max(x_ends[0], y_ends[0]), min(x_ends[1], y_ends[1])
    if low < high:
        equal = plot.points([(low, low), (high, high)])
        parts.append(_line(equal, "cut"))
        right, top = equal[1]
        parts.append(text("equal", right - 9, top + 7, "note halo", "end"))
    kept = np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int)
    places = plot.points(zip(x[kept].tolist(), y[kept].tolist(), strict=True))
    dots = "".join(f"M{number(a)} {number(b)}h0" for a, b in places)
    parts.append(element("path", class_=f"points fine {kind}", d=dots))
    title = f"Measured and predicted change of entropy: {found.label}"
    said = change_sentence(found)
    return picture(f"change-{key_of(found.label)}", title, said, plot.height, *parts)


def change_sentence(found: Changes) -> str:
    """How well the two agree, and how well the theory of one distribution does."""
    if math.isnan(found.correlation.value):
        return "One of the two never changed."
    said = (
        f"Correlation {_shown(found.correlation)} over {len(found.measured)} steps; the measured "
        f"change is {found.slope:.2f} of the predicted one."
    )
    if found.by_token is not None and not math.isnan(found.by_token.value):
        said += f" Theory of one distribution: {_shown(found.by_token)}."
    return said


def _shown(found: Interval) -> str:
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _line(ends: Sequence[tuple[float, float]], kind: str) -> Markup:
    (x1, y1), (x2, y2) = ends
    return element("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)
