"""A term that does nothing says so: updates in a row in which it changed no token are counted.

A method whose threshold is never met gives the plain run, number for number, and its curve looks
like a result. So terms that select keep a count in their state and warn once when it is long.
"""

from __future__ import annotations

import warnings
from typing import Final

from entropilot.policy.term import State

IDLE_UPDATES: Final = 100


def counted_idle(state: State, acted: bool, *, term: str, why: str) -> State:
    """The state {"idle": updates in a row without effect}; warns when there are IDLE_UPDATES.

    Args:
        state: after the update before; None at the start.
        acted: whether the term changed any token in this update.
        term: its name.
        why: when that happens and what to do, a sentence.

    Returns:
        The next state; the count is 0 after an effect.

    Examples:
        >>> counted_idle({"idle": 3}, False, term="clip-b", why="")
        {'idle': 4}
        >>> counted_idle(None, True, term="clip-b", why="")
        {'idle': 0}
    """
    idle = 0 if acted else 1 + (0 if state is None else int(state["idle"]))
    if idle == IDLE_UPDATES:
        warnings.warn(
            f"the term {term!r} has changed next to nothing for {IDLE_UPDATES} updates: this run "
            f"is the one without it. {why}",
            stacklevel=2,
        )
    return {"idle": idle}
