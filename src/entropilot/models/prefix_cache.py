"""Keys and values of texts, kept from call to call: only tokens that are new are read.

A search asks for the same texts again and again, each time a step longer. Here a text that begins
with one of the last call is read on from there, so that a call costs its new tokens and a copy of
what was known. Results are those of reading each text whole, up to rounding.

Legend: N texts, L tokens of the longest known, S of the longest new part, H heads, d numbers a
head, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from entropilot.models.decoding import TransformerDecoder, check_prompts
from entropilot.models.transformer import SmallTransformer

Tokens = tuple[int, ...]


class PrefixCache:
    """What a transformer made of the texts of the last call.

    Args:
        model: the transformer. Call ``forget`` after its weights have changed.

    Examples:
        >>> from entropilot.models.transformer import TransformerConfig
        >>> model = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> cache = PrefixCache(model)
        >>> _ = cache.read([(1, 2)])
        >>> hidden = cache.read([(1, 2, 3), (1, 2, 4, 5)])
        >>> cache.n_read
        5
        >>> torch.allclose(hidden[0], model.hidden(torch.tensor([[1, 2, 3]]))[0, -1], atol=1e-5)
        True
    """

    def __init__(self, model: SmallTransformer) -> None:
        self.model = model
        self.n_read = 0  # tokens that went through the network, all calls together
        self.forget()

    def forget(self) -> None:
        """Drop all texts."""
        self.places: dict[Tokens, int] = {}
        self.keys: list[Tensor] = []  # one a layer, [N, H, L, d], padded on the left
        self.values: list[Tensor] = []
        self.lengths = torch.zeros(0, dtype=torch.int64)  # [N]
        self.last = torch.zeros(0)  # [N, D] hidden states of the last tokens

    @torch.inference_mode()
    def read(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states [N, D] at the last token of each text; the texts of before are dropped.

        Args:
            texts: token ids, none empty.

        Raises:
            InputError: no text, an empty one, or one longer than the context.
        """
        check_prompts(texts)
        whole = [tuple(text) for text in texts]
        self.model.check_length(max(map(len, whole)))
        device = self.model.head.weight.device
        found = [self._longest_known(text) for text in whole]
        parent = torch.tensor([place for place, _ in found], device=device)
        known = torch.tensor([n for _, n in found], device=device)
        own = [text[n:] for text, (_, n) in zip(whole, found, strict=True)]
        size = torch.tensor([len(part) for part in own], device=device)
        self.n_read += int(size.sum())
        old = None if not self.places else self.last[parent]
        hidden, keys, values = self._run(own, parent, known)
        last = hidden.gather(1, (size - 1).clamp(min=0)[:, None, None].expand(-1, 1, *self._width))
        last = last[:, 0]
        if old is not None:
            last = torch.where(size[:, None] > 0, last, old)
        source, width = self._source(known, size)
        self.keys = [_moved(x, source, width) for x in keys]
        self.values = [_moved(x, source, width) for x in values]
        self.lengths, self.last = known + size, last
        self.places = {text: place for place, text in enumerate(whole)}
        return last

    @property
    def _width(self) -> tuple[int]:
        return (self.model.config.width,)

    @property
    def _n_slots(self) -> int:
        """L."""
        return self.keys[0].shape[2] if self.keys else 0

    def _longest_known(self, text: Tokens) -> tuple[int, int]:
        """Place and length of the longest known text that this one begins with; (0, 0) if none."""
        for n in sorted({len(other) for other in self.places}, reverse=True):
            if n <= len(text) and text[:n] in self.places:
                return self.places[text[:n]], n
        return 0, 0

    def _run(
        self, own: Sequence[Tokens], parent: Tensor, known: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Hidden states [N, S, D] of the new tokens; keys and values [N, H, L + S, d] a layer."""
        device, n_slots = parent.device, self._n_slots
        width = max(1, *map(len, own))
        tokens = torch.tensor([[*part, *[0] * (width - len(part))] for part in own], device=device)
        place = torch.arange(width, device=device)
        position = (known[:, None] + place).clamp(max=self.model.config.context - 1)
        seen = None
        if n_slots:  # new tokens are padded on the right, where causal attention never looks
            before = torch.arange(n_slots, device=device) >= n_slots - known[:, None]
            causal = (place <= place[:, None]).expand(len(own), width, width)
            seen = torch.cat([before[:, None].expand(-1, width, -1), causal], 2)[:, None]
        keys, values = [], []

        def attend(layer: int, qkv: Tensor) -> Tensor:
            q, k, v = self.model.split_heads(qkv)
            if n_slots:
                k = torch.cat([self.keys[layer][parent], k], 2)
                v = torch.cat([self.values[layer][parent], v], 2)
            keys.append(k)
            values.append(v)
            y = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=seen, is_causal=seen is None
            )
            return y.transpose(1, 2).reshape(len(own), width, -1)

        hidden = self.model.run(self.model.embed(tokens, position), attend)
        return hidden, keys, values

    def _source(self, known: Tensor, size: Tensor) -> tuple[Tensor, int]:
        """Which of the L + S slots goes where, so that the padding stands on the left again."""
        n_slots, total = self._n_slots, known + size
        width = int(total.max())
        place = torch.arange(width, device=known.device) - (width - total)[:, None]
        old = place + n_slots - known[:, None]
        new = n_slots + place - known[:, None]
        return torch.where(place < known[:, None], old, new).clamp(min=0), width


class RememberingDecoder(TransformerDecoder):
    """A decoder that reads of its prompts only what the last prompts did not hold.

    Args:
        model: the transformer. Call ``cache.forget`` after its weights have changed.

    Examples:
        >>> from entropilot.models.transformer import TransformerConfig
        >>> decoder = RememberingDecoder(SmallTransformer.seeded(TransformerConfig(9), 0))
        >>> with torch.inference_mode():
        ...     _ = decoder.prefill([[1, 2]], max_tokens=4)
        ...     logits = decoder.prefill([[1, 2, 3]], max_tokens=4)
        >>> logits.shape, decoder.cache.n_read
        (torch.Size([1, 9]), 3)
    """

    def __init__(self, model: SmallTransformer) -> None:
        super().__init__(model)
        self.cache = PrefixCache(model)

    def prefill(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> Tensor:
        """Read prompts; see ``Decoder``."""
        check_prompts(prompts)
        self.model.check_length(max(map(len, prompts)) + max_tokens)
        last = self.cache.read(prompts)
        # copies: the decoder writes into its own, and lets rows leave
        self.keys = [x.clone() for x in self.cache.keys]
        self.values = [x.clone() for x in self.cache.values]
        self.has_room = False
        self.n_filled = self.values[0].shape[2]
        self.n_slots = self.n_filled + max_tokens
        self.padding = self.n_filled - self.cache.lengths
        logits: Tensor = self.model.head(last)
        return logits


def _moved(x: Tensor, source: Tensor, width: int) -> Tensor:
    """[N, H, width, d] from [N, H, L + S, d]."""
    if width == x.shape[2] and bool((source == torch.arange(width, device=x.device)).all()):
        return x
    return x.gather(2, source[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
