"""Gradients from known slopes are those of autograd, with and without a fused head."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from entropilot.models.loaders import load_model
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.language_policy import language_policy
from entropilot.policy.models import PolicyModel, SmallPolicy
from entropilot.policy.training import measuring
from entropilot.policy.training.measuring import measure, send_back

MASK = torch.tensor([[True, True, True], [True, False, False]])
TOKENS = torch.tensor([[4, 5, 6], [7, 0, 0]])
PROMPTS = [[1, 2], [3]]


def small() -> PolicyModel:
    config = TransformerConfig(40, width=16, heads=2, context=8, head_bias=True)
    return SmallPolicy(SmallTransformer.seeded(config, 0))


POLICIES: dict[str, Any] = {
    "small": small,
    "tied": lambda: language_policy(load_model("tiny")),
    "adapter": lambda: language_policy(load_model("tiny"), lora_rank=2),
}


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize("names", [("logprob",), ("logprob", "entropy", "nucleus_entropy")])
def test_known_slopes_give_the_gradient_of_autograd(
    kind: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    slopes = {name: torch.randn(2, 3, generator=torch.Generator().manual_seed(3)) for name in names}
    found = []
    for fused in (False, True):
        monkeypatch.setattr(measuring, "STORED_VOCABULARY", 0 if fused else 10**6)
        policy = POLICIES[kind]()
        if fused:
            for _ in range(2):  # gradients add up
                send_back(policy, PROMPTS, TOKENS, MASK, slopes, temperature=0.7)
        else:
            now = measure(policy, PROMPTS, TOKENS, MASK, wants=names, temperature=0.7)
            sum((2 * now.get(n) * s).sum() for n, s in slopes.items()).backward()
        found.append({n: p.grad for n, p in policy.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[1][name] / scale, gradient / scale, rtol=0, atol=2e-6)


def test_no_slopes_change_nothing() -> None:
    policy = small()
    send_back(policy, PROMPTS, TOKENS, MASK, {})
    assert all(p.grad is None for p in policy.parameters())
