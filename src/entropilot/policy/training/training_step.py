"""One step of training: draw answers, verify them, update the policy, measure everything.

Every draw is keyed by (seed, step), so that a step is a function of the weights before it alone.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from entropilot.information import masked_mean
from entropilot.policy.advantages import group_tokens
from entropilot.policy.models import PolicyModel
from entropilot.policy.objective import ObjectiveState, Prepared
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.training.evaluation import seeded, stream_seed
from entropilot.policy.training.measuring import measure
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Batch, Trainee
from entropilot.policy.training.updating import update

#: Streams of one seed; other engines take their prompts from the first too.
PROBLEMS: Final = 0
_DRAWS, _SPLITS, _TERMS = 1, 2, 3


def train_step(
    trainee: Trainee, optimizer: torch.optim.Optimizer, state: ObjectiveState, step: int
) -> tuple[dict[str, Any], ObjectiveState]:
    """One step: a rollout batch and the updates on it.

    Args:
        trainee: what is trained.
        optimizer: of its parameters.
        state: of the objective.
        step: its number, from 0.

    Returns:
        The row of metrics and the next state.
    """
    began = time.perf_counter()
    settings = trainee.settings
    if trainee.temperature is not None:
        settings = replace(settings, temperature=trainee.temperature(step))
        trainee = replace(trainee, settings=settings)
    objective = trainee.objective(step)
    for group in optimizer.param_groups:
        group["lr"] = settings.rate_at(step)
    batch = draw_batch(trainee, step)
    drawn = time.perf_counter()
    generator = seeded(settings.seed, _TERMS, step)
    prepared = objective.prepare(batch.rollouts, state, generator=generator)
    probes = [probe(batch, settings) for probe in trainee.probes]
    collected: dict[str, list[float]] = {}
    metered: dict[str, list[float]] = {}
    state = prepared.state
    for number, rows in enumerate(split_rows(batch.rollouts.n_answers, settings, step)):
        part = prepared.select(rows)
        used = tuple(m for m in trainee.meters if m.every_update or number == 0)
        done = update(
            trainee.policy,
            optimizer,
            objective,
            part,
            [batch.prompts[i] for i in rows.tolist()],
            state,
            settings,
            also=frozenset().union(*(m.needs for m in used)),
            reference=trainee.reference,
            generator=generator,
        )
        state = done.state
        for name, value in done.metrics.items():
            collected.setdefault(name, []).append(value)
        for meter in used:
            for name, value in meter.measure(part, done.now, settings.rate_at(step)).items():
                metered.setdefault(name, []).append(value)
    probed = {name: value for probe in probes for name, value in probe().items()}
    ended = time.perf_counter()
    row: dict[str, Any] = {
        "step": step + 1,
        **batch_metrics(batch, prepared),
        **{name: float(np.mean(values)) for name, values in (collected | metered).items()},
        **probed,
        "temperature": settings.temperature,
        "learning_rate": settings.rate_at(step),
        "seconds": ended - began,
        "seconds_rollout": drawn - began,
        "tokens_per_second": batch.rollouts.n_tokens / (ended - began),
    }
    return row, state


def draw_batch(trainee: Trainee, step: int) -> Batch:
    """Problems, answers and verdicts of one step."""
    settings, task = trainee.settings, trainee.task
    problems = task.problems(settings.n_prompts, stream_seed(settings.seed, PROBLEMS, step))
    prompts = [task.encode(problem) for problem in problems]
    samples = sample_rollouts(
        trainee.policy.decoder(),
        prompts,
        settings.n_answers,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens or task.max_tokens,
        eos=task.eos,
        seed=stream_seed(settings.seed, _DRAWS, step),
    )
    index = samples.prompt_index
    asked = [problems[i] for i in index.tolist()]
    graded = task.grade(asked, samples.tokens, samples.mask)
    rollouts = Rollouts(
        tokens=samples.tokens,
        mask=samples.mask,
        old_logprob=samples.logprob,
        reward=graded.reward,
        group=index,
        entropy=samples.entropy,
        correct=graded.correct,
        truncated=samples.truncated,
        **task.annotate(samples.tokens, samples.mask),
    )
    batch = Batch(trainee.policy, asked, [prompts[i] for i in index.tolist()], rollouts, graded)
    if trainee.annotate is not None:
        batch = batch._replace(rollouts=trainee.annotate(batch))
    if trainee.reference is not None:
        batch = batch._replace(rollouts=_with_reference(batch, trainee.reference, settings))
    return batch


def split_rows(n: int, settings: TrainSettings, step: int) -> Iterator[Tensor]:
    """Rows of each update of a step: a random split of the answers in each epoch.

    Examples:
        >>> settings = TrainSettings(n_prompts=1, n_answers=4, n_updates=2)
        >>> sorted(torch.cat(list(split_rows(4, settings, 0))).tolist())
        [0, 1, 2, 3]
    """
    generator = seeded(settings.seed, _SPLITS, step)
    for _epoch in range(settings.n_epochs):
        order = torch.randperm(n, generator=generator)
        for rows in order.tensor_split(settings.n_updates):
            yield rows.sort().values


def batch_metrics(batch: Batch, prepared: Prepared) -> dict[str, float]:
    """What the answers of a step say of the policy."""
    rollouts, graded = batch.rollouts, batch.graded
    entropy = rollouts.entropy
    dead = ~(prepared.advantages != 0).any(-1)
    found = {
        "reward": float(rollouts.scores.mean()),
        "shaped_reward": float(prepared.reward.mean()),
        "accuracy": float(graded.correct.float().mean()),
        "length": float(rollouts.lengths.float().mean()),
        "n_tokens": rollouts.n_tokens,
        "n_answers": rollouts.n_answers,
        "dead_tokens": float(rollouts.lengths[dead].sum() / rollouts.n_tokens),
        **prepared.metrics,
        **group_tokens(graded.correct, rollouts.group, rollouts.lengths),
    }
    if entropy is not None:
        found["entropy"] = float(masked_mean(entropy, rollouts.mask))
    if rollouts.truncated is not None:
        found["truncated"] = float(rollouts.truncated.float().mean())
    return found | {f"verifier/{kind}": n for kind, n in graded.failures.items()}


@torch.no_grad()
def _with_reference(batch: Batch, reference: PolicyModel, settings: TrainSettings) -> Rollouts:
    found = measure(
        reference,
        batch.prompts,
        batch.rollouts.tokens,
        batch.rollouts.mask,
        wants=("logprob",),
        temperature=settings.temperature,
    )
    return batch.rollouts.replace(reference_logprob=found.logprob)
