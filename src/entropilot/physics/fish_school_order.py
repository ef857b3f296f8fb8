"""Polarization, rotation and spread of a school (arXiv 2602.07948, dewi-kadita 0.0.4).

Offered beside the reference: ``unwrapped`` for schools that lie across a face of the periodic box,
where a plain mean is not a centre.

Legend: N fish. Positions and velocities are [N, 3]; only the direction of a velocity counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from entropilot.physics.fish_school_kernels import TINY

Floats = NDArray[np.float64]


def unit(velocities: Floats) -> Floats:
    """Directions; what is shorter than 1e-10 stays as it is.

    Examples:
        >>> unit(np.array([[0.0, 3.0, 4.0]])).tolist()
        [[0.0, 0.6, 0.8]]
    """
    norm = np.linalg.norm(velocities, axis=1, keepdims=True)
    made: Floats = velocities / np.where(norm < TINY, 1.0, norm)
    return made


def unwrapped(positions: Floats, box_size: float) -> Floats:
    """Positions laid out around the circular mean of each axis, so that a school is in one piece.

    Examples:
        >>> unwrapped(np.array([[9.0, 5, 5], [1.0, 5, 5]]), 10.0)[:, 0].round(6).tolist()
        [-1.0, 1.0]
    """
    angle = positions * (2 * np.pi / box_size)
    middle = np.arctan2(np.sin(angle).mean(axis=0), np.cos(angle).mean(axis=0))
    middle *= box_size / (2 * np.pi)
    offset = positions - middle
    made: Floats = middle + offset - box_size * np.round(offset / box_size)
    return made


def polarization(velocities: Floats) -> float:
    """Length of the mean heading, in [0, 1].

    Examples:
        >>> polarization(np.array([[1.0, 0, 0], [0, 1, 0]])).__round__(4)
        0.7071
    """
    return float(np.linalg.norm(unit(velocities).mean(axis=0)))


def angular_momenta(positions: Floats, velocities: Floats) -> Floats:
    """Product c x u of each fish, [N, 3]: c is the direction from the centre, u the heading.

    Examples:
        >>> x, v = np.array([[1.0, 0, 0], [-1, 0, 0]]), np.array([[0, 1.0, 0], [0, -1, 0]])
        >>> angular_momenta(x, v).tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    made: Floats = np.cross(unit(positions - positions.mean(axis=0)), unit(velocities))
    return made


def rotation(positions: Floats, velocities: Floats) -> float:
    """Length of the mean of c x u, c the direction from the centre, in [0, 1].

    Examples:
        >>> rotation(np.array([[1.0, 0, 0], [-1, 0, 0]]), np.array([[0, 1.0, 0], [0, -1, 0]]))
        1.0
    """
    return float(np.linalg.norm(angular_momenta(positions, velocities).mean(axis=0)))


def spread(positions: Floats) -> float:
    """Root mean square distance from the centre.

    Examples:
        >>> spread(np.array([[1.0, 0, 0], [-1, 0, 0]]))
        1.0
    """
    away = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    return float(np.sqrt(np.mean(away**2)))
