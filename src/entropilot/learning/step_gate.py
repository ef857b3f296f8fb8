"""Attention in a residual block as its step size: x + a f(x), with a gate a that sees stiffness.

Source: StepNet (arXiv 2308.09939), whose text could not be had. What the gate is fed is therefore
our reading of its abstract, and no parity with the authors' network is claimed: ``"sam"`` is
squeeze-and-excitation (it sees the step alone), ``"step"`` also sees how the step changed since the
block before, ``"step_local"`` how it changes at the point the step leads to, which is the error
estimate of an adaptive ODE solver.

Legend: B samples, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError, unknown_name

GateKind = Literal["sam", "step", "step_local"]


class StepGate(nn.Module):
    """The step size of a residual block, a number a channel in (0, c).

    a = c sigmoid(W2 relu(W1 z + b1) + b2), where z is the mean over space of the branch f and, but
    for ``"sam"``, of its change beside it. W2 and b2 start at 0: with c = 2 the gate starts at 1
    and the network as if there were none.

    Args:
        width: channels C of the branch.
        kind: what the gate sees.
        reduction: hidden units are max(4, width // reduction).
        c: the largest step; 1 is the classical squeeze-and-excitation, which starts at 0.5.
        channel_axis: of the features; -1 for tokens [B, T, C].

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> gate = StepGate(8, "step")
        >>> f = torch.randn(2, 8, 5, 5)
        >>> gate(f, f).shape, bool((gate(f, f) == 1).all())
        (torch.Size([2, 8, 1, 1]), True)
    """

    def __init__(
        self,
        width: int,
        kind: GateKind = "step",
        reduction: int = 4,
        c: float = 2.0,
        channel_axis: int = 1,
    ) -> None:
        super().__init__()
        if kind not in get_args(GateKind):
            raise ConfigurationError(unknown_name("kind of gate", kind, get_args(GateKind)))
        if width < 1 or reduction < 1:
            raise ConfigurationError(
                f"width {width} and reduction {reduction} of a gate must be at least 1"
            )
        if not c > 0:
            raise ConfigurationError(f"c is {c}; the largest step must be above 0 (2: starts at 1)")
        self.width, self.kind, self.c, self.channel_axis = width, kind, c, channel_axis
        hidden = max(4, width // reduction)
        self.squeeze = nn.Linear(width if kind == "sam" else 2 * width, hidden)
        self.excite = nn.Linear(hidden, width)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def forward(self, f: Tensor, change: Tensor | None = None) -> Tensor:
        """The gate of a branch's output, shaped to multiply it.

        Args:
            f: [B, C], [B, C, ...] or as ``channel_axis`` says.
            change: of f, same shape; None is no change. ``"sam"`` does not look at it.

        Raises:
            InputError: f does not have ``width`` channels.
        """
        axis = self.channel_axis % f.ndim
        if f.shape[axis] != self.width:
            raise InputError(
                f"the branch gave {f.shape[axis]} channels (shape {tuple(f.shape)}) and the gate "
                f"is {self.width} wide; make it StepGate({f.shape[axis]}, {self.kind!r})"
            )
        space = [i for i in range(1, f.ndim) if i != axis]
        z = _mean(f, space)
        if self.kind != "sam":
            moved = torch.zeros_like(z) if change is None else _mean(change, space)
            z = torch.cat([z, moved], 1)
        a = self.c * torch.sigmoid(self.excite(torch.relu(self.squeeze(z))))
        shape = [1] * f.ndim
        shape[0], shape[axis] = a.shape
        return a.view(shape)

    def extra_repr(self) -> str:
        """Settings, for printing."""
        return f"{self.width}, kind={self.kind!r}, c={self.c:g}"


class Stepped(NamedTuple):
    """What a residual block hands to the next one."""

    x: Tensor  # the new state
    f: Tensor  # output of the branch, before the gate


def gated_step(
    branch: Callable[[Tensor], Tensor],
    gate: StepGate | None,
    x: Tensor,
    f: Tensor,
    previous: Tensor | None,
) -> Tensor | None:
    """The gate's value for a step of f = branch(x); None where there is no gate.

    Args:
        branch: evaluated once more by ``"step_local"``.
        gate: or None.
        x: state before the step.
        f: output of the branch there.
        previous: output of the branch of the block before, or None at the start of a stage.

    Raises:
        InputError: a ``"step_local"`` gate, and the branch changes the shape.

    Examples:
        >>> x = torch.ones(1, 2)
        >>> gated_step(nn.Identity(), StepGate(2, "sam"), x, x, None)
        tensor([[1., 1.]], grad_fn=<ViewBackward0>)
    """
    if gate is None:
        return None
    if gate.kind == "sam":
        found: Tensor = gate(f)
    elif gate.kind == "step":
        found = gate(f, None if previous is None else f - previous)
    elif x.shape != f.shape:
        raise InputError(
            f"a step_local gate needs a branch that keeps the shape; it takes {tuple(x.shape)} to "
            f"{tuple(f.shape)}. Use kind 'step' or 'sam' there"
        )
    else:
        found = gate(f, branch(x + f) - f)
    return found


class ResidualBlock(nn.Module):
    """x + a f(x): any branch with a gate, or without one.

    Args:
        f: the branch; keeps the shape.
        gate: None is the plain residual block.
        detach_previous: no gradient into the block before through the change of f.

    Examples:
        >>> block = ResidualBlock(nn.Linear(4, 4), StepGate(4))
        >>> x, f = block(torch.zeros(2, 4))
        >>> bool((x == f).all())
        True
    """

    def __init__(
        self, f: nn.Module, gate: StepGate | None = None, detach_previous: bool = False
    ) -> None:
        super().__init__()
        self.f, self.gate, self.detach_previous = f, gate, detach_previous

    def forward(self, x: Tensor, previous: Tensor | None = None) -> Stepped:
        """The new state, and the branch's output for the next block.

        Args:
            x: [B, ...].
            previous: branch's output of the block before; None at the start of a stage.
        """
        f = self.f(x)
        if previous is not None and self.detach_previous:
            previous = previous.detach()
        a = gated_step(self.f, self.gate, x, f, previous)
        return Stepped(x + f if a is None else torch.addcmul(x, a, f), f)


class ResidualStage(nn.Sequential):
    """Residual blocks in a row, each given what the one before did; takes and gives a state.

    Examples:
        >>> stage = ResidualStage(*[ResidualBlock(nn.Linear(4, 4), StepGate(4)) for _ in range(3)])
        >>> stage(torch.zeros(2, 4)).shape
        torch.Size([2, 4])
    """

    def forward(self, x: Tensor) -> Tensor:
        """The state after the last block."""
        previous = None
        for block in self:
            x, previous = block(x, previous)
        return x


def _mean(x: Tensor, space: list[int]) -> Tensor:
    return x.mean(space) if space else x
