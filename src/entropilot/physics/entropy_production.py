"""Entropy production of active matter without a score: from trajectories, and from the drift alone.

With b the drift of places and g even under time reversal, the mean rate is

    sigma = E[b . dx (Stratonovich)] / (eps dt) = E[ |b|^2/eps + div b ],

the second form being the first after Ito's correction: a number for every configuration and
particle, without noise, whose mean over the steady state is the particle's dissipation. It equals
E[v . D^-1 b] of arXiv 2309.12991 with the score integrated by parts. What it does not give is the
split into |v_x|^2/eps and |v_g|^2/gamma: that needs the score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.active_matter import ActiveSystem

Floats = NDArray[np.float64]
BLOCKS: Final = 20
NO_DIFFUSION: Final = (
    "eps = 0: places do not diffuse, so their share of the entropy production, |v_x|^2/eps, does "
    "not exist. Take the share of g and the divergences, or set eps > 0"
)


@dataclass(frozen=True)
class TrajectoryProduction:
    """Entropy production along trajectories, nats a unit of time.

    Attributes:
        total: mean over walkers and time, all particles together.
        error: its standard error.
        per_particle: [N].
    """

    total: float
    error: float
    per_particle: Floats


def trajectory_epr(
    system: ActiveSystem,
    duration: float,
    *,
    dt: float = 1e-2,
    walkers: int = 1,
    burn_in: float | None = None,
    start: tuple[Floats, Floats] | None = None,
    rng: np.random.Generator | None = None,
) -> TrajectoryProduction:
    """Mean of (b_old + b_new)/2 . dx over eps and time.

    Args:
        system: with eps > 0.
        duration: time of every walker.
        dt: time step; the error of the mean is of its order.
        walkers: independent copies.
        burn_in: time before; as in ``ActiveSystem.sample``; none when ``start`` is given.
        start: x, g [walkers, N, d] of the steady state.
        rng: noise.

    Raises:
        InputError: eps = 0, or a duration below 20 steps.

    Examples:
        >>> free = ActiveSystem(1, 1, v0=0.0, trap=1.0, force="none")
        >>> made = trajectory_epr(free, 2.0, walkers=50, burn_in=1.0, rng=np.random.default_rng(0))
        >>> abs(made.total) < 5 * made.error
        True
    """
    if system.eps == 0:
        raise InputError(NO_DIFFUSION)
    steps = round(duration / dt) // BLOCKS
    if steps < 1:
        raise InputError(
            f"duration = {duration} is {duration / dt:.3g} steps, expected >= {BLOCKS}"
        )
    rng = np.random.default_rng() if rng is None else rng
    if start is None:
        start = system.sample(walkers, burn_in, dt=dt, rng=rng)
    x, g = start
    rates = []
    for _ in range(BLOCKS):
        x, g, work = system.advance(x, g, dt, steps, rng)
        rates.append(work.reshape(-1, system.n) / (system.eps * steps * dt))
    made = np.array(rates)  # [blocks, walkers, N]
    whole = made.sum(axis=2)
    parts = whole.mean(axis=0) if whole.shape[1] >= BLOCKS else whole.mean(axis=1)
    error = float(parts.std(ddof=1)) / math.sqrt(len(parts))
    return TrajectoryProduction(float(whole.mean()), error, made.mean(axis=(0, 1)))


def dissipation(system: ActiveSystem, x: object, g: object) -> Floats:
    """|b|^2/eps + div b of every particle, [..., N], nats a unit of time.

    Its mean over the steady state is the entropy production; a single value may be negative.

    Raises:
        InputError: eps = 0.

    Examples:
        >>> free = ActiveSystem(1, 1, v0=0.3, eps=0.1, force="none")
        >>> round(float(dissipation(free, [[0.0]], [[1.0]])[0]), 12)
        0.9
    """
    if system.eps == 0:
        raise InputError(NO_DIFFUSION)
    b, _ = system.drift(x, g)
    return np.asarray((b**2).sum(axis=-1) / system.eps + system.div_drift(x))
