"""Epiplexity of a symbol stream for an exact observer: a Markov model with KT estimates.

The Krichevsky-Trofimov estimator codes each symbol with (n_x + 1/2) / (n + A/2) after n symbols of
its context. The sum has a closed form, and what it lies above the empirical entropy is the price
of learning the probabilities:

    code = sum over contexts of log2 Gamma(n + A/2) - log2 Gamma(A/2)
                                - sum_x [log2 Gamma(n_x + 1/2) - log2 Gamma(1/2)]
    H    = sum over contexts of sum_x n_x log2 (n / n_x),           S = code - H

For a fair coin S -> (1/2) log2 n + 0.33. The idea of an exact observer is ours; prequential coding
is that of arXiv 2601.03220, the estimator is Krichevsky and Trofimov, IEEE T-IT 27 (1981), 199.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Counts = NDArray[np.int64]

MOST_CELLS = 1 << 24  # of a dense table of counts: 128 MB


class KTCode(NamedTuple):
    """Bits of a stream: the whole code, its part that is structure, and the rest."""

    code_bits: float
    epiplexity_bits: float  # S = code - entropy
    entropy_bits: float  # H: empirical conditional entropy times the length
    n_contexts: int  # that occur


def kt_epiplexity(sequence: ArrayLike, alphabet: int, order: int = 0) -> KTCode:
    """Structure and entropy of a stream for a Markov model of one order.

    Args:
        sequence: [n] symbols, integers in 0 .. alphabet - 1.
        alphabet: A, number of symbols that could occur, >= 2.
        order: symbols of context, >= 0. The first ``order`` symbols have no whole context; they are
            coded with log2 A bits each, which count as entropy.

    Returns:
        Bits of code, structure and entropy, and the number of contexts.

    Raises:
        InputError: symbols out of range or not integers, a stream no longer than the order, or a
            negative order.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> found = kt_epiplexity(rng.integers(0, 2, 4096), 2)
        >>> round(found.epiplexity_bits, 2)  # (1/2) log2 4096 + 0.33
        6.33
        >>> round(kt_epiplexity([0, 1] * 500, 2, order=1).entropy_bits)
        1
    """
    symbols = checked_symbols(sequence, alphabet)
    if order < 0:
        raise InputError(f"order is {order}; expected 0 or more symbols of context")
    if len(symbols) <= order:
        raise InputError(
            f"the stream has {len(symbols)} symbols, no more than the order {order}; take a "
            "smaller order or a longer stream"
        )
    n_of, n_symbol_of, context_of = _counts(symbols, alphabet, order)
    return _code(n_of, n_symbol_of, context_of, alphabet, order)


def kt_code_from_counts(counts: ArrayLike) -> KTCode:
    """The same from counts of symbols, one row a context.

    Args:
        counts: [A] or [contexts, A] integers >= 0; the alphabet is the last axis, A >= 2.

    Raises:
        InputError: negative counts or an alphabet of one.

    Examples:
        >>> round(kt_code_from_counts([900, 100]).code_bits, 6)
        474.305022
    """
    table = np.atleast_2d(np.asarray(counts))
    if table.shape[-1] < 2 or not np.issubdtype(table.dtype, np.integer) or (table < 0).any():
        raise InputError(
            f"counts of shape {table.shape} must be integers >= 0 with at least two symbols"
        )
    table = table[table.sum(axis=1) > 0].astype(np.int64)
    context, symbol = np.nonzero(table)
    return _code(table.sum(axis=1), table[context, symbol], context, int(table.shape[-1]), 0)


def checked_symbols(sequence: ArrayLike, alphabet: int) -> NDArray[np.int64]:
    """Symbols as [n] int64 in 0 .. alphabet - 1.

    Raises:
        InputError: not a stream of integers in that range.

    Examples:
        >>> checked_symbols([0, 2], 3)
        array([0, 2])
    """
    symbols = np.asarray(sequence)
    if alphabet < 2:
        raise InputError(f"alphabet is {alphabet}; expected at least 2 symbols")
    if symbols.ndim != 1 or not (
        np.issubdtype(symbols.dtype, np.integer) or symbols.dtype == np.bool_
    ):
        raise InputError(
            f"sequence has shape {symbols.shape} and dtype {symbols.dtype}; expected [n] integers"
        )
    if len(symbols) and not (symbols.min() >= 0 and symbols.max() < alphabet):
        raise InputError(
            f"sequence has symbols from {symbols.min()} to {symbols.max()}, the alphabet goes from "
            f"0 to {alphabet - 1}; give a larger alphabet"
        )
    return symbols.astype(np.int64, copy=False)


@njit(cache=True, nogil=True)
def _count_dense(
    symbols: NDArray[np.int64], alphabet: int, order: int, modulus: int, table: Counts
) -> None:
    context = 0
    for t in range(symbols.shape[0]):
        if t >= order:
            table[context * alphabet + symbols[t]] += 1
        context = (context * alphabet + symbols[t]) % modulus


def _counts(
    symbols: NDArray[np.int64], alphabet: int, order: int
) -> tuple[Counts, Counts, NDArray[np.int64]]:
    """Counts of contexts [m], of (context, symbol) pairs [p], and the context of each pair."""
    if (order + 1) * math.log2(alphabet) <= math.log2(MOST_CELLS):
        table = np.zeros(alphabet ** (order + 1), np.int64)
        _count_dense(symbols, alphabet, order, alphabet**order, table)
        pairs = np.flatnonzero(table)
        occurs, context_of = np.unique(pairs // alphabet, return_inverse=True)
        n_symbol_of = table[pairs]
    else:
        context = np.zeros(len(symbols) - order, np.int64)
        for back in range(order, 0, -1):  # names of contexts stay below n: no overflow
            longer = context * alphabet + symbols[order - back : len(symbols) - back]
            context = np.unique(longer, return_inverse=True)[1].astype(np.int64)
        pairs, n_symbol_of = np.unique(context * alphabet + symbols[order:], return_counts=True)
        occurs, context_of = np.unique(pairs // alphabet, return_inverse=True)
    n_of = np.bincount(context_of, n_symbol_of, len(occurs)).astype(np.int64)
    return n_of, n_symbol_of, context_of


def _code(
    n_of: Counts, n_symbol_of: Counts, context_of: NDArray[np.int64], alphabet: int, order: int
) -> KTCode:
    from scipy.special import gammaln  # costs 0.2 s to import

    half = alphabet / 2
    nats = float(np.sum(gammaln(n_of + half) - math.lgamma(half)))
    nats -= float(np.sum(gammaln(n_symbol_of + 0.5) - math.lgamma(0.5)))
    entropy = float(np.sum(n_symbol_of * np.log(n_of[context_of] / n_symbol_of)))
    first = order * math.log2(alphabet)
    bits = 1 / math.log(2)
    return KTCode(nats * bits + first, (nats - entropy) * bits, entropy * bits + first, len(n_of))
