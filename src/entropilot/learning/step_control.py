"""A step no longer than the softmax's convergence radius, for any optimizer.

Source: Ghosts of Softmax (arXiv 2603.13552). The step p that an optimizer takes is measured where
it starts, r = max over samples of spread(J p) / pi, and shortened to r_target radii:

    cap:   p <- min(1, r_target / r) p
    free:  p <- (r_target / r) p          no learning rate left, only a direction

The step is the one really taken: parameters are copied, the optimizer steps, and the difference
is p, whatever momentum, preconditioner, weight decay or learning rates by group made it. Moments
advance once, as they would without control.

Departs from the paper: with ``every`` > 1 a step is never cut on a stale number in "cap" mode; when
the stale estimate is above the target, the step is measured afresh. The reference code's rule on
the spread of the logits themselves is another heuristic, and is not here.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from entropilot.errors import ConfigurationError, InputError, ModelError
from entropilot.learning.convergence_radius import slope_spread
from entropilot.learning.logit_slopes import (
    METHODS,
    LogitsOf,
    Method,
    Mode,
    as_inputs,
    bare_module,
    logit_slopes,
    logits_of,
    model_logits,
    norm,
)
from entropilot.learning.measured_calls import Call, plain_inputs, some_rows
from entropilot.learning.step_report import StepReport

Control = Literal["cap", "free"]
#: "batch": all samples of the step; a number: at most so many rows of each forward pass; a
#: function: inputs to measure on, from the inputs of the forward pass.
Probe = Literal["batch"] | int | Callable[[Any], Any]


class RadiusController:
    """Steps an optimizer and bounds each step by the convergence radius of given inputs.

    ``SafeStep`` does the same without being told the inputs.

    Args:
        optimizer: any torch optimizer whose step needs no closure. All its parameters must belong
            to ``model``; frozen ones, several groups and learning rates by group are fine.
        model: whose logits are bounded; with or without DistributedDataParallel around it.
        r_target: longest step in radii, > 0. 1 is where the paper's guarantee ends; 0.5 is careful.
        mode: "cap" shortens long steps only; "free" makes every step r_target radii long.
        probe: "batch" measures on all samples; a number on at most so many rows of each forward
            pass (cheaper; the bound then is that of those rows); a function picks the inputs.
        every: measure each so many steps and use the last spread per unit length in between.
        method: "auto" takes forward mode and falls back to finite differences with a warning.
        logits: finds the logits [..., K] in the model's output.
        network_mode: "eval" measures without dropout and with BatchNorm's running statistics.
        process_group: over which the largest r is taken: "auto" is the default group once
            torch.distributed is initialised; None keeps every process to itself.

    Raises:
        ConfigurationError: a setting is out of its range, or the optimizer needs a closure.
        InputError: a parameter of the optimizer is not in the model.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> layer = nn.Linear(3, 2)
        >>> controller = RadiusController(torch.optim.SGD(layer.parameters(), lr=1e3), layer)
        >>> x = torch.randn(8, 3)
        >>> nn.functional.cross_entropy(layer(x), torch.zeros(8, dtype=torch.long)).backward()
        >>> report = controller.step(x)
        >>> report.r_raw > 1, round(report.r_applied, 6)
        (True, 1.0)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        r_target: float = 1.0,
        mode: Control = "cap",
        probe: Probe = "batch",
        every: int = 1,
        method: Method | Literal["auto"] = "auto",
        logits: LogitsOf = logits_of,
        network_mode: Mode = "eval",
        process_group: Any = "auto",
    ) -> None:
        _check_settings(optimizer, r_target, mode, probe, every, method)
        self.optimizer = optimizer
        self.model = model
        self.r_target = r_target
        self.mode = mode
        self.probe = probe
        self.every = every
        self.method: Method = "jvp" if method == "auto" else method
        self.may_fall_back = method == "auto"
        self.process_group = process_group
        self.model_fn = model_logits(model, logits, mode=network_mode)
        self.n_steps = 0
        self.spread_per_length: float | None = None  # of the last measured step
        self.report: StepReport | None = None
        self.names()

    def names(self) -> dict[str, Tensor]:
        """Parameters of the optimizer by their name in the model."""
        known = {id(p): name for name, p in bare_module(self.model).named_parameters()}
        found: dict[str, Tensor] = {}
        for number, group in enumerate(self.optimizer.param_groups):
            for p in group["params"]:
                if id(p) not in known:
                    raise InputError(
                        f"group {number} of the optimizer has a parameter of shape "
                        f"{tuple(p.shape)} that is not in the model; pass the module that gives "
                        "the logits and holds every parameter the optimizer moves"
                    )
                found[known[id(p)]] = p
        return found

    def step(self, inputs: Any, mask: Tensor | None = None) -> StepReport:
        """Take one step, bounded on these inputs.

        Args:
            inputs: as ``model_logits`` takes them; those of the gradient's batch.
            mask: [...] bool, True for samples (or positions) that count.

        Returns:
            What was done; also kept as ``report``.

        Raises:
            InputError: no sample counts, or logits, slopes or the step are not finite; the
                parameters are then where they were.
            ModelError: the method can't differentiate the model.
        """
        return self.step_on([Call(as_inputs(inputs), mask)])

    def step_on(self, calls: Sequence[Call]) -> StepReport:
        """``step`` on several forward passes, as under gradient accumulation."""
        moving = {name: p for name, p in self.names().items() if p.grad is not None}
        params = list(moving.values())
        old = [p.detach().clone() for p in params]
        self.optimizer.step()
        with torch.no_grad():
            new = [p.detach() for p in params]
            step = list(torch._foreach_sub(new, old)) if new else []
        try:
            report = self._controlled(calls, moving, old, step)
        except BaseException:
            _write(params, old)
            raise
        if report.scale != 1:
            with torch.no_grad():
                torch._foreach_mul_(step, report.scale)
                _write(params, list(torch._foreach_add(old, step)))
        self.n_steps += 1
        self.report = report
        return report

    def _controlled(
        self,
        calls: Sequence[Call],
        moving: Mapping[str, Tensor],
        old: list[Tensor],
        step: list[Tensor],
    ) -> StepReport:
        tau = norm(step)
        if not math.isfinite(tau):
            raise InputError(
                f"the optimizer's step has length {tau}: a gradient or a moment is not finite. The "
                "parameters were put back; use torch.amp.GradScaler for float16, or skip the batch"
            )
        known = self.spread_per_length
        stale = known is not None and self.n_steps % self.every != 0
        if stale and known is not None:
            r, index = tau * known / math.pi, None
            stale = self.mode == "free" or r <= self.r_target
        if not stale:
            before = dict(zip(moving, old, strict=True))
            along = dict(zip(moving, step, strict=True))
            r, index = self._measured(calls, before, along) if tau > 0 else (0.0, None)
            if tau > 0:
                self.spread_per_length = r * math.pi / tau
        scale = 1.0
        if r > 0 and (self.mode == "free" or r > self.r_target):
            scale = self.r_target / r
        rho = tau / r if r > 0 else math.inf
        return StepReport(r, r * scale, rho, tau, tau * scale, scale, index, stale)

    def _measured(
        self, calls: Sequence[Call], before: Mapping[str, Tensor], along: Mapping[str, Tensor]
    ) -> tuple[float, int | None]:
        """The largest r over samples and processes, and the sample of this process."""
        if not calls:
            raise InputError("no inputs to measure on: a radius needs at least one sample")
        params = dict(bare_module(self.model).named_parameters()) | dict(before)
        largest, index, seen = -1.0, None, 0
        failure: InputError | None = None
        for call in calls:
            picked = self._picked(call)
            if picked.mask is not None and not bool(picked.mask.any()):
                seen += picked.mask.numel()
                continue
            try:
                spread = self._spread(picked, params, along)
            except InputError as error:
                failure = error
                break
            top = int(spread.argmax())
            if float(spread.flatten()[top]) > largest:
                largest, index = float(spread.flatten()[top]), seen + top
            seen += spread.numel()
        largest = self._over_processes(math.inf if failure else largest, along)
        if failure or largest == math.inf:
            raise failure or InputError("logits or slopes are not finite on another process")
        if largest < 0:
            raise InputError("every sample of the step is masked out; a radius needs at least one")
        return largest / math.pi, index

    def _spread(
        self, call: Call, params: Mapping[str, Tensor], along: Mapping[str, Tensor]
    ) -> Tensor:
        context: Any = contextlib.nullcontext()
        if call.autocast is not None:
            device, dtype = call.autocast
            context = torch.autocast(device, dtype=dtype, cache_enabled=False)
        with context:
            try:
                logits, slopes = logit_slopes(
                    self.model_fn, params, along, call.inputs, method=self.method
                )
            except ModelError as error:
                if not self.may_fall_back:
                    raise
                warnings.warn(f"measuring with finite differences: {error}", stacklevel=2)
                self.method, self.may_fall_back = "fd", False
                logits, slopes = logit_slopes(
                    self.model_fn, params, along, call.inputs, method="fd"
                )
        total = logits.sum(-1)  # one pass; nan or inf when any logit is
        counts = torch.ones_like(total, dtype=torch.bool) if call.mask is None else call.mask
        bad = ~torch.isfinite(total) & counts
        if bool(bad.any()):
            raise InputError(
                f"logits of sample {int(bad.flatten().nonzero()[0])} are not finite; leave it out, "
                "or take logits= before a mask writes -inf into them"
            )
        spread: Tensor = slope_spread(slopes, call.mask)
        return spread

    def _picked(self, call: Call) -> Call:
        if self.probe == "batch":
            return call
        if callable(self.probe):
            return replace(call, inputs=as_inputs(self.probe(plain_inputs(call.inputs))), mask=None)
        return some_rows(call, int(self.probe), self.n_steps)

    def _over_processes(self, value: float, along: Mapping[str, Tensor]) -> float:
        group = self.process_group
        distributed = torch.distributed
        if group is None or not (distributed.is_available() and distributed.is_initialized()):
            return value
        shared = torch.tensor([value], device=next(iter(along.values())).device)
        distributed.all_reduce(
            shared, distributed.ReduceOp.MAX, group=None if group == "auto" else group
        )
        return float(shared)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: steps done, and the spread that stale steps use."""
        return {"n_steps": self.n_steps, "spread_per_length": self.spread_per_length}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self.n_steps = int(state["n_steps"])
        known = state["spread_per_length"]
        self.spread_per_length = None if known is None else float(known)


@torch.no_grad()
def _write(params: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for p, value in zip(params, values, strict=True):
        p.copy_(value)


def _check_settings(
    optimizer: Optimizer, r_target: float, mode: str, probe: Probe, every: int, method: str
) -> None:
    if not (isinstance(r_target, int | float) and 0 < r_target < math.inf):
        raise ConfigurationError(f"r_target is {r_target}; it must be above 0 (1 is the radius)")
    if mode not in ("cap", "free"):
        raise ConfigurationError(f"mode is {mode!r}; it must be 'cap' or 'free'")
    if probe != "batch" and not callable(probe) and not (isinstance(probe, int) and probe >= 1):
        raise ConfigurationError(
            f"probe is {probe!r}; it must be 'batch', a number of rows >= 1 or a function"
        )
    if not (isinstance(every, int) and every >= 1):
        raise ConfigurationError(f"every is {every!r}; it must be a whole number >= 1")
    if method not in ("auto", *METHODS):
        raise ConfigurationError(
            f"method is {method!r}; it must be 'auto' or one of {', '.join(METHODS)}"
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    needs = closure is not None and closure.default is inspect.Parameter.empty
    if needs or isinstance(optimizer, torch.optim.LBFGS):
        raise ConfigurationError(
            f"{type(optimizer).__name__} calls a closure several times a step, so that there is no "
            "single step to bound; use an optimizer with one gradient a step (SGD, Adam, ...)"
        )
