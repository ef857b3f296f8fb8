"""Hidden states at answer tokens with each prompt read once for all its answers, with gradient.

For a ``SmallTransformer``, in one pass: prompts and answers go through all layers side by side, and
the answers attend to the keys and values of their prompt. The numbers are those of reading prompt
and answer in one sequence, up to rounding; gradients of the answers add up in the prompt. Other
networks share prompts in other ways: see ``causal_states``.

Legend: B answers, P different prompts, L tokens of the longest prompt, T tokens of the longest
answer of a group, b answers of a group, N answer tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from entropilot.models.causal_states import PER_PASS, PromptPlan, right_padded, runs
from entropilot.models.length_buckets import length_buckets
from entropilot.models.transformer import Attend, SmallTransformer


class _Group(NamedTuple):
    """Answers of similar length."""

    rows: NDArray[np.int64]  # [b]
    tokens: Tensor  # [b, T]; all but the last token of each, which predicts nothing
    prompt: Tensor  # [b]
    seen: Tensor  # [b, 1, T, L + T] what each token may look at


def shared_states(
    model: SmallTransformer, plan: PromptPlan, tokens: Tensor, lengths: Tensor
) -> Tensor:
    """Hidden states [N, D] that predict the tokens of answers, answer after answer.

    Args:
        model: the transformer.
        plan: of the prompts, from ``prompt_plan``.
        tokens: [B, T] int64; any id after the end of an answer.
        lengths: [B] int64 tokens of each answer, in [0, T].

    Raises:
        InputError: prompt and answer are longer than the context.

    Examples:
        >>> from entropilot.models.causal_states import prompt_plan
        >>> from entropilot.models.transformer import TransformerConfig
        >>> model = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> answers = torch.tensor([[7, 8, 3], [5, 0, 0]])
        >>> shared_states(model, prompt_plan([[1, 2]] * 2), answers, torch.tensor([3, 1])).shape
        torch.Size([4, 64])
    """
    n, device = lengths.cpu().numpy(), tokens.device
    size = np.array([len(prompt) for prompt in plan.prompts])
    used = np.flatnonzero(n > 0)
    if not used.size:
        return tokens.new_zeros((0, model.config.width), dtype=model.head.weight.dtype)
    model.check_length(int((size[plan.owner[used]] + n[used] - 1).max()))
    prompts = right_padded(plan.prompts, device)
    groups = _groups(plan, size, tokens, n, prompts.shape[1])
    ids = [prompts.flatten(), *(group.tokens.flatten() for group in groups)]
    hidden = model.run(
        model.embed(torch.cat(ids), _positions(prompts, groups, size, model.config.context)),
        _attention(model, prompts, groups),
    )
    place = _places(groups, plan, size, n, prompts.shape)
    return hidden.index_select(0, torch.from_numpy(place).to(device))


def _groups(
    plan: PromptPlan,
    size: NDArray[np.int64],
    tokens: Tensor,
    n: NDArray[np.int64],
    n_slots: int,
) -> list[_Group]:
    longer = np.flatnonzero(n > 1)
    groups = []
    for bucket in length_buckets(n[longer] - 1, PER_PASS):
        rows = longer[bucket]
        width = int(n[rows].max()) - 1
        index = torch.from_numpy(rows).to(tokens.device)
        prompt = torch.from_numpy(plan.owner[rows]).to(tokens.device)
        length = torch.from_numpy(size).to(tokens.device)[prompt]
        before = torch.arange(n_slots, device=tokens.device) < length[:, None]
        causal = torch.ones(width, width, dtype=torch.bool, device=tokens.device).tril()
        seen = torch.cat(
            [before[:, None].expand(-1, width, -1), causal.expand(len(rows), -1, -1)], 2
        )
        groups.append(_Group(rows, tokens[index, :width], prompt, seen[:, None]))
    return groups


def _positions(
    prompts: Tensor, groups: list[_Group], size: NDArray[np.int64], context: int
) -> Tensor:
    """Of all tokens that are read, prompts first; padding may lie beyond the context."""
    length = torch.from_numpy(size).to(prompts.device)
    place = torch.arange(prompts.shape[1], device=prompts.device)
    parts = [place.expand_as(prompts).flatten()]
    for group in groups:
        after = torch.arange(group.tokens.shape[1], device=prompts.device)
        parts.append((length[group.prompt][:, None] + after).flatten())
    return torch.cat(parts).clamp(max=context - 1)


def _attention(model: SmallTransformer, prompts: Tensor, groups: list[_Group]) -> Attend:
    shapes = [prompts.shape, *(group.tokens.shape for group in groups)]

    def attend(_layer: int, qkv: Tensor) -> Tensor:
        parts = torch.split(qkv, [rows * width for rows, width in shapes])
        q, keys, values = model.split_heads(parts[0].view(*shapes[0], -1))
        out = [functional.scaled_dot_product_attention(q, keys, values, is_causal=True)]
        for group, part, shape in zip(groups, parts[1:], shapes[1:], strict=True):
            q, k, v = model.split_heads(part.view(*shape, -1))
            k = torch.cat([keys.index_select(0, group.prompt), k], 2)
            v = torch.cat([values.index_select(0, group.prompt), v], 2)
            out.append(functional.scaled_dot_product_attention(q, k, v, attn_mask=group.seen))
        return torch.cat([y.transpose(1, 2).reshape(-1, model.config.width) for y in out])

    return attend


def _places(
    groups: list[_Group],
    plan: PromptPlan,
    size: NDArray[np.int64],
    n: NDArray[np.int64],
    shape: torch.Size,
) -> NDArray[np.int64]:
    """Which of the states that were read predicts each answer token, [N]."""
    first = np.cumsum(n) - n
    place = np.zeros(n.sum(), np.int64)
    used = np.flatnonzero(n > 0)
    owner = plan.owner[used]
    place[first[used]] = owner * shape[1] + size[owner] - 1  # the prompt predicts the first token
    start = shape[0] * shape[1]
    for group in groups:
        width = group.tokens.shape[1]
        begin = start + width * np.arange(len(group.rows))
        later = n[group.rows] - 1
        place[runs(first[group.rows] + 1, later)] = runs(begin, later)
        start += group.tokens.numel()
    return place
