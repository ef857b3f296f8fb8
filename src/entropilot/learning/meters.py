"""What a meter is: a measurement that rides along with anyone's training loop.

A *layer meter* looks at what one module did in one forward pass; a *step meter* looks at the
numbers that the loop reports of a step, such as its loss. Both are pure functions over an
explicit state, as an optimiser of optax is: the recorder (``recorder.py``) keeps one state a meter
and layer, so that one meter object serves any number of layers and runs.

A state holds tensors, numbers, strings and tuples, lists and dictionaries of them and nothing else,
so that ``torch.save`` keeps it and ``torch.load(weights_only=True)`` reads it back.

Legend: B examples, T positions, C channels, D features, N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError, unknown_name

#: How the output of a layer becomes rows of features; see ``feature_rows``.
Rows = Literal["auto", "flatten", "mean", "last", "tokens"]

AT: Final = "@"  # between a quantity and the layer it was measured at


@dataclass(frozen=True)
class LayerPass:
    """What one module did in one forward pass.

    Tensors are the network's own, detached and not copied: a meter reads them and lets them go.

    Args:
        layer: dotted name of the module in ``model``; "" is the model itself.
        module: that ran.
        model: the module belongs to, for meters that read another module's weights.
        inputs: positional tensors that the module was called with.
        output: its output; the first tensor of a tuple, a list or a dictionary.
        labels: what the loop or the probe said of this pass: [B] or [B, T]; None when it said
            nothing. Entries below 0 do not count.
        step: of training.
    """

    layer: str
    module: nn.Module
    model: nn.Module
    inputs: tuple[Tensor, ...]
    output: Tensor
    labels: Tensor | None
    step: int


@runtime_checkable
class LayerMeter(Protocol):
    """Measures single layers.

    ``observe`` is called once a forward pass of a recorded step, ``read`` once a recorded step,
    after its passes. Numbers of ``read`` are logged as ``<name>/<quantity>@<layer>``.

    Examples:
        >>> class Norm:  # the mean norm of a layer's output
        ...     name = "size"
        ...     def init(self):
        ...         return (0.0, 0)
        ...     def observe(self, state, seen):
        ...         rows = feature_rows(seen.output)[0]
        ...         return (state[0] + float(rows.norm(dim=1).sum()), state[1] + len(rows))
        ...     def read(self, state):
        ...         return {"norm": state[0] / max(state[1], 1)}, self.init()
        >>> isinstance(Norm(), LayerMeter)
        True
    """

    @property
    def name(self) -> str:
        """First part of the names of its metrics."""

    def init(self) -> Any:
        """The state before the first pass."""

    def observe(self, state: Any, seen: LayerPass) -> Any:
        """The state after one more forward pass."""

    def read(self, state: Any) -> tuple[Mapping[str, float], Any]:
        """The numbers of this recorded step, and the state to go on with."""


@runtime_checkable
class StepMeter(Protocol):
    """Measures the course of training from the numbers that the loop reports.

    ``advance`` is called at every step, recorded or not; what it returns at a recorded step is
    logged as ``<name>/<quantity>``.

    Examples:
        >>> class Total:  # the sum of the losses so far
        ...     name = "total"
        ...     def init(self):
        ...         return 0.0
        ...     def advance(self, state, step, values):
        ...         state += values.get("loss", 0.0)
        ...         return {"loss": state}, state
        >>> isinstance(Total(), StepMeter)
        True
    """

    @property
    def name(self) -> str:
        """First part of the names of its metrics."""

    def init(self) -> Any:
        """The state before the first step."""

    def advance(
        self, state: Any, step: int, values: Mapping[str, float]
    ) -> tuple[Mapping[str, float], Any]:
        """The numbers after this step, and the state to go on with."""


Meter = LayerMeter | StepMeter


def metric_name(meter: str, quantity: str, layer: str | None = None) -> str:
    """The name under which a meter's quantity is logged.

    Examples:
        >>> metric_name("collapse", "nc1", "blocks.2"), metric_name("epiplexity", "bits")
        ('collapse/nc1@blocks.2', 'epiplexity/bits')
    """
    return f"{meter}/{quantity}" if layer is None else f"{meter}/{quantity}{AT}{layer or 'model'}"


def split_metric_name(name: str) -> tuple[str, str | None]:
    """Quantity and layer of a logged name.

    Examples:
        >>> split_metric_name("collapse/nc1@blocks.2"), split_metric_name("loss")
        (('collapse/nc1', 'blocks.2'), ('loss', None))
    """
    quantity, at, layer = name.partition(AT)
    return quantity, layer if at else None


def feature_rows(
    output: Tensor, labels: Tensor | None = None, rows: Rows = "auto"
) -> tuple[Tensor, Tensor | None]:
    """A layer's output as rows of features, with their labels.

    Args:
        output: [B], [B, D], [B, T, D] or [B, C, H, W] (any further axes).
        labels: [B] or [B, T]; rows with a label below 0 are left out.
        rows: what a row is. ``"flatten"``: all numbers of an example. ``"mean"``: their mean over
            positions (of [B, T, D]) or over space (of [B, C, ...]). ``"last"``: the last position.
            ``"tokens"``: every position of [B, T, D] is a row. ``"auto"``: tokens where labels are
            [B, T], the mean of [B, T, D] with other labels, else flatten.

    Returns:
        [N, D] rows and [N] labels, or None where there were none.

    Raises:
        ConfigurationError: no such kind of row.
        InputError: labels do not fit the output.

    Examples:
        >>> import torch
        >>> feature_rows(torch.zeros(4, 3, 5, 5))[0].shape
        torch.Size([4, 75])
        >>> labels = torch.tensor([[0, 1, -100], [1, 0, 0]])
        >>> found, kept = feature_rows(torch.zeros(2, 3, 8), labels)
        >>> found.shape, kept.tolist()
        (torch.Size([5, 8]), [0, 1, 1, 0, 0])
    """
    if rows not in get_args(Rows):
        raise ConfigurationError(unknown_name("kind of row", rows, get_args(Rows)))
    if output.ndim == 0:
        raise InputError("the layer's output is a single number; choose a layer with [B, ...]")
    found = _rows(output, _kind(output, labels, rows))
    if labels is None:
        return found, None
    flat = labels.reshape(-1)
    if len(flat) != len(found):
        raise InputError(
            f"labels of shape {tuple(labels.shape)} do not fit {len(found)} rows, which come from "
            f"an output of shape {tuple(output.shape)}; give [B] labels, or [B, T] with "
            "rows='tokens'"
        )
    flat = flat.to(found.device)
    if not flat.is_floating_point() and bool((flat < 0).any()):
        found, flat = found[flat >= 0], flat[flat >= 0]
    return found, flat


def _kind(output: Tensor, labels: Tensor | None, rows: Rows) -> Rows:
    if rows != "auto":
        return rows
    if output.ndim == 3:
        per_token = labels is not None and tuple(labels.shape) == tuple(output.shape[:2])
        return "tokens" if per_token else "mean"
    return "flatten"


def _rows(output: Tensor, kind: Rows) -> Tensor:
    if output.ndim <= 2:
        return output.reshape(len(output), -1)
    if kind == "tokens":
        return output.reshape(-1, output.shape[-1])
    if kind == "last":
        return output[:, -1].reshape(len(output), -1)
    if kind == "mean":
        return output.mean(1) if output.ndim == 3 else output.flatten(2).mean(2)
    return output.flatten(1)
