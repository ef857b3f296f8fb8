"""Modules of a model by name, wrappers looked through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from entropilot.errors import ConfigurationError, unknown_name


def matching_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Modules by dotted name, in the model's order.

    Args:
        model: to look in.
        names: exact names, "" for the model itself, or patterns in which ``*`` is any text
            without a dot.

    Raises:
        ConfigurationError: a name or pattern fits no module; the message lists the near ones.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 1)))
        >>> list(matching_layers(model, ["1.*", "0"]))
        ['0', '1.0', '1.1']
    """
    known = dict(model.named_modules())
    wanted: set[str] = set()
    for name in names:
        fits = [k for k in known if k == name or ("*" in name and k and _fits(k, name))]
        if not fits:
            raise ConfigurationError(unknown_name("layer", name, filter(None, known)))
        wanted.update(fits)
    return {name: module for name, module in known.items() if name in wanted}


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of ``torch.compile`` and of data parallelism.

    Examples:
        >>> inner = nn.Linear(1, 1)
        >>> unwrapped(nn.DataParallel(inner)) is inner
        True
    """
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):  # torch.compile
        return unwrapped(inner)
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    return model


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a module's output, which may be nested; None where there is none.

    Examples:
        >>> import torch
        >>> first_tensor({"loss": None, "logits": (torch.ones(2), torch.zeros(2))})
        tensor([1., 1.])
    """
    if isinstance(output, Tensor):
        return output
    items = output.values() if isinstance(output, Mapping) else output
    if isinstance(items, str) or not isinstance(items, Iterable):
        return None
    return next((found for found in map(first_tensor, items) if found is not None), None)
