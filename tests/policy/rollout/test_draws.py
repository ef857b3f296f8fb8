"""Draws by inversion: the right shares, exact log-probs, never off the support."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import InputError
from entropilot.policy.rollout.draws import cut_to_nucleus, draw_tokens


def logits(batch: int, n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return 3 * torch.randn(batch, n, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def uniform(batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(batch)


def reference(z: Tensor, temperature: float, top_p: float) -> Tensor:
    """Log-probabilities [B, V] of the distribution to draw from, float64, by sorting each row."""
    p = (z.double() / temperature).softmax(-1)
    for row in p:
        order = sorted(range(len(row)), key=lambda i: -row[i].item())
        mass = 0.0
        for i in order:
            if mass >= top_p:
                row[i] = 0
            else:
                mass += row[i].item()
    return (p / p.sum(-1, keepdim=True)).log()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("n", [5, 38, 1500, 3000])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.9), (1.7, 0.5)])
def test_numbers_are_those_of_the_distribution_drawn_from(
    dtype: torch.dtype, n: int, temperature: float, top_p: float
) -> None:
    z, u = logits(6, n, dtype=torch.float64).to(dtype), uniform(6)
    drawn = draw_tokens(z, u, temperature=temperature, top_p=top_p)
    logp = reference(z, temperature, top_p)
    taken = logp.gather(-1, drawn.token[:, None])[:, 0]
    close = {"rtol": 0, "atol": 1e-12 if dtype == torch.float64 else 1e-5}
    assert drawn.logprob.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(drawn.logprob.double(), taken, **close)
    entropy = -(logp.exp() * torch.where(logp > -torch.inf, logp, 0)).sum(-1)
    torch.testing.assert_close(drawn.entropy.double(), entropy, **close)
    cumulative = logp.exp().cumsum(-1)
    for b in range(6):
        v = int(drawn.token[b])
        below = 0.0 if v == 0 else float(cumulative[b, v - 1])
        assert below - 1e-6 <= u[b] <= float(cumulative[b, v]) + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_impossible_tokens_are_never_drawn(dtype: torch.dtype) -> None:
    edge = np.array([0.0, 1 - 2.0**-53, 0.5])
    z = torch.full((3, 2500), -torch.inf, dtype=dtype)
    z[:, 1100], z[:, 1300] = 0.0, 1.0
    assert draw_tokens(z, edge).token.tolist() == [1100, 1300, 1300]
    assert draw_tokens(z, edge, top_p=0.5).token.tolist() == [1300, 1300, 1300]
    one = z.clone()
    one[:, 1300] = -torch.inf
    drawn = draw_tokens(one, edge)
    assert drawn.token.tolist() == [1100] * 3
    assert drawn.logprob.tolist() == drawn.entropy.tolist() == [0.0] * 3


def test_temperature_zero_takes_the_most_likely_token() -> None:
    z, u = logits(20, 38), uniform(20)
    drawn, warm = draw_tokens(z, u, temperature=0.0, top_p=0.5), draw_tokens(z, u)
    assert torch.equal(drawn.token, z.argmax(-1))
    torch.testing.assert_close(drawn.logprob, z.log_softmax(-1).amax(-1))
    torch.testing.assert_close(drawn.entropy, warm.entropy)


def test_draws_follow_the_distribution() -> None:
    n = 20_000
    z = torch.tensor([[0.1, 0.0, 0.4, 0.3, 0.2]]).log().repeat(n, 1)
    share = torch.bincount(draw_tokens(z, uniform(n)).token, minlength=5) / n
    assert share[1] == 0
    # four standard errors of a share
    assert ((share - z[0].exp()).abs() < 4 * 0.5 / n**0.5).all()


def test_rows_do_not_see_each_other() -> None:
    z, u = logits(9, 1500), uniform(9)
    for top_p in (1.0, 0.9):
        whole = draw_tokens(z, u, top_p=top_p)
        for b in range(9):
            alone = draw_tokens(z[b : b + 1], u[b : b + 1], top_p=top_p)
            for x, y in zip(alone, whole, strict=True):
                assert torch.equal(x[0], y[b])


def test_a_flat_row_is_cut_at_the_right_size() -> None:
    z = torch.zeros(1, 1000)
    assert cut_to_nucleus(z, 0.5).isfinite().nonzero()[:, 1].tolist() == list(range(500))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3000),
    st.sampled_from([0.0, 0.02, 0.5, 3.0, 12.0]),
    st.floats(0.01, 0.999),
    st.integers(0, 99),
    st.booleans(),
)
def test_the_nucleus_is_that_of_a_sort(
    n: int, spread: float, top_p: float, seed: int, ties: bool
) -> None:
    draw = torch.Generator().manual_seed(seed)
    z = spread * torch.randn(2, n, generator=draw, dtype=torch.float64)
    z = z.round() if ties else z
    found = cut_to_nucleus(z, top_p)
    order = z.sort(
        dim=-1, descending=True, stable=True
    ).indices  # of equal ones the first come first
    p = z.softmax(-1).gather(-1, order)
    before = p.cumsum(-1) - p
    inside = torch.zeros_like(z, dtype=torch.bool).scatter(-1, order, before < top_p * (1 - 1e-12))
    assert torch.equal(found.isfinite(), inside)
    assert torch.equal(found[inside], z[inside])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("value", "message"), [(torch.nan, "row 1: nan"), (torch.inf, r"row 1: \+inf")]
)
def test_rows_that_are_no_distribution(dtype: torch.dtype, value: float, message: str) -> None:
    for place in (0, 2, 37):
        z = logits(3, 38, dtype=dtype)
        z[1, place] = value
        with pytest.raises(InputError, match=message):
            draw_tokens(z, uniform(3))
    z[1] = -torch.inf
    with pytest.raises(InputError, match="row 1: every outcome is -inf"):
        draw_tokens(z, uniform(3))
