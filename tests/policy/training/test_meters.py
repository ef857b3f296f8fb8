"""Diagnostics that ride along with training: what their numbers are."""

from __future__ import annotations

import pytest
import torch

from entropilot.policy.discriminator import predict_entropy_step
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import statistics_from_logits
from entropilot.policy.training.meters import entropy_change_meter


def test_predicted_entropy_change_is_that_of_the_tokens_of_the_update() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 7, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, 7, (4, 5), generator=g)
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 4])[:, None]
    meter = entropy_change_meter()
    now = statistics_from_logits(logits, tokens, wants=meter.needs)
    assert now.entropy is not None
    old = torch.where(mask, now.logprob - 0.05, torch.nan)
    reward = torch.tensor([1.0, 0.0, 0.0, 1.0])
    rollouts = Rollouts(tokens, mask, old, reward, torch.tensor([0, 0, 1, 1]))
    prepared = Objective().prepare(rollouts)
    (name, value), *others = meter.measure(prepared, now, 1e-3).items()
    assert not others
    assert name == "predicted_entropy_change"
    assert meter.every_update
    ratio = torch.full_like(now.logprob, 0.05).exp()
    _, expected = predict_entropy_step(
        now.logprob,
        now.entropy,
        now.vocab_mean,
        prepared.advantages,
        ratio,
        mask,
        learning_rate=1e-3,
    )
    assert value == pytest.approx(float(expected))
    assert value != 0
    assert meter.measure(prepared, now, 2e-3)[name] == pytest.approx(2 * value)
    equal = Objective().prepare(rollouts.replace(reward=torch.ones(4)))
    assert meter.measure(equal, now, 1e-3)[name] == 0.0
