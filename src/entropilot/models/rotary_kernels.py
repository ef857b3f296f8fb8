"""Attention of one new token a row in a layer of the Llama kind, rotation included.

Legend: B rows, H query heads, G key heads, d numbers a head, L slots of the cache, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.models.attention_kernels import BLOCK, attend_head

F32 = NDArray[np.float32]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def attend_rotated(
    qkv: F32, keys: F32, values: F32, cos: F32, sin: F32, slot: int, padding: NDArray[np.int64],
    out: F32, scale: Any, score: F32,
) -> None:  # fmt: skip
    """Rotate queries and keys, append to the cache, attend to it.

        y = sum_l softmax_l(R q . R k_l scale) v_l         padding <= l <= slot

    Args:
        qkv: [B, (H + 2 G) d] queries, keys and values of the new tokens; queries and keys are
            rotated in place.
        keys: [B, G, L / 16, d, 16]; changed in place.
        values: [B, G, L, d]; changed in place.
        cos: [positions, d / 2]; the position of a row is slot - padding.
        sin: as cos.
        slot: in [0, L).
        padding: [B] slots at the start that a row never looks at.
        out: [B, H d], filled.
        scale: of the scores.
        score: scratch, a whole number of blocks of 16 above ``slot``.
    """
    batch, groups, _, size = values.shape
    heads = out.shape[1] // size
    per_group = heads // groups
    half = size // 2
    block, lane = slot // BLOCK, slot % BLOCK
    for b in range(batch):
        first = padding[b]
        c, s = cos[slot - first], sin[slot - first]
        for h in range(heads + groups):
            x = qkv[b, h * size : (h + 1) * size]
            for i in range(half):
                low, high = x[i], x[i + half]
                x[i] = low * c[i] - high * s[i]
                x[i + half] = high * c[i] + low * s[i]
        for g in range(groups):
            for i in range(size):
                keys[b, g, block, i, lane] = qkv[b, (heads + g) * size + i]
                values[b, g, slot, i] = qkv[b, (heads + groups + g) * size + i]
            for h in range(g * per_group, (g + 1) * per_group):
                here = slice(h * size, (h + 1) * size)
                attend_head(
                    qkv[b, here], keys[b, g], values[b, g], first, slot + 1, scale, score,
                    out[b, here],
                )  # fmt: skip
