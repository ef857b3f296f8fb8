"""Layers on packed tokens, with gradient: what autograd keeps of them is their inputs, once.

Legend: N packed tokens, B sequences, L columns, H query heads, G key heads, d numbers a head,
D width, F width of the MLP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.models import packed_kernels as kernels

_NOTHING: Final = np.empty((0, 0), np.float32)
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Bucket(NamedTuple):
    """Sequences of similar length that attend side by side."""

    rows: NDArray[np.int64]  # [B, L] packed token of each column; anything right of a sequence
    first: NDArray[np.int64]  # [B] first column whose result is wanted from this sequence
    lengths: NDArray[np.int64]  # [B]


class Turns(NamedTuple):
    """Cosines and sines [L, d / 2] of the rotary positions."""

    cos: NDArray[np.float32]
    sin: NDArray[np.float32]


def add_norm(
    x: Tensor,
    more: Tensor | None,
    weight: Tensor,
    epsilon: float,
    kind: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """The residual x + more [N, D] in float32, and its RMS norm in the precision ``kind``.

    Examples:
        >>> total, normed = add_norm(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2), 0.0)
        >>> total.tolist(), normed.tolist()
        ([[2.0, 2.0]], [[1.0, 1.0]])
    """
    if more is None:
        normed: Tensor = _applied(_Norm, x, weight, epsilon, kind)
        return x, normed
    total, normed = _applied(_AddNorm, x, more, weight, epsilon, kind)
    return total, normed


def swiglu(both: Tensor) -> Tensor:
    """silu(gate) up, [N, F], from [N, 2 F].

    Examples:
        >>> swiglu(torch.tensor([[0.0, 1.0, 2.0, 3.0]])).shape
        torch.Size([1, 2])
    """
    y: Tensor = _applied(_Swiglu, both)
    return y


def rounded_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer in bfloat16, x and result included; its weights stay in float32."""
    short = None if bias is None else bias.bfloat16()
    return torch.nn.functional.linear(x, weight.bfloat16(), short)


def joined(
    weights: Sequence[Tensor], biases: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    """Weights [O, I] and biases [O] of linear layers of one input as those of one layer.

    Args:
        weights: of each layer.
        biases: of each; None where it has none. If none has one, so has the result.

    Examples:
        >>> weight, bias = joined([torch.ones(2, 3), torch.ones(1, 3)], [torch.ones(2), None])
        >>> weight.shape, bias.tolist()
        (torch.Size([3, 3]), [1.0, 1.0, 0.0])
    """
    weight = weights[0] if len(weights) == 1 else torch.cat(list(weights))
    if all(bias is None for bias in biases):
        return weight, None
    parts = [w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
    return weight, torch.cat(parts)


def attend(
    qkv: Tensor, buckets: list[Bucket], turns: Turns, heads: int, size: int, scale: float
) -> Tensor:
    """Causal attention [N, H d] of packed tokens, rotated by their columns.

    A token may be part of many sequences, as those of a prompt are of all its answers; its result
    is taken from one of them, and what its key and value receive from all is added up.

    Args:
        qkv: [N, (H + 2 G) d] queries, keys and values before the rotation, float32 or bfloat16, as
            is the result.
        buckets: the sequences. Each token is the result of exactly one.
        turns: of at least as many columns as the longest sequence has.
        heads: H.
        size: d.
        scale: of the scores.
    """
    y: Tensor = _applied(_Attend, qkv, buckets, turns, heads, size, scale)
    return y


def _applied(function: Any, *inputs: Any) -> Any:
    return function.apply(*inputs)


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, more: Tensor, weight: Tensor, epsilon: float, kind: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        total, normed = torch.empty_like(x), torch.empty_like(x, dtype=kind)
        factor = x.new_empty(len(x))
        kernels.add_norm(
            _array(x), _array(more), _array(weight), np.float32(epsilon), total.numpy(),
            _array(normed), factor.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(total, weight, factor)
        ctx.kind = more.dtype
        return total, normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope_total: Tensor, slope: Tensor) -> tuple[Any, ...]:
        out, more, to_weight = _norm_backward(ctx.saved_tensors, slope_total, slope, ctx.kind)
        return out, more, to_weight, None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, kind: torch.dtype) -> Tensor:
        normed, factor = torch.empty_like(x, dtype=kind), x.new_empty(len(x))
        kernels.add_norm(
            _array(x), _NOTHING, _array(weight), np.float32(epsilon), _NOTHING, _array(normed),
            factor.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, factor)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        out, _, to_weight = _norm_backward(ctx.saved_tensors, None, slope, torch.float32)
        return out, to_weight, None, None


def _norm_backward(
    saved: tuple[Tensor, Tensor, Tensor],
    slope_total: Tensor | None,
    slope: Tensor,
    kind: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes to the residual, to what was added to it (in its precision) and to the weight."""
    total, weight, factor = saved
    out = torch.empty_like(total)
    more = out if kind == out.dtype else torch.empty_like(total, dtype=kind)
    to_weight = np.zeros(total.shape[1])
    kernels.add_norm_backward(
        _array(total), _array(weight), factor.numpy(),
        _NOTHING if slope_total is None else _array(slope_total), _array(slope), out.numpy(),
        _NOTHING if more is out else _array(more), to_weight,
    )  # fmt: skip
    return out, more, torch.from_numpy(to_weight).to(weight.dtype)


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        out = both.new_empty(len(both), both.shape[1] // 2)
        kernels.swiglu(_array(both), _array(out))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        out = torch.empty_like(both)
        kernels.swiglu_backward(_array(both), _array(slope), _array(out))
        return out


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, buckets: list[Bucket], turns: Turns, heads: int, size: int,
        scale: float,
    ) -> Tensor:  # fmt: skip
        out = qkv.new_empty(len(qkv), heads * size)
        kept: list[Tensor] = []
        source = _array(qkv)
        for rows, first, lengths in buckets:
            q, k, v = (torch.empty(*rows.shape, heads, size) for _ in range(3))
            kernels.spread(source, rows, lengths, *turns, q.numpy(), k.numpy(), v.numpy())
            parts = [x.transpose(1, 2) for x in (q, k, v)]
            y, log_sum = _flash(*parts, 0.0, True, scale=scale)
            flat = y.transpose(1, 2).reshape(*rows.shape, -1)
            kernels.collect(flat.numpy(), rows, first, lengths, _array(out))
            kept += [*parts, y, log_sum]
        ctx.save_for_backward(*kept)
        ctx.layout = buckets, turns, qkv.shape, scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
        buckets, turns, shape, scale = ctx.layout
        total = torch.zeros(shape)
        source = _array(slope)
        for i, (rows, first, lengths) in enumerate(buckets):
            q, k, v, y, log_sum = ctx.saved_tensors[5 * i : 5 * i + 5]
            heads, size = q.shape[1], q.shape[3]
            padded = torch.empty(*rows.shape, heads * size)
            kernels.scatter(source, rows, first, lengths, padded.numpy())
            found = _flash_backward(
                padded.view(*rows.shape, heads, size).transpose(1, 2), q, k, v, y, log_sum,
                0.0, True, scale=scale,
            )  # fmt: skip
            parts = [_array(x.transpose(1, 2)) for x in found]
            kernels.spread_backward(*parts, rows, lengths, *turns, total.numpy())
        return total.to(slope.dtype), None, None, None, None, None


def _array(x: Tensor) -> Any:
    """Float32 as it is, bfloat16 as its bits."""
    x = x.detach().contiguous()
    return x.view(torch.uint16).numpy() if x.dtype == torch.bfloat16 else x.numpy()
