"""Sampling: the model's own distribution is recorded, and draws depend on the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.generation import draw as draw_tokens
from entropilot.models.loaders import LanguageModel, load_model
from entropilot.models.sampler import sample, sample_batches
from entropilot.traces.table import Traces, concatenate

PROMPTS = ["shared start: one", "shared start: 2", "shared start: three more", "shared start: x"]


@pytest.fixture(scope="module")
def tiny() -> LanguageModel:
    return load_model("tiny")


def draw(model: LanguageModel, **changes: object) -> Traces:
    options: dict[str, object] = {"n_samples": 3, "max_tokens": 12, "seed": 5, "stop": ("e",)}
    return sample(model, PROMPTS, **(options | changes))  # type: ignore[arg-type]


def token_ids(traces: Traces) -> list[list[int]]:
    flat = traces.vocabulary.token_id[traces.tokens.piece]
    return [part.tolist() for part in np.split(flat, traces.tokens.offsets[1:-1])]


def test_recorded_numbers_are_those_of_a_plain_forward_pass(tiny: LanguageModel) -> None:
    traces = draw(tiny, temperature=0.7)
    for i, answer in enumerate(token_ids(traces)):
        prompt = tiny.encode(PROMPTS[i // 3])
        with torch.inference_mode():
            logits = tiny.model(torch.tensor([prompt + answer])).logits[0].double()
        logp = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1].numpy()
        p = np.exp(logp)
        mine = slice(*traces.tokens.offsets[i : i + 2])
        taken = logp[np.arange(len(answer)), answer]
        close = {"rtol": 0, "atol": 2e-5}  # float32 with another order of sums
        np.testing.assert_allclose(traces.tokens.logprob[mine], taken, **close)
        np.testing.assert_allclose(traces.tokens.entropy[mine], -(p * logp).sum(-1), **close)
        top = -np.sort(-logp, axis=-1)[:, :20]
        np.testing.assert_allclose(traces.tokens.top_logprob[mine], top, **close)
        middle = np.log((p[1:] + p[:-1]) / 2)
        jsd = (p[1:] * (logp[1:] - middle) + p[:-1] * (logp[:-1] - middle)).sum(-1) / 2
        np.testing.assert_allclose(traces.tokens.jsd[mine][1:], jsd, **close)
        assert np.isnan(traces.tokens.jsd[mine][0])


@pytest.mark.parametrize("rows_per_batch", [1, 3, 7, 100])
def test_batch_size_changes_nodraw_tokens(tiny: LanguageModel, rows_per_batch: int) -> None:
    one, other = draw(tiny), draw(tiny, rows_per_batch=rows_per_batch)
    assert token_ids(one) == token_ids(other)
    assert one.rows.equals(other.rows)
    np.testing.assert_allclose(one.tokens.entropy, other.tokens.entropy, atol=2e-5)


def test_draws_depend_on_seed_and_name_not_on_the_other_problems(tiny: LanguageModel) -> None:
    names = ["a", "b", "c", "d"]
    whole = draw(tiny, groups=names)
    alone = sample(
        tiny, PROMPTS[2:3], groups=["c"], n_samples=3, max_tokens=12, seed=5, stop=("e",)
    )
    assert token_ids(alone) == token_ids(whole.take([6, 7, 8]))
    assert token_ids(draw(tiny, groups=names, seed=6)) != token_ids(whole)


def test_batches_join_to_the_whole(tiny: LanguageModel) -> None:
    parts = list(
        sample_batches(
            tiny, PROMPTS, n_samples=3, max_tokens=12, seed=5, stop=("e",), rows_per_batch=6
        )
    )
    assert [len(part) for part in parts] == [6, 6]
    assert token_ids(concatenate(parts)) == token_ids(draw(tiny))


def test_rows_say_what_was_asked_and_how_it_ended(tiny: LanguageModel) -> None:
    traces = draw(tiny, temperature=(0.0, 0.7, 1.0), max_tokens=40)
    rows = traces.rows
    assert rows["id"].to_list()[:4] == ["0-s0", "0-s1", "0-s2", "1-s0"]
    assert rows["temperature"].to_list()[:3] == [0.0, 0.7, 1.0]
    assert set(rows["logprobs_kind"]) == {"raw"}
    assert set(rows["finish_reason"]) == {"stop", "length"}
    for i, (text, reason) in enumerate(zip(rows["text"], rows["finish_reason"], strict=True)):
        whole = b"".join(traces.token_pieces(i))
        ended_by_text = reason == "stop" and whole.endswith(b"e")
        assert text == whole.removesuffix(b"e" if ended_by_text else b"<|end|>").decode(
            errors="replace"
        )
        if reason == "length":
            assert traces.tokens.lengths[i] == 40
            assert b"e" not in whole


def test_greedy_takes_the_most_likely_token(tiny: LanguageModel) -> None:
    traces = draw(tiny, temperature=0.0)
    assert (traces.tokens.piece == traces.tokens.top_piece[:, 0]).all()


def test_draws_follow_the_distribution() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.0, 0.4, 0.3, 0.2]])).repeat(20_000, 1)
    uniform = torch.from_numpy(np.random.default_rng(1).random(20_000))
    share = (
        torch.bincount(draw_tokens(logits, torch.ones(20_000, 1), 1.0, uniform), minlength=5)
        / 20_000
    )
    expected = torch.tensor([0.1, 0.0, 0.4, 0.3, 0.2])
    assert share[1] == 0
    # four standard errors of a share at n = 20000
    assert torch.all((share - expected).abs() < 4 * 0.5 / 20_000**0.5)
    nucleus = draw_tokens(logits, torch.ones(20_000, 1), 0.6, uniform)
    assert set(nucleus.tolist()) == {2, 3}  # 0.4 < 0.6 <= 0.4 + 0.3


def test_progress_ends_at_one(tiny: LanguageModel) -> None:
    seen: list[tuple[float, str]] = []
    draw(tiny, rows_per_batch=3, progress=lambda share, message: seen.append((share, message)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert "12/12 answers" in seen[-1][1]
    assert "tokens/s" in seen[-1][1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -0.1}, "temperature is -0.1; it must be >= 0"),
        ({"temperature": (0.0, 1.0)}, "2 temperatures for 3 samples"),
        ({"top_p": 0.0}, r"top_p is 0.0; it must be in \(0, 1\]"),
        ({"n_samples": 0}, "n_samples is 0"),
        ({"stop": ("",)}, "stop text is empty"),
    ],
)
def test_settings_out_of_range(
    tiny: LanguageModel, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        draw(tiny, **changes)


def test_prompts_that_do_not_fit(tiny: LanguageModel) -> None:
    with pytest.raises(InputError, match=r"4090 tokens.*context of 4096"):
        sample(tiny, ["y" * 4090], max_tokens=7)
    with pytest.raises(InputError, match="is empty"):
        sample(tiny, ["a", ""])
    with pytest.raises(InputError, match="no prompts"):
        sample(tiny, [])
    with pytest.raises(InputError, match="2 different group names, got 2 names of which 1 differ"):
        sample(tiny, ["a", "b"], groups=["p", "p"])


@pytest.mark.model
@pytest.mark.slow
def test_smollm2_answers_in_the_few_shot_form(real_model: LanguageModel) -> None:
    from entropilot.policy.tasks.word_problems import few_shot_prompt, parse_answer, word_problems

    prompts = [few_shot_prompt(p.question) for p in word_problems(4)]
    traces = sample(real_model, prompts, n_samples=1, temperature=0.0)
    assert all(parse_answer(text) is not None for text in traces.rows["text"])
    assert traces.tokens.top_logprob.shape[1] == 20
