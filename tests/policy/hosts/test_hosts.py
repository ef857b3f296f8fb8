"""One batch, one loss: the built-in objective, verl's policy loss and TRL's trainer."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.hosts.tensors import host_loss
from entropilot.policy.hosts.verl import policy_loss
from entropilot.policy.objective import Objective
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import statistics_from_logits

LOGPROB_RECIPES = ("grpo", "clip-higher", "gspo", "cispo", "kl-cov")
ENTROPY_RECIPES = ("entropy-bonus", "clip-b", "steer", "forking")


def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 5, 11, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, 11, (8, 5), generator=g)
    now = statistics_from_logits(logits, tokens)
    old = (now.logprob + 0.2 * torch.randn(8, 5, generator=g, dtype=torch.float64)).clamp(max=0)
    mask = torch.arange(5) < torch.randint(1, 6, (8, 1), generator=g)
    return logits, tokens, old, mask, torch.tensor([1.0, 0, 0, 1, 0, 1, 1, 1]).double()


def built_in(objective: Objective) -> tuple[float, Tensor, Tensor]:
    """Loss, its gradient in the logits, and the advantages."""
    logits, tokens, old, mask, reward = tensors()
    leaf = logits.clone().requires_grad_()
    rollouts = Rollouts(tokens, mask, old, reward, torch.arange(8) // 4)
    prepared = objective.prepare(rollouts)
    output = objective.loss(prepared, statistics_from_logits(leaf, tokens, wants=objective.needs))
    (gradient,) = torch.autograd.grad(output.loss, leaf)
    return float(output.loss.detach()), gradient, prepared.advantages


@pytest.mark.parametrize("name", LOGPROB_RECIPES)
def test_verl_gets_the_same_loss_and_gradient(name: str) -> None:
    objective = find_recipe(name).objective()
    expected, slope, advantages = built_in(objective)
    logits, tokens, old, mask, _ = tensors()
    leaf = logits.clone().requires_grad_()
    logprob = statistics_from_logits(leaf, tokens).logprob
    loss, metrics = policy_loss(objective)(old, logprob, advantages, mask.long())
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(gradient, slope)
    assert "actor/surrogate/loss" in metrics


def test_verl_vanilla_loss_is_that_of_the_plain_recipe() -> None:
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    from verl.workers.config import ActorConfig

    objective = Objective()
    _, _, advantages = built_in(objective)
    logits, tokens, old, mask, _ = tensors()
    logprob = statistics_from_logits(logits, tokens).logprob
    try:
        config = ActorConfig(strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=1)
    except Exception as error:  # its fields differ between releases
        pytest.skip(f"verl's config can't be made here: {error}")
    theirs, _ = core.compute_policy_loss_vanilla(
        old, logprob, advantages, mask.double(), "token-mean", config
    )
    ours, _ = policy_loss(objective)(old, logprob, advantages, mask)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("name", LOGPROB_RECIPES + ENTROPY_RECIPES)
def test_trl_gets_the_same_loss(name: str) -> None:
    pytest.importorskip("trl")
    from entropilot.policy.hosts.trl import objective_trainer

    objective = find_recipe(name).objective()
    expected, slope, advantages = built_in(objective)
    logits, tokens, old, mask, _ = tensors()
    leaf = logits.clone().requires_grad_()

    class Host(objective_trainer(objective)):  # type: ignore[misc]
        def __init__(self) -> None:  # without a model: only the loss is on trial
            self.model = SimpleNamespace(training=True)
            self.current_gradient_accumulation_steps = 1
            self._metrics: Any = {"train": defaultdict(list)}

        def _get_per_token_logps_and_entropies(self, *_a: Any, **_k: Any) -> Any:
            now = statistics_from_logits(leaf, tokens)
            return now.logprob, now.entropy, None

    inputs = {
        "prompt_ids": torch.zeros(8, 2).long(),
        "prompt_mask": torch.ones(8, 2).long(),
        "completion_ids": tokens,
        "completion_mask": mask.long(),
        "old_per_token_logps": old,
        "advantages": advantages,
    }
    host = Host()
    loss = host._compute_loss(None, inputs)
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(gradient, slope)
    assert host._metrics["train"]["surrogate/loss"]


def test_term_that_a_host_cannot_feed_is_named() -> None:
    _, _, old, mask, reward = tensors()
    with pytest.raises(ConfigurationError, match="siren needs nucleus_entropy"):
        host_loss(
            find_recipe("siren").objective(),
            logprob=old,
            old_logprob=old,
            advantages=reward,
            mask=mask,
        )
