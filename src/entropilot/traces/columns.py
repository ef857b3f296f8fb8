"""Token columns while they grow: one row a token, alternatives sorted, equal keys merged."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.traces.table import Tokens

IMPOSSIBLE: Final = -100.0  # servers write -100, -1000 or -9999 for "probability 0"
ROUNDING: Final = 1e-3  # log-probabilities up to here are rounding, above they are wrong
MAX_ALTERNATIVES: Final = 32767  # n_top is a 16-bit number

# counts: what the kernels add up
N_IMPOSSIBLE: Final = 0
N_ROUNDED: Final = 1
N_MERGED: Final = 2
N_WIDEST: Final = 3  # alternatives of the widest row
N_SERIAL: Final = 4  # rows written since the start, never taken back
N_COUNTS: Final = 5

GOOD: Final = 0
POSITIVE: Final = 1  # a log-probability above ROUNDING
NOT_A_NUMBER: Final = 2


class ColumnArrays(NamedTuple):
    """What the kernels see."""

    piece: NDArray[np.int32]
    logprob: NDArray[np.float32]
    top_piece: NDArray[np.int32]  # [capacity, width]
    top_logprob: NDArray[np.float32]
    n_top: NDArray[np.int16]
    appended: NDArray[np.int8]  # 1: the source's order shows that the sampled token was appended
    entropy: NDArray[np.float32]
    jsd: NDArray[np.float32]
    counts: NDArray[np.int64]


@njit(cache=True, nogil=True)
def put_row(
    row: int,
    pieces: NDArray[np.int32],
    logprobs: NDArray[np.float64],
    first: int,
    n: int,
    c: Any,
    stamp: NDArray[np.int64],
) -> int:
    """Write the alternatives first:first+n of one token; its own piece and log-prob are there.

    Keys that occur twice are merged: log(e^a + e^b). The most likely come first, ties in the order
    of the source. Sets ``appended`` where the sampled token comes first in the source although it
    is the least likely and the others are in order: so vLLM gives one outside the top-k.
    """
    serial = c.counts[N_SERIAL]
    c.counts[N_SERIAL] = serial + 1
    own = c.logprob[row]
    if own > 0:
        if own > ROUNDING:
            return POSITIVE
        c.logprob[row] = 0.0
        c.counts[N_ROUNDED] += 1
    elif own <= IMPOSSIBLE:
        c.logprob[row] = -np.inf
        c.counts[N_IMPOSSIBLE] += 1
    top_piece = c.top_piece[row]
    top_logprob = c.top_logprob[row]
    chosen = c.piece[row]
    m = 0
    ordered, rest_ordered = True, True
    for i in range(first, first + n):
        value = logprobs[i]
        if value > 0:
            if value > ROUNDING:
                return POSITIVE
            value = 0.0
            c.counts[N_ROUNDED] += 1
        elif value <= IMPOSSIBLE:
            value = -np.inf
            c.counts[N_IMPOSSIBLE] += 1
        elif np.isnan(value):
            return NOT_A_NUMBER
        entry = pieces[i]
        if stamp[entry] == serial:  # the same key once more
            c.counts[N_MERGED] += 1
            for j in range(m):
                if top_piece[j] == entry:
                    high, low = max(top_logprob[j], value), min(top_logprob[j], value)
                    if low > -np.inf:
                        high = min(0.0, high + np.log1p(np.exp(low - high)))
                    top_logprob[j] = high
            ordered = rest_ordered = False
            continue
        stamp[entry] = serial
        top_piece[m] = entry
        top_logprob[m] = value
        if m > 0 and top_logprob[m] > top_logprob[m - 1]:
            ordered = False
            rest_ordered &= m == 1
        m += 1
    c.appended[row] = not ordered and rest_ordered and top_piece[0] == chosen
    if c.appended[row]:
        c.appended[row] = top_logprob[0] < top_logprob[m - 1]
    if not ordered:
        for i in range(1, m):  # insertion sort: short, nearly sorted, stable
            value, entry = top_logprob[i], top_piece[i]
            j = i
            while j > 0 and top_logprob[j - 1] < value:
                top_logprob[j], top_piece[j] = top_logprob[j - 1], top_piece[j - 1]
                j -= 1
            top_logprob[j], top_piece[j] = value, entry
    for i in range(m, top_piece.shape[0]):
        top_piece[i] = -1
        top_logprob[i] = -np.inf
    c.n_top[row] = m
    c.counts[N_WIDEST] = max(c.counts[N_WIDEST], m)
    return GOOD


@njit(cache=True, nogil=True)
def put_rows(
    row: int,
    pieces: NDArray[np.int32],
    logprobs: NDArray[np.float64],
    n_listed: NDArray[np.int64],
    c: Any,
    stamp: NDArray[np.int64],
) -> int:
    """``put_row`` for consecutive tokens; ``pieces`` and ``logprobs`` are flat over them."""
    first = 0
    for i in range(len(n_listed)):
        status = int(put_row(row + i, pieces, logprobs, first, n_listed[i], c, stamp))
        if status != GOOD:
            return status
        first += n_listed[i]
    return GOOD


@njit(cache=True, nogil=True)
def settle(start: int, stop: int, k: int, c: Any) -> None:
    """Take the appended sampled token of a finished trace out of the top-k proper.

    k: what the request asked for; 0 if unknown, then the shortest list if the longest has one more.
    """
    if k == 0:
        low, high = MAX_ALTERNATIVES, 0
        for row in range(start, stop):
            if c.n_top[row] > 0:
                low = min(low, c.n_top[row])
                high = max(high, c.n_top[row])
        k = low if high == low + 1 else MAX_ALTERNATIVES
    for row in range(start, stop):
        n = c.n_top[row]
        if c.appended[row] or (n == k + 1 and c.top_piece[row, n - 1] == c.piece[row]):
            c.n_top[row] = n - 1


class GrowingColumns:
    """Token rows of one batch."""

    def __init__(self, capacity: int = 4096, width: int = 24) -> None:
        self.n = 0
        self.has_statistics = False
        self.arrays = _allocate(capacity, width)

    def reserve(self, rows: int, width: int = 0) -> None:
        """Make room for ``rows`` more tokens with up to ``width`` alternatives."""
        capacity, wide = self.arrays.top_piece.shape
        if self.n + rows > capacity or width > wide:
            old = self.arrays
            if self.n + rows > capacity:
                capacity = max(2 * capacity, self.n + rows)
            new = _allocate(capacity, max(width, wide))
            for name in ("piece", "logprob", "n_top", "appended", "entropy", "jsd"):
                getattr(new, name)[: self.n] = getattr(old, name)[: self.n]
            new.top_piece[: self.n, :wide] = old.top_piece[: self.n]
            new.top_logprob[: self.n, :wide] = old.top_logprob[: self.n]
            self.arrays = new._replace(counts=old.counts)

    def tokens(self, offsets: NDArray[np.int64]) -> Tokens:
        """The table of the rows so far, copied out, so that the buffers can be used again."""
        a, n = self.arrays, self.n
        width = int(a.n_top[:n].max(initial=0))
        if width < a.top_piece.shape[1] and n and (a.top_piece[:n, width] >= 0).any():
            width += 1  # slot n_top holds an appended token
        return Tokens(
            offsets,
            a.piece[:n].copy(),
            a.logprob[:n].copy(),
            a.top_piece[:n, :width].copy(),
            a.top_logprob[:n, :width].copy(),
            a.n_top[:n].copy(),
            a.entropy[:n].copy() if self.has_statistics else None,
            a.jsd[:n].copy() if self.has_statistics else None,
        )

    def clear(self) -> None:
        """Forget the rows, keep the buffers."""
        self.n = 0
        self.has_statistics = False
        self.arrays.counts[:N_SERIAL] = 0


def _allocate(capacity: int, width: int) -> ColumnArrays:
    counts = np.zeros(N_COUNTS, np.int64)
    return ColumnArrays(
        piece=np.empty(capacity, np.int32),
        logprob=np.empty(capacity, np.float32),
        top_piece=np.full((capacity, width), -1, np.int32),
        top_logprob=np.full((capacity, width), -np.inf, np.float32),
        n_top=np.zeros(capacity, np.int16),
        appended=np.zeros(capacity, np.int8),
        entropy=np.full(capacity, np.nan, np.float32),
        jsd=np.full(capacity, np.nan, np.float32),
        counts=counts,
    )
