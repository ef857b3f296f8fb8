"""Entropy production of active particles where it is known: harmonic forces, and a ring on a grid.

sigma = E|v_x|^2/eps + E|v_g|^2/gamma with v = b - D grad log rho. For linear forces rho is normal
and its covariance solves a Lyapunov equation; on the ring the stationary Fokker-Planck equation is
solved by finite volumes with exponentially fitted fluxes (Scharfetter-Gummel), and the production
is Schnakenberg's sum over edges, J ln(rate forth / rate back), which is never negative.
Source: derived, for the dynamics of arXiv 2309.12991.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.active_matter import ActiveSystem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianProduction:
    """Entropy production of harmonically bound particles, nats a unit of time.

    Attributes:
        total: of all particles and dimensions.
        per_particle_x, per_particle_g: [N] its shares, all dimensions together.
        covariance: [2N, 2N] of (x, g), one dimension.
        score: [2N, 2N]; grad log rho = score @ (x, g).
    """

    total: float
    per_particle_x: Floats
    per_particle_g: Floats
    covariance: Floats
    score: Floats

    @property
    def x(self) -> float:
        """Share of the places."""
        return float(self.per_particle_x.sum())

    @property
    def g(self) -> float:
        """Share of the propulsions."""
        return float(self.per_particle_g.sum())


def gaussian_epr(K: object, v0: float, gamma: float, eps: float, d: int = 1) -> GaussianProduction:
    """Entropy production under b_x = v0 g - K x, exactly.

    The total is d sum over the eigenvalues kappa of K of v0^2 gamma/(eps (kappa + gamma)).

    Args:
        K: [N, N] symmetric stiffness with eigenvalues > 0, the trap included; a number for N = 1.
        v0: speed scale.
        gamma: rate at which a propulsion forgets itself.
        eps: diffusion of places.
        d: dimensions.

    Raises:
        InputError: no steady state (an eigenvalue <= 0), or eps or gamma <= 0.

    Examples:
        >>> round(gaussian_epr(1.0, 1.0, 1.0, 1.0).total, 12)
        0.5
    """
    from scipy.linalg import solve_continuous_lyapunov

    stiffness = np.atleast_2d(np.asarray(K, dtype=np.float64))
    n = len(stiffness)
    if stiffness.shape != (n, n) or not np.allclose(stiffness, stiffness.T, atol=1e-12):
        raise InputError(f"K has shape {stiffness.shape}, expected a symmetric [N, N]")
    if not (eps > 0 and gamma > 0):
        raise InputError(f"eps = {eps} and gamma = {gamma}, expected both > 0")
    kappa = np.linalg.eigvalsh(stiffness)
    if kappa[0] <= 0:
        raise InputError(
            f"K has the eigenvalue {kappa[0]:.3g}, so nothing holds the particles and there is no "
            "steady state: add a trap (A on the diagonal)"
        )
    eye, none = np.eye(n), np.zeros((n, n))
    M = np.block([[stiffness, -v0 * eye], [none, gamma * eye]])
    D = np.concatenate((np.full(n, eps), np.full(n, gamma)))
    S = solve_continuous_lyapunov(M, 2 * np.diag(D))
    S = (S + S.T) / 2
    inverse = np.linalg.inv(S)
    V = -M + D[:, None] * inverse
    shares = d * np.einsum("ij,jk,ik->i", V, S, V) / D
    total = d * float((v0**2 * gamma / (eps * (kappa + gamma))).sum())
    return GaussianProduction(total, shares[:n], shares[n:], S, -inverse)


@dataclass(frozen=True)
class RingProduction:
    """Steady state of one active particle on a ring, on a grid.

    Attributes:
        x_share, g_share: production through moves of x and of g, nats a unit of time.
        x: [n_x] middles of the cells; g: [n_g] likewise.
        density: [n_x, n_g].
        current_x, current_g: [n_x, n_g] probability currents, in the middles.
        production: [n_x, n_g] production a unit of area; sums to the total.
    """

    x_share: float
    g_share: float
    x: Floats
    g: Floats
    density: Floats
    current_x: Floats
    current_g: Floats
    production: Floats

    @property
    def total(self) -> float:
        """Production, nats a unit of time."""
        return self.x_share + self.g_share


def ring_fokker_planck(
    system: ActiveSystem, n_x: int = 320, n_g: int = 120, g_max: float = 6.0
) -> RingProduction:
    """Solve for the steady state of a ring with a disc at the origin.

    Args:
        system: with n = 1, d = 1, a half_width, and eps > 0; ``obstacle`` for the force.
        n_x: cells around the ring.
        n_g: cells of the propulsion.
        g_max: propulsions beyond are left out.

    Raises:
        InputError: another system, or too few cells.

    Examples:
        >>> still = ActiveSystem(1, 1, v0=0.0, half_width=4.0, obstacle=True)
        >>> ring_fokker_planck(still, 40, 20).total < 1e-12
        True
    """
    if (system.n, system.d) != (1, 1) or not math.isfinite(system.width) or system.trap:
        raise InputError(
            f"n = {system.n}, d = {system.d}, W = {system.width}, trap = {system.trap}: a ring has "
            "n = 1, d = 1, a half_width and no trap"
        )
    if system.eps <= 0:
        raise InputError(f"eps = {system.eps}, expected > 0: the grid needs diffusion in x")
    if n_x < 8 or n_g < 8 or g_max <= 0:
        raise InputError(
            f"n_x = {n_x}, n_g = {n_g}, g_max = {g_max}: expected cells >= 8, g_max > 0"
        )
    W, hx, hg = system.width, 2 * system.width / n_x, 2 * g_max / n_g
    x: Floats = (-W + hx * (np.arange(n_x) + 0.5)).astype(np.float64)
    g: Floats = (-g_max + hg * (np.arange(n_g) + 0.5)).astype(np.float64)
    edges = -W + hx * np.arange(1, n_x + 1)  # right of each cell; the last one is the seam
    force = np.zeros(n_x)
    force[:-1] = system.drift(edges[:-1].reshape(-1, 1, 1), np.zeros((n_x - 1, 1, 1)))[0][:, 0, 0]
    zx = (system.v0 * g[None, :] + force[:, None]) * hx / system.eps  # [n_x, n_g]
    zg = np.broadcast_to(-(g[:-1] + hg / 2) * hg, (n_x, n_g - 1))
    cell = np.arange(n_x * n_g).reshape(n_x, n_g)
    ahead = np.roll(cell, -1, axis=0)
    rates = [
        (cell, ahead, system.eps / hx**2 * _bernoulli(-zx), system.eps / hx**2 * _bernoulli(zx)),
        (cell[:, :-1], cell[:, 1:], system.gamma / hg**2 * _bernoulli(-zg),
         system.gamma / hg**2 * _bernoulli(zg)),
    ]  # fmt: skip
    p = _steady(rates, n_x * n_g).reshape(n_x, n_g)
    flux_x = rates[0][2] * p - rates[0][3] * p[np.arange(1, n_x + 1) % n_x]
    flux_g = rates[1][2] * p[:, :-1] - rates[1][3] * p[:, 1:]
    tiny = np.finfo(np.float64).tiny
    log_p = np.log(np.maximum(p, tiny))
    made_x = flux_x * (zx + log_p - np.roll(log_p, -1, axis=0))
    made_g = flux_g * (zg + log_p[:, :-1] - log_p[:, 1:])
    # where p is round-off its logarithm says nothing, and its flux is round-off too
    real = p > 1e-14 * p.max()
    made_x = np.where(real & np.roll(real, -1, axis=0), made_x, 0.0)
    made_g = np.where(real[:, :-1] & real[:, 1:], made_g, 0.0)
    through = np.pad(flux_g, ((0, 0), (1, 1)))
    share = np.pad(made_g, ((0, 0), (1, 1)))
    local = (made_x + np.roll(made_x, 1, axis=0) + share[:, 1:] + share[:, :-1]) / 2
    area = hx * hg
    return RingProduction(
        float(made_x.sum()), float(made_g.sum()), x, g, p / area,
        (flux_x + np.roll(flux_x, 1, axis=0)) / 2 / hg, (through[:, 1:] + through[:, :-1]) / 2 / hx,
        local / area,
    )  # fmt: skip


def _bernoulli(z: Floats) -> Floats:
    """z/(e^z - 1), 1 at 0."""
    small = np.abs(z) < 1e-8
    return np.where(small, 1 - z / 2, z / np.expm1(np.where(small, 1.0, z)))


def _steady(rates: list[tuple[Any, Any, Any, Any]], n: int) -> Floats:
    """Probabilities that a chain of jump rates (from, to, forth, back) leaves as they are."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    rows, columns, values = [], [], []
    for one, other, forth, back in rates:
        a, b, f, r = (np.ravel(part) for part in (one, other, forth, back))
        rows += [b, a, a, b]
        columns += [a, a, b, b]
        values += [f, -f, r, -r]
    row, column, value = (np.concatenate(part) for part in (rows, columns, values))
    pinned = n // 8  # away from the obstacle, where the density is not small
    keep = row != pinned
    row, column, value = (
        np.append(part[keep], last)
        for part, last in ((row, pinned), (column, pinned), (value, 1.0))
    )
    right = np.zeros(n)
    right[pinned] = 1.0
    p = spsolve(coo_matrix((value, (row, column)), shape=(n, n)).tocsc(), right)
    p = np.maximum(p, 0.0)
    return np.asarray(p / p.sum())
