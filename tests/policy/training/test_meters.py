"""Diagnostics that ride along with training: what their numbers are."""

from __future__ import annotations

import warnings

import pytest
import torch

from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.discriminator import predict_entropy_step
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import statistics_from_logits
from entropilot.policy.training.measuring import measure
from entropilot.policy.training.meters import (
    SamplerMismatchWarning,
    entropy_change_meter,
    sampler_gap_meter,
)


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


@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_sampler_that_cuts_its_distribution_is_recognised(top_p: float) -> None:
    network = SmallPolicy(SmallTransformer.seeded(TransformerConfig(30, width=16, heads=2), 0))
    prompts = [[1, 2], [3]]
    samples = sample_rollouts(network, prompts, 16, max_tokens=6, eos=None, seed=0, top_p=top_p)
    index = samples.prompt_index
    rollouts = Rollouts(
        samples.tokens, samples.mask, samples.logprob, (index * 0 + 1).float(), index
    )
    asked = [prompts[i] for i in index.tolist()]
    now = measure(network, asked, samples.tokens, samples.mask, wants=("logprob",))
    prepared = Objective().prepare(rollouts)
    if top_p == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = sampler_gap_meter().measure(prepared, now, 0.1)
        assert found["logprob_gap"] < 1e-4
        assert found["logprob_gap/missing_mass"] < 1e-4
        return
    with pytest.warns(SamplerMismatchWarning, match="truncated distribution"):
        found = sampler_gap_meter().measure(prepared, now, 0.1)
    assert found["logprob_gap/missing_mass"] == pytest.approx(1 - top_p, abs=0.05)
    assert found["logprob_gap"] > 0.3
    assert found["logprob_gap/largest"] >= found["logprob_gap"]
