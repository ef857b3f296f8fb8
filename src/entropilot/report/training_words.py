"""How the report of a comparison writes differences, ratios and lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

from entropilot.diagnosis.assessment import Interval
from entropilot.report.wording import known


def difference(found: Interval | None, digits: int = 3) -> str:
    """A difference with its interval, or that none was seen.

    Examples:
        >>> difference(Interval(0.02, -0.01, 0.05)), difference(Interval(-0.04, -0.06, -0.02))
        ('no difference seen (+0.020 [-0.010, +0.050])', '-0.040 [-0.060, -0.020]')
    """
    if found is None or not known(found.value):
        return "not comparable"
    shown = signed(found, digits)
    return shown if is_apart(found) else f"no difference seen ({shown})"


def signed(found: Interval, digits: int = 3) -> str:
    """A difference with its interval, signs included.

    Examples:
        >>> signed(Interval(0.02, -0.01, 0.05))
        '+0.020 [-0.010, +0.050]'
    """
    value, low, high = (
        f"{round(x, digits) + 0.0:+.{digits}f}" for x in (found.value, found.low, found.high)
    )
    return f"{value} [{low}, {high}]"


def is_apart(found: Interval | None) -> bool:
    """Whether a difference is there and its interval leaves 0 out.

    Examples:
        >>> is_apart(Interval(0.02, -0.01, 0.05)), is_apart(Interval(0.02, 0.01, 0.05))
        (False, True)
    """
    return found is not None and (found.low > 0 or found.high < 0)


def times(ratio: float) -> str:
    """A ratio with as many digits as it needs.

    Examples:
        >>> times(0.0182), times(0.55), times(4.21)
        ('0.02 x', '0.55 x', '4.2 x')
    """
    if math.isnan(ratio):
        return "an unknown multiple of"
    return f"{ratio:.2f} x" if ratio < 2 else f"{ratio:.1f} x"


def joined(parts: Sequence[str]) -> str:
    """A list in words.

    Examples:
        >>> joined(["a"]), joined(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
