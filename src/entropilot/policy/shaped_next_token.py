"""Reward-shaped next-token prediction: the diversity-or-precision objective (arXiv 2512.22955).

Cross-entropy is a policy gradient of one step with the reward 1/p at the target. Here the target's
reward may sharpen or damp, and the other tokens may get a reward of their own: those among the k
most likely (head) one, all others (tail) another. The rewards are constants, so that

    J = sg[(1 - p_x)^beta] log p_x + lambda_head P_head + lambda_tail P_tail,    loss = -mean J

has the exact gradient of the expectation over the whole vocabulary:

    dJ/dz_a = c_a - p_a sum_b c_b,   c_x = (1 - p_x)^beta,  c_a = p_a lambda_head or p_a lambda_tail

The loss is computed in row chunks and its gradient in the same pass: beside the gradient itself
nothing of the size of the logits is stored.

Legend: B sequences, T tokens, N rows = tokens that count, V vocabulary, x the target. Nats.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.shaped_rewards import Shaping, top_members

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS: Final = ("mean", "sum", "none")
_CHUNK: Final = 1 << 21  # logits of a chunk: 8 MB in float32, about one cache
_DEVICE_CHUNK: Final = 1 << 26  # on an accelerator launches cost more than cache misses


class ShapedLoss(NamedTuple):
    """The loss, and what to compare settings by (its value is not comparable)."""

    loss: Tensor  # scalar, or [...] for reduction "none"
    metrics: dict[str, float]


class RowValues(NamedTuple):
    """What the pass over the rows leaves behind, [N] each."""

    loss: Tensor
    logprob: Tensor
    entropy: Tensor
    head: Tensor  # mass of the head without the target; 0 where masses do not enter
    rank: Tensor  # of the target, 1 = most likely


def shaped_ntp_loss(
    logits: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    beta: float = 0.0,
    lambda_head: float = 0.0,
    lambda_tail: float = 0.0,
    k: int = 100,
    min_gap: float = 1e-6,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    chunk_rows: int | None = None,
) -> ShapedLoss:
    """Shaped loss of next tokens, with gradient into the logits; see the module for the equation.

    Args:
        logits: [..., V]; half precision is widened chunk by chunk; -inf marks an impossible token.
        targets: [...] int64; ``ignore_index`` marks rows that do not count.
        mask: [...] bool; False marks further rows that do not count.
        beta: see ``Shaping``.
        lambda_head: see ``Shaping``.
        lambda_tail: see ``Shaping``.
        k: see ``Shaping``.
        min_gap: see ``Shaping``.
        ignore_index: as in ``cross_entropy``.
        reduction: "mean" over the tokens that count, "sum", or "none" (0 where it does not count).
        chunk_rows: rows at a time; None chooses by V.

    Returns:
        ``ShapedLoss``; metrics: cross_entropy, perplexity, entropy, head_mass and tail_mass (of
        the wrong tokens; only where a lambda is set), target_rank_mean, all means over the tokens
        that count.

    Raises:
        InputError: no token counts, a target is no token, its logit is -inf, or a logit is nan.
        ConfigurationError: a setting is out of range.

    Examples:
        >>> z = torch.tensor([[0.5, 0.25, 0.25]]).log()
        >>> round(shaped_ntp_loss(z, torch.tensor([0]), beta=0.5).loss.item(), 4)
        0.4901

    Source: arXiv 2512.22955, equations 1-14; exact form, precision of 1 - p, ties and the average
    over tokens are ours.
    """
    if reduction not in REDUCTIONS:
        raise ConfigurationError(unknown_name("reduction", reduction, REDUCTIONS))
    shaping = Shaping(beta, lambda_head, lambda_tail, k, min_gap)
    labels, rows = _counted(logits, targets, mask, ignore_index)
    scale = 1.0 / rows.numel() if reduction == "mean" else 1.0
    chunk = _CHUNK if logits.device.type == "cpu" else _DEVICE_CHUNK
    n_rows = chunk_rows or max(1, chunk // logits.shape[-1])
    out = _Shaped.apply(logits, labels, rows, shaping, scale, n_rows)  # type: ignore[no-untyped-call]
    values = RowValues(*out)
    lead = logits.shape[:-1]
    if reduction == "none":
        loss = values.loss.new_zeros(labels.numel()).index_copy(0, rows, values.loss).view(lead)
    else:
        loss = values.loss.sum()
    return ShapedLoss(loss, _metrics(values, shaping))


def shaped_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    **shaping: Any,
) -> Tensor:
    """The loss alone: in the place of ``torch.nn.functional.cross_entropy(logits, targets)``.

    Args:
        logits: [..., V]; the vocabulary is the last axis.
        targets: [...] int64.
        ignore_index: rows with it do not count.
        reduction: "mean", "sum" or "none".
        shaping: fields of ``Shaping``.

    Examples:
        >>> z, x = torch.zeros(2, 4), torch.tensor([1, -100])
        >>> torch.equal(shaped_cross_entropy(z, x), torch.nn.functional.cross_entropy(z, x))
        True
    """
    return shaped_ntp_loss(
        logits, targets, ignore_index=ignore_index, reduction=reduction, **shaping
    ).loss


class _Shaped(torch.autograd.Function):
    """Row losses; the gradient is formed in the forward pass, already scaled."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        rows: Tensor,
        shaping: Shaping,
        scale: float,
        n_rows: int,
    ) -> tuple[Tensor, ...]:
        wanted = logits.requires_grad
        values, gradient = _pass(logits, labels, rows, shaping, scale, n_rows, wanted)
        ctx.save_for_backward(logits, labels, rows)
        ctx.shaping, ctx.scale, ctx.n_rows = shaping, scale, n_rows
        ctx.gradient = gradient
        ctx.mark_non_differentiable(*values[1:])
        return tuple(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, rows = ctx.saved_tensors
        gradient = ctx.gradient
        if gradient is None:  # a second backward through a kept graph
            _, gradient = _pass(logits, labels, rows, ctx.shaping, ctx.scale, ctx.n_rows, True)
        ctx.gradient = None
        outer = grads[0]
        if not bool((outer == 1).all()):
            flat = gradient.view(-1, gradient.shape[-1])
            if rows.numel() == flat.shape[0]:
                flat.mul_(outer.to(flat.dtype)[:, None])
            else:
                factor = outer.new_zeros(flat.shape[0]).index_copy_(0, rows, outer)
                flat.mul_(factor.to(flat.dtype)[:, None])
        return gradient, None, None, None, None, None


def _pass(
    logits: Tensor,
    labels: Tensor,
    rows: Tensor,
    shaping: Shaping,
    scale: float,
    n_rows: int,
    wanted: bool,
) -> tuple[RowValues, Tensor | None]:
    """Values [N] and, if wanted, the gradient [..., V], chunk by chunk."""
    width = logits.shape[-1]
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    every = rows.numel() == labels.numel()
    flat = logits.view(-1, width) if logits.is_contiguous() else None
    gradient: Tensor | None = None
    if wanted:
        make = torch.empty if every else torch.zeros
        gradient = make(logits.shape, dtype=logits.dtype, device=logits.device)
    scratch = torch.empty(0, dtype=wide, device=logits.device)
    parts = []
    for part in torch.split(rows, n_rows):
        if flat is None:  # a slice such as logits[:, :-1]: copy a chunk, not the whole
            z = logits[torch.unravel_index(part, logits.shape[:-1])]
        elif every:
            z = flat[int(part[0]) : int(part[-1]) + 1]
        else:
            z = flat[part]
        z = z.to(wide)
        direct = every and gradient is not None and gradient.dtype == wide
        if direct and gradient is not None:
            p = gradient.view(-1, width)[int(part[0]) : int(part[-1]) + 1]
        else:
            if scratch.shape != z.shape:
                scratch = torch.empty_like(z)
            p = scratch
        parts.append(_rows(z, labels[part], p, shaping, scale, wanted))
        if gradient is not None and not direct:
            gradient.view(-1, width)[part] = p.to(gradient.dtype)
    values = RowValues(*(torch.cat(column) for column in zip(*parts, strict=True)))
    _check_rows(values, logits, rows)
    return values, gradient


def _rows(
    z: Tensor, x: Tensor, p: Tensor, shaping: Shaping, scale: float, wanted: bool
) -> RowValues:
    """One chunk: p [n, V] receives the gradient of the loss, times scale."""
    at = x[:, None]
    torch.softmax(z, -1, out=p)
    top, most = z.max(-1, keepdim=True)
    log_sum = top - p.gather(-1, most).log()
    z_x, p_x = z.gather(-1, at), p.gather(-1, at)
    logprob = z_x - log_sum
    gap = 1 - p_x
    weight = torch.ones_like(gap)
    if shaping.beta != 0:
        # 1 - p_x cancels where it matters: the others' probabilities are summed instead
        gap = p.scatter_(-1, at, 0).sum(-1, keepdim=True)
        p.scatter_(-1, at, p_x)
        logprob = torch.where(gap < 0.5, torch.log1p(-gap), logprob)
        weight = gap.clamp(min=shaping.min_gap) ** shaping.beta
    entropy = _entropy(z, p, log_sum)
    rank = 1 + (z > z_x).sum(-1)
    head = torch.zeros_like(gap)
    pull = torch.zeros_like(gap)
    ids: Tensor | None = None
    p_head = head
    if shaping.has_masses:
        ids = top_members(z, shaping.k)
        p_head = p.gather(-1, ids).masked_fill_(ids == at, 0)
        head = p_head.sum(-1, keepdim=True)
        tail = (gap - head).clamp(min=0) if ids.shape[1] < z.shape[1] else torch.zeros_like(gap)
        pull = shaping.lambda_head * head + shaping.lambda_tail * tail
    loss = -(weight * logprob + pull) * scale
    if wanted:
        total = weight + pull
        p.mul_((total - shaping.lambda_tail) * scale)
        if ids is not None:
            p.scatter_(-1, ids, p_head * (total - shaping.lambda_head) * scale)
        p.scatter_(-1, at, (p_x * pull - weight * gap) * scale)
    return RowValues(loss[:, 0], logprob[:, 0], entropy[:, 0], head[:, 0], rank.to(z.dtype))


def _entropy(z: Tensor, p: Tensor, log_sum: Tensor) -> Tensor:
    """[n, 1] entropies; an impossible token adds nothing."""
    mean = torch.linalg.vecdot(p, z).unsqueeze(-1)
    if not bool(torch.isfinite(mean).all()):
        mean = torch.linalg.vecdot(p, torch.where(p > 0, z, 0)).unsqueeze(-1)
    entropy: Tensor = (log_sum - mean).clamp(min=0)
    return entropy


def _metrics(values: RowValues, shaping: Shaping) -> dict[str, float]:
    cross_entropy = -values.logprob.mean()
    metrics = {
        "cross_entropy": float(cross_entropy),
        "perplexity": float(cross_entropy.exp()),
        "entropy": float(values.entropy.mean()),
        "target_rank_mean": float(values.rank.mean()),
    }
    if shaping.has_masses:
        head = values.head.mean()
        metrics["head_mass"] = float(head)
        metrics["tail_mass"] = float((1 - values.logprob.exp()).mean() - head)
    return metrics


def _counted(
    logits: Tensor, targets: Tensor, mask: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor]:
    """Flat targets, and the indices of the rows that count."""
    lead = tuple(logits.shape[:-1])
    for name, value in (("targets", targets), ("mask", mask)):
        if value is not None and tuple(value.shape) != lead:
            raise InputError(
                f"{name} have shape {tuple(value.shape)}; the logits without the last axis have "
                f"{lead}"
            )
    valid = targets != ignore_index
    if mask is not None:
        if mask.dtype != torch.bool:
            raise InputError(f"mask has dtype {mask.dtype}; expected bool, True where it counts")
        valid = valid & mask
    bad = valid & ((targets < 0) | (targets >= logits.shape[-1]))
    if bool(bad.any()):
        first = [int(i) for i in bad.nonzero()[0]]
        raise InputError(
            f"the target at {first} is {int(targets[tuple(first)])}; token ids are in [0, "
            f"{logits.shape[-1]}), and {ignore_index} marks tokens that do not count"
        )
    if not bool(valid.any()):
        raise InputError("no target counts, so the loss has no mean; leave such batches out")
    return targets.reshape(-1), valid.reshape(-1).nonzero()[:, 0]


def _check_rows(values: RowValues, logits: Tensor, rows: Tensor) -> None:
    bad = ~torch.isfinite(values.loss)
    if not bool(bad.any()):
        return
    first = int(rows[bad.nonzero()[0, 0]])
    place = [int(i) for i in torch.unravel_index(torch.tensor(first), logits.shape[:-1])]
    row = logits[tuple(place)]
    if bool(row.isnan().any()) or not bool((row > -torch.inf).any()):
        raise InputError(f"the logits at {place} are nan or all -inf; what made them is broken")
    raise InputError(
        f"the logit of the target at {place} is -inf, so its loss is infinite; mask the token, or "
        "do not forbid a token that the text contains"
    )
