"""The work of ``_head_kernels.py`` in torch, for devices without compiled loops.

Temporary memory is three chunks more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entropilot.information._backend import accumulator
from entropilot.information._head_kernels import (
    ON_ENTROPY,
    ON_LOGPROB,
    ON_LOGSUMEXP,
    ON_NUCLEUS,
    ON_VARENTROPY,
)
from entropilot.information._nucleus_kernels import ENTROPY, LAST, LOG_MASS, SIZE, THRESHOLD
from entropilot.information._statistics_kernels import (
    LOG_SUM,
    LOGPROB,
    MAX,
    MEAN,
    S2,
    SUM_P2,
    SUM_P2_LOGP,
    T2,
    TOP,
    VARIANCE,
    S,
    T,
    U,
)


def _floor(kind: torch.dtype) -> float:
    return -700.0 if kind == torch.float64 else -87.0


def extend_tile(
    chunk: Tensor,
    offset: int,
    targets: Tensor | None,
    temperature: float,
    squares: bool,
    sums: Tensor,
    chosen: Tensor,
) -> None:
    """Add a chunk [R, w] to the running sums [R, 6] of its rows; keep the logit of the target."""
    exact = accumulator(chunk)
    floor = _floor(chunk.dtype)
    before = sums[:, TOP]
    top = torch.maximum(before, chunk.amax(-1).to(exact))  # nan stays
    d = torch.where(before > -torch.inf, (before - top) / temperature, 0)
    scale = d.exp()
    s, t = sums[:, S], sums[:, T]
    sums[:, U] = scale * (sums[:, U] + d * (2 * t + d * s))
    sums[:, T] = scale * (t + d * s)
    sums[:, S] = scale * s
    sums[:, T2] = scale * scale * (sums[:, T2] + d * sums[:, S2])
    sums[:, S2] = scale * scale * sums[:, S2]
    sums[:, TOP] = top
    shift = torch.where(top > -torch.inf, top, 0).to(chunk.dtype)
    z = chunk.sub(shift[:, None]).mul_(1.0 / temperature).clamp_(min=floor)
    e = z.exp()
    e.masked_fill_(z <= floor, 0.0)
    sums[:, S] += e.sum(-1, dtype=exact)
    if squares:
        w = e.square()
        sums[:, S2] += w.sum(-1, dtype=exact)
        sums[:, T2] += w.mul_(z).sum(-1, dtype=exact)
    e.mul_(z)
    sums[:, T] += e.sum(-1, dtype=exact)
    sums[:, U] += e.mul_(z).sum(-1, dtype=exact)
    if targets is not None:
        place = targets - offset
        here = (place >= 0) & (place < chunk.shape[1])
        found = chunk.gather(1, place.clamp(0, chunk.shape[1] - 1)[:, None])[:, 0].to(exact)
        chosen.copy_(torch.where(here, found, chosen))


def finish_sums(sums: Tensor, chosen: Tensor, temperature: float, result: Tensor) -> None:
    """Fill result [8, N] from the sums [N, 6] of whole rows and the logits of the targets."""
    s = torch.where(sums[:, S] > 0, sums[:, S], torch.nan)
    mean = sums[:, T] / s
    result[MAX] = torch.where(s == s, sums[:, TOP], torch.nan)  # noqa: PLR0124
    result[LOG_SUM] = s.log()
    result[MEAN] = mean
    result[VARIANCE] = (sums[:, U] / s - mean * mean).clamp(min=0)
    result[SUM_P2] = sums[:, S2] / (s * s)
    result[SUM_P2_LOGP] = (sums[:, T2] - s.log() * sums[:, S2]) / (s * s)
    result[LOGPROB] = (chosen - result[MAX]) / temperature - result[LOG_SUM]


def slope_tile(
    chunk: Tensor,
    offset: int,
    targets: Tensor | None,
    temperature: float,
    result: Tensor,
    nucleus: Tensor | None,
    slopes: Tensor,
) -> None:
    """Turn a chunk of logits into dLoss/dlogit in place; columns of the others are its rows."""
    kind, inverse = chunk.dtype, 1.0 / temperature

    def column(values: Any) -> Tensor:
        wide: Tensor = values.to(kind)[:, None]
        return wide

    floor = _floor(kind)
    log_p = chunk.sub(column(result[MAX])).mul_(inverse).sub_(column(result[LOG_SUM]))
    log_p.clamp_(min=floor)
    p = log_p.exp()
    p.masked_fill_(log_p <= floor, 0.0)
    inside: Tensor | None = None
    if nucleus is not None:
        edge = column(nucleus[THRESHOLD])
        index = torch.arange(offset, offset + chunk.shape[1], device=chunk.device)
        belongs = (chunk > edge) | ((chunk == edge) & (index <= nucleus[LAST][:, None]))
        some = nucleus[SIZE] > 0
        log_mass = torch.where(some, nucleus[LOG_MASS], 0)
        d1 = torch.where(some, -slopes[ON_NUCLEUS] * (-log_mass).exp(), 0)
        inside = column(d1) * (log_p + column(nucleus[ENTROPY] - log_mass))
        inside.masked_fill_(~belongs, 0.0)
    on_varentropy = slopes[ON_VARENTROPY]
    c0 = slopes[ON_LOGSUMEXP] - slopes[ON_LOGPROB] - on_varentropy * result[VARIANCE]
    c1 = 2.0 * on_varentropy - slopes[ON_ENTROPY]
    entropy = (result[LOG_SUM] - result[MEAN]).clamp(min=0)
    s = log_p.add_(column(entropy))
    torch.mul(s, column(on_varentropy), out=chunk)
    chunk.add_(column(c1)).mul_(s).add_(column(c0))
    if inside is not None:
        chunk.add_(inside)
    chunk.mul_(p).mul_(inverse)
    if targets is not None:
        place = targets - offset
        here = (place >= 0) & (place < chunk.shape[1])
        value = torch.where(here, slopes[ON_LOGPROB] * inverse, 0).to(kind)
        chunk.scatter_add_(1, place.clamp(0, chunk.shape[1] - 1)[:, None], value[:, None])
