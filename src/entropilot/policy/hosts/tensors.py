"""An objective on the tensors that another trainer holds.

The host has drawn, rewarded and compared its answers already; what runs here is the loss of an
update: masks, weights, surrogate, aggregation, regularisers.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.objective import Objective, ObjectiveOutput, ObjectiveState, Prepared
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics


def host_loss(
    objective: Objective,
    *,
    logprob: Tensor,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    entropy: Tensor | None = None,
    reference_logprob: Tensor | None = None,
    state: ObjectiveState | None = None,
    generator: torch.Generator | None = None,
) -> ObjectiveOutput:
    """The loss of an update on a host's tensors.

    Args:
        objective: its reward and advantage terms are the host's business and do not run.
        logprob: [B, T] nats, with gradient.
        old_logprob: [B, T] nats.
        advantages: [B, T], or [B].
        mask: [B, T] of 0/1 or bool, tokens that count.
        entropy: [B, T] nats, with gradient where a regulariser needs it.
        reference_logprob: [B, T] nats.
        state: of the update before; None at the start.
        generator: for terms that draw.

    Returns:
        As ``Objective.loss``.

    Raises:
        ConfigurationError: a term needs a statistic that a host does not measure.
        InputError: the tensors do not fit or are not finite where tokens count.

    Examples:
        >>> ones = torch.ones(2, 3)
        >>> host_loss(Objective(), logprob=-ones, old_logprob=-ones, advantages=ones,
        ...     mask=ones).loss.item()
        -1.0
    """
    carried = {"logprob"} | ({"entropy"} if entropy is not None else set())
    missing = objective.needs - carried
    if missing:
        names = [term.name for term in objective.terms if term.needs & missing]
        raise ConfigurationError(
            f"{', '.join(names)} needs {', '.join(sorted(missing))}, which this trainer does not "
            "measure; use the built-in trainer for it, or a recipe without"
        )
    valid = mask.bool()
    wide = advantages if advantages.ndim == 2 else advantages[:, None]
    known = torch.where(valid, wide.expand(valid.shape), 0).detach()
    n = valid.shape[0]
    rollouts = Rollouts(
        tokens=torch.zeros(valid.shape, dtype=torch.int64, device=valid.device),
        mask=valid,
        old_logprob=old_logprob.detach(),
        reward=torch.zeros(n, dtype=logprob.dtype, device=valid.device),
        group=torch.arange(n, device=valid.device),
        reference_logprob=None if reference_logprob is None else reference_logprob.detach(),
    )
    prepared = Prepared(rollouts, rollouts.reward, known, dict(state or {}), {})
    now = PolicyStatistics(logprob=logprob, entropy=entropy)
    return objective.loss(prepared, now, generator=generator)
