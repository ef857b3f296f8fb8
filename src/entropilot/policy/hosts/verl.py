"""An objective inside verl: an advantage estimator and a policy loss, registered under one name.

verl hands an advantage estimator token rewards, the mask and the prompt ids, and a policy loss the
log-probs, old log-probs, advantages, mask and its configuration. It hands neither of them
entropies, not even with ``actor.calculate_entropy=true``: those go to verl's own bonus
(``actor.entropy_coeff``) one floor up, in ``ppo_loss``. So where an objective reads entropies,
``register`` wraps ``ppo_loss``, and the entropies of the same pass, with their gradient, reach the
terms. Nucleus entropies and sums of squares are not measured by verl at all: SIREN and Clip_V are
refused by name.

verl calls the loss a micro-batch at a time on each GPU: choices and squares are over that. For
choices over the mini-batch of a GPU set ``ppo_micro_batch_size_per_gpu`` to
``ppo_mini_batch_size / n_gpus``. The state of terms lives as long as the process and is not in
verl's checkpoints.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, require
from entropilot.policy.hosts.tensors import check_measured, host_loss, host_rollouts
from entropilot.policy.objective import Objective, ObjectiveState
from entropilot.policy.statistics import PolicyStatistics

PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]
AdvantageEstimator = Callable[..., tuple[Tensor, Tensor]]

MEASURABLE: Final = ("logprob", "entropy")

#: Entropies [B, T] of the micro-batch whose loss verl asks for.
_ENTROPY: ContextVar[Tensor | None] = ContextVar("entropilot_verl_entropy", default=None)


def check_verl(objective: Objective) -> None:
    """Reject an objective that reads statistics which verl does not measure.

    Raises:
        ConfigurationError: names the terms, what they read, and the mend.

    Examples:
        >>> check_verl(Objective())
    """
    check_measured(objective, MEASURABLE, host="verl", instead="TRL or the built-in trainer")


def policy_loss(objective: Objective) -> PolicyLoss:
    """The objective's loss with the signature of verl's policy losses.

    The aggregation is the objective's own; ``loss_agg_mode`` and the clip settings of ``config``
    are not used. Where verl says how large the global batch is (``config.global_batch_info``), the
    loss is this micro-batch's share of it, as that of verl's own losses.

    Args:
        objective: masks, weights, surrogate and regularisers run; see ``advantage_estimator`` for
            the rest.

    Raises:
        ConfigurationError: a term reads a statistic that verl does not measure; or, when it is
            called, entropies that verl was not told to measure.

    Examples:
        >>> ones = torch.ones(1, 2)
        >>> loss, metrics = policy_loss(Objective())(-ones, -ones, ones, ones)
        >>> loss.item(), "actor/surrogate/clip_fraction" in metrics
        (-1.0, True)
    """
    check_verl(objective)
    kept: ObjectiveState = {}

    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",  # noqa: ARG001 - the objective has its own
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        entropy = _ENTROPY.get()
        if entropy is None and "entropy" in objective.needs:
            names = ", ".join(term.name for term in objective.terms if "entropy" in term.needs)
            raise ConfigurationError(
                f"{names} reads entropies and verl has measured none; set "
                "actor_rollout_ref.actor.calculate_entropy=true, and register the objective in a "
                "module that verl imports in its workers (VERL_USE_EXTERNAL_MODULES)"
            )
        if not bool(response_mask.any()):
            return log_prob.sum() * 0, {}
        if rollout_is_weights is not None:
            advantages = advantages * rollout_is_weights.detach()
        output = host_loss(
            objective,
            PolicyStatistics(logprob=log_prob, entropy=entropy),
            old_logprob=old_log_prob,
            advantages=advantages,
            mask=response_mask,
            state=kept,
        )
        kept.update(output.state)
        metrics = {f"actor/{name}": value for name, value in output.metrics.items()}
        return output.loss * _share(objective, response_mask, config), metrics

    return loss


def advantage_estimator(objective: Objective) -> AdvantageEstimator:
    """The objective's rewards and advantages with the signature of verl's estimators.

    Args:
        objective: its reward and advantage terms run, over the whole rollout batch. A term that
            reads entropies, phases or step potentials is refused by its own message: verl gives an
            estimator tokens' rewards, the mask and prompt ids only.

    Returns:
        A function of token_level_rewards [B, T], response_mask [B, T] and index [B] (prompt ids of
        any type) that gives advantages and returns, [B, T].

    Examples:
        >>> rewards, mask = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.ones(2, 2)
        >>> estimate = advantage_estimator(Objective())
        >>> estimate(token_level_rewards=rewards, response_mask=mask, index=["a", "a"])[0].tolist()
        [[0.7071057558059692, 0.7071057558059692], [-0.7071057558059692, -0.7071057558059692]]
    """
    kept: ObjectiveState = {}

    def estimate(
        token_level_rewards: Tensor,
        response_mask: Tensor,
        config: Any = None,  # noqa: ARG001 - the objective has its own settings
        index: Any = None,
        **given: Any,
    ) -> tuple[Tensor, Tensor]:
        n = len(token_level_rewards)
        numbers: dict[str, int] = {}
        prompts = range(n) if index is None else index
        group = torch.tensor([numbers.setdefault(str(name), len(numbers)) for name in prompts])
        rollouts = host_rollouts(
            mask=response_mask,
            reward=token_level_rewards,
            group=group.to(token_level_rewards.device),
            old_logprob=given.get("old_log_probs"),
        )
        prepared = objective.prepare(rollouts, kept)
        kept.update(prepared.state)
        return prepared.advantages, prepared.advantages

    return estimate


def register(objective: Objective, name: str = "entropilot") -> None:
    """Make the objective known to verl in this process.

    Then ``algorithm.adv_estimator=NAME`` and ``actor_rollout_ref.actor.policy_loss.loss_mode=NAME``
    choose it. Call it in a module that verl imports in the driver and in every worker:
    ``VERL_USE_EXTERNAL_MODULES=my_module``. ``entropilot.policy.hosts.verl_recipes`` is such a
    module for recipes by name.

    Raises:
        MissingExtraError: verl is not installed.
        ConfigurationError: a term reads a statistic that verl does not measure.
    """
    core = require("verl.trainer.ppo.core_algos", extra="verl", purpose="training with verl")
    core.register_policy_loss(name)(policy_loss(objective))
    core.ADV_ESTIMATOR_REGISTRY.pop(name, None)  # verl refuses a second one of the name
    core.register_adv_est(name)(advantage_estimator(objective))
    if "entropy" in objective.needs:
        hand_over_entropies()


def hand_over_entropies() -> None:
    """Wrap verl's ``ppo_loss``, so that policy losses of this module see its entropies.

    Losses of verl's own are not touched. Done once a process, before verl sets up its workers.

    Raises:
        MissingExtraError: verl is not installed.
    """
    losses = require("verl.workers.utils.losses", extra="verl", purpose="training with verl")
    plain = losses.ppo_loss
    if hasattr(plain, "hands_over_entropies"):
        return
    padding = require("verl.workers.utils.padding", extra="verl", purpose="training with verl")

    @functools.wraps(plain)
    def ppo_loss(
        config: Any, model_output: Mapping[str, Any], data: Any, dp_group: Any = None
    ) -> Any:
        entropy = model_output.get("entropy", None)
        padded = None if entropy is None else padding.no_padding_2_padding(entropy, data)
        with _entropies(padded):
            return plain(config, model_output, data, dp_group)

    ppo_loss.hands_over_entropies = True  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):  # others have imported it by name
        if name.startswith("verl.") and getattr(module, "ppo_loss", None) is plain:
            module.ppo_loss = ppo_loss  # type: ignore[attr-defined]


@contextmanager
def _entropies(values: Tensor | None) -> Iterator[None]:
    token = _ENTROPY.set(values)
    try:
        yield
    finally:
        _ENTROPY.reset(token)


def _share(objective: Objective, mask: Tensor, config: Any) -> float:
    """What a loss that is a mean over this micro-batch is multiplied by.

    verl adds the losses of micro-batches and averages over GPUs, so its own divide by the tokens
    (or answers) of the global batch.
    """
    about: Mapping[str, Any] = getattr(config, "global_batch_info", None) or {}
    processes = about.get("dp_size") or 1
    if objective.aggregation.mode == "token-mean":
        whole, own = about.get("batch_num_tokens"), float(mask.sum())
    else:
        whole, own = about.get("global_batch_size"), float((mask.sum(-1) > 0).sum())
    return 1.0 if whole is None else own * float(processes) / float(whole)
