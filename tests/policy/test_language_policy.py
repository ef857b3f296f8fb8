"""A language model as a policy: the same states by every way, and only what is trained changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, MissingExtraError, ModelError
from entropilot.models.loaders import load_model
from entropilot.policy.language_policy import LanguagePolicy, language_policy
from entropilot.policy.models import PolicyModel
from entropilot.policy.training.measuring import measure


def batch() -> tuple[list[list[int]], Tensor, Tensor]:
    """Few-shot prompts of different length, with a long common beginning, four answers each."""
    g = torch.Generator().manual_seed(0)
    shots = torch.randint(256, (40,), generator=g).tolist()
    prompts = [[*shots[:n], n] for n in (20, 33, 40) for _ in range(4)]
    tokens = torch.randint(256, (12, 9), generator=g)
    lengths = torch.randint(1, 10, (12,), generator=g)
    return prompts, tokens, torch.arange(9) < lengths[:, None]


def naive(policy: LanguagePolicy, prompts: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    """Prompt and answer of each row, one by one, without cache or padding."""
    rows = []
    for prompt, row, keep in zip(prompts, tokens, mask, strict=True):
        whole = torch.tensor([[*prompt, *row[keep].tolist()]])[:, :-1]
        states = policy.causal(input_ids=whole, output_hidden_states=True).hidden_states[-1]
        rows.append(states[0, len(prompt) - 1 :])
    return torch.cat(rows)


def gradients(policy: PolicyModel, states: Tensor) -> dict[str, Tensor]:
    policy.zero_grad()
    weight = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    (states * weight).sum().backward()
    return {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("options", [{}, {"lora_rank": 3}, {"checkpoint_layers": True}])
@pytest.mark.parametrize("alone", [False, True])
def test_states_and_gradients_are_those_of_the_naive_way(
    options: dict[str, Any], alone: bool
) -> None:
    policy = language_policy(load_model("tiny"), **options)
    prompts, tokens, mask = batch()
    if alone:  # one answer a prompt and short prompts: nothing to share
        prompts, tokens, mask = [p[-2:] for p in prompts[::4]], tokens[::4], mask[::4]
    states = policy.response_hidden(prompts, tokens, mask)
    found = gradients(policy, states)
    reference = naive(policy, prompts, tokens, mask)
    expected = gradients(policy, reference)
    torch.testing.assert_close(states, reference, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    assert found
    for name, gradient in expected.items():  # sums over many tokens in another order
        scale = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name] / scale, gradient / scale, rtol=0, atol=1e-5)


def test_log_probs_are_those_of_the_model_itself() -> None:
    policy = language_policy(load_model("tiny"))
    prompts, tokens, mask = batch()
    with torch.no_grad():
        found = measure(policy, prompts, tokens, mask).logprob
        for row in range(len(prompts)):
            n = int(mask[row].sum())
            whole = torch.tensor([[*prompts[row], *tokens[row, :n].tolist()]])
            logp = policy.causal(input_ids=whole).logits[0, -n - 1 : -1].log_softmax(-1)
            expected = logp.gather(-1, tokens[row, :n, None])[:, 0]
            torch.testing.assert_close(found[row, :n], expected, rtol=0, atol=1e-4)


def test_padding_may_hold_anything() -> None:
    policy = language_policy(load_model("tiny"))
    prompts, tokens, mask = batch()
    other = torch.where(mask, tokens, 255)
    assert torch.equal(
        policy.response_hidden(prompts, tokens, mask), policy.response_hidden(prompts, other, mask)
    )


def test_checkpointed_layers_run_again_in_the_backward() -> None:
    policy = language_policy(load_model("tiny"), checkpoint_layers=True)
    calls: list[int] = []
    policy.causal.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    prompts, tokens, mask = batch()
    states = policy.response_hidden(prompts, tokens, mask)
    n_forward = len(calls)
    states.sum().backward()
    assert len(calls) == 2 * n_forward
    with torch.inference_mode():  # the layers left training mode: the cache works
        decoder = policy.decoder()
        decoder.prefill([[1, 2]], 3)
        decoder.repeat(2)
        assert decoder.step(torch.tensor([3, 4])).shape == (2, 257)


def test_an_adapter_leaves_the_weights_alone_and_begins_as_nothing() -> None:
    plain = language_policy(load_model("tiny"))
    policy = language_policy(load_model("tiny"), lora_rank=2, target_modules=["q_proj"])
    trained = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n and "q_proj" in n for n in trained)
    args = batch()
    assert torch.equal(policy.response_hidden(*args), plain.response_hidden(*args))


def test_an_adapter_can_be_read_by_peft(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    policy = language_policy(load_model("tiny"), lora_rank=2)
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad:
                p.add_(0.1)
    policy.save_adapter(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    again = peft.PeftModel.from_pretrained(load_model("tiny").model, tmp_path)
    loaded = LanguagePolicy(again, n_vocab=257)
    args = batch()
    assert torch.equal(policy.response_hidden(*args), loaded.response_hidden(*args))
    with pytest.raises(ConfigurationError, match="no adapter"):
        language_policy(load_model("tiny")).save_adapter(tmp_path)


def test_bad_settings_say_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="lora_rank is -1"):
        language_policy(load_model("tiny"), lora_rank=-1)
    with pytest.raises(ConfigurationError, match="lora_alpha is 0"):
        language_policy(load_model("tiny"), lora_rank=1, lora_alpha=0)
    with pytest.raises(ConfigurationError, match=r"layers of this model: .*q_proj"):
        language_policy(load_model("tiny"), lora_rank=1, target_modules=["query"])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'entropilot\[torch\]'"):
        language_policy(load_model("tiny"), lora_rank=1)


def test_a_model_that_bends_its_logits_is_refused() -> None:
    model = load_model("tiny").model
    plain = model.forward
    kept: dict[str, Any] = {}

    def capped(**kwargs: Any) -> Any:
        out = plain(**kwargs)
        kept["n"] = kept.get("n", 0) + 1
        out.logits = 0.5 * torch.tanh(out.logits / 0.5)
        return out

    model.forward = capped
    with pytest.raises(ModelError, match="soft"):
        LanguagePolicy(model, n_vocab=257)
