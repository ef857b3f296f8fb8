"""Step-size gates in a ResNet that stands: same weights, same output, until the gates learn.

Source: StepNet (arXiv 2308.09939), as read in ``step_gate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.learning.step_gate import (
    GateKind,
    ResidualStage,
    StepGate,
    Stepped,
    gated_step,
)


class GatedBlock(nn.Module):
    """A ResNet's block with a gate after its last norm, before the addition.

    The layers keep their names and weights, so that a plain network's state_dict loads with
    ``strict=False``; the gate is new, under ``gate``.

    Args:
        block: BasicBlock or Bottleneck, as torchvision builds them.
        gate: or None: then it only passes its branch on to the next block.

    Examples:
        >>> from torch.nn import Conv2d, BatchNorm2d
        >>> class Block(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv1, self.bn1 = Conv2d(4, 4, 3, padding=1), BatchNorm2d(4)
        ...         self.conv2, self.bn2 = Conv2d(4, 4, 3, padding=1), BatchNorm2d(4)
        ...         self.relu, self.downsample = nn.ReLU(), None
        >>> GatedBlock(Block(), StepGate(4))(torch.zeros(2, 4, 6, 6)).x.shape
        torch.Size([2, 4, 6, 6])
    """

    relu: nn.Module
    downsample: nn.Module | None

    def __init__(self, block: nn.Module, gate: StepGate | None) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        if getattr(block, "downsample", None) is None:
            self.downsample = None
        self.depth = _depth(block)
        self.gate = gate
        self.train(block.training)

    def branch(self, x: Tensor) -> Tensor:
        """Convolutions and norms, the last one without an activation."""
        for number in range(1, self.depth + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            if number < self.depth:
                x = self.relu(x)
        return x

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Stepped:
        """The new state, and the branch's output for the next block."""
        f = self.branch(x)
        if previous is not None and previous.shape != f.shape:
            previous = None  # the stage begins here
        a = gated_step(self.branch, self.gate, x, f, previous)
        shortcut = x if self.downsample is None else self.downsample(x)
        state = shortcut + f if a is None else torch.addcmul(shortcut, a, f)
        return Stepped(self.relu(state), f)


def attach_gates(
    model: nn.Module,
    kind: GateKind = "step",
    blocks: Sequence[str] | None = None,
    *,
    reduction: int = 4,
    c: float = 2.0,
) -> list[str]:
    """Put gates into a ResNet, in place; with c = 2 its output stays what it was.

    A ``"step_local"`` gate evaluates its branch twice, and batch norm counts both in training.

    Args:
        model: built like torchvision's ResNet: blocks in ``nn.Sequential`` stages.
        kind: what the gates see.
        blocks: dotted names such as ``"layer1.0"``; None is every block (of ``"step_local"``:
            every block that keeps the shape).
        reduction: of the gates.
        c: largest step.

    Returns:
        Names of the gated blocks. Their gates' parameters are those whose name holds ``.gate.``.

    Raises:
        ConfigurationError: no such block, none at all, or one that has a gate already.

    Examples:
        >>> from torchvision.models import resnet18  # doctest: +SKIP
        >>> attach_gates(resnet18(), "step", ["layer1.0", "layer1.1"])  # doctest: +SKIP
        ['layer1.0', 'layer1.1']
    """
    known = {name: m for name, m in model.named_modules() if _is_block(m)}
    if not known:
        raise ConfigurationError(
            "the model has no block with conv1, bn1, conv2, bn2, relu and downsample, as "
            "torchvision's ResNets have; build it from ResidualBlock(branch, StepGate(width))"
        )
    wanted = list(known) if blocks is None else list(blocks)
    for name in wanted:
        if name not in known:
            raise ConfigurationError(unknown_name("residual block", name, known))
        if getattr(known[name], "gate", None) is not None:
            raise ConfigurationError(f"block {name!r} has a gate already")
    if kind == "step_local" and blocks is None:
        wanted = [n for n in wanted if getattr(known[n], "downsample", None) is None]
    gates = {n: _gate_for(known[n], kind, reduction, c) for n in wanted}
    for stage in dict.fromkeys(name.rpartition(".")[0] for name in wanted):
        inside = model.get_submodule(stage)
        if not isinstance(inside, nn.Sequential):
            raise ConfigurationError(
                f"{stage or 'the model'} holds residual blocks and is "
                f"{type(inside).__name__}, not nn.Sequential"
            )
        made = ResidualStage()
        for part, block in inside.named_children():
            name = f"{stage}.{part}" if stage else part
            if not _is_block(block):
                raise ConfigurationError(f"{name} stands among residual blocks and is none")
            made.add_module(part, _with_gate(block, gates.get(name)))
        parent, _, own = stage.rpartition(".")
        if not own:
            raise ConfigurationError(
                "the model is itself a row of blocks; wrap it: nn.Sequential(model)"
            )
        made.train(inside.training)
        setattr(model.get_submodule(parent), own, made)
    return wanted


def _with_gate(block: nn.Module, gate: StepGate | None) -> GatedBlock:
    if not isinstance(block, GatedBlock):
        return GatedBlock(block, gate)
    if gate is not None:
        block.gate = gate
    return block


def _gate_for(block: nn.Module, kind: GateKind, reduction: int, c: float) -> StepGate:
    last: Any = getattr(block, f"conv{_depth(block)}")
    gate = StepGate(last.out_channels, kind, reduction, c)
    return gate.to(last.weight.device, last.weight.dtype)


def _is_block(module: nn.Module) -> bool:
    if isinstance(module, GatedBlock):
        return True
    parts = ("conv1", "bn1", "conv2", "bn2", "relu", "downsample")
    return all(hasattr(module, part) for part in parts)


def _depth(block: nn.Module) -> int:
    return 3 if hasattr(block, "conv3") else 2
