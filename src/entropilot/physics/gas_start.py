"""What a gas of discs begins from: its checked size and box, places that do not overlap, speeds.

Units are those of ``hard_discs``: k_B T = 1 and m = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, InputError

WALLS: Final = ("hard", "periodic")
DENSEST: Final = 0.84  # of a start; a triangular lattice in a box with walls never gets there
OCCUPANCY: Final = 1.5  # discs a cell: fewer cost crossings, more cost pair checks

Floats = NDArray[np.float64]


def whole_number(n: int) -> int:
    """The number of discs, at least 1.

    Examples:
        >>> whole_number(3)
        3
    """
    if isinstance(n, bool) or int(n) != n or n < 1:
        raise InputError(f"n = {n}, expected at least 1 disc")
    return int(n)


def checked_box(box: Sequence[float]) -> tuple[float, float]:
    """Two lengths, finite and positive.

    Examples:
        >>> checked_box([1, 2])
        (1.0, 2.0)
    """
    if len(box) != 2 or not all(math.isfinite(length) and length > 0 for length in box):
        raise InputError(f"box = {tuple(box)}, expected two lengths > 0")
    return float(box[0]), float(box[1])


def checked_walls(walls: Sequence[str]) -> tuple[str, str]:
    """The kinds of walls along x and along y.

    Examples:
        >>> checked_walls(["hard", "periodic"])
        ('hard', 'periodic')
    """
    if isinstance(walls, str) or len(walls) != 2 or any(kind not in WALLS for kind in walls):
        raise InputError(f"walls = {walls!r}, expected two of {WALLS}, along x and along y")
    return walls[0], walls[1]


def checked_diameters(sigma: float | ArrayLike, n: int) -> Floats:
    """Diameters [n], finite and positive.

    Examples:
        >>> checked_diameters(0.5, 2).tolist()
        [0.5, 0.5]
    """
    sizes = np.asarray(sigma, dtype=np.float64)
    if sizes.shape not in ((), (n,)):
        raise InputError(f"sigma has shape {sizes.shape}, expected a number or ({n},)")
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise InputError(f"sigma = {sizes}, expected diameters > 0; IdealGas has none")
    return np.broadcast_to(sizes, (n,)).copy()


def check_room(sigma: Floats, box: tuple[float, float], periodic: Sequence[bool]) -> None:
    """Reject a box that the discs can't be in, whatever their places.

    Examples:
        >>> check_room(np.array([0.1]), (1.0, 1.0), (False, False))
    """
    widest = float(sigma.max())
    for axis, name in enumerate("xy"):
        least = 3 * widest if periodic[axis] else widest
        if box[axis] < least:
            why = "three diameters, so that no disc meets itself" if periodic[axis] else "one disc"
            raise InputError(
                f"the box is {box[axis]:.4g} long in {name} and the widest disc {widest:.4g}: it "
                f"has to hold {why}"
            )
    cover = math.pi / 4 * float((sigma**2).sum()) / (box[0] * box[1])
    if cover > DENSEST and np.ptp(sigma) == 0:
        raise InputError(
            f"the discs would cover {cover:.3f} of the box; no packing in walls covers more than "
            f"about {DENSEST}. Make sigma smaller or the box larger."
        )


def checked_vectors(value: ArrayLike, n: int, name: str) -> Floats:
    """An array [n, 2] of finite numbers, or an error that names the disc.

    Examples:
        >>> checked_vectors([[1, 2]], 1, "positions").tolist()
        [[1.0, 2.0]]
    """
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (n, 2):
        raise InputError(f"{name} have shape {array.shape}, expected ({n}, 2)")
    if not np.isfinite(array).all():
        i = int(np.argwhere(~np.isfinite(array))[0][0])
        raise BrokenNumbersError(f"{name} of disc {i} are {array[i].tolist()}, expected finite")
    return array


def maxwellian_velocities(n: int, rng: np.random.Generator) -> Floats:
    """[n, 2] normal velocities without net momentum, scaled to kinetic energy n (kT = 1).

    A single disc keeps its momentum.

    Examples:
        >>> v = maxwellian_velocities(100, np.random.default_rng(0))
        >>> bool(abs((v**2).sum() / 2 - 100) < 1e-9)
        True
    """
    v = rng.standard_normal((n, 2))
    if n > 1:
        v -= v.mean(axis=0)
    return v * math.sqrt(2 * n / float((v**2).sum()))


def cell_grid(n: int, sigma: float, box: Sequence[float]) -> tuple[int, int]:
    """Cells along x and y: about ``OCCUPANCY`` discs each, none narrower than a diameter.

    Examples:
        >>> cell_grid(600, 0.01, (1.0, 0.5))
        (28, 14)
    """
    edge = max(sigma, math.sqrt(box[0] * box[1] * OCCUPANCY / n)) * (1 + 1e-12)
    return max(1, int(box[0] / edge)), max(1, int(box[1] / edge))


def drawn_places(
    n: int,
    sigma: float,
    box: Sequence[float],
    periodic: Sequence[bool],
    rng: np.random.Generator,
) -> Floats:
    """[n, 2] places of discs that do not overlap, in random order.

    At random one after another up to a third of the box; above that a triangular lattice with
    random vacancies and jitter, which needs some collisions a disc to forget itself.

    Raises:
        InputError: they do not fit.
    """
    from entropilot.physics.gas_start_kernels import insert_at_random

    if math.pi / 4 * n * sigma**2 / (box[0] * box[1]) < 0.33:
        x: Floats = insert_at_random(
            rng,
            n,
            sigma / 2,
            tuple(box),
            tuple(periodic),
            *cell_grid(n, sigma, box),
            200 * n + 1000,
        )
        if len(x) == n:
            return x
    return _lattice(n, sigma, box, periodic, rng)


def _lattice(
    n: int, sigma: float, box: Sequence[float], periodic: Sequence[bool], rng: np.random.Generator
) -> Floats:
    inner = [length - (0 if ring else sigma) for length, ring in zip(box, periodic, strict=True)]
    for shrink in np.linspace(2.0, 1.0, 401):
        step = sigma * shrink
        rows = int(inner[1] / (step * math.sqrt(3) / 2)) + (0 if periodic[1] else 1)
        rows -= rows % 2 if periodic[1] else 0  # the stagger has to close
        columns = int((inner[0] - (0 if periodic[0] else step / 2)) / step)
        columns += 0 if periodic[0] else 1
        if rows * columns >= n:
            break
    else:
        raise InputError(
            f"{n} discs of diameter {sigma:.4g} do not fit into a box of {box[0]:.4g} by "
            f"{box[1]:.4g}: make sigma smaller, or the box larger"
        )
    row, column = np.divmod(rng.permutation(rows * columns)[:n], columns)
    x = np.column_stack(((column + 0.5 * (row % 2)) * step, row * step * math.sqrt(3) / 2))
    x += [0 if ring else sigma / 2 for ring in periodic]
    x += (rng.random((n, 2)) - 0.5) * (step - sigma) * 0.7 if shrink > 1 else 0
    for axis in range(2):
        if periodic[axis]:
            x[:, axis] %= box[axis]
        else:
            x[:, axis] = np.clip(x[:, axis], sigma / 2, box[axis] - sigma / 2)
    return x
