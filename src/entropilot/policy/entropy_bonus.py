"""Entropy bonuses: the plain regulariser, with a schedule or a target.

Legend: B answers, T tokens. Nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from entropilot.errors import ConfigurationError
from entropilot.information import masked_mean
from entropilot.policy.term import Applied, State, Term, View

#: From the number of updates done to a factor of the coefficient.
Schedule = Callable[[int], float]


def constant() -> Schedule:
    """The coefficient as it is.

    Examples:
        >>> constant()(100)
        1.0
    """
    return lambda _update: 1.0


def linear_decay(updates: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` over some updates, then ``end``.

    Examples:
        >>> linear_decay(10)(5)
        0.5
    """
    if not updates >= 1:
        raise ConfigurationError(f"a decay over {updates} updates; it takes at least 1")
    return lambda update: 1 + (end - 1) * min(1.0, update / updates)


def cosine_decay(updates: int, end: float = 0.0) -> Schedule:
    """From 1 to ``end`` along half a cosine, then ``end``.

    Examples:
        >>> round(cosine_decay(10)(5), 3)
        0.5
    """
    if not updates >= 1:
        raise ConfigurationError(f"a decay over {updates} updates; it takes at least 1")
    return lambda update: (
        end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, update / updates)))
    )


def entropy_bonus(coef: float, schedule: Schedule | None = None) -> Term:
    """Regulariser ``-coef * mean entropy`` over the tokens that count; gradient through H.

    When this does nothing: ``coef`` 0. A coefficient that holds the entropy of a small vocabulary
    explodes that of a large one.

    Args:
        coef: >= 0; more raises the entropy.
        schedule: factor by update number, which is the term's state; None is constant.

    Raises:
        ConfigurationError: coef below 0.

    Examples:
        >>> entropy_bonus(0.01).settings
        {'coef': 0.01}
    """
    if not coef >= 0:
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

    return Term(
        "entropy-bonus",
        apply,
        lambda _view: {"update": 0},
        frozenset({"entropy"}),
        {"coef": coef},
    )


def adaptive_entropy_bonus(
    target: float = 0.2,
    start: float = 0.0,
    step: float = 0.005,
    low: float = 0.0,
    high: float = 1.0,
) -> Term:
    """TRL's bonus with a target: the coefficient rises while the entropy is at or below it.

        H <= target:  coef += step, and the bonus -coef * mean entropy acts
        H > target:   coef -= step, and it does not

    The coefficient stays in [low, high]. It is the term's state, so it survives a checkpoint.

    When this does nothing: while the entropy is above the target.

    Args:
        target: nats, > 0; in the unit of the run's own entropy.
        start: first coefficient.
        step: change an update.
        low: least coefficient.
        high: greatest coefficient.

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
        coef = start if state is None else float(state["coef"])
        if not bool(view.mask.any()):
            return Applied(view.policy.get("entropy").sum() * 0, {"coef": coef})
        mean = masked_mean(view.policy.get("entropy"), view.mask)
        is_low = float(mean.detach()) <= target
        coef = min(max(coef + (step if is_low else -step), low), high)
        metrics = {"adaptive-bonus/coef": coef, "adaptive-bonus/entropy": mean.detach()}
        value = -coef * mean if is_low else mean * 0
        return Applied(value, {"coef": coef}, metrics)

    settings = {"target": target, "start": start, "step": step, "low": low, "high": high}
    return Term(
        "adaptive-bonus", apply, lambda _view: {"coef": start}, frozenset({"entropy"}), settings
    )
