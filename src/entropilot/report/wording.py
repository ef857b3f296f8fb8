"""How the report writes numbers, so that one quantity reads the same everywhere."""

from __future__ import annotations

import math
from typing import Final

from entropilot.diagnosis.assessment import Interval

ABSENT: Final = "–"


def known(value: float | None) -> bool:
    """Whether a number is there and finite.

    Examples:
        >>> known(0.0), known(None), known(float("nan"))
        (True, False, False)
    """
    return value is not None and math.isfinite(value)


def count(value: int) -> str:
    """A count with thousands separated.

    Examples:
        >>> count(10000)
        '10,000'
    """
    return f"{value:,}"


def percent(value: float | None, digits: int = 0) -> str:
    """A share as a percentage.

    Examples:
        >>> percent(0.125, 1), percent(None)
        ('12.5%', '–')
    """
    return f"{100 * value:.{digits}f}%" if value is not None and known(value) else ABSENT


def decimal(value: float | None, digits: int = 2) -> str:
    """A plain number; minus zero is zero.

    Examples:
        >>> decimal(-0.001), decimal(None)
        ('0.00', '–')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    return f"{round(value, digits) + 0.0:.{digits}f}"


def estimate(interval: Interval | None, *, share: bool = False, digits: int = 2) -> str:
    """An estimate with its interval.

    Examples:
        >>> estimate(Interval(0.66, 0.6, 0.72)), estimate(Interval(0.5, 0.4, 0.6), share=True)
        ('0.66 [0.60, 0.72]', '50% [40, 60]')
    """
    if interval is None or not known(interval.value):
        return ABSENT
    shown = percent(interval.value) if share else decimal(interval.value, digits)
    if not (known(interval.low) and known(interval.high)):
        return shown
    scale, places = (100, 0) if share else (1, digits)
    low, high = (decimal(scale * end, places) for end in (interval.low, interval.high))
    return f"{shown} [{low}, {high}]"


def plural(n: int, word: str, many: str = "") -> str:
    """A count with its noun.

    Examples:
        >>> plural(1, "trace"), plural(3, "trace"), plural(2, "reply", "replies")
        ('1 trace', '3 traces', '2 replies')
    """
    return f"{count(n)} {word if n == 1 else many or word + 's'}"


def duration(seconds: float) -> str:
    """How long something takes.

    Examples:
        >>> duration(42.0), duration(200.0), duration(9000.0)
        ('42 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
