"""Attach meters to anyone's training loop with one line, and write what they measure.

Hooks see what the layers do; nothing of it is kept beyond what a meter's own state keeps. The
training is not touched: parameters, gradients, modes (train or eval), buffers and random numbers
are what they would be without the recorder, which a test checks bit by bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.meters import LayerMeter, LayerPass, Meter, StepMeter, metric_name
from entropilot.learning.modules import first_tensor, matching_layers, unwrapped
from entropilot.learning.probe import ProbeBatch, call_model, probe_batches, undisturbed
from entropilot.policy.training.metrics_log import append_metrics, keep_steps, read_metrics


class MeterRecorder:
    """Measures the layers of a model while it trains, and logs one row a recorded step.

    With ``probe`` the same examples pass through the model at every recorded step, in eval mode and
    without gradients. Without it the meters see the training passes themselves, which costs no
    extra pass; say ``tell(labels=...)`` before the pass where a meter needs labels. Only passes
    with gradients on count then, so that a validation in between does not.

    Args:
        model: any module. Wrappers of ``torch.compile`` and of data parallelism are looked through;
            in a parallel run attach on one rank only.
        path: metrics file (``metrics.jsonl``), appended to; None writes nothing.
        meters: to run. A layer meter runs at every layer.
        layers: dotted names of modules, or patterns such as ``"blocks.*"``.
        every: record each so many steps, the first included.
        probe: batches ``(inputs, labels)``: one such pair, a list of them, or a DataLoader that
            does not shuffle.

    Raises:
        ConfigurationError: a layer that does not exist, two meters of one name, a probe that can
            be read only once.

    Examples:
        >>> from entropilot.learning.meters import feature_rows
        >>> class Size:
        ...     name = "size"
        ...     def init(self):
        ...         return 0.0
        ...     def observe(self, state, seen):
        ...         return float(feature_rows(seen.output)[0].abs().max())
        ...     def read(self, state):
        ...         return {"largest": state}, state
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> with MeterRecorder(model, None, [Size()], ["1"], probe=(torch.zeros(4, 2), None)) as r:
        ...     row = r.step(loss=0.5)
        >>> sorted(row)
        ['loss', 'size/largest@1', 'step']
    """

    def __init__(
        self,
        model: nn.Module,
        path: str | Path | None,
        meters: Sequence[Meter],
        layers: Sequence[str] = (),
        *,
        every: int = 1,
        probe: ProbeBatch | Iterable[ProbeBatch] | None = None,
    ) -> None:
        if every < 1:
            raise ConfigurationError(f"every is {every}; it must be >= 1")
        self.model = unwrapped(model)
        self.path = None if path is None else Path(path)
        self.every = every
        self.steps_done = 0
        self.labels: Tensor | None = None
        self._layer_meters = [m for m in meters if isinstance(m, LayerMeter)]
        self._step_meters = [m for m in meters if isinstance(m, StepMeter)]
        _check_meters(meters, layers, bool(self._layer_meters))
        self.layers = matching_layers(self.model, layers)
        self._probe = None if probe is None else probe_batches(probe)
        self._states = {
            (m.name, layer): m.init() for m in self._layer_meters for layer in self.layers
        } | {(m.name, ""): m.init() for m in self._step_meters}
        self._failed: set[tuple[str, str]] = set()
        self._warned: set[tuple[str, str]] = set()
        self._hooks: list[Any] = []
        self._last_written = self._last_row()
        if self._probe is None:
            self._attach()

    def tell(self, *, labels: Tensor | None) -> None:
        """Labels of the training passes that follow, [B] or [B, T]; not needed with a probe."""
        self.labels = labels

    def step(self, **values: float) -> dict[str, Any]:
        """End a training step: measure if it is due, and log.

        Args:
            values: what the loop knows of the step, such as ``loss=loss.item()``; logged as given.

        Returns:
            The row that was written; empty at a step that is not recorded.

        Raises:
            InputError: the metrics file already holds this step.
        """
        due, step = self._is_due(), self.steps_done + 1
        plain = {name: float(value) for name, value in values.items()}
        row: dict[str, Any] = {"step": step, **plain}
        for meter in self._step_meters:
            key = (meter.name, "")
            found, self._states[key] = meter.advance(self._states[key], step, plain)
            row |= {metric_name(meter.name, k): float(v) for k, v in found.items()}
        if due:
            if self._probe is not None:
                self._run_probe(self._probe)
            row |= self._read()
            self._write(row)
        self.steps_done = step
        return row if due else {}

    def measure(self) -> dict[str, float]:
        """Run the probe now and return the numbers, without counting a step or writing a row."""
        if self._probe is None:
            raise ConfigurationError("measure() needs a probe; give MeterRecorder(probe=...)")
        self._run_probe(self._probe)
        return self._read()

    def close(self) -> None:
        """Remove the hooks. A closed recorder does not measure any more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def __enter__(self) -> MeterRecorder:
        """The recorder itself; its hooks go when the block ends."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold so that measuring goes on to the same numbers."""
        states = [[meter, layer, state] for (meter, layer), state in self._states.items()]
        return {"steps_done": self.steps_done, "states": states}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; rows of the metrics file after its step are dropped.

        Raises:
            InputError: the state belongs to other meters or layers.
        """
        states = {(meter, layer): state for meter, layer, state in saved["states"]}
        if states.keys() != self._states.keys():
            other = sorted(map(str, states.keys() ^ self._states.keys()))
            raise InputError(
                f"the saved state is of other meters or layers ({', '.join(other[:4])}); attach "
                "the meters and layers that it was saved with"
            )
        self._states = states
        self.steps_done = int(saved["steps_done"])
        if self.path is not None and self.path.is_file():
            keep_steps(self.path, self.steps_done)
            self._last_written = self._last_row()

    def _is_due(self) -> bool:
        return self.steps_done % self.every == 0

    def _attach(self) -> None:
        for layer, module in self.layers.items():
            self._hooks.append(module.register_forward_hook(self._hook(layer), with_kwargs=True))

    def _hook(self, layer: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            riding = self._probe is None
            if riding and not (self._is_due() and torch.is_grad_enabled()):
                return
            with torch.no_grad():
                self._observe(layer, module, (*args, *kwargs.values()), output)

        return hook

    def _observe(self, layer: str, module: nn.Module, given: Any, output: Any) -> None:
        made, labels, step = first_tensor(output), self.labels, self.steps_done + 1
        inputs = tuple(x.detach() for x in given if isinstance(x, Tensor))
        for meter in self._layer_meters:
            key = (meter.name, layer)
            if key in self._failed:
                continue
            with self._guarded(key):
                if made is None:
                    raise InputError(f"the layer returns {type(output).__name__}, no tensor")
                seen = LayerPass(layer, module, self.model, inputs, made.detach(), labels, step)
                self._states[key] = meter.observe(self._states[key], seen)

    def _read(self) -> dict[str, float]:
        row: dict[str, float] = {}
        for meter in self._layer_meters:
            for layer in self.layers:
                key = (meter.name, layer)
                if key in self._failed:
                    self._states[key] = meter.init()
                    row[metric_name(meter.name, "failed", layer)] = 1.0
                    continue
                with self._guarded(key):
                    found, self._states[key] = meter.read(self._states[key])
                    row |= {metric_name(meter.name, k, layer): float(v) for k, v in found.items()}
        self._failed.clear()
        return row

    @contextmanager
    def _guarded(self, key: tuple[str, str]) -> Iterator[None]:
        """Input that a meter refuses must not end a training run: say it once and go on."""
        try:
            yield
        except InputError as error:
            self._failed.add(key)
            if key not in self._warned:
                self._warned.add(key)
                warnings.warn(
                    f"meter {key[0]!r} at layer {key[1]!r} could not measure step "
                    f"{self.steps_done + 1}: {error}",
                    stacklevel=4,
                )

    def _run_probe(self, batches: Iterable[ProbeBatch]) -> None:
        said = self.labels
        self._attach()
        try:
            with undisturbed(self.model) as device:
                for inputs, labels in batches:
                    self.labels = labels
                    call_model(self.model, inputs, device)
        finally:
            self.close()
            self.labels = said

    def _write(self, row: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        if row["step"] <= self._last_written:
            raise InputError(
                f"{self.path} already holds step {self._last_written} and step {row['step']} would "
                "follow; give a new path, or load_state_dict to go on from a checkpoint"
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        append_metrics(self.path, row)
        self._last_written = row["step"]

    def _last_row(self) -> int:
        rows = [] if self.path is None else read_metrics(self.path)
        return max((int(row["step"]) for row in rows), default=0)


def _check_meters(meters: Sequence[Meter], layers: Sequence[str], needs_layers: bool) -> None:
    for meter in meters:
        if not isinstance(meter, LayerMeter | StepMeter):
            raise ConfigurationError(
                f"{type(meter).__name__} is no meter: it needs name, init, and observe and read "
                "(of layers) or advance (of steps)"
            )
    names = [meter.name for meter in meters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"two meters are called {twice[0]!r}; give one another name")
    if needs_layers and not layers:
        raise ConfigurationError("layers is empty; name the modules that the meters look at")
