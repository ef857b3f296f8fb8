"""How wide a gap two classes have, and the bounds on updates that follow from it.

mu = max over unit vectors u of min_i z_i . u is the norm of the point of the convex hull of the z_i
that lies nearest to zero. It is found among a growing set of samples by non-negative least squares
(minimise |Z' c|^2 + (1 - sum c)^2 over c >= 0) and certified from both sides: any hull point v has
min_i z_i . v / |v| <= mu <= |v|. Bounds: Theorems 3.3, 5.3 and 6.1 of arXiv 2412.08424.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.learning.separation_data import radius, signed_samples, why_inseparable

Floats = NDArray[np.float64]


class Margin(NamedTuple):
    """Certified bounds of mu, and the direction that reaches the lower one."""

    lower: float  # not positive: the data are not separated by this direction
    upper: float
    direction: Floats  # [d], of norm 1 (zeros when the hull contains zero)


def margin(X: ArrayLike, y: ArrayLike, tol: float = 1e-8, *, bias: bool = False) -> Margin:
    """The margin of the hard-margin separator through zero (with ``bias``: in d + 1 features).

    Args:
        X: samples [n, d].
        y: labels [n].
        tol: the bounds differ by at most tol times R, the largest norm of a sample.
        bias: append a constant feature.

    Returns:
        lower <= mu <= upper. On data that nothing separates lower is not positive.

    Raises:
        InputError: bad samples or labels.

    Examples:
        >>> found = margin([[1, 0], [2, 3], [-1, 5]], [1, 1, -1])
        >>> round(found.lower, 6) == round(found.upper, 6)
        True
    """
    from scipy.optimize import nnls

    z = signed_samples(X, y, bias=bias).astype(np.float64)
    scale = radius(z)
    d = z.shape[1]
    if not scale:
        return Margin(0.0, 0.0, np.zeros(d))
    z = z / scale
    v = z.mean(axis=0)
    working = np.argsort(z @ v, kind="stable")[: d + 1]
    best, upper = (-math.inf, np.zeros(d)), math.inf
    for _ in range(200):
        rows = z[working]
        weights, _ = nnls(np.vstack([rows.T, np.ones(len(rows))]), np.append(np.zeros(d), 1.0))
        v = rows.T @ (weights / weights.sum())
        norm = float(np.linalg.norm(v))
        upper = min(upper, norm)  # every v is a point of the hull
        if norm <= tol:
            break
        margins = z @ (v / norm)
        if margins.min() > best[0]:
            best = float(margins.min()), v / norm
        if upper - best[0] <= tol:
            break
        worst = np.argsort(margins, kind="stable")[: d + 1]
        grown = np.union1d(working[weights > 0], worst)
        if np.array_equal(grown, np.sort(working)):
            break
        working = grown
    if not math.isfinite(best[0]):
        return Margin(min(0.0, -upper * scale), upper * scale, np.zeros(d))
    return Margin(best[0] * scale, upper * scale, best[1])


def is_separable(X: ArrayLike, y: ArrayLike, *, bias: bool = False) -> bool:
    """Does some theta have z_i . theta >= 1 for all i? Decided by a linear programme.

    Args:
        X: samples [n, d].
        y: labels [n].
        bias: append a constant feature.

    Raises:
        InputError: bad samples or labels.

    Examples:
        >>> is_separable([[0], [1]], [0, 1]), is_separable([[0], [1]], [0, 1], bias=True)
        (False, True)
    """
    from scipy.optimize import linprog

    z = signed_samples(X, y, bias=bias).astype(np.float64)
    scale = radius(z)
    if not scale or why_inseparable(z):
        return False
    found = linprog(
        np.zeros(z.shape[1]),
        A_ub=-z / scale,
        b_ub=-np.ones(len(z)),
        bounds=(None, None),
        method="highs",
    )
    return bool(found.status == 0)


def bound_batch(n: int, R: float, mu: float) -> float:
    """Updates of the batch perceptron at most: n R^2 / mu^2.

    Examples:
        >>> bound_batch(10, 2.0, 1.0)
        40.0
    """
    return n * R**2 / mu**2


def bound_perceptron(R: float, mu: float) -> float:
    """Updates of the perceptron, and of the normalised batch one, at most: R^2 / mu^2.

    Examples:
        >>> bound_perceptron(2.0, 1.0)
        4.0
    """
    return R**2 / mu**2


def bound_normalized(n: int, R: float, mu: float, gamma: float) -> float:
    """Updates of Normalized LR+GD at most: R^2/mu^2 + 2 log(2n - 1) / (gamma mu^2).

    Examples:
        >>> bound_normalized(1, 2.0, 1.0, 0.1)
        4.0
    """
    return R**2 / mu**2 + 2 * math.log(2 * n - 1) / (gamma * mu**2)


def iteration_bound(
    X: ArrayLike,
    y: ArrayLike,
    method: str,
    step_size: float | None = None,
    *,
    bias: bool = False,
) -> float:
    """Updates that a method needs at most on these data, from the certified lower margin.

    Args:
        X: samples [n, d].
        y: labels [n].
        method: "batch_perceptron", "normalized_batch_perceptron", "perceptron" or
            "normalized_logistic_gd" (which needs the step size). Plain logistic descent has no
            bound at a finite step size.
        step_size: gamma.
        bias: append a constant feature.

    Raises:
        ConfigurationError: an unknown method, or no step size where one is needed.
        InputError: the data are not separable.

    Examples:
        >>> round(iteration_bound([[1, 0], [-1, 1]], [1, -1], "perceptron"), 6)
        2.0
    """
    known = ("batch_perceptron", "normalized_batch_perceptron", "perceptron")
    if method == "logistic_gd":
        raise ConfigurationError(
            "plain logistic descent has no bound at a finite step size; 'batch_perceptron' is its "
            "limit, 'normalized_logistic_gd' has one for every step size"
        )
    if method not in (*known, "normalized_logistic_gd"):
        raise ConfigurationError(unknown_name("method", method, (*known, "normalized_logistic_gd")))
    if method == "normalized_logistic_gd" and (step_size is None or not step_size > 0):
        raise ConfigurationError(f"step_size is {step_size}; this bound needs a positive one")
    mu = margin(X, y, bias=bias).lower
    if not mu > 0:
        raise InputError("the data are not linearly separable, so that no number of updates ends")
    z = signed_samples(X, y, bias=bias)
    if method == "batch_perceptron":
        return bound_batch(len(z), radius(z), mu)
    if method == "normalized_logistic_gd":
        return bound_normalized(len(z), radius(z), mu, float(step_size or 0))
    return bound_perceptron(radius(z), mu)
