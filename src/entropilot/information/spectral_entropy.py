"""Diffusion spectral entropy (DSE) of a point cloud, and the entropies it is compared with. Bits.

    a_i = |lambda_i|^t,  p_i = a_i / sum a,  DSE = -sum p_i log2 p_i

over the eigenvalues of the diffusion operator (``diffusion_spectrum``). All points equal give 0,
all far apart log2 N, and k tight clusters far apart log2 k. The power t is a filter of noise: small
eigenvalues die as lambda^t.

Source: arXiv 2312.04823, Definition IV.1, and the package ``dse-dsmi``, from which machine epsilon
added to every p_i is taken over. At t = 1 the sum is found without eigenvalues and without that
epsilon (``_tridiagonal_kernels``); both differ by less than 1e-10 bits.

Legend: N points, D dimensions.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.information._gaussian_kernels import scale_lower
from entropilot.information._tridiagonal_kernels import NODES, entropy_sum
from entropilot.information.diffusion_spectrum import (
    Sigma,
    as_points,
    check_exact_size,
    diffusion_eigenvalues,
    diffusion_form,
    eigenvalues_of_lower,
    gaussian_matrix,
    kernel_width,
    subsample,
)

Floats = NDArray[np.float64]

EPS: Final = float(np.finfo(float).eps)


@overload
def dse(Z: Any, sigma: Sigma = ..., t: float = ..., **settings: Any) -> float: ...
@overload
def dse(Z: Any, sigma: Sigma, t: Sequence[float], **settings: Any) -> Floats: ...


def dse(
    Z: Any, sigma: Sigma = 10.0, t: float | Sequence[float] = 1, **settings: Any
) -> float | Floats:
    """Diffusion spectral entropy, bits.

    Args:
        Z: [N, D] points, numpy or torch.
        sigma: width of the kernel. With a fixed width the entropy follows the scale of Z more than
            its structure; ``"median:1/3"`` is free of scale.
        t: power of the eigenvalues, >= 1; for several the eigenvalues are computed once.
        settings: of ``diffusion_eigenvalues``: ``alpha``, ``max_n``, ``seed``, ``normalize``,
            ``neighbours``.

    Returns:
        In [0, log2 N]; an array for several t.

    Raises:
        InputError: fewer than two points, or values that are not finite.

    Examples:
        >>> clusters = np.repeat([0.0, 1000.0, 2000.0, 3000.0], 5)[:, None]
        >>> round(dse(clusters, sigma=10.0), 6)
        2.0
    """
    if np.ndim(t) == 0 and t == 1:
        found = diffusion_form(Z, sigma, **settings)
        if isinstance(found, tuple):
            diagonal, beside = found
            trace = float(diagonal.sum())
            plogp = float(entropy_sum(diagonal, beside, NODES))
            return math.log2(trace) - plogp / trace / math.log(2)
        return dse_from_eigenvalues(found)
    return dse_from_eigenvalues(diffusion_eigenvalues(Z, sigma, **settings), t)


@overload
def dse_from_eigenvalues(eigenvalues: ArrayLike, t: float = ...) -> float: ...
@overload
def dse_from_eigenvalues(eigenvalues: ArrayLike, t: Sequence[float]) -> Floats: ...
@overload
def dse_from_eigenvalues(eigenvalues: ArrayLike, t: float | Sequence[float]) -> float | Floats: ...


def dse_from_eigenvalues(eigenvalues: ArrayLike, t: float | Sequence[float] = 1) -> float | Floats:
    """Entropy of a spectrum, bits.

    Args:
        eigenvalues: [N], any order; signs do not matter.
        t: as in ``dse``.

    Raises:
        ConfigurationError: t below 1.

    Examples:
        >>> round(dse_from_eigenvalues([1.0, 1.0, 0.0, 0.0]), 6)
        1.0
    """
    sizes = np.abs(np.asarray(eigenvalues, dtype=np.float64))
    if np.ndim(t) == 0:
        return _entropy_of_power(sizes, float(t))  # type: ignore[arg-type]
    return np.array([_entropy_of_power(sizes, float(power)) for power in t])  # type: ignore[union-attr]


def matrix_entry_entropy(Z: Any, sigma: Sigma = 10.0, *, max_n: int = 10_000) -> float:
    """Entropy of the N^2 entries of the row-normalised K, bits.

    Examples:
        >>> round(matrix_entry_entropy(np.zeros((4, 1)), 1.0), 6)
        4.0
    """
    points = subsample(as_points(Z), max_n, 0)
    check_exact_size(len(points))
    lower, sums = gaussian_matrix(points, kernel_width(points, sigma))
    scale_lower(lower, 1 / np.sqrt(sums))
    whole = np.tril(lower)
    whole += np.tril(lower, -1).T
    whole /= whole.sum(1, keepdims=True)
    return _entropy(whole.ravel() / whole.sum())


def adjacency_entropy(
    Z: Any,
    sigma: Sigma = 10.0,
    kind: Literal["gaussian", "normalised", "knn"] = "gaussian",
    neighbours: int = 10,
) -> float:
    """Entropy of the spectrum of an adjacency matrix, bits.

    Args:
        Z: [N, D] points.
        sigma: width of the kernel; not used by ``"knn"``.
        kind: ``"gaussian"`` takes G, ``"normalised"`` K, ``"knn"`` the 0/1 matrix of the nearest
            ``neighbours`` of each point, itself among them, which is not symmetric.
        neighbours: of ``"knn"``.

    Examples:
        >>> round(adjacency_entropy(np.array([[0.0], [900.0]]), kind="gaussian"), 6)
        1.0
    """
    points = as_points(Z)
    check_exact_size(len(points))
    if kind == "knn":
        return _entropy_of_power(_neighbour_spectrum(points, neighbours), 1.0)
    if kind not in ("gaussian", "normalised"):
        raise ConfigurationError(f"kind is {kind!r}; give 'gaussian', 'normalised' or 'knn'")
    lower, sums = gaussian_matrix(points, kernel_width(points, sigma))
    if kind == "normalised":
        scale_lower(lower, 1 / np.sqrt(sums))
    return _entropy_of_power(np.abs(eigenvalues_of_lower(lower)), 1.0)


def shannon_binned(Z: Any, bins: int = 2) -> float:
    """Shannon entropy of the joint cells of equal bins along every column, bits.

    Each column is scaled to [0, 1] by its own ends. With many columns nearly every point has a cell
    of its own, and the entropy is log2 N whatever the data.

    Args:
        Z: [N, D] points.
        bins: a column, >= 2.

    Examples:
        >>> round(shannon_binned(np.array([[0.0], [0.1], [0.9], [1.0]])), 6)
        1.0
    """
    if bins < 2:
        raise ConfigurationError(f"bins is {bins}; it must be at least 2")
    points = as_points(Z)
    low, span = points.min(0), np.ptp(points, axis=0)
    constant = span <= 1e-12 * np.abs(points).max(initial=1e-300)
    if constant.any():
        warnings.warn(
            f"{int(constant.sum())} of {len(span)} columns are constant and were left out",
            stacklevel=2,
        )
    if constant.all():
        return 0.0
    scaled = (points[:, ~constant] - low[~constant]) / span[~constant]
    cells = np.digitize(scaled, np.linspace(0, 1, bins + 1)[:-1])
    counts = np.unique(cells, axis=0, return_counts=True)[1]
    return _entropy(counts / counts.sum())


def _entropy_of_power(sizes: Floats, t: float) -> float:
    if not t >= 1 or not math.isfinite(t):
        raise ConfigurationError(f"t is {t}; it must be at least 1")
    powered = sizes if t == 1 else sizes**t
    total = powered.sum()
    if not total > 0:
        raise InputError("all eigenvalues are 0; a diffusion operator has one of 1")
    return _entropy(powered / total)


def _entropy(p: Floats) -> float:
    p = p + EPS
    return float(-(p * np.log2(p)).sum())


def _neighbour_spectrum(points: Floats, neighbours: int) -> Floats:
    from scipy.spatial.distance import cdist

    if not 1 <= neighbours <= len(points):
        raise ConfigurationError(
            f"neighbours is {neighbours}; it must be in 1 .. {len(points)}, the point itself counts"
        )
    distances = cdist(points, points)
    limit = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
    found: Floats = np.abs(np.linalg.eigvals((distances <= limit[:, None]).astype(float)))
    return found
