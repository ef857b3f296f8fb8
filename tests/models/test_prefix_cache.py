"""Reading texts on from what is known equals reading them whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.models.decoding import TransformerDecoder
from entropilot.models.prefix_cache import PrefixCache, RememberingDecoder
from entropilot.models.transformer import SmallTransformer, TransformerConfig

TOKENS = st.lists(st.integers(0, 8), min_size=1, max_size=4)


def network() -> SmallTransformer:
    config = TransformerConfig(9, width=16, layers=2, heads=2, context=24)
    return SmallTransformer.seeded(config, 0)


def whole(model: SmallTransformer, text: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return model.hidden(torch.tensor([text]))[0, -1]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(TOKENS, min_size=1, max_size=4),
    st.lists(st.lists(st.tuples(st.integers(0, 5), TOKENS), min_size=1, max_size=5), max_size=4),
)
def test_texts_read_in_steps_have_the_states_of_whole_texts(
    prompts: list[list[int]], rounds: list[list[tuple[int, list[int]]]]
) -> None:
    model = network()
    cache = PrefixCache(model)
    texts = [tuple(prompt) for prompt in prompts]
    for step in [None, *rounds]:
        if step is not None:  # some texts grow, some stay, some are dropped, some are new
            texts = [
                (*texts[i], *more) if i < len(texts) else tuple(more) for i, more in step
            ] + texts[:1]
        found = cache.read(texts)
        for text, hidden in zip(texts, found, strict=True):
            torch.testing.assert_close(hidden, whole(model, text), atol=2e-5, rtol=1e-4)


def test_only_new_tokens_are_read() -> None:
    cache = PrefixCache(network())
    cache.read([(1, 2, 3), (4,)])
    assert cache.n_read == 4
    cache.read([(1, 2, 3, 5), (1, 2, 3, 6, 7), (4,), (8, 8)])
    assert cache.n_read == 4 + 1 + 2 + 0 + 2
    cache.forget()
    cache.read([(1, 2, 3)])
    assert cache.n_read == 9 + 3


def test_a_remembering_decoder_decodes_as_a_plain_one() -> None:
    model = network()
    ours, plain = RememberingDecoder(model), TransformerDecoder(model)
    with torch.inference_mode():
        for prompts in ([[1, 2], [3]], [[1, 2, 5, 6], [1, 2, 7], [3, 4]]):
            a, b = (decoder.prefill(prompts, 4) for decoder in (ours, plain))
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
            for decoder in (ours, plain):
                decoder.repeat(2)
            for token in (3, 4):
                tokens = torch.full((2 * len(prompts),), token)
                a, b = (decoder.step(tokens) for decoder in (ours, plain))
                torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
            for decoder in (ours, plain):
                decoder.keep(torch.tensor([2, 1]))
            a, b = (decoder.step(torch.tensor([5, 6])) for decoder in (ours, plain))
            torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


def test_bad_texts_are_named() -> None:
    cache = PrefixCache(network())
    with pytest.raises(InputError, match="no prompts"):
        cache.read([])
    with pytest.raises(InputError, match="prompt 1 has no tokens"):
        cache.read([(1,), ()])
    with pytest.raises(InputError, match="a sequence has 25 tokens"):
        cache.read([(1,) * 25])
