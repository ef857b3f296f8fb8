"""Elementary cellular automata: 64 cells a word, any width, cyclic.

A state is packed into words of 64 bits; a step forms left and right neighbours with shifts and
picks the next bit by a tree of multiplexers over the eight entries of the rule:

    next[i] = bit (4 x[i-1] + 2 x[i] + x[i+1]) of the rule,    indices modulo the width

Source: Wolfram, Rev. Mod. Phys. 55 (1983), 601, for the numbering; the bit order follows
``soph/datasets/CA.py`` of shikaiqiu/epiplexity (arXiv 2601.03220).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Words = NDArray[np.uint64]

N_RULES: Final = 256
_BLOCK: Final = 128  # rows of one word that evolve together, in the first-level cache


@njit(inline="always")
def _next(left: Any, self: Any, right: Any, m: Any) -> Any:
    """The next 64 cells; ``m`` holds the rule's bits as words of zeros or ones."""
    low = m[0] ^ ((m[0] ^ m[1]) & right)
    high = m[2] ^ ((m[2] ^ m[3]) & right)
    without = low ^ ((low ^ high) & self)
    low = m[4] ^ ((m[4] ^ m[5]) & right)
    high = m[6] ^ ((m[6] ^ m[7]) & right)
    within = low ^ ((low ^ high) & self)
    return without ^ ((without ^ within) & left)


@njit(cache=True, nogil=True)
def _evolve_short(words: Words, width: int, steps: int, m: Words) -> None:
    """Rows of at most 64 cells, one word each, in place; the inner loop runs over rows."""
    one, top = np.uint64(1), np.uint64(width - 1)
    keep = ~np.uint64(0) if width == 64 else (one << np.uint64(width)) - one
    n = words.shape[0]
    block = np.empty(_BLOCK, np.uint64)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        block[:size] = words[start : start + size]
        for _ in range(steps):
            for i in range(_BLOCK):
                x = block[i]
                left = (x << one) | (x >> top)
                right = (x >> one) | (x << top)
                block[i] = _next(left, x, right, m) & keep
        words[start : start + size] = block[:size]


@njit(cache=True, nogil=True)
def _evolve_long(words: Words, width: int, steps: int, m: Words) -> None:
    """Rows of more than 64 cells, one after the other; the inner loop runs over words."""
    one, top = np.uint64(1), np.uint64(63)
    n_rows, n_words = words.shape
    rest = width - 64 * (n_words - 1)  # cells in the last word
    last = np.uint64(rest - 1)
    keep = ~np.uint64(0) if rest == 64 else (one << np.uint64(rest)) - one
    now, then = np.empty(n_words, np.uint64), np.empty(n_words, np.uint64)
    end = n_words - 1
    for r in range(n_rows):
        now[:] = words[r]
        for _ in range(steps):
            for j in range(1, end):
                x = now[j]
                left = (x << one) | (now[j - 1] >> top)
                right = (x >> one) | (now[j + 1] << top)
                then[j] = _next(left, x, right, m)
            x = now[0]
            left = (x << one) | ((now[end] >> last) & one)
            then[0] = _next(left, x, (x >> one) | (now[1] << top), m)
            x = now[end]
            left = (x << one) | (now[end - 1] >> top)
            right = (x >> one) | ((now[0] & one) << last)
            then[end] = _next(left, x, right, m) & keep
            now, then = then, now
        words[r] = now


def eca(state: ArrayLike, steps: int, rule: int) -> NDArray[np.uint8]:
    """The cells after some steps of an elementary cellular automaton.

    Args:
        state: [..., W] of 0 and 1 (bool or integer), W >= 1; the ends of a row are neighbours.
        steps: >= 0.
        rule: 0 to 255, in Wolfram's numbering.

    Returns:
        [..., W] uint8.

    Raises:
        InputError: cells that are not 0 or 1, no cells, negative steps, or no such rule.

    Examples:
        >>> eca([0, 0, 0, 1, 0, 0, 0], 2, 30).tolist()
        [0, 1, 1, 0, 0, 1, 0]
    """
    cells = _checked_cells(state)
    masks = _masks(rule, steps)
    width = cells.shape[-1]
    words = _packed(cells.reshape(-1, width))
    _evolve(words, width, steps, masks)
    return _unpacked(words, width).reshape(cells.shape)


