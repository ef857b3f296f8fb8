"""Frechet distance of two clouds of points, as Gaussians: the distance behind FID."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, InputError

Floats = NDArray[np.float64]


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)) of two sets of samples.

    Covariances divide by n - 1; eigenvalues below 0 count as 0.

    Args:
        a: [N, D] samples.
        b: [M, D] samples.

    Returns:
        The squared distance, as FID reports it, in squared units of the samples.

    Raises:
        InputError: shapes that do not fit, fewer than two samples.
        BrokenNumbersError: nan or infinite samples.

    Examples:
        >>> x = np.array([[0.0], [2.0]])
        >>> frechet_distance(x, x + 3)
        9.0
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    for name, points in (("a", x), ("b", y)):
        if points.ndim != 2 or len(points) < 2 or not points.shape[1]:
            raise InputError(
                f"{name} has shape {points.shape}; expected [N, D] with at least 2 samples"
            )
        if not np.isfinite(points).all():
            row = int(np.argmin(np.isfinite(points).all(1)))
            raise BrokenNumbersError(f"sample {row} of {name} holds nan or infinite numbers")
    if x.shape[1] != y.shape[1]:
        raise InputError(
            f"a has {x.shape[1]} dimensions and b {y.shape[1]}; compare the same features"
        )
    cov_a, cov_b = (np.atleast_2d(np.cov(points, rowvar=False)) for points in (x, y))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    gap = x.mean(0) - y.mean(0)
    return max(0.0, float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))
