"""A growing vocabulary: token texts become small integers, each distinct text stored once.

An open-addressing hash table over (model id, bytes). Kernels take its arrays; when one is full they
return -1 and the caller grows it and tries again, so that nothing is allocated inside a loop.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from entropilot.traces.table import Vocabulary

PADDING: Final = 16  # bytes that must follow a text in its buffer, for loads of whole words


class VocabularyArrays(NamedTuple):
    """What the kernels see."""

    text: NDArray[np.uint8]  # texts end to end
    offsets: NDArray[np.int64]  # entry e is text[offsets[e]:offsets[e+1]]
    token_id: NDArray[np.int64]
    hash: NDArray[np.uint64]  # of each entry
    stamp: NDArray[np.int64]  # last row in which an entry was listed, see put_row
    table: NDArray[np.int32]  # slot -> entry, -1 = free; its length is a power of two
    size: NDArray[np.int64]  # [2] entries in use, and the random seed of the hash


@intrinsic
def load_word(typingctx: Any, array: Any, index: Any) -> Any:  # noqa: ARG001
    """Eight bytes at ``index`` as a little-endian integer, wherever they lie."""
    signature = types.uint64(array, index)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        pointer = builder.gep(view.data, [arguments[1]])
        pointer = builder.bitcast(pointer, ir.IntType(64).as_pointer())
        word = builder.load(pointer)
        word.align = 1
        return word

    return signature, codegen


@njit(cache=True, nogil=True, inline="always")
def first_bytes(word: np.uint64, n: int) -> np.uint64:
    """The word with all but its first n bytes (0 <= n <= 8) cleared."""
    if n >= 8:
        return word
    return word & ((np.uint64(1) << np.uint64(8 * n)) - np.uint64(1))


@njit(cache=True, nogil=True)
def intern(buffer: NDArray[np.uint8], start: int, length: int, token_id: int, v: Any) -> int:
    """Entry of the text buffer[start:start+length]; -1 when the vocabulary has to grow first."""
    h = np.uint64(v.size[1]) ^ (np.uint64(length) * np.uint64(0x9E3779B97F4A7C15))
    h ^= np.uint64(token_id + 1) * np.uint64(0xC2B2AE3D27D4EB4F)
    done = 0
    while done < length:
        word = first_bytes(load_word(buffer, start + done), length - done)
        h = (h ^ word) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
        done += 8
    h = (h ^ (h >> np.uint64(29))) * np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(32)
    mask = np.uint64(len(v.table) - 1)
    slot = h & mask
    while v.table[slot] >= 0:
        entry = v.table[slot]
        if v.hash[entry] == h and v.token_id[entry] == token_id:
            at = v.offsets[entry]
            if v.offsets[entry + 1] - at == length:
                done = 0
                while done < length and first_bytes(
                    load_word(buffer, start + done), length - done
                ) == first_bytes(load_word(v.text, at + done), length - done):
                    done += 8
                if done >= length:
                    return int(entry)
        slot = (slot + np.uint64(1)) & mask
    entry = v.size[0]
    at = v.offsets[entry]
    if entry + 1 >= len(v.token_id) or at + length + PADDING > len(v.text):
        return -1
    v.text[at : at + length] = buffer[start : start + length]
    v.offsets[entry + 1] = at + length
    v.token_id[entry] = token_id
    v.hash[entry] = h
    v.stamp[entry] = -1
    v.table[slot] = entry
    v.size[0] = entry + 1
    return int(entry)


@njit(cache=True, nogil=True)
def _intern_many(
    buffer: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    token_id: NDArray[np.int64],
    entries: NDArray[np.int32],
    done: int,
    v: Any,
) -> int:
    for i in range(done, len(entries)):
        entry = intern(buffer, offsets[i], offsets[i + 1] - offsets[i], token_id[i], v)
        if entry < 0:
            return i
        entries[i] = entry
    return len(entries)


@njit(cache=True, nogil=True)
def _rehash(table: NDArray[np.int32], hashes: NDArray[np.uint64], n: int) -> None:
    mask = np.uint64(len(table) - 1)
    table[:] = -1
    for entry in range(n):
        slot = hashes[entry] & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = entry


class GrowingVocabulary:
    """Texts seen so far. Entries never change, so a snapshot shares memory with later ones."""

    def __init__(self, capacity: int = 4096, text_bytes: int = 1 << 16) -> None:
        self.arrays = VocabularyArrays(
            text=np.zeros(text_bytes, np.uint8),
            offsets=np.zeros(capacity + 1, np.int64),
            token_id=np.zeros(capacity, np.int64),
            hash=np.zeros(capacity, np.uint64),
            stamp=np.full(capacity, -1, np.int64),
            table=np.full(4 * capacity, -1, np.int32),
            size=np.array([0, secrets.randbits(62)], np.int64),  # a log can't aim at collisions
        )

    def __len__(self) -> int:
        return int(self.arrays.size[0])

    @property
    def text_bytes(self) -> int:
        """Bytes of all texts together."""
        return int(self.arrays.offsets[len(self)])

    def grow(self, more_text: int = 0) -> None:
        """Double what is (nearly) full; ``more_text`` bytes fit afterwards."""
        v, n = self.arrays, len(self)
        if n + 1 >= len(v.token_id):
            capacity = 2 * len(v.token_id)
            v = v._replace(
                offsets=_longer(v.offsets, capacity + 1),
                token_id=_longer(v.token_id, capacity),
                hash=_longer(v.hash, capacity),
                stamp=_longer(v.stamp, capacity),
                table=np.empty(4 * capacity, np.int32),
            )
            _rehash(v.table, v.hash, n)
        needed = int(v.offsets[n]) + more_text + PADDING
        if needed > len(v.text) or v is self.arrays:
            v = v._replace(text=_longer(v.text, max(2 * len(v.text), 2 * needed)))
        self.arrays = v

    def intern(self, texts: Sequence[bytes], token_ids: Sequence[int]) -> NDArray[np.int32]:
        """Entries of the given texts; ids are -1 where the log names none."""
        entries = np.empty(len(texts), np.int32)
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=offsets[1:])
        buffer = np.frombuffer(b"".join(texts) + bytes(PADDING), np.uint8)
        ids = np.asarray(token_ids, np.int64)
        done = 0
        while (done := _intern_many(buffer, offsets, ids, entries, done, self.arrays)) < len(texts):
            self.grow(len(texts[done]))
        return entries

    def snapshot(self) -> Vocabulary:
        """The vocabulary as it is now; no copy."""
        v, n = self.arrays, len(self)
        return Vocabulary(v.text[: self.text_bytes], v.offsets[: n + 1], v.token_id[:n])


def _longer(values: NDArray[Any], length: int) -> NDArray[Any]:
    grown = np.zeros(length, values.dtype)
    grown[: len(values)] = values
    return grown
