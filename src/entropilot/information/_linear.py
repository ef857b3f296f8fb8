"""Linear layers in float32 through oneDNN, where that is the faster of torch's two libraries.

torch multiplies float32 matrices with MKL, which keeps to 256-bit vectors on processors of other
makers: 105 GFLOP/s a core of an AMD EPYC with AVX-512, where oneDNN reaches 250. The numbers agree
up to the order of summation. What is chosen depends on the machine and on the shapes alone, so that
equal runs have equal bits.

Legend: N rows, I inputs, O outputs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

#: Multiplications of the smallest product for which a call of oneDNN pays, and its fewest rows.
_WORTH: Final = 1 << 20
_FEWEST_ROWS: Final = 64
#: Rows summed at a time in the gradient of the weights: both operands stay in the cache.
_PANEL: Final = 1024


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product x W^T + b, as ``torch.nn.functional.linear``, with gradient.

    Args:
        x: [..., I] float.
        weight: [O, I].
        bias: [O], or None.

    Examples:
        >>> linear(torch.ones(2, 3), torch.ones(4, 3)).tolist()
        [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """
    if not pays(x, weight, bias):
        return functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (x, weight, bias)
    ):
        apply: Any = _Linear.apply
        y: Tensor = apply(x, weight, bias)
        return y
    return product(x, weight, bias)


def pays(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN can and should form the product of x [..., I] and weight [O, I]."""
    outputs, inputs = weight.shape
    return (
        x.numel() * outputs >= _WORTH
        and x.numel() >= _FEWEST_ROWS * inputs
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and (bias is None or bias.dtype == torch.float32)
        and type(x) is Tensor
        and not torch.is_autocast_enabled("cpu")
        and _product() is not None
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same without gradient, where ``pays`` says so; any strides."""
    found: Tensor = _product()(x, weight, bias, "none", [], "")
    return found


@lru_cache(maxsize=1)
def _product() -> Any:
    """The product of oneDNN with a weight of plain layout; None where it would gain nothing."""
    mkldnn: Any = torch.backends.mkldnn
    if not mkldnn.is_available():
        return None
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return None
    try:
        found = torch.ops.mkldnn._linear_pointwise.default
        found(torch.ones(1, 1), torch.ones(1, 1), None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return None
    return found


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows = slope.reshape(-1, slope.shape[-1])
        return (
            product(slope, weight.t()) if to_x else None,
            weight_gradient(rows, x.reshape(-1, x.shape[-1])) if to_weight else None,
            rows.sum(0) if to_bias else None,
        )


def weight_gradient(slope: Tensor, x: Tensor) -> Tensor:
    """slope^T x, [O, I], from [N, O] and [N, I]; the narrower operand is the one transposed."""
    flip = x.shape[1] < slope.shape[1]
    left, right = (x, slope) if flip else (slope, x)
    total: Tensor | None = None
    for start in range(0, len(x), _PANEL):
        rows = slice(start, start + _PANEL)
        part = product(left[rows].t(), right[rows].t())
        total = part if total is None else total.add_(part)
    assert total is not None  # pays() asks for rows
    return total.t() if flip else total
