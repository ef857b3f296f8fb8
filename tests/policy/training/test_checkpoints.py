"""Checkpoints: exact, whole or not at all, and what is said when a disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from entropilot.errors import InputError
from entropilot.policy.training import checkpoints as module
from entropilot.policy.training.checkpoints import (
    checkpoints,
    load_tensors,
    restore_optimizer,
    restore_weights,
    save_checkpoint,
)


def trained(seed: int = 0, steps: int = 3) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def test_weights_and_optimizer_come_back_to_the_last_bit(tmp_path: Path) -> None:
    model, optimizer = trained()
    saved = save_checkpoint(tmp_path, 3, model.state_dict(), optimizer, {"objective": {"a": 0.1}})
    assert saved.state() == {"objective": {"a": 0.1}, "step": 3}
    other, other_optimizer = trained(1, 1)
    restore_weights(saved, other)
    restore_optimizer(saved, other_optimizer)
    batch = torch.randn(8, 4)
    for network, stepper in ((model, optimizer), (other, other_optimizer)):
        stepper.zero_grad()
        network(batch).square().mean().backward()
        stepper.step()
    assert torch.equal(model.weight, other.weight)  # type: ignore[arg-type]


def test_oldest_are_removed_and_partial_ones_are_no_checkpoints(tmp_path: Path) -> None:
    model, optimizer = trained()
    for step in (1, 2, 30):
        save_checkpoint(tmp_path, step, model.state_dict(), optimizer, {}, keep=2)
    (tmp_path / "step-000099").mkdir()  # cut off before its state was written
    assert [c.step for c in checkpoints(tmp_path)] == [2, 30]


def test_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, optimizer = trained()
    first = save_checkpoint(tmp_path, 1, model.state_dict(), optimizer, {"x": 1})

    def full(_path: Path, _text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    with pytest.raises(InputError, match=r"No space left.*step 1 is intact"):
        save_checkpoint(tmp_path, 2, model.state_dict(), optimizer, {"x": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert set(load_tensors(first)) == {"weight", "bias"}


def test_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    model, optimizer = trained()
    saved = save_checkpoint(tmp_path, 1, model.state_dict(), optimizer, {})
    with pytest.raises(InputError, match=r"'weight' of shape \(3, 4\)"):
        restore_weights(saved, nn.Linear(5, 3))
    lone = nn.Linear(4, 3, bias=False)
    with pytest.raises(InputError, match="parameter 1, the model trains 1"):
        restore_optimizer(saved, torch.optim.AdamW(lone.parameters()))


def test_broken_file_is_named(tmp_path: Path) -> None:
    model, optimizer = trained()
    saved = save_checkpoint(tmp_path, 1, model.state_dict(), optimizer, {})
    (saved.folder / module.WEIGHTS).write_bytes(b"not safetensors")
    with pytest.raises(InputError, match=r"weights\.safetensors can't be read"):
        load_tensors(saved)
