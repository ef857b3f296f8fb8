"""The range of learning rates whose steps stay within the softmax's convergence radius.

A step is proportional to the learning rate (for SGD, Adam, AdamW and their kin at given moments),
so that one measured step tells the learning rate at which r = 1. The finder trains a few steps,
measures each, and puts everything back: the radius shrinks as logits sharpen, so the answer is the
least over the steps, not that of the first.

Source: Ghosts of Softmax (arXiv 2603.13552) for the radius. The classic range test of Smith (arXiv
1506.01186) looks at the loss; the sweep beside the range does so, from where the probing ended.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.safe_step import SafeStep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: (model, batch) -> scalar loss, by a forward pass of the model.
Loss = Callable[[nn.Module, Any], Tensor]

SWEEP: Final = 31  # learning rates of the sweep


@dataclass(frozen=True)
class LearningRateRange:
    """Learning rates and what they do, for one model, optimizer and data.

    Args:
        safe: largest learning rate at which no probed step passes ``r_target``.
        typical: that at which the median probed step reaches it.
        by_step: that of each probed step, in their order; inf for a step that moved no logit.
        r_target: in radii.
        r_now: r at the learning rate that the optimizer came with, median over the steps.
        learning_rate: the one the optimizer came with (of its first group).
        sweep: learning rates that were tried in one step each, from where the probing ended.
        r: r of each of them.
        loss_ratio: loss after by loss before that step, on the same batch.

    Examples:
        >>> found = LearningRateRange(0.1, 0.2, (0.1, 0.3), 1.0, 2.0, 0.4, (), (), ())
        >>> print(found.summary())
        safe up to 0.1 (every probed step within 1 radius), typically 0.2; now 0.4: r = 2, too long
    """

    safe: float
    typical: float
    by_step: tuple[float, ...]
    r_target: float
    r_now: float
    learning_rate: float
    sweep: tuple[float, ...]
    r: tuple[float, ...]
    loss_ratio: tuple[float, ...]

    def summary(self) -> str:
        """The range in one line."""
        unit = "radius" if self.r_target == 1 else "radii"
        verdict = "too long" if self.r_now > self.r_target else "within"
        return (
            f"safe up to {self.safe:.3g} (every probed step within {self.r_target:g} {unit}), "
            f"typically {self.typical:.3g}; now {self.learning_rate:.3g}: r = {self.r_now:.3g}, "
            f"{verdict}"
        )


def lr_finder(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Loss,
    batches: Iterable[Any],
    *,
    steps: int = 30,
    r_target: float = 1.0,
    **settings: Any,
) -> LearningRateRange:
    """Probe a few training steps and say which learning rates are safe.

    Steps are taken at the optimizer's own learning rate, cut to the radius, so that probing
    survives a rate that is far too high. Groups keep the ratio of their rates. Model, optimizer,
    random state and modes are put back at the end, also after an error; gradients are cleared.

    Args:
        model: as it would be trained.
        optimizer: fresh, or in the middle of a run.
        loss: computes the loss of one batch; differentiable.
        batches: at least one batch; walked over again when it ends before ``steps``.
        steps: >= 1.
        r_target: in radii, > 0.
        settings: of ``SafeStep`` (probe, method, logits, ...).

    Raises:
        ConfigurationError: a setting is out of its range; a learning rate is 0.
        InputError: no batch, or a step that is not finite.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(16, 3), torch.arange(16) % 2
        >>> layer = nn.Linear(3, 2)
        >>> found = lr_finder(
        ...     layer, torch.optim.SGD(layer.parameters(), lr=1.0),
        ...     lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]), [(x, y)], steps=5)
        >>> found.safe == min(found.by_step)
        True
    """
    if steps < 1:
        raise ConfigurationError(f"steps is {steps}; it must be >= 1")
    rate = float(optimizer.param_groups[0]["lr"])
    if not rate > 0:
        raise ConfigurationError(f"the optimizer's learning rate is {rate}; it must be above 0")
    device = next(model.parameters()).device
    devices = [device] if device.type == "cuda" else []
    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    modes = [(part, part.training) for part in model.modules()]
    safe = SafeStep(optimizer, model, r_target=r_target, **settings)
    try:
        with torch.random.fork_rng(devices=devices):
            lengths, batch = [], None
            for batch in _cycled(batches, steps):
                lengths.append(_probe(safe, model, loss, batch))
            by_step = tuple(rate * r_target / r if r > 0 else math.inf for r in lengths)
            least = min(by_step)
            sweep = _sweep_rates(rate if math.isinf(least) else least)
            tried = []
            for value in sweep:
                with torch.random.fork_rng(devices=devices):  # one and the same dropout
                    tried.append(_try(safe, model, loss, batch, value))
    finally:
        safe.unwrap()
        model.load_state_dict(kept[0])
        optimizer.load_state_dict(kept[1])
        model.zero_grad()
        for part, training in modes:
            part.training = training
    return LearningRateRange(
        safe=least,
        typical=float(np.median(by_step)),
        by_step=by_step,
        r_target=r_target,
        r_now=float(np.median(lengths)),
        learning_rate=rate,
        sweep=sweep,
        r=tuple(r for r, _ in tried),
        loss_ratio=tuple(ratio for _, ratio in tried),
    )


def lr_range_figure(found: LearningRateRange) -> Figure:
    """Loss after one step and r against the learning rate, and the safe rate along the steps.

    Args:
        found: of ``lr_finder``.

    Returns:
        A matplotlib figure that belongs to no window.

    Examples:
        >>> tried = (0.1, 1.0), (1.0, 10.0), (0.9, 3.0)
        >>> found = LearningRateRange(0.1, 0.2, (0.1, 0.3), 1.0, 2.0, 0.4, *tried)
        >>> len(lr_range_figure(found).axes)
        2
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    blue, orange, green, grey = "#0072B2", "#D55E00", "#009E73", "#666666"
    figure = Figure(figsize=(10.0, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    ratio = np.clip(np.nan_to_num(found.loss_ratio, nan=1e3, posinf=1e3), 1e-3, 1e3)
    left.axvspan(min(found.sweep), found.safe, color=green, alpha=0.12, linewidth=0)
    left.plot(found.sweep, ratio, "o-", color=blue, markersize=3, linewidth=1.4)
    left.axhline(1, color=grey, linewidth=0.8, linestyle=":")
    left.axvline(found.learning_rate, color=orange, linewidth=1.2, linestyle="--")
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="loss after / before")
    left.set_title("One step at each rate (green: within the radius)", loc="left", fontsize=10)
    low, high = left.get_ylim()
    left.set_ylim(low, high * 2)
    left.annotate(
        f"now, r = {found.r_now:.3g}",
        (found.learning_rate, high * 1.6),
        xytext=(4, 0),
        textcoords="offset points",
        color=orange,
        fontsize=9,
        va="top",
    )
    finite = [v if math.isfinite(v) else math.nan for v in found.by_step]
    steps = np.arange(1, len(finite) + 1)
    right.plot(steps, finite, "o-", color=blue, markersize=3, linewidth=1.4)
    right.axhline(found.safe, color=green, linewidth=1.4, label=f"safe: {found.safe:.3g}")
    right.axhline(
        found.learning_rate,
        color=orange,
        linewidth=1.2,
        linestyle="--",
        label=f"now: {found.learning_rate:.3g}",
    )
    right.set(yscale="log", xlabel="probed step", ylabel=f"learning rate at r = {found.r_target:g}")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_title("The rate at the radius, along training", loc="left", fontsize=10)
    right.legend(frameon=False, fontsize=9)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _probe(safe: SafeStep, model: nn.Module, loss: Loss, batch: Any) -> float:
    safe.zero_grad()
    loss(model, batch).backward()  # type: ignore[no-untyped-call]
    safe.step()
    assert safe.report is not None
    return safe.report.r_raw


def _try(
    safe: SafeStep, model: nn.Module, loss: Loss, batch: Any, rate: float
) -> tuple[float, float]:
    """R and the ratio of losses of one uncut step at that rate; parameters and moments go back."""
    kept = copy.deepcopy((model.state_dict(), safe.optimizer.state_dict()))
    controller = safe.controller
    target, controller.r_target = controller.r_target, math.inf
    factor = rate / float(safe.param_groups[0]["lr"])
    try:
        for group in safe.param_groups:
            group["lr"] *= factor
        safe.zero_grad()
        before = loss(model, batch)
        before.backward()  # type: ignore[no-untyped-call]
        safe.step()
        with torch.no_grad():
            after = loss(model, batch)
        assert safe.report is not None
        return safe.report.r_raw, float(after) / max(float(before.detach()), 1e-300)
    finally:
        controller.r_target = target
        model.load_state_dict(kept[0])
        safe.optimizer.load_state_dict(kept[1])


def _sweep_rates(centre: float) -> tuple[float, ...]:
    return tuple(float(v) for v in centre * np.logspace(-3, 3, SWEEP))


def _cycled(batches: Iterable[Any], steps: int) -> Iterator[Any]:
    done = 0
    while done < steps:
        before = done
        for batch in batches:
            yield batch
            done += 1
            if done == steps:
                return
        if done == before:
            raise InputError(
                "batches gave no batch; hand over a list or a loader, not a generator that is used "
                "up (or give it at least as many batches as steps)"
            )
