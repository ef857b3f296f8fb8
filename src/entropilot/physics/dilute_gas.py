"""Direct simulation Monte Carlo of a dilute hard-disc gas in a slit (Bird's no-time-counter).

The cheap twin of ``HardDiscGas`` in the limit of small discs: places along x, both velocities, and
collisions drawn among neighbours at the rate of the Boltzmann equation. Kinetic energy is kept to
round-off, momentum too but for the walls.
Source: G. A. Bird, Molecular Gas Dynamics; the gas of arXiv 2403.07519. A relative speed above
``FASTEST`` collides as if it were that (probability 1e-9 a pair).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.gas_start import maxwellian_velocities

FASTEST: Final = 9.0  # relative speed, thermal speeds
CELLS: Final = 50
Floats = NDArray[np.float64]


class DiluteGasDSMC:
    """N particles in [0, 1], starting at equilibrium in the left ``fill`` of the slit.

    Args:
        n: simulated particles, at least 2.
        kn: mean free path at the final density over the length of the slit, > 0.
        seed: of places, velocities and collisions.
        fill: share of the slit that is filled at the start.

    Examples:
        >>> gas = DiluteGasDSMC(1000, 1.0, seed=1)
        >>> gas.advance(0.1)
        >>> gas.positions.shape, gas.collisions > 0
        ((1000, 2), True)
    """

    def __init__(self, n: int, kn: float, seed: int = 0, *, fill: float = 0.5) -> None:
        """Draw the start."""
        if n < 2:
            raise InputError(f"n = {n}, expected at least 2 particles")
        if not (math.isfinite(kn) and kn > 0):
            raise InputError(f"kn = {kn}, expected a number > 0; IdealGas has no collisions")
        if not 0 < fill <= 1:
            raise InputError(f"fill = {fill}, expected a share in (0, 1]")
        self.n, self.kn = n, kn
        self.rate = math.sqrt(math.pi / 2) / kn  # collisions a particle and time, final density
        self._rng = np.random.default_rng(seed)
        self._x = fill * self._rng.random(n)
        self._v = maxwellian_velocities(n, self._rng)
        self.time, self.collisions = 0.0, 0

    @property
    def positions(self) -> Floats:
        """[n, 2]; y is 1/2 for all, the gas being uniform along it."""
        return np.column_stack((self._x, np.full(self.n, 0.5)))

    @property
    def velocities(self) -> Floats:
        """[n, 2], a copy."""
        return self._v.copy()

    def advance(self, dt: float) -> None:
        """Free flight and collisions, in steps of at most 0.1 and 0.02 Kn.

        Raises:
            InputError: a time that is negative or not finite.
        """
        if not (math.isfinite(dt) and dt >= 0):
            raise InputError(f"dt = {dt}, expected a time >= 0")
        steps = math.ceil(dt / min(0.1, 0.02 * self.kn)) if dt else 0
        for _ in range(steps):
            scale = self.rate / (math.sqrt(math.pi) * self.n) * FASTEST * (dt / steps) * CELLS
            self.collisions += _step(self._x, self._v, dt / steps, scale, self._rng)
        self.time += dt


@njit(cache=True)
def _step(x: Floats, v: Floats, dt: float, scale: float, rng: np.random.Generator) -> Any:
    """Stream with reflection, then collide within cells; returns the collisions."""
    n = len(x)
    start = np.zeros(CELLS + 1, np.int64)
    cell = np.empty(n, np.int32)
    for i in range(n):
        a = (x[i] + v[i, 0] * dt) % 2.0
        if a > 1.0:
            a = 2.0 - a
            v[i, 0] = -v[i, 0]
        x[i] = a
        cell[i] = min(int(a * CELLS), CELLS - 1)
        start[cell[i] + 1] += 1
    for c in range(CELLS):
        start[c + 1] += start[c]
    order = np.empty(n, np.int32)
    fill = start[:-1].copy()
    for i in range(n):
        order[fill[cell[i]]] = i
        fill[cell[i]] += 1
    done = 0
    for c in range(CELLS):
        first, m = start[c], start[c + 1] - start[c]
        wanted = 0.5 * m * (m - 1) * scale
        tries = int(wanted) + (1 if rng.random() < wanted - int(wanted) else 0)
        for _ in range(tries):
            p = int(rng.random() * m)
            q = int(rng.random() * (m - 1))
            q += q >= p
            i, j = order[first + p], order[first + q]
            gx = v[j, 0] - v[i, 0]
            gy = v[j, 1] - v[i, 1]
            g = math.sqrt(gx * gx + gy * gy)
            if g == 0.0 or rng.random() * FASTEST >= g:
                continue
            b = 2.0 * rng.random() - 1.0
            a = math.sqrt(1.0 - b * b)
            nx = (a * gx - b * gy) / g
            ny = (a * gy + b * gx) / g
            along = gx * nx + gy * ny
            v[i, 0] += along * nx
            v[i, 1] += along * ny
            v[j, 0] -= along * nx
            v[j, 1] -= along * ny
            done += 1
    return done
