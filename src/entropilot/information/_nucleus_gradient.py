"""The differentiable form of the nucleus entropy; imported only where torch is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE_BYTES: Final = {"cpu": 2 << 20, "cuda": 64 << 20}


class _NucleusEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, found: Any, settings: Any) -> Tensor:
        ctx.settings = settings
        kept = (found.entropy, found.log_mass, found.threshold, found.last, found.top)
        ctx.save_for_backward(logits, *kept, found.log_sum)
        kind = torch.float64 if logits.dtype == torch.float64 else torch.float32
        entropy: Tensor = found.entropy.to(kind).reshape(logits.shape[:-1])
        return entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_entropy: Tensor) -> Any:
        logits, *columns = ctx.saved_tensors
        temperature, n = ctx.settings
        flat = logits.reshape(-1, logits.shape[-1])
        grad = torch.zeros_like(flat)
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        entropy, log_mass, threshold, last, top, log_sum = (c[:, None] for c in columns)
        scale = grad_entropy.reshape(-1).to(wide)
        index = torch.arange(n, device=logits.device)
        step = max(1, _TILE_BYTES.get(logits.device.type, 64 << 20) // (n * wide.itemsize))
        for start in range(0, flat.shape[0], step):
            part = slice(start, start + step)
            x = flat[part, :n].to(wide)
            edge = threshold[part].to(wide)
            belongs = (x > edge) | ((x == edge) & (index <= last[part]))
            row, column = belongs.nonzero(as_tuple=True)  # few: the nuclei
            at = row + start
            shift = (log_sum + log_mass)[at, 0]
            log_q = ((x[row, column] - top[at, 0]) / temperature - shift).to(wide)
            slope = -log_q.exp() * (log_q + entropy[at, 0].to(wide)) * scale[at] / temperature
            grad[at, column] = slope.to(grad.dtype)
        return grad.reshape(logits.shape), None, None


def differentiable_nucleus_entropy(
    logits: Tensor, find: Callable[[Tensor], Any], temperature: float, n_vocab: int | None
) -> Tensor:
    """Nucleus entropy [...] attached to the graph of the logits."""
    found = find(logits.detach())
    n = logits.shape[-1] if n_vocab is None else n_vocab
    entropy: Tensor = _NucleusEntropy.apply(logits, found, (temperature, n))  # type: ignore[no-untyped-call]
    return entropy
