"""Boltzmann entropy of a gas whose one-particle phase space is cut into cells.

A macrostate is the number N_a of particles in each cell a of volume |D_a|; its phase-space volume
is prod |D_a|^N_a / N_a!. Per particle, with the constant ln(N!)/N that makes it intensive (k_B = 1):

    exact          s = (1/N) [sum N_a ln|D_a| - sum ln N_a! + ln N!]
    plug-in        s = -sum (N_a/N) ln(N_a / (N |D_a|))
    Miller-Madow   plug-in + (K - 1)/(2N), K the occupied cells

Source: arXiv 2403.07519 (Garrido, Goldstein, Huse, Lebowitz). The closed forms of free motion and
of both mechanisms together are derived here: a reflecting box unfolds to a ring of twice its
length, a velocity cell of width w shears the edge of the gas into a ramp of length w t, and a
particle that collided adds a uniform background.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Estimator = Literal["miller-madow", "plugin", "exact"]
ESTIMATORS: Final = ("miller-madow", "plugin", "exact")
DENSE_CELLS: Final = 10  # cells a particle up to which counting is an array, not a sort
FEW: Final = 5  # particles an occupied cell below which the bias is worth a warning

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class SparseCellsWarning(UserWarning):
    """Fewer than five particles an occupied cell: the entropy is biased."""


@dataclass(frozen=True)
class CellCounts:
    """Occupied cells of one-particle phase space.

    Attributes:
        cells: [K] numbers of occupied cells, rising; row-major over (x, y, vx, vy).
        counts: [K] particles in each.
        volumes: [K] volume of each.
        n_total: particles.
    """

    cells: Ints
    counts: Ints
    volumes: Floats
    n_total: int


def velocity_edges(width: float, v_max: float = 5.0) -> Floats:
    """Edges at multiples of the width that cover [-v_max, v_max].

    Raises:
        InputError: a width that is not positive or above ``v_max``.

    Examples:
        >>> velocity_edges(2.0).tolist()
        [-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0]
    """
    if not (math.isfinite(width) and 0 < width <= v_max):
        raise InputError(f"width = {width}, expected 0 < width <= v_max = {v_max}")
    half = math.ceil(v_max / width - 1e-9)
    return width * np.arange(-half, half + 1, dtype=np.float64)


def phase_space_counts(
    x: ArrayLike,
    v: ArrayLike,
    x_edges: ArrayLike,
    y_edges: ArrayLike,
    vx_edges: ArrayLike,
    vy_edges: ArrayLike,
) -> CellCounts:
    """Particles in each cell; what lies outside goes to the outermost cell.

    Args:
        x: [N, 2] places.
        v: [N, 2] velocities.
        x_edges: rising, at least 2; any widths.
        y_edges: likewise.
        vx_edges: likewise.
        vy_edges: likewise.

    Raises:
        InputError: shapes that do not fit, edges that do not rise, values that are not finite.

    Examples:
        >>> made = phase_space_counts([[0.1, 0.5], [0.9, 0.5]], [[1, 0], [1, 0]],
        ...     [0, 0.5, 1], [0, 1], [-2, 0, 2], [-2, 2])
        >>> made.cells.tolist(), made.counts.tolist(), made.volumes.tolist()
        ([1, 3], [1, 1], [4.0, 4.0])
    """
    places, speeds = np.asarray(x, dtype=np.float64), np.asarray(v, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or places.shape != speeds.shape or not len(places):
        raise InputError(
            f"x has shape {places.shape} and v {speeds.shape}, expected [N, 2] both, N >= 1"
        )
    if not (np.isfinite(places).all() and np.isfinite(speeds).all()):
        raise InputError("a position or velocity is not finite")
    cell = np.zeros(len(places), dtype=np.int64)
    widths = []
    named = {"x": x_edges, "y": y_edges, "vx": vx_edges, "vy": vy_edges}
    columns = (places[:, 0], places[:, 1], speeds[:, 0], speeds[:, 1])
    for (name, given), column in zip(named.items(), columns, strict=True):
        edges = np.asarray(given, dtype=np.float64)
        width = np.diff(edges) if edges.ndim == 1 else np.zeros(0)
        if len(width) < 1 or not (width > 0).all() or not np.isfinite(edges).all():
            raise InputError(f"{name}_edges have to rise, and be at least 2: got {edges.tolist()}")
        cell *= len(width)
        if len(width) > 1:
            cell += _cell_along(column, edges, width)
        widths.append(width)
    n_cells = math.prod(len(width) for width in widths)
    if n_cells <= DENSE_CELLS * len(places):
        every = np.bincount(cell, minlength=n_cells)
        cells = np.flatnonzero(every)
        counts = every[cells]
    else:
        cells, counts = np.unique(cell, return_counts=True)
    parts = np.unravel_index(cells, [len(width) for width in widths])
    volumes = np.prod([width[part] for width, part in zip(widths, parts, strict=True)], axis=0)
    return CellCounts(cells.astype(np.int64), counts.astype(np.int64), volumes, len(places))


def _cell_along(value: Floats, edges: Floats, width: Floats) -> Ints:
    """Cell numbers along one axis; equal widths need no search."""
    n = len(width)
    if np.allclose(width, width[0], rtol=1e-12, atol=0):
        return np.clip(
            ((value - edges[0]) * (n / (edges[-1] - edges[0]))).astype(np.int64), 0, n - 1
        )
    return np.clip(np.searchsorted(edges, value, side="right") - 1, 0, n - 1).astype(np.int64)


def pooled_counts(runs: Sequence[CellCounts]) -> CellCounts:
    """Counts of independent runs on the same cells, added: many particles at one density.

    Examples:
        >>> one = phase_space_counts([[0.1, 0.5]], [[0, 0]], [0, 1], [0, 1], [-1, 1], [-1, 1])
        >>> pooled_counts([one, one]).counts.tolist()
        [2]
    """
    cells, first, back = np.unique(
        np.concatenate([run.cells for run in runs]), return_index=True, return_inverse=True
    )
    counts = np.bincount(back, weights=np.concatenate([run.counts for run in runs]))
    volumes = np.concatenate([run.volumes for run in runs])[first]
    return CellCounts(
        cells, np.rint(counts).astype(np.int64), volumes, sum(run.n_total for run in runs)
    )


def boltzmann_entropy(
    counts: ArrayLike,
    cell_volume: ArrayLike,
    n_total: int | None = None,
    estimator: Estimator = "miller-madow",
) -> float:
    """Entropy per particle of a macrostate, nats (k_B = 1).

    Warns with ``SparseCellsWarning`` when there are fewer than five particles an occupied cell.

    Args:
        counts: [K] particles in each cell; zeros allowed.
        cell_volume: a number, or [K].
        n_total: the sum of the counts; checked when given.
        estimator: ``"miller-madow"``, ``"plugin"`` (Stirling) or ``"exact"``.

    Raises:
        InputError: an unknown estimator, negative counts, no particle, volumes not positive.

    Examples:
        >>> boltzmann_entropy([20, 20], 0.5, estimator="plugin")
        0.0
    """
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator = {estimator!r}, expected one of {', '.join(ESTIMATORS)}")
    every = np.asarray(counts)
    volumes = np.broadcast_to(np.asarray(cell_volume, dtype=np.float64), every.shape)
    if (every < 0).any() or not every.sum():
        raise InputError("counts have to be >= 0, and at least one particle has to be there")
    if not ((volumes > 0).all() and np.isfinite(volumes).all()):
        raise InputError("cell volumes have to be > 0")
    total = int(every.sum())
    if n_total is not None and n_total != total:
        raise InputError(f"n_total = {n_total}, but the counts add up to {total}")
    held = every > 0
    n, volume = every[held].astype(np.float64), volumes[held]
    bias = (len(n) - 1) / (2 * total)
    if total < FEW * len(n):
        warnings.warn(
            f"{total} particles in {len(n)} occupied cells, fewer than {FEW} each: the plug-in "
            f"entropy is expected to be {bias:.3g} too low. Use more particles or larger cells.",
            SparseCellsWarning,
            stacklevel=2,
        )
    if estimator == "exact":
        from scipy.special import gammaln

        logs = math.fsum(n * np.log(volume)) - math.fsum(gammaln(n + 1))
        return (logs + math.lgamma(total + 1)) / total
    plugin = -math.fsum(n / total * np.log(n / (total * volume))) + 0.0
    return plugin + (bias if estimator == "miller-madow" else 0.0)


def equilibrium_entropy(area: float, kT: float = 1.0, mass: float = 1.0) -> float:
    """Entropy per particle of the ideal gas, nats: ln A + 1 + ln(2 pi kT / m).

    Examples:
        >>> round(equilibrium_entropy(1.0), 6)
        2.837877
    """
    if not (area > 0 and kT > 0 and mass > 0):
        raise InputError(f"area = {area}, kT = {kT}, mass = {mass}, expected numbers > 0")
    return math.log(area) + 1 + math.log(2 * math.pi * kT / mass)


def free_shear_entropy(tau: ArrayLike) -> Floats:
    """Entropy gained per particle by free motion after tau = dv t / L, small cells, nats.

    tau/2 up to tau = 1, ln 2 at every even tau, and a little less between: it is not monotone.

    Examples:
        >>> free_shear_entropy([0.5, 2.0]).round(6).tolist()
        [0.25, 0.693147]
    """
    return _mixed_profile_entropy(np.asarray(tau, dtype=np.float64), np.zeros(()))


def scaling_entropy(tau: ArrayLike, ratio: float, *, points: int = 96) -> Floats:
    """Entropy gained per particle when collisions and free motion both act, nats.

        S(tau; R) = < J(tau, R gamma(v) tau) > over a 2-D Maxwellian, R = (collision rate) L / dv

    The limit of small velocity cells and a large Knudsen number at fixed R. A collided particle
    adds a uniform background; one of speed v has not collided with probability exp(-R gamma tau).

    Args:
        tau: dv t / L >= 0.
        ratio: R >= 0; 0 is free motion.
        points: of the quadrature over speeds.

    Examples:
        >>> scaling_entropy([0.5, 1.0], 1.0).round(4).tolist()
        [0.5579, 0.6677]
    """
    from scipy.special import i0e, i1e

    if not (math.isfinite(ratio) and ratio >= 0):
        raise InputError(f"ratio = {ratio}, expected a number >= 0")
    energy, weight = np.polynomial.laguerre.laggauss(points)  # v^2 / 2
    z = energy / 2
    gamma = ((1 + energy) * i0e(z) + energy * i1e(z)) / math.sqrt(2)
    times = np.asarray(tau, dtype=np.float64)
    gained = _mixed_profile_entropy(times[..., None], ratio * gamma * times[..., None])
    return np.asarray(gained @ weight / weight.sum())


def collision_rate(density: float, sigma: float, kT: float = 1.0, *, phi: float = 0.0) -> float:
    """Collisions per disc and time: 2 sqrt(pi) n sigma sqrt(kT) chi (Enskog; chi = 1 at phi = 0).

    Examples:
        >>> round(collision_rate(100.0, 0.01), 6)
        3.544908
    """
    return 2 * math.sqrt(math.pi) * density * sigma * math.sqrt(kT) * contact_value(phi)


def contact_value(phi: float) -> float:
    """Henderson's pair distribution at contact: (1 - 7 phi/16) / (1 - phi)^2.

    Examples:
        >>> contact_value(0.0)
        1.0
    """
    return (1 - 7 * phi / 16) / (1 - phi) ** 2


def diameter_for(kn: float, n: int, area: float = 1.0, length: float = 1.0) -> float:
    """Disc diameter at which the mean free path is ``kn`` times a length.

    Examples:
        >>> round(diameter_for(2.0, 20000), 10)
        8.8388e-06
    """
    if not (math.isfinite(kn) and kn > 0):
        raise InputError(f"kn = {kn}, expected a number > 0")
    return area / (2 * math.sqrt(2) * n * length * kn)


def _mixed_profile_entropy(tau: Floats, mixed: Floats) -> Floats:
    """-int u ln u over the ring of length 2, u the sheared profile with exp(-mixed) of it left.

    A window of length tau = 2m + r goes m times round: the overlap is m plus that of r, which has
    two plateaus and, between them, two linear ramps.
    """
    if (tau < 0).any() or not np.isfinite(tau).all():
        raise InputError("tau has to be finite and >= 0")
    rounds = np.floor(tau / 2)
    rest = tau - 2 * rounds
    safe = np.where(tau > 0, tau, 1.0)
    high = np.where(tau > 0, (rounds + np.minimum(rest, 1.0)) / safe, 1.0)
    low = (rounds + np.maximum(rest - 1.0, 0.0)) / safe
    left = np.exp(-mixed)
    a, b = 0.5 + left * (high - 0.5), 0.5 + left * (low - 0.5)
    flat = np.abs(1.0 - rest)  # length of each plateau
    return np.asarray(flat * (_f(a) + _f(b)) + 2 * (1.0 - flat) * _mean_f(a, b))


def _f(u: Floats) -> Floats:
    return -u * np.log(np.where(u > 0, u, 1.0))


def _mean_f(a: Floats, b: Floats) -> Floats:
    """Mean of -u ln u over [b, a], by its integral, or by a series where the ends are close."""

    def integral(u: Floats) -> Floats:
        return u * u / 4 - u * u / 2 * np.log(np.where(u > 0, u, 1.0))

    gap = np.asarray(a - b)
    near = np.abs(gap) < 1e-4
    middle = (a + b) / 2
    series = _f(middle) - gap * gap / (24 * np.where(middle > 0, middle, 1.0))
    return np.where(near, series, (integral(a) - integral(b)) / np.where(near, 1.0, gap))
