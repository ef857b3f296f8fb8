"""From TRL's rewards to an objective's advantages, over the rollout batch of all processes.

Legend: B answers of this process, N of all processes, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.policy.hosts.tensors import host_rollouts
from entropilot.policy.hosts.trl_measuring import answer_mask, measure_inputs
from entropilot.policy.objective import Objective, ObjectiveState
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.training.evaluation import seeded

REWARD: Final = "objective_reward"  # [B], beside TRL's own tensors in a batch
GROUP: Final = "objective_group"  # [B]
STREAM: Final = 0  # of the trainer's seed

#: Fills in what reward and advantage terms need beyond tokens, rewards, log-probs and entropies.
Annotate = Callable[[Rollouts], Rollouts]

_REWARD_ONLY: Final = frozenset({"group-advantage", "leave-one-out", "whitened"})


def exchange_advantages(
    trainer: Any,
    objective: Objective,
    batch: dict[str, Any],
    rewards: Tensor,
    n_group: int,
    state: ObjectiveState,
    annotate: Annotate | None = None,
) -> ObjectiveState:
    """Put the objective's advantages [B, C] in the place of TRL's [B].

    Answers that no reward function could judge (nan) are left out of every statistic and get 0.

    Args:
        trainer: a ``GRPOTrainer``.
        objective: whose reward and advantage terms run.
        batch: what TRL made of a rollout batch; changed in place.
        rewards: [N, K] of every reward function.
        n_group: answers a prompt.
        state: of the objective.
        annotate: see ``Annotate``.

    Returns:
        The next state.
    """
    own = answer_mask(batch)
    mask = collect(trainer, own)
    reward = _total(rewards, trainer.reward_weights)
    group = torch.arange(len(reward), device=reward.device) // n_group
    advantages = torch.zeros(mask.shape, device=mask.device)
    shaped = torch.nan_to_num(reward)
    judged = ~reward.isnan()
    measured = _measured(trainer, objective, batch)
    if bool(mask[judged].any()):
        fields = {"tokens": batch["completion_ids"], **measured}
        tensors = {name: collect(trainer, value)[judged] for name, value in fields.items()}
        rollouts = host_rollouts(
            mask=mask[judged], reward=reward[judged], group=group[judged], **tensors
        )
        if annotate is not None:
            rollouts = annotate(rollouts)
        generator = seeded(trainer.args.seed, STREAM, trainer.state.global_step)
        prepared = objective.prepare(rollouts, state, generator=generator)
        advantages[judged] = prepared.advantages.to(advantages.dtype)
        shaped[judged] = prepared.reward.to(shaped.dtype)
        state = prepared.state
        log_metrics(trainer, {**prepared.metrics, "shaped_reward": float(prepared.reward.mean())})
    _show(trainer, (advantages * mask).sum(1) / mask.sum(1).clamp(min=1))
    n, width = own.shape
    mine = slice(trainer.accelerator.process_index * n, (trainer.accelerator.process_index + 1) * n)
    batch["advantages"] = advantages[mine, :width]
    batch[REWARD], batch[GROUP] = shaped[mine], group[mine]
    return state


def collect(trainer: Any, value: Tensor) -> Tensor:
    """Rows of all processes in their order, padded to one width."""
    accelerator = trainer.accelerator
    if accelerator.num_processes == 1:
        return value
    plain = value.to(torch.uint8) if value.dtype == torch.bool else value.contiguous()
    if plain.ndim > 1:
        plain = accelerator.pad_across_processes(plain, dim=1)
    gathered: Tensor = accelerator.gather(plain)
    return gathered.to(value.dtype)


def log_metrics(trainer: Any, metrics: Mapping[str, float]) -> None:
    """Add numbers to those that TRL averages and logs."""
    kept = trainer._metrics["train" if trainer.model.training else "eval"]
    for name, value in metrics.items():
        kept[name].append(float(value))


def _total(rewards: Tensor, weights: Tensor) -> Tensor:
    """[N] weighted sum of the reward functions; nan where none could judge."""
    total = (rewards * weights.to(rewards.device)).nansum(1)
    return torch.where(rewards.isnan().all(1), torch.nan, total)


def _measured(trainer: Any, objective: Objective, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Log-probs and entropies of the sampler, where a reward or advantage term may read them."""
    if not objective.rewards and all(t.name in _REWARD_ONLY for t in objective.advantages):
        return {}
    rows = trainer.args.per_device_train_batch_size
    wants = frozenset({"logprob", "entropy"})
    with torch.no_grad():
        now = measure_inputs(trainer, trainer.model, batch, wants, 1.0, rows=rows).now
    return {"old_logprob": now.logprob, "entropy": now.get("entropy")}


def _show(trainer: Any, advantages: Tensor) -> None:
    """TRL's table of completions shows the advantages that act."""
    shown = trainer._logs["advantages"]
    for _ in range(min(len(advantages), len(shown))):
        shown.pop()
    shown.extend(advantages.tolist())
