"""One update of the network: statistics, objective, backward, optimizer step.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import BrokenNumbersError
from entropilot.policy.models import PolicyModel
from entropilot.policy.objective import Objective, ObjectiveState, Prepared
from entropilot.policy.statistics import DIFFERENTIABLE, PolicyStatistics, joined
from entropilot.policy.training.measuring import Prompts, measure, send_back
from entropilot.policy.training.settings import TrainSettings


class NonFiniteLossError(BrokenNumbersError):
    """The loss or the gradient is not finite; the network was left as it was."""


class Updated(NamedTuple):
    """What an update left behind."""

    state: ObjectiveState
    metrics: dict[str, float]
    now: PolicyStatistics  # before the update, detached


def update(
    policy: PolicyModel,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    prepared: Prepared,
    prompts: Prompts,
    state: ObjectiveState,
    settings: TrainSettings,
    *,
    also: frozenset[str] = frozenset(),
    reference: PolicyModel | None = None,
    generator: torch.Generator | None = None,
) -> Updated:
    """One optimizer step on (a part of) a rollout batch.

    Where the batch is too large for one pass, it is measured in parts without gradient, the
    objective is evaluated once on the whole, and each part is measured again and sent backward
    with its share of dLoss/dstatistic. So no choice over the batch depends on ``micro_tokens``.

    Args:
        policy: the network.
        optimizer: of its parameters.
        objective: what to minimise.
        prepared: the answers of this update.
        prompts: their B prompts.
        state: of the objective.
        settings: temperature, micro_tokens, clip_norm.
        also: statistics to measure besides those that the objective needs, for meters.
        reference: frozen network, for ``kl_to_reference``.
        generator: for terms that draw.

    Returns:
        The next state, metrics and the statistics before the update.

    Raises:
        NonFiniteError: a term, or the network itself, gave a number that is not finite.
        NonFiniteLossError: the gradient is not finite. Nothing was changed.
    """
    rollouts = prepared.rollouts
    wants = objective.needs | also

    knobs: dict[str, Any] = {
        "temperature": settings.temperature,
        "top_p": objective.top_p,
        "reference": reference,
    }

    def answers(rows: Tensor | None) -> tuple[Prompts, Tensor, Tensor]:
        part = rollouts if rows is None else rollouts.select(rows)
        asked = prompts if rows is None else [prompts[i] for i in rows.tolist()]
        width = int(part.mask.any(0).nonzero().max()) + 1  # columns beyond are padding of others
        return asked, part.tokens[:, :width], part.mask[:, :width]

    def statistics(rows: Tensor | None = None) -> PolicyStatistics:
        found = measure(policy, *answers(rows), wants=wants, **knobs)
        return found.map(lambda v: _widened(v, rollouts.mask.shape[1]))

    optimizer.zero_grad(set_to_none=True)
    parts = micro_batches(rollouts.lengths, prompts, settings.micro_tokens)
    if len(parts) == 1:
        now = statistics()
        output = objective.loss(prepared, now, state, generator=generator)
        torch.autograd.backward(output.loss)
    else:
        with torch.no_grad():
            pieces = [statistics(rows) for rows in parts]
        order = torch.argsort(torch.cat(parts))  # back in that of the batch
        now = joined(pieces).select(order).leaves()
        output = objective.loss(prepared, now, state, generator=generator)
        torch.autograd.backward(output.loss)
        slopes = slopes_of(now)
        for rows in parts:
            asked, tokens, mask = answers(rows)
            own = {name: slope[rows, : mask.shape[1]] for name, slope in slopes.items()}
            send_back(policy, asked, tokens, mask, own, **knobs)
    norm = gradient_norm(policy, settings.clip_norm)
    if not bool(torch.isfinite(norm)):
        optimizer.zero_grad(set_to_none=True)
        raise NonFiniteLossError(
            "the gradient is not finite although every term is; the network's backward overflowed. "
            "Lower train.learning_rate, or use float32"
        )
    optimizer.step()
    metrics = output.metrics | {"loss": float(output.loss.detach()), "grad_norm": float(norm)}
    return Updated(output.state, metrics, now.detached())


def gradient_norm(policy: PolicyModel, largest: float) -> Tensor:
    """Norm of the gradient before it is scaled down to ``largest``; 0 scales nothing."""
    trained = [p for p in policy.parameters() if p.grad is not None]
    limit = largest if largest > 0 else float("inf")
    return torch.nn.utils.clip_grad_norm_(trained, limit)


def micro_batches(lengths: Tensor, prompts: Prompts, micro_tokens: int) -> list[Tensor]:
    """Rows of parts with at most ``micro_tokens`` tokens, longest answers first; a row at least.

    Examples:
        >>> [r.tolist() for r in micro_batches(torch.tensor([2, 5, 1]), [[0], [0], [0]], 6)]
        [[1], [0, 2]]
    """
    cost = lengths + torch.tensor([len(prompt) for prompt in prompts])
    if int(cost.sum()) <= micro_tokens:
        return [torch.arange(len(lengths))]
    parts: list[list[int]] = []
    used = micro_tokens + 1
    for row in torch.argsort(lengths, descending=True, stable=True).tolist():
        if used + int(cost[row]) > micro_tokens:
            parts.append([])
            used = 0
        parts[-1].append(row)
        used += int(cost[row])
    return [torch.tensor(sorted(part)) for part in parts]


def slopes_of(leaves: PolicyStatistics) -> dict[str, Tensor]:
    """dLoss/dstatistic [B, T] of the statistics that have collected one."""
    values = {name: getattr(leaves, name) for name in DIFFERENTIABLE}
    return {n: v.grad for n, v in values.items() if v is not None and v.grad is not None}


def _widened(values: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[1]))
