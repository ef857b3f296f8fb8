"""Order parameters and entropies of a school (arXiv 2602.07948, dewi-kadita 0.0.4).

Each entropy is that of a histogram, -sum p ln p over the bins, divided by ln(number of bins): 0 is
order, 1 disorder. Names, arguments and values are the reference's, its 0.5 for too few fish too;
so is the OSI, which takes the velocity-correlation entropy as it is (its README subtracts it).

Offered beside it: ``unwrapped`` for schools that lie across a face of the periodic box, where a
plain mean is not a centre; ``heading_entropy`` with bins of equal area, which reaches 1.

Legend: N fish, T frames. Positions and velocities are [N, 3]; only the direction of a velocity
counts. ``box_size`` None means that there is no box.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.fish_school import check_school
from entropilot.physics.fish_school_kernels import (
    TINY,
    add_to_histogram,
    nearest_distances,
)

Floats = NDArray[np.float64]

TOO_FEW: Final = 0.5  # the reference's value where there are not enough fish
EXACT_PAIRS_MOST: Final = 5000  # fish; above, pairs are sampled
SAMPLED_PAIRS: Final = 2_000_000
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
METRICS: Final = (
    "polarization",
    "rotation",
    "spread",
    "order_index",
    *ENTROPIES,
    "oceanic_schooling_index",
)


def unit(velocities: Floats) -> Floats:
    """Directions; what is shorter than 1e-10 stays as it is.

    Examples:
        >>> unit(np.array([[0.0, 3.0, 4.0]])).tolist()
        [[0.0, 0.6, 0.8]]
    """
    norm = np.linalg.norm(velocities, axis=1, keepdims=True)
    made: Floats = velocities / np.where(norm < TINY, 1.0, norm)
    return made


def unwrapped(positions: Floats, box_size: float) -> Floats:
    """Positions laid out around the circular mean of each axis, so that a school is in one piece.

    Examples:
        >>> unwrapped(np.array([[9.0, 5, 5], [1.0, 5, 5]]), 10.0)[:, 0].round(6).tolist()
        [-1.0, 1.0]
    """
    angle = positions * (2 * np.pi / box_size)
    middle = np.arctan2(np.sin(angle).mean(axis=0), np.cos(angle).mean(axis=0))
    middle *= box_size / (2 * np.pi)
    offset = positions - middle
    made: Floats = middle + offset - box_size * np.round(offset / box_size)
    return made


def polarization(velocities: Floats) -> float:
    """Length of the mean heading, in [0, 1].

    Examples:
        >>> polarization(np.array([[1.0, 0, 0], [0, 1, 0]])).__round__(4)
        0.7071
    """
    return float(np.linalg.norm(unit(velocities).mean(axis=0)))


def rotation(positions: Floats, velocities: Floats) -> float:
    """Length of the mean of c x u, c the direction from the centre, in [0, 1].

    Examples:
        >>> rotation(np.array([[1.0, 0, 0], [-1, 0, 0]]), np.array([[0, 1.0, 0], [0, -1, 0]]))
        1.0
    """
    return float(np.linalg.norm(_momenta(positions, velocities).mean(axis=0)))


def spread(positions: Floats) -> float:
    """Root mean square distance from the centre.

    Examples:
        >>> spread(np.array([[1.0, 0, 0], [-1, 0, 0]]))
        1.0
    """
    away = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    return float(np.sqrt(np.mean(away**2)))


def school_cohesion_entropy(
    positions: Floats, box_size: float | None, n_bins: int = 25, *, reach: float | None = None
) -> float:
    """Entropy of the distance to the nearest fish.

    Args:
        positions: [N, 3].
        box_size: periodic cube, or None.
        n_bins: of the histogram over [0, reach].
        reach: half the box by default, or half the largest extent without one.

    Examples:
        >>> x = np.random.default_rng(0).random((50, 3)) * 10
        >>> 0 <= school_cohesion_entropy(x, 10.0) <= 1
        True
    """
    if _too_few("school_cohesion_entropy", len(positions), 2):
        return TOO_FEW
    nearest = _neighbours(positions, box_size, 1)[:, 0]
    return _binned(nearest, n_bins, (0.0, _reach(positions, box_size, reach)))


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
    ends = depths or ((0.0, box_size) if box_size is not None else _depths(positions))
    return _binned(positions[:, 2], n_bins, ends)


def angular_momentum_entropy(positions: Floats, velocities: Floats, n_bins: int = 20) -> float:
    """Entropy of the length of c x u, c the direction from the centre.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(2, 50, 3))
        >>> 0 < angular_momentum_entropy(x[0], x[1]) < 1
        True
    """
    if _too_few("angular_momentum_entropy", len(positions), 3):
        return TOO_FEW
    return _binned(np.linalg.norm(_momenta(positions, velocities), axis=1), n_bins, (0.0, 1.0))


def nearest_neighbor_entropy(
    positions: Floats, box_size: float | None, k: int = 5, n_bins: int = 20
) -> float:
    """Entropy of the coefficient of variation of the k nearest distances.

    Examples:
        >>> x = np.random.default_rng(0).random((50, 3)) * 10
        >>> 0 < nearest_neighbor_entropy(x, 10.0) < 1
        True
    """
    if _too_few("nearest_neighbor_entropy", len(positions), k + 1):
        return TOO_FEW
    return _variation(_neighbours(positions, box_size, k), n_bins)


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


def all_metrics(
    positions: Any,
    velocities: Any,
    box_size: float | None,
    *,
    unwrap: bool = False,
    reach: float | None = None,
    depths: tuple[float, float] | None = None,
) -> dict[str, float]:
    """The reference's twelve metrics of one frame, in the order of ``METRICS``.

    Args:
        positions: [N, 3], in [0, box_size) where there is a box.
        velocities: [N, 3].
        box_size: periodic cube, or None.
        unwrap: take rotation, spread, angular momentum and shape about the centre of the school in
            one piece; the reference takes the mean of wrapped positions.
        reach: end of the range of the cohesion histogram.
        depths: range of the depth histogram.

    Above 5000 fish the pairs of the velocity correlation are a sample of 2 million.

    Raises:
        InputError: shapes, places outside the box, numbers that are not finite.

    Warns:
        UserWarning: a metric is 0.5 because there are too few fish.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> found = all_metrics(rng.random((60, 3)) * 20, rng.normal(size=(60, 3)), 20.0)
        >>> round(found["oceanic_schooling_index"], 1)
        0.8
    """
    x, v = check_school(positions, velocities, box_size)
    n = len(x)
    about = unwrapped(x, box_size) if unwrap and box_size is not None else x
    nearest = _neighbours(x, box_size, min(5, n - 1)) if n > 1 else None
    found = {
        "polarization": polarization(v),
        "rotation": rotation(about, v),
        "spread": spread(about),
    }
    found["order_index"] = max(found["polarization"], found["rotation"])
    if nearest is None:
        found["school_cohesion_entropy"] = school_cohesion_entropy(x, box_size)
    else:
        ends = (0.0, _reach(x, box_size, reach))
        found["school_cohesion_entropy"] = _binned(nearest[:, 0], 25, ends)
    found["polarization_entropy"] = polarization_entropy(v)
    found["depth_stratification_entropy"] = depth_stratification_entropy(x, box_size, depths=depths)
    found["angular_momentum_entropy"] = angular_momentum_entropy(about, v)
    few = nearest is None or _too_few("nearest_neighbor_entropy", n, 6)
    found["nearest_neighbor_entropy"] = TOO_FEW if few else _variation(nearest, 20)  # type: ignore[arg-type]
    found["velocity_correlation_entropy"] = velocity_correlation_entropy(
        x, v, box_size, n_pairs=sampled_pairs(n)
    )
    found["school_shape_entropy"] = school_shape_entropy(about)
    found["oceanic_schooling_index"] = oceanic_schooling_index(found)
    return found


def sampled_pairs(n_fish: int) -> int | None:
    """How many pairs ``all_metrics`` samples for the velocity correlation; None for all of them.

    Examples:
        >>> sampled_pairs(5000), sampled_pairs(5001)
        (None, 2000000)
    """
    return SAMPLED_PAIRS if n_fish > EXACT_PAIRS_MOST else None


def metrics_timeseries(
    positions: Any,
    velocities: Any,
    times: Sequence[float] | Floats,
    box_size: float | None,
    *,
    unwrap: bool = False,
) -> dict[str, Any]:
    """The metrics of every frame, and of each its mean and spread over the second half.

    Args:
        positions: [T, N, 3].
        velocities: [T, N, 3].
        times: [T].
        box_size: periodic cube, or None: then the extent of the whole recording sets the ranges.
        unwrap: see ``all_metrics``.

    Returns:
        ``time`` and every metric [T]; ``<metric>_mean``, ``_std`` (over frames from T // 2 on),
        ``_final``, ``_min``, ``_max``; ``sampled_pairs``, 0 where all pairs were read.

    Examples:
        >>> x = np.random.default_rng(0).random((4, 20, 3))
        >>> found = metrics_timeseries(x, x, range(4), 1.0)
        >>> found["spread"].shape, "oceanic_schooling_index_mean" in found
        ((4,), True)
    """
    x, v = np.asarray(positions, dtype=float), np.asarray(velocities, dtype=float)
    if x.ndim != 3 or x.shape[2] != 3 or 0 in x.shape or v.shape != x.shape:
        raise InputError(
            f"positions {x.shape} and velocities {v.shape} expected as [frames, fish, 3] both"
        )
    if len(times) != len(x):
        raise InputError(f"{len(times)} times for {len(x)} frames")
    reach = depths = None
    if box_size is None:
        reach = float(np.ptp(x, axis=(0, 1)).max()) / 2
        depths = _depths(x.reshape(-1, 3))
    rows = []
    for number, (here, way) in enumerate(zip(x, v, strict=True)):
        with warnings.catch_warnings():
            if number:  # said once
                warnings.simplefilter("ignore", UserWarning)
            rows.append(all_metrics(here, way, box_size, unwrap=unwrap, reach=reach, depths=depths))
    series = {name: np.array([row[name] for row in rows]) for name in METRICS}
    return {
        "time": np.array(times, dtype=float),
        **series,
        **summary(series),
        "sampled_pairs": sampled_pairs(x.shape[1]) or 0,
    }


def summary(series: Mapping[str, Floats]) -> dict[str, float]:
    """Mean and spread over the second half, last, least and largest value of each series.

    Examples:
        >>> summary({"P": np.array([0.0, 1.0, 3.0])})["P_mean"]
        2.0
    """
    found = {}
    for name, values in series.items():
        late = values[len(values) // 2 :]
        found[f"{name}_mean"] = float(np.mean(late))
        found[f"{name}_std"] = float(np.std(late))
        found[f"{name}_final"] = float(values[-1])
        found[f"{name}_min"] = float(np.min(values))
        found[f"{name}_max"] = float(np.max(values))
    return found


def _momenta(positions: Floats, velocities: Floats) -> Floats:
    away, u = unit(positions - positions.mean(axis=0)), unit(velocities)
    made: Floats = np.cross(away, u)
    return made


def _headings(velocities: Floats, n_theta: int, n_phi: int) -> tuple[Floats, Floats]:
    u = unit(velocities)
    theta = np.linspace(0, np.pi, n_theta + 1)
    counts, _, _ = np.histogram2d(
        np.arccos(np.clip(u[:, 2], -1, 1)),
        np.arctan2(u[:, 1], u[:, 0]) + np.pi,
        bins=[theta, np.linspace(0, 2 * np.pi, n_phi + 1)],
    )
    return counts, theta


def _neighbours(positions: Floats, box_size: float | None, k: int) -> Floats:
    if len(positions) < _TREE_FROM:
        made: Floats = nearest_distances(np.ascontiguousarray(positions), box_size or 0.0, k)
        return made
    from scipy.spatial import cKDTree

    found: Floats = cKDTree(positions, boxsize=box_size).query(positions, k=k + 1)[0][:, 1:]
    return found


def _variation(nearest: Floats, n_bins: int) -> float:
    varied = np.std(nearest, axis=1) / (np.mean(nearest, axis=1) + 1e-10)
    return _binned(varied, n_bins, (0.0, 2.0))


def _reach(positions: Floats, box_size: float | None, reach: float | None) -> float:
    if reach is not None:
        return reach
    return box_size / 2 if box_size is not None else float(np.ptp(positions, axis=0).max()) / 2


def _depths(positions: Floats) -> tuple[float, float]:
    return float(positions[:, 2].min()), float(positions[:, 2].max())


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
