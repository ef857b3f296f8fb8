"""The soft Bellman equation of a policy and its value on written answers (OREO, arXiv 2412.16145).

With a KL penalty of strength beta to a reference policy, the best policy and its value satisfy

    V(s_t) - V(s_{t+1}) = r_t - beta d_t,     d_t = log pi(a_t | s_t) - log pi_ref(a_t | s_t)

at every token of every answer, whoever wrote it. Summed to the end: V(s_t) = R_t - beta D_t, with
D_t = sum of d_i over i >= t.

Position t of every array belongs to the state before token t and to the token itself. Values at
masked positions may be nan.

Legend: B answers, T tokens. Nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError


def suffix_log_ratio(logprob: Tensor, reference_logprob: Tensor, action_mask: Tensor) -> Tensor:
    """D_t = sum over actions i >= t of (logprob_i - reference_logprob_i), [B, T], with gradient.

    Args:
        logprob: [B, T] of the tokens under the policy.
        reference_logprob: [B, T] under the reference; detached.
        action_mask: [B, T] bool; which tokens the policy wrote.

    Raises:
        InputError: shapes differ, the mask is not bool, an answer has no action, or a log-prob
            that counts is above 0 or not finite.

    Examples:
        >>> logprob = torch.tensor([[-1.0, -2.0, -3.0]])
        >>> suffix_log_ratio(logprob, logprob * 0, logprob < 0).tolist()
        [[-6.0, -5.0, -3.0]]
    """
    gap = log_ratio_of_actions(logprob, reference_logprob, action_mask)
    return suffix_sum(gap)


def reward_to_go(reward: Tensor, action_mask: Tensor) -> Tensor:
    """R_t = sum of rewards from t on, [B, T]; one reward an answer is R at every t.

    Args:
        reward: [B] of the answer, or [B, T] process rewards.
        action_mask: [B, T] bool; rewards elsewhere are not read.

    Raises:
        InputError: another shape, or a reward that is not finite.

    Examples:
        >>> reward_to_go(torch.tensor([[0.5, 0.0, 1.0]]), torch.ones(1, 3).bool()).tolist()
        [[1.5, 1.0, 1.0]]
    """
    if reward.shape == action_mask.shape and reward.ndim == 2:
        kept = torch.where(action_mask, reward.detach(), 0)
        _check_finite("reward", kept)
        return suffix_sum(kept)
    if tuple(reward.shape) != (action_mask.shape[0],):
        raise InputError(
            f"reward has shape {tuple(reward.shape)}; expected one an answer, "
            f"({action_mask.shape[0]},), or one a token, {tuple(action_mask.shape)}"
        )
    _check_finite("reward", reward)
    return reward.detach()[:, None].expand(action_mask.shape)


def soft_bellman_residual(
    logprob: Tensor,
    reference_logprob: Tensor,
    values: Tensor,
    reward: Tensor,
    action_mask: Tensor,
    beta: float = 0.03,
) -> Tensor:
    """V_t - V_{t+1} - r_t + beta d_t, [B, T], detached; 0 everywhere for the optimal pair.

    A reward [B] counts at the last action; V after the last action is 0.

    Args:
        logprob: [B, T].
        reference_logprob: [B, T].
        values: [B, T] or [B, T, 1].
        reward: [B], or [B, T] process rewards.
        action_mask: [B, T] bool.
        beta: > 0.

    Examples:
        >>> zero, one = torch.zeros(1, 2), torch.ones(1)
        >>> soft_bellman_residual(zero, zero, zero + 1, one, torch.ones(1, 2).bool()).tolist()
        [[0.0, 0.0]]
    """
    check_beta(beta)
    gap = log_ratio_of_actions(logprob.detach(), reference_logprob, action_mask)
    values = checked_values(values.detach(), action_mask)
    return one_step_residual(gap, values, reward, action_mask, beta)


def oreo_advantage(
    logprob: Tensor,
    reference_logprob: Tensor,
    values: Tensor,
    reward: Tensor,
    action_mask: Tensor,
    beta: float = 0.03,
) -> Tensor:
    """A_t = R_t - beta D_t - V_t, [B, T], detached; 0 where masked.

    The policy gradient with this advantage, no ratio and mean over tokens of each answer, times
    2 beta, is the gradient of ``oreo_policy_loss`` at the token level.

    Args:
        logprob: [B, T].
        reference_logprob: [B, T].
        values: [B, T] or [B, T, 1].
        reward: [B], or [B, T] process rewards.
        action_mask: [B, T] bool.
        beta: > 0.

    Examples:
        >>> zero, one = torch.zeros(1, 2), torch.ones(1)
        >>> oreo_advantage(zero, zero, zero + 0.25, one, torch.ones(1, 2).bool()).tolist()
        [[0.75, 0.75]]
    """
    check_beta(beta)
    suffix = suffix_log_ratio(logprob.detach(), reference_logprob, action_mask)
    values = checked_values(values.detach(), action_mask)
    return torch.where(action_mask, reward_to_go(reward, action_mask) - beta * suffix - values, 0)


def one_step_residual(
    gap: Tensor, values: Tensor, reward: Tensor, action_mask: Tensor, beta: float
) -> Tensor:
    """V_t - V_{t+1} - r_t + beta d_t, [B, T], with gradient into d (``gap``)."""
    here = torch.where(action_mask, values, 0)
    after = at_next_state(here, action_mask)
    togo = torch.where(action_mask, reward_to_go(reward, action_mask), 0)
    step_reward = togo - at_next_state(togo, action_mask)  # a reward [B] falls on the last action
    return torch.where(action_mask, here - after - step_reward + beta * gap, 0)


def at_next_state(x: Tensor, states: Tensor) -> Tensor:
    """Values of x at the next state after each position; 0 where there is none."""
    length = x.shape[1]
    place = torch.arange(length, device=x.device)
    at = torch.where(states, place, length)
    coming = at.flip(1).cummin(1).values.flip(1)  # the next state at or after each position
    after = torch.nn.functional.pad(coming, (0, 1), value=length)[:, 1:]
    return torch.nn.functional.pad(x, (0, 1)).gather(1, after)


def suffix_sum(x: Tensor) -> Tensor:
    """Sum from each position to the end, [B, T]."""
    return x.flip(1).cumsum(1).flip(1)


def mean_of_means(x: Tensor, mask: Tensor, weight: Tensor | None) -> Tensor:
    """Mean over the mask of each row, weighted [B], then over rows."""
    mean = torch.where(mask, x, 0).sum(1) / mask.sum(1).clamp(min=1)
    return (mean if weight is None else mean * weight.detach()).mean()


def log_ratio_of_actions(logprob: Tensor, reference_logprob: Tensor, action_mask: Tensor) -> Tensor:
    """Log-ratios d = logprob - reference_logprob, 0 where masked, after checking both.

    Raises:
        InputError: a shape differs, or a log-prob is above 0 or not finite.
    """
    check_actions(action_mask)
    parts = {"logprob": logprob, "reference_logprob": reference_logprob.detach()}
    for name, value in parts.items():
        if value.shape != action_mask.shape:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}, the action mask "
                f"{tuple(action_mask.shape)}; they must agree"
            )
        bad = action_mask & ~((value.detach() <= 1e-4) & torch.isfinite(value.detach()))
        if bool(bad.any()):
            row, token = (int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"{name} of answer {row}, token {token}, is {float(value[row, token]):.4g}; "
                "natural-log probabilities are finite and <= 0. If these are probabilities, take "
                "log first"
            )
    return torch.where(action_mask, logprob, 0) - torch.where(
        action_mask, parts["reference_logprob"], 0
    )


def checked_states(action_mask: Tensor, state_mask: Tensor | None) -> Tensor:
    """The states that enter: those given, or those of all actions.

    Raises:
        InputError: another shape or dtype, an answer without state, a state without later action.
    """
    check_actions(action_mask)
    if state_mask is None:
        return action_mask
    if state_mask.dtype != torch.bool or state_mask.shape != action_mask.shape:
        raise InputError(
            f"state_mask has dtype {state_mask.dtype} and shape {tuple(state_mask.shape)}; "
            f"expected bool, {tuple(action_mask.shape)}"
        )
    if bool((~state_mask.any(1)).any()):
        row = int((~state_mask.any(1)).nonzero()[0, 0])
        raise InputError(f"answer {row} has no state; its first token is one at least")
    left = action_mask.flip(1).cumsum(1).flip(1)
    bad = state_mask & (left == 0)
    if bool(bad.any()):
        row, token = (int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"state_mask is True at token {token} of answer {row}, where no action follows; a "
            "state is the place before an action"
        )
    return state_mask


def checked_values(values: Tensor, action_mask: Tensor) -> Tensor:
    """Values [B, T], 0 where masked; a last axis of 1 is dropped.

    Raises:
        InputError: another shape.
    """
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values.squeeze(-1)
    if values.shape != action_mask.shape:
        raise InputError(
            f"values have shape {tuple(values.shape)}; expected {tuple(action_mask.shape)}, one a "
            "state"
        )
    return torch.where(action_mask, values, 0)


def check_actions(action_mask: Tensor) -> None:
    """Reject an action mask that is not bool [B, T], or an answer without action.

    Raises:
        InputError: names the answer.
    """
    if action_mask.dtype != torch.bool or action_mask.ndim != 2:
        raise InputError(
            f"action_mask has dtype {action_mask.dtype} and shape {tuple(action_mask.shape)}; "
            "expected bool [B, T]"
        )
    empty = ~action_mask.any(1)
    if bool(empty.any()):
        raise InputError(
            f"answer {int(empty.nonzero()[0, 0])} has no action token ({int(empty.sum())} such "
            "answers); leave it out"
        )


def check_beta(beta: float) -> None:
    """Reject a strength of the KL penalty that is not above 0.

    Raises:
        ConfigurationError: beta <= 0.
    """
    if not beta > 0:
        raise ConfigurationError(f"beta is {beta}; it must be above 0, the paper has 0.03")


def _check_finite(name: str, values: Tensor) -> None:
    bad = ~torch.isfinite(values)
    if bool(bad.any()):
        first = [int(i) for i in bad.nonzero()[0]]
        raise InputError(f"{name} at {first} is {float(values[tuple(first)])}; expected a number")
