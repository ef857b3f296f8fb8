"""The built-in trainer: draw answers, verify them, update the policy, measure everything.

A run is a function of its settings and seed alone. Every draw is keyed by (seed, step), so that a
run that was killed goes on from its last checkpoint and ends with the same weights, bit for bit.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropilot.errors import BrokenNumbersError, ConfigurationError
from entropilot.information import masked_mean
from entropilot.policy.advantages import group_tokens
from entropilot.policy.models import PolicyModel
from entropilot.policy.objective import NonFiniteError, Objective, ObjectiveState, Prepared
from entropilot.policy.rollout.sampling import sample_rollouts
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.tasks.task import Problem
from entropilot.policy.training.bound_task import BoundTask, Graded
from entropilot.policy.training.checkpoints import (
    Checkpoint,
    checkpoints,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
)
from entropilot.policy.training.evaluation import Evaluation, evaluate, seeded, stream_seed
from entropilot.policy.training.measuring import measure
from entropilot.policy.training.memory_limits import naming_the_knob
from entropilot.policy.training.meters import (
    Meter,
    covariance_meter,
    covariance_table_meter,
    entropy_change_meter,
    sampler_gap_meter,
)
from entropilot.policy.training.metrics_log import METRICS_NAME, append_metrics, keep_steps
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.updating import NonFiniteLossError, update

CHECKPOINT_FOLDER: Final = "checkpoints"

_PROBLEMS, _DRAWS, _SPLITS, _TERMS = range(4)  # streams of one seed

#: Fills in what an objective needs beyond the answers, such as probes of intermediate steps.
Annotate = Callable[["Batch"], Rollouts]
#: Called with each row of metrics before it is written; may add numbers to it.
Listener = Callable[[dict[str, Any]], None]


class Batch(NamedTuple):
    """The answers of one step with where they come from."""

    policy: PolicyModel
    problems: Sequence[Problem]  # one an answer
    prompts: Sequence[tuple[int, ...]]  # one an answer
    rollouts: Rollouts
    graded: Graded


#: Called after a batch was drawn; what it returns is called after the updates, for metrics.
Probe = Callable[[Batch, TrainSettings], Callable[[], Mapping[str, float]]]


@dataclass(frozen=True)
class Trainee:
    """What is trained, on what, for what.

    Args:
        policy: the network; changed in place.
        task: problems and verifier.
        objective: (step) -> what is minimised in it; the same object for most recipes, another one
            where a schedule or a controller moves a knob.
        settings: sizes and seeds.
        annotate: fills in fields of the rollouts before rewards are shaped.
        reference: frozen network, for exact KL; its log-probs go into the rollouts.
        meters: diagnostics.
        listeners: see each row of metrics, in order, before it is written. One that adds numbers,
            such as a controller, comes before those that pass rows on.
        memory: state of schedules and controllers: ``(save, load)`` of plain JSON.
        temperature: (step) -> of sampling in it, and of every log-prob of its updates; None keeps
            that of the settings, at which evaluations are always made.
        probes: measure a step as a whole, before its updates and after them.
    """

    policy: PolicyModel
    task: BoundTask
    objective: Callable[[int], Objective]
    settings: TrainSettings
    annotate: Annotate | None = None
    reference: PolicyModel | None = None
    meters: tuple[Meter, ...] = field(
        default_factory=lambda: (
            covariance_meter(),
            covariance_table_meter(),
            sampler_gap_meter(),
            entropy_change_meter(),
        )
    )
    listeners: tuple[Listener, ...] = ()
    memory: Memory | None = None
    temperature: Callable[[int], float] | None = None
    probes: tuple[Probe, ...] = ()


class Memory(NamedTuple):
    """How something with a memory is checkpointed."""

    save: Callable[[], Any]
    load: Callable[[Any], None]


class Trained(NamedTuple):
    """What a run left behind."""

    rows: list[dict[str, Any]]  # of the metrics file
    state: ObjectiveState


def train(
    trainee: Trainee,
    folder: Path | None = None,
    *,
    progress: Callable[[Mapping[str, Any]], None] = lambda _row: None,
    identity: Mapping[str, Any] | None = None,
    start: Evaluation | None = None,
) -> Trained:
    """Train a policy, or go on with a run that was stopped.

    Args:
        trainee: what is trained, on what, for what.
        folder: of metrics and checkpoints; None keeps nothing.
        progress: called after each step with its row of metrics.
        identity: plain values that name the run; a folder of another run is refused.
        start: evaluation before training with the seed 0, where it has been made already.

    Returns:
        All rows of metrics, those of before an interruption included.

    Raises:
        NonFiniteError: a term or the network gave nan; the term is named, and the last good
            checkpoint is in the folder.
        ConfigurationError: the folder holds another run.
        InputError: a checkpoint can't be written or read.
    """
    settings = trainee.settings
    optimizer = make_optimizer(trainee.policy, settings)
    rows: list[dict[str, Any]] = []
    state: ObjectiveState = {}
    first = 0
    log = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / METRICS_NAME
        last = checkpoints(folder / CHECKPOINT_FOLDER)
        if last:
            first, state = _resume(last[-1], trainee, optimizer, identity)
        rows = keep_steps(log, first)
    if not rows:
        first_look = start or evaluate(trainee.policy, trainee.task, settings).evaluation
        row = {"step": 0, **first_look.metrics()}
        _publish(row, rows, log, progress, trainee.listeners)
        if folder is not None:
            _save(folder, 0, trainee, optimizer, state, identity)
    with naming_the_knob(settings):
        for step in range(first, settings.steps):
            done = step + 1
            try:
                row, state = train_step(trainee, optimizer, state, step)
                if done == settings.steps or _due(done, settings.evaluate_every):
                    row |= evaluate(
                        trainee.policy, trainee.task, settings, seed=done
                    ).evaluation.metrics()
            except (NonFiniteError, NonFiniteLossError):
                raise  # they name the term, and nothing was changed
            except BrokenNumbersError as error:
                raise _broken_network(error, folder, step) from error
            _publish(row, rows, log, progress, trainee.listeners)
            if folder is not None and (
                done == settings.steps or _due(done, settings.checkpoint_every)
            ):
                _save(folder, done, trainee, optimizer, state, identity)
    return Trained(rows, state)


def _broken_network(error: Exception, folder: Path | None, step: int) -> NonFiniteLossError:
    """What to say when the weights themselves are broken; a checkpoint of them is taken away."""
    kept = checkpoints(folder / CHECKPOINT_FOLDER) if folder is not None else []
    if len(kept) > 1 and kept[-1].step == step:
        shutil.rmtree(kept.pop().folder, ignore_errors=True)
    last = f" The last checkpoint before is of step {kept[-1].step}." if kept else ""
    return NonFiniteLossError(
        f"the network gives no numbers any more in step {step + 1} ({error}): the updates before "
        f"have broken its weights. Lower train.learning_rate, or train.clip_norm.{last}"
    )


def make_optimizer(policy: PolicyModel, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained, in their order."""
    trained = [p for p in policy.parameters() if p.requires_grad]
    if not trained:
        raise ConfigurationError("the policy has no parameter that is trained; unfreeze some")
    return torch.optim.AdamW(
        trained,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


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
    problems = task.problems(settings.n_prompts, stream_seed(settings.seed, _PROBLEMS, step))
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


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _publish(
    row: dict[str, Any],
    rows: list[dict[str, Any]],
    log: Path | None,
    progress: Callable[[Mapping[str, Any]], None],
    listeners: Sequence[Listener],
) -> None:
    for listener in listeners:
        listener(row)
    rows.append(row)
    if log is not None:
        append_metrics(log, row)
    progress(row)


def _save(
    folder: Path,
    step: int,
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    state: ObjectiveState,
    identity: Mapping[str, Any] | None,
) -> Checkpoint:
    kept = {
        "objective": state,
        "identity": dict(identity or {}),
        "memory": None if trainee.memory is None else trainee.memory.save(),
    }
    return save_checkpoint(
        folder / CHECKPOINT_FOLDER, step, changing_tensors(trainee.policy), optimizer, kept
    )


def changing_tensors(policy: torch.nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that are trained, shared ones once, and buffers.

    Examples:
        >>> layer = torch.nn.Linear(2, 2)
        >>> _ = layer.bias.requires_grad_(False)
        >>> list(changing_tensors(layer))
        ['weight']
    """
    every = dict(policy.named_parameters(remove_duplicate=False))
    trained = {name for name, p in policy.named_parameters() if p.requires_grad}
    state: dict[str, Tensor] = policy.state_dict()
    return {name: x for name, x in state.items() if name in trained or name not in every}


def _resume(
    checkpoint: Checkpoint,
    trainee: Trainee,
    optimizer: torch.optim.Optimizer,
    identity: Mapping[str, Any] | None,
) -> tuple[int, ObjectiveState]:
    kept = checkpoint.state()
    if dict(identity or {}) != kept["identity"]:
        changed = {
            key
            for key in {*kept["identity"], *(identity or {})}
            if kept["identity"].get(key) != (identity or {}).get(key)
        }
        raise ConfigurationError(
            f"the folder {checkpoint.folder.parent.parent} holds another run (it differs in "
            f"{', '.join(sorted(changed))}). Name another folder, or delete it"
        )
    restore_weights(checkpoint, trainee.policy)
    restore_optimizer(checkpoint, optimizer)
    if trainee.memory is not None:
        trainee.memory.load(kept["memory"])
    return checkpoint.step, kept["objective"]


def is_finite_row(row: Mapping[str, Any]) -> bool:
    """Whether all numbers of a row are finite."""
    return all(math.isfinite(v) for v in row.values() if isinstance(v, float))
