"""An observer of symbol streams that learns as it reads: nested context models in one pass.

Model k predicts a symbol from the k symbols before it, and backs off to model k - 1 by as much as
its context has seen different symbols (Witten and Bell's rule, method C of PPM):

    p_-1(x) = 1 / A
    p_k(x | c) = (n_c(x) + d_c p_k-1(x | c')) / (n_c + d_c)      n_c visits, d_c different symbols

All orders -1 .. K are coded at once; each is a model class of its own, from "uniform noise" up, and
the smallest total code picks one. Counts live in one table of fixed size: what does not fit is not
learnt, and is counted, so that the observer's memory is bounded as its time is. Counts commute: a
stretch can be forgotten again, exactly, whatever was learnt in between.

The prequential code and its split are those of arXiv 2601.03220; this observer is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import InputError

Array = NDArray[Any]

MOST_ORDER: Final = 16
_FULL: Final = 0.85  # share of the table after which nothing new is learnt
_MULTIPLY: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64
_CODE, _LEARN, _FORGET = 0, 1, 2


@dataclass(frozen=True)
class ContextMemory:
    """Counts of a context observer; the functions here fill it in place.

    ``keys`` [slots] hashes of contexts and of (context, symbol) pairs, 0 where free; ``counts``
    [slots] visits; ``different`` [slots] symbols seen after a context; ``used`` [2] slots taken and
    lessons that found no room.
    """

    order: int
    alphabet: int
    keys: NDArray[np.uint64]
    counts: NDArray[np.int32]
    different: NDArray[np.int32]
    used: NDArray[np.int64]


def context_memory(alphabet: int, order: int, slots: int = 1 << 22) -> ContextMemory:
    """An observer that has seen nothing.

    Args:
        alphabet: A, >= 2.
        order: K, longest context, 0 to 16.
        slots: of the table, rounded up to a power of 2; 16 bytes each.

    Raises:
        InputError: an alphabet below 2 or an order out of range.

    Examples:
        >>> context_memory(2, 3, 1000).keys.shape
        (1024,)
    """
    if alphabet < 2:
        raise InputError(f"alphabet is {alphabet}; expected at least 2 symbols")
    if not 0 <= order <= MOST_ORDER:
        raise InputError(f"order is {order}; expected 0 to {MOST_ORDER} symbols of context")
    size = 1 << max(6, math.ceil(math.log2(max(slots, 1))))
    return ContextMemory(
        order,
        alphabet,
        np.zeros(size, np.uint64),
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
        np.zeros(2, np.int64),
    )


def read_stream(memory: ContextMemory, symbols: Array, *, learn: bool = True) -> Array:
    """Code a stretch of symbols with every order; contexts begin anew at its start.

    Args:
        memory: what was learnt; changed in place where ``learn``.
        symbols: [n] integers in 0 .. A-1 (not checked).
        learn: update after each symbol; False codes with what was learnt before.

    Returns:
        [K + 2] nats of the whole stretch: uniform, order 0, .. order K.

    Examples:
        >>> memory = context_memory(2, 1)
        >>> nats = read_stream(memory, np.tile([0, 1], 200))
        >>> (nats / np.log(2)).round().tolist()  # no order below 1 sees the alternation
        [400.0, 404.0, 12.0]
    """
    return _pass(memory, symbols, _LEARN if learn else _CODE)


def forget_stream(memory: ContextMemory, symbols: Array) -> None:
    """Take back what a stretch has taught; it must have been learnt before, by ``read_stream``.

    Args:
        memory: changed in place; only the room that names of contexts take stays taken.
        symbols: [n] as they were read.

    Examples:
        >>> memory = context_memory(2, 1)
        >>> nothing = read_stream(memory, np.ones(9, int), learn=False)
        >>> _ = read_stream(memory, np.ones(9, int))
        >>> forget_stream(memory, np.ones(9, int))
        >>> bool((read_stream(memory, np.ones(9, int), learn=False) == nothing).all())
        True
    """
    _pass(memory, symbols, _FORGET)


def _pass(memory: ContextMemory, symbols: Array, mode: int) -> Array:
    nats = np.zeros(memory.order + 2)
    room = int(_FULL * len(memory.keys))
    tables = (memory.keys, memory.counts, memory.different, memory.used)
    _read(symbols, memory.order, memory.alphabet, *tables, room, mode, nats)
    return nats


@njit(inline="always")
def _find(keys: Any, key: Any, mask: Any) -> Any:
    """Slot of a key, or the free slot where it would go."""
    slot = np.int64((key ^ (key >> np.uint64(29))) & mask)
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & np.int64(mask)
    return slot


@njit(inline="always")
def _context_key(key: Any) -> Any:
    return (key * _MIX) | np.uint64(1)


@njit(inline="always")
def _pair_key(key: Any, x: Any) -> Any:
    mixed = (key ^ (x * _MIX)) * _MULTIPLY
    return (mixed ^ (mixed >> np.uint64(31))) | np.uint64(1)


@njit(inline="always")
def _longer(key: Any, x: Any) -> Any:
    mixed = (key ^ x) * _MULTIPLY
    return mixed ^ (mixed >> np.uint64(32))


@njit(inline="always")
def _learn(
    keys: Any, counts: Any, different: Any, used: Any, room: Any, key: Any, x: Any, mask: Any
) -> None:
    slot, pair = _find(keys, _context_key(key), mask), _find(keys, _pair_key(key, x), mask)
    if keys[slot] == 0 or keys[pair] == 0:
        if used[0] + 2 > room:
            used[1] += 1
            return
        if keys[slot] == 0:
            keys[slot] = _context_key(key)
            used[0] += 1
            pair = _find(keys, _pair_key(key, x), mask)
        if keys[pair] == 0:
            keys[pair] = _pair_key(key, x)
            used[0] += 1
    if counts[pair] == 0:
        different[slot] += 1
    counts[slot] += 1
    counts[pair] += 1


@njit(inline="always")
def _forget(keys: Any, counts: Any, different: Any, key: Any, x: Any, mask: Any) -> None:
    slot, pair = _find(keys, _context_key(key), mask), _find(keys, _pair_key(key, x), mask)
    if keys[pair] == 0 or counts[pair] == 0:
        return  # there was no room to learn it
    counts[slot] -= 1
    counts[pair] -= 1
    if counts[pair] == 0:
        different[slot] -= 1


@njit(cache=True, nogil=True)
def _read(
    symbols: Array,
    order: int,
    alphabet: int,
    keys: Array,
    counts: Array,
    different: Array,
    used: Array,
    room: int,
    mode: int,
    nats: Array,
) -> None:
    mask = np.uint64(keys.shape[0] - 1)
    names = np.empty(order + 1, np.uint64)
    names[0] = np.uint64(0x243F6A8885A308D3)
    for t in range(symbols.shape[0]):
        x = np.uint64(symbols[t]) + np.uint64(1)
        longest = min(order, t)
        for k in range(1, longest + 1):
            names[k] = _longer(names[k - 1], np.uint64(symbols[t - k]) + np.uint64(1))
        if mode != _FORGET:
            p = 1.0 / alphabet
            nats[0] -= math.log(p)
            for k in range(order + 1):
                if k <= longest:  # else no whole context yet: the longest one that is serves
                    slot = _find(keys, _context_key(names[k]), mask)
                    if counts[slot] > 0:
                        pair = _find(keys, _pair_key(names[k], x), mask)
                        d = different[slot]
                        p = (counts[pair] + d * p) / (counts[slot] + d)
                nats[k + 1] -= math.log(p)
        if mode != _CODE:
            for k in range(longest + 1):
                if mode == _LEARN:
                    _learn(keys, counts, different, used, room, names[k], x, mask)
                else:
                    _forget(keys, counts, different, names[k], x, mask)
