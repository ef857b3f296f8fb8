"""How a chain answers to forces: one that changes its rates in any way, or one for every step.

Source: the score form is textbook; exact covariances of tilted paths after arXiv 1105.5662, whose
Gibbs relations are fluctuation-dissipation relations. n states, T steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.markov_chains import (
    as_chain,
    irreducible,
    stationary_of_checked,
    summed_correlations,
)
from entropilot.information.path_observables import (
    Observables,
    centred,
    edges_of,
    matrix_on,
    start_weights,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PathResponse:
    """Means and responses under forces that change in time.

    ``covariance[s, t]`` is d<J_s> / d lam_t, J_t what step t adds; exact at any forces.
    """

    log_z: float
    means: Floats
    covariance: Floats


def response(
    P_of_h: Callable[[float], Any], observable: Any, h: float, *, step: float = 1e-3
) -> float:
    """Change of a stationary mean with a parameter of the chain, by the score form.

        d<O>/dh = sum_ij pi_i (dP_ij/dh) ( O_ij + sum_{k>=0} (P^k (o - <O>))_j ),
        o_i = sum_j P_ij O_ij,   dP_ij/dh = P_ij dlog P_ij/dh

    The correlation of O with the scores of all earlier steps; right for any way in which h enters,
    where tilting by exp(h g) is right only for a force that enters so.

    Args:
        P_of_h: chain [n, n] at a parameter; called near ``h``. Smooth there.
        observable: O, [n, n] on transitions or [n] on the state arrived at.
        h: where.
        step: of the fourth-order difference that forms dP/dh.

    Raises:
        InputError: as ``irreducible``; transitions that appear or vanish near h, which have no
            score.

    Examples:
        >>> from math import exp
        >>> def gate(h):
        ...     return [[1 - 0.1 * exp(h), 0.1 * exp(h)], [0.2, 0.8]]
        >>> round(response(gate, [0.0, 1.0], 0.0), 6)
        0.222222
    """
    chain = irreducible(P_of_h(h))
    observed = Observables.of(observable, chain)
    if len(observed.g) != 1:
        raise InputError("response takes one observable at a time, [n, n] or [n]")
    near = [as_chain(P_of_h(h + k * step)) for k in (-2, -1, 1, 2)]
    support = edges_of(chain)
    for other in near:
        if not all(np.array_equal(a, b) for a, b in zip(edges_of(other)[:2], support[:2],
                                                        strict=True)):  # fmt: skip
            raise InputError(
                f"transitions appear or vanish near h = {h}, where their score is not defined; "
                "keep them at a small positive probability"
            )
    far_low, low, high, far_high = (edges_of(other)[2] for other in near)
    slope = (far_low - 8 * low + 8 * high - far_high) / (12 * step)
    pi = stationary_of_checked(chain)
    spread, _, later = centred(chain, pi, observed)
    summed = summed_correlations(chain, pi, later)[:, 0]
    return float((pi[observed.i] * slope) @ (spread[0] + summed[observed.j]))


def path_response(P: Any, g: Any, forces: ArrayLike, pi0: ArrayLike | None = None) -> PathResponse:
    """Means of every step under forces that change in time, and the answer of each to each force.

        d<J_s>/d lam_t = Cov(J_s, J_t) under the tilted paths, for s before t too

    Args:
        P: [n, n].
        g: one observable.
        forces: [T], the force of each step.
        pi0: [n] start; the stationary distribution unless given.

    Raises:
        InputError: as ``path_free_energy``.

    Examples:
        >>> made = path_response([[0.9, 0.1], [0.2, 0.8]], [0.0, 1.0], np.zeros(3))
        >>> made.covariance[0].round(4).tolist()
        [0.2222, 0.1556, 0.1089]
    """
    chain = as_chain(P) if pi0 is not None else irreducible(P)
    observed = Observables.of(g, chain)
    lams = np.asarray(forces, dtype=np.float64)
    if len(observed.g) != 1 or lams.ndim != 1 or not len(lams) or not np.isfinite(lams).all():
        raise InputError("path_response takes one observable and forces [T], finite, T >= 1")
    start = stationary_of_checked(chain) if pi0 is None else start_weights(pi0, chain.shape[0])
    n, T = chain.shape[0], len(lams)
    steps, weighed, log_scale = [], [], 0.0
    gain = observed.g[0]
    for lam in lams:
        weights, shift = observed.tilted(np.array([lam]))
        log_scale += shift
        steps.append(matrix_on(weights, observed, n, like=chain))
        weighed.append(matrix_on(weights * gain, observed, n, like=chain))
    squared = [matrix_on(observed.tilted(np.array([lam]))[0] * gain**2, observed, n, like=chain)
               for lam in lams]  # fmt: skip
    ahead = [np.ones(n)]  # what follows step t, each scaled to sum n
    for matrix in reversed(steps):
        vector = matrix @ ahead[-1]
        total = float(vector.mean())
        log_scale += float(np.log(total))
        ahead.append(vector / total)
    ahead = ahead[::-1]
    log_z = log_scale + float(np.log(start @ ahead[0]))
    behind = start / (start @ ahead[0])
    means, cov = np.empty(T), np.empty((T, T))
    for s in range(T):
        scale = float(behind @ (steps[s] @ ahead[s + 1]))
        marked = behind @ weighed[s] / scale
        means[s] = marked @ ahead[s + 1]
        cov[s, s] = behind @ (squared[s] @ ahead[s + 1]) / scale - means[s] ** 2
        for t in range(s + 1, T):
            size = _ratio(steps[t], ahead[t + 1], ahead[t])
            cov[s, t] = marked @ (weighed[t] @ ahead[t + 1]) / size
            marked = marked @ steps[t] / size
        behind = behind @ steps[s] / scale
    for s in range(T):
        for t in range(s + 1, T):
            cov[s, t] -= means[s] * means[t]
            cov[t, s] = cov[s, t]
    return PathResponse(log_z, means, cov)


def _ratio(matrix: Any, after: Floats, before: Floats) -> float:
    """The factor that made ``before`` from ``matrix @ after``."""
    return float((matrix @ after).sum() / before.sum())
