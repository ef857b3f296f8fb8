"""Hidden states of models of the Llama kind at the tokens of answers, without padding.

All different tokens stand in one packed matrix: each prompt once, then the answers. Norms, gates
and rotations are compiled passes with gradients of their own; only attention looks at sequences.
The numbers are those of transformers up to rounding. Other networks share prompts in other ways:
see ``causal_states``.

Legend: B answers, P different prompts, N packed tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.information._linear import linear
from entropilot.models.causal_states import PER_PASS, Ids, different_prompts, runs
from entropilot.models.length_buckets import length_buckets
from entropilot.models.llama_decoding import can_decode
from entropilot.models.packed_layers import (
    Bucket,
    Turns,
    add_norm,
    attend,
    joined,
    rounded_linear,
    swiglu,
)

#: How products are formed, and the precision of what they read.
_EXACT: Final = (linear, torch.float32)
_ROUNDED: Final = (rounded_linear, torch.bfloat16)


def can_pack(model: Any, prompts: Sequence[Ids], lengths: Tensor) -> bool:
    """Whether the packed way is there for a transformers model and pays for these answers.

    Attention reads a prompt again for each answer; that is little while the squares of the prompt
    lengths are below width times answer tokens.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> can_pack(tiny_parts()[0], [[1, 2]], torch.tensor([3]))
        True
    """
    again = sum(len(prompt) ** 2 for prompt in prompts)
    return (
        can_decode(model)
        and not any(hasattr(module, "base_layer") for module in model.modules())
        and again <= model.config.hidden_size * int(lengths.sum())
    )


def packed_states(
    body: Any,
    prompts: Sequence[Ids],
    tokens: Tensor,
    lengths: Tensor,
    *,
    products: str = "float32",
) -> Tensor:
    """Hidden states [sum of lengths, D] that predict the tokens of answers, answer after answer.

    Args:
        body: a ``LlamaModel`` or ``Qwen2Model`` in float32 on a CPU; see ``can_pack``.
        prompts: B lists of token ids, none empty.
        tokens: [B, T] int64; any id after the end of an answer.
        lengths: [B] int64 tokens of each answer, in [0, T].
        products: "bfloat16" rounds the inputs of all products.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> answers = torch.tensor([[7, 8, 9], [5, 0, 0]])
        >>> body = tiny_parts()[0].model
        >>> packed_states(body, [[1, 2]] * 2, answers, torch.tensor([3, 1])).shape
        torch.Size([4, 16])
    """
    ids, wanted, buckets = _layout(prompts, tokens, lengths.numpy())
    columns = max((bucket.rows.shape[1] for bucket in buckets), default=0)
    x = torch.nn.functional.embedding(torch.from_numpy(ids), body.embed_tokens.weight)
    cos, sin = body.rotary_emb(x, position_ids=torch.arange(columns)[None])
    half = cos.shape[-1] // 2
    turns = Turns(*(t[0, :, :half].float().contiguous().numpy() for t in (cos, sin)))
    product, kind = _EXACT if products == "float32" else _ROUNDED
    more = None
    for layer in body.layers:
        x, more = _layer(
            layer, x, more, partial(attend, buckets=buckets, turns=turns), product, kind
        )
    _, normed = add_norm(x, more, body.norm.weight, body.norm.variance_epsilon)
    return normed.index_select(0, torch.from_numpy(wanted))


def _layer(
    layer: Any,
    x: Tensor,
    more: Tensor | None,
    attention: Callable[..., Tensor],
    product: Callable[..., Tensor],
    kind: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The residual within a layer, and what the layer's MLP adds to it."""
    own, mlp = layer.self_attn, layer.mlp
    before, after = layer.input_layernorm, layer.post_attention_layernorm
    x, normed = add_norm(x, more, before.weight, before.variance_epsilon, kind)
    size = own.head_dim
    heads = own.q_proj.weight.shape[0] // size
    qkv = product(normed, *_joined(own.q_proj, own.k_proj, own.v_proj))
    y = attention(qkv, heads=heads, size=size, scale=own.scaling)
    y = product(y, own.o_proj.weight, own.o_proj.bias)
    x, normed = add_norm(x, y, after.weight, after.variance_epsilon, kind)
    y = swiglu(product(normed, *_joined(mlp.gate_proj, mlp.up_proj)))
    return x, product(y, mlp.down_proj.weight, mlp.down_proj.bias)


def _joined(*modules: Any) -> tuple[Tensor, Tensor | None]:
    return joined([module.weight for module in modules], [module.bias for module in modules])


def _layout(
    prompts: Sequence[Ids], tokens: Tensor, n: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[Bucket]]:
    """Packed token ids [N], the rows that predict answer tokens, and the sequences."""
    used = np.flatnonzero(n)
    different, owner = different_prompts([prompts[i] for i in used.tolist()])
    read = np.array([len(prompt) for prompt in different], np.int64)
    start = np.cumsum(read) - read  # packed place of each prompt
    shown = n[used] - 1  # the last token of an answer predicts nothing here
    place = read.sum() + np.cumsum(shown) - shown  # packed place of each answer
    width = tokens.shape[1]
    answers = tokens.numpy().reshape(-1)[runs(used * width, shown)]
    flat = np.fromiter((i for prompt in different for i in prompt), np.int64, int(read.sum()))
    ids = np.concatenate([flat, answers])

    wanted = np.empty(int(n.sum()), np.int64)
    head = np.cumsum(n[used]) - n[used]
    wanted[head] = (start + read - 1)[owner]
    wanted[runs(head + 1, shown)] = runs(place, shown)

    speaks = np.zeros(len(used), bool)  # the sequence from which a prompt's own results are taken
    speaks[np.unique(owner, return_index=True)[1]] = True
    some = np.flatnonzero(speaks | (shown > 0))
    lengths = (read[owner] + shown)[some]
    buckets = []
    for group in length_buckets(lengths, PER_PASS):
        each, long = some[group], lengths[group]
        column = np.arange(long.max())
        prompt = read[owner[each]][:, None]
        rows = np.where(
            column < prompt,
            start[owner[each]][:, None] + column,
            place[each][:, None] - prompt + column,
        )
        rows = np.where(column < long[:, None], rows, 0)
        first = np.where(speaks[each], 0, prompt[:, 0])
        buckets.append(Bucket(rows, first, long))
    return ids, wanted, buckets
