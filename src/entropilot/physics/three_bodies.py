"""Three gravitating bodies in a plane: units, start, energy.

Learned time steps for the chaotic three-body problem, arXiv 2502.12809. In N-body units: mass 3
solar masses, length 1 au, G = 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError

Array = NDArray[np.float64]

G: Final = 6.67428e-11  # m^3 / (kg s^2), and the rest, as AMUSE has them
SOLAR_MASS: Final = 1.98892e30  # kg
AU: Final = 149597870691.0  # m
YEAR_SECONDS: Final = 365.242199 * 86400.0
VELOCITY_UNIT: Final = (G * 3.0 * SOLAR_MASS / AU) ** 0.5  # m/s
TIME_UNIT: Final = AU / VELOCITY_UNIT  # s
YEAR: Final = YEAR_SECONDS / TIME_UNIT  # N-body times
CHECK: Final = 0.1 * YEAR  # between two decisions
PAIRS: Final = ((0, 1), (0, 2), (1, 2))


def initial_conditions(seed: int, *, legacy: bool = True) -> tuple[Array, Array, Array]:
    """Masses [3], positions [3, 3] and velocities [3, 3] of a start, centre of mass at rest.

    Args:
        seed: of the four numbers that a start is drawn from.
        legacy: draw with numpy's legacy generator, as the reference does.

    Examples:
        >>> m, x, v = initial_conditions(0)
        >>> m.sum(), bool(np.allclose(m @ x, 0)), bool(np.allclose(x[:, 2], 0))
        (np.float64(1.0), True, True)
    """
    low, high = np.array([5.0, 0.0, 0.0, 5.0]), np.array([20.0, 10.0, -10.0, 20.0])
    draws = (np.random.RandomState(seed) if legacy else np.random.default_rng(seed)).random(4)
    x1, y1, x2, y2 = low + (high - low) * draws
    m = np.full(3, 1.0 / 3.0)
    x = np.array([[0.0, 0.0, 0.0], [x1, y1, 0.0], [x2, y2, 0.0]])
    speed = 10e3 / VELOCITY_UNIT
    v = np.array([[0.0, speed, 0.0], [-speed, 0.0, 0.0], [0.0, 0.0, 0.0]])
    return m, x - m @ x / m.sum(), v - m @ v / m.sum()


def energy(m: Array, x: Array, v: Array) -> float:
    """Kinetic and potential energy, G = 1.

    Args:
        m: [3] masses.
        x: [3, 3] positions.
        v: [3, 3] velocities.

    Examples:
        >>> round(energy(*initial_conditions(0)), 9)
        -0.01221537
    """
    kinetic = 0.5 * float(m @ (v * v).sum(1))
    return kinetic - sum(float(m[i] * m[j] / np.linalg.norm(x[i] - x[j])) for i, j in PAIRS)


def pair_lengths(values: Array) -> Array:
    """Lengths of the differences of each pair of bodies, in the order of ``PAIRS``.

    Args:
        values: [..., 3, D] positions or velocities of three bodies.

    Returns:
        [..., 3]

    Examples:
        >>> pair_lengths(np.array([[0.0, 0], [3, 4], [0, 4]])).tolist()
        [5.0, 4.0, 3.0]
    """
    apart = [values[..., j, :] - values[..., i, :] for i, j in PAIRS]
    return np.stack([np.linalg.norm(one, axis=-1) for one in apart], axis=-1)


def check_bodies(m: Array, x: Array, v: Array) -> None:
    """Reject bodies that can't be integrated.

    Raises:
        InputError: shapes, masses that are not positive, values that are not finite, two bodies at
            one place.
    """
    if m.shape != (3,) or x.shape != (3, 3) or v.shape != (3, 3):
        raise InputError(
            f"m, x, v have shapes {m.shape}, {x.shape}, {v.shape}; expected (3,), (3, 3), (3, 3)"
        )
    for name, values in (("m", m), ("x", x), ("v", v)):
        if not np.isfinite(values).all():
            raise InputError(f"{name} has a value that is not finite: {values.tolist()}")
    if not (m > 0).all():
        raise InputError(f"masses are {m.tolist()}; each must be above 0")
    for i, j in PAIRS:
        if np.array_equal(x[i], x[j]):
            raise InputError(f"bodies {i} and {j} are at the same place, {x[i].tolist()}")
