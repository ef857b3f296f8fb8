"""Attention of one new token a row to a cache of keys and values.

On the CPU in float32 a compiled kernel does it in one pass: with heads of 16 to 64 numbers the
generic operators spend most of their time in calls. Elsewhere it is two products and a softmax.

Legend: B rows, H heads, d numbers a head, L slots of the cache, D = H d.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from entropilot.information._numeric import exp32

_FLOOR: Final = np.float32(-87.0)  # exp32 is not defined below; exp(-87) = 1.6e-38


def attend_to_cache(
    qkv: Tensor, keys: Tensor, values: Tensor, *, slot: int, padding: Tensor
) -> Tensor:
    """Write the new keys and values into ``slot``; attention over the slots up to it, [B, D].

        y = sum_l softmax_l(q k_l / sqrt(d)) v_l        padding <= l <= slot

    Args:
        qkv: [B, 3 D] queries, keys and values of the new tokens, heads within each.
        keys: [B, H, d, L]; changed in place.
        values: [B, H, L, d]; changed in place.
        slot: in [0, L).
        padding: [B] int64, slots at the start that a row never looks at; <= slot.

    Examples:
        >>> keys, values = torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 3, 2)
        >>> qkv = torch.tensor([[1.0, 0.0, 2.0, 2.0, 5.0, 7.0]])
        >>> attend_to_cache(qkv, keys, values, slot=0, padding=torch.tensor([0]))
        tensor([[5., 7.]])
    """
    if qkv.device.type == "cpu" and qkv.dtype == keys.dtype == torch.float32:
        out = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        _kernel(
            qkv.numpy(), keys.numpy(), values.numpy(), slot, padding.numpy(), out.numpy(),
            np.float32(keys.shape[2] ** -0.5), np.empty(slot + 1, np.float32),
        )  # fmt: skip
        return out
    batch, heads, size, _ = keys.shape
    q, k, v = qkv.view(batch, 3, heads, size).unbind(1)
    keys[..., slot] = k
    values[..., slot, :] = v
    score = (q[:, :, None] @ keys[..., : slot + 1]) * size**-0.5
    hidden = torch.arange(slot + 1, device=qkv.device) < padding[:, None]
    score = score.masked_fill(hidden[:, None, None], -torch.inf).softmax(-1)
    y: Tensor = score @ values[..., : slot + 1, :]
    return y.reshape(batch, heads * size)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _kernel(
    qkv: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32],
    slot: int, padding: NDArray[np.int64], out: NDArray[np.float32], scale: Any,
    score: NDArray[np.float32],
) -> None:  # fmt: skip
    batch, heads, size, _ = keys.shape
    width = heads * size
    for b in range(batch):
        first = padding[b]
        n = slot + 1 - first
        s = score[:n]
        for h in range(heads):
            q = qkv[b, h * size : (h + 1) * size]
            k = keys[b, h]
            v = values[b, h]
            y = out[b, h * size : (h + 1) * size]
            for i in range(size):
                k[i, slot] = qkv[b, width + h * size + i]
                v[slot, i] = qkv[b, 2 * width + h * size + i]
            for j in range(n):
                s[j] = np.float32(0.0)
            for i in range(size):
                scaled = q[i] * scale
                row = k[i, first : slot + 1]
                for j in range(n):
                    s[j] += scaled * row[j]
            top = s[0]
            for j in range(n):
                top = max(top, s[j])
            total = np.float32(0.0)
            for j in range(n):
                e = exp32(max(s[j] - top, _FLOOR))
                s[j] = e
                total += e
            for i in range(size):
                y[i] = np.float32(0.0)
            for j in range(n):
                weight = s[j] / total
                row = v[first + j]
                for i in range(size):
                    y[i] += weight * row[i]
