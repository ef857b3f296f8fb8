"""Self-propelled discs with soft repulsion, whose steady state produces entropy.

    dx_i = (v0 g_i + k sum_j F_ij - A x_i) dt + sqrt(2 eps) dB
    dg_i = -gamma g_i dt + sqrt(2 gamma) dB'

with F_ij = softplus(2r - |x_ij|) x_ij/|x_ij| on the torus [-W, W)^d, so that g is standard normal
in the steady state. Source: arXiv 2309.12991 (Boffi, Vanden-Eijnden), after its reference code
nmboffi/active_pflows. Departs from it: forces beyond 2r + 10/beta are left out (a share of 6e-6)
unless ``exact`` is set, and a disc held at the origin (``obstacle``) stands for the relative
motion of two particles.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError

Floats = NDArray[np.float64]

TAIL: Final = 10.0  # softplus e^-10 beyond this many 1/beta
NEIGHBOUR: Final = 2.4  # radii; the reference code's limit for the classes
SOLID: Final = 4  # neighbours, itself not counted
WALL: Final = 0.9  # of W; a trapped particle beyond feels the seam


class TrapWarning(UserWarning):
    """Trapped particles come near the seam of a periodic box, where the trap jumps."""


@dataclass(frozen=True)
class ActiveSystem:
    """Self-propelled discs.

    Attributes:
        n: particles.
        d: dimensions.
        v0: speed scale; the mean square speed of a free particle is v0^2 d.
        gamma: rate at which a propulsion forgets itself.
        eps: diffusion of places; 0 for noise in g alone.
        k: stiffness of the repulsion.
        beta: sharpness of its onset; None for a kink.
        radius: of a disc.
        phi: packing fraction of a square box; or
        half_width: half the box, W; neither for an open space.
        trap: A, stiffness of the harmonic trap.
        force: ``softplus``, ``linear`` (the kink, whatever beta), or ``none``.
        obstacle: whether a disc is held at the origin.
        exact: whether forces of any distance count.

    Examples:
        >>> ring = ActiveSystem(1, 1, half_width=8.0, obstacle=True)
        >>> b_x, b_g = ring.drift([[1.0]], [[2.0]])
        >>> round(float(b_x[0, 0]), 3), float(b_g[0, 0])
        (3.0, -0.2)
    """

    n: int
    d: int = 2
    v0: float = 0.25
    gamma: float = 0.1
    eps: float = 0.1
    k: float = 2.5
    beta: float | None = 7.5
    radius: float = 1.0
    phi: float | None = None
    half_width: float | None = None
    trap: float = 0.0
    force: Literal["softplus", "linear", "none"] = "softplus"
    obstacle: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        """Check every number, and name all that are wrong at once."""
        wrong = [
            f"{name} = {getattr(self, name)}, expected {expected}"
            for name, good, expected in (
                ("n", self.n >= 1, "at least 1"),
                ("d", self.d >= 1, "at least 1"),
                ("v0", math.isfinite(self.v0) and self.v0 >= 0, "a number >= 0"),
                ("gamma", math.isfinite(self.gamma) and self.gamma > 0, "a rate > 0"),
                ("eps", math.isfinite(self.eps) and self.eps >= 0, "a number >= 0"),
                ("k", math.isfinite(self.k) and self.k >= 0, "a number >= 0"),
                ("radius", math.isfinite(self.radius) and self.radius > 0, "a length > 0"),
                ("trap", math.isfinite(self.trap) and self.trap >= 0, "a number >= 0"),
                ("beta", self.beta is None or self.beta > 0, "a number > 0, or None for a kink"),
                ("phi", self.phi is None or self.phi > 0, "a fraction > 0"),
                ("half_width", self.half_width is None or self.half_width > 0, "a length > 0"),
                ("force", self.force in ("softplus", "linear", "none"),
                 "softplus, linear or none"),
            )
            if not good
        ]  # fmt: skip
        if self.phi is not None and self.half_width is not None:
            wrong.append(f"phi = {self.phi} and half_width = {self.half_width}: give one of them")
        if self.phi is not None and self.d != 2:
            wrong.append(f"phi = {self.phi} with d = {self.d}: give half_width, phi is for d = 2")
        if self.n == 1 and self.force != "none" and not self.obstacle:
            wrong.append(
                "n = 1 has no pair to push: set force='none', or obstacle=True for the relative "
                "motion of two particles"
            )
        if not wrong and self.force != "none" and 2 * self.width < 4 * self.radius:
            wrong.append(f"the box 2W = {2 * self.width:g} is narrower than two discs side by side")
        if wrong:
            raise ConfigurationError("; ".join(wrong))

    @property
    def width(self) -> float:
        """W, half the box; infinite for an open space."""
        if self.phi is not None:
            return math.sqrt(self.n * math.pi * self.radius**2 / self.phi) / 2
        return math.inf if self.half_width is None else self.half_width

    @property
    def constants(self) -> Floats:
        """What the kernels read, in their order."""
        kinked = self.beta is None or self.force == "linear"
        beta = 0.0 if kinked else float(self.beta or 0.0)
        cut = 2 * self.radius + (TAIL / beta if beta else 0.0)
        cut = max(cut, NEIGHBOUR * self.radius)
        return np.array(
            [self.v0, 0.0 if self.force == "none" else self.k, self.eps, self.gamma, self.trap,
             self.width, math.inf if self.exact else cut, 2 * self.radius, beta,
             NEIGHBOUR * self.radius, float(self.obstacle)]
        )  # fmt: skip

    def drift(self, x: object, g: object) -> tuple[Floats, Floats]:
        """Deterministic velocities (b_x, b_g) of places and propulsions.

        Args:
            x: [..., N, d] places.
            g: [..., N, d] propulsions.

        Raises:
            InputError: another shape, or two particles on one point (names the pair).
            BrokenNumbersError: a value that is not finite.
        """
        places, ways = self.checked(x, "x"), self.checked(g, "g")
        force, _, _ = self._sums(places)
        stiff = float(self.constants[1])
        return self.v0 * ways + stiff * force - self.trap * places, -self.gamma * ways

    def div_drift(self, x: object) -> Floats:
        """Divergence of b_x by the particle's own place, [..., N]; that of b_g is -gamma d."""
        _, change, _ = self._sums(self.checked(x, "x"))
        return np.asarray(self.constants[1] * change - self.trap * self.d)

    def neighbours(self, x: object) -> NDArray[np.int64]:
        """Others nearer than 2.4 radii, [..., N]; needs pair forces."""
        return np.asarray(self._sums(self.checked(x, "x"))[2].astype(np.int64))

    def step(
        self, x: object, g: object, dt: float, rng: np.random.Generator, steps: int = 1
    ) -> tuple[Floats, Floats]:
        """Places and propulsions after some steps of length ``dt``.

        Examples:
            >>> two = ActiveSystem(2, phi=0.1)
            >>> x, g = two.step([[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], 1e-3,
            ...     np.random.default_rng(0))
            >>> x.shape
            (2, 2)
        """
        places, ways, _ = self.advance(x, g, dt, steps, rng)
        return places, ways

    def advance(
        self, x: object, g: object, dt: float, steps: int, rng: np.random.Generator
    ) -> tuple[Floats, Floats, Floats]:
        """Like ``step``, with the sums of (b_old + b_new)/2 . dx, [..., N] (Stratonovich work).

        Raises:
            InputError: a time step that is no positive number, or particles on one point.
        """
        from entropilot.physics.active_matter_kernels import roll

        if not (math.isfinite(dt) and dt > 0):
            raise InputError(f"dt = {dt}, expected a time > 0")
        if steps < 0:
            raise InputError(f"steps = {steps}, expected at least 0")
        given = self.checked(x, "x")
        shape = given.shape
        flat = (-1, self.n, self.d)
        places = given.reshape(flat).copy()
        ways = self.checked(g, "g").reshape(flat).copy()
        if places.shape != ways.shape:
            raise InputError(f"x has shape {shape} and g {ways.shape}, expected the same")
        work = np.zeros(places.shape[:2])
        w, i, j = roll(places, ways, int(steps), float(dt), self.constants, rng, work)
        if w >= 0:
            raise _on_one_point(i, j, w)
        if not np.isfinite(places).all():
            raise BrokenNumbersError(
                f"places are not finite after {steps} steps of dt = {dt:g}; a smaller dt helps "
                f"(k dt = {self.k * dt:g} should be well below 1)"
            )
        if self.trap and math.isfinite(self.width) and np.abs(places).max() > WALL * self.width:
            warnings.warn(
                f"trapped particles reach |x| = {np.abs(places).max():.3g} of W = {self.width:.3g},"
                " where the trap jumps across the seam; a larger box or no box at all helps",
                TrapWarning,
                stacklevel=2,
            )
        return places.reshape(shape), ways.reshape(shape), work.reshape(shape[:-1])

    def start(self, walkers: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """A start: places uniform in the box (Gaussian in a trap), propulsions normal.

        Returns:
            x, g: [walkers, N, d].
        """
        shape = (walkers, self.n, self.d)
        if math.isfinite(self.width) and not self.trap:
            x = rng.uniform(-self.width, self.width, shape)
        else:
            spread = math.sqrt(self.eps / self.trap) if self.trap else self.radius
            room = 2 * self.radius * self.n ** (1 / self.d) / 2 if self.force != "none" else 0.0
            x = rng.normal(size=shape) * max(spread, room, 1e-3)
            if math.isfinite(self.width):
                x = (x + self.width) % (2 * self.width) - self.width
        return x, rng.normal(size=shape)

    def sample(
        self,
        n: int,
        burn_in: float | None = None,
        every: float = 0.0,
        *,
        dt: float = 1e-2,
        walkers: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Floats, Floats]:
        """Samples of the steady state.

        Args:
            n: samples.
            burn_in: time before the first; 20 over the slower of gamma and eps by default.
            every: time between the samples of one walker.
            dt: time step.
            walkers: independent copies; ``n`` by default, one sample each.
            rng: noise.

        Returns:
            x, g: [n, N, d]; the samples of one moment stand together, walkers before time.

        Examples:
            >>> free = ActiveSystem(1, 1, trap=1.0, force="none")
            >>> x, g = free.sample(4, burn_in=1.0, rng=np.random.default_rng(0))
            >>> x.shape
            (4, 1, 1)
        """
        walkers = n if walkers is None else walkers
        if n < 1 or not 1 <= walkers <= n:
            raise InputError(f"n = {n} samples of {walkers} walkers, expected 1 <= walkers <= n")
        if walkers < n and every <= 0:
            raise InputError(f"every = {every}, expected a time > 0 between samples of a walker")
        rng = np.random.default_rng() if rng is None else rng
        x, g = self.start(walkers, rng)
        if burn_in is None:
            burn_in = 20 / min(rate for rate in (self.gamma, self.eps) if rate > 0)
        x, g = self.step(x, g, dt, rng, math.ceil(burn_in / dt))
        xs, gs = [x], [g]
        while len(xs) * walkers < n:
            x, g = self.step(x, g, dt, rng, max(1, round(every / dt)))
            xs.append(x)
            gs.append(g)
        return np.concatenate(xs)[:n], np.concatenate(gs)[:n]

    def checked(self, value: object, name: str) -> Floats:
        """``value`` as [..., N, d] of finite numbers.

        Raises:
            InputError: another shape.
            BrokenNumbersError: a value that is not finite.
        """
        array = np.asarray(value, dtype=np.float64)
        if array.shape[-2:] != (self.n, self.d):
            raise InputError(
                f"{name} has shape {array.shape}, expected [..., {self.n}, {self.d}] for "
                f"{self.n} particles in {self.d} dimensions"
            )
        if not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise BrokenNumbersError(f"{name}{list(where)} is {array[where]}, expected a number")
        return array

    def _sums(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        from entropilot.physics.active_matter_kernels import pair_sums

        flat = x.reshape(-1, self.n, self.d)
        force = np.empty_like(flat)
        change, near = np.empty(flat.shape[:2]), np.empty(flat.shape[:2])
        constants = self.constants
        for w in range(len(flat)):
            i, j = pair_sums(np.ascontiguousarray(flat[w]), constants, force[w], change[w], near[w])
            if i >= 0:
                raise _on_one_point(i, j, w)
        return force.reshape(x.shape), change.reshape(x.shape[:-1]), near.reshape(x.shape[:-1])


def phase_of(neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 for gas, 1 for interface, 2 for solid, by the number of near others.

    Examples:
        >>> phase_of(np.array([0, 1, 2, 3, 4, 6])).tolist()
        [0, 0, 1, 1, 2, 2]
    """
    return np.where(neighbours >= SOLID, 2, np.where(neighbours <= 1, 0, 1))


def _on_one_point(i: int, j: int, walker: int) -> InputError:
    return InputError(
        f"particles {i} and {j} of configuration {walker} lie on one point, so the force between "
        "them has no direction: move one of them"
    )
