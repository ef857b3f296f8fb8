"""OREO as terms of an objective (arXiv 2412.16145): advantage, surrogate and value loss.

On rollouts that carry ``reference_logprob``. The surrogate is the exact token-level policy loss and
reads the current log-probs and values; the advantage is for runs without a value network.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.policy.advantages import group_sums
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.soft_bellman import check_beta, reward_to_go, suffix_log_ratio
from entropilot.policy.term import Applied, State, Term, View


def soft_bellman_advantage(beta: float = 0.03) -> Term:
    """Advantage term A_t = R - beta D_t - V with one value a prompt.

        D_t = sum over i >= t of (old_logprob_i - reference_logprob_i)
        V   = mean over the group of (R - beta D_0)

    Departs from the paper: there is no value network in the advantage stage. Every answer to a
    prompt gives one estimate R - beta D_0 of V(s_0), and their mean is the fit of least squares.
    ``soft_bellman_surrogate`` has a value of each state.

    When this does nothing: a prompt with one answer gets 0 at its first token. While the policy is
    the reference, and as ``beta`` falls to 0, it is the group advantage without a deviation.

    Args:
        beta: > 0; raised, the policy stays nearer to the reference. As beta falls to 0 this is the
            group advantage without division by a standard deviation.

    Raises:
        ConfigurationError: beta is not above 0.

    Examples:
        >>> soft_bellman_advantage(0.1).settings
        {'beta': 0.1}

    Source: arXiv 2412.16145.
    """
    check_beta(beta)

    def apply(view: View, state: State) -> Applied:
        mask, rows = view.rollouts.mask, view.rollouts.mask.any(1)
        suffix = torch.zeros_like(view.rollouts.old_logprob)
        suffix[rows] = suffix_log_ratio(
            view.rollouts.old_logprob[rows], _reference(view)[rows], mask[rows]
        )
        goal = view.reward[:, None] - beta * suffix
        total, size, _ = group_sums(goal[:, 0].contiguous(), view.rollouts.group)
        value = (total / size)[:, None]
        advantages = torch.where(mask, goal - value, 0).to(view.advantages.dtype)
        return Applied(advantages, state, {"soft-bellman/value": value.mean()})

    return Term("soft-bellman-advantage", apply, settings={"beta": beta})


def soft_bellman_surrogate(beta: float = 0.03) -> Term:
    """Surrogate term: the squared residual of each token, OREO's token-level policy loss.

        l_t = (sg(V_t) - R_t + beta d_t + beta sg(D_{t+1}))^2

    Its gradient is 2 beta times that of -A_t logprob_t with A_t = R_t - beta D_t - V_t; the
    objective's own advantages are not read. With the aggregation "seq-mean-token-mean" it is
    ``oreo_policy_loss``. Needs ``value`` of the current value network.

    When this does nothing: where the value network already explains reward and log-ratio, the
    residual is 0. A masked token has no loss.

    Args:
        beta: > 0.

    Raises:
        ConfigurationError: beta is not above 0.

    Examples:
        >>> sorted(soft_bellman_surrogate().needs)
        ['logprob', 'value']

    Source: arXiv 2412.16145.
    """
    check_beta(beta)

    def apply(view: View, state: State) -> Applied:
        mask = view.mask
        residual = _residual(view, beta, through_policy=True)
        metrics = {"soft-bellman/residual_rms": _rms(residual.detach(), mask)}
        return Applied(torch.where(mask, residual**2, 0), state, metrics)

    needs = frozenset({"logprob", "value"})
    return Term("soft-bellman", apply, needs=needs, settings={"beta": beta})


def soft_bellman_value_loss(
    coef: float = 1.0, beta: float = 0.03, aggregation: Aggregation | None = None
) -> Term:
    """Regulariser term: coef times OREO's value loss, with gradient into ``value`` only.

    When this does nothing: ``coef`` 0, and for the policy always, unless it shares weights with the
    value network.

    Args:
        coef: weight; the value network has its own optimiser in the paper, so it scales its step.
        beta: > 0.
        aggregation: over states; seq-mean-token-mean unless given, as in the paper.

    Raises:
        ConfigurationError: beta is not above 0.

    Examples:
        >>> soft_bellman_value_loss(0.5).settings["coef"]
        0.5

    Source: arXiv 2412.16145.
    """
    check_beta(beta)
    reduce = aggregation or Aggregation("seq-mean-token-mean")

    def apply(view: View, state: State) -> Applied:
        residual = _residual(view, beta, through_policy=False)
        return Applied(coef * reduce(residual**2, view.mask), state)

    needs = frozenset({"logprob", "value"})
    return Term("soft-bellman-value", apply, needs=needs, settings={"coef": coef, "beta": beta})


def _residual(view: View, beta: float, *, through_policy: bool) -> Tensor:
    """V_t - R_t + beta D_t with the gradient of d_t, or of V_t; 0 where masked."""
    mask = view.rollouts.mask
    logprob, value = view.policy.logprob, view.policy.get("value")
    own = torch.where(mask, logprob, 0) - torch.where(mask, _reference(view), 0)
    suffix = own.detach().flip(1).cumsum(1).flip(1)
    drift = suffix + own - own.detach() if through_policy else suffix
    value = value.detach() if through_policy else value
    token_rewards = view.rollouts.reward
    # process rewards count from each token on; a shaped reward has one number an answer
    is_shaped = token_rewards.ndim == 1 or bool((view.reward != view.rollouts.scores).any())
    goal = reward_to_go(view.reward if is_shaped else token_rewards, mask)
    return torch.where(mask, value, 0) - torch.where(mask, goal, 0) + beta * drift


def _rms(residual: Tensor, mask: Tensor) -> Tensor:
    squares = torch.where(mask, residual**2, 0).sum()
    return (squares / mask.sum().clamp(min=1)).sqrt()


def _reference(view: View) -> Tensor:
    reference = view.rollouts.reference_logprob
    if reference is None:
        raise InputError(
            "the soft Bellman terms need rollouts.reference_logprob; measure it with the frozen "
            "reference policy"
        )
    return reference
