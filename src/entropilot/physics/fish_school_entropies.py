"""Entropies of a school, and the index that they make (arXiv 2602.07948, dewi-kadita 0.0.4).

Each entropy is that of a histogram, -sum p ln p over the bins, divided by ln(number of bins): 0 is
order, 1 disorder. Names, arguments and values are the reference's, its 0.5 for too few fish too;
so is the OSI, which takes the velocity-correlation entropy as it is (its README subtracts it).

Offered beside it: ``heading_entropy`` with bins of equal area, which reaches 1.

Legend: N fish. Positions and velocities are [N, 3]; only the direction of a velocity counts.
``box_size`` None means that there is no box.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.physics.fish_school_kernels import add_to_histogram, nearest_distances
from entropilot.physics.fish_school_order import angular_momenta, unit

Floats = NDArray[np.float64]

TOO_FEW: Final = 0.5  # the reference's value where there are not enough fish
_TREE_FROM: Final = 1000  # fish, where a tree overtakes comparing all
_BLOCK: Final = 1 << 20  # entries of the pair matrix that are held at once

#: What each entropy adds to the oceanic schooling index.
OSI_WEIGHTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "school_cohesion_entropy": 0.18,
        "polarization_entropy": 0.28,
        "depth_stratification_entropy": 0.08,
        "angular_momentum_entropy": 0.08,
        "nearest_neighbor_entropy": 0.10,
        "velocity_correlation_entropy": 0.18,
        "school_shape_entropy": 0.10,
    }
)
ENTROPIES: Final = tuple(OSI_WEIGHTS)


def neighbour_distances(positions: Floats, box_size: float | None, k: int) -> Floats:
    """Distances to the k nearest other fish, nearest first, [N, k].

    Args:
        positions: [N, 3].
        box_size: periodic cube, or None.
        k: below N.

    Examples:
        >>> neighbour_distances(np.array([[0.0, 0, 0], [0, 0, 1], [0, 0, 9]]), 10.0, 2).tolist()
        [[1.0, 1.0], [1.0, 2.0], [1.0, 2.0]]
    """
    if len(positions) < _TREE_FROM:
        made: Floats = nearest_distances(np.ascontiguousarray(positions), box_size or 0.0, k)
        return made
    from scipy.spatial import cKDTree

    found: Floats = cKDTree(positions, boxsize=box_size).query(positions, k=k + 1)[0][:, 1:]
    return found


def school_cohesion_entropy(
    positions: Floats,
    box_size: float | None,
    n_bins: int = 25,
    *,
    reach: float | None = None,
    nearest: Floats | None = None,
) -> float:
    """Entropy of the distance to the nearest fish.

    Args:
        positions: [N, 3].
        box_size: periodic cube, or None.
        n_bins: of the histogram over [0, reach].
        reach: half the box by default, or half the largest extent without one.
        nearest: ``neighbour_distances``, where they are known.

    Examples:
        >>> x = np.random.default_rng(0).random((50, 3)) * 10
        >>> 0 <= school_cohesion_entropy(x, 10.0) <= 1
        True
    """
    if _too_few("school_cohesion_entropy", len(positions), 2):
        return TOO_FEW
    found = nearest if nearest is not None else neighbour_distances(positions, box_size, 1)
    return _binned(found[:, 0], n_bins, (0.0, _reach(positions, box_size, reach)))


def polarization_entropy(velocities: Floats, n_bins_theta: int = 12, n_bins_phi: int = 24) -> float:
    """Entropy of headings on the sphere, as the reference has it.

    Counts in equal steps of the polar angle are weighted by its sine, although small rings already
    hold fewer headings; random headings give 0.946 and not 1. See ``heading_entropy``.

    Examples:
        >>> abs(round(polarization_entropy(np.ones((9, 3))), 6))
        0.0
    """
    counts, theta = _headings(velocities, n_bins_theta, n_bins_phi)
    centres = (theta[:-1] + theta[1:]) / 2
    return _entropy((counts * np.sin(centres)[:, None]).ravel())


def heading_entropy(
    velocities: Floats,
    n_bins_theta: int = 12,
    n_bins_phi: int = 24,
    *,
    equal_area: bool = True,
) -> float:
    """Entropy of headings on the sphere, in bins of equal area: 1 for random headings.

    Args:
        velocities: [N, 3].
        n_bins_theta: steps of the cosine of the polar angle.
        n_bins_phi: steps of the angle around the axis.
        equal_area: False for ``polarization_entropy``.

    Examples:
        >>> v = np.random.default_rng(0).normal(size=(200_000, 3))
        >>> round(heading_entropy(v), 3), round(polarization_entropy(v), 3)
        (1.0, 0.946)
    """
    if not equal_area:
        return polarization_entropy(velocities, n_bins_theta, n_bins_phi)
    u = unit(velocities)
    around = np.arctan2(u[:, 1], u[:, 0]) + np.pi
    counts, _, _ = np.histogram2d(
        np.clip(u[:, 2], -1, 1),
        around,
        bins=[np.linspace(-1, 1, n_bins_theta + 1), np.linspace(0, 2 * np.pi, n_bins_phi + 1)],
    )
    return _entropy(counts.ravel())


def depth_stratification_entropy(
    positions: Floats,
    box_size: float | None,
    n_bins: int = 15,
    *,
    depths: tuple[float, float] | None = None,
) -> float:
    """Entropy of z.

    Args:
        positions: [N, 3].
        box_size: the range is [0, box_size]; without a box that of the fish.
        n_bins: of the histogram.
        depths: another range.

    Examples:
        >>> depth_stratification_entropy(np.array([[0, 0, 1.0], [0, 0, 9.0]]), 10.0).__round__(3)
        0.256
    """
    z = positions[:, 2]
    ends = depths or ((0.0, box_size) if box_size is not None else (z.min(), z.max()))
    return _binned(z, n_bins, ends)


def angular_momentum_entropy(positions: Floats, velocities: Floats, n_bins: int = 20) -> float:
    """Entropy of the length of c x u, c the direction from the centre.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(2, 50, 3))
        >>> 0 < angular_momentum_entropy(x[0], x[1]) < 1
        True
    """
    if _too_few("angular_momentum_entropy", len(positions), 3):
        return TOO_FEW
    return _binned(
        np.linalg.norm(angular_momenta(positions, velocities), axis=1), n_bins, (0.0, 1.0)
    )


def nearest_neighbor_entropy(
    positions: Floats,
    box_size: float | None,
    k: int = 5,
    n_bins: int = 20,
    *,
    nearest: Floats | None = None,
) -> float:
    """Entropy of the coefficient of variation of the k nearest distances.

    Args:
        positions: [N, 3].
        box_size: periodic cube, or None.
        k: neighbours.
        n_bins: of the histogram over [0, 2].
        nearest: ``neighbour_distances``, k of them or more, where they are known.

    Examples:
        >>> x = np.random.default_rng(0).random((50, 3)) * 10
        >>> 0 < nearest_neighbor_entropy(x, 10.0) < 1
        True
    """
    if _too_few("nearest_neighbor_entropy", len(positions), k + 1):
        return TOO_FEW
    found = nearest if nearest is not None else neighbour_distances(positions, box_size, k)
    varied = np.std(found[:, :k], axis=1) / (np.mean(found[:, :k], axis=1) + 1e-10)
    return _binned(varied, n_bins, (0.0, 2.0))


def velocity_correlation_entropy(
    positions: Floats | None,  # noqa: ARG001 - the reference's arguments
    velocities: Floats,
    box_size: float | None = None,  # noqa: ARG001
    n_bins: int = 20,
    *,
    n_pairs: int | None = None,
    rng: np.random.Generator | None = None,
) -> float:
    """Entropy of the cosine between the headings of two fish, over all pairs.

    The matrix of pairs is read in blocks and never held. A cosine above 1 by round-off counts as 1.

    Args:
        positions: not used.
        velocities: [N, 3].
        box_size: not used.
        n_bins: of (cosine + 1) / 2 in [0, 1].
        n_pairs: sample this many pairs (with replacement) in place of all.
        rng: of the sample; seed 0 by default.

    Examples:
        >>> v = np.random.default_rng(0).normal(size=(300, 3))
        >>> round(velocity_correlation_entropy(None, v), 2)
        1.0
    """
    n = len(velocities)
    if _too_few("velocity_correlation_entropy", n, 2):
        return TOO_FEW
    u = np.ascontiguousarray(unit(velocities))
    counts = np.zeros(n_bins, np.int64)
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    if n_pairs is not None:
        draw = rng if rng is not None else np.random.default_rng(0)
        a = draw.integers(0, n, n_pairs)
        b = (a + draw.integers(1, n, n_pairs)) % n
        cosine = np.einsum("ij,ij->i", u[a], u[b])
        add_to_histogram(cosine[None], 0, edges, counts)
        return _entropy(counts)
    rows = max(1, _BLOCK // n)
    for low in range(0, n, rows):
        block = np.dot(u[low : low + rows], u[low:].T)
        add_to_histogram(block, 1, edges, counts)
    return _entropy(counts)


def school_shape_entropy(positions: Floats) -> float:
    """Entropy of the shares of variance along the principal axes.

    Examples:
        >>> round(school_shape_entropy(np.random.default_rng(0).normal(size=(9000, 3))), 3)
        1.0
    """
    if _too_few("school_shape_entropy", len(positions), 4):
        return TOO_FEW
    variance = np.linalg.eigvalsh(np.cov((positions - positions.mean(axis=0)).T))
    share = np.maximum(np.sort(variance)[::-1], 1e-10)
    return _entropy(share, 3)


def oceanic_schooling_index(entropies: Mapping[str, float]) -> float:
    """Weighted mean of the seven entropies: 0 order, 1 disorder.

    Examples:
        >>> round(oceanic_schooling_index(dict.fromkeys(ENTROPIES, 1.0)), 12)
        1.0
    """
    return sum(weight * entropies[name] for name, weight in OSI_WEIGHTS.items())


def _headings(velocities: Floats, n_theta: int, n_phi: int) -> tuple[Floats, Floats]:
    u = unit(velocities)
    theta = np.linspace(0, np.pi, n_theta + 1)
    counts, _, _ = np.histogram2d(
        np.arccos(np.clip(u[:, 2], -1, 1)),
        np.arctan2(u[:, 1], u[:, 0]) + np.pi,
        bins=[theta, np.linspace(0, 2 * np.pi, n_phi + 1)],
    )
    return counts, theta


def _reach(positions: Floats, box_size: float | None, reach: float | None) -> float:
    if reach is not None:
        return reach
    return box_size / 2 if box_size is not None else float(np.ptp(positions, axis=0).max()) / 2


def _binned(values: Floats, n_bins: int, ends: tuple[float, float]) -> float:
    return _entropy(np.histogram(values, bins=n_bins, range=ends)[0])


def _entropy(counts: NDArray[Any], n_bins: int | None = None) -> float:
    """-sum p ln p / ln(bins); 0.5 where nothing was counted, as the reference has it."""
    total = counts.sum()
    if total == 0:
        return TOO_FEW
    p = counts[counts > 0] / total
    found = -float(np.sum(p * np.log(p))) / math.log(n_bins or counts.size)
    return max(0.0, found)


def _too_few(name: str, n: int, least: int) -> bool:
    if n < least:
        warnings.warn(
            f"{name} needs at least {least} fish, found {n}; it is set to {TOO_FEW}",
            stacklevel=3,
        )
    return n < least
