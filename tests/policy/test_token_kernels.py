"""Compiled passes give what plain operators give in float64, slopes and odd values included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.policy.covariance import covariance_and_mean
from entropilot.policy.surrogates import clipped_ratio_loss, log_ratio_mean
from entropilot.policy.token_kernels import places_between

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def made_batch(spread: float = 0.4, rows: int = 7, length: int = 900) -> Batch:
    g = torch.Generator().manual_seed(0)
    old = -3 * torch.rand(rows, length, generator=g)
    logprob = (old + spread * torch.randn(rows, length, generator=g)).clamp(max=0)
    advantages = torch.randn(rows, 1, generator=g).expand(rows, length).clone()
    mask = torch.rand(rows, length, generator=g) < 0.8
    return logprob, old, advantages, mask


@pytest.mark.parametrize("dual_clip", [None, 1.5])
@pytest.mark.parametrize("spread", [0.0, 0.4, 30.0])  # on policy, off it, beyond the limit
def test_clipped_ratio_is_that_of_plain_operators(spread: float, dual_clip: float | None) -> None:
    logprob, old, advantages, mask = made_batch(spread)
    advantages[0] = 0.0
    logprob[1, 3] = torch.nan if not mask[1, 3] else logprob[1, 3]
    results = []
    for kind in (torch.float32, torch.float64):
        now = logprob.to(kind).requires_grad_()
        loss, stopped = clipped_ratio_loss(
            now, old.to(kind), advantages.to(kind), mask, dual_clip=dual_clip
        )
        weight = torch.linspace(-1, 1, loss.numel(), dtype=kind).view_as(loss)
        results.append((loss.detach(), stopped, *torch.autograd.grad((loss * weight).sum(), now)))
    (loss, stopped, slope), (true_loss, true_stopped, true_slope) = results
    scale = float(true_loss.abs().max())
    torch.testing.assert_close(loss.double(), true_loss, rtol=1e-5, atol=1e-6 * scale)
    near_edge = (stopped != true_stopped).sum()  # a ratio within rounding of the edge of the clip
    assert near_edge <= 2
    same = stopped == true_stopped
    torch.testing.assert_close(slope.double()[same], true_slope[same], rtol=1e-5, atol=1e-6 * scale)
    assert not any(x[~mask].any() for x in (loss, slope, stopped))


def test_nan_that_counts_spreads_and_no_further() -> None:
    logprob, old, advantages, mask = made_batch()
    mask[2, 5], mask[2, 6] = True, True
    logprob[2, 5] = torch.nan
    loss, _ = clipped_ratio_loss(logprob, old, advantages, mask)
    assert loss.isnan().nonzero().tolist() == [[2, 5]]


def test_on_policy_the_loss_is_exactly_minus_the_advantage() -> None:
    _, old, advantages, mask = made_batch()
    loss, stopped = clipped_ratio_loss(old, old, advantages, mask)
    assert torch.equal(loss, torch.where(mask, -advantages, 0))
    assert not stopped.any()


def test_covariance_and_ratio_are_those_of_float64() -> None:
    logprob, old, advantages, mask = made_batch(rows=40)
    logprob[~mask] = torch.nan
    found, mean = covariance_and_mean(logprob, advantages, mask)
    expected, true_mean = covariance_and_mean(logprob.double(), advantages.double(), mask)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert mean == pytest.approx(true_mean, rel=1e-5)
    gap = log_ratio_mean(logprob, old, mask)
    assert gap == pytest.approx(log_ratio_mean(logprob.double(), old.double(), mask), rel=1e-5)
    assert torch.equal(  # one advantage an answer
        covariance_and_mean(logprob, advantages[:, :1], mask)[0], found
    )


def test_equal_values_have_no_covariance_and_broken_ones_are_named() -> None:
    logprob, _, advantages, mask = made_batch()
    found, mean = covariance_and_mean(logprob, torch.full_like(advantages, 0.3), mask)
    assert not found.any()
    assert mean == 0.0
    mask[0, 0] = True
    advantages[0, 0] = torch.inf
    with pytest.raises(InputError, match="advantages has values"):
        covariance_and_mean(logprob, advantages, mask)


def test_places_are_those_of_a_comparison() -> None:
    g = np.random.default_rng(0)
    values = g.normal(size=10_000).astype(np.float32)
    mask, stopped = g.random(10_000) < 0.7, g.random(10_000) < 0.1
    found = places_between(values, mask, stopped, np.float32(1.5), np.float32(2.5))
    expected = np.flatnonzero(mask & ~stopped & (values > 1.5) & (values < 2.5))
    assert found.tolist() == expected.tolist()
    assert not places_between(values, mask, stopped, np.float32(9), np.float32(10)).size
