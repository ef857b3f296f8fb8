"""Packed states of the Llama kind are those of transformers, with their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.models.causal_states import answer_states
from entropilot.models.llama_states import can_pack, packed_states
from entropilot.models.loaders import load_model
from entropilot.models.packed_layers import add_norm, swiglu
from entropilot.policy.language_policy import language_policy


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60, hidden_size=40, intermediate_size=70, num_hidden_layers=3, mlp_bias=True,
        num_attention_heads=5, num_key_value_heads=5, initializer_range=0.3, head_dim=6,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def qwen() -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=60, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.4,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    for layer in model.model.layers:  # biases are 0 at first
        torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    return model


# Groups and single answers, empty and one-token ones, far apart in length: several buckets.
PROMPTS = [[1, 2, 3, 4], [1, 2, 3, 4], [5, 6], [7, 8, 9, 1, 2], [1, 2, 3, 4], [5, 6], [7]]
LENGTHS = torch.tensor([5, 90, 0, 1, 1, 7, 1])
CASES = {
    "mixed": (PROMPTS, LENGTHS),
    "one": (PROMPTS[:1], LENGTHS[:1]),
    "only first tokens": (PROMPTS, torch.ones(7, dtype=torch.int64)),
    "a prompt without answers": (PROMPTS, torch.tensor([0, 0, 3, 0, 0, 4, 2])),
}


def tokens_of(lengths: Tensor) -> Tensor:
    return torch.randint(
        0, 60, (len(lengths), int(lengths.max())), generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("make", [llama, qwen])
@pytest.mark.parametrize("case", list(CASES))
def test_states_and_gradients_are_those_of_transformers(make: Any, case: str) -> None:
    model = make()
    prompts, lengths = CASES[case]
    tokens = tokens_of(lengths)
    expected = answer_states(model.base_model, prompts, tokens, lengths, share=False)
    found = packed_states(model.base_model, prompts, tokens, lengths)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    slope = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    trained = list(model.base_model.parameters())
    true = torch.autograd.grad(expected, trained, slope)
    got = torch.autograd.grad(found, trained, slope)
    for a, b in zip(got, true, strict=True):
        assert (a - b).abs().max() <= 2e-5 * b.abs().max()


def test_rounded_products_are_near_and_frozen_weights_stay_out() -> None:
    model = llama()
    model.requires_grad_(False)
    weight = model.base_model.layers[0].mlp.up_proj.weight.requires_grad_()
    tokens = tokens_of(LENGTHS)
    gradients = []
    for products in ("float32", "bfloat16"):
        states = packed_states(model.base_model, PROMPTS, tokens, LENGTHS, products=products)
        slope = torch.randn(states.shape, generator=torch.Generator().manual_seed(2))
        gradients.append(torch.autograd.grad(states, weight, slope)[0].flatten())
    exact, rough = gradients
    assert not torch.equal(exact, rough)
    assert torch.nn.functional.cosine_similarity(exact, rough, dim=0) > 0.99
    assert all(p.grad is None for p in model.parameters())


def test_equal_inputs_have_equal_bits() -> None:
    model, tokens = llama(), tokens_of(LENGTHS)
    runs = []
    for _ in range(2):
        states = packed_states(model.base_model, PROMPTS, tokens, LENGTHS)
        runs.append(torch.autograd.grad(states.sum(), list(model.base_model.parameters())))
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_what_can_be_packed() -> None:
    model = llama()
    assert can_pack(model, PROMPTS, LENGTHS)
    assert not can_pack(model, [[1] * 200] * 7, LENGTHS)  # prompts that attention reads seven times
    adapted = language_policy(load_model("tiny"), lora_rank=2)
    assert not can_pack(adapted.causal, PROMPTS, LENGTHS)
    assert not can_pack(llama().double(), PROMPTS, LENGTHS)


def test_norm_and_gate_against_plain_operators() -> None:
    g = torch.Generator().manual_seed(0)
    x, more, both = (torch.randn(70, n, generator=g).double() for n in (10, 10, 12))
    weight = torch.randn(10, generator=g).double()
    both[0, 0], both[0, 1] = -200.0, 200.0  # beyond the range of the exponential

    def plain(x: Tensor, more: Tensor, weight: Tensor, both: Tensor) -> Tensor:
        total = x + more
        normed = weight * total * (total.square().mean(-1, keepdim=True) + 1e-3).rsqrt()
        gate, up = both.chunk(2, -1)
        gated = torch.nn.functional.silu(gate) * up
        return torch.cat([total.sin(), normed.sin(), gated.sin()], -1)

    def compiled(x: Tensor, more: Tensor, weight: Tensor, both: Tensor) -> Tensor:
        total, normed = add_norm(x, more, weight, 1e-3)
        return torch.cat([total.sin(), normed.sin(), swiglu(both).sin()], -1)

    results = []
    for call, kind in ((plain, torch.float64), (compiled, torch.float32)):
        inputs = [t.to(kind).requires_grad_() for t in (x, more, weight, both)]
        y = call(*inputs)
        results.append([y, *torch.autograd.grad(y.sum(), inputs)])
    for got, true in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got.double(), true, rtol=1e-4, atol=1e-4)
