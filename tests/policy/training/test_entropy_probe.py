"""The change of entropy in a step, on the step's own answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from entropilot.information import masked_mean
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.training.bound_task import bind_token_task
from entropilot.policy.training.entropy_probe import entropy_probe
from entropilot.policy.training.measuring import measure
from entropilot.policy.training.metrics_log import MEANINGS
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Trainee
from entropilot.policy.training.trainer import train
from entropilot.policy.training.training_step import draw_batch

SETTINGS = TrainSettings(
    steps=3,
    n_prompts=4,
    n_answers=4,
    n_eval_problems=2,
    n_eval_answers=2,
    evaluate_every=0,
    temperature=1.3,
)


def trainee(settings: TrainSettings = SETTINGS, **fields: Any) -> Trainee:
    task = ModularPaths(modulus=5, n_steps=2)
    config = TransformerConfig(task.n_vocab, width=16, heads=2, context=16)
    policy = SmallPolicy(SmallTransformer.seeded(config, 0))
    return Trainee(policy, bind_token_task(task), lambda _step: Objective(), settings, **fields)


@pytest.mark.parametrize("micro_tokens", [16384, 20])
def test_it_is_the_change_of_the_same_answers(micro_tokens: int) -> None:
    found = trainee()
    batch = draw_batch(found, 0)
    settings = TrainSettings(temperature=1.3, micro_tokens=micro_tokens)

    def entropy() -> float:
        answers = batch.rollouts
        with torch.no_grad():
            now = measure(
                found.policy, batch.prompts, answers.tokens, answers.mask, temperature=1.3
            )
        return float(masked_mean(now.get("entropy"), answers.mask))

    before = entropy()
    finish = entropy_probe(16)(batch, settings)
    with torch.no_grad():
        for p in found.policy.parameters():
            p += 0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    change = finish()
    assert change["entropy_change"] == pytest.approx(entropy() - before, abs=1e-6)
    assert change["entropy_change"] != 0


def test_first_order_is_exact_for_a_small_step() -> None:
    """The two differ by the square of the step: a tenth of the step, a hundredth of the gap."""
    found = trainee()
    policy = found.policy.double()
    batch = draw_batch(found, 0)
    gaps = []
    for size in (1e-2, 1e-3):
        own = batch._replace(policy=copy.deepcopy(policy))
        finish = entropy_probe(16)(own, SETTINGS)
        with torch.no_grad():
            for i, p in enumerate(own.policy.parameters()):
                noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(i))
                p += size * noise.to(p.dtype)
        change = finish()
        gaps.append(abs(change["entropy_change"] - change["entropy_change/first_order"]))
    assert gaps[1] < 0.03 * gaps[0]


def test_it_leaves_the_run_as_it_is_and_its_metrics_have_meanings() -> None:
    plain, probed = trainee(), trainee(probes=(entropy_probe(8),))
    train(plain)
    rows = train(probed).rows
    for one, other in zip(plain.policy.parameters(), probed.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    names = {name for name in rows[1] if name.startswith("entropy_change")}
    assert names == {"entropy_change", "entropy_change/first_order"}
    assert names <= set(MEANINGS)


def test_frozen_weights_are_left_out() -> None:
    found = trainee()
    for p in list(found.policy.parameters())[1:]:
        p.requires_grad_(False)
    finish = entropy_probe()(draw_batch(found, 0), SETTINGS)
    assert finish() == {"entropy_change": 0.0, "entropy_change/first_order": 0.0}
