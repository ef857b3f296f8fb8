"""Study of logistic descent with large steps: is it the perceptron, and is loss a guide?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.learning.logistic_descent import logistic_gd
from entropilot.learning.perceptrons import batch_perceptron, perceptron
from entropilot.learning.separation_data import radius, signed_samples
from entropilot.learning.separation_margin import (
    bound_batch,
    bound_normalized,
    bound_perceptron,
    margin,
)
from entropilot.learning.separation_result import SeparationResult
from entropilot.studies.digit_images import digits
from entropilot.studies.step_size_perceptron_figure import draw
from entropilot.studies.step_size_perceptron_judge import judge
from entropilot.studies.study import Measurement, Progress, Scale, Study

Floats = NDArray[np.float64]

GAMMAS: Final = (0.1, 1.0, 10.0, 100.0, 1e4)
LIMIT_GAMMAS: Final = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
PAIRS: Final = ((1, 8), (3, 8), (4, 9))
KEPT_SAMPLES: Final = 5  # of the class that is cut
CURVE_POINTS: Final = 60


@dataclass(frozen=True)
class Sizes:
    """What a scale runs."""

    counts: tuple[int, ...]  # n of the lower-bound set
    rows: int | None  # samples of a pair, None for all
    gaussians: int
    max_iter: int


SIZES: Final[dict[Scale, Sizes]] = {
    "smoke": Sizes((10, 50, 100, 1000), 60, 1, 5000),
    "quick": Sizes((10, 20, 50, 100, 200, 500, 1000, 2000), None, 3, 200_000),
    "full": Sizes((10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000), None, 20, 200_000),
}


def lower_bound_set(n: int) -> tuple[Floats, NDArray[np.int64]]:
    """One sample (0.5, -1) labelled 1 and n - 1 samples (-0.5, -1) labelled -1.

    Examples:
        >>> lower_bound_set(2)[0].tolist()
        [[0.5, -1.0], [-0.5, -1.0]]
    """
    x = np.full((n, 2), -1.0)
    x[:, 0] = -0.5
    x[0, 0] = 0.5
    return x, np.where(np.arange(n) == 0, 1, -1)


def gaussian_set(
    seed: int, n: int = 100, d: int = 10, gap: float = 0.3
) -> tuple[Floats, NDArray[np.int64]]:
    """Gaussian samples moved away from a random plane by a known gap on both sides.

    Examples:
        >>> gaussian_set(0, n=4, d=2)[0].shape
        (4, 2)
    """
    rng = np.random.default_rng([seed, 31])
    u = rng.normal(size=d)
    u /= np.linalg.norm(u)
    x = rng.normal(size=(n, d))
    y = np.where(x @ u > 0, 1, -1)
    return x + gap * y[:, None] * u, y


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Counts on the constructed set, on pairs of digits, and the distance to the limit."""
    s = SIZES[scale]
    progress(0.0, "the set of the lower bound")
    lower = [_lower_row(n) for n in s.counts]
    sets = []
    cases = [(pair, cut) for pair in PAIRS for cut in (False, True)]
    for i, (pair, cut) in enumerate(cases):
        progress(0.1 + 0.7 * i / len(cases), f"digits {pair[0]} and {pair[1]}")
        sets.append(_pair_runs(pair, cut, s, seed))
    progress(0.8, "Gaussian sets")
    return {
        "gammas": list(GAMMAS),
        "lower": lower,
        "sets": sets,
        "gaussian": [_limit(1000 * seed + i) for i in range(s.gaussians)],
        "limit_gammas": list(LIMIT_GAMMAS),
        "kept_samples": KEPT_SAMPLES,
    }


def _lower_row(n: int) -> dict[str, Any]:
    x, y = lower_bound_set(n)
    return {
        "n": n,
        "batch": batch_perceptron(x, y).iterations,
        "plain_100": logistic_gd(x, y, 100.0).iterations,
        "normalized": {
            str(g): logistic_gd(x, y, g, normalized=True).iterations for g in GAMMAS[:4]
        },
        "normalized_batch": batch_perceptron(x, y, normalized=True).iterations,
        "perceptron": perceptron(x, y).iterations,
    }


