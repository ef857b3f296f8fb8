"""OREO's losses of a batch, from one forward pass of each network (arXiv 2412.16145).

D for the value comes from the same forward pass as the policy's loss, which is one pass less than
the reference code and the same numbers.

Legend: n answers of a batch, N answers of the data, L tokens of prompt and answer, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.offline import (
    importance_weights,
    kl_to_reference,
    oreo_policy_loss,
    oreo_value_loss,
)
from entropilot.policy.offline_data import OfflineAnswers
from entropilot.policy.offline_settings import OfflineSettings
from entropilot.policy.soft_bellman import (
    mean_of_means,
    soft_bellman_residual,
    suffix_log_ratio,
)


@dataclass(frozen=True)
class OfflineLosses:
    """Losses of one batch, each with gradient into the network it is named for."""

    value: Tensor
    policy: Tensor
    numbers: dict[str, float]


def offline_losses(
    policy: nn.Module,
    value: nn.Module,
    reference: nn.Module,
    part: OfflineAnswers,
    settings: OfflineSettings,
    *,
    alpha: float | None = None,
    average: nn.Module | None = None,
    reference_logprob: Tensor | None = None,
) -> OfflineLosses:
    """Both losses of a batch, from one forward pass of each of the three networks.

    Args:
        policy: (tokens [n, L], valid [n, L]) -> logits [n, L, V] of the next token.
        value: (tokens, valid) -> [n, L].
        reference: frozen policy.
        part: answers of this batch.
        settings: see ``OfflineSettings``.
        alpha: weight of the KL; None takes that of the settings.
        average: moving average of the policy, whose log-ratios the value learns from.
        reference_logprob: [n, L - 1] of the tokens from the second on; with ``kl="k3"`` the
            reference is not read then.

    Raises:
        InputError: policy and reference differ in V.
        ConfigurationError: process rewards with a shift.
    """
    context, valid = part.tokens[:, :-1], part.valid[:, :-1]
    targets, actions = part.tokens[:, 1:], part.action[:, 1:]
    reward = _reward(part, settings)
    steps = None if part.step_start is None else part.step_start[:, 1:]
    states = steps if settings.level == "step" else None
    logits = policy(context, valid)
    logprob = _chosen(logits, targets)
    base = None
    if settings.kl == "exact" or reference_logprob is None:
        with torch.no_grad():
            base = reference(context, valid)
        if base.shape != logits.shape:
            raise InputError(
                f"the policy has {logits.shape[-1]} tokens, the reference {base.shape[-1]}; both "
                "need the same vocabulary"
            )
    known = reference_logprob
    base_logprob = _chosen(base, targets) if base is not None else known
    assert base_logprob is not None  # one of the two is there
    held = logprob
    if average is not None:
        with torch.no_grad():
            held = _chosen(average(context, valid), targets)
    values = value(context, valid)
    suffix = suffix_log_ratio(held, base_logprob, actions)
    weight = importance_weights(logprob, base_logprob, actions) if settings.importance else None
    of_value = oreo_value_loss(
        values, suffix, reward, actions, states,
        beta=settings.beta, clip_log=settings.clip_log, importance=weight,
    )  # fmt: skip
    of_policy = oreo_policy_loss(
        logprob, base_logprob, values, reward, actions, states, settings.level, settings.beta,
        pcl=settings.pcl, one_step=settings.one_step, hinge=settings.hinge,
        correct=part.total_reward > 0, importance=weight,
    )  # fmt: skip
    if settings.kl == "exact" and base is not None:
        kl = kl_to_reference(logits, base, actions)
    else:
        gap = torch.where(actions, base_logprob - logprob, 0)
        kl = mean_of_means(torch.expm1(gap) - gap, actions, None)
    residual = soft_bellman_residual(logprob, base_logprob, values, reward, actions, settings.beta)
    numbers = {
        "value_loss": float(of_value.detach()),
        "policy_loss": float(of_policy.detach()),
        "kl": float(kl.detach()),
        "residual_rms": float((residual[actions] ** 2).mean().sqrt()),
        "d_mean": float(torch.where(actions, logprob - base_logprob, 0).sum(1).mean().detach()),
    }
    alpha = settings.alpha if alpha is None else alpha
    return OfflineLosses(of_value, of_policy + alpha * kl, numbers)


@torch.no_grad()
def reference_logprobs(
    reference: nn.Module, data: OfflineAnswers, rows_per_batch: int = 256
) -> Tensor:
    """Log-probs of all tokens from the second on under a frozen policy, [N, L - 1] float32.

    Read once, they serve every epoch; 0 where no token of an answer stands.

    Args:
        reference: (tokens [n, L], valid [n, L]) -> logits [n, L, V].
        data: the answers.
        rows_per_batch: answers a pass.

    Examples:
        >>> from entropilot.models.transformer import SmallTransformer, TransformerConfig
        >>> from entropilot.policy.offline_data import offline_answers
        >>> data = offline_answers([[1], [1]], [[2, 3], [4]], [1.0, 0.0])
        >>> network = SmallTransformer.seeded(TransformerConfig(9), 0)
        >>> reference_logprobs(network, data).shape
        torch.Size([2, 2])
    """
    found = torch.zeros(len(data), data.tokens.shape[1] - 1)
    for rows in torch.split(torch.arange(len(data)), rows_per_batch):
        part = data.select(rows)
        logits = reference(part.tokens[:, :-1], part.valid[:, :-1])
        chosen = _chosen(logits, part.tokens[:, 1:]).float()
        found[rows, : chosen.shape[1]] = torch.where(part.action[:, 1:], chosen, 0).cpu()
    return found


def _reward(part: OfflineAnswers, settings: OfflineSettings) -> Tensor:
    """Rewards as the losses see them: [n], or [n, L - 1] process rewards."""
    if part.reward.ndim == 1:
        return settings.reward_scale * part.reward + settings.reward_shift
    if settings.reward_shift:
        raise ConfigurationError(
            f"reward_shift is {settings.reward_shift}, and the rewards are those of tokens; add it "
            "to the tokens that it belongs to"
        )
    return settings.reward_scale * part.reward[:, 1:]


def _chosen(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
