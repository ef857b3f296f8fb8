"""Hard discs moved exactly, from one collision to the next.

The gas of Garrido, Goldstein, Huse and Lebowitz (arXiv 2403.07519): N discs of mass 1 in a box with
specular or periodic walls. Units: k_B T = 1 and m = 1 give the thermal speed 1; lengths in those of
the box. Nothing is stored between two calls of ``advance`` but positions and velocities, from which
all events are found anew: a run that is saved and restored goes on bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.physics.gas_start import (
    cell_grid,
    check_room,
    checked_box,
    checked_diameters,
    checked_vectors,
    checked_walls,
    drawn_places,
    maxwellian_velocities,
    whole_number,
)
from entropilot.physics.ideal_gas import IdealGas, free_flight

__all__ = [
    "EventCounts",
    "HardDiscGas",
    "IdealGas",
    "cell_grid",
    "checked_box",
    "free_expansion",
    "free_flight",
    "maxwellian_velocities",
]

DENSEST_RANDOM: Final = 0.7
OVERLAP: Final = 1e-9  # of the diameter: rounding of positions that were stored

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EventCounts:
    """What happened so far.

    ``virial`` is the sum of diameter times normal relative speed over the collisions.

    Examples:
        >>> EventCounts().collisions
        0
    """

    collisions: int = 0
    crossings: int = 0
    wall_hits: int = 0
    stale: int = 0
    virial: float = 0.0

    @property
    def events(self) -> int:
        """Everything that was taken from the queue."""
        return self.collisions + self.crossings + self.wall_hits + self.stale


class HardDiscGas:
    """N hard discs of mass 1.

    Args:
        n: discs, at least 1.
        sigma: diameter; a number, or [n] for discs of several sizes (all of mass 1).
        box: lengths; centres stay a radius away from hard walls.
        walls: ``"hard"`` or ``"periodic"`` along x and y.
        x: [n, 2] places; at random when None.
        v: [n, 2] velocities; Maxwellian when None, without net momentum and with kinetic energy n.
        seed: of what is drawn.

    Raises:
        InputError: a size that is not positive, a box that holds no disc, discs that overlap
            (names the pair and the gap), a gas too dense, a gas in which nothing moves.
        BrokenNumbersError: a position or velocity that is not finite (names the disc).

    Examples:
        >>> gas = HardDiscGas(2, 0.1, x=[[0.2, 0.5], [0.8, 0.5]], v=[[1.0, 0.0], [-1.0, 0.0]])
        >>> gas.advance(0.3)
        >>> gas.stats.collisions, gas.velocities[0].tolist()
        (1, [-1.0, 0.0])
    """

    def __init__(
        self,
        n: int,
        sigma: float | ArrayLike,
        box: Sequence[float] = (1.0, 1.0),
        walls: Sequence[str] = ("hard", "hard"),
        x: ArrayLike | None = None,
        v: ArrayLike | None = None,
        seed: int | np.random.Generator = 0,
    ) -> None:
        """Check everything at the door and draw what was not given."""
        self.n = whole_number(n)
        self.sigma = checked_diameters(sigma, self.n)
        self.walls = checked_walls(walls)
        self.box = checked_box(box)
        self._periodic = tuple(kind == "periodic" for kind in self.walls)
        check_room(self.sigma, self.box, self._periodic)
        rng = np.random.default_rng(seed)
        places = self._drawn_places(rng) if x is None else checked_vectors(x, self.n, "positions")
        if v is None:
            velocities = maxwellian_velocities(self.n, rng)
        else:
            velocities = checked_vectors(v, self.n, "velocities")
        if not np.any(velocities):
            raise InputError("the kinetic energy is 0: no disc would ever move. Give velocities.")
        self._x, self._v = places.copy(), velocities.copy()
        self.time = 0.0
        self.stats = EventCounts()
        self._check_places()

    @property
    def positions(self) -> Floats:
        """[n, 2] centres, a copy."""
        return self._x.copy()

    @property
    def velocities(self) -> Floats:
        """[n, 2] velocities, a copy."""
        return self._v.copy()

    @property
    def packing_fraction(self) -> float:
        """Share of the box that discs cover."""
        return float(math.pi / 4 * (self.sigma**2).sum() / (self.box[0] * self.box[1]))

    @property
    def kinetic_energy(self) -> float:
        """Sum of v^2 / 2; n kT in two dimensions."""
        return 0.5 * math.fsum((self._v**2).ravel())

    @property
    def pressure(self) -> float:
        """Kinetic part plus virial of all collisions so far: (E + virial / (2 time)) / area.

        Examples:
            >>> round(HardDiscGas(50, 0.001).pressure, 9)
            50.0
        """
        collisional = self.stats.virial / (2.0 * self.time) if self.time > 0 else 0.0
        return (self.kinetic_energy + collisional) / (self.box[0] * self.box[1])

    def advance(self, dt: float) -> None:
        """Move everything by a time, through every event.

        Raises:
            InputError: a time that is negative or not finite.
        """
        self.colliding_pairs(dt, 0)

    def colliding_pairs(self, dt: float, most: int) -> NDArray[np.int64]:
        """Advance, and return the first pairs that collided, in order.

        Returns:
            [P, 2] disc numbers, P <= most.

        Examples:
            >>> gas = HardDiscGas(2, 0.1, x=[[0.2, 0.5], [0.8, 0.5]], v=[[1.0, 0], [-1.0, 0]])
            >>> sorted(gas.colliding_pairs(0.3, 5)[0].tolist())
            [0, 1]
        """
        from entropilot.physics import hard_disc_kernels as kernels

        if not (math.isfinite(dt) and dt >= 0):
            raise InputError(f"dt = {dt}, expected a time >= 0; reverse() turns the motion round")
        grid = self._grid()
        length = np.array(self.box)
        order = kernels.tile_order(self._x, np.array(grid), length, 8)
        real, whole = np.empty((self.n, 8)), np.zeros((self.n, 8), dtype=np.int64)
        real[:, :2], real[:, 2:4], real[:, 7] = (
            self._x[order],
            self._v[order],
            self.sigma[order] / 2,
        )
        head = np.empty(grid[0] * grid[1], dtype=np.int64)
        ring = np.empty(1 << max(4, math.ceil(math.log2(4 * self.n))), dtype=np.int64)
        counts = np.zeros(4, dtype=np.int64)
        pairs = np.full((most, 2), -1, dtype=np.int64)
        place = (tuple(grid), self.box, self._periodic)
        width = kernels.build_events(real, whole, head, ring, *place)
        virial = kernels.run_events(
            real, whole, head, ring, *place, width, float(dt), counts, pairs
        )
        self._x[order], self._v[order] = real[:, :2], real[:, 2:4]
        self.time += dt
        old = self.stats
        self.stats = EventCounts(
            old.collisions + int(counts[0]),
            old.crossings + int(counts[1]),
            old.wall_hits + int(counts[2]),
            old.stale + int(counts[3]),
            old.virial + float(virial),
        )
        found: NDArray[np.int64] = order[pairs[: min(most, int(counts[0]))]]
        return found

    def reverse(self) -> None:
        """Turn every velocity round: the motion runs back, as far as rounding lets it."""
        self._v = -self._v

    def resume(self, time: float, stats: EventCounts) -> HardDiscGas:
        """Set the clock and the counts of a run that is continued; returns the gas."""
        self.time, self.stats = float(time), stats
        return self

    def smallest_gap(self) -> tuple[int, int, float]:
        """The two discs that are nearest to touching, and the gap between them.

        Discs farther apart than about a cell are not looked at: (-1, -1, inf) when all are.

        Examples:
            >>> HardDiscGas(2, 0.125, x=[[0.25, 0.5], [0.5, 0.5]]).smallest_gap()
            (0, 1, 0.125)
        """
        from entropilot.physics.gas_start_kernels import closest_pair

        i, j, gap = closest_pair(self._x, self.sigma / 2, self.box, self._periodic, *self._grid())
        return int(i), int(j), float(gap)

    def _grid(self) -> tuple[int, int]:
        return cell_grid(self.n, float(self.sigma.max()), self.box)

    def _drawn_places(self, rng: np.random.Generator) -> Floats:
        if self.packing_fraction > DENSEST_RANDOM:
            raise InputError(
                f"the discs would cover {self.packing_fraction:.3f} of the box; a start is drawn "
                f"up to {DENSEST_RANDOM}. Give positions x, or a smaller sigma."
            )
        return drawn_places(self.n, float(self.sigma.max()), self.box, self._periodic, rng)

    def _check_places(self) -> None:
        for axis, name in enumerate("xy"):
            margin = 0.0 if self._periodic[axis] else self.sigma / 2
            slack = OVERLAP * self.sigma
            outside = (self._x[:, axis] < margin - slack) | (
                self._x[:, axis] > self.box[axis] - margin + slack
            )
            if outside.any():
                i = int(np.flatnonzero(outside)[0])
                raise InputError(
                    f"disc {i} has {name} = {self._x[i, axis]:.6g}, outside the box of length "
                    f"{self.box[axis]:.6g} (centres stay {np.broadcast_to(margin, self.n)[i]:.3g} "
                    "away from its walls)"
                )
        i, j, gap = self.smallest_gap()
        if gap < -OVERLAP * float(self.sigma.max()):
            raise InputError(
                f"discs {i} and {j} overlap at the start: their gap is {gap:.3g} at diameters "
                f"{self.sigma[i]:.3g} and {self.sigma[j]:.3g}. Move them apart, or make sigma "
                "smaller."
            )


def free_expansion(
    gas: HardDiscGas | IdealGas, from_box: Sequence[float], to_box: Sequence[float]
) -> HardDiscGas | IdealGas:
    """The same discs in a larger box, their wall gone; the clock starts at 0.

    Args:
        gas: a gas in ``from_box``.
        from_box: lengths of the box that it fills; checked against the gas.
        to_box: lengths, none smaller.

    Raises:
        InputError: the gas is in another box, or the new box is smaller.

    Examples:
        >>> free_expansion(IdealGas(10, box=(0.5, 1.0)), (0.5, 1.0), (1.0, 1.0)).box
        (1.0, 1.0)
    """
    start, end = checked_box(from_box), checked_box(to_box)
    if start != gas.box:
        raise InputError(f"from_box = {start}, but the gas is in {gas.box}")
    if any(b < a for a, b in zip(start, end, strict=True)):
        raise InputError(f"to_box = {end} is smaller than from_box = {start}: a gas expands")
    if isinstance(gas, IdealGas):
        return IdealGas(gas.n, end, gas.walls, gas.positions, gas.velocities)
    return HardDiscGas(gas.n, gas.sigma, end, gas.walls, gas.positions, gas.velocities)