def _pair_runs(pair: tuple[int, int], cut: bool, s: Sizes, seed: int) -> dict[str, Any]:
    """All methods on two digits; the seed orders the samples, and so chooses which are cut."""
    found = digits(seed)
    rows = np.flatnonzero(np.isin(found.labels, pair))
    if cut:
        few = np.flatnonzero(found.labels[rows] == pair[0])[KEPT_SAMPLES:]
        rows = np.delete(rows, few)
    rows = rows[: s.rows]
    x, y = found.images[rows], np.where(found.labels[rows] == pair[0], 1, -1)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    gap = margin(x, y)
    r, n = radius(signed_samples(x, y)), len(x)
    bounds = {
        "batch": bound_batch(n, r, gap.lower),
        "perceptron": bound_perceptron(r, gap.lower),
        **{f"normalized {g}": bound_normalized(n, r, gap.lower, g) for g in GAMMAS},
    }
    runs = {
        "batch": batch_perceptron(x, y, record="trace", max_iter=s.max_iter),
        "normalized_batch": batch_perceptron(
            x, y, normalized=True, record="trace", max_iter=s.max_iter
        ),
        "perceptron": perceptron(x, y, record="trace"),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a run that was cut is reported by `separated`
        for g in GAMMAS:
            for name, normalized in (("plain", False), ("normalized", True)):
                runs[f"{name} {g}"] = logistic_gd(
                    x, y, g, normalized=normalized, record="trace", max_iter=s.max_iter
                )
    return {
        "pair": list(pair),
        "cut": cut,
        "n": n,
        "radius": r,
        "margin": [gap.lower, gap.upper],
        "bounds": bounds,
        "runs": {name: _row(run, not cut and pair == PAIRS[0]) for name, run in runs.items()},
    }


def _row(run: SeparationResult, with_curve: bool) -> dict[str, Any]:
    loss = run.trace["loss"]
    row: dict[str, Any] = {
        "iterations": run.iterations,
        "separated": run.separated,
        "peak_loss": float(loss.max()),
        "last_loss": float(loss[-2]) if len(loss) > 1 else float(loss[-1]),
        "margin": run.margin,
    }
    if with_curve:
        last = len(loss) - 1
        at = np.unique(np.round(np.geomspace(1, last + 1, CURVE_POINTS)).astype(int)) - 1
        row["curve"] = {
            "t": at.tolist(),
            "loss": [float(f"{v:.4g}") for v in loss[at]],
            "errors": [float(f"{v:.4g}") for v in run.trace["error_rate"][at]],
            "entropy": [float(f"{v:.4g}") for v in run.trace["mean_binary_entropy"][at]],
        }
    return row


def _limit(seed: int) -> dict[str, Any]:
    """Largest distance of theta / gamma from the batch perceptron in its first 20 iterates."""
    x, y = gaussian_set(seed)
    points = batch_perceptron(x, y, record="iterates").iterates
    assert points is not None
    points = points[:21]
    gaps = []
    for g in LIMIT_GAMMAS:
        run = logistic_gd(x, y, g, stop=None, max_iter=len(points) - 1, record="iterates")
        assert run.iterates is not None
        gaps.append(float(np.abs(run.iterates / g - points).max()))
    return {"iterates": len(points), "distance": gaps}


STUDY = Study(
    slug="lr-perceptron",
    title="Logistic descent with large steps is the perceptron",
    paper="2412.08424",
    claim=(
        "As its step size grows, gradient descent on the logistic loss follows the batch "
        "perceptron: it reaches zero errors soonest while its loss is highest. Normalised by the "
        "mean probability of error it needs at most R^2/mu^2 updates, not n times as many."
    ),
    scales={
        "smoke": "four sizes of the constructed set, 60 images a pair; seconds",
        "quick": "eight sizes, three pairs of digits with and without a cut class, three Gaussian "
        "sets; 10 seconds a seed",
        "full": "n to 10,000 and 20 Gaussian sets; a minute a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "The paper uses pairs of classes of CIFAR-10, FashionMNIST, EuroSAT and MNIST; here they "
        "are of scikit-learn's 8 x 8 digits, with a constant feature. A seed orders the images "
        "and so chooses the five that a cut class keeps; counts of whole pairs differ between "
        "seeds by rounding alone. The constructed set has no randomness."
    ),
)
