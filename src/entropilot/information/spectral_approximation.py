"""Diffusion spectral entropy of point clouds too large for an exact spectrum, with its error.

Two ways. *Nystrom*: a pivoted Cholesky factor of rank r gives lower bounds of all eigenvalues, and
the trace that is left bounds what they miss, so that the entropy lies between two hard ends. It is
sharp where the kernel is wide or the dimensions are few. *Stochastic Lanczos quadrature*: for any
kernel, tr f(K) from some random vectors, the known eigenvector taken away and the known traces used
as controls; its error is estimated from the spread of the vectors and from the convergence of the
quadrature. Both pass over the N^2 kernel in tiles of float32 and never hold it.

Source: arXiv 2312.04823 for the entropy; Ubaru, Chen and Saad 2017 for the quadrature; Harbrecht,
Peters and Schneider 2012 for the factor. The bounds are our own.

Legend: N points, D dimensions, r rank, P probes, M Lanczos steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError
from entropilot.information._gaussian_factor import pivoted_cholesky
from entropilot.information._gaussian_kernels import gaussian_tile
from entropilot.information.diffusion_spectrum import (
    Sigma,
    as_points,
    diffusion_eigenvalues,
    kernel_width,
)
from entropilot.information.spectral_entropy import dse_from_eigenvalues

Floats = NDArray[np.float64]
Progress = Callable[[float], None]
Method = Literal["auto", "exact", "nystrom", "slq"]

TILE: Final = 1024
SMALL: Final = 4000  # points whose exact spectrum takes seconds
LEADING: Final = 32  # eigenvectors that quadrature takes away first
LEADING_RANK: Final = 256  # of the factor that they are begun with


@dataclass(frozen=True)
class DSEEstimate:
    """An entropy and how far it may be off.

    Args:
        value: bits.
        error: bits; see ``is_bound``.
        is_bound: whether the error is a hard bound (exact and Nystrom at t = 1); else it is the
            half of a 95 % interval plus the change of the last three Lanczos steps.
        method: that was used.
        rank: of the factor, Lanczos steps, or N.
        sigma: width of the kernel.
        n: points.
    """

    value: float
    error: float
    is_bound: bool
    method: str
    rank: int
    sigma: float
    n: int


def dse_estimate(
    Z: Any,
    sigma: Sigma = 10.0,
    t: float = 1,
    *,
    method: Method = "auto",
    rank: int = 512,
    probes: int = 8,
    steps: int = 16,
    seed: int = 0,
    progress: Progress = lambda _share: None,
) -> DSEEstimate:
    """Diffusion spectral entropy of all points, bits, with an error.

    Args:
        Z: [N, D] points.
        sigma: as in ``dse``.
        t: power of the eigenvalues, >= 1.
        method: ``"auto"`` is exact up to 4,000 points, then Nystrom where it is sharp to 0.01 bits,
            else quadrature.
        rank: largest rank of the Nystrom factor, which takes 8 N rank bytes.
        probes: random vectors of the quadrature; the error falls with their root.
        steps: of Lanczos; each passes once over the kernel.
        seed: of the random vectors.
        progress: called with the share done.

    Raises:
        ConfigurationError: t below 1 or an unknown method.
        InputError: as in ``dse``.

    Examples:
        >>> points = np.random.default_rng(0).normal(size=(300, 2))
        >>> found = dse_estimate(points, 1.0, method="nystrom")
        >>> exact = dse_estimate(points, 1.0, method="exact")
        >>> abs(found.value - exact.value) <= found.error + 1e-6
        True
    """
    if not t >= 1:
        raise ConfigurationError(f"t is {t}; it must be at least 1")
    if method not in ("auto", "exact", "nystrom", "slq"):
        raise ConfigurationError(f"method is {method!r}; give auto, exact, nystrom or slq")
    if probes < 2 or steps < 4 or rank < 1:
        raise ConfigurationError(
            f"probes = {probes}, steps = {steps}, rank = {rank}; at least 2, 4 and 1 are needed"
        )
    points = as_points(Z)
    n, width = len(points), kernel_width(points, sigma, seed)
    if method == "exact" or (method == "auto" and n <= SMALL):
        value = dse_from_eigenvalues(diffusion_eigenvalues(points, width, max_n=None), t)
        return DSEEstimate(value, 1e-9, True, "exact", n, width, n)
    operator = KernelSweep(points, width)
    sums = operator.sweep(np.ones((n, 1)))[:, 0]
    progress(1 / (steps + 1))
    if method != "slq":
        found = _nystrom(points, sums, width, t, min(rank, n), patient=method == "nystrom")
        if method == "nystrom" or found.error <= 0.01:
            return found
    return _quadrature(operator, points, sums, width, t, probes, steps, seed, progress)


class KernelSweep:
    """Products G V of the Gaussian kernel of some points, tile by tile, by symmetry half of them.

    Args:
        points: [N, D], centred.
        sigma: width.

    Examples:
        >>> sweep = KernelSweep(np.array([[0.0], [1.0]]), 1.0)
        >>> sweep.sweep(np.eye(2)).round(3).tolist()
        [[1.0, 0.607], [0.607, 1.0]]
    """

    def __init__(self, points: Floats, sigma: float) -> None:
        self._x = np.ascontiguousarray(points / sigma, dtype=np.float32)
        self._squares = np.square(self._x).sum(1)

    def sweep(self, vectors: Floats) -> Floats:
        """[N, P] -> [N, P]; one pass over the kernel."""
        n, v = len(self._x), np.ascontiguousarray(vectors, dtype=np.float32)
        found = np.zeros_like(vectors, dtype=np.float64)
        room = np.empty((TILE, TILE), dtype=np.float32)
        for a in range(0, n, TILE):
            rows = slice(a, min(a + TILE, n))
            for b in range(0, a + 1, TILE):
                columns = slice(b, min(b + TILE, n))
                tile = room.ravel()[: (rows.stop - a) * (columns.stop - b)]
                tile = tile.reshape(rows.stop - a, columns.stop - b)
                np.matmul(self._x[rows], self._x[columns].T, out=tile)
                gaussian_tile(tile, self._squares[rows], self._squares[columns], np.float32(0.5))
                if a == b:
                    np.fill_diagonal(tile, 1.0)
                found[rows] += tile @ v[columns]
                if a != b:
                    found[columns] += tile.T @ v[rows]
        return found


def _nystrom(
    points: Floats, sums: Floats, width: float, t: float, rank: int, *, patient: bool
) -> DSEEstimate:
    factor, rest = pivoted_cholesky(points, width, rank, 1e-6, patient=patient)
    scaled = factor / np.sqrt(sums)
    known = np.linalg.eigvalsh(scaled @ scaled.T)[::-1].clip(0, 1)
    left = float((rest / sums).sum())
    n = len(points)
    low = _entropy_of(_at_the_top(known, left), t)
    high = _entropy_of(_at_the_bottom(known, left, n), t)
    middle, half = (low + high) / 2, abs(high - low) / 2
    if t > 1:
        half *= 4  # the two spectra are no bounds of powers, only near them
    # float32 sums of N entries are off by about 1e-6 of themselves
    return DSEEstimate(middle, half + 1e-5, t == 1, "nystrom", len(factor), width, n)


def _at_the_top(known: Floats, left: float) -> Floats:
    """The trace that is left, given to the largest eigenvalues, each at most 1."""
    filled: Floats = np.append(known, np.zeros(int(np.ceil(left)) + 1))
    room = 1 - filled
    before = np.cumsum(room) - room
    filled += np.clip(left - before, 0, room)
    return filled


def _at_the_bottom(known: Floats, left: float, n: int) -> Floats:
    """The trace that is left, poured over the smallest eigenvalues to one level."""
    values = np.append(known, np.zeros(max(0, n - len(known))))[::-1]
    sums, counts = np.cumsum(values), np.arange(1, n + 1)
    levels = (sums + left) / counts
    fits = np.flatnonzero(levels <= np.append(values[1:], np.inf))
    k = int(fits[0])
    values = values.copy()
    values[: k + 1] = levels[k]
    return values


def _entropy_of(values: Floats, t: float) -> float:
    a = values[values > 0] ** t
    p = a / a.sum()
    return float(-(p * np.log2(p)).sum())


def _quadrature(
    operator: KernelSweep,
    points: Floats,
    sums: Floats,
    width: float,
    t: float,
    probes: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> DSEEstimate:
    n = len(sums)
    root = 1 / np.sqrt(sums)

    def whole(v: Floats) -> Floats:
        scaled: Floats = root[:, None] * operator.sweep(root[:, None] * v)
        return scaled

    known, vectors = _leading(whole, points, sums, width)

    def apply(v: Floats) -> Floats:
        found = whole(v)
        return found - vectors @ (vectors.T @ found)

    signs = np.random.default_rng(seed).integers(0, 2, (n, probes)) * 2.0 - 1
    start = signs - vectors @ (vectors.T @ signs)
    steps = min(steps, n - len(known))
    alphas, betas, sizes = _lanczos(apply, start, steps, progress)
    trace = float((1 / sums).sum())  # of K, exactly
    value, spread = _entropy_from_rules(alphas, betas, sizes, t, trace, n, known)
    shorter = max(1, len(alphas) - 3)
    before, _ = _entropy_from_rules(alphas[:shorter], betas[:shorter], sizes, t, trace, n, known)
    error = student_quantile(probes - 1) * spread + abs(value - before) + 1e-5
    return DSEEstimate(value, error, False, "slq", len(alphas), width, n)


def student_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's distribution.

    Examples:
        >>> round(student_quantile(7), 3)
        2.365
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def _leading(
    apply: Callable[[Floats], Floats], points: Floats, sums: Floats, width: float
) -> tuple[Floats, Floats]:
    """The largest eigenvalues and their vectors, as far as two passes over the kernel find them.

    Most of the variance of random vectors comes from them. The first is known, root(R); the others
    begin with those of a Nystrom factor, and only what has converged is kept.

    Returns:
        [s] eigenvalues and [N, s] orthonormal vectors.
    """
    top = np.sqrt(sums / sums.sum())[:, None]
    factor, _ = pivoted_cholesky(points, width, min(LEADING_RANK, len(sums)), 1e-6, patient=True)
    scaled = factor / np.sqrt(sums)
    _, turn = np.linalg.eigh(scaled @ scaled.T)
    start = scaled.T @ turn[:, ::-1][:, 1 : LEADING + 1]
    basis, _ = np.linalg.qr(np.hstack([top, start]))
    basis, _ = np.linalg.qr(np.hstack([top, apply(basis[:, 1:])]))
    made = apply(basis)
    values, turn = np.linalg.eigh(basis.T @ made)
    values, turn = values[::-1], turn[:, ::-1]
    vectors = basis @ turn
    missed = np.sqrt(np.square(made @ turn - vectors * values).sum(0))
    kept = (missed < 0.01 * values) & (values > 1e-6)
    kept[0] = True
    return values[kept].clip(0, 1), vectors[:, kept]


def _lanczos(
    apply: Callable[[Floats], Floats], start: Floats, steps: int, progress: Progress
) -> tuple[Floats, Floats, Floats]:
    """Coefficients of P runs of Lanczos at once, each fully orthogonalised.

    Returns:
        [M, P] diagonals, [M, P] off-diagonals, [P] squared norms of the start vectors.
    """
    sizes = np.square(start).sum(0)
    q = start / np.sqrt(sizes)
    basis, alphas, betas = [q], [], []
    for step in range(steps):
        w = apply(q)
        alphas.append((w * q).sum(0))
        for _ in range(2):
            for old in basis:
                w = w - old * (w * old).sum(0)
        norm = np.sqrt(np.square(w).sum(0))
        betas.append(np.where(norm > 1e-7, norm, 0.0))
        q = np.where(norm > 1e-7, w / np.where(norm > 0, norm, 1.0), 0.0)
        basis.append(q)
        progress((step + 2) / (steps + 1))
    return np.array(alphas), np.array(betas), sizes


def _entropy_from_rules(
    alphas: Floats,
    betas: Floats,
    sizes: Floats,
    t: float,
    trace: float,
    n: int,
    known: Floats,
) -> tuple[float, float]:
    """Entropy and its standard error from the rule of every probe and the known eigenvalues."""
    nodes, weights = [], []
    for p in range(len(sizes)):
        matrix = np.diag(alphas[:, p]) + np.diag(betas[:-1, p], 1) + np.diag(betas[:-1, p], -1)
        values, vectors = np.linalg.eigh(matrix)
        nodes.append(values.clip(0, 1))
        weights.append(sizes[p] * vectors[0] ** 2)
    x, w = np.array(nodes), np.array(weights)
    rest, n_rest = max(trace - known.sum(), 0.0), n - len(known)
    mass, mass_each = _controlled(x, w, x**t, rest, n_rest)
    plogp, plogp_each = _controlled(x, w, _log_of_power(x, t), rest, n_rest)
    if t == 1:
        mass, mass_each = rest, np.full(len(x), rest)
    own, own_plogp = (known**t).sum(), _log_of_power(known, t).sum()
    total, each = own + mass, own + mass_each
    value = np.log2(total) - (own_plogp + plogp) / total / np.log(2)
    spread = np.log2(each) - (own_plogp + plogp_each) / each / np.log(2)
    return float(value), float(spread.std(ddof=1) / np.sqrt(len(x)))


def _log_of_power(x: Floats, t: float) -> Floats:
    """x^t log x^t, 0 at 0."""
    safe = np.where(x > 0, x, 1.0)
    found: Floats = np.where(x > 0, x**t * t * np.log(safe), 0.0)
    return found


def _controlled(x: Floats, w: Floats, f: Floats, trace: float, n: int) -> tuple[float, Floats]:
    """Trace of f from quadrature, with the known traces of x and 1 as control variates.

    Returns:
        The estimate, and [P] those of the single probes.
    """
    design = np.stack([x.ravel(), np.ones(x.size)], 1) * np.sqrt(w.ravel())[:, None]
    (slope, level), *_ = np.linalg.lstsq(design, f.ravel() * np.sqrt(w.ravel()), rcond=None)
    each = (w * (f - slope * x - level)).sum(1) + slope * trace + level * n
    return float(each.mean()), each
