"""The differentiable form of the one-pass statistics; imported only where torch is loaded.

Forward is the measuring kernel; backward forms the gradient tile by tile from the logits, so that
nothing of the size [N, V] is kept between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE_BYTES: Final = {"cpu": 2 << 20, "cuda": 64 << 20}


class _Statistics(torch.autograd.Function):
    """Inputs: logits, and what the backward needs to know. Outputs: five of the statistics."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, measured: Any, targets: Any, settings: Any) -> Any:
        ctx.settings = settings
        ctx.has_targets = targets is not None
        logprob = measured.logprob if targets is not None else torch.zeros_like(measured.entropy)
        saved = [logits, measured.entropy, measured.varentropy, measured.logsumexp]
        ctx.save_for_backward(*saved, *([targets] if targets is not None else []))
        return logprob, measured.entropy, measured.varentropy, measured.logsumexp

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        logits, entropy, varentropy, logsumexp, *rest = ctx.saved_tensors
        temperature, n = ctx.settings
        flat = logits.reshape(-1, logits.shape[-1])
        grad = torch.zeros_like(flat)
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        columns = [g.reshape(-1, 1).to(wide) for g in grads]
        h, var, lse = (x.reshape(-1, 1).to(wide) for x in (entropy, varentropy, logsumexp))
        size = _TILE_BYTES.get(logits.device.type, 64 << 20)
        step = max(1, size // (n * wide.itemsize))
        for start in range(0, flat.shape[0], step):
            part = slice(start, start + step)
            on_logprob, on_entropy, on_varentropy, on_logsumexp = (c[part] for c in columns)
            # exp(-700) is 0 beside any gradient; it keeps 0 * -inf = nan away
            shifted = (
                flat[part, :n].to(wide).mul(1.0 / temperature).sub_(lse[part]).clamp_(min=-700.0)
            )
            p = shifted.exp()
            shifted.add_(h[part])  # ln p + H
            # with s = ln p + H:  d entropy / dz = -p s,  d varentropy / dz = p (s^2 - V + 2 s)
            slope = on_logsumexp - on_logprob - on_varentropy * var[part]
            slope = (
                slope
                + shifted * (2.0 * on_varentropy - on_entropy)
                + shifted * shifted * on_varentropy
            )
            tile = slope.mul_(p)
            if ctx.has_targets:
                target = rest[0].reshape(-1, 1)[part]
                tile.scatter_add_(1, target, on_logprob)
            grad[part, :n] = tile.mul_(1.0 / temperature).to(grad.dtype)
        return grad.reshape(logits.shape), None, None, None


def differentiable_statistics(
    measured: Callable[[Tensor], Any],
    logits: Tensor,
    targets: Any,
    temperature: float,
    n_vocab: int | None,
) -> Any:
    """The statistics, with logprob, entropy, varentropy and logsumexp attached to the graph."""
    values = measured(logits.detach())
    n = logits.shape[-1] if n_vocab is None else n_vocab
    labels = None if targets is None else torch.as_tensor(targets, device=logits.device).long()
    logprob, entropy, varentropy, logsumexp = _Statistics.apply(  # type: ignore[no-untyped-call]
        logits, values, labels, (temperature, n)
    )
    return values._replace(
        logprob=None if labels is None else logprob,
        entropy=entropy,
        varentropy=varentropy,
        logsumexp=logsumexp,
    )
