"""The entropy-performance law: how much reward is left to buy with the entropy that is left.

Source: The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models, arXiv
2505.22617, Section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EntropyLaw:
    """A fit of R = -a exp(H) + b.

    Args:
        a: reward paid for a unit of exp(H).
        b: reward at exp(H) = 0.
        ceiling: b - a, the reward when the entropy is spent (H = 0); an extrapolation.
        rmse: root of the (weighted) mean squared residual.
        r2: share of the (weighted) variance of R that is explained; nan where R is constant.
    """

    a: float
    b: float
    ceiling: float
    rmse: float
    r2: float

    def predict(self, H: ArrayLike) -> Floats:
        """Reward [...] at entropies H [...], nats.

        Examples:
            >>> float(EntropyLaw(0.2, 0.6, 0.4, 0.0, 1.0).predict(0.0).round(6))
            0.4
        """
        return np.asarray(self.b - self.a * np.exp(np.asarray(H, dtype=np.float64)))


@dataclass(frozen=True)
class EntropyLine:
    """A fit of the straight rival R = intercept - slope H; rmse and r2 as in ``EntropyLaw``."""

    intercept: float
    slope: float
    rmse: float
    r2: float

    def predict(self, H: ArrayLike) -> Floats:
        """Reward [...] at entropies H [...], nats.

        Examples:
            >>> float(EntropyLine(1.0, 0.5, 0.0, 1.0).predict(1.0))
            0.5
        """
        return np.asarray(self.intercept - self.slope * np.asarray(H, dtype=np.float64))


@dataclass(frozen=True)
class EntropyForecast:
    """What the first points say of the rest, beside two rivals that know less.

    Args:
        law: fitted to the first points.
        line: straight line fitted to the first points.
        n_first: how many those are.
        rmse: of the law over the rest.
        last_error: predicted minus observed reward at the last point.
        line_rmse: of the line over the rest.
        last_value_rmse: of repeating the last reward that was fitted.
    """

    law: EntropyLaw
    line: EntropyLine
    n_first: int
    rmse: float
    last_error: float
    line_rmse: float
    last_value_rmse: float


def fit_entropy_law(H: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None) -> EntropyLaw:
    """Least squares of reward on the exponential of the entropy.

        R = -a exp(H) + b        linear in a and b: no iteration, no start

    Over a narrow range of entropies exp is nearly straight, so a high r2 is no evidence for this
    form: compare ``fit_entropy_line``.

    Args:
        H: [n] policy entropies, nats, >= 0.
        R: [n] rewards or accuracies.
        weights: [n] >= 0; None weighs all points alike. Points of weight 0 do not enter.

    Returns:
        a, b, ceiling, rmse, r2.

    Raises:
        InputError: fewer than 3 points of weight above 0, equal entropies, lengths that differ, or
            a value that is not finite, or an entropy below 0.

    Examples:
        >>> law = fit_entropy_law([0.1, 0.5, 1.0], 0.6 - 0.2 * np.exp([0.1, 0.5, 1.0]))
        >>> round(law.a, 6), round(law.ceiling, 6)
        (0.2, 0.4)

    Source: arXiv 2505.22617, equation 1.
    """
    x, y, w = _checked(H, R, weights)
    slope, level, rmse, r2 = _least_squares(np.exp(x), y, w)
    return EntropyLaw(-slope, level, level + slope, rmse, r2)


def fit_entropy_line(H: ArrayLike, R: ArrayLike, weights: ArrayLike | None = None) -> EntropyLine:
    """Least squares of reward on the entropy itself: R = intercept - slope H.

    Args:
        H: [n] policy entropies, nats, >= 0.
        R: [n] rewards or accuracies.
        weights: [n] >= 0; None weighs all points alike.

    Raises:
        InputError: as ``fit_entropy_law``.

    Examples:
        >>> fit_entropy_line([0.0, 1.0, 2.0], [1.0, 0.5, 0.0]).slope
        0.5
    """
    x, y, w = _checked(H, R, weights)
    slope, level, rmse, r2 = _least_squares(x, y, w)
    return EntropyLine(level, -slope, rmse, r2)


def forecast_entropy_law(H: ArrayLike, R: ArrayLike, n_first: int) -> EntropyForecast:
    """Fit the law to the first points of a run and hold it against the rest.

    Args:
        H: [n] policy entropies in the order of the run, nats.
        R: [n] rewards.
        n_first: points that are fitted, 3 <= n_first < n.

    Returns:
        Errors of the law, of a straight line, and of repeating the last reward that was fitted.

    Raises:
        InputError: n_first out of range, or as ``fit_entropy_law``.

    Examples:
        >>> H = np.linspace(1.0, 0.1, 10)
        >>> found = forecast_entropy_law(H, 0.6 - 0.2 * np.exp(H), 4)
        >>> found.rmse < 1e-12 < found.line_rmse < found.last_value_rmse
        True

    Source: arXiv 2505.22617, Section 2.4; the two rivals are additions.
    """
    x, y, _ = _checked(H, R, None)
    if not 3 <= n_first < len(x):
        raise InputError(
            f"n_first is {n_first} of {len(x)} points; a forecast fits at least 3 and leaves at "
            "least 1 to be told"
        )
    law = fit_entropy_law(x[:n_first], y[:n_first])
    line = fit_entropy_line(x[:n_first], y[:n_first])
    rest, truth = x[n_first:], y[n_first:]
    told = law.predict(rest)
    return EntropyForecast(
        law=law,
        line=line,
        n_first=n_first,
        rmse=_rms(told - truth),
        last_error=float(told[-1] - truth[-1]),
        line_rmse=_rms(line.predict(rest) - truth),
        last_value_rmse=_rms(y[n_first - 1] - truth),
    )


def _least_squares(x: Floats, y: Floats, w: Floats) -> tuple[float, float, float, float]:
    """Slope, level, rmse and r2 of y on x, centred so that large x lose no digits."""
    total = w.sum()
    mean_x, mean_y = w @ x / total, w @ y / total
    dx, dy = x - mean_x, y - mean_y
    spread = (w * dx) @ dx
    if not (np.ptp(x[w > 0]) > 0 and spread > 0):
        raise InputError(
            "all entropies are equal within rounding; a law needs points at different entropies"
        )
    slope = (w * dx) @ dy / spread
    left = (w * (dy - slope * dx)) @ (dy - slope * dx)
    whole = (w * dy) @ dy
    r2 = 1 - left / whole if whole > 0 else np.nan
    return float(slope), float(mean_y - slope * mean_x), float(np.sqrt(left / total)), float(r2)


def _checked(
    H: ArrayLike, R: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    x, y = np.asarray(H, dtype=np.float64), np.asarray(R, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 1 or y.shape != x.shape or w.shape != x.shape:
        raise InputError(
            f"entropies, rewards and weights have shapes {x.shape}, {y.shape}, {w.shape}; expected "
            "one of each a point, [n]"
        )
    named: tuple[tuple[str, Any], ...] = (("H", x), ("R", y), ("weights", w))
    for name, values in named:
        bad = ~np.isfinite(values)
        if bad.any():
            where = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{name}[{where}] is {values[where]}; points must be finite. Leave it out"
            )
    if (x < 0).any() or not np.isfinite(np.exp(x)).all():
        raise InputError(
            f"entropies run from {x.min():.4g} to {x.max():.4g}; nats, from 0 to ln V, are "
            "expected. If these are log-probs, negate them"
        )
    if (w < 0).any():
        raise InputError(f"the smallest weight is {w.min():.4g}; weights are >= 0")
    used = x[w > 0]
    if len(used) < 3:
        raise InputError(
            f"{len(used)} points with a weight above 0; a law of two coefficients needs at least 3"
        )
    return x, y, w


def _rms(errors: Any) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))
