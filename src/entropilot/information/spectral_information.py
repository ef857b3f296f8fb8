"""Diffusion spectral mutual information (DSMI) of points and a grouping of them. Bits.

    DSMI(A; B) = sum_c n_c / N ( mean over r of DSE(A[S_cr]) - DSE(A[B = c]) )

S_cr is a random subset of all points of the size of group c, for DSE grows with N. It is a
difference of spectral entropies and not Shannon's mutual information: DSMI(A; A) needs groups of A
and is not DSE(A), and it falls to near 0 when a quarter of the labels are wrong.

Source: arXiv 2312.04823, Definition IV.2, and the package ``dse-dsmi``, whose subsets are drawn
here too: equal seeds give equal results. Departs from print, as the package does, by the subsets;
``size_matched=False`` is the printed form, larger by the size bias.

Legend: N points, D dimensions, C groups, R repetitions.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError, require
from entropilot.information._backend import is_torch
from entropilot.information.diffusion_spectrum import Sigma, as_points, kernel_width
from entropilot.information.spectral_entropy import dse

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DSMIResult:
    """Diffusion spectral mutual information.

    Args:
        value: bits; may be slightly negative.
        per_class: [C] difference of each group, bits.
        std: of the value over the repetitions of the subsets, bits; 0 without repetitions.
        clusters: [N] number of the group of each point.
        sigma: width of the kernel that was used; nan with another measure.
    """

    value: float
    per_class: Floats
    std: float
    clusters: NDArray[np.int64]
    sigma: float


def dsmi(
    A: Any,
    B: Any,
    sigma: Sigma = 10.0,
    t: float = 1,
    repetitions: int = 5,
    *,
    clusters: Any = None,
    n_clusters: int = 10,
    discrete: bool | None = None,
    seed: int = 0,
    subsets: Sequence[Sequence[Sequence[int]]] | None = None,
    size_matched: bool = True,
    measure: Callable[[Floats], float] | None = None,
) -> DSMIResult:
    """How much less diverse points are within the groups of B than across them.

    The subsets of a size are drawn once, as the reference package does by beginning with the same
    seed at every group; so groups of one size share them and their entropies.

    Args:
        A: [N, D] points, numpy or torch.
        B: [N] labels; or a continuous [N] scalar (equal bins) or [N, D'] vectors (spectral
            clustering, which needs scikit-learn).
        sigma: width of the kernel; with ``"median:c"`` it is that of all points.
        t: power of the eigenvalues.
        repetitions: R.
        clusters: [N] groups to use instead of making them from B.
        n_clusters: groups to make of a continuous B.
        discrete: whether B is labels; needed where B is of a float type and holds whole numbers.
        seed: of the subsets; 0 is the package's.
        subsets: [C][R] row numbers, instead of drawing.
        size_matched: False takes the entropy of all points instead of subsets.
        measure: another entropy of points, such as ``shannon_binned``.

    Raises:
        InputError: shapes that differ, labels that may be scalars, points that are not finite.

    Examples:
        >>> points = np.repeat([0.0, 1000.0], 20)[:, None]
        >>> round(dsmi(points, np.repeat([0, 1], 20), sigma=10.0).value, 1)
        1.0
    """
    points = as_points(A)
    groups = _groups(B, clusters, n_clusters, discrete, len(points))
    if repetitions < 1:
        raise ConfigurationError(f"repetitions is {repetitions}; it must be at least 1")
    width = float("nan")
    if measure is None:
        width = kernel_width(points, sigma, seed)

        def measure(z: Floats) -> float:
            return _quiet_dse(z, width, t)

    elif not size_matched:
        warnings.warn("entropies of different sizes are compared", stacklevel=2)
    sizes = np.bincount(groups)
    alone = np.flatnonzero(sizes == 1)
    if len(alone):
        warnings.warn(
            f"group {alone[0]} has a single point ({len(alone)} such groups); its entropy is 0",
            stacklevel=2,
        )
    if subsets is not None and len(subsets) != len(sizes):
        raise InputError(f"subsets of {len(subsets)} groups, but there are {len(sizes)}")
    within = np.array([_entropy(points[groups == c], measure) for c in range(len(sizes))])
    across = _across(points, sizes, measure, repetitions, seed, subsets, size_matched)
    share = sizes / sizes.sum()
    by_repetition = np.array([share @ (row - within) for row in across])
    return DSMIResult(
        value=float(by_repetition.mean()),
        per_class=across.mean(0) - within,
        std=float(by_repetition.std(ddof=1)) if len(across) > 1 else 0.0,
        clusters=groups,
        sigma=width,
    )


def _across(
    points: Floats,
    sizes: NDArray[np.int64],
    measure: Callable[[Floats], float],
    repetitions: int,
    seed: int,
    subsets: Sequence[Sequence[Sequence[int]]] | None,
    size_matched: bool,
) -> Floats:
    """[R, C] entropies of subsets of every group's size."""
    if not size_matched:
        return np.full((1, len(sizes)), measure(points))
    if subsets is not None:
        rows = [[_entropy(points[np.asarray(s)], measure) for s in own] for own in subsets]
        return np.array(rows).T
    known: dict[int, list[float]] = {}
    for size in map(int, sizes):
        if size not in known:
            draw = random.Random(seed)
            known[size] = [
                _entropy(points[draw.sample(range(len(points)), k=size)], measure)
                for _ in range(repetitions)
            ]
    return np.array([known[int(size)] for size in sizes]).T


