"""The loss of an optimizer step in TRL: evaluated once, sent backward micro-batch by micro-batch.

TRL asks for the loss of a micro-batch at a time. Here the first one measures all micro-batches of
the optimizer step, on all processes, and evaluates the objective on the whole; each micro-batch
then carries its share of dLoss/dstatistic back through the network.

Legend: B answers, C completion tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from entropilot.information import masked_mean
from entropilot.policy.hosts.tensors import host_loss, shared_loss
from entropilot.policy.hosts.trl_advantages import GROUP, REWARD, collect, log_metrics
from entropilot.policy.hosts.trl_measuring import Measured, answer_mask, measure_inputs
from entropilot.policy.objective import Objective, ObjectiveState
from entropilot.policy.statistics import PolicyStatistics, joined
from entropilot.policy.training.evaluation import seeded

STREAM: Final = 1  # of the trainer's seed


class Part(NamedTuple):
    """What a micro-batch owes to the loss of its optimizer step."""

    slopes: Mapping[str, Tensor]  # [B, C] dLoss/dstatistic, all factors inside
    value: float  # its share of the reported loss
    live: Measured | None  # statistics with gradient, where they are measured already


class Window(NamedTuple):
    """The micro-batches of an optimizer step, and the state of the objective after it."""

    parts: list[Part]
    state: ObjectiveState


def open_window(
    trainer: Any,
    objective: Objective,
    model: Any,
    inputs: dict[str, Any],
    state: ObjectiveState,
    n_done: int,
) -> Window:
    """Evaluate the objective over the micro-batches of an optimizer step.

    Where an optimizer step goes over the end of a rollout batch, that is those up to there, and
    the losses of both parts are averaged.

    Args:
        trainer: a ``GRPOTrainer`` in training.
        objective: what to minimise.
        model: the network as the trainer wraps it.
        inputs: the first of the micro-batches.
        state: of the objective.
        n_done: micro-batches of the optimizer step before it.
    """
    batches = _batches(trainer, inputs, n_done)
    live = None
    if len(batches) == 1:
        live = measured(trainer, objective, model, inputs)
        pieces = [live.now.detached()]
    else:
        with torch.no_grad():
            pieces = [measured(trainer, objective, model, batch).now for batch in batches]
    now = joined(pieces).map(lambda value: collect(trainer, value))
    tensors = _tensors(batches, pieces)
    whole = {name: collect(trainer, value) for name, value in tensors.items()}
    if not bool(whole["mask"].any()):
        warnings.warn(
            "no token counts in a whole update (every answer is masked), so it changes nothing",
            stacklevel=2,
        )
        return Window([Part({}, 0.0, live)] * len(batches), state)
    generator = seeded(trainer.args.seed, STREAM, trainer.state.global_step, n_done)
    output, slopes = shared_loss(objective, now, **whole, state=state, generator=generator)
    log_metrics(trainer, _metrics(output.metrics, now, whole))
    in_step = trainer.current_gradient_accumulation_steps
    processes = trainer.accelerator.num_processes  # over which gradients are averaged
    start = trainer.accelerator.process_index * len(tensors["mask"])
    parts = []
    for batch in batches:
        n, width = answer_mask(batch).shape
        factor = processes * len(batches) / in_step
        own = {name: factor * v[start : start + n, :width] for name, v in slopes.items()}
        parts.append(Part(own, float(output.loss) / in_step, live))
        start += n
    return Window(parts, output.state)


def part_loss(
    trainer: Any, objective: Objective, model: Any, inputs: dict[str, Any], part: Part
) -> Tensor:
    """A scalar with the value and the gradient that a micro-batch adds to the step's loss."""
    live = part.live or measured(trainer, objective, model, inputs)
    mask = answer_mask(inputs)
    total = torch.where(mask, live.now.logprob, 0).sum() * 0
    for name, slope in part.slopes.items():
        total = total + (slope * torch.where(mask, live.now.get(name), 0)).sum()
    return _with_auxiliary(trainer, total - total.detach() + part.value, live)


def evaluation_loss(
    trainer: Any, objective: Objective, model: Any, inputs: dict[str, Any], state: ObjectiveState
) -> Tensor:
    """The objective on one batch of an evaluation."""
    live = measured(trainer, objective, model, inputs)
    tensors: dict[str, Any] = _tensors([inputs], [live.now])
    if not bool(tensors["mask"].any()):
        return live.now.logprob.sum() * 0
    generator = seeded(trainer.args.seed, STREAM, trainer.state.global_step)
    output = host_loss(objective, live.now, **tensors, state=state, generator=generator)
    log_metrics(trainer, _metrics(output.metrics, live.now, tensors))
    return _with_auxiliary(trainer, output.loss, live)


def measured(trainer: Any, objective: Objective, model: Any, inputs: dict[str, Any]) -> Measured:
    """What the objective reads, of one batch of TRL's."""
    return measure_inputs(trainer, model, inputs, objective.needs, objective.top_p)


def _batches(trainer: Any, inputs: dict[str, Any], n_done: int) -> list[dict[str, Any]]:
    """Micro-batches from this one to the end of the optimizer step or of the rollout batch."""
    buffered, n = trainer._buffered_inputs, trainer.args.steps_per_generation
    first = trainer._step % n
    if not buffered or buffered[first] is not inputs:
        return [inputs]
    left = trainer.current_gradient_accumulation_steps - n_done
    return list(buffered[first : min(n, first + left)])


def _tensors(
    batches: Sequence[Mapping[str, Any]], pieces: Sequence[PolicyStatistics]
) -> dict[str, Tensor]:
    """What ``host_loss`` takes beside the statistics, of some micro-batches."""
    rows: dict[str, list[Tensor]] = {}
    for batch, piece in zip(batches, pieces, strict=True):
        mask = answer_mask(batch)
        old = batch.get("old_per_token_logps")
        advantages = batch["advantages"]
        wide = advantages if advantages.ndim == 2 else advantages[:, None].expand(mask.shape)
        if "importance_sampling_ratio" in batch:  # of another sampler, such as vLLM
            wide = wide * batch["importance_sampling_ratio"]
        found = {
            "mask": mask,
            "old_logprob": piece.logprob.detach() if old is None else old,
            "advantages": wide,
            "reference_logprob": batch.get("ref_per_token_logps"),
            "reward": batch.get(REWARD),
            "group": batch.get(GROUP),
        }
        for name, value in found.items():
            if value is not None:
                rows.setdefault(name, []).append(value)
    return {name: torch.cat(values) for name, values in rows.items()}


def _with_auxiliary(trainer: Any, loss: Tensor, live: Measured) -> Tensor:
    if live.auxiliary is None:
        return loss
    parts = trainer.current_gradient_accumulation_steps if trainer.model.training else 1
    weighted: Tensor = loss + trainer.router_aux_loss_coef * live.auxiliary / parts
    return weighted


def _metrics(
    found: Mapping[str, float], now: PolicyStatistics, tensors: Mapping[str, Tensor]
) -> dict[str, float]:
    """Those of the objective, and what every trainer logs."""
    mask, advantages = tensors["mask"], tensors["advantages"]
    logprob, entropy = (now.get(name).detach() for name in ("logprob", "entropy"))
    gap = (logprob - masked_mean(logprob, mask)) * (advantages - masked_mean(advantages, mask))
    return {
        **found,
        "entropy": float(masked_mean(entropy, mask)),
        "covariance": float(masked_mean(gap, mask)),
    }
