"""Objectives in verl: the functions that verl itself looks up and calls, beside verl's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.hosts.verl import advantage_estimator, policy_loss, register
from entropilot.policy.objective import Objective
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.statistics import statistics_from_logits

LOGPROB_RECIPES = ("grpo", "clip-higher", "gspo", "cispo", "kl-cov")


@pytest.fixture(scope="module")
def core() -> Any:
    return pytest.importorskip(
        "verl.trainer.ppo.core_algos", reason="verl is not installed", exc_type=ImportError
    )


@pytest.mark.parametrize("name", LOGPROB_RECIPES)
def test_loss_and_gradient_are_those_of_the_built_in_objective(
    name: str, batch: Any, built_in: Any
) -> None:
    objective = find_recipe(name).objective()
    expected, slope, advantages = built_in(objective)
    leaf = batch.logits.clone().requires_grad_()
    logprob = statistics_from_logits(leaf, batch.tokens).logprob
    loss, metrics = policy_loss(objective)(batch.old, logprob, advantages, batch.mask.long())
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(gradient, slope)
    assert "actor/surrogate/loss" in metrics


@pytest.mark.parametrize("name", ["grpo", "rloo", "dr-grpo"])
def test_advantages_are_those_of_the_built_in_objective(
    name: str, batch: Any, built_in: Any
) -> None:
    objective = find_recipe(name).objective()
    last = batch.mask.sum(1) - 1
    rewards = torch.zeros(8, 5, dtype=torch.float64)
    rewards[torch.arange(8), last] = batch.reward
    found, returns = advantage_estimator(objective)(
        token_level_rewards=rewards,
        response_mask=batch.mask.double(),
        config=None,
        index=np.array(["x", "x", "x", "x", "y", "y", "y", "y"], dtype=object),
    )
    torch.testing.assert_close(found, built_in(objective)[2])
    torch.testing.assert_close(returns, found)


@pytest.mark.parametrize("mode", ["grpo", "gspo"])
def test_micro_batches_add_up_to_the_whole_batch(mode: str, batch: Any, built_in: Any) -> None:
    objective = find_recipe(mode).objective()
    expected, _, advantages = built_in(objective)
    logprob = statistics_from_logits(batch.logits, batch.tokens).logprob
    about = {"dp_size": 1, "batch_num_tokens": int(batch.mask.sum()), "global_batch_size": 8}
    config = SimpleNamespace(global_batch_info=about)
    total = 0.0
    for rows in (slice(0, 3), slice(3, 8)):
        loss, _ = policy_loss(objective)(
            batch.old[rows], logprob[rows], advantages[rows], batch.mask[rows], config=config
        )
        total += float(loss)
    assert total == pytest.approx(expected, abs=1e-12)


def test_micro_batch_without_tokens_changes_nothing(batch: Any) -> None:
    logprob = batch.old.clone().requires_grad_()
    loss, _ = policy_loss(Objective())(
        batch.old, logprob, torch.ones(8, 5), torch.zeros(8, 5, dtype=torch.bool)
    )
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logprob.grad.any()


@pytest.mark.parametrize("name", ["siren", "clip-v"])
def test_what_verl_does_not_measure_is_refused_before_a_run(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} needs .*Use TRL or the built-in"):
        policy_loss(find_recipe(name).objective())


def test_entropies_that_were_not_measured_name_the_setting(batch: Any) -> None:
    loss = policy_loss(find_recipe("entropy-bonus").objective())
    with pytest.raises(ConfigurationError, match="calculate_entropy=true"):
        loss(batch.old, batch.old, batch.reward[:, None], batch.mask)


def test_reward_term_without_its_input_says_what_it_lacks(batch: Any) -> None:
    estimate = advantage_estimator(find_recipe("pear").objective())
    with pytest.raises(InputError, match="needs entropy, think, answer, correct"):
        estimate(torch.zeros(8, 5), batch.mask, index=["a"] * 8)


def _actor_config(**fields: Any) -> Any:
    from verl.workers.config import ActorConfig

    return ActorConfig(strategy="fsdp", rollout_n=4, ppo_micro_batch_size_per_gpu=1, **fields)


def _losses(core: Any, mode: str, batch: Any, advantages: Tensor, config: Any) -> float:
    logprob = statistics_from_logits(batch.logits, batch.tokens).logprob
    loss, _ = core.get_policy_loss_fn(mode)(
        old_log_prob=batch.old,
        log_prob=logprob,
        advantages=advantages,
        response_mask=batch.mask,
        loss_agg_mode="token-mean",
        config=config,
        rollout_is_weights=None,
    )
    return float(loss)


def test_registered_objective_is_what_verl_finds_and_equals_its_own(
    core: Any, batch: Any, built_in: Any
) -> None:
    register(Objective(), "entropilot-test")
    register(Objective(), "entropilot-test")  # a second time is no error
    _, _, advantages = built_in(Objective())
    config = _actor_config()
    ours = _losses(core, "entropilot-test", batch, advantages, config)
    theirs = _losses(core, "vanilla", batch, advantages, config)
    assert ours == pytest.approx(theirs, abs=1e-6)  # verl bounds the loss of punished tokens at 3
    rewards = torch.where(
        torch.arange(5) == batch.mask.sum(1, keepdim=True) - 1, batch.reward[:, None], 0
    )
    index = np.array([str(g) for g in batch.group.tolist()], dtype=object)
    given = {"token_level_rewards": rewards, "response_mask": batch.mask.double(), "index": index}
    found, _ = core.get_adv_estimator_fn("entropilot-test")(**given, config=None)
    expected, _ = core.compute_grpo_outcome_advantage(**given)
    torch.testing.assert_close(found, expected)


def test_kl_cov_equals_that_of_verl(core: Any, batch: Any, built_in: Any) -> None:
    from verl.workers.config import PolicyLossConfig

    knobs = {"ratio": 0.1, "coef": 0.7}
    objective = find_recipe("kl-cov").objective(knobs)
    _, _, advantages = built_in(objective)
    register(objective, "entropilot-kl-cov")
    theirs = PolicyLossConfig(loss_mode="kl_cov", kl_cov_ratio=0.1, ppo_kl_coef=0.7)
    config = _actor_config(policy_loss=theirs)
    assert _losses(core, "entropilot-kl-cov", batch, advantages, config) == pytest.approx(
        _losses(core, "kl_cov", batch, advantages, config), abs=1e-6
    )


def test_entropies_reach_the_terms_through_verls_own_loss(core: Any, batch: Any) -> None:
    losses = pytest.importorskip("verl.workers.utils.losses", exc_type=ImportError)
    from tensordict import TensorDict
    from verl.utils import tensordict_utils
    from verl.workers.config import PolicyLossConfig

    objective = find_recipe("entropy-bonus").objective({"coef": 0.5})
    register(objective, "entropilot-bonus")
    n, width = batch.mask.shape
    attention = torch.cat([torch.ones(n, 1).bool(), batch.mask], 1)
    data = TensorDict(
        {
            "prompts": torch.zeros(n, 1).long(),
            "responses": batch.tokens,
            "attention_mask": attention.long(),
            "response_mask": batch.mask.long(),
            "old_log_probs": batch.old,
            "advantages": torch.ones(n, width, dtype=torch.float64),
        },
        batch_size=[n],
    )
    tensordict_utils.assign_non_tensor(
        data, dp_size=1, batch_num_tokens=int(batch.mask.sum()), global_batch_size=n
    )
    leaf = batch.logits.clone().requires_grad_()
    now = statistics_from_logits(leaf, batch.tokens)
    shifted = torch.cat([batch.mask, torch.zeros(n, 1).bool()], 1)  # predicted one before
    packed = {}
    for name, value in (("log_probs", now.logprob), ("entropy", now.entropy)):
        wide = torch.zeros(n, width + 1, dtype=torch.float64).masked_scatter(
            shifted, value[batch.mask]
        )
        packed[name] = wide[attention]
    config = _actor_config(policy_loss=PolicyLossConfig(loss_mode="entropilot-bonus"))
    loss, metrics = losses.ppo_loss(config, packed, data)
    ratio = (now.logprob - batch.old).exp()
    surrogate = -torch.minimum(ratio, ratio.clamp(0.8, 1.2))[batch.mask].mean()
    expected = surrogate - 0.5 * now.entropy[batch.mask].mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-9)
    slopes = [torch.autograd.grad(x, leaf, retain_graph=True)[0] for x in (loss, expected)]
    torch.testing.assert_close(*slopes)
    assert "actor/entropy-bonus/coef" in metrics
