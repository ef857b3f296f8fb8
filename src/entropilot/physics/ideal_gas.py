"""A gas without collisions: free flight between walls, exact at any time.

The ideal gas of arXiv 2403.07519, in the units of ``hard_discs``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.physics.gas_start import (
    checked_box,
    checked_vectors,
    checked_walls,
    maxwellian_velocities,
    whole_number,
)

Floats = NDArray[np.float64]


class IdealGas:
    """Points that do not meet: free flight between walls, exact at any time.

    Args, errors and properties as ``HardDiscGas``, without a diameter.

    Examples:
        >>> gas = IdealGas(1, x=[[0.9, 0.5]], v=[[1.0, 0.0]])
        >>> gas.advance(0.2)
        >>> gas.positions.round(12).tolist(), gas.velocities.tolist()
        ([[0.9, 0.5]], [[-1.0, 0.0]])
    """

    def __init__(
        self,
        n: int,
        box: Sequence[float] = (1.0, 1.0),
        walls: Sequence[str] = ("hard", "hard"),
        x: ArrayLike | None = None,
        v: ArrayLike | None = None,
        seed: int | np.random.Generator = 0,
    ) -> None:
        """Check everything at the door and draw what was not given."""
        self.n, self.box, self.walls = whole_number(n), checked_box(box), checked_walls(walls)
        rng = np.random.default_rng(seed)
        self._x = (
            rng.random((self.n, 2)) * self.box
            if x is None
            else checked_vectors(x, self.n, "positions").copy()
        )
        self._v = (
            maxwellian_velocities(self.n, rng)
            if v is None
            else checked_vectors(v, self.n, "velocities").copy()
        )
        if (self._x < 0).any() or (self._x > np.array(self.box)).any():
            raise InputError("a position lies outside the box")
        self.time = 0.0

    @property
    def positions(self) -> Floats:
        """[n, 2], a copy."""
        return self._x.copy()

    @property
    def velocities(self) -> Floats:
        """[n, 2], a copy."""
        return self._v.copy()

    def advance(self, dt: float) -> None:
        """Free flight by a time >= 0."""
        if not (math.isfinite(dt) and dt >= 0):
            raise InputError(f"dt = {dt}, expected a time >= 0; reverse() turns the motion round")
        self._x, self._v = free_flight(self._x, self._v, dt, self.box, self.walls)
        self.time += dt

    def reverse(self) -> None:
        """Turn every velocity round."""
        self._v = -self._v


def free_flight(
    x: Floats,
    v: Floats,
    dt: float,
    box: Sequence[float],
    walls: Sequence[str] = ("hard", "hard"),
    margin: float = 0.0,
) -> tuple[Floats, Floats]:
    """Positions and velocities after flight without collisions, reflected or wrapped at the walls.

    A box with hard walls is unfolded to a ring of twice its length: exact for any time.

    Examples:
        >>> free_flight(np.array([[0.5, 0.5]]), np.array([[3.0, 0.0]]), 1.0, (1.0, 1.0))[0].tolist()
        [[0.5, 0.5]]
    """
    new_x, new_v = np.empty_like(x), v.copy()
    for axis in range(2):
        length = box[axis]
        if walls[axis] == "periodic":
            new_x[:, axis] = np.mod(x[:, axis] + v[:, axis] * dt, length)
            continue
        length -= 2 * margin
        ring = np.mod(x[:, axis] - margin + v[:, axis] * dt, 2 * length)
        back = ring > length
        new_x[:, axis] = np.where(back, 2 * length - ring, ring) + margin
        new_v[back, axis] *= -1
    return new_x, new_v