def _entropy(points: Floats, measure: Callable[[Floats], float]) -> float:
    return measure(points) if len(points) > 1 else 0.0


def _quiet_dse(points: Floats, sigma: float, t: float) -> float:
    with warnings.catch_warnings():  # a tight group is meant to look like one point
        warnings.simplefilter("ignore", UserWarning)
        return dse(points, sigma, t, max_n=None)


def _groups(
    B: Any, clusters: Any, n_clusters: int, discrete: bool | None, n: int
) -> NDArray[np.int64]:
    given = B if clusters is None else clusters
    values = given.detach().cpu().numpy() if is_torch(given) else np.asarray(given)
    if len(values) != n:
        raise InputError(f"{len(values)} labels for {n} points; give one a point")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if clusters is None and not _is_discrete(values, discrete):
        values = _clusters(values.astype(float), n_clusters)
    if values.ndim != 1:
        raise InputError(f"groups have shape {values.shape}; give [N]")
    found: NDArray[np.int64] = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return found


def _is_discrete(values: NDArray[Any], discrete: bool | None) -> bool:
    if discrete is not None:
        return discrete
    if values.dtype.kind != "f":
        return True
    if not np.isfinite(values).all():
        raise InputError(f"{int((~np.isfinite(values)).sum())} entries of B are not finite")
    if values.ndim == 1 and bool(np.all(values == np.round(values))):
        raise InputError(
            "B is of a float type and holds whole numbers: labels or a scalar? Say discrete=True "
            "or discrete=False"
        )
    return False


def _clusters(values: Floats, n_clusters: int) -> NDArray[np.int64]:
    if n_clusters < 2:
        raise ConfigurationError(f"n_clusters is {n_clusters}; it must be at least 2")
    if values.ndim == 1:
        span = np.ptp(values)
        if not span > 0:
            raise InputError("B is constant; it says nothing of the points")
        scaled = (values - values.min()) / span
        bins: NDArray[np.int64] = np.digitize(scaled, np.linspace(0, 1, n_clusters + 1)[:-1])
        return bins
    cluster = require("sklearn.cluster", extra="learn", purpose="clustering of vectors")
    labels: NDArray[np.int64] = (
        cluster.SpectralClustering(
            n_clusters=n_clusters,
            affinity="nearest_neighbors",
            assign_labels="cluster_qr",
            random_state=0,
        )
        .fit(values)
        .labels_
    )
    return labels
