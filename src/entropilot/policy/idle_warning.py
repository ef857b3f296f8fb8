"""A term that does nothing says so: count updates in a row in which it changed no token.

A method whose threshold is never met gives the plain run, number for number, and its curve looks
like a result. So terms that select keep a count in their state and warn once when it is long.
"""

from __future__ import annotations

import warnings
from typing import Final

IDLE_UPDATES: Final = 100


def counted_idle(idle: int, acted: bool, *, term: str, why: str) -> int:
    """Updates in a row without effect, this one included; warns when there are IDLE_UPDATES.

    Args:
        idle: the count after the update before.
        acted: whether the term changed any token in this update.
        term: its name.
        why: when that happens and what to do, a sentence.

    Returns:
        The next count; 0 after an effect.

    Examples:
        >>> counted_idle(3, False, term="clip-b", why=""), counted_idle(3, True, term="", why="")
        (4, 0)
    """
    if acted:
        return 0
    if idle + 1 == IDLE_UPDATES:
        warnings.warn(
            f"the term {term!r} has changed next to nothing for {IDLE_UPDATES} updates: this run "
            f"is the one without it. {why}",
            stacklevel=2,
        )
    return idle + 1
