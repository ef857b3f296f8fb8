"""Schedules of a coefficient over the updates, small pieces that join.

A schedule is a pure function of the update's number, from 0. Whoever uses it keeps the number in
its state, so that a run that is resumed goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from entropilot.errors import ConfigurationError


@dataclass(frozen=True)
class Schedule:
    """A number that depends on the update.

    Args:
        text: for reports, such as "linear 0.01 to 0 over 100".
        at: update, from 0 -> value.

    Examples:
        >>> constant(0.5).at(7)
        0.5
    """

    text: str
    at: Callable[[int], float]

    def __str__(self) -> str:
        return self.text


def constant(value: float) -> Schedule:
    """The same value at every update.

    Raises:
        ConfigurationError: the value is not finite.

    Examples:
        >>> str(constant(0.01))
        '0.01'
    """
    _finite(value)
    return Schedule(f"{value:g}", lambda _update: value)


def linear(start: float, end: float, updates: int) -> Schedule:
    """From start to end on a line, then end.

        start + (end - start) min(update / updates, 1)

    Args:
        start: value at update 0.
        end: value from ``updates`` on.
        updates: >= 1.

    Raises:
        ConfigurationError: updates below 1, or a value that is not finite.

    Examples:
        >>> [linear(1.0, 0.0, 4).at(update) for update in (0, 1, 4, 9)]
        [1.0, 0.75, 0.0, 0.0]
    """
    _finite(start, end)
    _at_least_one(updates)
    return Schedule(
        f"linear {start:g} to {end:g} over {updates}",
        lambda update: start + (end - start) * min(update / updates, 1.0),
    )


def cosine(start: float, end: float, updates: int) -> Schedule:
    """From start to end on half a cosine, then end.

        end + (start - end) (1 + cos(pi min(update / updates, 1))) / 2

    Args:
        start: value at update 0.
        end: value from ``updates`` on.
        updates: >= 1.

    Raises:
        ConfigurationError: updates below 1, or a value that is not finite.

    Examples:
        >>> [round(cosine(1.0, 0.0, 4).at(update), 3) for update in (0, 1, 2, 4, 9)]
        [1.0, 0.854, 0.5, 0.0, 0.0]
    """
    _finite(start, end)
    _at_least_one(updates)
    return Schedule(
        f"cosine {start:g} to {end:g} over {updates}",
        lambda update: (
            end + (start - end) * (1 + math.cos(math.pi * min(update / updates, 1.0))) / 2
        ),
    )


def join(first: Schedule, updates: int, then: Schedule) -> Schedule:
    """One schedule for some updates, then another that starts from its own update 0.

    Args:
        first: of updates 0 to ``updates`` - 1.
        updates: >= 1.
        then: of the updates after them.

    Raises:
        ConfigurationError: updates below 1.

    Examples:
        >>> warm = join(linear(0.0, 1.0, 2), 2, cosine(1.0, 0.0, 10))
        >>> [warm.at(update) for update in (0, 1, 2, 12)]
        [0.0, 0.5, 1.0, 0.0]
    """
    _at_least_one(updates)
    return Schedule(
        f"{first.text} for {updates}, then {then.text}",
        lambda update: first.at(update) if update < updates else then.at(update - updates),
    )


def as_schedule(value: float | Schedule) -> Schedule:
    """A number as a constant schedule; a schedule as it is.

    Examples:
        >>> as_schedule(0.5).at(3)
        0.5
    """
    return value if isinstance(value, Schedule) else constant(value)


def _finite(*values: float) -> None:
    for value in values:
        if not math.isfinite(value):
            raise ConfigurationError(f"a schedule holds the value {value}; give a finite number")


def _at_least_one(updates: int) -> None:
    if not updates >= 1:
        raise ConfigurationError(f"a schedule over {updates} updates; it needs at least 1")
