"""Markov chains, dense or sparse: checks that name what is wrong, stationary flows, simulation.

    P[i, j] = probability of j after i; rows sum to 1.      pi P = pi
    correlation sums go through (I - P + 1 pi')^-1 h, which needs no decay of single terms, so that
    periodic chains are as good as others (their sums are Abel sums)

Source: Kemeny and Snell, Finite Markov Chains (1960), for the fundamental matrix.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ROW_SLACK: Final = 1e-9
NAMED: Final = 8  # states that a message lists before it counts the rest


def is_sparse(matrix: Any) -> bool:
    """Whether this is one of scipy's sparse arrays or matrices.

    Examples:
        >>> is_sparse(np.eye(2))
        False
    """
    return hasattr(matrix, "tocsr")


def as_chain(P: Any) -> Any:
    """Transition probabilities as float64, dense or CSR, or an error that says what is wrong.

    Args:
        P: [n, n]; rows sum to 1 within 1e-9.

    Raises:
        InputError: not square, negative or not finite entries, a row of another sum.

    Examples:
        >>> as_chain([[0.9, 0.1], [0.2, 0.8]]).shape
        (2, 2)
    """
    chain: Any = P.tocsr().astype(np.float64) if is_sparse(P) else np.asarray(P, dtype=np.float64)
    if chain.ndim != 2 or chain.shape[0] != chain.shape[1] or chain.shape[0] == 0:
        raise InputError(f"P has shape {chain.shape}, expected [n, n]: row i holds what follows i")
    values = chain.data if is_sparse(chain) else chain
    if not np.isfinite(values).all():
        raise InputError("P holds nan or infinite entries; expected probabilities")
    if values.min(initial=0.0) < 0:
        i, j = np.argwhere((chain.toarray() if is_sparse(chain) else chain) < 0)[0]
        raise InputError(f"P[{i}, {j}] = {chain[i, j]:.6g} is negative; expected a probability")
    sums = np.asarray(chain.sum(axis=1)).ravel()
    wrong = np.abs(sums - 1) > ROW_SLACK
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"row {row} of P sums to {sums[row]:.12g} ({int(wrong.sum())} such), expected 1 within "
            f"{ROW_SLACK:g}; divide each row by its sum, or transpose P if its columns sum to 1"
        )
    return chain


def closed_classes(P: Any) -> list[list[int]]:
    """Sets of states that are never left, each sorted; one with all states: irreducible.

    Examples:
        >>> closed_classes([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        [[1], [2]]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = coo_array(P)
    edges = coo_array((edges.data[edges.data > 0], (edges.row[edges.data > 0],
                       edges.col[edges.data > 0])), shape=edges.shape)  # fmt: skip
    n_classes, label = connected_components(edges.tocsr(), connection="strong")
    leaves = np.zeros(n_classes, dtype=np.bool_)
    leaves[label[edges.row][label[edges.row] != label[edges.col]]] = True
    found = [np.flatnonzero(label == k).tolist() for k in np.flatnonzero(~leaves)]
    return sorted(found)


def irreducible(P: Any) -> Any:
    """The checked chain, or an error that names its closed classes.

    Raises:
        InputError: as ``as_chain``; a chain that does not lead from every state to every other.

    Examples:
        >>> irreducible([[0.0, 1.0], [1.0, 0.0]]).shape
        (2, 2)
    """
    chain = as_chain(P)
    classes = closed_classes(chain)
    n = chain.shape[0]
    if len(classes) == 1 and len(classes[0]) == n:
        return chain
    shown = "; ".join(_listed(states) for states in classes[:4])
    passing = n - sum(map(len, classes))
    raise InputError(
        f"the chain is reducible: closed classes {shown}"
        + (f" and {len(classes) - 4} more" if len(classes) > 4 else "")
        + (f", and {passing} states that are left for good" if passing else "")
        + ". Study one closed class at a time, or add the missing transitions"
    )


def stationary(P: Any) -> Floats:
    """The stationary distribution of an irreducible chain.

    Args:
        P: [n, n], dense or sparse.

    Returns:
        [n], positive, sums to 1.

    Raises:
        InputError: as ``irreducible``.

    Examples:
        >>> stationary([[0.9, 0.1], [0.2, 0.8]]).round(6).tolist()
        [0.666667, 0.333333]
    """
    return stationary_of_checked(irreducible(P))


def stationary_of_checked(chain: Any) -> Floats:
    """``stationary`` of what ``irreducible`` returned."""
    n = chain.shape[0]
    right = np.zeros(n)
    right[-1] = 1.0
    if is_sparse(chain):
        from scipy.sparse import csr_array, eye_array, vstack
        from scipy.sparse.linalg import spsolve

        flow = (eye_array(n) - chain.T).tocsr()
        found = spsolve(vstack([flow[:-1], csr_array(np.ones((1, n)))]).tocsc(), right)
    else:
        flow = np.eye(n) - chain.T
        flow[-1] = 1.0
        found = np.linalg.solve(flow, right)
    found = np.maximum(found, 0.0)
    made: Floats = found / found.sum()
    return made


def summed_correlations(chain: Any, pi: Floats, h: Floats) -> Floats:
    """sum_k>=0 P^k h, for h of stationary mean 0 (taken off here): (I - P + 1 pi')^-1 h.

    Args:
        chain: [n, n], checked.
        pi: [n], its stationary distribution.
        h: [n] or [n, m].

    Returns:
        The shape of ``h``.

    Examples:
        >>> P = np.array([[0.9, 0.1], [0.2, 0.8]])
        >>> pi = stationary(P)
        >>> bool(np.allclose(summed_correlations(P, pi, np.array([0.0, 1.0])) @ pi, 0))
        True
    """
    n = chain.shape[0]
    centred = h - pi @ h
    if is_sparse(chain):
        from scipy.sparse import block_array, csr_array, eye_array
        from scipy.sparse.linalg import splu

        border = block_array([
            [eye_array(n) - chain, csr_array(np.ones((n, 1)))], [csr_array(pi[None]), None],
        ])  # fmt: skip
        rows = np.concatenate([centred, np.zeros((1, *centred.shape[1:]))])
        solved: Floats = splu(border.tocsc()).solve(rows)[:n]
        return solved
    made: Floats = np.linalg.solve(np.eye(n) - chain + pi, centred)
    return made


def lumped_chain(P: Any, groups: ArrayLike, pi: Floats | None = None) -> Floats:
    """The chain that an observer sees who can't tell the states of a group apart.

        P_AB = sum_{i in A, j in B} pi_i P_ij / pi_A

    Args:
        P: [n, n].
        groups: [n] group of each state, 0 to m - 1, none empty.
        pi: [n] weights of the states; the stationary distribution unless given.

    Returns:
        [m, m], dense.

    Raises:
        InputError: another number of groups than states, an empty group.

    Examples:
        >>> lumped_chain([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]], [0, 1, 1]).tolist()
        [[0.5, 0.5], [0.25, 0.75]]
    """
    chain = as_chain(P)
    label = np.asarray(groups)
    if label.shape != (chain.shape[0],) or label.dtype.kind not in "iu" or label.min() < 0:
        raise InputError(f"groups have shape {label.shape}; expected one number >= 0 a state")
    weight = stationary(chain) if pi is None else np.asarray(pi, dtype=np.float64)
    member = np.zeros((len(label), int(label.max()) + 1))
    member[np.arange(len(label)), label] = 1.0
    flow = (member * weight[:, None]).T @ (chain @ member)
    total = flow.sum(axis=1, keepdims=True)
    if (total <= 0).any():
        raise InputError(f"group {int(np.argmin(total))} is empty or never visited; leave it out")
    made: Floats = flow / total
    return made


def simulate_chain(
    P: Any, steps: int, rng: np.random.Generator, start: int | None = None
) -> NDArray[np.int32]:
    """A path of a chain, by inversion of the cumulative row of each state.

    Args:
        P: [n, n], dense.
        steps: transitions.
        rng: draws one number a step.
        start: first state; drawn from the stationary distribution unless given.

    Returns:
        [steps + 1] states.

    Raises:
        InputError: as ``as_chain``; a start that is no state, steps below 0.

    Examples:
        >>> path = simulate_chain([[0.0, 1.0], [1.0, 0.0]], 4, np.random.default_rng(0), 0)
        >>> path.tolist()
        [0, 1, 0, 1, 0]
    """
    chain = as_chain(P.toarray() if is_sparse(P) else P)
    n = len(chain)
    if steps < 0 or (start is not None and not 0 <= start < n):
        raise InputError(f"steps = {steps}, start = {start}; expected steps >= 0, start < {n}")
    first = int(rng.choice(n, p=stationary(chain))) if start is None else start
    path = np.empty(steps + 1, dtype=np.int32)
    path[0] = first
    cumulative = np.cumsum(chain, axis=1)
    cumulative[:, -1] = 1.0
    last = np.array([int(np.flatnonzero(row)[-1]) for row in chain])
    for i in range(n):  # so that rounding never leads to a state of probability 0
        cumulative[i, last[i] :] = 1.0
    for begin in range(0, steps, _BLOCK):
        draws = rng.random(min(_BLOCK, steps - begin))
        _walk(cumulative, draws, path[begin : begin + len(draws) + 1])
    return path


_BLOCK: Final = 1 << 20


@njit(cache=True, nogil=True)
def _walk(cumulative: Floats, draws: Floats, path: NDArray[np.int32]) -> None:
    """Fill path[1:] from path[0]; halves the row where it is long, else walks along it."""
    n = cumulative.shape[1]
    state = path[0]
    for t in range(len(draws)):
        u = draws[t]
        low = 0
        if n > 16:
            high = n - 1
            while low < high:
                middle = (low + high) >> 1
                if cumulative[state, middle] <= u:
                    low = middle + 1
                else:
                    high = middle
        else:
            for k in range(n - 1):  # without a branch that depends on the draw
                low += cumulative[state, k] <= u
        state = low
        path[t + 1] = state


@njit(cache=True, nogil=True)
def _count(path: NDArray[np.int32], counts: Ints) -> None:
    for t in range(len(path) - 1):
        counts[path[t], path[t + 1]] += 1


def transition_counts(path: ArrayLike, n: int) -> Ints:
    """How often each transition was made.

    Args:
        path: [T + 1] states, 0 to n - 1.
        n: number of states.

    Returns:
        [n, n].

    Raises:
        InputError: a state outside.

    Examples:
        >>> transition_counts([0, 1, 1, 0], 2).tolist()
        [[0, 1], [1, 1]]
    """
    states = np.asarray(path)
    if states.ndim != 1 or states.dtype.kind not in "iu":
        raise InputError(f"path has shape {states.shape} and kind {states.dtype}; expected states")
    if len(states) and not 0 <= states.min() <= states.max() < n:
        raise InputError(f"path holds states {states.min()} to {states.max()}, expected 0..{n - 1}")
    counts = np.zeros((n, n), dtype=np.int64)
    _count(states.astype(np.int32), counts)
    return counts


def _listed(states: list[int]) -> str:
    shown = ", ".join(map(str, states[:NAMED]))
    return f"{{{shown}{f', ... ({len(states)} states)' if len(states) > NAMED else ''}}}"
