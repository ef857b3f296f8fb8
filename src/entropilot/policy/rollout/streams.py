"""Random streams that depend on a name alone: one for each answer, all made in one go.

A counter-based generator gives draw number t of answer number j to problem i as a function of
(seed, i, j, t), so that neither the order nor the company in which answers are sampled matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS: Final = 10


def philox(counter: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Philox4x32-10: four random words of 32 bits from four counter words and two key words.

    Args:
        counter: [4, ...] of values below 2^32.
        key: two numbers below 2^32.

    Returns:
        [4, ...] of values below 2^32.

    Examples:
        >>> [hex(int(x)) for x in philox(np.zeros(4, np.uint64), (0, 0))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']

    Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (
            (p1 >> _HALF) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _HALF) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3])


def uniform_streams(
    seed: int, names: Sequence[int | str], n_samples: int, length: int
) -> NDArray[np.float64]:
    """Uniform draws in [0, 1) for each answer, [P n_samples, length]; a group's rows are together.

    Args:
        seed: of the whole run.
        names: of the P problems, text or numbers. Equal names have equal streams.
        n_samples: answers a problem; answer j has stream j.
        length: draws an answer; a longer request has the same beginning.

    Examples:
        >>> whole = uniform_streams(3, ["a", "b"], 2, 5)
        >>> bool((uniform_streams(3, ["b"], 2, 4) == whole[2:, :4]).all())
        True
    """
    key = _digest(f"seed\0{seed}")
    words = np.array([_digest(f"{type(x).__name__}\0{x}") for x in names], np.uint64)
    shape = (len(names), n_samples, -(-length // 2))  # a block of four words makes two draws
    counter = np.empty((4, *shape), np.uint64)
    counter[0] = np.arange(shape[2])
    counter[1] = np.arange(n_samples)[:, None]
    counter[2:] = words.T[:, :, None, None]
    w = philox(counter, key)
    high, low = w[0::2] >> np.uint64(5), w[1::2] >> np.uint64(6)  # 27 and 26 bits: 53 in all
    draws = (high * float(1 << 26) + low) * 2.0**-53
    return np.moveaxis(draws, 0, -1).reshape(len(names) * n_samples, -1)[:, :length]


def _digest(text: str) -> tuple[int, int]:
    """Two words of 32 bits for a text."""
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return value & 0xFFFFFFFF, value >> 32
