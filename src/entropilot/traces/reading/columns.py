"""Token columns while they grow: one row a token, alternatives sorted, equal keys merged."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.traces.reading.interning import E_STAMP, ENTRY_BYTES, V_ENTRIES
from entropilot.traces.reading.memory import (
    byte_at,
    float32_at,
    float64_at,
    int16_at,
    int32_at,
    int64_at,
    put_byte,
    put_float32,
    put_int16,
    put_int32,
    put_int64,
)
from entropilot.traces.table import Tokens

IMPOSSIBLE: Final = -100.0  # servers write -100, -1000 or -9999 for "probability 0"
ROUNDING: Final = 1e-3  # log-probabilities up to here are rounding, above they are wrong
MAX_ALTERNATIVES: Final = 32766  # n_top is a 16-bit number

# State of the columns: 64-bit numbers, at these byte offsets from its address.
C_IMPOSSIBLE: Final = 0
C_ROUNDED: Final = 8
C_MERGED: Final = 16
C_SERIAL: Final = 24  # rows written since the start, never taken back
C_WIDTH: Final = 32
C_CAPACITY: Final = 40
C_PIECE: Final = 48  # addresses of the columns
C_LOGPROB: Final = 56
C_TOP_PIECE: Final = 64
C_TOP_LOGPROB: Final = 72
C_N_TOP: Final = 80
C_APPENDED: Final = 88
C_ENTROPY: Final = 96
C_JSD: Final = 104
N_COUNTS: Final = 3  # of which the report tells

GOOD: Final = 0
POSITIVE: Final = 1  # a log-probability above ROUNDING
NOT_A_NUMBER: Final = 2


@njit(cache=True, nogil=True)
def put_row(
    row: int,
    piece: int,
    logprob: float,
    n: int,
    pieces: int,
    piece_stride: int,
    logprobs: int,
    logprob_stride: int,
    c: int,
    v: int,
) -> int:
    """Write one token with its n alternatives: entries (int32), log-probs (float64) at addresses.

    Keys that occur twice are merged: log(e^a + e^b). The most likely come first, ties in the order
    of the source. Sets ``appended`` where the sampled token comes first in the source although it
    is the least likely and the others are in order: so vLLM gives one outside the top-k.
    """
    serial = int64_at(c + C_SERIAL)
    put_int64(c + C_SERIAL, serial + 1)
    impossible, rounded = 0, 0
    if logprob > 0:
        if logprob > ROUNDING:
            return POSITIVE
        logprob = 0.0
        rounded += 1
    elif logprob <= IMPOSSIBLE:
        logprob = -np.inf
        impossible += 1
    put_int32(int64_at(c + C_PIECE) + 4 * row, piece)
    put_float32(int64_at(c + C_LOGPROB) + 4 * row, logprob)
    width = int64_at(c + C_WIDTH)
    top_piece = int64_at(c + C_TOP_PIECE) + 4 * width * row
    top_logprob = int64_at(c + C_TOP_LOGPROB) + 4 * width * row
    stamps = int64_at(v + V_ENTRIES) + E_STAMP
    m = 0
    ordered, rest_ordered = True, True
    previous = np.inf
    for i in range(n):
        value = float64_at(logprobs + i * logprob_stride)
        if value > 0:
            if value > ROUNDING:
                return POSITIVE
            value = 0.0
            rounded += 1
        elif value <= IMPOSSIBLE:
            value = -np.inf
            impossible += 1
        elif np.isnan(value):
            return NOT_A_NUMBER
        entry = int32_at(pieces + i * piece_stride)
        stamp = stamps + entry * ENTRY_BYTES
        if int64_at(stamp) == serial:  # the same key once more
            put_int64(c + C_MERGED, int64_at(c + C_MERGED) + 1)
            for j in range(m):
                if int32_at(top_piece + 4 * j) == entry:
                    other = float32_at(top_logprob + 4 * j)
                    high, low = max(other, value), min(other, value)
                    if low > -np.inf:
                        high = min(0.0, high + np.log1p(np.exp(low - high)))
                    put_float32(top_logprob + 4 * j, high)
            ordered = rest_ordered = False
            continue
        put_int64(stamp, serial)
        put_int32(top_piece + 4 * m, entry)
        put_float32(top_logprob + 4 * m, value)
        if value > previous:
            ordered = False
            rest_ordered &= m == 1
        previous = value
        m += 1
    appended = 0
    if not ordered:
        if rest_ordered and int32_at(top_piece) == piece:
            last = float32_at(top_logprob + 4 * (m - 1))
            appended = int(float32_at(top_logprob) < last)
        _sort(top_piece, top_logprob, m)
    put_byte(int64_at(c + C_APPENDED) + row, appended)
    put_int16(int64_at(c + C_N_TOP) + 2 * row, m)
    for i in range(m, width):
        put_int32(top_piece + 4 * i, -1)
        put_float32(top_logprob + 4 * i, -np.inf)
    if impossible or rounded:
        put_int64(c + C_IMPOSSIBLE, int64_at(c + C_IMPOSSIBLE) + impossible)
        put_int64(c + C_ROUNDED, int64_at(c + C_ROUNDED) + rounded)
    return GOOD


@njit(cache=True, nogil=True)
def _sort(top_piece: int, top_logprob: int, m: int) -> None:
    """Insertion sort, downward: the list is short and nearly sorted; equal ones stay in order."""
    for i in range(1, m):
        value, entry = float32_at(top_logprob + 4 * i), int32_at(top_piece + 4 * i)
        j = i
        while j > 0 and float32_at(top_logprob + 4 * (j - 1)) < value:
            put_float32(top_logprob + 4 * j, float32_at(top_logprob + 4 * (j - 1)))
            put_int32(top_piece + 4 * j, int32_at(top_piece + 4 * (j - 1)))
            j -= 1
        put_float32(top_logprob + 4 * j, value)
        put_int32(top_piece + 4 * j, entry)


@njit(cache=True, nogil=True)
def put_rows(
    row: int,
    own: NDArray[np.int32],
    own_logprob: NDArray[np.float64],
    n_listed: NDArray[np.int64],
    pieces: int,
    logprobs: int,
    c: int,
    v: int,
) -> int:
    """``put_row`` for consecutive tokens; ``pieces`` and ``logprobs`` are flat over them."""
    first = 0
    for i in range(len(own)):
        status = int(
            put_row(
                row + i,
                own[i],
                own_logprob[i],
                n_listed[i],
                pieces + 4 * first,
                4,
                logprobs + 8 * first,
                8,
                c,
                v,
            )
        )
        if status != GOOD:
            return status
        first += n_listed[i]
    return GOOD


@njit(cache=True, nogil=True)
def settle(start: int, stop: int, k: int, c: int) -> None:
    """Take the appended sampled token of a finished trace out of the top-k proper.

    k: what the request asked for; 0 if unknown, then the shortest list if the longest has one more.
    """
    n_top, appended = int64_at(c + C_N_TOP), int64_at(c + C_APPENDED)
    piece, top_piece = int64_at(c + C_PIECE), int64_at(c + C_TOP_PIECE)
    width = int64_at(c + C_WIDTH)
    if k == 0:
        low, high = MAX_ALTERNATIVES + 1, 0
        for row in range(start, stop):
            n = int16_at(n_top + 2 * row)
            if n > 0:
                low = min(low, n)
                high = max(high, n)
        k = low if high == low + 1 else MAX_ALTERNATIVES + 1
    for row in range(start, stop):
        n = int16_at(n_top + 2 * row)
        is_appended = byte_at(appended + row) != 0
        if not is_appended and n == k + 1:
            last = int32_at(top_piece + 4 * (row * width + n - 1))
            is_appended = last == int32_at(piece + 4 * row)
        if is_appended:
            put_int16(n_top + 2 * row, n - 1)


class GrowingColumns:
    """Token rows of one batch."""

    def __init__(self, capacity: int = 4096, width: int = 24) -> None:
        self.n = 0
        self.has_statistics = False
        self._state = np.zeros(16, np.int64)
        self._allocate(capacity, width)

    @property
    def address(self) -> int:
        """Address of the state; stays the same when the columns grow."""
        return int(self._state.ctypes.data)

    @property
    def capacity(self) -> int:
        """Rows for which there is room."""
        return len(self.piece)

    @property
    def width(self) -> int:
        """Alternatives a row for which there is room."""
        return int(self.top_piece.shape[1])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Impossible, rounded and merged log-probabilities; a view."""
        return self._state[:N_COUNTS]

    def _allocate(self, capacity: int, width: int) -> None:
        self.piece = np.empty(capacity, np.int32)
        self.logprob = np.empty(capacity, np.float32)
        self.top_piece = np.empty((capacity, width), np.int32)
        self.top_logprob = np.empty((capacity, width), np.float32)
        self.n_top = np.empty(capacity, np.int16)
        self.appended = np.empty(capacity, np.uint8)
        self.entropy = np.empty(capacity, np.float32)
        self.jsd = np.empty(capacity, np.float32)
        self._state[C_WIDTH // 8] = width
        self._state[C_CAPACITY // 8] = capacity
        for at, column in (
            (C_PIECE, self.piece),
            (C_LOGPROB, self.logprob),
            (C_TOP_PIECE, self.top_piece),
            (C_TOP_LOGPROB, self.top_logprob),
            (C_N_TOP, self.n_top),
            (C_APPENDED, self.appended),
            (C_ENTROPY, self.entropy),
            (C_JSD, self.jsd),
        ):
            self._state[at // 8] = column.ctypes.data

    def reserve(self, rows: int, width: int = 0) -> None:
        """Make room for ``rows`` more tokens with up to ``width`` alternatives."""
        if self.n + rows <= self.capacity and width <= self.width:
            return
        old: dict[str, NDArray[Any]] = {
            name: getattr(self, name)[: self.n]
            for name in ("piece", "logprob", "n_top", "appended", "entropy", "jsd")
        }
        tops, wide = (self.top_piece[: self.n], self.top_logprob[: self.n]), self.width
        capacity = self.capacity
        if self.n + rows > capacity:
            capacity = max(2 * capacity, self.n + rows)
        self._allocate(capacity, max(width, wide))
        for name, values in old.items():
            getattr(self, name)[: self.n] = values
        self.top_piece[: self.n, :wide], self.top_logprob[: self.n, :wide] = tops
        self.top_piece[: self.n, wide:], self.top_logprob[: self.n, wide:] = -1, -np.inf

    def tokens(self, offsets: NDArray[np.int64]) -> Tokens:
        """The table of the rows so far, copied out, so that the buffers can be used again."""
        n = self.n
        width = int(self.n_top[:n].max(initial=0))
        if n and width < self.width and (self.top_piece[:n, width] >= 0).any():
            width += 1  # slot n_top holds an appended token
        return Tokens(
            offsets,
            self.piece[:n].copy(),
            self.logprob[:n].copy(),
            self.top_piece[:n, :width].copy(),
            self.top_logprob[:n, :width].copy(),
            self.n_top[:n].copy(),
            self.entropy[:n].copy() if self.has_statistics else None,
            self.jsd[:n].copy() if self.has_statistics else None,
        )

    def clear(self) -> None:
        """Forget the rows, keep the buffers."""
        self.n = 0
        self.has_statistics = False
        self.counts[:] = 0
