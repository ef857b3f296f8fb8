"""Policies of every kind: states and gradients at the tokens that count, as read one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.models.loaders import load_model
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.language_policy import language_policy
from entropilot.policy.models import PolicyModel, SmallPolicy
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.training.measuring import measure

# ends at different places, tokens of a tool in between, at the start, and a row without any
MASK = torch.tensor(
    [[1, 1, 1, 1, 1], [1, 0, 0, 1, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
).bool()
TOKENS = torch.randint(1, 30, MASK.shape, generator=torch.Generator().manual_seed(0))
SHORT = [[1, 2], [1, 2], [3], [4, 5, 6], [3]]
LONG = [[*range(1, 25), *prompt] for prompt in SHORT]  # a beginning that is worth sharing
SAME = [[*range(1, 9)]] * 5  # one prompt for all


def small() -> tuple[PolicyModel, Callable[[Tensor], Tensor]]:
    model = SmallTransformer.seeded(TransformerConfig(30, width=24, heads=2, context=40), 1)
    return SmallPolicy(model), model.hidden


def causal() -> tuple[PolicyModel, Callable[[Tensor], Tensor]]:
    policy = language_policy(load_model("tiny"))
    return policy, lambda ids: policy.causal.base_model(input_ids=ids).last_hidden_state


KINDS = [pytest.param(make, id=make.__name__) for make in (small, causal)]


def naive(hidden: Callable[[Tensor], Tensor], prompts: list[list[int]]) -> Tensor:
    """Each row by itself, read to its end; then the states before the tokens that count."""
    rows = []
    for prompt, tokens, mask in zip(prompts, TOKENS, MASK, strict=True):
        states = hidden(torch.tensor([[*prompt, *tokens.tolist()]]))[0, len(prompt) - 1 : -1]
        rows.append(states[mask])
    return torch.cat(rows)


def gradients(policy: PolicyModel, states: Tensor) -> dict[str, Tensor]:
    policy.zero_grad()
    weight = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    (states * weight).sum().backward()
    return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("prompts", [SHORT, LONG, SAME], ids=["short", "long", "same"])
def test_states_and_gradients_are_those_of_the_naive_way(make: Any, prompts: Any) -> None:
    policy, hidden = make()
    states, expected = policy.response_hidden(prompts, TOKENS, MASK), naive(hidden, prompts)
    torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
    found, wanted = gradients(policy, states), gradients(policy, expected)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():  # sums over tokens in another order
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name] / scale, gradient / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", KINDS)
def test_tokens_after_the_last_that_counts_may_be_anything(make: Any) -> None:
    policy, _ = make()
    after = MASK.flip(1).cumsum(1).flip(1) == 0
    other = torch.where(after, 29, TOKENS)
    assert not torch.equal(other, TOKENS)
    assert torch.equal(
        policy.response_hidden(SHORT, other, MASK), policy.response_hidden(SHORT, TOKENS, MASK)
    )


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampler_and_trainer_agree(make: Any, temperature: float) -> None:
    policy, _ = make()
    samples = sample_rollouts(
        policy, SHORT[2:], 3, max_tokens=8, eos=(0, 7, 9), seed=1, temperature=temperature
    )
    prompts = [SHORT[2:][i] for i in samples.prompt_index.tolist()]
    with torch.no_grad():
        now = measure(policy, prompts, samples.tokens, samples.mask, temperature=temperature)
    assert not samples.mask.all()
    for mine, theirs in ((now.logprob, samples.logprob), (now.entropy, samples.entropy)):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-5)
