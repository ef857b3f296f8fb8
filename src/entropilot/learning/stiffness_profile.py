"""Where along its depth a network is stiff: rate and Lipschitz index of its residual blocks.

Source: StepNet (arXiv 2308.09939); indices as defined in ``information.stiffness``. Hooks read what
goes into a block and what comes out; only running sums are kept.

Legend: B samples, T blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information.stiffness import EPSILON
from entropilot.learning.meters import LayerPass
from entropilot.learning.modules import first_tensor, matching_layers, unwrapped
from entropilot.learning.probe import ProbeBatch, call_model, probe_batches, undisturbed


def block_rate(x: Tensor, after: Tensor, dt: float = 1.0) -> Tensor:
    """Rate index of one block, [B] in float64: ||after - x|| / (dt (||x|| + 1e-8)).

    Examples:
        >>> block_rate(torch.ones(1, 4), torch.full((1, 4), 1.5))
        tensor([0.5000], dtype=torch.float64)
    """
    return _norm(after - x) / (dt * (_norm(x) + EPSILON))


def stiffness_profile(
    model: nn.Module,
    loader: ProbeBatch | Iterable[ProbeBatch],
    blocks: Sequence[str],
    dt: float = 1.0,
) -> dict[str, Any]:
    """Stiffness of a network's blocks over a data set, in eval mode and without gradients.

    Args:
        model: any module; left as it was.
        loader: a pair ``(inputs, labels)``, a list of pairs or a DataLoader; labels may be None.
        blocks: dotted names or patterns, in the order of the forward pass. The Lipschitz index
            compares each with the next one of them.
        dt: time of a block.

    Returns:
        ``blocks``: T names; ``rate_mean`` and ``rate_std``: T numbers over samples;
        ``lipschitz_mean``: T - 1 numbers. nan marks a block, or a pair, across which the shape
        changes. ``peak_to_median`` of the mean rates and ``total``, their sum.

    Raises:
        ConfigurationError: no such block, dt not above 0.
        BrokenNumbersError: features of a block are nan or infinite.
        InputError: no block keeps the shape of its input, or no batch.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
        >>> found = stiffness_profile(model, (torch.randn(8, 4), None), ["*"])
        >>> found["blocks"], len(found["rate_mean"]), len(found["lipschitz_mean"])
        (['0', '1', '2'], 3, 2)
    """
    if not dt > 0:
        raise ConfigurationError(f"dt is {dt}; the time of a step must be above 0")
    inner = unwrapped(model)
    layers = matching_layers(inner, blocks)
    if not layers:
        raise ConfigurationError("name at least one block, such as blocks=['layer1.*']")
    sums = _Sums(list(layers), dt)
    hooks = [
        layer.register_forward_hook(partial(_observe, sums, name)) for name, layer in layers.items()
    ]
    try:
        with undisturbed(inner) as device:
            for batch in probe_batches(loader):
                call_model(inner, batch[0], device)
                sums.last = None
    finally:
        for hook in hooks:
            hook.remove()
    return sums.profile()


class _Sums:
    """Running sums of one profile, on the device until they are read."""

    def __init__(self, blocks: list[str], dt: float) -> None:
        self.blocks, self.dt = blocks, dt
        self.rates: dict[str, tuple[Tensor, int]] = {}
        self.changes: dict[str, tuple[Tensor, int]] = {}
        self.last: tuple[str, Tensor] | None = None  # block, its step

    def observe(self, name: str, x: Tensor, after: Tensor) -> None:
        if x.shape != after.shape:
            self.last = None
            return
        step = _wide(after) - _wide(x)
        rate = _norm(step) / (self.dt * (_norm(_wide(x)) + EPSILON))
        _add(self.rates, name, rate)
        if self.last is not None and self.last[1].shape == step.shape:
            before, previous = self.last
            change = _norm(step - previous) / self.dt / (_norm(previous) + EPSILON)
            _add(self.changes, before, change)
        self.last = (name, step)

    def profile(self) -> dict[str, Any]:
        if not self.rates:
            raise InputError(
                f"none of the blocks ({', '.join(self.blocks)}) was run with an input of the same "
                "shape as its output; name residual blocks, and give at least one batch"
            )
        rate = [_read(self.rates.get(name)) for name in self.blocks]
        for name, (mean, _) in zip(self.blocks, rate, strict=True):
            if not torch.isfinite(torch.tensor(mean)) and name in self.rates:
                raise BrokenNumbersError(
                    f"features of block {name!r} are nan or infinite; the fault is there or before"
                )
        means = torch.tensor([mean for mean, _ in rate], dtype=torch.float64)
        known = means[~means.isnan()]
        return {
            "blocks": self.blocks,
            "rate_mean": means.tolist(),
            "rate_std": [std for _, std in rate],
            "lipschitz_mean": [_read(self.changes.get(n))[0] for n in self.blocks[:-1]],
            "peak_to_median": float(known.max() / known.quantile(0.5)),
            "total": float(known.sum()),
        }


def _observe(sums: _Sums, name: str, _module: nn.Module, inputs: Any, output: Any) -> None:
    x, after = first_tensor(inputs), first_tensor(output)
    if x is not None and after is not None:
        sums.observe(name, x, after)


def _add(sums: dict[str, tuple[Tensor, int]], name: str, values: Tensor) -> None:
    moments = torch.stack([values.sum(), values.square().sum()])
    total, n = sums.get(name, (torch.zeros_like(moments), 0))
    sums[name] = (total + moments, n + len(values))


def _read(found: tuple[Tensor, int] | None) -> tuple[float, float]:
    """Mean and standard deviation (divided by n)."""
    if found is None:
        return float("nan"), float("nan")
    first, second = (found[0] / found[1]).tolist()
    return first, float(max(0.0, second - first**2) ** 0.5)


def _wide(x: Tensor) -> Tensor:
    """float32 or better."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _norm(x: Tensor) -> Tensor:
    """[B], in float64 where the device has it: sums of squares over the batch follow."""
    norms: Tensor = torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
    return norms if x.device.type == "mps" else norms.double()


