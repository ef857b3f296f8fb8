"""An objective on the tensors that another trainer holds.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.objective import Objective, ObjectiveOutput, ObjectiveState, Prepared
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import FIELDS, PolicyStatistics
from entropilot.policy.training.updating import slopes_of


def host_loss(
    objective: Objective,
    now: PolicyStatistics,
    *,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    reference_logprob: Tensor | None = None,
    reward: Tensor | None = None,
    group: Tensor | None = None,
    state: ObjectiveState | None = None,
    generator: torch.Generator | None = None,
) -> ObjectiveOutput:
    """The loss of an update on a host's tensors: masks, weights, surrogate, regularisers.

    Reward and advantage terms do not run here: the advantages are made already.

    Args:
        objective: what to minimise.
        now: statistics of the current policy, [B, T] with gradient; values off the mask may be
            anything.
        old_logprob: [B, T] nats.
        advantages: [B, T], or [B].
        mask: [B, T] of 0/1 or bool, tokens that count.
        reference_logprob: [B, T] nats.
        reward: [B]; zeros if left out.
        group: [B] int64; every answer alone if left out.
        state: of the update before; None at the start.
        generator: for terms that draw.

    Returns:
        As ``Objective.loss``.

    Raises:
        ConfigurationError: a term needs a statistic that is not there.
        InputError: the tensors do not fit or are not finite where tokens count.

    Examples:
        >>> ones = torch.ones(2, 3)
        >>> host_loss(Objective(), PolicyStatistics(logprob=-ones), old_logprob=-ones,
        ...     advantages=ones, mask=ones).loss.item()
        -1.0
    """
    check_measured(objective, [name for name in FIELDS if getattr(now, name) is not None])
    rollouts = host_rollouts(
        mask=mask,
        old_logprob=old_logprob,
        reward=reward,
        group=group,
        reference_logprob=reference_logprob,
    )
    wide = advantages if advantages.ndim == 2 else advantages[:, None]
    known = torch.where(rollouts.mask, wide.expand(rollouts.mask.shape), 0).detach()
    prepared = Prepared(rollouts, rollouts.scores, known, dict(state or {}), {})
    return objective.loss(prepared, now, generator=generator)


class Share(NamedTuple):
    """An evaluated objective, ready to be sent backward in parts."""

    output: ObjectiveOutput
    slopes: Mapping[str, Tensor]  # [B, T] dLoss/dstatistic


def shared_loss(objective: Objective, now: PolicyStatistics, **tensors: object) -> Share:
    """``host_loss`` with its slopes in the statistics, so that parts of a batch go back alone.

    Choices and means are over the whole batch handed in, however it is cut for memory.

    Args:
        objective: what to minimise.
        now: statistics of the current policy; their graph is not used.
        tensors: as ``host_loss`` takes them.

    Examples:
        >>> ones = torch.ones(1, 2)
        >>> share = shared_loss(Objective(), PolicyStatistics(logprob=-ones), old_logprob=-ones,
        ...     advantages=ones, mask=ones)
        >>> share.slopes["logprob"].tolist()
        [[-0.5, -0.5]]
    """
    leaves = now.leaves()
    with torch.enable_grad():
        output = host_loss(objective, leaves, **tensors)  # type: ignore[arg-type]
        torch.autograd.backward(output.loss)
    return Share(output._replace(loss=output.loss.detach()), slopes_of(leaves))


def host_rollouts(
    *,
    mask: Tensor,
    old_logprob: Tensor | None = None,
    reward: Tensor | None = None,
    group: Tensor | None = None,
    tokens: Tensor | None = None,
    entropy: Tensor | None = None,
    reference_logprob: Tensor | None = None,
) -> Rollouts:
    """A rollout batch of what a host has; what it has not is 0.

    Args:
        mask: [B, T] of 0/1 or bool.
        old_logprob: [B, T] nats.
        reward: [B] or [B, T].
        group: [B] int64; every answer alone if left out.
        tokens: [B, T] int64.
        entropy: [B, T] nats.
        reference_logprob: [B, T] nats.

    Examples:
        >>> host_rollouts(mask=torch.ones(2, 3), reward=torch.ones(2)).n_tokens
        6
    """
    valid = mask.bool()
    n, device = valid.shape[0], valid.device
    zeros = torch.zeros(valid.shape, device=device)
    return Rollouts(
        tokens=zeros.long() if tokens is None else tokens,
        mask=valid,
        old_logprob=zeros if old_logprob is None else old_logprob.detach(),
        reward=torch.zeros(n, device=device) if reward is None else reward.detach(),
        group=torch.arange(n, device=device) if group is None else group,
        entropy=None if entropy is None else entropy.detach(),
        reference_logprob=None if reference_logprob is None else reference_logprob.detach(),
    )


def check_measured(
    objective: Objective,
    measured: Sequence[str],
    *,
    host: str = "this trainer",
    instead: str = "the built-in trainer",
) -> None:
    """Reject an objective that reads statistics which are not measured.

    Args:
        objective: what is to be minimised.
        measured: names of statistics.
        host: who measures them.
        instead: who measures more.

    Raises:
        ConfigurationError: names the terms, what they read, and the mend.

    Examples:
        >>> check_measured(Objective(), ["logprob"])
    """
    missing = objective.needs - set(measured)
    if missing:
        names = [term.name for term in objective.terms if term.needs & missing]
        raise ConfigurationError(
            f"{', '.join(names)} needs {', '.join(sorted(missing))}, which {host} does not "
            f"measure: it has {', '.join(measured)}. Use {instead} for it, or a recipe without"
        )
