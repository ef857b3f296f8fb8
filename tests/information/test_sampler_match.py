"""Is a sampler's log-prob the trainer's? Truncation is told from other differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.information import listed_kind, sampler_match

Floats = NDArray[np.float64]


def raw(seed: int, n: int = 400, vocab: int = 500) -> Floats:
    """Log-probs [N, V] of a model that hesitates."""
    z = 2 * np.random.default_rng(seed).standard_normal((n, vocab))
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def peaked(seed: int, n: int) -> Floats:
    """The same with nuclei of a few tokens."""
    z = 2 * raw(seed, n)
    found: Floats = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return found


def truncated(log_p: Floats, top_p: float) -> Floats:
    """What a sampler with top-p draws from, normalised again; -inf outside the nucleus."""
    order = np.argsort(-log_p, -1)
    p = np.take_along_axis(np.exp(log_p), order, -1)
    kept = np.cumsum(p, -1) - p < top_p
    inside = np.zeros_like(kept)
    np.put_along_axis(inside, order, kept, -1)
    cut = np.where(inside, log_p, -np.inf)
    return cut - np.log(np.exp(cut).sum(-1, keepdims=True))


def drawn(log_q: Floats, seed: int) -> NDArray[np.int64]:
    g = np.random.default_rng(seed).gumbel(size=log_q.shape)
    return (log_q + g).argmax(-1)


def chosen(log_p: Floats, token: NDArray[np.int64]) -> Floats:
    return np.take_along_axis(log_p, token[:, None], -1)[:, 0]


def top(log_p: Floats, k: int) -> Floats:
    return -np.sort(-log_p, -1)[:, :k]


@given(st.integers(0, 10**6), st.sampled_from([0.3, 0.5, 0.7]))
def test_truncated_lists_are_recognised_by_missing_mass_0(seed: int, top_p: float) -> None:
    log_p = peaked(seed, 60)
    assert listed_kind(top(log_p, 20)).kind == "raw"
    cut = truncated(log_p, top_p)
    narrow = np.isfinite(cut).sum(-1) <= 20
    found = listed_kind(top(cut, 20)[narrow])
    assert found.kind == "sampling"
    assert found.n_whole == found.n_uncertain > 0
    assert listed_kind(torch.as_tensor(top(cut, 20)[narrow])) == found


def test_lists_of_sure_tokens_and_of_the_whole_vocabulary_can_not_tell() -> None:
    assert listed_kind(np.log([[0.99999, 1e-5]])).kind == "unknown"
    assert listed_kind(np.full((3, 4), -np.inf)).kind == "unknown"
    assert listed_kind(np.zeros((0, 5))).kind == "unknown"
    whole = raw(0, 50, 12)
    assert listed_kind(whole).kind == "sampling"  # nothing but the size of the vocabulary tells
    assert listed_kind(whole, vocab_size=12).kind == "unknown"


@pytest.mark.parametrize("top_p", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_truncation_is_recognised_by_the_tokens_drawn(seed: int, top_p: float) -> None:
    log_p = raw(seed)
    log_q = truncated(log_p, top_p)
    token = drawn(log_q, seed)
    q, p = chosen(log_q, token), chosen(log_p, token)
    found = sampler_match(q, p)
    assert found.match == "truncated"
    assert found.missing_mass == pytest.approx(1 - top_p, abs=0.02)
    assert "top_p = 1" in found.sentence
    noisy = sampler_match(q + 1e-3 * np.random.default_rng(0).standard_normal(len(q)), p)
    assert noisy.match == "truncated"


@pytest.mark.parametrize("temperature", [0.6, 0.8, 1.3])
@pytest.mark.parametrize("seed", range(5))
def test_another_temperature_is_no_truncation(seed: int, temperature: float) -> None:
    log_p = raw(seed)
    log_q = log_p / temperature
    log_q = log_q - np.log(np.exp(log_q).sum(-1, keepdims=True))
    token = drawn(log_q, seed)
    found = sampler_match(chosen(log_q, token), chosen(log_p, token))
    assert found.match == "different"
    assert "temperature" in found.sentence
    exact = (np.exp(log_q) * (log_q - log_p)).sum(-1).mean()
    assert found.k3 == pytest.approx(exact, rel=0.5)


def test_rounding_is_the_same_and_worst_tokens_are_named() -> None:
    p = chosen(raw(1), drawn(raw(1), 0)).reshape(20, 20)
    q = p + 1e-3 * np.random.default_rng(0).standard_normal(p.shape)
    q[3, 4] = p[3, 4] - 0.5
    found = sampler_match(torch.as_tensor(q), torch.as_tensor(p))
    assert (found.match, found.n_tokens, found.worst[0]) == ("same", 400, 64)
    assert found.largest == pytest.approx(0.5)
    assert found.gap == pytest.approx(np.abs(q - p).mean())


def test_only_tokens_that_count_are_read() -> None:
    p = np.array([[-1.0, np.nan], [-2.0, -0.5]])
    valid = np.array([[True, False], [True, False]])
    found = sampler_match(p + np.array([[0.0, 9.0], [0.0, 9.0]]), p, valid)
    assert found[:2] == ("same", 2)
    assert sampler_match(p, p, np.zeros((2, 2), bool)).n_tokens == 0
    both = np.array([-np.inf, -1.0])
    assert sampler_match(both, both).gap == 0


def test_lists_prove_what_a_few_tokens_do_not() -> None:
    log_p = peaked(3, 8)
    log_q = truncated(log_p, 0.5)
    token = drawn(log_q, 0)
    q, p = chosen(log_q, token), chosen(log_p, token)
    q[0], p[0] = p[0] - 1.0, q[0]  # one outlier hides the sign
    assert sampler_match(q, p).match == "different"
    assert sampler_match(q, p, listed=top(log_q, 20)).match == "truncated"


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"\(2,\), of the trainer \(3,\)"):
        sampler_match(np.zeros(2), np.zeros(3))
    with pytest.raises(InputError, match=r"1 log-probs of the trainer are nan .* token 1"):
        sampler_match(np.zeros(2), np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="valid has shape"):
        sampler_match(np.zeros(2), np.zeros(2), np.ones(3, bool))
