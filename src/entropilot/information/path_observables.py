"""Observables on the transitions of a Markov chain: their shapes, means and summed correlations.

An observable is [n, n] on transitions or [n] on the state that is arrived at; several are stacked
in front, [m, n, n] or [m, n], or a list of sparse matrices. Legend: E transitions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.markov_chains import is_sparse, summed_correlations

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observables:
    """Observables on the transitions of a chain."""

    i: NDArray[Any]  # [E] from
    j: NDArray[Any]  # [E] to
    p: Floats  # [E] probability
    g: Floats  # [m, E]

    @classmethod
    def of(cls, g: Any, chain: Any) -> Observables:
        """Observables of a checked chain, or an error that says what shape was expected."""
        i, j, p = edges_of(chain)
        n = chain.shape[0]
        parts = g if isinstance(g, (list, tuple)) and any(map(is_sparse, g)) else [g]
        rows: list[Floats] = []
        for part in parts:
            if is_sparse(part):
                if part.shape != (n, n):
                    raise InputError(f"an observable has shape {part.shape}, expected ({n}, {n})")
                rows.append(np.asarray(part.tocsr()[i, j], dtype=np.float64).reshape(1, -1))
                continue
            values = np.asarray(part, dtype=np.float64)
            if values.shape[-2:] == (n, n) and values.ndim <= 3:
                rows.append(values.reshape(-1, n, n)[:, i, j])
            elif values.shape[-1:] == (n,) and values.ndim <= 2:
                rows.append(values.reshape(-1, n)[:, j])
            else:
                raise InputError(
                    f"an observable has shape {values.shape}; expected [n] or [n, n] with n = {n}, "
                    "several stacked in front"
                )
        made = np.concatenate(rows)
        if not np.isfinite(made).all():
            _, edge = np.argwhere(~np.isfinite(made))[0]
            raise InputError(
                f"an observable is {made[:, edge].tolist()} on the transition {i[edge]} -> "
                f"{j[edge]}; expected finite numbers"
            )
        return cls(i, j, p, made)

    def forces(self, lam: ArrayLike) -> Floats:
        """[m] driving forces, checked."""
        forces = np.atleast_1d(np.asarray(lam, dtype=np.float64))
        if forces.shape != (len(self.g),) or not np.isfinite(forces).all():
            raise InputError(
                f"lam is {np.asarray(lam).tolist()}; expected a finite number for each of "
                f"{len(self.g)} observable(s)"
            )
        return forces

    def tilted(self, forces: Floats) -> tuple[Floats, float]:
        """[E] P exp(lam g - shift) and the shift, the largest exponent: nothing overflows."""
        exponent = forces @ self.g
        shift = float(exponent.max())
        return self.p * np.exp(exponent - shift), shift


def edges_of(chain: Any) -> tuple[NDArray[Any], NDArray[Any], Floats]:
    """Transitions of a chain: from [E], to [E], probability [E]."""
    if is_sparse(chain):
        rows = chain.tocsr().copy()
        rows.eliminate_zeros()
        rows.sort_indices()
        i = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        return i, rows.indices, rows.data
    i, j = np.nonzero(chain)
    p: Floats = chain[i, j]
    return i, j, p


def matrix_on(values: Floats, observed: Observables, n: int, *, like: Any) -> Any:
    """[n, n] with ``values`` [E] on the transitions, dense or sparse as ``like``."""
    if is_sparse(like):
        from scipy.sparse import csr_array

        return csr_array((values, (observed.i, observed.j)), shape=(n, n))
    made = np.zeros((n, n))
    made[observed.i, observed.j] = values
    return made


def centred(chain: Any, pi: Floats, observed: Observables) -> tuple[Floats, Floats, Floats]:
    """[m, E] deviations from the mean, [E] stationary flow, [n, m] mean deviation by state left."""
    p = edges_of(chain)[2]
    flow = pi[observed.i] * p
    mean = observed.g @ flow
    spread = observed.g - mean[:, None]
    n = chain.shape[0]
    later: Any = np.stack([np.bincount(observed.i, row * p, minlength=n) for row in spread], axis=1)
    return spread, flow, later


def green_kubo_sum(chain: Any, pi: Floats, observed: Observables) -> tuple[Floats, Floats]:
    """[m] mean rates and [m, m] summed correlations of a stationary chain on the same edges."""
    spread, flow, later = centred(chain, pi, observed)
    summed = summed_correlations(chain, pi, later)
    cross = (spread * flow) @ summed[observed.j]
    total = (spread * flow) @ spread.T + cross + cross.T
    return observed.g @ flow, total


def start_weights(pi0: ArrayLike, n: int) -> Floats:
    """[n] probabilities of the start, checked."""
    p = np.asarray(pi0, dtype=np.float64)
    if p.shape != (n,) or not (p >= 0).all() or abs(float(p.sum()) - 1) > 1e-9:
        raise InputError(f"pi0 has shape {p.shape}; expected [{n}] probabilities that sum to 1")
    return p
