"""The forward passes on which a step is measured, whole or in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from entropilot.learning.logit_slopes import ModelInputs


@dataclass(frozen=True)
class Call:
    """One forward pass whose samples limit the step.

    Args:
        inputs: as the model took them.
        mask: [...] bool over its samples, True where one counts; None counts all.
        autocast: device type and dtype of the autocast it ran under, or None.
    """

    inputs: ModelInputs
    mask: Tensor | None = None
    autocast: tuple[str, torch.dtype] | None = None


def some_rows(call: Call, n: int, shift: int = 0) -> Call:
    """At most ``n`` rows of a forward pass, evenly spread over its batch; ``shift`` turns them.

    Every tensor among the arguments whose first axis is as long as that of the first tensor is cut.

    Examples:
        >>> some_rows(Call(ModelInputs((torch.arange(8),))), 2, shift=1).inputs.args[0].tolist()
        [1, 5]
    """
    size = next((len(t) for t in tensors_in((call.inputs.args, call.inputs.kwargs)) if t.ndim), 0)
    if size <= n:
        return call
    rows = (torch.arange(n) * size // n + shift) % size

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows.to(value.device)] if value.ndim and len(value) == size else value
        if isinstance(value, Mapping):
            return {name: cut(v) for name, v in value.items()}
        if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
            return type(value)(cut(v) for v in value)
        return value

    inputs = ModelInputs(tuple(cut(v) for v in call.inputs.args), cut(call.inputs.kwargs))
    return replace(call, inputs=inputs, mask=cut(call.mask))


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested mappings, tuples and lists, in their order."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | tuple | list):
        return []
    return [tensor for part in parts for tensor in tensors_in(part)]


def plain_inputs(inputs: ModelInputs) -> Any:
    """Inputs as a caller of the model would write them."""
    if inputs.kwargs:
        return inputs if inputs.args else dict(inputs.kwargs)
    return inputs.args[0] if len(inputs.args) == 1 else inputs.args
