"""Token-by-token decoding of many rows with a cache of keys and values.

A decoder reads prompts once, repeats each for the answers of its group, steps all rows by one token
and lets rows leave. Rows that leave cost a copy of the rows that take their places, not of all.

Legend: P prompts, B rows, V vocabulary, D width, L slots of the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from entropilot.errors import InputError
from entropilot.models.attention_kernels import (
    BLOCK,
    attend_to_cache,
    room_for_keys,
    room_for_values,
)
from entropilot.models.transformer import SmallTransformer


class Decoder(Protocol):
    """What sampling needs of a model. Call inside ``torch.inference_mode()``."""

    @property
    def n_vocab(self) -> int:
        """V, outcomes that count."""
        ...

    @property
    def context(self) -> int | None:
        """Longest sequence, tokens; None: no limit is known."""
        ...

    def prefill(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Tensor:
        """Read prompts, none empty, and make room; logits [P, V] of the token after each."""
        ...

    def repeat(self, n: int) -> None:
        """Repeat each row n times, copies side by side."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Append tokens [B]; logits [B, V] of the token after each."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with the rows [B'] of these distinct numbers, in this order."""
        ...


def left_padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [P, L] with zeros before the shorter rows, and the padding [P] before each.

    Examples:
        >>> tokens, padding = left_padded([[5, 6], [7]])
        >>> tokens.tolist(), padding.tolist()
        ([[5, 6], [0, 7]], [0, 1])
    """
    width = max(map(len, rows))
    padding = [width - len(row) for row in rows]
    tokens = [[0] * n + list(row) for n, row in zip(padding, rows, strict=True)]
    return torch.tensor(tokens), torch.tensor(padding)


def move_rows(buffer: Tensor, rows: Tensor) -> None:
    """Put row ``rows[i]`` of a buffer in place i, for all i, copying only those that move.

    Examples:
        >>> x = torch.tensor([10, 11, 12, 13])
        >>> move_rows(x, torch.tensor([0, 3, 2]))
        >>> x[:3].tolist()
        [10, 13, 12]
    """
    moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
    if len(moved):
        buffer[moved] = buffer[rows[moved]]  # the right side is gathered before anything is written


class TransformerDecoder:
    """Decoding of a ``SmallTransformer`` in a cache that is allocated once.

    Args:
        model: the transformer; its weights are read as they are at each call.

    Examples:
        >>> from entropilot.models.transformer import TransformerConfig
        >>> decoder = TransformerDecoder(SmallTransformer.seeded(TransformerConfig(9), 0))
        >>> with torch.inference_mode():
        ...     first = decoder.prefill([[1, 2], [3]], max_tokens=4)
        ...     decoder.repeat(3)
        ...     second = decoder.step(torch.tensor([4, 5, 6, 4, 5, 6]))
        >>> first.shape, second.shape
        (torch.Size([2, 9]), torch.Size([6, 9]))
    """

    def __init__(self, model: SmallTransformer) -> None:
        self.model = model
        self.keys: list[
            Tensor
        ] = []  # one a layer, [B, heads, L / 16, D / heads, 16] once there is room
        self.values: list[Tensor] = []  # one a layer, [B, heads, L, D / heads]
        self.padding = torch.zeros(0, dtype=torch.int64)  # [B] slots before the first token
        self.n_filled = self.n_slots = 0
        self.has_room = False

    @property
    def n_vocab(self) -> int:
        """V, tokens."""
        return self.model.config.n_vocab

    @property
    def context(self) -> int | None:
        """Longest sequence, tokens."""
        return self.model.config.context

    def prefill(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Tensor:
        """Read prompts; see ``Decoder``."""
        check_prompts(prompts)
        device = self.model.head.weight.device
        tokens, padding = (x.to(device) for x in left_padded(prompts))
        length = tokens.shape[1]
        self.model.check_length(length + max_tokens)
        self.keys, self.values, self.has_room = [], [], False
        self.padding, self.n_filled, self.n_slots = padding, length, length + max_tokens
        slot = torch.arange(length, device=device)
        here = slot >= padding[:, None]
        seen = None
        if bool(padding.any()):
            causal = slot <= slot[:, None]
            seen = ((causal & here[:, None]) | torch.diag(here.new_ones(length)))[:, None]

        def attend(_layer: int, qkv: Tensor) -> Tensor:
            q, k, v = self.model.split_heads(qkv)
            self.keys.append(k)
            self.values.append(v)
            y = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=seen, is_causal=seen is None
            )
            return y.transpose(1, 2).reshape(len(prompts), length, -1)

        x = self.model.embed(tokens, (slot - padding[:, None]).clamp(min=0))
        logits: Tensor = self.model.head(self.model.run(x, attend)[:, -1])
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

        def attend(layer: int, qkv: Tensor) -> Tensor:
            return attend_to_cache(
                qkv, self.keys[layer], self.values[layer], slot=slot, padding=self.padding
            )

        x = self.model.embed(tokens, slot - self.padding)
        self.n_filled += 1
        logits: Tensor = self.model.head(self.model.run(x, attend))
        return logits

    def keep(self, rows: Tensor) -> None:
        """Let rows leave; see ``Decoder``."""
        n, filled = len(rows), self.n_filled
        parts = -(-filled // BLOCK) if self.has_room else filled
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            move_rows(keys[:, :, :parts], rows)
            move_rows(values[:, :, :filled], rows)
            self.keys[layer], self.values[layer] = keys[:n], values[:n]
        self.padding = self.padding[rows]


def check_prompts(prompts: Sequence[Sequence[int]]) -> None:
    """Raise ``InputError`` unless there are prompts and each has a token."""
    if not prompts:
        raise InputError("no prompts to decode from; give at least one")
    for i, row in enumerate(prompts):
        if not len(row):
            raise InputError(f"prompt {i} has no tokens; give at least one to continue from")
