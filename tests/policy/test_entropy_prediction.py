"""The predicted change of the entropy is the change that a table of logits makes."""

from __future__ import annotations

import pytest
import torch

from entropilot.errors import InputError
from entropilot.policy.entropy_prediction import predict_entropy_step, warn_other_policy
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits
from entropilot.policy.surrogates import clipped_ratio_loss
from entropilot.policy.training.meters import entropy_change_meter

WANTS = ("logprob", "entropy", "sum_p2", "sum_p2_logp")


def table(seed: int = 0) -> tuple[torch.Tensor, Rollouts]:
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(6, 9, 20, generator=g, dtype=torch.float64)
    tokens = torch.multinomial(logits.softmax(-1).reshape(-1, 20), 1, generator=g).reshape(6, 9)
    mask = torch.arange(9) < torch.tensor([9, 3, 1, 9, 5, 7])[:, None]
    old = statistics_from_logits(logits, tokens).logprob
    old = (old + 0.3 * torch.randn(6, 9, generator=g, dtype=torch.float64)).clamp(max=0)
    reward = torch.tensor([1.0, 0, 0, 1, 1, 0]).double()
    return logits, Rollouts(tokens, mask, old, reward, torch.arange(6) // 3)


def test_prediction_is_the_gradient_step_of_the_loss() -> None:
    logits, rollouts = table()
    mask = rollouts.mask
    prepared = Objective().prepare(rollouts)
    now = statistics_from_logits(logits, rollouts.tokens, wants=WANTS)
    rate = 1e-4
    predicted = predict_entropy_step(now, rollouts.old_logprob, prepared.advantages, mask, rate)
    leaf = logits.clone().requires_grad_()
    new = statistics_from_logits(leaf, rollouts.tokens)
    loss, stopped = clipped_ratio_loss(new.logprob, rollouts.old_logprob, prepared.advantages, mask)
    assert 0 < stopped.sum() < mask.sum()
    (loss.sum() / mask.sum()).backward()
    assert leaf.grad is not None
    moved = statistics_from_logits(logits - rate * leaf.grad, rollouts.tokens)
    assert moved.entropy is not None
    assert now.entropy is not None
    change = torch.where(mask, moved.entropy - now.entropy, 0)
    torch.testing.assert_close(predicted.per_token, change, rtol=1e-3, atol=1e-12)
    torch.testing.assert_close(predicted.mean, change.sum() / mask.sum(), rtol=1e-3, atol=1e-13)


def test_meter_gives_the_prediction_and_the_batch_means() -> None:
    logits, rollouts = table()
    prepared = Objective().prepare(rollouts)
    meter = entropy_change_meter()
    now = statistics_from_logits(logits, rollouts.tokens, wants=meter.needs)
    found = meter.measure(prepared, now, 1e-4)
    predicted = predict_entropy_step(
        now, rollouts.old_logprob, prepared.advantages, rollouts.mask, 1e-4
    )
    assert found["predicted_entropy_change"] == pytest.approx(predicted.mean.item())
    assert now.entropy is not None
    S = now.logprob.exp() * (now.entropy + now.logprob)
    assert found["discriminator_mean"] == pytest.approx(S[rollouts.mask].mean().item())
    surplus = (S - now.vocab_mean)[rollouts.mask].mean().item()
    assert found["discriminator_surplus"] == pytest.approx(surplus)
    assert meter.measure(prepared, now, 2e-4)["predicted_entropy_change"] == pytest.approx(
        2 * found["predicted_entropy_change"]
    )


def test_surplus_has_mean_zero_on_policy() -> None:
    """Many draws at one position: the mean of S - N is 0, the mean of S is N."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(20, generator=g, dtype=torch.float64).expand(1, 20000, 20)
    tokens = torch.multinomial(logits[0, 0].softmax(-1), 20000, True, generator=g)[None]
    now = statistics_from_logits(logits, tokens, wants=WANTS)
    one = torch.ones(1, 20000).double()
    predicted = predict_entropy_step(now, now.logprob, one, one.bool(), 1.0)
    spread = predicted.per_token.std() / 20000**0.5
    assert abs(predicted.per_token.mean()) < 4 * spread


def test_nothing_that_counts_gives_zero() -> None:
    nan, none = torch.full((1, 2), torch.nan), torch.zeros(1, 2).bool()
    now = PolicyStatistics(nan, nan, sum_p2=nan, sum_p2_logp=nan)
    assert predict_entropy_step(now, nan, nan, none, 0.1).mean.item() == 0.0
    assert warn_other_policy(nan, nan, none) == 0.0


def test_missing_statistic_is_named() -> None:
    one = torch.ones(1, 1)
    with pytest.raises(InputError, match="'sum_p2' was not measured"):
        predict_entropy_step(PolicyStatistics(-one, one), -one, one, one.bool(), 0.1)
