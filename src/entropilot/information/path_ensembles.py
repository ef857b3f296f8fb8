"""Maximum entropy over paths of a Markov chain: the process free energy and its derivatives.

    J = sum_{t=1..T} g(x_{t-1}, x_t)             P_lam[i, j] = P[i, j] exp(lam g[i, j])
    log Z_T(lam) = log pi0' P_lam^T 1            first derivative <J>, second Var(J), at any lam
    psi(lam) = lim log Z_T / T = log rho(P_lam)  psi'' = C(0) + 2 sum_{k>=1} C(k)   (Green-Kubo)
    driven chain  P~[i, j] = P_lam[i, j] r_j / (rho r_i),   stationary pi~_i = l_i r_i

The second derivative as a sum of correlations of the driven chain is a fluctuation-dissipation
relation that holds far from equilibrium. lam is the driving force: it enters with a plus sign.

Source: the abstract of arXiv 1105.5662; Chetrite and Touchette, Ann. Henri Poincare 16 (2015), 2005
for the driven chain. Paths are weighed by exp(lam J); where a physical force changes the rates in
another way, ``path_response.response`` holds; the two agree only where the force enters so.

Legend: n states, m observables, T steps. An observable is [n, n] on transitions or [n] on the state
that is arrived at; several are stacked in front, [m, n, n] or [m, n], with ``lam`` [m].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.markov_chains import (
    as_chain,
    irreducible,
    is_sparse,
    stationary_of_checked,
)
from entropilot.information.path_observables import (
    Observables,
    centred,
    green_kubo_sum,
    matrix_on,
    start_weights,
)

DENSE: Final = 300  # states up to which all eigenvalues are cheaper than an iteration

Floats = NDArray[np.float64]


class PathFreeEnergy(NamedTuple):
    """The process free energy with its two derivatives.

    ``value`` is log Z_T, or psi a step without a T; ``mean`` that of J or its rate; ``var`` the
    variance of J or its rate, [m, m] for several observables.
    """

    value: float
    mean: Any
    var: Any


@dataclass(frozen=True)
class DrivenChain:
    """The chain that makes the tilted paths typical.

    Attributes:
        P: [n, n], as the reference chain is kept.
        pi: [n] its stationary distribution.
        psi: log of the largest eigenvalue, nats a step.
        left, right: [n] Perron vectors, ``left @ right = 1``.
    """

    P: Any
    pi: Floats
    psi: float
    left: Floats
    right: Floats


@dataclass(frozen=True)
class GreenKubo:
    """Correlations of an observable along a stationary path.

    Attributes:
        total: C(0) + sum over k of C(k) + C(k)'; the growth of the variance of J a step.
        correlations: [kmax + 1] C(0), C(1), ...; empty for the exact sum.
    """

    total: Any
    correlations: Floats


def path_free_energy(
    P: Any, g: Any, lam: ArrayLike, T: int | None = None, pi0: ArrayLike | None = None
) -> PathFreeEnergy:
    """Free energy of tilted paths with mean and variance of the observable.

    Args:
        P: [n, n] reference chain, dense or sparse; irreducible unless T and ``pi0`` are given.
        g: observable(s).
        lam: driving force(s).
        T: steps; None for the rate of infinitely many.
        pi0: [n] start; the stationary distribution unless given. Without a T it plays no part.

    Raises:
        InputError: as ``irreducible``; observables of another shape, forces that are not finite or
            are so large that parts of the chain vanish in float64.

    Examples:
        >>> channel = [[0.9, 0.1], [0.2, 0.8]]
        >>> value, mean, var = path_free_energy(channel, [0.0, 1.0], 0.5)
        >>> round(value, 6), round(mean, 6), round(var, 6)
        (0.326945, 0.877816, 0.429231)
    """
    if T is None:
        made = driven_chain(P, g, lam)
        summed = green_kubo_sum(made.P, made.pi, Observables.of(g, made.P))
        mean, var = summed
        return PathFreeEnergy(made.psi, *_plain(mean, var, g, made.P))
    if T < 0:
        raise InputError(f"T = {T}, expected 0 or more steps")
    chain = as_chain(P) if pi0 is not None else irreducible(P)
    observed = Observables.of(g, chain)
    forces = observed.forces(lam)
    start = stationary_of_checked(chain) if pi0 is None else start_weights(pi0, chain.shape[0])
    value, mean, var = _finite(observed, forces, start, T)
    return PathFreeEnergy(value, *_plain(mean, var, g, chain))


def driven_chain(P: Any, g: Any, lam: ArrayLike) -> DrivenChain:
    """The chain whose typical paths are those that the force ``lam`` favours.

    Args:
        P: [n, n], irreducible.
        g: observable(s).
        lam: driving force(s).

    Raises:
        InputError: as ``path_free_energy``.

    Examples:
        >>> made = driven_chain([[0.9, 0.1], [0.2, 0.8]], [0.0, 1.0], 0.5)
        >>> made.pi.round(4).tolist()
        [0.1222, 0.8778]
    """
    chain = irreducible(P)
    observed = Observables.of(g, chain)
    weights, shift = observed.tilted(observed.forces(lam))
    n = chain.shape[0]
    matrix = matrix_on(weights, observed, n, like=chain)
    rho, right = _perron(matrix)
    _, left = _perron(matrix.T)
    if not (right > 0).all() or not (left > 0).all() or not rho > 0:
        raise InputError(
            f"under lam = {np.asarray(lam).tolist()} parts of the chain vanish in float64: a force "
            "times an observable spans too many orders; use a smaller force"
        )
    left = left / (left @ right)
    moved = weights * right[observed.j] / (rho * right[observed.i])
    driven = matrix_on(moved, observed, n, like=chain)
    sums = np.asarray(driven.sum(axis=1)).ravel()
    driven = matrix_on(moved / sums[observed.i], observed, n, like=chain)
    pi = left * right
    return DrivenChain(driven, pi / pi.sum(), float(np.log(rho)) + shift, left, right)


def green_kubo(P: Any, g: Any, kmax: int | None = None) -> GreenKubo:
    """Sum of the correlations of an observable along a stationary path.

        C(k) = Cov(g(x_0, x_1), g(x_k, x_{k+1})),   total = C(0) + 2 sum_{k>=1} C(k)

    Exact through the fundamental matrix, or cut off at ``kmax``. In a periodic chain C(k) does not
    decay, so that cut-off sums swing; the exact one is the growth of the variance all the same.

    Args:
        P: [n, n], irreducible.
        g: observable(s).
        kmax: last correlation; None for all of them.

    Raises:
        InputError: as ``irreducible``; ``kmax`` below 0.

    Examples:
        >>> round(float(green_kubo([[0.9, 0.1], [0.2, 0.8]], [0.0, 1.0]).total), 6)
        1.259259
    """
    chain = irreducible(P)
    observed = Observables.of(g, chain)
    pi = stationary_of_checked(chain)
    if kmax is None:
        mean, var = green_kubo_sum(chain, pi, observed)
        return GreenKubo(_plain(mean, var, g, chain)[1], np.zeros(0))
    if kmax < 0:
        raise InputError(f"kmax = {kmax}, expected 0 or more")
    spread, flow, later = centred(chain, pi, observed)
    found = [(spread * flow) @ spread.T]
    for _ in range(kmax):
        found.append((spread * flow) @ later[observed.j])
        later = chain @ later
    total = found[0] + sum(c + c.T for c in found[1:])
    rows = np.array(found)
    single = _is_single(g, chain)
    return GreenKubo(float(total[0, 0]) if single else total, rows[:, 0, 0] if single else rows)


def gaussian_path_free_energy(r: float, noise_var: float, n: int, lam: float) -> PathFreeEnergy:
    """Free energy of the sum of a stationary autoregressive path, x_t = r x_{t-1} + noise.

        log Z = lam^2 V / 2,  V = s (n + 2 sum_{k=1..n-1} (n - k) r^k),  s = noise_var / (1 - r^2)

    Gaussian paths are what a mean equation of motion with its mean square deviation gives (weights
    of Onsager and Machlup); the variance is the same at every force.

    Args:
        r: in (-1, 1).
        noise_var: > 0.
        n: values summed.
        lam: force on each.

    Raises:
        InputError: a parameter out of range.

    Examples:
        >>> round(gaussian_path_free_energy(0.8, 0.36, 20, 1.0).var, 4)
        140.4612
    """
    if not (-1 < r < 1 and noise_var > 0 and n >= 1 and np.isfinite(lam)):
        raise InputError(
            f"r = {r}, noise_var = {noise_var}, n = {n}, lam = {lam}; expected |r| < 1, "
            "noise_var > 0, n >= 1"
        )
    k = np.arange(1, n)
    var = noise_var / (1 - r * r) * float(n + 2 * ((n - k) * r**k).sum())
    return PathFreeEnergy(lam**2 * var / 2, lam * var, var)


def _perron(matrix: Any) -> tuple[float, Floats]:
    """Largest eigenvalue of a non-negative irreducible matrix and its positive vector."""
    n = matrix.shape[0]
    if n <= DENSE:
        dense = matrix.toarray() if is_sparse(matrix) else matrix
        values, vectors = np.linalg.eig(dense)
        best = int(np.argmax(values.real))
        rho, vector = float(values[best].real), np.abs(vectors[:, best].real)
    else:
        from scipy.sparse.linalg import eigs

        start = np.ones(n) / n  # for the same result at every call
        values, vectors = eigs(matrix, k=1, which="LR", v0=start, tol=0)
        rho, vector = float(values[0].real), np.abs(vectors[:, 0].real)
    unit: Floats = vector / vector.sum()
    return rho, unit


def _finite(
    observed: Observables, forces: Floats, start: Floats, T: int
) -> tuple[float, Floats, Floats]:
    """Log Z_T, means and covariances by recursion on vectors; centred anew at each step."""
    n, m = len(start), len(forces)
    weights, shift = observed.tilted(forces)

    def onward(rows: Floats, along: Floats) -> Floats:
        moved = rows[..., observed.i] * along
        flat = moved.reshape(-1, moved.shape[-1])
        made: Any = np.stack([np.bincount(observed.j, row, minlength=n) for row in flat])
        shaped: Floats = made.reshape(*rows.shape[:-1], n)
        return shaped

    value, mean = 0.0, np.zeros(m)
    u, first, second = start, np.zeros((m, n)), np.zeros((m, m, n))
    for _ in range(T):
        g = observed.g
        with_g = np.stack([onward(u, weights * g[a]) for a in range(m)])
        first_g = np.stack([onward(first, weights * g[a]) for a in range(m)])
        both = np.stack([
            np.stack([onward(u, weights * g[a] * g[b]) for b in range(m)]) for a in range(m)
        ])  # fmt: skip
        second = onward(second, weights) + first_g + first_g.transpose(1, 0, 2) + both
        first = onward(first, weights) + with_g
        u = onward(u, weights)
        total = float(u.sum())
        if not total > 0:
            raise InputError("every path vanishes in float64 under this force; use a smaller one")
        value += float(np.log(total)) + shift
        u, first, second = u / total, first / total, second / total
        c = first.sum(axis=1)
        mean = mean + c
        cross = c[:, None, None] * first[None, :, :]
        second = second - cross - cross.transpose(1, 0, 2) + np.multiply.outer(np.outer(c, c), u)
        first = first - c[:, None] * u
    var: Floats = second.sum(axis=-1)
    return value, mean, var


def _is_single(g: Any, chain: Any) -> bool:
    if is_sparse(g):
        return True
    if isinstance(g, (list, tuple)) and any(map(is_sparse, g)):
        return False
    shape, n = np.shape(g), chain.shape[0]
    return bool(shape in ((n,), (n, n)))


def _plain(mean: Floats, var: Floats, g: Any, chain: Any) -> tuple[Any, Any]:
    """Numbers for one observable, arrays for several."""
    if _is_single(g, chain):
        return float(mean[0]), float(var[0, 0])
    return mean, var
