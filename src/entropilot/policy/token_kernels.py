"""Compiled passes over the tokens of a batch: each reads its arrays once or twice, on the CPU.

In plain operators a clipped surrogate with a covariance is some thirty passes over memory.

Legend: N tokens of the flattened batch.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from entropilot.information._numeric import exp32

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_TILE: Final = 4096  # sums of a tile are in float32, sums of tiles in float64


def can_compile(mask: Tensor, *values: Tensor) -> bool:
    """Whether compiled passes can read these: float32 on the CPU, a mask of bool.

    Examples:
        >>> can_compile(torch.ones(1).bool(), torch.ones(1)), can_compile(torch.ones(1).bool())
        (True, True)
    """
    return (
        mask.dtype == torch.bool
        and mask.device.type == "cpu"
        and all(x.dtype == torch.float32 and x.device.type == "cpu" for x in values)
    )


def n_true(mask: Tensor) -> int:
    """How many entries of a mask are True; torch's sum writes an int64 of each first.

    Examples:
        >>> n_true(torch.tensor([[True, False], [True, True]]))
        3
    """
    if mask.device.type == "cpu" and mask.dtype == torch.bool:
        return int(np.count_nonzero(mask.numpy()))
    return int(mask.sum())


def flat(x: Tensor) -> Any:
    """A tensor as a flat array, shared where it is contiguous.

    Examples:
        >>> flat(torch.eye(2)).tolist()
        [1.0, 0.0, 0.0, 1.0]
    """
    return x.detach().contiguous().view(-1).numpy()


@njit(cache=True, nogil=True, fastmath={"contract"})
def clipped_surrogate(
    logprob: F32, old: F32, advantages: F32, mask: Mask, limit: Any, low: Any, high: Any,
    dual: Any, loss: F32, slope: F32, stopped: Mask,
) -> None:  # fmt: skip
    """PPO's clipped loss of each token, its derivative by the log-prob, and where the clip acts.

        r = exp(logprob - old), the difference within +-limit
        loss = max(-A r, -A clip(r, low, high)) ;  A < 0:  loss = min(loss, -A dual)

    Args:
        logprob: [N] nats.
        old: [N] nats.
        advantages: [N].
        mask: [N]; the rest is 0 and False in all results.
        limit: of the log-ratio; no slope beyond.
        low: of the ratio.
        high: of the ratio.
        dual: of the dual clip, infinite for none; where both agree the slope is half.
        loss: [N], filled.
        slope: [N], filled.
        stopped: [N], filled.
    """
    zero, half = np.float32(0.0), np.float32(0.5)
    for i in range(logprob.size):
        counts = mask[i]
        gap = logprob[i] - old[i] if counts else zero
        near = limit if gap > limit else gap
        near = -limit if near < -limit else near  # nan stays nan
        minus = -advantages[i] if counts else zero
        r = exp32(near)
        free = minus * r
        r = low if r < low else r
        r = high if r > high else r
        clipped = minus * r
        acts = clipped > free
        value = clipped if acts else free
        steep = zero if acts or near != gap else free
        bound = minus * dual if minus > zero else np.float32(np.inf)
        steep = zero if value > bound else (steep * half if value == bound else steep)
        loss[i] = bound if value > bound else value
        slope[i] = steep
        stopped[i] = acts


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _sum_of_gaps(logprob: F32, old: F32, mask: Mask, limit: Any) -> Any:
    total = np.float32(0.0)
    for i in range(logprob.size):
        gap = logprob[i] - old[i] if mask[i] else np.float32(0.0)
        gap = limit if gap > limit else gap
        total += -limit if gap < -limit else gap
    return total


@njit(cache=True, nogil=True)
def log_ratio_sum(logprob: F32, old: F32, mask: Mask, limit: Any) -> float:
    """Sum over the tokens that count of logprob - old, each within +-limit."""
    total = 0.0
    for start in range(0, logprob.size, _TILE):
        tile = slice(start, start + _TILE)
        total += _sum_of_gaps(logprob[tile], old[tile], mask[tile], limit)
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _masked_sum(values: F32, mask: Mask) -> Any:
    total = np.float32(0.0)
    for i in range(values.size):
        total += values[i] if mask[i] else np.float32(0.0)
    return total


@njit(cache=True, nogil=True)
def masked_sum(values: F32, mask: Mask) -> float:
    """Sum where the mask is True."""
    total = 0.0
    for start in range(0, values.size, _TILE):
        total += _masked_sum(values[start : start + _TILE], mask[start : start + _TILE])
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _gap_products(
    a: F32, b: F32, mask: Mask, mean_a: Any, mean_b: Any, out: F32
) -> tuple[Any, Any, Any]:
    zero = np.float32(0.0)
    most_a = most_b = total = zero
    for i in range(a.size):
        gap_a = a[i] - mean_a if mask[i] else zero
        gap_b = b[i] - mean_b if mask[i] else zero
        out[i] = gap_a * gap_b
        total += gap_a * gap_b
        gap_a = -gap_a if gap_a < zero else gap_a
        gap_b = -gap_b if gap_b < zero else gap_b
        most_a = gap_a if gap_a > most_a else most_a
        most_b = gap_b if gap_b > most_b else most_b
    return most_a, most_b, total


@njit(cache=True, nogil=True)
def gap_products(
    a: F32, b: F32, mask: Mask, mean_a: Any, mean_b: Any, out: F32
) -> tuple[float, float, float]:
    """Fill out = (a - mean_a) (b - mean_b), 0 off the mask; the largest gaps and the sum of out."""
    most_a = most_b = total = 0.0
    for start in range(0, a.size, _TILE):
        tile = slice(start, start + _TILE)
        most, also, part = _gap_products(a[tile], b[tile], mask[tile], mean_a, mean_b, out[tile])
        most_a, most_b, total = max(most_a, most), max(most_b, also), total + part
    return most_a, most_b, total


@njit(cache=True, nogil=True)
def _n_between(values: F32, mask: Mask, stopped: Mask, low: Any, high: Any) -> int:
    n = 0
    for i in range(values.size):
        n += mask[i] & (not stopped[i]) & (values[i] > low) & (values[i] < high)
    return n


@njit(cache=True, nogil=True)
def places_between(
    values: F32, mask: Mask, stopped: Mask, low: Any, high: Any
) -> NDArray[np.int64]:
    """Where low < value < high, the mask is True and nothing has stopped the token; rising."""
    n_tiles = -(-values.size // _TILE)
    counts = np.empty(n_tiles, np.int64)
    for t in range(n_tiles):
        tile = slice(t * _TILE, (t + 1) * _TILE)
        counts[t] = _n_between(values[tile], mask[tile], stopped[tile], low, high)
    found = np.empty(counts.sum(), np.int64)
    n = 0
    for t in range(n_tiles):
        if counts[t] == 0:
            continue
        for i in range(t * _TILE, min((t + 1) * _TILE, values.size)):
            if mask[i] and not stopped[i] and low < values[i] < high:
                found[n] = i
                n += 1
    return found
