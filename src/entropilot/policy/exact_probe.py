"""SPAE's probe where the answer is one token: exact, and one forward pass for a whole batch.

For testbeds with a vocabulary of their own (arXiv 2601.03823): the suffix is the token that ends
thinking, and the distribution after it holds accuracy and confidence; nothing is sampled.

Legend: B answers, P prompt tokens, T answer tokens, K steps, L = P + T + K.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from entropilot.errors import InputError
from entropilot.policy.probing import Probes
from entropilot.policy.step_potential import step_potential

_ROWS = 512  # answers at a time: their masks take _ROWS L^2 bytes


@torch.inference_mode()
def exact_probe(
    model: Any,
    prompts: Tensor,
    tokens: Tensor,
    boundaries: Tensor,
    suffix: int,
    answers: Tensor,
    *,
    use_confidence: bool = True,
) -> Probes:
    """Potential of each step from the next-token distribution after ``suffix``.

        accuracy = p(answer),   confidence = exp(-entropy)

    Every boundary is a branch of the answer that holds the suffix alone, sees the answer up to the
    boundary, and has the position after it.

    Args:
        model: a ``SmallTransformer``; its context holds P + T + 1.
        prompts: [B, P] int64, all of one length.
        tokens: [B, T] int64 answers, padded on the right with any token.
        boundaries: [B, K] int64 from ``split_steps``; -1 where there is no step.
        suffix: the token that asks for the answer.
        answers: [B] int64, right answers.
        use_confidence: see ``step_potential``.

    Returns:
        ``Probes``, float32, not differentiated.

    Raises:
        InputError: shapes differ, or the text is longer than the context.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> model = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> ones = torch.ones(2, 4, dtype=torch.int64)
        >>> probes = exact_probe(model, ones, ones, torch.tensor([[1], [-1]]), 8, ones[:, 0])
        >>> probes.valid.tolist()
        [[True], [False]]
    """
    n = tokens.shape[0]
    if prompts.ndim != 2 or {prompts.shape[0], boundaries.shape[0]} != {n} or answers.shape != (n,):
        raise InputError(
            f"prompts, tokens, boundaries and answers have shapes {tuple(prompts.shape)}, "
            f"{tuple(tokens.shape)}, {tuple(boundaries.shape)}, {tuple(answers.shape)}; expected "
            "[B, P], [B, T], [B, K] and [B]"
        )
    valid = boundaries >= 0
    model.check_length(prompts.shape[1] + tokens.shape[1] + 1)
    parts = [
        _branches(model, prompts[r], tokens[r], boundaries[r], suffix)
        for r in torch.split(torch.arange(n, device=tokens.device), _ROWS)
    ]
    log_p = torch.cat(parts) if parts else boundaries.new_zeros((*boundaries.shape, 1)).float()
    p = log_p.exp()
    chosen = answers[:, None, None].expand(*boundaries.shape, 1)
    accuracy = torch.where(valid, p.gather(-1, chosen)[..., 0], 0)
    entropy = -(p * torch.where(p > 0, log_p, 0)).sum(-1)
    sure = torch.where(valid, (-entropy.clamp(min=0)).exp(), 0)
    potential = step_potential(accuracy, sure, use_confidence=use_confidence)
    return Probes(accuracy, sure, potential, valid)


def _branches(
    model: Any, prompts: Tensor, tokens: Tensor, boundaries: Tensor, suffix: int
) -> Tensor:
    """[b, K, V] log-probs after the suffix at each boundary."""
    chain = torch.cat([prompts, tokens], 1)
    n_chain, n_steps = chain.shape[1], boundaries.shape[1]
    device = chain.device
    seen = boundaries + prompts.shape[1] + 1  # chain tokens before the branch, its position too
    place = torch.arange(n_chain, device=device)
    position = torch.cat([place.expand_as(chain), seen], 1)
    ids = torch.cat([chain, torch.full_like(boundaries, suffix)], 1)
    total = n_chain + n_steps
    mask = torch.ones(total, total, dtype=torch.bool, device=device).tril()
    mask[n_chain:, n_chain:] = torch.eye(n_steps, dtype=torch.bool, device=device)
    allowed = mask.repeat(chain.shape[0], 1, 1)
    allowed[:, n_chain:, :n_chain] = place < seen[..., None]

    def attend(_layer: int, qkv: Tensor) -> Tensor:
        q, k, v = model.split_heads(qkv)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:, None])
        return y.transpose(1, 2).reshape(chain.shape[0], total, -1)

    hidden = model.run(model.embed(ids, position), attend)[:, n_chain:]
    return torch.log_softmax(model.head(hidden).float(), -1)
