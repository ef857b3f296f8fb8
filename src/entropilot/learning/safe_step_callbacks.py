"""SafeStep inside Lightning's and Transformers' trainers.

    trainer = pl.Trainer(callbacks=[lightning_callback(every=5)])
    trainer = transformers.Trainer(..., callbacks=[transformers_callback(probe=8)])

Both wrap the optimizers of the run when training starts and hand the bare ones back when it ends,
so that saved models and optimizer states are as without them. What is measured goes into the
trainer's own log and, with ``record=``, into a metrics file.
"""

# ruff: noqa: ARG002 - the trainers fix what a hook is called with

from __future__ import annotations

import importlib.util
from typing import Any

from torch import nn

from entropilot.errors import ConfigurationError, require
from entropilot.learning.safe_step import SafeStep


def lightning_callback(*, module: str | None = None, **settings: Any) -> Any:
    """A Lightning callback that bounds every step of the run's optimizers.

    Args:
        module: dotted name, inside the LightningModule, of the network whose call gives the
            logits; None watches the LightningModule itself, which fits ``self(x)`` in
            ``training_step``.
        settings: of ``SafeStep``.

    Returns:
        A callback of ``lightning.pytorch`` or ``pytorch_lightning``, whichever is installed. It
        logs ``safe_step/r`` and ``safe_step/scale``; ``callback.safe_steps`` are the wrappers.

    Raises:
        MissingExtraError: Lightning is not installed.

    Examples:
        >>> callback = lightning_callback(r_target=0.5)
        >>> callback.safe_steps
        []
    """
    whole = importlib.util.find_spec("lightning") is not None
    package = "lightning.pytorch" if whole else "pytorch_lightning"
    base: Any = require(package, extra="lightning", purpose="the Lightning callback").Callback

    class SafeStepCallback(base):  # type: ignore[misc]
        """Wraps the optimizers when training starts."""

        def __init__(self) -> None:
            super().__init__()
            self.safe_steps: list[SafeStep] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            network = pl_module if module is None else pl_module.get_submodule(module)
            self.safe_steps = [
                SafeStep(optimizer, network, **settings) for optimizer in trainer.optimizers
            ]
            trainer.strategy.optimizers = list(self.safe_steps)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            for number, safe in enumerate(self.safe_steps):
                if safe.report is not None:
                    ending = "" if len(self.safe_steps) == 1 else f"/{number}"
                    pl_module.log(f"safe_step/r{ending}", safe.report.r_raw)
                    pl_module.log(f"safe_step/scale{ending}", safe.report.scale)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._restore(trainer)

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self._restore(trainer)

        def _restore(self, trainer: Any) -> None:
            if self.safe_steps:
                trainer.strategy.optimizers = [safe.unwrap() for safe in self.safe_steps]

    return SafeStepCallback()


def transformers_callback(**settings: Any) -> Any:
    """A ``transformers.TrainerCallback`` that bounds every step of the run's optimizer.

    Args:
        settings: of ``SafeStep``. A language model's logits are large: a small ``probe`` (rows) or
            ``every`` keeps the cost low.

    Returns:
        The callback. ``callback.safe_step`` is the wrapper while training runs; each of the
        trainer's logs gets ``safe_step/r`` and its kin from the last step.

    Raises:
        MissingExtraError: transformers is not installed.

    Examples:
        >>> callback = transformers_callback(every=10)
        >>> callback.safe_step is None
        True
    """
    base: Any = require(
        "transformers", extra="torch", purpose="the Transformers callback"
    ).TrainerCallback

    class SafeStepCallback(base):  # type: ignore[misc]
        """Wraps the optimizer when training starts."""

        def __init__(self) -> None:
            super().__init__()
            self.safe_step: SafeStep | None = None
            self._holder: Any = None

        def on_train_begin(
            self, args: Any, state: Any, control: Any, model: Any = None, **parts: Any
        ) -> None:
            holder = parts.get("optimizer")
            if holder is None or not hasattr(holder, "optimizer"):
                raise ConfigurationError(
                    f"the trainer's optimizer is a {type(holder).__name__}; expected Accelerate's "
                    "wrapper, which sharding engines (DeepSpeed, FSDP) replace: those aren't "
                    "supported"
                )
            if not isinstance(model, nn.Module):
                raise ConfigurationError("the trainer handed over no model")
            self._holder = holder
            self.safe_step = SafeStep(holder.optimizer, model, **settings)
            holder.optimizer = self.safe_step

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **parts: Any
        ) -> None:
            if self.safe_step is not None and self.safe_step.report is not None and logs:
                row = self.safe_step.report.as_row(state.global_step)
                logs.update({name: value for name, value in row.items() if name != "step"})
                if state.log_history:
                    state.log_history[-1].update(logs)

        def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            if self.safe_step is not None:
                self._holder.optimizer = self.safe_step.unwrap()
                self.safe_step = self._holder = None

    return SafeStepCallback()
