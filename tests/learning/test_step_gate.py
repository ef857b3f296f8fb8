"""Step-size gates: identity at the start, what they see, drop-in for ResNets, bad input."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.gated_resnet import attach_gates
from entropilot.learning.step_gate import GateKind, ResidualBlock, ResidualStage, StepGate

KINDS: tuple[GateKind, ...] = ("sam", "step", "step_local")


def branch(width: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, width))


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_gate_leaves_the_plain_network_bit_for_bit(kind: GateKind) -> None:
    torch.manual_seed(0)
    branches = [branch() for _ in range(4)]
    x = torch.randn(7, 6)
    plain = x
    for f in branches:
        plain = plain + f(plain)
    gated = ResidualStage(*[ResidualBlock(f, StepGate(6, kind)) for f in branches])
    assert torch.equal(gated(x), plain)
    half = StepGate(6, kind, c=1.0)
    assert bool((half(x, x) == 0.5).all())


def test_step_without_change_is_sam() -> None:
    torch.manual_seed(1)
    sam, step = StepGate(6, "sam"), StepGate(6, "step")
    with torch.no_grad():
        step.squeeze.weight.zero_()
        step.squeeze.weight[:, :6] = sam.squeeze.weight
        step.squeeze.bias.copy_(sam.squeeze.bias)
        for gate in (sam, step):
            gate.excite.weight.fill_(0.3)
    x = torch.randn(5, 6)
    torch.testing.assert_close(step(x), sam(x))
    torch.testing.assert_close(step(x, torch.randn(5, 6)), sam(x))


def trained_gate(kind: GateKind) -> StepGate:
    gate = StepGate(6, kind)
    torch.manual_seed(2)
    nn.init.normal_(gate.excite.weight)
    return gate.double()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: GateKind) -> None:
    torch.manual_seed(3)
    stage = ResidualStage(*[ResidualBlock(branch().double(), trained_gate(kind)) for _ in range(2)])
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stage, x)


def test_the_block_before_gets_a_gradient_unless_detached() -> None:
    for detach in (False, True):
        block = ResidualBlock(branch().double(), trained_gate("step"), detach_previous=detach)
        previous = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
        out, _ = block(torch.randn(3, 6, dtype=torch.float64), previous)
        (gradient,) = torch.autograd.grad(out.sum(), previous, allow_unused=True)
        assert (gradient is None or not gradient.any()) is detach


def test_gates_of_maps_and_tokens() -> None:
    gate = StepGate(6, "step")
    nn.init.normal_(gate.excite.weight)
    tokens = torch.randn(2, 9, 6)
    by_token = StepGate(6, "step", channel_axis=-1)
    by_token.load_state_dict(gate.state_dict())
    maps = tokens.transpose(1, 2)
    torch.testing.assert_close(by_token(tokens, tokens), gate(maps, maps).transpose(1, 2))
    assert gate(maps[..., None]).shape == (2, 6, 1, 1)


def test_bad_settings_and_widths() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'step'"):
        StepGate(4, "stepp")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least 1"):
        StepGate(0)
    with pytest.raises(ConfigurationError, match="c is 0"):
        StepGate(4, c=0)
    with pytest.raises(InputError, match=r"5 channels .* 4 wide; make it StepGate\(5"):
        StepGate(4)(torch.zeros(2, 5))
    block = ResidualBlock(nn.Linear(4, 5), StepGate(5, "step_local"))
    with pytest.raises(InputError, match="keeps the shape"):
        block(torch.zeros(2, 4))


class Basic(nn.Module):
    """A ResNet's block as torchvision lays it out."""

    def __init__(self, inside: int, width: int, stride: int = 1, deep: bool = False) -> None:
        super().__init__()
        sizes = [inside, width, width * 2, width] if deep else [inside, width, width]
        for i, (a, b) in enumerate(pairwise(sizes), 1):
            conv = nn.Conv2d(a, b, 3, stride if i == 1 else 1, 1, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.n = len(sizes) - 1
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or inside != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, width, 1, stride), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.n + 1):
            out = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(out))
            out = self.relu(out) if i < self.n else out
        found: Tensor = self.relu(out + (x if self.downsample is None else self.downsample(x)))
        return found


def small_resnet(deep: bool = False) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Sequential(Basic(4, 4, deep=deep), Basic(4, 4, deep=deep), Basic(4, 4, deep=deep)),
        nn.Sequential(Basic(4, 8, 2, deep=deep), Basic(8, 8, deep=deep)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deep", [False, True])
def test_attached_gates_change_nothing_until_they_learn(kind: GateKind, deep: bool) -> None:
    model = small_resnet(deep).eval()
    plain, x = copy.deepcopy(model), torch.randn(5, 1, 8, 8)
    names = attach_gates(model, kind)
    skipped = ["2.0"] if kind == "step_local" else []
    assert names == [n for n in ("1.0", "1.1", "1.2", "2.0", "2.1") if n not in skipped]
    assert torch.equal(model(x), plain(x))
    assert not model[1][0].training
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert all(".gate." in key for key in missing.missing_keys)
    assert not missing.unexpected_keys
    model.train()
    optimizer = torch.optim.SGD([p for n, p in model.named_parameters() if ".gate." in n], 1.0)
    model(x).sum().backward()
    optimizer.step()
    model.eval()
    assert not torch.allclose(model(x), plain(x), atol=1e-4)


def test_gates_in_some_blocks_then_in_others() -> None:
    model = small_resnet().eval()
    plain, x = copy.deepcopy(model), torch.randn(2, 1, 8, 8)
    assert attach_gates(model, "step", ["1.1"]) == ["1.1"]
    assert attach_gates(model, "sam", ["1.2"]) == ["1.2"]
    assert torch.equal(model(x), plain(x))
    with pytest.raises(ConfigurationError, match="has a gate already"):
        attach_gates(model, "sam", ["1.1"])
    again = copy.deepcopy(model)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(x), plain(x))


def test_attaching_to_what_is_no_resnet() -> None:
    with pytest.raises(ConfigurationError, match="ResidualBlock"):
        attach_gates(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ConfigurationError, match=r"did you mean '1\.1'"):
        attach_gates(small_resnet(), "sam", ["1.11"])
    mixed = nn.Sequential(nn.Sequential(Basic(2, 2), nn.ReLU()))
    with pytest.raises(ConfigurationError, match=r"0\.1 stands among residual blocks"):
        attach_gates(mixed)
    with pytest.raises(ConfigurationError, match="wrap it"):
        attach_gates(nn.Sequential(Basic(2, 2)))
    with pytest.raises(ConfigurationError, match=r"not nn\.Sequential"):
        attach_gates(nn.Sequential(nn.ModuleList([Basic(2, 2)])))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_resnets_keep_their_output(name: str) -> None:
    models: Any = pytest.importorskip("torchvision.models")
    model = getattr(models, name)().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)
        assert attach_gates(model, "step")
        torch.testing.assert_close(model(x), before, rtol=0, atol=1e-6)
