"""Eigenvalues of the diffusion operator of a point cloud.

    G_ij = exp(-|z_i - z_j|^2 / (2 sigma^2)),  R = row sums of G,  K = R^-1/2 G R^-1/2

K has the eigenvalues of the random walk R^-1 G: they lie in [0, 1] and the largest is 1.

Source: Assessing Neural Network Representations During Training Using Noise-Resilient Diffusion
Spectral Entropy, arXiv 2312.04823, and its package ``dse-dsmi``.
Departs from the package: ``sigma="median:c"`` ties the width to the data; ``alpha`` first takes the
density away (R^-alpha G R^-alpha), as diffusion maps do; the factor 1 / (sigma sqrt(2 pi)), which
cancels, is left out.

Legend: N points, D dimensions, r rank.
"""

from __future__ import annotations

import random
import warnings
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError, LimitError
from entropilot.information._backend import is_torch
from entropilot.information._gaussian_factor import low_rank_factor
from entropilot.information._gaussian_kernels import (
    gaussian_lower,
    lower_row_sums,
    scale_lower,
)
from entropilot.information._tridiagonal_kernels import FEW, tridiagonal

Floats = NDArray[np.float64]
Sigma = float | str

MOST_EXACT: Final = 20_000  # points whose N x N matrix is made: 3 GiB
MEDIAN_POINTS: Final = 2000  # of which distances are taken for the median rule


