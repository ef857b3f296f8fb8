"""The decoder of the Llama kind gives the numbers of transformers, whatever rows do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.models.causal_decoding import CausalDecoder
from entropilot.models.decoding import Decoder
from entropilot.models.llama_decoding import LlamaDecoder, can_decode
from entropilot.models.loaders import load_model
from entropilot.models.tiny import tiny_parts
from entropilot.policy.language_policy import language_policy

SHOTS = list(range(60, 85))  # long enough to be read once for all prompts


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


def adapted() -> Any:
    policy = language_policy(load_model("tiny"), lora_rank=2)
    with torch.no_grad():
        for n, p in policy.named_parameters():
            if "lora_B" in n:
                torch.nn.init.normal_(p, std=0.1)
    return policy.causal


def walk(decoder: Decoder, prompts: list[list[int]]) -> list[Tensor]:
    """Logits along a path with repeats, leaving rows and several steps."""
    with torch.inference_mode():
        found = [decoder.prefill(prompts, 6)]
        decoder.repeat(2)
        n = 2 * len(prompts)
        found.append(decoder.step(torch.arange(n) + 3))
        decoder.keep(torch.tensor([n - 1, 1]))
        found += [decoder.step(torch.tensor([5, 9])) for _ in range(3)]
    return found


@pytest.mark.parametrize("make", [lambda: tiny_parts()[0], qwen, adapted])
@pytest.mark.parametrize(
    "prompts", [[[7, 8]], [[1, 2, 3], [4]], [[*SHOTS[:20], 1, 2, 3], [*SHOTS[:20], 4]]]
)
def test_logits_are_those_of_transformers(make: Any, prompts: list[list[int]]) -> None:
    model = make()
    if model.config.vocab_size < 257:
        prompts = [[i % 50 for i in row] for row in prompts]
    assert can_decode(model)
    for found, expected in zip(
        walk(LlamaDecoder(model), prompts), walk(CausalDecoder(model), prompts), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_products_are_near() -> None:
    model = tiny_parts()[0]
    prompts = [[1, 2, 3], [4]]
    rough = walk(LlamaDecoder(model, products="bfloat16"), prompts)
    exact = walk(LlamaDecoder(model), prompts)
    error = max(
        float((a.log_softmax(-1) - b.log_softmax(-1)).abs().max())
        for a, b in zip(rough, exact, strict=True)
    )
    assert 0 < error < 0.5  # logits of this model reach 10


def test_full_cache_is_an_error() -> None:
    decoder = LlamaDecoder(tiny_parts()[0])
    with torch.inference_mode():
        decoder.prefill([[1]], 1)
        decoder.step(torch.tensor([1]))
        with pytest.raises(InputError, match="made for 2 tokens"):
            decoder.step(torch.tensor([1]))


def test_other_models_are_left_to_transformers() -> None:
    model = tiny_parts()[0]
    assert not can_decode(model.to(torch.bfloat16))
