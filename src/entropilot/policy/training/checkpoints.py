"""Checkpoints: whole or not at all, never pickled, exact to the last bit.

A checkpoint is a folder ``step-000040`` with the weights and the optimizer's tensors (safetensors)
and ``state.json`` (step, objective state, controllers, settings). It is written under another name
and renamed when it is whole, so that a full disk or a kill leaves the one before intact.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from entropilot.errors import InputError
from entropilot.files import write_atomically

WEIGHTS: Final = "weights.safetensors"
OPTIMIZER: Final = "optimizer.safetensors"
STATE: Final = "state.json"
_NAME: Final = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    folder: Path
    step: int

    def state(self) -> dict[str, Any]:
        """What was saved beside the tensors."""
        found: dict[str, Any] = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        return found


def checkpoints(folder: Path) -> list[Checkpoint]:
    """Whole checkpoints below a folder, oldest first."""
    found = []
    for path in folder.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match and (path / STATE).is_file():
            found.append(Checkpoint(path, int(match[1])))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def save_checkpoint(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer | None,
    state: Mapping[str, Any],
    *,
    keep: int = 2,
) -> Checkpoint:
    """Write a checkpoint, then remove the oldest beyond ``keep``.

    Args:
        folder: of the checkpoints.
        step: steps done.
        weights: tensors by name; for LoRA, the adapter's.
        optimizer: its tensors are saved too; None saves none.
        state: plain JSON values.
        keep: how many to keep, at least 1.

    Raises:
        InputError: it can't be written, for example because the disk is full. Those before are
            intact.
    """
    from safetensors.torch import save_file

    target = folder / f"step-{step:06d}"
    temporary = folder / f".{target.name}.partial-{os.getpid()}"
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        save_file(_plain(weights), temporary / WEIGHTS)
        if optimizer is not None:
            save_file(_optimizer_tensors(optimizer), temporary / OPTIMIZER)
        write_atomically(temporary / STATE, json.dumps({**state, "step": step}))
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except Exception as error:  # safetensors reports a full disk with a kind of its own
        shutil.rmtree(temporary, ignore_errors=True)
        left = checkpoints(folder)
        before = f"The checkpoint of step {left[-1].step} is intact. " if left else ""
        raise InputError(
            f"the checkpoint {target} can't be written: {error}. {before}Free some space or name "
            "another folder, and run again; the run goes on from the last checkpoint"
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in checkpoints(folder)[: -max(1, keep)]:
        shutil.rmtree(old.folder, ignore_errors=True)
    return Checkpoint(target, step)


def load_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Weights of a checkpoint.

    Raises:
        InputError: the file can't be read.
    """
    return _read(checkpoint.folder / WEIGHTS)


def restore_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved tensors back into an optimizer over the same parameters in the same order.

    Raises:
        InputError: the file can't be read or belongs to other parameters.
    """
    tensors = _read(checkpoint.folder / OPTIMIZER)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    current = optimizer.state_dict()
    n = sum(len(group["params"]) for group in current["param_groups"])
    if state and max(state) >= n:
        raise InputError(
            f"the checkpoint {checkpoint.folder} has optimizer state of parameter {max(state)}, "
            f"the model trains {n}; it belongs to another model"
        )
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def restore_weights(checkpoint: Checkpoint, module: nn.Module) -> None:
    """Put saved weights back into a module; those that were not saved (LoRA's base) stay.

    Raises:
        InputError: a tensor is unknown to the module or has another shape.
    """
    tensors = load_tensors(checkpoint)
    own = module.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise InputError(
                f"the checkpoint {checkpoint.folder} holds the tensor {name!r} of shape "
                f"{tuple(tensor.shape)}, which the model has not; it belongs to another model"
            )
    module.load_state_dict(tensors, strict=False)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that share no memory, as safetensors wants them."""
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            tensors[f"{index}.{key}"] = torch.as_tensor(value).detach().cpu().contiguous().clone()
    return tensors


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        found: dict[str, Tensor] = load_file(path)
    except Exception as error:  # safetensors has kinds of its own
        raise InputError(
            f"{path} can't be read: {error}. Delete its folder; the run goes on from the "
            "checkpoint before"
        ) from error
    return found


def differing(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names in which the identity of a run that was kept differs from that of this one, sorted.

    Examples:
        >>> differing({"seed": 0, "steps": 9}, {"seed": 1, "steps": 9, "task": "sums"})
        ['seed', 'task']
    """
    return sorted(name for name in {*kept, *now} if kept.get(name) != now.get(name))
