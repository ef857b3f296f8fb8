"""Passes of fixed examples through a model in training, which leave no trace in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError

#: A batch of the probe: what the model is called with (a tensor, a tuple of arguments or a
#: dictionary of keyword arguments), and labels or None.
ProbeBatch = tuple[Any, Tensor | None]


def probe_batches(probe: Any) -> Iterable[ProbeBatch]:
    """Batches from one pair ``(inputs, labels)``, a list of pairs or a DataLoader.

    Raises:
        ConfigurationError: the probe can be read only once.

    Examples:
        >>> len(probe_batches((torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))))
        1
    """
    is_pair = (
        isinstance(probe, tuple)
        and len(probe) == 2
        and not isinstance(probe[0], tuple)
        and (probe[1] is None or isinstance(probe[1], Tensor))
    )
    if is_pair:
        return [probe]
    if iter(probe) is probe:
        raise ConfigurationError(
            "probe can be read only once, and every recorded step reads it; give a list or a "
            "DataLoader"
        )
    batches: Iterable[ProbeBatch] = probe
    return batches


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[torch.device]:
    """Eval mode without gradients; modes and random numbers are put back. Yields the device."""
    first = next(iter(model.parameters()), None)
    device = torch.device("cpu") if first is None else first.device
    modes = [(module, module.training) for module in model.modules()]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            model.eval()
            yield device
    finally:
        for module, training in modes:
            module.training = training


def call_model(model: nn.Module, inputs: Any, device: torch.device) -> None:
    """One forward pass of a probe's inputs, moved to the device.

    Examples:
        >>> call_model(nn.Linear(2, 1), (torch.zeros(1, 2),), torch.device("cpu"))
    """

    def moved(value: Any) -> Any:
        return value.to(device) if isinstance(value, Tensor) else value

    if isinstance(inputs, Mapping):
        model(**{name: moved(value) for name, value in inputs.items()})
    elif isinstance(inputs, tuple | list):
        model(*map(moved, inputs))
    else:
        model(moved(inputs))
