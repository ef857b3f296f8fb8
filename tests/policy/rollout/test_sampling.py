"""Rollouts: exact numbers, the same draws in any company, ends and lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.causal_decoding import CausalDecoder
from entropilot.models.decoding import Decoder, TransformerDecoder
from entropilot.models.tiny import tiny_parts
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.rollout.sampling import Samples, sample_rollouts

PROMPTS = [[1, 2, 3], [4], [5, 6], [7, 8, 9]]

Case = tuple[Decoder, Callable[[Tensor], Tensor]]


def small() -> Case:
    model = SmallTransformer.seeded(TransformerConfig(30, width=24, heads=2, context=40), 1)
    with torch.no_grad():
        model.head.weight.mul_(4)  # sharper than at the start, so that draws differ in likelihood
    return TransformerDecoder(model), model


def causal() -> Case:
    model, _ = tiny_parts(seed=2)
    return CausalDecoder(model), lambda tokens: model(tokens).logits


CASES = [pytest.param(make, id=make.__name__) for make in (small, causal)]


def draw(decoder: Decoder, prompts: list[list[int]] = PROMPTS, **changes: Any) -> Samples:
    options = {"n_samples": 3, "max_tokens": 12, "eos": (0, 7, 8, 9), "seed": 5} | changes
    return sample_rollouts(decoder, prompts, options.pop("n_samples"), **options)


def rows(samples: Samples) -> list[list[int]]:
    return [t[m].tolist() for t, m in zip(samples.tokens, samples.mask, strict=True)]


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_numbers_are_those_of_a_plain_forward_pass(
    make: Callable[[], Case], temperature: float
) -> None:
    decoder, full = make()
    samples = draw(decoder, temperature=temperature)
    assert samples.logprobs_kind == ("raw" if temperature == 1 else "sampling")
    for i, answer in enumerate(rows(samples)):
        prompt = PROMPTS[int(samples.prompt_index[i])]
        with torch.no_grad():
            z = full(torch.tensor([prompt + answer]))[0, len(prompt) - 1 : -1]
        logp = (z.double() / temperature).log_softmax(-1)
        n = len(answer)
        close = {"rtol": 0, "atol": 2e-5}  # float32 with another order of sums
        taken = logp[torch.arange(n), torch.tensor(answer)].float()
        torch.testing.assert_close(samples.logprob[i, :n], taken, **close)
        entropy = -(logp.exp() * logp).sum(-1).float()
        torch.testing.assert_close(samples.entropy[i, :n], entropy, **close)


@pytest.mark.parametrize("make", CASES)
def test_answers_end_with_an_end_token_or_at_the_limit(make: Callable[[], Case]) -> None:
    samples = draw(make()[0], n_samples=8)
    lengths = samples.mask.sum(1)
    assert samples.tokens.shape[1] == int(lengths.max())
    assert 1 <= int(lengths.min()) < 12  # some leave early
    for answer, is_cut in zip(rows(samples), samples.truncated.tolist(), strict=True):
        ends = [i for i, token in enumerate(answer) if token in (0, 7, 8, 9)]
        assert ends == ([] if is_cut else [len(answer) - 1])
        assert len(answer) == 12 or not is_cut
    after = ~samples.mask
    assert (samples.mask.cumsum(1) == torch.arange(1, 1 + int(lengths.max())))[samples.mask].all()
    assert (samples.tokens[after] == 0).all()
    assert (samples.logprob[after] == 0).all()
    assert (samples.entropy[after] == 0).all()


@pytest.mark.parametrize("make", CASES)
def test_without_an_end_token_all_answers_are_cut(make: Callable[[], Case]) -> None:
    samples = draw(make()[0], eos=None)
    assert samples.mask.all()
    assert samples.truncated.all()
    assert samples.tokens.shape == (12, 12)


@pytest.mark.parametrize("make", CASES)
@pytest.mark.parametrize("rows_per_batch", [1, 3, 7])
def test_rows_side_by_side_change_no_draw(make: Callable[[], Case], rows_per_batch: int) -> None:
    decoder, _ = make()
    one, other = draw(decoder), draw(decoder, rows_per_batch=rows_per_batch)
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.prompt_index, other.prompt_index)
    torch.testing.assert_close(one.logprob, other.logprob, rtol=0, atol=2e-5)


@pytest.mark.parametrize("make", CASES)
def test_draws_depend_on_seed_and_name_alone(make: Callable[[], Case]) -> None:
    decoder, _ = make()
    whole = rows(draw(decoder, names=["a", "b", "c", "d"]))
    turned = rows(draw(decoder, [PROMPTS[2], PROMPTS[0]], names=["c", "a"]))
    assert turned == whole[6:9] + whole[:3]
    assert rows(draw(decoder, names=["a", "b", "c", "d"], seed=6)) != whole
    assert rows(draw(decoder, names=["a", "b", "c", "d"], n_samples=5))[:3] == whole[:3]


def test_forbidden_tokens() -> None:
    decoder, full = small()
    allowed = torch.ones(30, dtype=torch.bool)
    allowed[[0, 7, 8, 9]] = False
    samples = draw(decoder, allowed=allowed)
    assert samples.truncated.all()
    assert samples.logprobs_kind == "sampling"
    with torch.no_grad():
        z = full(torch.tensor([PROMPTS[0] + samples.tokens[0].tolist()]))[0, 2:-1]
    logp = z.masked_fill(~allowed, -torch.inf).log_softmax(-1)
    taken = logp.gather(-1, samples.tokens[0][:, None])[:, 0]
    torch.testing.assert_close(samples.logprob[0], taken, rtol=0, atol=2e-5)
    by_position = torch.zeros(12, 30, dtype=torch.bool)
    by_position[torch.arange(12), torch.arange(12) + 10] = True
    one_way = draw(decoder, allowed=by_position)
    assert (one_way.tokens == torch.arange(12) + 10).all()
    assert (one_way.logprob == 0).all()


def test_what_it_gives_may_enter_a_loss() -> None:
    samples = draw(small()[0])
    x = torch.ones_like(samples.logprob, requires_grad=True)
    (x * samples.logprob * samples.mask).sum().backward()
    assert torch.equal(x.grad, samples.logprob)


def test_weights_are_read_as_they_are_now() -> None:
    decoder, _ = small()
    before = draw(decoder)
    assert isinstance(decoder, TransformerDecoder)
    with torch.no_grad():
        decoder.model.head.weight.neg_()
    assert not torch.equal(draw(decoder).tokens, before.tokens)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"temperature": -1.0}, ConfigurationError, "temperature is -1.0; it must be >= 0"),
        ({"top_p": 0.0}, ConfigurationError, r"top_p is 0.0; it must be in \(0, 1\]"),
        ({"max_tokens": 0}, ConfigurationError, "max_tokens is 0"),
        ({"n_samples": 0}, ConfigurationError, "n_samples is 0"),
        ({"max_tokens": 38}, InputError, "longest prompt has 3 tokens; with max_tokens 38"),
        ({"names": ["a"]}, InputError, "1 names for 4 prompts"),
        ({"prompts": []}, InputError, "no prompts"),
        ({"prompts": [[1], []]}, InputError, "prompt 1 has no tokens"),
        ({"allowed": torch.ones(4, dtype=torch.bool)}, InputError, r"allowed has shape \(4,\)"),
        ({"allowed": torch.zeros(30, dtype=torch.bool)}, InputError, "forbids every token"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw(small()[0], **changes)
