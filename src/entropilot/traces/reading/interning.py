"""A growing vocabulary: token texts become small integers, each distinct text stored once.

An open-addressing hash table over (model id, bytes). The kernel returns -1 when the vocabulary is
full; the caller grows it and tries again, so that nothing is allocated inside a loop.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.traces.reading.memory import (
    copy_bytes,
    first_bytes,
    int32_at,
    int64_at,
    put_int32,
    put_int64,
    put_word,
    word_at,
)
from entropilot.traces.table import Vocabulary

PADDING: Final = 16  # readable bytes that must follow a text, for loads of whole words

# State of a vocabulary: 64-bit numbers, at these byte offsets from its address.
V_SIZE: Final = 0
V_SEED: Final = 8
V_CAPACITY: Final = 16
V_TEXT_ROOM: Final = 24
V_MASK: Final = 32
V_TEXT: Final = 40  # address of the texts, end to end
V_ENTRIES: Final = 48  # address of the entries
V_TABLE: Final = 56  # address of the table: 32-bit numbers, entry or -1

# An entry: 64-bit numbers, at these byte offsets.
E_HASH: Final = 0
E_AT: Final = 8  # where its text begins
E_LENGTH: Final = 16
E_ID: Final = 24
E_WORD: Final = 32  # first eight bytes, so that short texts compare without a look at the text
E_STAMP: Final = 40  # last row in which it was listed, see put_row
ENTRY_FIELDS: Final = 6
ENTRY_BYTES: Final = 8 * ENTRY_FIELDS


@njit(cache=True, nogil=True)
def intern(start: int, length: int, token_id: int, v: int) -> int:
    """Entry of the text at address start in vocabulary v; -1 when it has to grow first."""
    h = np.uint64(int64_at(v + V_SEED)) ^ (np.uint64(length) * np.uint64(0x9E3779B97F4A7C15))
    h ^= np.uint64(token_id + 1) * np.uint64(0xC2B2AE3D27D4EB4F)
    first = np.uint64(0)
    if length > 0:
        first = first_bytes(word_at(start), min(length, 8))
    h = (h ^ first) * np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(32)
    done = 8
    while done < length:
        word = first_bytes(word_at(start + done), min(length - done, 8))
        h = (h ^ word) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
        done += 8
    h = (h ^ (h >> np.uint64(29))) * np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(32)
    entries = int64_at(v + V_ENTRIES)
    table = int64_at(v + V_TABLE)
    mask = int64_at(v + V_MASK)
    slot = np.int64(h) & mask
    entry = int32_at(table + 4 * slot)
    while entry >= 0:
        e = entries + entry * ENTRY_BYTES
        if (
            word_at(e + E_HASH) == h
            and word_at(e + E_WORD) == first
            and int64_at(e + E_LENGTH) == length
            and int64_at(e + E_ID) == token_id
        ):
            text = int64_at(v + V_TEXT) + int64_at(e + E_AT)
            done = 8
            while done < length:
                n = min(length - done, 8)
                if first_bytes(word_at(start + done), n) != first_bytes(word_at(text + done), n):
                    break
                done += 8
            if done >= length:
                return int(entry)
        slot = (slot + 1) & mask
        entry = int32_at(table + 4 * slot)
    entry = int64_at(v + V_SIZE)
    e = entries + entry * ENTRY_BYTES
    at = int64_at(e + E_AT)
    if entry >= int64_at(v + V_CAPACITY) or at + length + PADDING > int64_at(v + V_TEXT_ROOM):
        return -1
    copy_bytes(start, int64_at(v + V_TEXT) + at, length)
    put_word(e + E_HASH, h)
    put_int64(e + E_LENGTH, length)
    put_int64(e + E_ID, token_id)
    put_word(e + E_WORD, first)
    put_int64(e + E_STAMP, -1)
    put_int64(e + ENTRY_BYTES + E_AT, at + length)  # where the next one begins
    put_int32(table + 4 * slot, entry)
    put_int64(v + V_SIZE, entry + 1)
    return int(entry)


@njit(cache=True, nogil=True)
def _intern_many(
    buffer: int,
    offsets: NDArray[np.int64],
    token_id: NDArray[np.int64],
    entries: NDArray[np.int32],
    done: int,
    v: int,
) -> int:
    for i in range(done, len(entries)):
        entry = intern(buffer + offsets[i], offsets[i + 1] - offsets[i], token_id[i], v)
        if entry < 0:
            return i
        entries[i] = entry
    return len(entries)


@njit(cache=True, nogil=True)
def _rehash(table: NDArray[np.int32], hashes: NDArray[np.int64]) -> None:
    table[:] = -1
    for entry in range(len(hashes)):
        slot = hashes[entry] & (len(table) - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (len(table) - 1)
        table[slot] = entry


class GrowingVocabulary:
    """Texts seen so far. Entries never change, so a snapshot shares texts with later ones."""

    def __init__(self, capacity: int = 4096, text_bytes: int = 1 << 16) -> None:
        self._text = np.zeros(text_bytes, np.uint8)
        self._entries = np.zeros((capacity + 1, ENTRY_FIELDS), np.int64)
        self._table = np.full(4 * capacity, -1, np.int32)
        self._state = np.zeros(8, np.int64)
        self._state[V_SEED // 8] = secrets.randbits(62)  # so that a log can't aim at collisions
        self._describe()

    @property
    def address(self) -> int:
        """Address of the state; stays the same when the vocabulary grows."""
        return int(self._state.ctypes.data)

    def _describe(self) -> None:
        state = self._state
        state[V_CAPACITY // 8] = len(self._entries) - 1
        state[V_TEXT_ROOM // 8] = len(self._text)
        state[V_MASK // 8] = len(self._table) - 1
        state[V_TEXT // 8] = self._text.ctypes.data
        state[V_ENTRIES // 8] = self._entries.ctypes.data
        state[V_TABLE // 8] = self._table.ctypes.data

    def __len__(self) -> int:
        return int(self._state[V_SIZE // 8])

    @property
    def text_bytes(self) -> int:
        """Bytes of all texts together."""
        return int(self._entries[len(self), E_AT // 8])

    def grow(self, more_text: int) -> None:
        """Make room for at least one more entry and ``more_text`` more bytes."""
        n = len(self)
        if n >= len(self._entries) - 1:
            capacity = 2 * (len(self._entries) - 1)
            self._entries = _longer(self._entries, capacity + 1)
            self._table = np.empty(4 * capacity, np.int32)
            _rehash(self._table, self._entries[:n, E_HASH // 8].copy())
        needed = self.text_bytes + more_text + PADDING
        if needed > len(self._text):
            self._text = _longer(self._text, max(2 * len(self._text), needed))
        self._describe()

    def intern(self, texts: Sequence[bytes], token_ids: Sequence[int]) -> NDArray[np.int32]:
        """Entries of the given texts; ids are -1 where the log names none."""
        entries = np.empty(len(texts), np.int32)
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
        buffer = np.frombuffer(b"".join(texts) + bytes(PADDING), np.uint8)
        ids = np.asarray(token_ids, np.int64)
        start, done = int(buffer.ctypes.data), 0
        while (done := _intern_many(start, offsets, ids, entries, done, self.address)) < len(texts):
            self.grow(len(texts[done]))
        return entries

    def snapshot(self) -> Vocabulary:
        """The vocabulary as it is now."""
        n = len(self)
        return Vocabulary(
            self._text[: self.text_bytes],
            self._entries[: n + 1, E_AT // 8].copy(),
            self._entries[:n, E_ID // 8].copy(),
        )


def _longer(values: NDArray[Any], length: int) -> NDArray[Any]:
    grown = np.zeros((length, *values.shape[1:]), values.dtype)
    grown[: len(values)] = values
    return grown
