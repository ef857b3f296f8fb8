"""OREO: losses of offline reinforcement learning (arXiv 2412.16145).

The losses are squared residuals of the soft Bellman equation (see ``soft_bellman``): position t of
every array belongs to the state before token t and to the token itself. Batch reduction: mean over
an answer's states, then over answers. Values at masked positions may be nan.

Legend: B answers, T tokens, V vocabulary. Nats.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.soft_bellman import (
    at_next_state,
    check_actions,
    check_beta,
    checked_states,
    checked_values,
    log_ratio_of_actions,
    mean_of_means,
    one_step_residual,
    reward_to_go,
    suffix_sum,
)

Level = Literal["token", "step", "response"]
LEVELS: Final = ("token", "step", "response")


def oreo_value_loss(
    values: Tensor,
    log_ratio: Tensor,
    reward: Tensor,
    action_mask: Tensor,
    state_mask: Tensor | None = None,
    *,
    beta: float = 0.03,
    clip_log: float | None = None,
    importance: Tensor | None = None,
) -> Tensor:
    """Loss of the value network: mean of (V(s_t) - R_t + beta sg(D_t))^2 over states.

    Gradient goes to ``values`` only.

    Args:
        values: [B, T] or [B, T, 1].
        log_ratio: [B, T] suffix sums D; detached here.
        reward: [B], or [B, T] process rewards.
        action_mask: [B, T] bool.
        state_mask: [B, T] bool; states that enter. None: every action's.
        beta: > 0.
        clip_log: limits D to +-clip_log first; None does not.
        importance: [B] weights of the answers, from ``importance_weights``.

    Returns:
        Scalar.

    Raises:
        InputError: shapes differ, or a state has no action at or after it.
        ConfigurationError: beta or clip_log is not above 0.

    Examples:
        >>> zero, one = torch.zeros(1, 2), torch.ones(1)
        >>> oreo_value_loss(zero, zero, one, torch.ones(1, 2).bool()).item()
        1.0

    Source: arXiv 2412.16145, value objective; the reference trainer's ``loss``.
    """
    check_beta(beta)
    if clip_log is not None and not clip_log > 0:
        raise ConfigurationError(f"clip_log is {clip_log}; expected a limit above 0, or None")
    values = checked_values(values, action_mask)
    states = checked_states(action_mask, state_mask)
    d = torch.where(states, log_ratio.detach(), 0)
    if clip_log is not None:
        d = d.clamp(-clip_log, clip_log)
    residual = values - reward_to_go(reward, action_mask) + beta * d
    return mean_of_means(residual**2, states, importance)


def oreo_policy_loss(
    logprob: Tensor,
    reference_logprob: Tensor,
    values: Tensor,
    reward: Tensor,
    action_mask: Tensor,
    state_mask: Tensor | None = None,
    level: Level = "token",
    beta: float = 0.03,
    *,
    pcl: bool = False,
    one_step: bool = False,
    hinge: float = 0.0,
    correct: Tensor | None = None,
    importance: Tensor | None = None,
) -> Tensor:
    """Loss of the policy: squared residuals with the gradient through one action each.

        token:     (sg(V_t) - R_t + beta d_t + beta sg(D_{t+1}))^2            mean over t
        step:      the same with d summed over the step that begins at t     mean over step starts
        response:  (sg(V_0) - R_0 + beta D_0)^2
        pcl:       no stop-gradient on D
        one_step:  (sg(V_t) - sg(V_{t+1}) - r_t + beta d_t)^2, V = 0 after the last token

    Args:
        logprob: [B, T], with gradient.
        reference_logprob: [B, T].
        values: [B, T] or [B, T, 1]; detached.
        reward: [B], or [B, T] process rewards.
        action_mask: [B, T] bool.
        state_mask: [B, T] bool; step starts for "step", otherwise states that enter (None: all).
        level: "token", "step" or "response". Without a step start after the first, "step" equals
            "response".
        beta: > 0; raised, the policy stays nearer to the reference.
        pcl: path consistency, gradient through the whole suffix.
        one_step: residual of single steps ("token" only).
        hinge: >= 0; adds hinge * max(0, -D_0), averaged over right answers ("response" only).
        correct: [B] bool; for hinge.
        importance: [B] weights of the answers, from ``importance_weights``.

    Returns:
        Scalar.

    Raises:
        InputError: shapes differ, a mask or a value is wrong.
        ConfigurationError: a setting is out of range, or options that exclude each other.

    Examples:
        >>> zero, one = torch.zeros(1, 2), torch.ones(1)
        >>> oreo_policy_loss(zero, zero, zero, one, torch.ones(1, 2).bool()).item()
        1.0

    Source: arXiv 2412.16145, policy objectives; the reference trainer's ``dro_loss``,
    ``traj_loss`` and ``single_step_loss``.
    """
    _check_options(level, beta, one_step, hinge, pcl)
    gap = log_ratio_of_actions(logprob, reference_logprob, action_mask)
    values = checked_values(values.detach(), action_mask)
    if one_step:
        residual = one_step_residual(gap, values, reward, action_mask, beta)
        return mean_of_means(residual**2, action_mask, importance)
    if level == "step" and state_mask is None:
        raise InputError("the step level needs state_mask, True at the first token of each step")
    states = checked_states(action_mask, state_mask)
    if level == "response":
        states = states & (states.cumsum(1) == 1)
    suffix = suffix_sum(gap)
    after = at_next_state(suffix, states)
    log_ratio = suffix if pcl else suffix - after + after.detach()
    residual = values - reward_to_go(reward, action_mask) + beta * log_ratio
    loss = mean_of_means(residual**2, states, importance)
    if hinge:
        if correct is None or correct.dtype != torch.bool:
            raise InputError("the hinge needs correct, [B] bool: which answers are right")
        short = torch.where(correct, (-suffix[:, 0]).clamp(min=0), 0)
        loss = loss + hinge * short.sum() / correct.sum().clamp(min=1)
    return loss


def importance_weights(
    logprob: Tensor, reference_logprob: Tensor, action_mask: Tensor, limit: float = 1.0
) -> Tensor:
    """exp(min(sum of d, limit)) of each answer, [B], detached.

    Args:
        logprob: [B, T].
        reference_logprob: [B, T].
        action_mask: [B, T] bool.
        limit: of the log-weight; the reference code has 1.

    Examples:
        >>> zero = torch.zeros(1, 2)
        >>> importance_weights(zero - 0.5, zero - 2, torch.ones(1, 2).bool()).log().item()
        1.0
    """
    gap = log_ratio_of_actions(logprob.detach(), reference_logprob, action_mask)
    return gap.sum(1).clamp(max=limit).exp()


def kl_to_reference(
    logits: Tensor,
    reference_logits: Tensor,
    action_mask: Tensor,
    estimator: Literal["exact", "k3"] = "exact",
    tokens: Tensor | None = None,
) -> Tensor:
    """KL(pi || pi_ref): mean over an answer's tokens, then over answers; with gradient.

        exact: sum_v p_v (log p_v - log q_v)          k3: q/p - 1 - log(q/p) at the token

    Args:
        logits: [B, T, V].
        reference_logits: [B, T, V]; detached.
        action_mask: [B, T] bool.
        estimator: "exact", or "k3" at the tokens.
        tokens: [B, T] int64; for "k3".

    Returns:
        Scalar.

    Raises:
        InputError: vocabularies differ, or "k3" without tokens.
        ConfigurationError: unknown estimator.

    Examples:
        >>> z = torch.zeros(1, 2, 3)
        >>> kl_to_reference(z, z, torch.ones(1, 2).bool()).item()
        0.0
    """
    if estimator not in ("exact", "k3"):
        raise ConfigurationError(unknown_name("KL estimator", estimator, ("exact", "k3")))
    if logits.shape != reference_logits.shape:
        raise InputError(
            f"the policy's logits have shape {tuple(logits.shape)}, the reference's "
            f"{tuple(reference_logits.shape)}; both need the same vocabulary"
        )
    check_actions(action_mask)
    # [B, T, V] twice: the exact KL reads both whole distributions
    log_p = torch.log_softmax(torch.where(action_mask[..., None], logits, 0), -1)
    log_q = torch.log_softmax(torch.where(action_mask[..., None], reference_logits.detach(), 0), -1)
    if estimator == "exact":
        p = log_p.exp()
        gap = torch.where(p > 0, log_p, 0) - torch.where(p > 0, log_q, 0)
        return mean_of_means((p * gap).sum(-1), action_mask, None)
    if tokens is None:
        raise InputError("the k3 estimate needs tokens, [B, T] int64")
    chosen = torch.where(action_mask, tokens, 0).unsqueeze(-1)
    gap = (log_q - log_p).gather(-1, chosen).squeeze(-1)
    return mean_of_means(torch.expm1(gap) - gap, action_mask, None)


def _check_options(level: str, beta: float, one_step: bool, hinge: float, pcl: bool) -> None:
    check_beta(beta)
    if level not in LEVELS:
        raise ConfigurationError(unknown_name("level", level, LEVELS))
    if one_step and (level != "token" or pcl):
        raise ConfigurationError("one_step works at the token level, without pcl")
    if hinge < 0 or (hinge and level != "response"):
        raise ConfigurationError(
            f"hinge is {hinge} at the {level} level; it is >= 0 and belongs to the response level"
        )
