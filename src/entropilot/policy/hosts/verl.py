"""An objective as a policy loss of verl.

verl hands a policy loss log-probs, advantages and the mask, and no entropies or logits: terms that
read more (SIREN, STEER, bonuses, Clip_B) can't run there and are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from entropilot.errors import require
from entropilot.policy.hosts.tensors import host_loss
from entropilot.policy.objective import Objective, ObjectiveState

PolicyLoss = Callable[..., tuple[Tensor, dict[str, Any]]]


def policy_loss(objective: Objective) -> PolicyLoss:
    """The objective with the signature of verl's policy losses.

    Its own aggregation is used; ``loss_agg_mode`` and the clip settings of ``config`` are not. The
    state of its terms lives as long as the function, and is not in verl's checkpoints.

    Args:
        objective: reward and advantage terms do not run; verl's advantage estimator does.

    Examples:
        >>> import torch
        >>> ones = torch.ones(1, 2)
        >>> loss, metrics = policy_loss(Objective())(-ones, -ones, ones, ones)
        >>> loss.item(), "actor/surrogate/clip_fraction" in metrics
        (-1.0, True)
    """
    kept: ObjectiveState = {}

    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",  # noqa: ARG001 - the objective has its own
        config: Any = None,  # noqa: ARG001
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        if rollout_is_weights is not None:
            advantages = advantages * rollout_is_weights.detach()
        output = host_loss(
            objective,
            logprob=log_prob,
            old_logprob=old_log_prob,
            advantages=advantages,
            mask=response_mask,
            state=kept,
        )
        kept.update(output.state)
        return output.loss, {f"actor/{name}": value for name, value in output.metrics.items()}

    return loss


def register(objective: Objective, name: str = "entropilot") -> None:
    """Make the objective known to verl: ``actor.policy_loss.loss_mode = name``.

    Raises:
        MissingExtraError: verl is not installed.
    """
    core = require("verl.trainer.ppo.core_algos", extra="verl", purpose="training with verl")
    core.register_policy_loss(name)(policy_loss(objective))