def diffusion_eigenvalues(
    Z: Any,
    sigma: Sigma = 10.0,
    alpha: float = 0.0,
    *,
    max_n: int | None = 10_000,
    seed: int = 0,
    normalize: Literal["l2"] | None = None,
    neighbours: int | None = None,
) -> Floats:
    """All eigenvalues of the diffusion operator, descending, to an absolute error of 1e-12.

    Where the kernel has a low rank r to that accuracy (few dimensions, a wide kernel) a pivoted
    Cholesky factor finds it at a cost of N r^2; else the cost is that of LAPACK, (4/3) N^3.

    Args:
        Z: [N, D] points, numpy or torch.
        sigma: width of the kernel; ``"median:1/3"`` takes that part of the median of the distances
            that are not 0, which makes the result independent of the scale of Z.
        alpha: in [0, 1]; 1 takes the density of the points away.
        max_n: more points are subsampled to that many, seeded; None takes all.
        seed: of the subsample.
        normalize: ``"l2"`` gives every row length 1 first.
        neighbours: k; gives every point its own width, the distance to its k-th neighbour
            (Zelnik-Manor and Perona 2004), instead of ``sigma``.

    Returns:
        [N] float64.

    Raises:
        InputError: fewer than two points, values that are not finite, sigma <= 0.
        LimitError: more points than an exact spectrum can take.

    Examples:
        >>> far = np.array([[0.0], [0.1], [500.0], [500.1]])
        >>> diffusion_eigenvalues(far, sigma=10.0).round(4).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    found = diffusion_form(
        Z, sigma, alpha, max_n=max_n, seed=seed, normalize=normalize, neighbours=neighbours
    )
    if not isinstance(found, tuple):
        return found
    from scipy.linalg.lapack import dsterf

    values, failed = dsterf(*found)
    if failed:
        raise InputError("the eigenvalues did not converge; look for values of extreme size")
    descending: Floats = np.ascontiguousarray(values[::-1])
    return descending


def diffusion_form(
    Z: Any,
    sigma: Sigma = 10.0,
    alpha: float = 0.0,
    *,
    max_n: int | None = 10_000,
    seed: int = 0,
    normalize: Literal["l2"] | None = None,
    neighbours: int | None = None,
) -> Floats | tuple[Floats, Floats]:
    """What the spectrum is read from: all eigenvalues, or a tridiagonal matrix that has them.

    Arguments as in ``diffusion_eigenvalues``.

    Returns:
        [N] descending eigenvalues where the kernel has a low rank; else the diagonal [N] and the
        entries beside it [N - 1] of a tridiagonal matrix with the same eigenvalues.

    Examples:
        >>> len(diffusion_form(np.arange(3.0)))
        2
    """
    if not 0 <= alpha <= 1:
        raise ConfigurationError(f"alpha is {alpha}; it must be in [0, 1]")
    points = subsample(as_points(Z, normalize), max_n, seed)
    check_exact_size(len(points))
    if neighbours is not None:
        lower = _local_kernel(points, neighbours)
        sums = lower_row_sums(lower)
    else:
        width = kernel_width(points, sigma, seed)
        factor = low_rank_factor(points, width) if alpha == 0 else None
        if factor is not None:
            return _spectrum_of_factor(factor, len(points))
        lower, sums = gaussian_matrix(points, width)
        warn_if_saturated(sums)
    if alpha:
        scale_lower(lower, sums**-alpha)
        sums = lower_row_sums(lower)
    scale_lower(lower, 1 / np.sqrt(sums))
    return tridiagonal_of(lower)


def kernel_width(points: Floats, sigma: Sigma = 10.0, seed: int = 0) -> float:
    """The width of the kernel that ``sigma`` names, in the units of the points.

    Args:
        points: [N, D].
        sigma: a positive number, or ``"median:c"`` with c a number or a fraction; the median is
            taken over the distances of at most 2,000 points, those of duplicates left out.
        seed: of their choice.

    Raises:
        ConfigurationError: sigma is none of these.

    Examples:
        >>> kernel_width(np.array([[0.0], [3.0], [3.0]]), "median:1/3")
        1.0
    """
    if not isinstance(sigma, str):
        if not sigma > 0 or not np.isfinite(sigma):
            raise ConfigurationError(f"sigma is {sigma}; it must be positive")
        return float(sigma)
    head, _, part = sigma.partition(":")
    try:
        above, _, below = part.partition("/")
        factor = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        factor = -1.0
    if head != "median" or not factor > 0:
        raise ConfigurationError(f"sigma is {sigma!r}; give a positive number or 'median:1/3'")
    rows = points
    if len(rows) > MEDIAN_POINTS:
        chosen = np.random.default_rng(seed).choice(len(rows), MEDIAN_POINTS, replace=False)
        rows = points[np.sort(chosen)]
    squared = squared_distances(rows)[np.tril_indices(len(rows), -1)]
    floor = 1e-14 * float(np.square(rows).sum(1).max(initial=0.0))
    squared = squared[squared > floor]
    if not len(squared):
        warnings.warn("all points are one point; their entropy is 0 at any sigma", stacklevel=3)
        return 1.0
    return factor * float(np.sqrt(np.median(squared)))


def as_points(Z: Any, normalize: Literal["l2"] | None = None) -> Floats:
    """[N, D] float64 points, centred (distances do not change, rounding does).

    Raises:
        InputError: no matrix, fewer than two rows, or values that are not finite.

    Examples:
        >>> as_points([[1.0, 3.0], [3.0, 1.0]]).tolist()
        [[-1.0, 1.0], [1.0, -1.0]]
    """
    if is_torch(Z):
        points = np.asarray(Z.detach().cpu().double().numpy())
    else:
        points = np.asarray(Z, dtype=np.float64)
    if points.ndim == 1:
        points = points[:, None]
    if points.ndim != 2 or len(points) < 2:
        raise InputError(f"points have shape {points.shape}; give [N, D] with N >= 2")
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        raise InputError(
            f"{int((~finite).sum())} of {len(points)} points are not finite, the first at row "
            f"{int(np.argmin(finite))}; leave them out or find the layer that overflows"
        )
    if normalize == "l2":
        norms = np.linalg.norm(points, axis=1, keepdims=True)
        points = points / np.where(norms > 0, norms, 1.0)
    elif normalize is not None:
        raise ConfigurationError(f"normalize is {normalize!r}; give 'l2' or None")
    return np.ascontiguousarray(points - points.mean(0))


def subsample(points: Floats, max_n: int | None, seed: int) -> Floats:
    """At most ``max_n`` of the points, drawn as the reference package draws them.

    Examples:
        >>> len(subsample(np.zeros((5, 1)), None, 0))
        5
    """
    if max_n is None or len(points) <= max_n:
        return points
    if max_n < 2:
        raise ConfigurationError(f"max_n is {max_n}; it must be at least 2")
    warnings.warn(
        f"{max_n} of {len(points)} points were drawn; raise max_n, or estimate the entropy of all "
        "with dse_estimate",
        stacklevel=4,
    )
    return points[random.Random(seed).sample(range(len(points)), k=max_n)]


def check_exact_size(n: int) -> None:
    """Refuse an N x N matrix that would be too large.

    Raises:
        LimitError: naming the memory it takes, and the way round it.

    Examples:
        >>> check_exact_size(2000)
    """
    if n > MOST_EXACT:
        raise LimitError(
            f"the exact spectrum of {n} points needs a matrix of {8 * n * n / 2**30:.1f} GiB and "
            f"{4 / 3 * n**3:.1e} operations; set max_n, or use dse_estimate, which needs "
            f"{8 * n * 64 / 2**30:.1f} GiB and states its error"
        )


def squared_distances(points: Floats) -> Floats:
    """[N, N] squared distances; the lower triangle counts."""
    squares = np.square(points).sum(1)
    found: Floats = _products(points)
    found *= -2
    found += squares
    found += squares[:, None]
    np.maximum(found, 0, out=found)
    return found


def gaussian_matrix(points: Floats, sigma: float) -> tuple[Floats, Floats]:
    """Lower triangle of G, and the row sums of G."""
    lower = _products(points)
    sums = gaussian_lower(lower, np.square(points).sum(1), 1 / (2 * sigma**2))
    return lower, sums


def warn_if_saturated(row_sums: Floats) -> None:
    """Say where the kernel sees no structure: every point alone, or all points one."""
    n = len(row_sums)
    mean = float((row_sums - 1).mean() / (n - 1))
    if mean < 1e-3 and mean * (n - 1) < 0.05:
        warnings.warn(
            f"the mean off-diagonal entry of the kernel is {mean:.1e}: every point is alone and "
            "the entropy saturates near log2 N; raise sigma, or use sigma='median:1/3'",
            stacklevel=4,
        )
    elif mean > 0.999:
        warnings.warn(
            f"the mean off-diagonal entry of the kernel is {mean:.4f}: all points look like one "
            "and the entropy saturates near 0; lower sigma, or use sigma='median:1/3'",
            stacklevel=4,
        )


def tridiagonal_of(lower: Floats) -> tuple[Floats, Floats]:
    """Tridiagonal form of a symmetric matrix by its lower triangle, which is overwritten."""
    n = len(lower)
    if n <= FEW:
        found: tuple[Floats, Floats] = tridiagonal(np.ascontiguousarray(lower))
        return found
    from scipy.linalg.lapack import dsytrd

    # LAPACK counts columns first, so that our lower triangle is its upper one, without a copy
    _, diagonal, beside, _, _ = dsytrd(lower.T, lower=0, lwork=64 * n, overwrite_a=1)
    return diagonal, beside


def eigenvalues_of_lower(lower: Floats) -> Floats:
    """Descending eigenvalues of a symmetric matrix by its lower triangle, which is overwritten."""
    from scipy.linalg.lapack import dsterf

    values, _ = dsterf(*tridiagonal_of(lower))
    descending: Floats = np.ascontiguousarray(values[::-1])
    return descending


def _spectrum_of_factor(factor: Floats, n: int) -> Floats:
    sums = factor.sum(1) @ factor
    warn_if_saturated(sums)
    scaled = factor / np.sqrt(sums)
    found = np.zeros(n)
    found[: len(factor)] = np.linalg.eigvalsh(scaled @ scaled.T)[::-1].clip(min=0)
    return found


def _products(points: Floats) -> Floats:
    """X X' with (at least) its lower triangle."""
    from scipy.linalg.blas import dsyrk

    if len(points) < 64 or points.shape[1] == 1:
        found: Floats = points @ points.T
        return found
    upper = dsyrk(1.0, points.T, trans=1)  # half of the operations of a product
    lower: Floats = upper.T
    return lower


def _local_kernel(points: Floats, neighbours: int) -> Floats:
    n = len(points)
    if not 1 <= neighbours < n:
        raise ConfigurationError(f"neighbours is {neighbours}; it must be in 1 .. {n - 1}")
    squared = squared_distances(points)
    squared = np.tril(squared, -1)
    squared += squared.T
    widths = np.sqrt(np.partition(squared, neighbours, axis=1)[:, neighbours])
    alone = widths == 0
    if alone.any():
        others = widths[~alone]
        warnings.warn(
            f"{int(alone.sum())} points have {neighbours} or more duplicates; they take the "
            "smallest width of the others",
            stacklevel=3,
        )
        widths[alone] = others.min() if len(others) else 1.0
    squared /= -np.outer(widths, widths)
    found: Floats = np.exp(squared, out=squared)
    return found
