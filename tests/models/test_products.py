"""Products in bfloat16: near, and only where they are asked for."""

from __future__ import annotations

import pytest
import torch

from entropilot.errors import ConfigurationError
from entropilot.models.loaders import load_model
from entropilot.models.products import products_in, rounded
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.language_policy import language_policy
from entropilot.policy.models import PolicyModel, SmallPolicy
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.training.measuring import measure

CONFIG = TransformerConfig(40, width=32, heads=2, context=16)


def policies(products: str) -> list[PolicyModel]:
    return [
        SmallPolicy(SmallTransformer.seeded(CONFIG, 0), products=products),
        language_policy(load_model("tiny"), products=products),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_trainer_and_sampler_agree_and_gradients_are_near(number: int) -> None:
    prompts, gradients = [[1, 2, 3], [4]], []
    for products in ("float32", "bfloat16"):
        policy = policies(products)[number]
        samples = sample_rollouts(policy, prompts, 8, max_tokens=6, eos=None, seed=0)
        asked = [prompts[i] for i in samples.prompt_index.tolist()]
        now = measure(policy, asked, samples.tokens, samples.mask)
        gap = float((now.logprob.detach() - samples.logprob).abs().mean())
        assert gap < (1e-5 if products == "float32" else 0.05)
        assert now.logprob.dtype == torch.float32
        fixed = torch.arange(12).reshape(2, 6)
        measure(policy, prompts, fixed, fixed >= 0).logprob.sum().backward()
        grads = [p.grad for p in policy.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in grads)
        gradients.append(torch.cat([g.flatten() for g in grads]))
    exact, rough = gradients
    assert not torch.equal(exact, rough)
    assert torch.nn.functional.cosine_similarity(exact, rough, dim=0) > 0.99


def test_twin_leaves_the_network_alone_and_keeps_the_head() -> None:
    model = SmallTransformer.seeded(CONFIG, 0)
    twin = rounded(model)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert twin.head.weight is model.head.weight
    tokens = torch.tensor([[1, 2, 3]])
    error = (twin(tokens) - model(tokens)).abs().max()
    assert 0 < error < 0.1


def test_attention_stays_in_float32_in_training() -> None:
    kinds = []
    true = torch.nn.functional.scaled_dot_product_attention

    def spy(x: torch.Tensor) -> torch.Tensor:
        kinds.append(x.dtype)
        return x

    q = torch.randn(1, 1, 4, 8, requires_grad=True)
    with products_in("bfloat16", torch.device("cpu")):
        y = true(q.bfloat16(), q.bfloat16(), q.bfloat16(), is_causal=True)
    y.register_hook(spy)
    y.sum().backward()
    exact = true(*(q.bfloat16().float(),) * 3, is_causal=True)
    assert kinds == [torch.bfloat16]
    assert torch.equal(y, exact.bfloat16())


def test_unknown_kind_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="unknown kind of products 'int8'"):
        SmallPolicy(SmallTransformer.seeded(CONFIG, 0), products="int8")
