"""Attention of one new token a row to a cache of keys and values.

On the CPU in float32 a compiled kernel does it in one pass: with heads of 16 to 64 numbers the
generic operators spend most of their time in calls. Elsewhere it is two products and a softmax.

Keys are kept in blocks of 16 slots with the slots side by side, so that a score of each of 16 slots
is one vector and what is read lies in one piece.

Legend: B rows, H heads, d numbers a head, L slots of the cache, K = ceil(L / 16) blocks, D = H d.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from entropilot.information._numeric import exp32

BLOCK: Final = 16  # slots whose keys stand side by side
_FLOOR: Final = np.float32(-87.0)  # exp32 is not defined below; exp(-87) = 1.6e-38


def room_for_keys(keys: Tensor, n: int, n_slots: int) -> Tensor:
    """Keys [B, H, L, d], each row n times, in blocks [B n, H, K, d, 16] with room for n_slots.

    Examples:
        >>> room_for_keys(torch.ones(1, 2, 3, 4), 2, 20).shape
        torch.Size([2, 2, 2, 4, 16])
    """
    batch, heads, length, size = keys.shape
    used = -(-length // BLOCK)
    full = keys.new_zeros(batch, heads, used * BLOCK, size)
    full[:, :, :length] = keys
    room = keys.new_empty(batch, n, heads, -(-n_slots // BLOCK), size, BLOCK)
    room[:, :, :, :used] = full.view(batch, 1, heads, used, BLOCK, size).transpose(4, 5)
    return room.flatten(0, 1)


def room_for_values(values: Tensor, n: int, n_slots: int) -> Tensor:
    """Values [B, H, L, d], each row n times, [B n, H, n_slots, d].

    Examples:
        >>> room_for_values(torch.ones(1, 2, 3, 4), 2, 20).shape
        torch.Size([2, 2, 20, 4])
    """
    batch, heads, length, size = values.shape
    room = values.new_empty(batch, n, heads, n_slots, size)
    room[:, :, :, :length] = values[:, None]
    return room.flatten(0, 1)


def attend_to_cache(
    qkv: Tensor, keys: Tensor, values: Tensor, *, slot: int, padding: Tensor
) -> Tensor:
    """Write the new keys and values into ``slot``; attention over the slots up to it, [B, D].

        y = sum_l softmax_l(q k_l / sqrt(d)) v_l        padding <= l <= slot

    Args:
        qkv: [B, 3 D] queries, keys and values of the new tokens, heads within each.
        keys: [B, H, K, d, 16]; changed in place.
        values: [B, H, L, d]; changed in place.
        slot: in [0, L).
        padding: [B] int64, slots at the start that a row never looks at; <= slot.

    Examples:
        >>> keys, values = torch.zeros(1, 1, 1, 2, 16), torch.zeros(1, 1, 3, 2)
        >>> qkv = torch.tensor([[1.0, 0.0, 2.0, 2.0, 5.0, 7.0]])
        >>> attend_to_cache(qkv, keys, values, slot=0, padding=torch.tensor([0]))
        tensor([[5., 7.]])
    """
    batch, heads, _, size = values.shape
    block, lane = divmod(slot, BLOCK)
    if qkv.device.type == "cpu" and qkv.dtype == keys.dtype == torch.float32:
        out = qkv.new_empty(len(qkv), qkv.shape[1] // 3)
        _kernel(
            qkv.numpy(), keys.numpy(), values.numpy(), slot, padding.numpy(), out.numpy(),
            np.float32(size**-0.5), np.empty((block + 1) * BLOCK, np.float32),
        )  # fmt: skip
        return out
    q, k, v = qkv.view(batch, 3, heads, size).unbind(1)
    keys[:, :, block, :, lane] = k
    values[:, :, slot] = v
    score = (q[:, :, None, None] @ keys[:, :, : block + 1]).flatten(2) * size**-0.5
    score = score[:, :, None, : slot + 1]
    hidden = torch.arange(slot + 1, device=qkv.device) < padding[:, None]
    score = score.masked_fill(hidden[:, None, None], -torch.inf).softmax(-1)
    y: Tensor = score @ values[:, :, : slot + 1]
    return y.reshape(batch, heads * size)


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def attend_head(
    q: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32], first: int,
    stop: int, scale: Any, score: NDArray[np.float32], out: NDArray[np.float32],
) -> None:  # fmt: skip
    """Attention of a query [d] to the slots first..stop - 1 of one head, into out [d].

    Args:
        q: [d] the query.
        keys: [K, d, 16].
        values: [L, d].
        first: first slot that is looked at.
        stop: one past the last.
        scale: of the scores.
        score: [16 K] scratch; slots outside are computed and not used.
        out: [d], filled.
    """
    size = q.size
    whole = size - size % 8
    for block in range(first // BLOCK, (stop - 1) // BLOCK + 1):
        k = keys[block]
        s = score[block * BLOCK : (block + 1) * BLOCK]
        for j in range(BLOCK):
            s[j] = np.float32(0.0)
        for i in range(0, whole, 8):  # eight at a time: the sums of 16 slots stay in registers
            q0, q1, q2, q3 = q[i], q[i + 1], q[i + 2], q[i + 3]
            q4, q5, q6, q7 = q[i + 4], q[i + 5], q[i + 6], q[i + 7]
            for j in range(BLOCK):
                s[j] += (
                    q0 * k[i, j] + q1 * k[i + 1, j] + q2 * k[i + 2, j] + q3 * k[i + 3, j]
                    + q4 * k[i + 4, j] + q5 * k[i + 5, j] + q6 * k[i + 6, j] + q7 * k[i + 7, j]
                )  # fmt: skip
        for i in range(whole, size):
            for j in range(BLOCK):
                s[j] += q[i] * k[i, j]
    p = score[first:stop]
    n = p.size
    top = p[0]
    for j in range(n):
        top = p[j] if p[j] > top else top
    total = np.float32(0.0)
    for j in range(n):
        e = exp32(max((p[j] - top) * scale, _FLOOR))
        p[j] = e
        total += e
    for i in range(size):
        out[i] = np.float32(0.0)
    v = values[first:stop]
    fours = n - n % 4
    for j in range(0, fours, 4):
        w0, w1, w2, w3 = p[j], p[j + 1], p[j + 2], p[j + 3]
        for i in range(size):
            out[i] += w0 * v[j, i] + w1 * v[j + 1, i] + w2 * v[j + 2, i] + w3 * v[j + 3, i]
    for j in range(fours, n):
        for i in range(size):
            out[i] += p[j] * v[j, i]
    inverse = np.float32(1.0) / total
    for i in range(size):
        out[i] *= inverse


@njit(cache=True, nogil=True)
def _kernel(
    qkv: NDArray[np.float32], keys: NDArray[np.float32], values: NDArray[np.float32],
    slot: int, padding: NDArray[np.int64], out: NDArray[np.float32], scale: Any,
    score: NDArray[np.float32],
) -> None:  # fmt: skip
    batch, heads, _, size = values.shape
    width = heads * size
    block, lane = slot // BLOCK, slot % BLOCK
    for b in range(batch):
        for h in range(heads):
            for i in range(size):
                keys[b, h, block, i, lane] = qkv[b, width + h * size + i]
                values[b, h, slot, i] = qkv[b, 2 * width + h * size + i]
            here = slice(h * size, (h + 1) * size)
            attend_head(
                qkv[b, here], keys[b, h], values[b, h], padding[b], slot + 1, scale, score,
                out[b, here],
            )  # fmt: skip
