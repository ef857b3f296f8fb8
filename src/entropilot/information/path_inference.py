"""Maximum caliber: the Markov chain nearest to a reference that has given mean rates.

    minimise  sum_ij pi_i P_ij log(P_ij / P0_ij)    subject to    sum_ij pi_i P_ij g_a(i, j) = J_a

The answer is a driven chain of ``path_ensembles`` with psi'(lam) = J, found by Newton's method on
the convex psi(lam) - lam.J; its slope is a Green-Kubo sum.

Source: arXiv 1105.5662; Jaynes, Annu. Rev. Phys. Chem. 31 (1980), 579. n states, m observables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.constraint_hull import feasibility, sentence
from entropilot.information.markov_chains import irreducible
from entropilot.information.path_ensembles import DrivenChain, driven_chain
from entropilot.information.path_observables import Observables, green_kubo_sum

MOST_ITERATIONS: Final = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MaxCaliber:
    """The chain nearest to a reference that has given rates.

    Attributes:
        lam: [m] driving forces.
        chain: the driven chain.
        rates: [m] that it has.
        information: relative entropy to the reference, nats a step; lam.rates - psi.
        covariance: [m, m] growth of the covariance a step; its inverse is dlam/drates.
        iterations: Newton steps.
    """

    lam: Floats
    chain: DrivenChain
    rates: Floats
    information: float
    covariance: Floats
    iterations: int


def max_caliber(P0: Any, g: Any, rates: ArrayLike, *, tol: float = 1e-11) -> MaxCaliber:
    """The stationary chain with these mean rates that is nearest to a reference: psi'(lam) = rates.

    Args:
        P0: [n, n] reference, irreducible.
        g: observable(s).
        rates: mean a step of each.
        tol: largest difference to a rate, in units of the observable's largest deviation.

    Raises:
        InputError: rates that no stationary flow on these transitions has, with the combination of
            observables that says so; rates on the boundary of those, where a force diverges.

    Examples:
        >>> made = max_caliber([[0.9, 0.1], [0.2, 0.8]], [0.0, 1.0], 0.5)
        >>> round(float(made.lam[0]), 4), round(made.information, 4)
        (0.1178, 0.0101)
    """
    chain = irreducible(P0)
    observed = Observables.of(g, chain)
    asked = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    if asked.shape != (len(observed.g),) or not np.isfinite(asked).all():
        raise InputError(f"rates are {asked.tolist()}, expected {len(observed.g)} finite number(s)")
    scale = np.maximum(np.abs(observed.g - asked[:, None]).max(axis=1), 1e-300)
    lam = np.zeros(len(asked))
    made = driven_chain(chain, g, lam)
    mean, var = green_kubo_sum(made.P, made.pi, observed)
    for iteration in range(MOST_ITERATIONS):
        left = mean - asked
        if np.abs(left / scale).max() < tol:
            change = np.linalg.lstsq(var, left, rcond=1e-15)[0]
            if np.abs(change * scale).max() > 0.1:
                break  # the slope has died away with the difference: a force that diverges
            information = max(float(lam @ mean - made.psi), 0.0)
            return MaxCaliber(lam, made, mean, information, var, iteration)
        step = np.linalg.lstsq(var, left, rcond=1e-15)[0]
        longest = float(np.abs(step * scale).max())
        if not 0 < longest < np.inf:
            break
        step = step * min(1.0, 5.0 / longest)
        size, before = 1.0, made.psi - float(lam @ asked)
        while size > 1e-8:
            try:
                tried = driven_chain(chain, g, lam - size * step)
            except InputError:
                size /= 2
                continue
            after = tried.psi - float((lam - size * step) @ asked)
            if after <= before - 1e-4 * size * float(left @ step) + 1e-14 * (1 + abs(before)):
                break
            size /= 2
        else:
            break
        lam, made = lam - size * step, tried
        mean, var = green_kubo_sum(made.P, made.pi, observed)
    _explain_rates(observed, asked, chain.shape[0])
    raise InputError(
        f"no force was found for rates {asked.tolist()}; they lie within rounding of what the "
        "transitions allow"
    )


def _explain_rates(observed: Observables, asked: Floats, n: int) -> None:
    from scipy.sparse import csr_array

    edges = np.arange(len(observed.i))
    signs = np.concatenate([np.ones(len(edges)), -np.ones(len(edges))])
    around = csr_array((signs, (np.tile(edges, 2), np.concatenate([observed.i, observed.j]))),
                       shape=(len(edges), n))  # fmt: skip
    found = feasibility(observed.g.T, asked, potentials=around)
    if found.place == "inside":
        return
    words = sentence(found, [f"observable {a}" for a in range(len(asked))])
    raise InputError(
        f"rates {asked.tolist()} "
        + ("are out of reach" if found.place == "outside" else "are at the edge of what is "
           "possible, where a force diverges")
        + f" of stationary flows on these transitions: {words}"
    )  # fmt: skip
