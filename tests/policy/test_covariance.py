"""Token covariance, its table, and selections without a sort."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.covariance import (
    covariance_summary,
    from_alias,
    largest,
    masked_quantile_of,
    quota,
    token_covariance,
)


def sample(seed: int, b: int = 6, t: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logprob = -torch.rand(b, t, generator=g, dtype=torch.float64) * 4
    advantages = torch.randn(b, t, generator=g, dtype=torch.float64)
    mask = torch.rand(b, t, generator=g) < 0.7
    mask[0, 0] = True
    return logprob, advantages, mask


def test_covariance_is_that_of_the_reference(golden: Callable[[str], Any]) -> None:
    case = golden("cov-clip")
    mask = torch.tensor(case["inputs"]["mask"]).bool()
    assert int(mask.sum()) == case["n_valid"]
    logprob, advantages, expected = (
        torch.tensor(x, dtype=torch.float64)
        for x in (case["inputs"]["logp"], case["inputs"]["advantages"], case["cov_masked"])
    )
    found = token_covariance(logprob, advantages, mask)
    # The reference adds 1e-8 to the denominator of one of its two means.
    torch.testing.assert_close(found, torch.where(mask, expected, 0), rtol=1e-8, atol=1e-8)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_mean_is_the_covariance_and_padding_is_never_read(seed: int) -> None:
    logprob, advantages, mask = sample(seed)
    found = token_covariance(
        torch.where(mask, logprob, torch.nan), torch.where(mask, advantages, torch.nan), mask
    )
    assert torch.equal(found, token_covariance(logprob, advantages, mask))
    assert not found[~mask].any()
    if int(mask.sum()) > 1:
        pair = np.stack([logprob[mask].numpy(), advantages[mask].numpy()])
        expected = np.cov(pair, bias=True)[0, 1]
        assert float(found.sum() / mask.sum()) == pytest.approx(expected, abs=1e-12)


def test_nothing_is_differentiated_and_halves_become_floats() -> None:
    logprob, advantages, mask = sample(0)
    assert not token_covariance(logprob.requires_grad_(), advantages, mask).requires_grad
    assert token_covariance(logprob.bfloat16(), advantages.bfloat16(), mask).dtype == torch.float32


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, -1234.567, 0.0])
def test_equal_advantages_give_exactly_zero(kind: torch.dtype, value: float) -> None:
    logprob = -torch.rand(50, 60, generator=torch.Generator().manual_seed(0)).to(kind)
    advantages = torch.full((50, 1), value, dtype=kind)
    assert not token_covariance(logprob, advantages, torch.ones(50, 60).bool()).any()


@given(st.integers(0, 10_000), st.integers(1, 30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_largest_are_those_of_a_stable_sort(seed: int, k: int, ties: bool) -> None:
    values, _, mask = sample(seed)
    values = values.round() if ties else values
    k = min(k, int(mask.sum()))
    chosen = largest(torch.where(mask, values, torch.nan), mask, k)
    flat = torch.where(mask, values, -torch.inf).reshape(-1)
    order = torch.sort(flat, descending=True, stable=True).indices[:k]
    assert sorted(order.tolist()) == chosen.reshape(-1).nonzero()[:, 0].tolist()


@given(st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_quantile_is_numpys(seed: int, q: float) -> None:
    values, _, mask = sample(seed)
    found = masked_quantile_of(torch.where(mask, values, torch.nan), mask, q)
    assert found == pytest.approx(float(np.quantile(values[mask].numpy(), q)), abs=1e-12)


def test_table_by_top_fraction() -> None:
    covariance, _, mask = sample(3, 40, 50)
    n = int(mask.sum())
    rows = covariance_summary(torch.where(mask, covariance, torch.nan), mask)
    assert [row.n_tokens for row in rows] == [max(math.floor(f * n), 1) for f, *_ in rows]
    assert rows[0].n_tokens == 1
    assert rows[0].mean == pytest.approx(covariance[mask].max().item())
    assert rows[-1].mean == pytest.approx(covariance[mask].mean().item())
    means = [row.mean for row in rows]
    assert means == sorted(means, reverse=True)
    with pytest.raises(ConfigurationError, match="a top fraction is 2"):
        covariance_summary(covariance, mask, (2.0,))


def test_quota_and_alias() -> None:
    assert [quota(0.05, n) for n in (1, 19, 40, 75)] == [1, 1, 2, 3]
    assert from_alias("ratio", 0.1, 2e-4, "clip_cov_ratio", None) == 0.1
    assert from_alias("ratio", 0.1, 2e-4, "clip_cov_ratio", 0.1) == 0.1
    with pytest.raises(ConfigurationError, match=r"ratio is 0.1 and clip_cov_ratio is 0.2"):
        from_alias("ratio", 0.1, 2e-4, "clip_cov_ratio", 0.2)


def test_bad_input_is_refused() -> None:
    logprob, advantages, mask = sample(0)
    with pytest.raises(ValueError, match=r"advantages must be \[B,T\]"):
        token_covariance(logprob, advantages[:, 0], mask)
    with pytest.raises(InputError, match="0 tokens that count"):
        token_covariance(logprob, advantages, torch.zeros_like(mask))
    with pytest.raises(InputError, match=r"dtype torch\.float64"):
        token_covariance(logprob, advantages, mask.double())
    with pytest.raises(InputError, match=r"both must be \[B, T\]"):
        token_covariance(logprob[:, 1:], advantages, mask)
    broken = logprob.clone()
    broken[0, 0] = torch.nan
    with pytest.raises(InputError, match="logprob has values that are nan"):
        token_covariance(broken, advantages, mask)