def eca_history(state: ArrayLike, steps: int, rule: int) -> NDArray[np.uint8]:
    """All states from the first to that after ``steps``: the picture of an automaton.

    Args:
        state: [W] of 0 and 1.
        steps: >= 0.
        rule: 0 to 255.

    Returns:
        [steps + 1, W] uint8; the first row is ``state``.

    Raises:
        InputError: as ``eca``, or a state of more than one row.

    Examples:
        >>> eca_history([0, 0, 1, 0, 0], 2, 90).tolist()
        [[0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]
    """
    cells = _checked_cells(state)
    if cells.ndim != 1:
        raise InputError(f"state has shape {cells.shape}; a history is of one row, of shape [W]")
    masks, width = _masks(rule, steps), len(cells)
    words = _packed(cells[None])
    rows = [words.copy()]
    for _ in range(steps):
        _evolve(words, width, 1, masks)
        rows.append(words.copy())
    return _unpacked(np.concatenate(rows), width)


def eca_pairs(
    n: int,
    *,
    rule: int,
    steps: int,
    width: int = 64,
    burn_in: int = 1000,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """States of an automaton that has settled, and what they become: inputs and targets.

    Args:
        n: rows.
        rule: 0 to 255.
        steps: between input and target.
        width: cells a row.
        burn_in: steps from a uniformly random state to the input.
        rng: source of randomness.

    Returns:
        Inputs and targets, [n, width] uint8 each.

    Raises:
        InputError: n, width, steps or burn-in out of range, or no such rule.

    Examples:
        >>> x, y = eca_pairs(2, rule=30, steps=4, width=16, rng=np.random.default_rng(0))
        >>> bool((eca(x, 4, 30) == y).all())
        True

    Source: arXiv 2601.03220, Appendix C (width 64, 48 steps, burn-in 1000).
    """
    if n < 1 or width < 1:
        raise InputError(f"n = {n} and width = {width}; expected at least 1 of each")
    masks, words = _masks(rule, steps), _random_words(n, width, rng)
    _masks(rule, burn_in)
    _evolve(words, width, burn_in, masks)
    inputs = _unpacked(words, width)
    _evolve(words, width, steps, masks)
    return inputs, _unpacked(words, width)


def _checked_cells(state: ArrayLike) -> NDArray[np.uint8]:
    cells = np.asarray(state)
    if cells.ndim == 0 or cells.shape[-1] == 0:
        raise InputError(f"state has shape {cells.shape}; expected [..., W] with at least one cell")
    if cells.dtype != np.bool_ and not (
        np.issubdtype(cells.dtype, np.integer) and (cells >> 1 == 0).all()
    ):
        raise InputError("state has cells that are not 0 or 1; an elementary automaton has no more")
    return np.ascontiguousarray(cells, np.uint8)


def _masks(rule: int, steps: int) -> Words:
    """The rule's eight bits, each as a word of zeros or ones."""
    if not 0 <= rule < N_RULES:
        raise InputError(f"rule is {rule}; elementary rules are 0 to 255")
    if steps < 0:
        raise InputError(f"steps is {steps}; expected 0 or more")
    bits = (np.uint64(rule) >> np.arange(8, dtype=np.uint64)) & np.uint64(1)
    return np.where(bits == 1, ~np.uint64(0), np.uint64(0))


def _evolve(words: Words, width: int, steps: int, masks: Words) -> None:
    if words.shape[1] == 1:
        _evolve_short(words[:, 0], width, steps, masks)
    else:
        _evolve_long(words, width, steps, masks)


def _packed(cells: NDArray[np.uint8]) -> Words:
    rows, width = cells.shape
    room = np.zeros((rows, -(-width // 64) * 8), np.uint8)
    room[:, : -(-width // 8)] = np.packbits(cells, axis=1, bitorder="little")
    return room.view("<u8").astype(np.uint64, copy=False)


def _unpacked(words: Words, width: int) -> NDArray[np.uint8]:
    flat = np.ascontiguousarray(words.astype("<u8", copy=False)).view(np.uint8)
    return np.unpackbits(flat, axis=1, count=width, bitorder="little")


def _random_words(n: int, width: int, rng: np.random.Generator) -> Words:
    words = rng.integers(0, 1 << 64, (n, -(-width // 64)), dtype=np.uint64)
    rest = width % 64
    if rest:
        words[:, -1] &= np.uint64((1 << rest) - 1)
    return words
