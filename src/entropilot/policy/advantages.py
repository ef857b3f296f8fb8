"""Advantages from groups of answers to one prompt: GRPO, Dr.GRPO, RLOO.

Legend: B answers, T tokens. Everything is detached.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import masked_mean, masked_variance
from entropilot.policy.term import Applied, State, Term, View

Scale = Literal["std", "none", "batch"]


def group_sums(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum and size of each answer's group, and the number of the group.

    Args:
        values: [B].
        group: [B] int64, any labels.

    Returns:
        Sum [B], size [B] of the group the answer is in, and index [B] in 0..n_groups-1.

    Examples:
        >>> total, size, _ = group_sums(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([7, 7, 3]))
        >>> total.tolist(), size.tolist()
        ([3.0, 3.0, 5.0], [2.0, 2.0, 1.0])
    """
    names, index = torch.unique(group, return_inverse=True)
    total = values.new_zeros(len(names)).index_add_(0, index, values)
    size = values.new_zeros(len(names)).index_add_(0, index, torch.ones_like(values))
    return total[index], size[index], index


def group_advantages(
    rewards: Tensor,
    group: Tensor,
    *,
    scale: Scale = "std",
    eps: float = 1e-6,
    singleton: Literal["zero", "raw"] = "zero",
) -> Tensor:
    """Reward minus the group's mean, over its standard deviation.

        A_i = (R_i - mean_g) / (sd_g + eps)        sd with Bessel's correction

    A group whose rewards are all equal gives exactly 0. A nan reward is left out of the
    statistics and gets 0, as in TRL.

    Args:
        rewards: [B].
        group: [B] int64, which prompt.
        scale: "std" divides by the group's sd (GRPO), "batch" by the sd of the whole batch,
            "none" does not divide (Dr.GRPO).
        eps: added to the sd; verl has 1e-6, TRL 1e-4.
        singleton: an answer alone in its group gets 0 with a warning, or its raw reward as in verl.

    Returns:
        [B].

    Raises:
        InputError: shapes differ.
        ConfigurationError: unknown scale or singleton, or eps below 0.

    Examples:
        >>> group_advantages(torch.tensor([1.0, 0.0]), torch.tensor([0, 0])).tolist()
        [0.7071057558059692, -0.7071057558059692]

    Source: GRPO, arXiv 2402.03300, Section 4.1.2; Dr.GRPO, arXiv 2503.20783. Departs from verl: an
    answer alone gets 0, since its reward without a baseline is no advantage.
    """
    _check(rewards, group)
    if scale not in ("std", "none", "batch") or singleton not in ("zero", "raw") or not eps >= 0:
        raise ConfigurationError(
            f"group advantages with scale={scale!r}, singleton={singleton!r}, eps={eps}; scale is "
            '"std", "none" or "batch", singleton "zero" or "raw", eps >= 0'
        )
    known = ~rewards.isnan()
    values = torch.where(known, rewards, 0)
    ones = known.to(values.dtype)
    total, _, index = group_sums(values, group)
    size, _, _ = group_sums(ones, group)
    mean = total / size.clamp(min=1)
    gap = torch.where(known, values - mean, 0)
    lone = known & (size <= 1)
    lowest, highest = _group_range(values, known, index)
    same = highest - lowest == 0
    gap = torch.where(same & ~lone, 0, gap)
    if singleton == "raw":
        gap = torch.where(lone, values, gap)
    elif bool(lone.any()):
        warnings.warn(
            f"{int(lone.sum())} answers are alone in their group and get advantage 0; draw at "
            "least 2 answers a prompt",
            stacklevel=2,
        )
    if scale == "none":
        return gap
    if scale == "batch":
        n = ones.sum()
        spread = torch.where(known, values - values.sum() / n, 0)
        return gap / ((spread**2).sum().div((n - 1).clamp(min=1)).sqrt() + eps)
    variance = group_sums(torch.where(same, 0, gap**2), group)[0] / (size - 1).clamp(min=1)
    sd = torch.where(lone, 1.0, variance.sqrt())
    return gap / (sd + eps)


def leave_one_out_advantages(rewards: Tensor, group: Tensor) -> Tensor:
    """Reward minus the mean of the others in the group (RLOO).

        A_i = R_i - mean_{j != i} R_j;   an answer alone keeps R_i

    Args:
        rewards: [B].
        group: [B] int64.

    Returns:
        [B].

    Examples:
        >>> leave_one_out_advantages(torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3).long()).tolist()
        [1.0, -0.5, -0.5]

    Source: arXiv 2402.14740.
    """
    _check(rewards, group)
    total, size, _ = group_sums(rewards, group)
    others = (total - rewards) / (size - 1).clamp(min=1)
    return rewards - torch.where(size > 1, others, 0)


