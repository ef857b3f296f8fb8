"""Products in float32 through another library: the same numbers, the same gradients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from entropilot.information._linear import linear, pays


def parts(rows: int, inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, inputs), (outputs, inputs), (outputs,))
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in shapes)
    return x, weight, bias


# One panel and several, either operand the narrower one, and one below the bound.
@pytest.mark.parametrize("shape", [(300, 64, 96), (2500, 96, 32), (1025, 32, 200), (8, 16, 16)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_value_and_gradients_are_those_of_float64(
    shape: tuple[int, int, int], with_bias: bool
) -> None:
    x, weight, bias = parts(*shape)
    slope = torch.randn(shape[0], shape[2], generator=torch.Generator().manual_seed(1))
    found, expected = [], []
    for kind, call, into in (
        (torch.float32, linear, found),
        (torch.float64, functional.linear, expected),
    ):
        inputs = [t.to(kind).requires_grad_() for t in (x, weight, bias)][: 3 if with_bias else 2]
        y = call(*inputs)
        into += [y.detach(), *torch.autograd.grad(y, inputs, slope.to(kind))]
    for got, true in zip(found, expected, strict=True):
        assert got.shape == true.shape
        # sums of up to 2500 products of standard normals
        torch.testing.assert_close(got.double(), true, rtol=1e-5, atol=2e-4)


def test_frozen_weights_get_no_gradient_and_inputs_of_more_dimensions_pass() -> None:
    x, weight, bias = parts(512, 64, 64)
    x = x.view(2, 256, 64).requires_grad_()
    linear(x, weight, bias).sum().backward()
    assert weight.grad is None
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weight.sum(0).expand_as(x), rtol=1e-5, atol=1e-4)


def test_equal_inputs_have_equal_bits() -> None:
    x, weight, bias = parts(2000, 128, 256)
    assert torch.equal(linear(x, weight, bias), linear(x.clone(), weight.clone(), bias))


def test_bits_do_not_depend_on_where_the_numbers_lie_or_on_what_was_done_before() -> None:
    x, weight, bias = parts(1500, 64, 192)
    slope = torch.randn(1500, 192, generator=torch.Generator().manual_seed(1))
    first = bits(x, weight, bias, slope)
    for offset in (1, 3, 16):  # entries off the start of an allocation: any alignment
        bits(*parts(700 + offset, 64, 192), slope[: 700 + offset])
        assert bits(*(moved(t, offset) for t in (x, weight, bias, slope))) == first


def bits(x: Tensor, weight: Tensor, bias: Tensor, slope: Tensor) -> list[bytes]:
    """Of the product and of its gradients."""
    inputs = [t.detach().requires_grad_() for t in (x, weight, bias)]
    y = linear(*inputs)
    return [t.detach().numpy().tobytes() for t in (y, *torch.autograd.grad(y, inputs, slope))]


def moved(x: Tensor, offset: int) -> Tensor:
    """The same numbers elsewhere in memory."""
    place = torch.empty(x.numel() + offset)[offset:]
    return place.copy_(x.flatten()).view(x.shape)


OTHER_PROCESS = """
import hashlib, sys, torch
sys.path.insert(0, sys.argv[1])
from test_linear import bits, parts
torch.set_num_threads(1)
slope = torch.randn(1500, 192, generator=torch.Generator().manual_seed(1))
print(hashlib.sha256(b"".join(bits(*parts(1500, 64, 192), slope))).hexdigest())
"""


def test_bits_are_those_of_another_process() -> None:
    """A run that was killed goes on in another process and must end the same."""
    call = [sys.executable, "-c", OTHER_PROCESS, str(Path(__file__).parent)]
    one, other = (
        subprocess.run(call, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert one == other
    assert len(one.strip()) == 64


def test_what_is_small_or_of_another_kind_stays_with_torch() -> None:
    x, weight, bias = parts(2000, 128, 256)
    assert not pays(x[:2], weight, bias)
    assert not pays(x.double(), weight.double(), bias.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not pays(x, weight, bias)
        assert linear(x, weight, bias).dtype == torch.bfloat16
