"""Data whose generator is known but partly hidden: what must be inferred can be turned up.

``hidden_chains`` shows a few rows of each sequence's own transition matrix and hides the others;
``hidden_automaton`` hides the first cells of an automaton's start. In both, likelihood modelling
has to infer what is hidden, which a generator never has to.

Paper: arXiv 2601.03220, Sections 5.2 and C ("induction", easy and hard).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.information.cellular_automata import eca


class HiddenChains(NamedTuple):
    """Sequences of Markov chains, each with a matrix of its own that is shown in part."""

    sequence: NDArray[np.int64]  # [n, length] symbols
    log_rows: NDArray[np.float64]  # [n, A, A] natural log-probabilities; nan in hidden rows


@njit(cache=True, nogil=True)
def _walk(
    cumulative: NDArray[np.float64], uniform: NDArray[np.float64], out: NDArray[np.int64]
) -> None:
    n, length = uniform.shape
    alphabet = cumulative.shape[1]
    for i in range(n):
        state = out[i, 0]
        for t in range(1, length):
            x = 0
            while x < alphabet - 1 and uniform[i, t] >= cumulative[i, state, x]:
                x += 1
            out[i, t] = x
            state = x


def hidden_chains(
    n: int, length: int = 512, *, alphabet: int = 8, hidden: int = 4, rng: np.random.Generator
) -> HiddenChains:
    """Sequences of chains with a fresh matrix each, ``alphabet - hidden`` rows of which are shown.

    Args:
        n: sequences.
        length: symbols each, >= 2.
        alphabet: A, >= 2.
        hidden: rows that are not shown, 0 to A; the last ones.
        rng: source of randomness. Rows are uniform on the simplex.

    Raises:
        InputError: a size out of range.

    Examples:
        >>> found = hidden_chains(3, 16, hidden=2, rng=np.random.default_rng(0))
        >>> found.sequence.shape, int(np.isnan(found.log_rows[0]).all(axis=1).sum())
        ((3, 16), 2)
    """
    if n < 1 or length < 2 or alphabet < 2 or not 0 <= hidden <= alphabet:
        raise InputError(
            f"n = {n}, length = {length}, alphabet = {alphabet}, hidden = {hidden}; expected at "
            "least 1, 2 and 2, and 0 <= hidden <= alphabet"
        )
    rows = rng.dirichlet(np.ones(alphabet), (n, alphabet))
    sequence = np.zeros((n, length), np.int64)
    sequence[:, 0] = rng.integers(0, alphabet, n)
    _walk(rows.cumsum(axis=2), rng.random((n, length)), sequence)
    with np.errstate(divide="ignore"):
        log_rows = np.log(rows)
    log_rows[:, alphabet - hidden :] = np.nan
    return HiddenChains(sequence, log_rows)


def hidden_automaton(
    n: int,
    *,
    hidden: int,
    rule: int = 30,
    steps: int = 4,
    width: int = 32,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Random starts without their first cells, and what an automaton makes of the whole.

    Args:
        n: rows.
        hidden: cells that are not shown, 0 to width.
        rule: 0 to 255.
        steps: of the automaton.
        width: cells a row.
        rng: source of randomness.

    Returns:
        What is shown [n, width - hidden], the targets [n, width], and what is hidden [n, hidden].

    Raises:
        InputError: hidden out of range.

    Examples:
        >>> shown, after, before = hidden_automaton(2, hidden=3, rng=np.random.default_rng(0))
        >>> shown.shape, after.shape, before.shape
        ((2, 29), (2, 32), (2, 3))
    """
    if n < 1 or not 0 <= hidden <= width:
        raise InputError(f"n = {n}, hidden = {hidden}; expected n >= 1 and 0 <= hidden <= {width}")
    start = rng.integers(0, 2, (n, width), dtype=np.uint8)
    return start[:, hidden:], eca(start, steps, rule), start[:, :hidden]
