"""Sampling single steps and reading values with the project's own networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.decoding import TransformerDecoder
from entropilot.models.prefix_cache import RememberingDecoder
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.search_steps import (
    network_value,
    remembering_value,
    step_sampler,
    value_auc,
)
from entropilot.policy.value_network import ValueNetwork
from entropilot.policy.value_search import value_beam_search

STEP, END = 7, 8


def network() -> SmallTransformer:
    return SmallTransformer.seeded(TransformerConfig(9, width=16, heads=2, context=40), 0)


def test_steps_end_where_they_should_and_repeat_exactly() -> None:
    decoder = TransformerDecoder(network())
    generate = step_sampler(decoder, step_ends={STEP}, end=END, max_tokens=6, seed=3)
    texts = [(1, 2), (3,), (1, 2)]
    found = generate(texts, 8)
    assert [len(steps) for steps in found] == [8, 8, 8]
    for step in (s for steps in found for s in steps):
        assert not {STEP, END} & set(step.tokens[:-1])
        assert step.ended == (step.tokens[-1] == END)
        assert step.tokens[-1] in (STEP, END) or len(step.tokens) == 6
    assert found == generate(texts, 8)
    assert found[0] != found[2]  # the same text twice in a call has draws of its own
    assert found[1] == generate([(3,)], 8)[0]


def test_values_are_those_of_the_last_token_whatever_the_padding() -> None:
    value = ValueNetwork(network())
    torch.nn.init.normal_(value.weight, generator=torch.Generator().manual_seed(0))
    texts = [(1, 2, 3), (4,), (5, 6)]
    alone = [float(value(torch.tensor([text]))[0, -1].detach()) for text in texts]
    for rows in (1, 2, 99):
        assert network_value(value, rows)(texts) == pytest.approx(alone, abs=1e-5)  # float32


def test_a_search_runs_through_both() -> None:
    generate = step_sampler(
        TransformerDecoder(network()), step_ends={STEP}, end=END, max_tokens=5, seed=0
    )
    results = value_beam_search(
        generate, network_value(ValueNetwork(network())), [[1], [2]], beam=2, max_steps=4
    )
    for prompt, result in zip((1, 2), results, strict=True):
        assert result.tokens[0] == prompt
        assert result.ended == (result.tokens[-1] == END)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_search_that_remembers_finds_what_a_plain_one_finds(beam: int) -> None:
    policy, value = network(), ValueNetwork(network())
    torch.nn.init.normal_(value.weight, generator=torch.Generator().manual_seed(0))
    prompts = [[1, 2, 3], [4], [5, 6]]
    options: dict[str, Any] = {"step_ends": {STEP}, "end": END, "max_tokens": 5, "seed": 2}
    found = []
    remembering = RememberingDecoder(policy)
    for decoder, scorer in (
        (TransformerDecoder(policy), network_value(value)),
        (remembering, remembering_value(value)),
    ):
        generate = step_sampler(decoder, **options, max_length=30)
        found.append(value_beam_search(generate, scorer, prompts, beam, max_steps=8))
    for plain, ours in zip(*found, strict=True):
        assert ours.tokens == plain.tokens
        assert ours.ended == plain.ended
        assert ours.n_candidates == plain.n_candidates
        assert ours.value == pytest.approx(plain.value, abs=1e-4)  # float32
    longest = sum(len(result.tokens) for result in found[0])
    assert remembering.cache.n_read < (beam + 1) * longest


def test_the_auc_of_a_value_warns_where_it_is_weak() -> None:
    texts, right = [(k,) for k in range(8)], [False] * 4 + [True] * 4
    assert value_auc(lambda found: [t[0] for t in found], texts, right) == 1
    with pytest.warns(UserWarning, match=r"an AUC of 0\.00 only"):
        assert value_auc(lambda found: [-t[0] for t in found], texts, right) == 0
    assert math.isnan(value_auc(lambda found: [0.0] * len(found), texts, [True] * 8))
    with pytest.raises(InputError, match="8 texts and 1 verdicts"):
        value_auc(lambda found: [0.0], texts, [True])


def test_a_text_without_room_is_cut_where_it_is() -> None:
    options = {"step_ends": {STEP}, "end": END, "max_tokens": 6, "seed": 0}
    generate = step_sampler(TransformerDecoder(network()), **options, max_length=8)  # type: ignore[arg-type]
    long, short = generate([(1,) * 3, (1, 2)], 2)
    assert [(step.tokens, step.ended) for step in long] == [((), True)] * 2
    assert all(step.tokens for step in short)


def test_bad_settings_are_named() -> None:
    for ends in (set(), {STEP, END}):
        with pytest.raises(ConfigurationError, match="expected at least one step end"):
            step_sampler(
                TransformerDecoder(network()), step_ends=ends, end=END, max_tokens=5, seed=0
            )
