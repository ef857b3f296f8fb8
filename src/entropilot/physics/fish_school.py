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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

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

Floats = NDArray[np.float64]

PAIRS_FOR_THREADS: Final = 1_000_000  # below, handing out work costs more than it saves
FEWEST_FOR_CELLS: Final = 64


@dataclass(frozen=True)
class Couzin:
    """Parameters of the zone model; lengths in one unit, angles of a turn in radians a step.

    Attributes:
        n_fish: at least 2.
        box_size: edge of the periodic cube.
        speed: of every fish.
        r_repulsion, r_orientation, r_attraction: outer radii of the zones, 0 <= r_r < r_o <= r_a.
        max_turn: largest turn in a step before the noise, radians; independent of dt.
        noise: standard deviation of what is added to each component of a heading in a step.
        blind_angle: half-angle of the cone behind a fish that it does not see, degrees; 0 for none.
        orientation_weight: of alignment against attraction, in [0, 1]; low values favour milling.
        dt: time of a step.
        start: ``random`` or ``ring``, fish on a circle that swim around it.
        ring_radius: of that circle; a quarter of the box by default.
        seed: of the noise, and of the start where ``legacy_seed`` is None.
        legacy_seed: draws the start as the reference does after ``numpy.random.seed``.

    Raises:
        ConfigurationError: names every parameter that is out of range.

    Examples:
        >>> Couzin(n_fish=100, noise=0.05).r_attraction
        10.0
    """

    n_fish: int = 150
    box_size: float = 25.0
    speed: float = 1.0
    r_repulsion: float = 1.0
    r_orientation: float = 5.0
    r_attraction: float = 10.0
    max_turn: float = 0.3
    noise: float = 0.1
    blind_angle: float = 30.0
    orientation_weight: float = 1.0
    dt: float = 0.1
    start: Literal["random", "ring"] = "random"
    ring_radius: float | None = None
    seed: int = 0
    legacy_seed: int | None = None

    def __post_init__(self) -> None:
        """Reject what is outside the model."""
        wrong = []
        if self.n_fish < 2:
            wrong.append(f"n_fish = {self.n_fish}, expected at least 2")
        for name in ("box_size", "speed", "max_turn", "dt"):
            if not 0 < getattr(self, name) < math.inf:
                wrong.append(f"{name} = {getattr(self, name)}, expected a positive number")
        radii = (self.r_repulsion, self.r_orientation, self.r_attraction)
        if not (0 <= radii[0] < radii[1] <= radii[2] < math.inf):
            wrong.append(
                "r_repulsion, r_orientation, r_attraction = "
                f"{', '.join(map(str, radii))}, expected 0 <= r_repulsion < r_orientation "
                "<= r_attraction"
            )
        if not 0 <= self.noise < math.inf:
            wrong.append(f"noise = {self.noise}, expected a number that is not negative")
        if not 0 <= self.orientation_weight <= 1:
            wrong.append(
                f"orientation_weight = {self.orientation_weight}, expected a number in [0, 1]"
            )
        if not 0 <= self.blind_angle <= 180:
            wrong.append(f"blind_angle = {self.blind_angle}, expected degrees in [0, 180]")
        if self.start not in ("random", "ring"):
            wrong.append(f"start = {self.start!r}, expected random or ring")
        if self.ring_radius is not None and not 0 < self.ring_radius < math.inf:
            wrong.append(f"ring_radius = {self.ring_radius}, expected a positive number or none")
        for name in ("seed", "legacy_seed"):
            value = getattr(self, name)
            most = 2**32 if name == "legacy_seed" else math.inf
            if value is not None and not 0 <= value < most:
                wrong.append(f"{name} = {value}, expected a whole number from 0")
        if wrong:
            raise ConfigurationError("; ".join(wrong))


#: The four states of the reference's configurations, with their initial states.
PRESETS: Final[Mapping[str, Couzin]] = {
    "swarm": Couzin(
        150, 25.0, 1.0, 2.0, 3.0, 15.0, max_turn=0.4, noise=0.2, seed=42, legacy_seed=42
    ),
    "torus": Couzin(
        200, 25.0, 1.0, 1.0, 3.0, 10.0, max_turn=0.2, noise=0.05, blind_angle=150.0,
        orientation_weight=0.1, start="ring", ring_radius=6.0, seed=42, legacy_seed=42,
    ),
    "dynamic_parallel": Couzin(
        180, 28.0, 1.2, 1.0, 10.0, 18.0, max_turn=0.35, noise=0.12, blind_angle=25.0,
        seed=456, legacy_seed=456,
    ),
    "highly_parallel": Couzin(
        250, 35.0, 1.5, 1.0, 12.0, 20.0, max_turn=0.2, noise=0.05, blind_angle=20.0,
        seed=789, legacy_seed=789,
    ),
}  # fmt: skip
#: Steps that the reference runs of each.
PRESET_STEPS: Final[Mapping[str, int]] = {
    "swarm": 1000,
    "torus": 2000,
    "dynamic_parallel": 1500,
    "highly_parallel": 1000,
}


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


def cautions(params: Couzin) -> list[str]:
    """What is allowed but makes results hard to read, as sentences.

    Examples:
        >>> cautions(Couzin())
        []
        >>> cautions(Couzin(r_attraction=15.0))[0][:55]
        'r_attraction = 15 exceeds half the box (12.5): the near'
    """
    found = []
    if params.r_attraction > params.box_size / 2:
        found.append(
            f"r_attraction = {params.r_attraction:g} exceeds half the box "
            f"({params.box_size / 2:g}): the nearest images reach into the corners of the cube, "
            "and what a fish sees depends on the direction."
        )
    if 0 < params.r_repulsion < params.speed * params.dt:
        found.append(
            f"speed * dt = {params.speed * params.dt:g} exceeds r_repulsion = "
            f"{params.r_repulsion:g}: a fish can jump through the repulsion zone. Use a smaller dt."
        )
    return found


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
    from entropilot.physics.fish_school_metrics import polarization, rotation

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


def _step(
    x: Floats, u: Floats, constants: Floats, params: Couzin, z: Floats, threads: int
) -> tuple[Floats, Floats]:
    n, box = len(x), params.box_size
    m = min(int(box / params.r_attraction), 1024, max(3, math.ceil(2 * n ** (1 / 3))))
    out = np.empty_like(u)
    if m >= 3 and n >= FEWEST_FOR_CELLS:
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
