"""Decoding of Hugging Face causal language models, through their cache of keys and values.

Prompts of different length are padded on the left; the mask hides the padding and position ids skip
it, so that it changes nothing. What all prompts share is read once with one row.

Legend: P prompts, B rows, V vocabulary, L slots of the cache.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.models.decoding import check_prompts, left_padded
from entropilot.models.roomy_cache import give_room, keep_rows

#: A shared beginning of fewer tokens isn't worth a pass of its own.
SHARED_TOKENS: Final = 16


@lru_cache(maxsize=64)
def argument_names(kind: Any) -> frozenset[str]:
    """Names that the ``forward`` of a class takes; transformers renames them now and then.

    Examples:
        >>> "input" in argument_names(torch.nn.Linear)
        True
    """
    return frozenset(inspect.signature(kind.forward).parameters)


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The cache as an argument of a model's ``forward``, under its old or its new name."""
    # renamed in transformers 5.24
    kind: Any = type(model)
    name = "cache" if "cache" in argument_names(kind) else "past_key_values"
    return {name: cache}


def forward(
    model: Any,
    tokens: Tensor,
    *,
    cache: Any,
    position_ids: Tensor | None,
    attention_mask: Tensor | None,
) -> Tensor:
    """Logits [B, V] after the last given token; the cache grows in place.

    Examples:
        >>> from transformers import DynamicCache
        >>> from entropilot.models.tiny import tiny_parts
        >>> model, cache = tiny_parts()[0], DynamicCache()
        >>> token = torch.tensor([[65]])
        >>> forward(model, token, cache=cache, position_ids=None, attention_mask=None).shape
        torch.Size([1, 257])
    """
    out = model(
        input_ids=tokens,
        position_ids=position_ids,
        attention_mask=attention_mask,
        use_cache=True,
        logits_to_keep=1,  # the head on prompt positions would cost more than the prompt itself
        **cache_argument(model, cache),
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def common_prefix(ids: Sequence[Sequence[int]]) -> list[int]:
    """Tokens that all prompts begin with; at least one token of each prompt stays outside.

    Examples:
        >>> common_prefix([[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 9]])
        [1, 2]
    """
    rows = [list(row) for row in ids]
    low, high = min(rows), max(rows)
    longest = min(map(len, rows)) - 1
    n = 0
    while n < longest and low[n] == high[n]:
        n += 1
    return low[:n]


@dataclass(frozen=True)
class Prefix:
    """Keys and values of the shared part of all prompts, computed once with batch size 1.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> with torch.inference_mode():
        ...     prefix = Prefix.of(tiny_parts()[0], [65, 66])
        >>> prefix.length
        2
    """

    length: int
    cache: Any

    @classmethod
    def of(cls, model: Any, shared: Sequence[int]) -> Prefix:
        """Run a causal model once over the shared tokens; none are fine."""
        from transformers import DynamicCache

        known = inspect.signature(DynamicCache.__init__).parameters
        cache = DynamicCache(config=model.config) if "config" in known else DynamicCache()
        if shared:
            tokens = torch.tensor([list(shared)], device=model.device)
            forward(model, tokens, cache=cache, position_ids=None, attention_mask=None)
        return cls(len(shared), cache)

    def repeated(self, n: int) -> Any:
        """A copy for n rows."""
        cache = copy.deepcopy(self.cache)
        if self.length and n > 1:
            cache.batch_repeat_interleave(n)
        return cache


class CausalDecoder:
    """Decoding of a transformers causal language model.

    Args:
        model: a causal language model in evaluation mode.
        n_vocab: outcomes that count; columns of the head beyond it are padding. None: all.
        prefix: of the tokens that all prompts begin with; None means it is found at each prefill.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> decoder = CausalDecoder(tiny_parts()[0])
        >>> with torch.inference_mode():
        ...     first = decoder.prefill([[72, 105], [65]], max_tokens=2)
        ...     decoder.repeat(2)
        ...     second = decoder.step(torch.tensor([1, 2, 3, 4]))
        >>> first.shape, second.shape
        (torch.Size([2, 257]), torch.Size([4, 257]))
    """

    def __init__(
        self, model: Any, *, n_vocab: int | None = None, prefix: Prefix | None = None
    ) -> None:
        self.model = model
        self.prefix = prefix
        self._n_vocab = int(n_vocab or model.config.get_text_config().vocab_size)
        self.cache: Any = None
        self.mask: Tensor | None = None  # [B, L] 1 where a slot counts; None: all do
        self.position = torch.zeros(0)  # [B, 1] of the next token
        self.max_tokens = 0

    @property
    def n_vocab(self) -> int:
        """V, outcomes that count."""
        return self._n_vocab

    @property
    def context(self) -> int | None:
        """Longest sequence, tokens, where the configuration says it."""
        known: int | None = getattr(
            self.model.config.get_text_config(), "max_position_embeddings", None
        )
        return known

    def prefill(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Tensor:
        """Read prompts; see ``Decoder``."""
        check_prompts(prompts)
        prefix = self.prefix
        if prefix is None:
            shared = common_prefix(prompts) if len(prompts) > 1 else []
            prefix = Prefix.of(self.model, shared if len(shared) >= SHARED_TOKENS else [])
        own = [row[prefix.length :] for row in prompts]
        tokens, padding = (x.to(self.model.device) for x in left_padded(own))
        width = tokens.shape[1]
        position = (torch.arange(width, device=tokens.device) - padding[:, None]).clamp(min=0)
        self.mask = None
        if bool(padding.any()):
            here = (torch.arange(width, device=tokens.device) >= padding[:, None]).long()
            self.mask = torch.cat([here.new_ones(len(own), prefix.length), here], -1)
        self.cache = prefix.repeated(len(own))
        self.position = (prefix.length + width - padding)[:, None]
        self.max_tokens = max_tokens
        mask = self.mask
        if mask is None and prefix.length:  # more than one token after others: say what is there
            mask = tokens.new_ones(len(own), prefix.length + width)
        return self._logits(tokens, prefix.length + position, mask)

    def repeat(self, n: int) -> None:
        """Repeat each row n times; see ``Decoder``."""
        give_room(self.cache, n, self.max_tokens)
        self.position = self.position.repeat_interleave(n, 0)
        if self.mask is not None:
            self.mask = self.mask.repeat_interleave(n, 0)

    def step(self, tokens: Tensor) -> Tensor:
        """Append a token to each row; see ``Decoder``."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], -1)
        logits = self._logits(tokens[:, None], self.position, self.mask)
        self.position = self.position + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """Let rows leave; see ``Decoder``."""
        keep_rows(self.cache, rows)
        self.position = self.position[rows]
        if self.mask is not None:
            self.mask = self.mask[rows]

    def _logits(self, tokens: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        logits = forward(
            self.model, tokens, cache=self.cache, position_ids=position, attention_mask=mask
        )
        return logits[:, : self._n_vocab]
