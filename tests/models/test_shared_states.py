"""Prompts read once for all their answers give the states and gradients of whole sequences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.models.causal_states import prompt_plan, states_in_buckets
from entropilot.models.shared_states import shared_states
from entropilot.models.transformer import SmallTransformer, TransformerConfig

PROMPTS = st.lists(st.integers(0, 8), min_size=1, max_size=6)


def network() -> SmallTransformer:
    config = TransformerConfig(9, width=16, layers=2, heads=2, context=14)
    return SmallTransformer.seeded(config, 0).double()


@settings(max_examples=40, deadline=None)
@given(st.lists(PROMPTS, min_size=1, max_size=3), st.data())
def test_states_and_gradients_are_those_of_whole_sequences(
    different: list[list[int]], data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, 7))
    owner = data.draw(st.lists(st.integers(0, len(different) - 1), min_size=n, max_size=n))
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 9, (n, 9), generator=draw)
    prompts = [different[i] for i in owner]
    model, found = network(), []
    for shared in (False, True):
        model.zero_grad()
        if not int(lengths.sum()):
            assert shared_states(model, prompt_plan(prompts), tokens, lengths).shape == (0, 16)
            return
        states = (
            shared_states(model, prompt_plan(prompts), tokens, lengths)
            if shared
            else states_in_buckets(model.hidden, prompts, tokens, lengths)
        )
        weight = torch.linspace(-1, 1, states.numel(), dtype=torch.float64).view_as(states)
        torch.autograd.backward((states * weight).sum())
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        found.append((states.detach(), grads))
    (plain, its), (ours, own) = found
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    assert len(its) == len(own)
    for a, b in zip(own, its, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_too_long_an_answer_is_named_and_padding_is_no_reason() -> None:
    model, tokens = network(), torch.ones(2, 12, dtype=torch.int64)
    plan = prompt_plan([[1] * 6, [1]])
    # 1 + 12 tokens fit where a prompt of 6 and an answer of 3 stand beside them
    assert shared_states(model, plan, tokens, torch.tensor([3, 12])).shape == (15, 16)
    with pytest.raises(InputError, match="a sequence has 17 tokens"):
        shared_states(model, plan, tokens, torch.tensor([12, 12]))