def whiten(advantages: Tensor, mask: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over the tokens that count; 0 elsewhere.

        (A - mean) / (sd + eps)        sd with Bessel's correction, over tokens

    Args:
        advantages: [B, T].
        mask: [B, T] bool.
        eps: added to the sd. Equal advantages give 0 (also with eps 0).

    Examples:
        >>> whiten(torch.tensor([[1.0, -1.0]]), torch.tensor([[True, True]]), eps=0.0).tolist()
        [[0.7071067690849304, -0.7071067690849304]]
    """
    gap = torch.where(mask, advantages - masked_mean(advantages, mask), 0)
    sd = masked_variance(advantages, mask).sqrt()
    return torch.zeros_like(gap) if float(sd) == 0 else gap / (sd + eps)


def equal_groups(rewards: Tensor, group: Tensor) -> Tensor:
    """[B] bool; the answer's whole group has one and the same reward, so it teaches nothing.

    Examples:
        >>> equal_groups(torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([0, 0, 1, 1])).tolist()
        [True, True, False, False]
    """
    _, _, index = group_sums(rewards, group)
    lowest, highest = _group_range(rewards, torch.ones_like(rewards).bool(), index)
    return lowest == highest


def group_shares(rewards: Tensor, group: Tensor, correct: Tensor | None) -> dict[str, float]:
    """Shares of groups that teach nothing: with one reward, and of them all wrong and all right.

    Too hard and too easy prompts look the same in a reward curve and need opposite repairs.

    Args:
        rewards: [B].
        group: [B] int64.
        correct: [B] bool, or None.

    Examples:
        >>> reward, group = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1])
        >>> group_shares(reward, group, reward > 0)["frac_all_right_groups"]
        0.5
    """
    size = group_sums(torch.ones_like(rewards), group)[1]
    per_group = 1 / size  # so that sums over answers count groups
    n = per_group.sum()
    same = equal_groups(rewards, group)
    shares = {"frac_zero_std_groups": float((per_group * same).sum() / n)}
    if correct is not None:
        right = correct.to(rewards.dtype)
        all_same = equal_groups(right, group)
        shares["frac_all_right_groups"] = float((per_group * (all_same & correct)).sum() / n)
        shares["frac_all_wrong_groups"] = float((per_group * (all_same & ~correct)).sum() / n)
    return shares


def group_tokens(correct: Tensor, group: Tensor, lengths: Tensor) -> dict[str, int]:
    """Answer tokens spent on prompts that were too hard, and on those that were too easy.

    Args:
        correct: [B] bool.
        group: [B] int64.
        lengths: [B] int64, tokens of each answer.

    Examples:
        >>> group = torch.tensor([0, 0, 1, 1])
        >>> group_tokens(group > 0, group, torch.tensor([2, 3, 4, 5]))
        {'tokens_all_right': 9, 'tokens_all_wrong': 5}
    """
    alike = equal_groups(correct.float(), group)
    return {
        "tokens_all_right": int(lengths[alike & correct].sum()),
        "tokens_all_wrong": int(lengths[alike & ~correct].sum()),
    }


def group_normalised(
    scale: Scale = "std", eps: float = 1e-6, singleton: Literal["zero", "raw"] = "zero"
) -> Term:
    """Advantage term of GRPO (``scale="std"``) and Dr.GRPO (``scale="none"``).

    Every token of an answer gets the advantage of the answer. See ``group_advantages``.

    When this does nothing: groups whose answers all have one reward get 0 and teach nothing (the
    metric ``frac_zero_std_groups``); so does an answer that is alone in its group.

    Examples:
        >>> group_normalised("none").settings["scale"]
        'none'
    """
    settings: dict[str, Any] = {"scale": scale, "eps": eps, "singleton": singleton}

    def apply(view: View, state: State) -> Applied:
        advantage = group_advantages(
            view.reward, view.rollouts.group, scale=scale, eps=eps, singleton=singleton
        )
        return Applied(_spread(advantage, view), state)

    return Term("group-advantage", apply, settings=settings)


def leave_one_out() -> Term:
    """Advantage term of RLOO; see ``leave_one_out_advantages``.

    When this does nothing: groups whose answers all have one reward get 0. Beside
    ``group_normalised("none")`` it only scales a group of n by n / (n - 1).

    Examples:
        >>> leave_one_out().name
        'leave-one-out'
    """

    def apply(view: View, state: State) -> Applied:
        return Applied(
            _spread(leave_one_out_advantages(view.reward, view.rollouts.group), view), state
        )

    return Term("leave-one-out", apply)


def whitened(eps: float = 1e-6) -> Term:
    """Advantage term that whitens over the batch what the terms before it made.

    After ``group_normalised("none")`` it is REINFORCE++ with a group baseline. See ``whiten``.

    When this does nothing: advantages that are all equal become 0. Advantages that already have
    mean 0 and deviation 1 over the tokens stay as they are.

    Examples:
        >>> whitened().name
        'whitened'
    """

    def apply(view: View, state: State) -> Applied:
        return Applied(whiten(view.advantages, view.rollouts.mask, eps=eps), state)

    return Term("whitened", apply, settings={"eps": eps})


def _spread(advantage: Tensor, view: View) -> Tensor:
    """[B] to [B, T], 0 off the mask."""
    return torch.where(view.rollouts.mask, advantage.unsqueeze(-1), 0)


def _group_range(values: Tensor, known: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    n = int(index.max()) + 1 if index.numel() else 0
    low = values.new_full((n,), torch.inf)
    high = values.new_full((n,), -torch.inf)
    low.scatter_reduce_(0, index, torch.where(known, values, torch.inf), "amin")
    high.scatter_reduce_(0, index, torch.where(known, values, -torch.inf), "amax")
    return low[index], high[index]


def _check(rewards: Tensor, group: Tensor) -> None:
    if rewards.ndim != 1 or group.shape != rewards.shape:
        raise InputError(
            f"rewards have shape {tuple(rewards.shape)} and group {tuple(group.shape)}; expected "
            "one number an answer, [B], in both"
        )
