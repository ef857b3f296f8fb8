"""Matrix products in bfloat16, everything else in float32.

A CPU with AVX512-BF16 or AMX multiplies bfloat16 four to five times as fast as float32. Inputs and
weights of linear layers are rounded to 8 bits of mantissa, sums are kept in float32.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.information._linear import linear

PRODUCTS: Final = ("float32", "bfloat16")

Network = TypeVar("Network", bound=nn.Module)


def check_products(kind: str) -> None:
    """Raise ``ConfigurationError`` unless products can be made in that kind of number."""
    if kind not in PRODUCTS:
        raise ConfigurationError(unknown_name("kind of products", kind, PRODUCTS))


def products_in(kind: str, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which linear layers work in ``kind``, for training.

    Examples:
        >>> with products_in("bfloat16", torch.device("cpu")):
        ...     y = nn.Linear(2, 2)(torch.ones(1, 2))
        >>> y.dtype
        torch.bfloat16
    """
    if kind == "float32":
        return _FastFloat32() if device.type == "cpu" else nullcontext()
    stack = ExitStack()
    stack.enter_context(torch.autocast(device.type, torch.bfloat16))
    if device.type == "cpu":
        stack.enter_context(_Float32Attention())
    return stack


class _FastFloat32(TorchFunctionMode):
    """Linear layers of any network through the faster library."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return (linear if func is nn.functional.linear else func)(*args, **(kwargs or {}))


class _Float32Attention(TorchFunctionMode):
    """Attention in float32: its bfloat16 backward on the CPU takes five times as long."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **options)
        kind = args[0].dtype
        with torch.autocast("cpu", enabled=False):
            return func(*(_widened(x) for x in args), **options).to(kind)


def _widened(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x


class FastLinear(nn.Linear):
    """``torch.nn.Linear`` through the faster library of float32 products.

    Examples:
        >>> FastLinear(2, 3)(torch.ones(4, 2)).shape
        torch.Size([4, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return linear(x, self.weight, self.bias)


class RoundedLinear(nn.Module):
    """A linear layer with a bfloat16 copy of its weights, for inference; float32 in and out."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight.detach().bfloat16()
        self.bias = None if bias is None else bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return nn.functional.linear(x.bfloat16(), self.weight, self.bias).float()


@torch.no_grad()
def rounded(model: Network, keep: str = "head") -> Network:
    """A twin of a network whose linear layers work in bfloat16, for inference.

    It holds rounded copies of their weights; all other weights are those of the network itself.

    Args:
        model: float32; it is left as it is.
        keep: name of a layer that stays in float32: log-probs are that precise.

    Examples:
        >>> layers = nn.Sequential(nn.Linear(2, 2))
        >>> rounded(layers)(torch.ones(1, 2)).dtype
        torch.float32
    """
    shared: dict[int, Any] = {id(p): p for p in model.parameters()}
    twin = copy.deepcopy(model, shared)
    for name, module in list(twin.named_modules()):
        if isinstance(module, nn.Linear) and name != keep:
            parent, _, last = name.rpartition(".")
            setattr(twin.get_submodule(parent), last, RoundedLinear(module.weight, module.bias))
    return twin
