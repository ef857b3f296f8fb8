"""SafeStep: bound every step of any torch optimizer by the softmax's convergence radius.

    optimizer = SafeStep(torch.optim.AdamW(model.parameters(), lr=1e-3), model)

and the training loop stays as it is: schedulers, GradScaler, gradient accumulation and
DistributedDataParallel see an ordinary optimizer. A step within the radius is taken bit for bit as
it would have been.

Source: Ghosts of Softmax (arXiv 2603.13552); the control itself is in ``step_control``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.forward_watch import ForwardWatch
from entropilot.learning.logit_slopes import LogitsOf, logits_of
from entropilot.learning.step_control import RadiusController
from entropilot.learning.step_report import StepReport
from entropilot.policy.training.metrics_log import append_metrics, keep_steps

Record = Callable[[Mapping[str, Any]], None]
_KEY = "safe_step"


class SafeStep(Optimizer):
    """An optimizer whose steps are at most ``r_target`` convergence radii long.

    It learns from hooks on the model which samples the gradient came from: those whose logits
    received one, over all forward passes since the last step. A step costs one forward-mode pass
    over them and two copies of the parameters; ``probe`` and ``every`` make it cheaper.

    Args:
        optimizer: any torch optimizer but LBFGS.
        model: the module the loop calls; its output holds logits with the classes on the last axis.
        record: a function of one row (a dict of numbers), or the path of a metrics file.
        settings: of ``RadiusController``: r_target, mode, probe, every, method, logits,
            network_mode, process_group.

    Raises:
        ConfigurationError: a setting is out of its range, or the optimizer needs a closure.
        InputError: a parameter of the optimizer is not in the model.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Linear(3, 2)
        >>> optimizer = SafeStep(torch.optim.SGD(model.parameters(), lr=1e4), model)
        >>> loss = nn.functional.cross_entropy(model(torch.randn(8, 3)), torch.zeros(8).long())
        >>> loss.backward()
        >>> optimizer.step()
        >>> optimizer.report.r_raw > 100, round(optimizer.report.r_applied, 6)
        (True, 1.0)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        record: Record | str | Path | None = None,
        logits: LogitsOf = logits_of,
        **settings: Any,
    ) -> None:
        if isinstance(optimizer, SafeStep):
            raise ConfigurationError("the optimizer is a SafeStep already; wrap it once")
        if not isinstance(optimizer, Optimizer):
            raise ConfigurationError(
                f"optimizer is a {type(optimizer).__name__}; SafeStep wraps a torch.optim.Optimizer"
            )
        controller = RadiusController(optimizer, model, logits=logits, **settings)
        # what Optimizer.__init__ sets up, but for groups and state: those stay the inner one's
        Optimizer.__setstate__(self, {"optimizer": optimizer, "controller": controller})
        self.watch = ForwardWatch(model, logits)
        self.path = Path(record) if isinstance(record, str | Path) else None
        self.record: Record | None
        if isinstance(record, str | Path):
            self.record = partial(append_metrics, Path(record))
        else:
            self.record = record

    optimizer: Optimizer
    controller: RadiusController

    @property
    def report(self) -> StepReport | None:
        """What the last step did; None before the first."""
        return self.controller.report

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of the wrapped optimizer, shared with it and with any scheduler."""
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """State of the wrapped optimizer."""
        return self.optimizer.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Defaults of the wrapped optimizer."""
        return self.optimizer.defaults

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one bounded step.

        Args:
            closure: computes loss and gradient; called once, before the step.

        Returns:
            What the closure returned, else None.

        Raises:
            InputError: no gradient came through the model's output since the last step, or what
                was measured is not finite; the parameters are where they were.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        calls = self.watch.calls()
        if not calls:
            raise InputError(
                "no backward pass through the output of the watched model since the last step; "
                "hand SafeStep the very module that the loop calls, and step after backward()"
            )
        try:
            with self.watch.looking_away():
                report = self.controller.step_on(calls)
        finally:
            self.watch.clear()
        if self.record is not None:
            self.record(report.as_row(self.controller.n_steps))
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients, and the inputs that they came from."""
        self.watch.clear()
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer; its parameters must be in the model."""
        self.optimizer.add_param_group(param_group)
        self.controller.names()

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's state, which loads into it alone, too, and the control's."""
        return {**self.optimizer.state_dict(), _KEY: self.controller.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave, or the state of a bare optimizer of the same kind.

        Rows of the metrics file that lie after the loaded step are dropped.
        """
        bare = {name: value for name, value in state_dict.items() if name != _KEY}
        self.optimizer.load_state_dict(bare)
        if _KEY in state_dict:
            self.controller.load_state_dict(state_dict[_KEY])
            if self.path is not None and self.path.is_file():
                keep_steps(self.path, self.controller.n_steps)

    def unwrap(self) -> Optimizer:
        """Stop watching the model and hand back the optimizer."""
        self.watch.close()
        return self.optimizer

    def __repr__(self) -> str:
        c = self.controller
        settings = f"r_target={c.r_target}, mode={c.mode!r}, every={c.every}"
        return f"SafeStep({settings}, {self.optimizer!r})"
