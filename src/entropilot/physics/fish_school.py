"""Fish that repel, align and attract by zones (Couzin 2002; arXiv 2602.07948, dewi-kadita 0.0.4).

A step, all headings from the old state: over the neighbours j that fish i sees (outside a cone of
half-angle ``blind_angle`` behind it), n_ij the direction to the nearest image,

    d < r_repulsion    R -= n_ij          d < r_orientation  O += u_j
    d < r_attraction   A += n_ij
    wish = R if any fish is in the first zone, else weight O + A, else u_i

The heading takes a step (1 - s) u + s wish, s = max_turn / angle, or reaches the wish; then noise
sigma z is added, z standard normal, and the heading is made a unit vector again. The fish swims on
by speed dt, in a periodic cube.

Departs from the reference: noise comes from one generator that is passed in, so that a run is the
same at any number of threads (there, equal seeds give different runs); a weight outside [0, 1] is
an error (there, it is clipped).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.physics.fish_school_kernels import (
    TINY,
    sort_into_cells,
    steer_by_cells,
    steer_by_pairs,
    swim,
)
from entropilot.physics.fish_school_order import polarization, rotation
from entropilot.physics.fish_school_settings import PRESET_STEPS, PRESETS, Couzin, cautions

__all__ = [
    "PRESETS",
    "PRESET_STEPS",
    "Couzin",
    "Frame",
    "Trajectory",
    "cautions",
    "check_school",
    "couzin_step",
    "frames",
    "initial_state",
    "simulate",
    "swum",
]

Floats = NDArray[np.float64]

PAIRS_FOR_THREADS: Final = 1_000_000  # below, handing out work costs more than it saves
# What cells cost, in pairs of the plain pass, which takes several pairs at once; measured.
CELL_PAIR_COST: Final = 5.0
CELL_FISH_COST: Final = 80.0


class Frame(NamedTuple):
    """A school at one time: places [N, 3] in [0, box), unit headings [N, 3], time, step."""

    x: Floats
    u: Floats
    t: float
    step: int


class Trajectory(NamedTuple):
    """Frames of a run: x and u [T, N, 3], time, polarization and rotation [T]."""

    x: Floats
    u: Floats
    t: Floats
    P: Floats
    M: Floats


def initial_state(params: Couzin, rng: np.random.Generator | None = None) -> tuple[Floats, Floats]:
    """Places and unit headings at the start, each [N, 3].

    Args:
        params: ``start``, ``ring_radius``, and the seeds.
        rng: draws the start; by default a new one from ``seed``. Not read with ``legacy_seed``.

    Examples:
        >>> x, u = initial_state(Couzin(n_fish=3, legacy_seed=42))
        >>> x[0].round(3).tolist()
        [9.364, 23.768, 18.3]
    """
    n, box = params.n_fish, params.box_size
    source: np.random.RandomState | np.random.Generator
    if params.legacy_seed is not None:
        source = np.random.RandomState(params.legacy_seed)
    else:
        source = rng if rng is not None else np.random.default_rng(params.seed)
    if params.start == "random":
        x = source.random((n, 3)) * box
        u = source.standard_normal((n, 3))
    else:
        z = source.standard_normal(
            (n, 4)
        )  # of each fish: angle, radius, height, slope of its heading
        radius = params.ring_radius if params.ring_radius is not None else box / 4
        theta = 2 * np.pi * np.arange(n) / n + z[:, 0] * 0.1
        r = radius + z[:, 1] * (radius * 0.15)
        high = z[:, 2] * (radius * 0.3)
        x = box / 2 + np.stack([r * np.cos(theta), r * np.sin(theta), high], axis=1)
        x = np.mod(x, box)
        x[x >= box] = 0.0
        u = np.stack([-np.sin(theta), np.cos(theta), z[:, 3] * 0.1], axis=1)
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    return x, u / np.where(norm == 0, 1.0, norm)


def couzin_step(
    x: ArrayLike, u: ArrayLike, params: Couzin, noise: ArrayLike | None = None, *, threads: int = 1
) -> tuple[Floats, Floats]:
    """Places and headings one step later.

    Args:
        x: [N, 3] places in [0, box).
        u: [N, 3] headings or velocities; only their direction counts, 0 for a fish at rest.
        params: of the model; ``n_fish`` need not agree.
        noise: [N, 3] standard normals, times ``params.noise``; None for a step without noise.
        threads: used where they pay; the result does not depend on them.

    Raises:
        InputError: shapes, places outside the box, numbers that are not finite.

    Examples:
        >>> p = Couzin(n_fish=2, r_repulsion=1.0)
        >>> x, u = couzin_step([[1, 1, 1], [1.5, 1, 1]], [[1, 0, 0], [1, 0, 0]], p)
        >>> u[0].round(3).tolist()  # the one ahead is too near: it turns away, or stays
        [1.0, 0.0, 0.0]
    """
    x, u = check_school(x, u, params.box_size)
    norm = np.linalg.norm(u, axis=1, keepdims=True)
    u = np.where(norm < TINY, 0.0, u / np.where(norm < TINY, 1.0, norm))
    sigma = params.noise
    if noise is None:
        z, sigma = np.zeros((0, 3)), 0.0
    else:
        z = np.ascontiguousarray(noise, dtype=np.float64)
        if z.shape != x.shape or not np.isfinite(z).all():
            raise InputError(f"noise has shape {z.shape}, expected {x.shape}, all of it finite")
    return _step(x, u, _constants(params, sigma), params, z, threads)


def check_school(x: ArrayLike, v: ArrayLike, box: float | None) -> tuple[Floats, Floats]:
    """Places and velocities as arrays [N, 3], or an error that names the fish.

    Examples:
        >>> check_school([[0, 0, 9.0]], [[1, 0, 0]], 5.0)
        Traceback (most recent call last):
        ...
        entropilot.errors.InputError: fish 0 is at (0, 0, 9), outside [0, 5): take x % box_size
    """
    x, v = (np.ascontiguousarray(a, dtype=np.float64) for a in (x, v))
    if x.ndim != 2 or x.shape[1] != 3 or x.shape[0] == 0:
        raise InputError(f"positions have shape {x.shape}, expected [fish, 3]")
    if v.shape != x.shape:
        raise InputError(f"velocities have shape {v.shape}, expected {x.shape} like the positions")
    for name, values in (("position", x), ("velocity", v)):
        if not np.isfinite(values).all():
            fish = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise InputError(f"the {name} of fish {fish} is not finite: {values[fish]}")
    if box is not None and not 0 < box < math.inf:
        raise InputError(f"box_size = {box}, expected a positive number, or None for no box")
    if box is not None and ((x < 0) | (x >= box)).any():
        fish = int(np.argwhere((x < 0) | (x >= box))[0, 0])
        place = ", ".join(f"{value:g}" for value in x[fish])
        raise InputError(f"fish {fish} is at ({place}), outside [0, {box:g}): take x % box_size")
    return x, v


def frames(
    params: Couzin,
    n_steps: int,
    save_every: int = 1,
    rng: np.random.Generator | None = None,
    threads: int = 1,
) -> Iterator[Frame]:
    """The start and every ``save_every``-th step after it, one after the other.

    Examples:
        >>> [frame.step for frame in frames(Couzin(n_fish=5), 4, 2)]
        [0, 2, 4]
    """
    if n_steps < 0 or save_every < 1:
        raise ConfigurationError(
            f"n_steps = {n_steps} and save_every = {save_every}, expected at least 0 and 1"
        )
    generator = rng if rng is not None else np.random.default_rng(params.seed)
    x, u = initial_state(params, generator)
    yield Frame(x, u, 0.0, 0)
    for step in range(save_every, n_steps + 1, save_every):
        x, u = swum(x, u, params, save_every, generator, threads)
        yield Frame(x, u, step * params.dt, step)


def swum(
    x: Floats, u: Floats, params: Couzin, n_steps: int, rng: np.random.Generator, threads: int = 1
) -> tuple[Floats, Floats]:
    """Places and unit headings some steps later; nothing is checked.

    Examples:
        >>> p = Couzin(n_fish=4)
        >>> x, u = initial_state(p)
        >>> swum(x, u, p, 3, np.random.default_rng(0))[0].shape
        (4, 3)
    """
    constants, none = _constants(params, params.noise), np.zeros((0, 3))
    for _ in range(n_steps):
        z = rng.standard_normal(x.shape) if params.noise > 0 else none
        x, u = _step(x, u, constants, params, z, threads)
    return x, u


def simulate(
    params: Couzin,
    n_steps: int,
    save_every: int = 1,
    rng: np.random.Generator | None = None,
    threads: int = 1,
    stream: Callable[[Frame], None] | None = None,
) -> Trajectory:
    """Run a school.

    Args:
        params: of the model.
        n_steps: to run.
        save_every: steps between frames; the start is one.
        rng: of the noise (and of the start, without ``legacy_seed``); from ``seed`` by default.
        threads: used where they pay; the result is the same, bit for bit.
        stream: receives each frame; then only the last one is kept in x and u.

    Returns:
        Frames with time, polarization P and rotation M of each.

    Warns:
        UserWarning: the sentences of ``cautions``.

    Examples:
        >>> run = simulate(Couzin(n_fish=20, noise=0.0), 10, 5)
        >>> run.x.shape, bool(run.P[-1] <= 1)
        ((3, 20, 3), True)
    """
    for sentence in cautions(params):
        warnings.warn(sentence, stacklevel=2)
    kept: list[Frame] = []
    order: list[tuple[float, float, float]] = []
    for frame in frames(params, n_steps, save_every, rng, threads):
        order.append((frame.t, polarization(frame.u), rotation(frame.x, frame.u)))
        if stream is not None:
            stream(frame)
            kept.clear()
        kept.append(frame)
    t, p, m = np.array(order).T
    return Trajectory(np.stack([f.x for f in kept]), np.stack([f.u for f in kept]), t, p, m)


def _constants(params: Couzin, sigma: float) -> Floats:
    alpha = math.radians(params.blind_angle)
    return np.array(
        [
            params.box_size,
            params.r_repulsion**2,
            params.r_orientation**2,
            params.r_attraction**2,
            -math.cos(alpha),
            float(alpha <= 0),
            params.orientation_weight,
            params.max_turn,
            sigma,
        ]
    )


def _cells_pay(n: int, m: int) -> bool:
    """Whether n fish in m^3 cells are looked at in less time than all pairs."""
    return m >= 3 and CELL_PAIR_COST * n * 27 / m**3 + CELL_FISH_COST < n


def _step(
    x: Floats, u: Floats, constants: Floats, params: Couzin, z: Floats, threads: int
) -> tuple[Floats, Floats]:
    n, box = len(x), params.box_size
    m = min(int(box / params.r_attraction), 1024, max(3, math.ceil(2 * n ** (1 / 3))))
    out = np.empty_like(u)
    if _cells_pay(n, m):
        start, order = np.empty(m**3 + 1, np.int64), np.empty(n, np.int64)
        xs, us = np.empty((3, n)), np.empty((3, n))
        sort_into_cells(x, u, box, m, start, order, xs, us)

        def steer(lo: int, hi: int) -> None:
            steer_by_cells(xs, us, z, constants, m, start, order, lo, hi, out)

        count, pairs = m * m, n * 27 * n / m**3
    else:
        xs, us = np.ascontiguousarray(x.T), np.ascontiguousarray(u.T)

        def steer(lo: int, hi: int) -> None:
            steer_by_pairs(xs, us, z, constants, lo, hi, out)

        count, pairs = n, float(n) * n
    if threads > 1 and pairs > PAIRS_FOR_THREADS:
        cuts = np.linspace(0, count, min(4 * threads, count) + 1).astype(int).tolist()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(steer, cuts[:-1], cuts[1:]))
    else:
        steer(0, count)
    return swim(x, out, params.speed * params.dt, box), out
