"""Which step size? Logistic descent at many of them at once.

All parameter vectors share each pass over the samples, which becomes two matrix products (arXiv
2412.08424, Sections 3 and 6; see ``logistic_descent``). A step size that has separated the data
leaves the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning._separation_kernels import weigh_columns
from entropilot.learning.separation_data import signed_samples, why_inseparable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StepSizeSweep:
    """One row a step size."""

    step_sizes: Floats  # [G]
    theta: Floats  # [G, d]
    iterations: NDArray[np.int64]  # [G]
    separated: NDArray[np.bool_]  # [G]
    peak_loss: Floats  # [G], the largest mean loss of an iterate, nats
    margin: Floats  # [G], min_i z_i . theta / |theta|

    @property
    def fastest(self) -> float:
        """The step size that separated first; nan when none did."""
        if not self.separated.any():
            return float("nan")
        counts = np.where(self.separated, self.iterations, np.iinfo(np.int64).max)
        return float(self.step_sizes[counts.argmin()])

    def summary(self) -> str:
        """A table, and the step size to take."""
        lines = ["step size   updates   peak loss    margin"]
        for i, gamma in enumerate(self.step_sizes):
            updates = f"{self.iterations[i]}" if self.separated[i] else f">{self.iterations[i]}"
            lines.append(
                f"{gamma:>9.4g}{updates:>10}{self.peak_loss[i]:>12.4g}{self.margin[i]:>10.4g}"
            )
        if self.separated.any():
            wide = float(self.step_sizes[np.where(self.separated, self.margin, -np.inf).argmax()])
            lines.append(
                f"Fastest to zero errors: {self.fastest:g}; widest margin on the way: {wide:g}."
            )
        else:
            lines.append("No step size separated the data.")
        return "\n".join(lines)


def step_size_sweep(
    X: ArrayLike,
    y: ArrayLike,
    gammas: Sequence[float],
    *,
    normalized: bool = False,
    max_iter: int = 100_000,
    bias: bool = False,
) -> StepSizeSweep:
    """Run LR+GD (or its normalised form) from zero at every step size until all samples are right.

    Args:
        X: samples [n, d].
        y: labels [n], -1 and 1, or 0 and 1.
        gammas: positive step sizes [G].
        normalized: divide by the sum of the weights.
        max_iter: updates at most.
        bias: append a constant feature.

    Raises:
        ConfigurationError: a step size that is not positive.
        InputError: bad samples, or a plain reason why nothing separates them.

    Examples:
        >>> found = step_size_sweep([[1, -1], [-1, -4]], [1, -1], [1.0, 100.0])
        >>> found.iterations.tolist(), found.peak_loss.round(2).tolist()
        ([2, 2], [0.69, 12.5])
    """
    sizes = np.asarray(gammas, np.float64)
    if sizes.ndim != 1 or not len(sizes) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ConfigurationError(f"gammas are {gammas}; expected one or more positive numbers")
    z = signed_samples(X, y, bias=bias).astype(np.float64)
    reason = why_inseparable(z)
    if reason:
        raise InputError(reason)
    g, d = len(sizes), z.shape[1]
    theta, live = np.zeros((g, d)), np.arange(g)
    iterations, separated = np.zeros(g, np.int64), np.zeros(g, bool)
    peak, last = np.zeros(g), np.zeros(g)
    for t in range(max_iter + 1):
        weights = z @ theta[live].T
        high, least = peak[live], np.empty(len(live))
        weigh_columns(weights, high, least, normalized)
        peak[live], last[live], iterations[live] = high, least, t
        separated[live] = least > 0
        left = least <= 0
        live = live[left]
        if not len(live) or t == max_iter:
            break
        theta[live] += sizes[live, None] * (weights[:, left].T @ z)
    norms = np.linalg.norm(theta, axis=1)
    reached = np.divide(last, norms, out=np.zeros(g), where=norms > 0)
    return StepSizeSweep(sizes, theta, iterations, separated, peak, reached)
