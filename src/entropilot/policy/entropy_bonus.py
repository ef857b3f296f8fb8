"""Entropy bonus: subtract a multiple of the mean token entropy from the loss.

    loss - coef mean(H)

The oldest of the entropy controls. It is off unless it is named: a coefficient that is switched on
unasked has been blamed for runs that explode.

Legend: B answers, T tokens. Nats. Gradient flows through the entropies; the coefficient and the
rule that moves it are detached.

Source: Williams and Peng 1991; verl's ``entropy_coeff`` and TRL 1.16's ``entropy_coef``. The
adaptive rule: Skywork-OR1 (arXiv 2505.22312), Section 4, as TRL 1.16 has it.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.schedules import Schedule, as_schedule
from entropilot.policy.term import Applied, State, Term, View

NEEDS: Final = frozenset({"entropy"})


def entropy_bonus(coef: float | Schedule, *, aggregation: Aggregation | None = None) -> Term:
    """Regulariser ``-coef * mean(H)`` over the tokens of the original mask.

    When this does nothing: at ``coef=0``. At the usual 0.001 it is often too weak to see, and at
    ten times that it can drive the entropy up without end, since nothing bounds it: watch the
    entropy, or use ``adaptive_entropy_bonus``.

    Args:
        coef: a number, or a schedule over the updates (see ``schedules``). Negative lowers the
            entropy.
        aggregation: of the token entropies. Token-mean unless given, as in TRL; verl takes the
            aggregation of the loss.

    Raises:
        ConfigurationError: coef is not finite.

    Examples:
        >>> from entropilot.policy.schedules import cosine
        >>> entropy_bonus(cosine(0.01, 0.0, 100)).settings
        {'coef': 'cosine 0.01 to 0 over 100'}
    """
    schedule = as_schedule(coef)
    reduce = aggregation or Aggregation()

    def apply(view: View, state: State) -> Applied:
        update = (state or {"updates": 0})["updates"]
        mean = _mean(view, reduce)
        now = schedule.at(update)
        metrics = {"entropy-bonus/entropy": float(mean.detach()), "entropy-bonus/coef": now}
        return Applied(-now * mean, {"updates": update + 1}, metrics)

    settings: dict[str, Any] = {"coef": str(coef) if isinstance(coef, Schedule) else coef}
    return Term(
        "entropy-bonus", apply, init=lambda _view: {"updates": 0}, needs=NEEDS, settings=settings
    )


def adaptive_entropy_bonus(
    target: float = 0.2,
    start: float = 0.0,
    step: float = 0.005,
    low: float = 0.0,
    high: float = 1.0,
) -> Term:
    """Entropy bonus whose coefficient climbs while the entropy is at or below a target.

        loss - c mean(H),   c = coef if H_last <= target else 0
        after it:   coef <- clip(coef + step if mean(H) <= target else coef - step, low, high)
                    H_last <- mean(H)

    ``H_last`` is the mean entropy of the update before; the first update has none and applies 0.

    When this does nothing: while the entropy is above ``target`` the coefficient is not applied,
    and falls to ``low``. A target that the run never falls to, as 0.2 with a small vocabulary,
    leaves the run as it is.

    Args:
        target: > 0 nats; half of the entropy at the start of the run is gentle.
        start: coefficient at the start, in [low, high]; TRL's ``entropy_coef``.
        step: > 0, change of the coefficient an update.
        low: least coefficient.
        high: greatest coefficient.

    Raises:
        ConfigurationError: a setting is out of its range.

    Examples:
        >>> adaptive_entropy_bonus(0.5).settings["step"]
        0.005
    """
    numbers = (target, start, step, low, high)
    if not all(map(math.isfinite, numbers)) or not (
        target > 0 and step > 0 and low <= start <= high
    ):
        raise ConfigurationError(
            f"adaptive entropy bonus with target={target}, start={start}, step={step}, low={low}, "
            f"high={high}; expected target > 0, step > 0 and low <= start <= high"
        )
    reduce = Aggregation()

    def init(_view: View) -> State:
        return {"coef": start, "entropy": None}

    def apply(view: View, state: State) -> Applied:
        last = state or {"coef": start, "entropy": None}
        coef, before = last["coef"], last["entropy"]
        mean = _mean(view, reduce)
        applied = coef if before is not None and before <= target else 0.0
        if bool(view.mask.any()):
            before = float(mean.detach())
            moved = coef + step if before <= target else coef - step
            coef = min(max(moved, low), high)
        metrics = {
            "entropy-bonus/entropy": float(mean.detach()),
            "entropy-bonus/coef": applied,
            "entropy-bonus/next_coef": coef,
        }
        return Applied(-applied * mean, {"coef": coef, "entropy": before}, metrics)

    settings = {"target": target, "start": start, "step": step, "low": low, "high": high}
    return Term("entropy-bonus", apply, init=init, needs=NEEDS, settings=settings)


def _mean(view: View, reduce: Aggregation) -> Tensor:
    """The aggregated entropy; 0 with a graph where no token counts."""
    entropy = view.policy.get("entropy")
    if not bool(view.mask.any()):
        return torch.where(view.mask, entropy, 0).sum()
    return reduce(entropy, view.mask)
