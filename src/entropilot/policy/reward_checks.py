"""Does a reward term reach the gradient at all?

A group baseline takes the mean of each group away, so what a term adds alike to all answers of a
prompt is lost: an entropy penalty that is one number a prompt changes nothing.

Legend: B answers.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from entropilot.policy.advantages import group_sums


def varies_within_groups(change: Tensor, group: Tensor) -> bool:
    """Whether answers to one prompt differ in what was added to their rewards.

    Args:
        change: [B], reward after the term minus reward before.
        group: [B] int64.

    Examples:
        >>> varies_within_groups(torch.tensor([1.0, 1.0, 3.0, 3.0]), torch.tensor([0, 0, 1, 1]))
        False
    """
    total, size, _ = group_sums(change, group)
    rounding = 1e-6 * float(change.abs().max()) if change.numel() else 0.0
    return bool(((change - total / size).abs() > rounding).any())


def within_group_variance_warning(name: str, before: Tensor, after: Tensor, group: Tensor) -> bool:
    """Warn that a reward term can't change the gradient, and say whether it was so.

    A term that changed no reward at all is merely idle and is not warned of, and neither is a batch
    in which every prompt has one answer, which has no group baseline.

    Args:
        name: of the term.
        before: [B] rewards before it.
        after: [B] rewards after it.
        group: [B] int64.

    Returns:
        Whether the change is constant in every group and not 0.

    Examples:
        >>> reward, group = torch.tensor([1.0, 0.0]), torch.tensor([0, 0])
        >>> within_group_variance_warning("length", reward, reward - reward.sum(), group)
        True
        >>> within_group_variance_warning("length", reward, 2 * reward, group)
        False
    """
    change = (after - before).detach()
    alone = len(torch.unique(group)) == group.numel()
    if alone or not bool((change != 0).any()) or varies_within_groups(change, group):
        return False
    warnings.warn(
        f"the reward term {name!r} adds the same to all answers of a group, so a group baseline "
        "takes it away again: this term cannot change the gradient. Make it depend on the answer, "
        "or use a baseline over the batch",
        stacklevel=3,
    )
    return True
