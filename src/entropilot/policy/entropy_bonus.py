"""Entropy bonuses: the plain regulariser, with a schedule or a target.

Legend: B answers, T tokens. Nats. Means are over the tokens that count; with none the value is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.information import masked_mean
from entropilot.policy.term import Applied, State, Term, View

Shape = Literal["constant", "linear", "cosine"]
SHAPES: Final[tuple[Shape, ...]] = get_args(Shape)


@dataclass(frozen=True)
class Schedule:
    """Factor of a coefficient by the number of updates done: from 1 to ``end``, then ``end``.

        linear:  1 + (end - 1) s          cosine:  end + (1 - end) (1 + cos(pi s)) / 2
        s = min(1, update / updates)

    Args:
        shape: "constant", "linear" or "cosine".
        updates: >= 1; length of the decay.
        end: >= 0; factor at its end.

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> Schedule("linear", 10)(5)
        0.5
        >>> str(Schedule("cosine", 10, 0.1))
        'cosine to 0.1 over 10 updates'
    """

    shape: Shape = "constant"
    updates: int = 1
    end: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigurationError(unknown_name("schedule", self.shape, SHAPES))
        if not self.updates >= 1:
            raise ConfigurationError(f"a decay over {self.updates} updates; it takes at least 1")
        if not (math.isfinite(self.end) and self.end >= 0):
            raise ConfigurationError(f"a decay ends at {self.end}; it must be a number >= 0")

    def __call__(self, update: int) -> float:
        """The factor after some updates."""
        if self.shape == "constant":
            return 1.0
        share = min(1.0, update / self.updates)
        if self.shape == "linear":
            return 1 + (self.end - 1) * share
        return self.end + (1 - self.end) * 0.5 * (1 + math.cos(math.pi * share))

    def __str__(self) -> str:
        if self.shape == "constant":
            return self.shape
        return f"{self.shape} to {self.end:g} over {self.updates} updates"


def constant() -> Schedule:
    """The coefficient as it is.

    Examples:
        >>> constant()(100)
        1.0
    """
    return Schedule()


def linear_decay(updates: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` over some updates, then ``end``; see ``Schedule``.

    Examples:
        >>> linear_decay(10)(5)
        0.5
    """
    return Schedule("linear", updates, end)


def cosine_decay(updates: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` along half a cosine, then ``end``; see ``Schedule``.

    Examples:
        >>> round(cosine_decay(10)(5), 3)
        0.5
    """
    return Schedule("cosine", updates, end)


def entropy_bonus(coef: float, schedule: Schedule | None = None) -> Term:
    """Regulariser ``-coef * mean entropy`` over the tokens that count; gradient through H.

    When this does nothing: ``coef`` 0, or a schedule that has come down to 0. The gradient of an
    entropy vanishes at a one-hot distribution, so it can't bring back one that has collapsed. A
    coefficient that holds the entropy of a small vocabulary explodes that of a large one.

    Args:
        coef: >= 0; more raises the entropy.
        schedule: factor by update number, which is the term's state; None is constant.

    Returns:
        The term. Metrics: ``entropy-bonus/entropy``, ``entropy-bonus/coef``.

    Raises:
        ConfigurationError: coef below 0.

    Examples:
        >>> entropy_bonus(0.01).settings
        {'coef': 0.01}
        >>> entropy_bonus(0.01, linear_decay(100)).settings["schedule"]
        'linear to 0 over 100 updates'
    """
    if not (math.isfinite(coef) and coef >= 0):
        raise ConfigurationError(f"coef of the entropy bonus is {coef}; it must be >= 0")
    factor = schedule or constant()

    def apply(view: View, state: State) -> Applied:
        update = 0 if state is None else int(state["update"])
        now = coef * factor(update)
        if not bool(view.mask.any()):
            return Applied(view.policy.get("entropy").sum() * 0, {"update": update + 1})
        mean = masked_mean(view.policy.get("entropy"), view.mask)
        metrics = {"entropy-bonus/entropy": mean.detach(), "entropy-bonus/coef": now}
        return Applied(-now * mean, {"update": update + 1}, metrics)

    settings: dict[str, Any] = {"coef": coef}
    if schedule is not None:
        settings["schedule"] = str(schedule)
    needs = frozenset({"entropy"})
    return Term("entropy-bonus", apply, lambda _view: {"update": 0}, needs, settings)


def adaptive_entropy_bonus(
    target: float = 0.2,
    start: float = 0.0,
    step: float = 0.005,
    low: float = 0.0,
    high: float = 1.0,
) -> Term:
    """TRL's bonus with a target: the coefficient rises while the entropy is at or below it.

        value:  -coef * mean entropy if the entropy of the update before was <= target, else 0
        then, for the next update:
                coef += step where the entropy of this update is <= target,  coef -= step else

    The coefficient stays in [low, high]. Value and gate are those of the update before, as in TRL,
    so the first update has no bonus. Coefficient and entropy are the term's state.

    When this does nothing: while the entropy is above the target, and on the first update. With a
    coefficient at ``low`` = 0 it takes an update below the target before it acts.

    Args:
        target: nats, > 0; in the unit of the run's own entropy.
        start: first coefficient.
        step: >= 0; change an update.
        low: least coefficient.
        high: greatest coefficient.

    Returns:
        The term. Metrics: ``adaptive-bonus/entropy``, ``adaptive-bonus/coef`` (that acted, 0 where
        the gate was shut).

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> adaptive_entropy_bonus(0.3).settings["target"]
        0.3

    Source: TRL's ``use_adaptive_entropy``, after Skywork-OR1 (arXiv 2505.22312).
    """
    if not (target > 0 and step >= 0 and low <= start <= high):
        raise ConfigurationError(
            f"adaptive bonus with target={target}, step={step}, start={start}, low={low}, "
            f"high={high}; expected target > 0, step >= 0, low <= start <= high"
        )

    def apply(view: View, state: State) -> Applied:
        memory: dict[str, Any] = {"coef": start, "entropy": None} if state is None else dict(state)
        if not bool(view.mask.any()):
            return Applied(view.policy.get("entropy").sum() * 0, memory)
        mean = masked_mean(view.policy.get("entropy"), view.mask)
        seen, before = float(mean.detach()), memory["entropy"]
        acting = float(memory["coef"]) if before is not None and before <= target else 0.0
        moved = float(memory["coef"]) + (step if seen <= target else -step)
        metrics = {"adaptive-bonus/coef": acting, "adaptive-bonus/entropy": mean.detach()}
        following = {"coef": min(max(moved, low), high), "entropy": seen}
        return Applied(-acting * mean, following, metrics)

    def init(_view: View) -> State:
        return {"coef": start, "entropy": None}

    settings = {"target": target, "start": start, "step": step, "low": low, "high": high}
    return Term("adaptive-bonus", apply, init, frozenset({"entropy"}), settings)
