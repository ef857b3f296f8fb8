"""The built-in trainer: step after step, with evaluations, metrics and checkpoints.

A run is a function of its settings and seed alone. Every draw is keyed by (seed, step), so that a
run that was killed goes on from its last checkpoint and ends with the same weights, bit for bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import BrokenNumbersError, ConfigurationError
from entropilot.policy.models import PolicyModel
from entropilot.policy.objective import NonFiniteError, ObjectiveState
from entropilot.policy.training.checkpoints import (
    Checkpoint,
    checkpoints,
    differing,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
)
from entropilot.policy.training.evaluation import Evaluation, evaluate
from entropilot.policy.training.memory_limits import naming_the_knob
from entropilot.policy.training.metrics_log import METRICS_NAME, append_metrics, keep_steps
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Listener, Trainee
from entropilot.policy.training.training_step import train_step
from entropilot.policy.training.updating import NonFiniteLossError

CHECKPOINT_FOLDER: Final = "checkpoints"


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
    changed = differing(kept["identity"], identity or {})
    if changed:
        raise ConfigurationError(
            f"the folder {checkpoint.folder.parent.parent} holds another run (it differs in "
            f"{', '.join(changed)}). Name another folder, or delete it"
        )
    restore_weights(checkpoint, trainee.policy)
    restore_optimizer(checkpoint, optimizer)
    if trainee.memory is not None:
        trainee.memory.load(kept["memory"])
    return checkpoint.step, kept["objective"]
