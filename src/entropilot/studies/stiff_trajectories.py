"""Trajectories of the Van der Pol oscillator: long slow stretches, short bursts."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MU: Final = 6.0
GAP: Final = 0.35  # time between states
SUBSTEPS: Final = 200  # of RK4 in a gap
BURN_IN: Final = 20  # gaps
STATES: Final = 13


class Trajectories(NamedTuple):
    """States, every column divided by its standard deviation."""

    train: NDArray[np.float32]  # [N, 13, 2]
    test: NDArray[np.float32]


def van_der_pol(n_train: int, n_test: int, seed: int) -> Trajectories:
    """Paths from starts uniform in [-2.5, 2.5]^2, after a burn-in.

    Examples:
        >>> van_der_pol(4, 2, 0).train.shape
        (4, 13, 2)
    """
    rng = np.random.default_rng(seed)
    start = rng.uniform(-2.5, 2.5, (n_train + n_test, 2))
    states = integrate(start, BURN_IN, STATES)
    states /= states.reshape(-1, 2).std(0)
    found = states.astype(np.float32)
    return Trajectories(found[:n_train], found[n_train:])


def integrate(start: NDArray[np.float64], burn_in: int, kept: int) -> NDArray[np.float64]:
    """Classical Runge-Kutta of u'' = mu (1 - u^2) u' - u from [N, 2]; returns [N, kept, 2].

    Examples:
        >>> integrate(np.zeros((1, 2)), 0, 3).tolist()
        [[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]
    """
    out = np.empty((len(start), kept, 2))
    _integrate(np.ascontiguousarray(start, dtype=np.float64), burn_in, out)
    return out


@njit(cache=True, nogil=True)
def _integrate(start: Any, burn_in: int, out: Any) -> None:
    h = GAP / SUBSTEPS
    for i in range(len(start)):
        x, v = start[i, 0], start[i, 1]
        for gap in range(burn_in + out.shape[1]):
            if gap >= burn_in:
                out[i, gap - burn_in, 0], out[i, gap - burn_in, 1] = x, v
            for _ in range(SUBSTEPS):
                a1 = MU * (1 - x * x) * v - x
                x2, v2 = x + h / 2 * v, v + h / 2 * a1
                a2 = MU * (1 - x2 * x2) * v2 - x2
                x3, v3 = x + h / 2 * v2, v + h / 2 * a2
                a3 = MU * (1 - x3 * x3) * v3 - x3
                x4, v4 = x + h * v3, v + h * a3
                a4 = MU * (1 - x4 * x4) * v4 - x4
                x += h / 6 * (v + 2 * v2 + 2 * v3 + v4)
                v += h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
