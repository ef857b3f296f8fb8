"""Phases of an answer: thinking up to a tag, the answer proper after it.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError


class Phases(NamedTuple):
    """Tokens of the two phases; the tags are in neither."""

    think: Tensor  # [B, T] bool
    answer: Tensor  # [B, T] bool
    position: Tensor  # [B] int64, first token of the tag, -1 where there is none


def find_tag(tokens: Tensor, tag: int | Sequence[int], mask: Tensor) -> Tensor:
    """Where a tag of one or more tokens first occurs among the tokens that count.

    Args:
        tokens: [B, T] int64.
        tag: token id, or ids that must follow each other.
        mask: [B, T] bool.

    Returns:
        [B] int64 index of the tag's first token, -1 where there is none.

    Raises:
        ConfigurationError: no id, or an id that is no token.

    Examples:
        >>> tokens = torch.tensor([[5, 7, 8, 9], [5, 5, 5, 7]])
        >>> find_tag(tokens, (7, 8), torch.ones(2, 4, dtype=torch.bool)).tolist()
        [1, -1]
    """
    ids = [tag] if isinstance(tag, int) else list(tag or ())
    if not ids or any(not isinstance(i, int) or i < 0 for i in ids):
        raise ConfigurationError(
            f"the tag is {tag!r}; expected the token id of the tag, or the list of ids that it is "
            "split into, for example tokenizer.encode('</think>', add_special_tokens=False)"
        )
    n = tokens.shape[1] - len(ids) + 1
    if n < 1:
        return torch.full((tokens.shape[0],), -1, dtype=torch.int64, device=tokens.device)
    match = torch.ones(tokens.shape[0], n, dtype=torch.bool, device=tokens.device)
    for shift, i in enumerate(ids):
        match &= (tokens[:, shift : shift + n] == i) & mask[:, shift : shift + n]
    return torch.where(match.any(1), match.int().argmax(1), -1)


def phase_masks(
    tokens: Tensor,
    think_end: int | Sequence[int],
    mask: Tensor,
    think_start: int | Sequence[int] | None = None,
) -> Phases:
    """Thinking before the first end tag, answer after it; without a tag all is thinking.

    Args:
        tokens: [B, T] int64.
        think_end: token id of the tag that ends thinking, or its ids.
        mask: [B, T] bool; True where the token counts, the end token of the answer included.
        think_start: tag that opens thinking; left out of the phase where the answer begins with
            it. None counts it as thinking, as the formula does.

    Returns:
        ``Phases``.

    Raises:
        InputError: shapes differ or the mask is not bool.
        ConfigurationError: a tag that is no list of token ids.

    Examples:
        >>> phases = phase_masks(torch.tensor([[4, 5, 9, 6]]), 9, torch.ones(1, 4).bool())
        >>> phases.think.int().tolist(), phases.answer.int().tolist(), phases.position.tolist()
        ([[1, 1, 0, 0]], [[0, 0, 0, 1]], [2])
    """
    check_mask(tokens, mask, "tokens")
    width = 1 if isinstance(think_end, int) else len(think_end or ())
    found = find_tag(tokens, think_end, mask)
    place = torch.arange(tokens.shape[1], device=tokens.device)
    end = torch.where(found < 0, tokens.shape[1], found)[:, None]
    think = mask & (place < end)
    answer = mask & (place >= end + width)
    if think_start is not None:
        opened = find_tag(tokens, think_start, mask)
        first = mask.int().argmax(1)
        size = 1 if isinstance(think_start, int) else len(think_start)
        inside = (place >= first[:, None]) & (place < first[:, None] + size)
        think = think & ~(inside & (opened == first)[:, None])
    return Phases(think, answer, found)


def check_mask(values: Tensor, mask: Tensor, name: str) -> None:
    """Reject a mask that is not bool [B, T] of the shape of the values.

    Raises:
        InputError: names the mask.
    """
    if mask.dtype != torch.bool or mask.shape != values.shape or values.ndim != 2:
        raise InputError(
            f"{name}: the mask has dtype {mask.dtype} and shape {tuple(mask.shape)}, the values "
            f"{tuple(values.shape)}; expected bool of the same shape [B, T]"
        )
