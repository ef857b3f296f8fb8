"""One set of formulas for numpy arrays and torch tensors.

The namespace is found by the type of the argument, as einops does; nothing here imports torch. A
tensor can only exist where torch is already loaded, so ``sys.modules`` is asked.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from entropilot.errors import ConfigurationError, InputError

P = ParamSpec("P")
R = TypeVar("R")

#: A numpy array or a torch tensor. Results are of the kind of the arguments.
Array = Any


def is_torch(value: object) -> bool:
    """Whether the value is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def namespace(*values: object) -> ModuleType:
    """``torch`` when any value is a tensor, else ``numpy``."""
    return sys.modules["torch"] if any(map(is_torch, values)) else np


def as_float(value: object, like: object = None) -> Array:
    """The value as a float32 or float64 array of its kind; float16 and bfloat16 become float32.

    Lists and integers become float64. ``like`` is a second operand: when it is a tensor, an array
    becomes a tensor on its device.
    """
    if is_torch(value):
        torch = sys.modules["torch"]
        tensor: Any = value
        if tensor.dtype in (torch.float32, torch.float64):
            return tensor
        return tensor.to(torch.float32 if tensor.is_floating_point() else torch.float64)
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        # bfloat16 of ml_dtypes has kind "V" and casts; strings and objects do not belong here
        narrow = array.dtype.name in ("float16", "bfloat16")
        if array.dtype.kind not in "fiub" and not narrow:
            raise InputError(
                f"expected an array of numbers, found dtype {array.dtype}; "
                "convert it to a float array first"
            )
        array = array.astype(np.float32 if narrow else np.float64)
    if is_torch(like):
        other: Any = like
        return sys.modules["torch"].as_tensor(array, device=other.device)
    return array


def pair(first: object, second: object) -> tuple[Array, Array]:
    """Two operands as float arrays of one kind whose last axes agree."""
    a, b = as_float(first, like=second), as_float(second, like=first)
    if a.shape[-1:] != b.shape[-1:]:
        raise InputError(
            f"the last axes are the outcomes and must agree; shapes are {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
    return a, b


def accumulator(value: Any) -> Any:
    """The dtype for sums of a tensor: float64, except on Apple GPUs, which lack it."""
    torch = sys.modules["torch"]
    return torch.float32 if value.device.type == "mps" else torch.float64


def last_sum(value: Array) -> Array:
    """Sum over the last axis with float64 accumulation, in the dtype of the value.

    Examples:
        >>> last_sum(np.ones((2, 3), np.float32)).tolist()
        [3.0, 3.0]
    """
    if is_torch(value):
        return value.sum(-1, dtype=accumulator(value)).to(value.dtype)
    return value.sum(-1, dtype=np.float64).astype(value.dtype)


def log_or_zero(value: Array) -> Array:
    """ln(value), and 0 with a gradient of 0 where the value is 0, so that 0 ln 0 = 0 in both."""
    xp = namespace(value)
    return xp.log(xp.where(value > 0, value, xp.ones_like(value)))


def to_base(value: Array, base: float | None) -> Array:
    """Nats in units of another base; None leaves nats."""
    if base is None:
        return value
    if not base > 1:
        raise ConfigurationError(f"base is {base}; it must be above 1 (2 for bits) or None (nats)")
    return value / math.log(base)


def first_row(bad: Array) -> str:
    """Name of the first row (index over the leading axes) for which ``bad`` is true."""
    flags = bad.detach().cpu().numpy() if is_torch(bad) else np.asarray(bad)
    where = np.argwhere(flags)[0] if flags.ndim else []
    names = ", ".join(str(int(i)) for i in where)
    return f"row {names if len(where) == 1 else f'[{names}]'}"


def check_probabilities(p: Array, name: str = "p") -> None:
    """Reject nan, negative values and rows that do not sum to 1 within rounding.

    Raises:
        InputError: names the first bad row.
    """
    xp = namespace(p)
    if p.ndim == 0 or p.shape[-1] == 0:
        raise InputError(f"{name} has shape {tuple(p.shape)}; the last axis must hold outcomes")
    smallest = xp.amin(p, -1)
    bad = ~(smallest >= 0)
    if bool(bad.any()):
        raise InputError(
            f"{name}, {first_row(bad)}, has a negative or nan probability; probabilities are in "
            "[0, 1]. If these are log-probabilities, take exp first; padding must be left out"
        )
    total = last_sum(p)
    bad = ~(abs(total - 1) <= 1e-3)
    if bool(bad.any()):
        found = float(total[bad].reshape(-1)[0]) if total.ndim else float(total)
        raise InputError(
            f"{name}, {first_row(bad)}, sums to {found:.6g}; probabilities sum to 1. For logits "
            "use entropy_from_logits, for a truncated list entropy_topk"
        )


def measure(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: the function builds no graph; ``with_gradient`` gives the form that does."""

    @functools.wraps(function)
    def detached(*args: P.args, **kwargs: P.kwargs) -> R:
        if any(map(is_torch, (*args, *kwargs.values()))):
            with sys.modules["torch"].no_grad():
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    detached.differentiable = function  # type: ignore[attr-defined]
    return detached


def with_gradient(function: Callable[P, R]) -> Callable[P, R]:
    """The form of a measure through which gradients flow.

    A measure detaches by default: a number that is only logged must not hold a graph in memory.

    Args:
        function: a measure of this package, such as ``entropy`` or ``token_statistics``.

    Returns:
        A function of the same arguments.

    Raises:
        ConfigurationError: the measure has no differentiable form.

    Examples:
        >>> import torch
        >>> p = torch.tensor([0.5, 0.5, 0.0], requires_grad=True)
        >>> from entropilot.information import entropy
        >>> with_gradient(entropy)(p).backward()
        >>> p.grad[2].item() == 0.0
        True
    """
    form: Callable[P, R] | None = getattr(function, "differentiable", None)
    if form is None:
        name = getattr(function, "__name__", repr(function))
        raise ConfigurationError(
            f"{name} has no differentiable form; entropy and token_statistics have one"
        )
    return form
