"""All metrics of a school, of one frame or of many (arXiv 2602.07948, dewi-kadita 0.0.4).

The order parameters of ``fish_school_order`` and the entropies of ``fish_school_entropies`` under
the reference's names; both can be imported from here, as from the reference's one module.

Legend: N fish, T frames. Positions and velocities are [N, 3]; only the direction of a velocity
counts. ``box_size`` None means that there is no box.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.fish_school import Frame, check_school
from entropilot.physics.fish_school_entropies import (
    ENTROPIES,
    OSI_WEIGHTS,
    angular_momentum_entropy,
    depth_stratification_entropy,
    heading_entropy,
    nearest_neighbor_entropy,
    neighbour_distances,
    oceanic_schooling_index,
    polarization_entropy,
    school_cohesion_entropy,
    school_shape_entropy,
    velocity_correlation_entropy,
)
from entropilot.physics.fish_school_order import polarization, rotation, spread, unit, unwrapped

__all__ = [
    "ENTROPIES",
    "EXACT_PAIRS_MOST",
    "METRICS",
    "OSI_WEIGHTS",
    "SAMPLED_PAIRS",
    "all_metrics",
    "angular_momentum_entropy",
    "depth_stratification_entropy",
    "entropy_steps",
    "heading_entropy",
    "metrics_timeseries",
    "nearest_neighbor_entropy",
    "oceanic_schooling_index",
    "polarization",
    "polarization_entropy",
    "rotation",
    "sampled_pairs",
    "school_cohesion_entropy",
    "school_shape_entropy",
    "spread",
    "summary",
    "unit",
    "unwrapped",
    "velocity_correlation_entropy",
]

Floats = NDArray[np.float64]

EXACT_PAIRS_MOST: Final = 5000  # fish; above, pairs are sampled
SAMPLED_PAIRS: Final = 2_000_000
METRICS: Final = (
    "polarization",
    "rotation",
    "spread",
    "order_index",
    *ENTROPIES,
    "oceanic_schooling_index",
)


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
    nearest = neighbour_distances(x, box_size, min(5, n - 1)) if n > 1 else None
    found = {
        "polarization": polarization(v),
        "rotation": rotation(about, v),
        "spread": spread(about),
    }
    found["order_index"] = max(found["polarization"], found["rotation"])
    found["school_cohesion_entropy"] = school_cohesion_entropy(
        x, box_size, reach=reach, nearest=nearest
    )
    found["polarization_entropy"] = polarization_entropy(v)
    found["depth_stratification_entropy"] = depth_stratification_entropy(x, box_size, depths=depths)
    found["angular_momentum_entropy"] = angular_momentum_entropy(about, v)
    found["nearest_neighbor_entropy"] = nearest_neighbor_entropy(x, box_size, nearest=nearest)
    found["velocity_correlation_entropy"] = velocity_correlation_entropy(
        x, v, box_size, n_pairs=sampled_pairs(n)
    )
    found["school_shape_entropy"] = school_shape_entropy(about)
    found["oceanic_schooling_index"] = oceanic_schooling_index(found)
    return found


def entropy_steps(
    school: Iterable[Frame], box_size: float | None, *, unwrap: bool = False
) -> Iterator[dict[str, float]]:
    """Time, the seven entropies and their index of each frame, as the frames come.

    Examples:
        >>> from entropilot.physics.fish_school import Couzin, frames
        >>> steps = entropy_steps(frames(Couzin(n_fish=20), 10, 5), 25.0)
        >>> [round(step["time"], 1) for step in steps]
        [0.0, 0.5, 1.0]
    """
    for frame in school:
        found = all_metrics(frame.x, frame.u, box_size, unwrap=unwrap)
        kept = (*ENTROPIES, "oceanic_schooling_index")
        yield {"time": frame.t} | {name: found[name] for name in kept}


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
        depths = (float(x[..., 2].min()), float(x[..., 2].max()))
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
