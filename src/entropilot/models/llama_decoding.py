"""Decoding of models of the Llama kind on a CPU, with a third of the calls.

Prompts go through transformers itself. Each further token goes through a loop of four matrix
products a layer (queries, keys and values in one; gate and up in one) and compiled kernels for the
rest. An adapter is added into copies of the weights. The numbers are those of ``CausalDecoder`` up
to rounding.

Legend: P prompts, B rows, V vocabulary, D width, H query heads, G key heads, d numbers a head,
L slots of the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.information._linear import linear
from entropilot.models.attention_kernels import BLOCK, room_for_keys, room_for_values
from entropilot.models.causal_decoding import CausalDecoder
from entropilot.models.decoding import move_rows
from entropilot.models.packed_layers import add_norm, joined, swiglu
from entropilot.models.products import products_in
from entropilot.models.rotary_kernels import attend_rotated

KNOWN: Final = ("LlamaForCausalLM", "Qwen2ForCausalLM")

Linear = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    norm1: Tensor  # [D]
    qkv: Linear
    out: Linear
    norm2: Tensor  # [D]
    gate_up: Linear
    down: Linear


def can_decode(model: Any) -> bool:
    """Whether a transformers model is of the kind: its class, in float32 on a CPU.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> can_decode(tiny_parts()[0])
        True
    """
    config = model.config
    return (
        type(model).__name__ in KNOWN
        and getattr(config, "hidden_act", "") == "silu"
        and not getattr(config, "use_sliding_window", False)
        and model.device.type == "cpu"
        and all(p.dtype == torch.float32 for p in model.parameters())
    )


class LlamaDecoder(CausalDecoder):
    """Decoding of a transformers Llama or Qwen2.

    Args:
        model: see ``can_decode``; its weights are read once, here.
        n_vocab: outcomes that count; None: all.
        products: "bfloat16" rounds the inputs and weights of all products but the head's.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> decoder = LlamaDecoder(tiny_parts()[0])
        >>> with torch.inference_mode():
        ...     first = decoder.prefill([[72, 105], [65]], max_tokens=2)
        ...     decoder.repeat(2)
        ...     second = decoder.step(torch.tensor([1, 2, 3, 4]))
        >>> first.shape, second.shape
        (torch.Size([2, 257]), torch.Size([4, 257]))
    """

    @torch.no_grad()
    def __init__(
        self, model: Any, *, n_vocab: int | None = None, products: str = "float32"
    ) -> None:
        super().__init__(model, n_vocab=n_vocab)
        self.products = products
        body = model.base_model
        make, self.kind = _KINDS[products]
        self.layers = [_layer(layer, make) for layer in body.layers]
        attention = body.layers[0].self_attn
        self.scale = np.float32(attention.scaling)
        self.embedding = body.embed_tokens.weight.detach()
        self.norm = body.norm.weight.detach()
        self.epsilon = float(body.norm.variance_epsilon)
        head = model.get_output_embeddings()
        self.head = head.weight.detach()[: self.n_vocab]
        bias = getattr(head, "bias", None)
        self.head_bias = None if bias is None else bias.detach()[: self.n_vocab]
        self.keys: list[Tensor] = []  # one a layer, [B, G, L / 16, d, 16] once there is room
        self.values: list[Tensor] = []  # one a layer, [B, G, L, d]
        self.padding = torch.zeros(0, dtype=torch.int64)  # [B] slots before the first token
        self.n_filled = self.n_slots = 0
        self.has_room = False
        self.turns: tuple[Any, Any] = ((), ())  # cos and sin [L, d / 2]

    def prefill(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Tensor:
        """Read prompts; see ``Decoder``."""
        with products_in(self.products, self.model.device):
            logits = super().prefill(prompts, max_tokens).float()
        layers = self.cache.layers
        self.n_filled = layers[0].keys.shape[2]
        self.n_slots = self.n_filled + max_tokens
        self.padding = torch.zeros(len(prompts), dtype=torch.int64)
        order = None
        if self.mask is not None:
            # padding may stand after a shared beginning: move it to the front
            order = self.mask.argsort(dim=1, stable=True)
            self.padding = self.n_filled - self.mask.sum(1)
        self.keys, self.values, self.has_room = [], [], False
        for layer in layers:
            keys, values = (_in_order(x.float(), order) for x in (layer.keys, layer.values))
            self.keys.append(keys)
            self.values.append(values)
        positions = torch.arange(self.n_slots)[None]
        cos, sin = self.model.base_model.rotary_emb(self.embedding, position_ids=positions)
        half = cos.shape[-1] // 2
        self.turns = tuple(x[0, :, :half].float().contiguous().numpy() for x in (cos, sin))
        self.cache = self.mask = None
        return logits

    def repeat(self, n: int) -> None:
        """Repeat each row n times and move to a cache with room; see ``Decoder``."""
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            self.keys[layer] = room_for_keys(keys, n, self.n_slots)
            self.values[layer] = room_for_values(values, n, self.n_slots)
        self.has_room = True
        self.padding = self.padding.repeat_interleave(n)

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token to each row; see ``Decoder``."""
        slot = self.n_filled
        if slot >= self.n_slots:
            raise InputError(f"the cache was made for {self.n_slots} tokens, all of them are used")
        if not self.has_room:
            self.repeat(1)  # the cache still is that of the prompts
        self.n_filled += 1
        x = self.embedding[tokens]
        score = np.empty((slot // BLOCK + 1) * BLOCK, np.float32)
        padding = self.padding.numpy()
        more = None
        for number, layer in enumerate(self.layers):
            x, normed = add_norm(x, more, layer.norm1, self.epsilon, self.kind)
            qkv = layer.qkv(normed).float()
            keys, values = self.keys[number], self.values[number]
            y = x.new_empty(len(x), qkv.shape[1] - 2 * values.shape[1] * values.shape[3])
            attend_rotated(
                qkv.numpy(), keys.numpy(), values.numpy(), *self.turns, slot, padding, y.numpy(),
                self.scale, score,
            )  # fmt: skip
            x, normed = add_norm(
                x, layer.out(y.to(self.kind)), layer.norm2, self.epsilon, self.kind
            )
            more = layer.down(swiglu(layer.gate_up(normed)))
        _, normed = add_norm(x, more, self.norm, self.epsilon)
        return linear(normed, self.head, self.head_bias)

    def keep(self, rows: Tensor) -> None:
        """Let rows leave; see ``Decoder``."""
        n, filled = len(rows), self.n_filled
        parts = -(-filled // BLOCK) if self.has_room else filled
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            move_rows(keys[:, :, :parts], rows)
            move_rows(values[:, :, :filled], rows)
            self.keys[layer], self.values[layer] = keys[:n], values[:n]
        self.padding = self.padding[rows]


def _layer(layer: Any, make: Callable[[Tensor, Tensor | None], Linear]) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        layer.input_layernorm.weight.detach(),
        make(*_joined(attention.q_proj, attention.k_proj, attention.v_proj)),
        make(*_joined(attention.o_proj)),
        layer.post_attention_layernorm.weight.detach(),
        make(*_joined(mlp.gate_proj, mlp.up_proj)),
        make(*_joined(mlp.down_proj)),
    )


def _joined(*modules: Any) -> tuple[Tensor, Tensor | None]:
    """Weights and biases of linear layers as those of one, adapters added in."""
    biases = [getattr(module, "bias", None) for module in modules]
    return joined([_weight(module) for module in modules], biases)


def _weight(module: Any) -> Tensor:
    if not hasattr(module, "base_layer"):
        weight: Tensor = module.weight.detach()
        return weight
    weight = module.base_layer.weight.detach()
    for adapter in module.active_adapters:
        weight = weight + module.get_delta_weight(adapter).detach()
    return weight


def _plain(weight: Tensor, bias: Tensor | None) -> Linear:
    return lambda x: linear(x, weight, bias)


def _rounded(weight: Tensor, bias: Tensor | None) -> Linear:
    return _plain(weight.bfloat16(), None if bias is None else bias.bfloat16())


#: How a linear layer is made of its weights, and the precision of what it reads and returns.
_KINDS: Final = {"float32": (_plain, torch.float32), "bfloat16": (_rounded, torch.bfloat16)}


def _in_order(x: Tensor, order: Tensor | None) -> Tensor:
    """The slots of [P, G, L, d] in the order [P, L]."""
    if order is None:
        return x
    return x.gather(2, order[:, None, :, None].expand_as(x))
