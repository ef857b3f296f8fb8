"""What a layer of the Llama kind does to one new token a row besides its matrix products.

Legend: B rows, H query heads, G key heads, d numbers a head, L slots of the cache, D width.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.information._numeric import exp32

_FLOOR: Final = np.float32(-87.0)  # exp32 is not defined below; exp(-87) = 1.6e-38

F32 = NDArray[np.float32]


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def rms_norm(x: F32, weight: F32, epsilon: Any, out: F32) -> None:
    """Out = weight x / sqrt(mean(x^2) + epsilon), row by row of [B, D]."""
    batch, width = x.shape
    for b in range(batch):
        row = x[b]
        total = np.float32(0.0)
        for i in range(width):
            total += row[i] * row[i]
        factor = np.float32(1.0) / np.sqrt(total / np.float32(width) + epsilon)
        for i in range(width):
            out[b, i] = weight[i] * (row[i] * factor)


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
        keys: [B, G, d, L]; changed in place.
        values: [B, G, L, d]; changed in place.
        cos: [positions, d / 2]; the position of a row is slot - padding.
        sin: as cos.
        slot: in [0, L).
        padding: [B] slots at the start that a row never looks at.
        out: [B, H d], filled.
        scale: of the scores.
        score: [slot + 1] or more, scratch.
    """
    batch, groups, size, _ = keys.shape
    heads = out.shape[1] // size
    per_group = heads // groups
    half = size // 2
    for b in range(batch):
        first = padding[b]
        n = slot + 1 - first
        c, s = cos[slot - first], sin[slot - first]
        for h in range(heads + groups):
            x = qkv[b, h * size : (h + 1) * size]
            for i in range(half):
                low, high = x[i], x[i + half]
                x[i] = low * c[i] - high * s[i]
                x[i + half] = high * c[i] + low * s[i]
        p = score[:n]
        for g in range(groups):
            k, v = keys[b, g], values[b, g]
            for i in range(size):
                k[i, slot] = qkv[b, (heads + g) * size + i]
                v[slot, i] = qkv[b, (heads + groups + g) * size + i]
            for h in range(g * per_group, (g + 1) * per_group):
                q = qkv[b, h * size : (h + 1) * size]
                y = out[b, h * size : (h + 1) * size]
                for j in range(n):
                    p[j] = np.float32(0.0)
                for i in range(size):
                    scaled = q[i] * scale
                    row = k[i, first : slot + 1]
                    for j in range(n):
                        p[j] += scaled * row[j]
                top = p[0]
                for j in range(n):
                    top = max(top, p[j])
                total = np.float32(0.0)
                for j in range(n):
                    e = exp32(max(p[j] - top, _FLOOR))
                    p[j] = e
                    total += e
                for i in range(size):
                    y[i] = np.float32(0.0)
                for j in range(n):
                    weight = p[j] / total
                    line = v[first + j]
                    for i in range(size):
                        y[i] += weight * line[i]