@dataclass(frozen=True)
class StiffnessMeter:
    """Rate index of residual blocks while a network trains, for ``MeterRecorder``.

    Along the layers of a recorded step it draws the network's stiffness over depth, as
    ``stiffness_profile`` does for a finished one. Choose blocks whose output has the shape of their
    input.

    Args:
        dt: time of a block.
        name: first part of the metrics' names.

    Examples:
        >>> from entropilot.learning.recorder import MeterRecorder
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        >>> probe = (torch.randn(8, 4), None)
        >>> with MeterRecorder(model, None, [StiffnessMeter()], ["*"], probe=probe) as recorder:
        ...     row = recorder.step()
        >>> sorted(k for k in row if k != "step")
        ['stiffness/rate@0', 'stiffness/rate@1', 'stiffness/rate_std@0', 'stiffness/rate_std@1']
    """

    dt: float = 1.0
    name: str = "stiffness"

    def init(self) -> dict[str, Any]:
        """Nothing seen."""
        return {}

    def observe(self, state: dict[str, Any], seen: LayerPass) -> dict[str, Any]:
        """Add the rates of one pass."""
        if not seen.inputs or seen.inputs[0].shape != seen.output.shape:
            given = tuple(seen.inputs[0].shape) if seen.inputs else "nothing"
            raise InputError(
                f"the block takes {given} to {tuple(seen.output.shape)}: a rate needs a block that "
                "keeps the shape"
            )
        rate = block_rate(_wide(seen.inputs[0]), _wide(seen.output), self.dt)
        sums = {"rate": (state["sums"], state["n"])} if state else {}
        _add(sums, "rate", rate)
        return {"sums": sums["rate"][0], "n": sums["rate"][1]}

    def read(self, state: dict[str, Any]) -> tuple[Mapping[str, float], dict[str, Any]]:
        """Mean and spread over the samples of this step."""
        if not state:
            raise InputError("no pass was seen in this step")
        mean, std = _read((state["sums"], state["n"]))
        return {"rate": mean, "rate_std": std}, self.init()
