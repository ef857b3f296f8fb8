"""Free expansion of a hard-disc gas, and its Boltzmann entropy from step to step.

The gas is in equilibrium in the left part of a box; at t = 0 its wall goes. Entropy is produced by
free motion, which shears the gas over velocity cells, and by collisions; the two are told apart by
letting copies of all particles fly freely for one step.
Source: arXiv 2403.07519 (Garrido, Goldstein, Huse, Lebowitz).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.dilute_gas import DiluteGasDSMC
from entropilot.physics.hard_discs import HardDiscGas, free_expansion
from entropilot.physics.ideal_gas import IdealGas, free_flight
from entropilot.physics.phase_space import (
    CellCounts,
    Estimator,
    boltzmann_entropy,
    collision_rate,
    phase_space_counts,
    velocity_edges,
)

Floats = NDArray[np.float64]
SETTLING_COLLISIONS = 5.0  # a disc, before the wall goes
LONGEST_SETTLING = 0.25  # times L/v_th: a dilute start is drawn at equilibrium already


@dataclass(frozen=True)
class PhaseCells:
    """A cut of one-particle phase space into equal cells.

    Attributes:
        n_x: cells along x.
        width: edge of a velocity cell in x, thermal speeds.
        n_y: cells along y; 1 while the gas is uniform along it.
        width_y: the same along v_y; that of x when None.
        centred: rest lies in the middle of a velocity cell, not at an edge.
        v_max: velocity cells cover [-v_max, v_max]; what is faster counts in the outermost.

    Examples:
        >>> PhaseCells(32, 0.5).counts(IdealGas(10)).n_total
        10
    """

    n_x: int
    width: float
    n_y: int = 1
    width_y: float | None = None
    v_max: float = 5.0
    centred: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.n_x < 1 or self.n_y < 1:
            raise InputError(f"n_x = {self.n_x}, n_y = {self.n_y}, expected at least 1 cell each")
        velocity_edges(self.width, self.v_max)

    def of(self, x: Floats, v: Floats, box: Sequence[float] = (1.0, 1.0)) -> CellCounts:
        """Counts of particles at places and velocities [N, 2] in a box."""
        return phase_space_counts(
            x,
            v,
            np.linspace(0, box[0], self.n_x + 1),
            np.linspace(0, box[1], self.n_y + 1),
            velocity_edges(self.width, self.v_max, centred=self.centred),
            velocity_edges(self.width_y or self.width, self.v_max, centred=self.centred),
        )

    def counts(self, gas: HardDiscGas | IdealGas | DiluteGasDSMC) -> CellCounts:
        """Counts of a gas as it is now."""
        box = (1.0, 1.0) if isinstance(gas, DiluteGasDSMC) else gas.box
        return self.of(gas.positions, gas.velocities, box)


class EntropyStep(NamedTuple):
    """One step of a gas: time, entropy per particle, and the two rates up to the next step."""

    time: float
    entropy: float
    free: float
    collisional: float


def entropy_of(made: CellCounts, estimator: Estimator = "miller-madow") -> float:
    """Boltzmann entropy per particle of counts, nats.

    Examples:
        >>> cells = PhaseCells(4, 5.0)
        >>> round(entropy_of(cells.counts(IdealGas(1000, seed=1))), 1)
        4.6
    """
    return boltzmann_entropy(made.counts, made.volumes, estimator=estimator)


def entropy_history(
    gas: HardDiscGas | IdealGas,
    cells: PhaseCells,
    dt: float,
    steps: int,
    estimator: Estimator = "miller-madow",
) -> Iterator[EntropyStep]:
    """Advance a gas step by step; yields time, entropy and both production rates of each step.

    The free rate is that of copies that fly through one another for ``dt``; what the gas gains more
    is collisional. A ``dt`` of 0.02 to 0.05 L/v_th is short enough.

    Examples:
        >>> gas = free_expansion(IdealGas(20_000, (0.5, 1.0)), (0.5, 1.0), (1.0, 1.0))
        >>> [step.collisional for step in entropy_history(gas, PhaseCells(20, 1.0), 0.05, 2)]
        [0.0, 0.0]
    """
    if not dt > 0:
        raise InputError(f"dt = {dt}, expected a time > 0")
    now = entropy_of(cells.counts(gas), estimator)
    margin = float(gas.sigma.max()) / 2 if isinstance(gas, HardDiscGas) else 0.0
    for _ in range(steps):
        at = gas.time
        x, v = free_flight(gas.positions, gas.velocities, dt, gas.box, gas.walls, margin)
        free = entropy_of(cells.of(x, v, gas.box), estimator)
        gas.advance(dt)
        then = entropy_of(cells.counts(gas), estimator)
        yield EntropyStep(at, now, (free - now) / dt, (then - free) / dt)
        now = then


def settled_gas(
    n: int,
    sigma: float,
    box: Sequence[float],
    walls: Sequence[str] = ("hard", "hard"),
    seed: int | np.random.Generator = 0,
) -> HardDiscGas:
    """A gas at equilibrium in a box: drawn, then moved for about five collisions a disc.

    Examples:
        >>> settled_gas(100, 0.01, (0.5, 1.0)).time
        0.0
    """
    gas = HardDiscGas(n, sigma, box, walls, seed=seed)
    rate = collision_rate(n / (box[0] * box[1]), sigma, phi=gas.packing_fraction)
    gas.advance(min(SETTLING_COLLISIONS / rate, LONGEST_SETTLING * max(box)))
    return HardDiscGas(n, sigma, box, walls, gas.positions, gas.velocities)


def expanding_gas(
    n: int,
    sigma: float,
    box: Sequence[float] = (1.0, 1.0),
    *,
    fill: float = 0.5,
    walls: Sequence[str] = ("hard", "hard"),
    seed: int | np.random.Generator = 0,
) -> HardDiscGas:
    """A gas that was in equilibrium in the left part of a box, at the moment its wall goes.

    Args:
        n: discs.
        sigma: diameter.
        box: lengths.
        fill: share of the box along x that the gas fills at the start, in (0, 1].
        walls: along x (``"hard"``) and y.
        seed: of the start.

    Examples:
        >>> gas = expanding_gas(100, 0.001)
        >>> bool(gas.positions[:, 0].max() < 0.5), gas.box
        (True, (1.0, 1.0))
    """
    if not (math.isfinite(fill) and 0 < fill <= 1):
        raise InputError(f"fill = {fill}, expected a share in (0, 1]")
    start = (fill * box[0], box[1])
    gas = free_expansion(settled_gas(n, sigma, start, ("hard", walls[1]), seed), start, box)
    assert isinstance(gas, HardDiscGas)
    return HardDiscGas(n, sigma, box, walls, gas.positions, gas.velocities)
