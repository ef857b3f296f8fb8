"""Counts of successes among trials: checked once, at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError


def checked_counts(
    successes: ArrayLike, trials: ArrayLike, *, names: tuple[str, str] = ("c", "n")
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts and numbers of trials as whole numbers of one shape, or an error that says why not.

    Args:
        successes: counts, 0 <= successes <= trials; whole numbers (floats such as 3.0 are taken).
        trials: numbers of trials, >= 1; broadcasts against ``successes``.
        names: what the two are called in messages.

    Returns:
        Both, int64, broadcast to one shape.

    Raises:
        InputError: for a value that is not whole, is negative, or for more successes than trials.

    Examples:
        >>> checked_counts([0, 3], 8)
        (array([0, 3]), array([8, 8]))
    """
    c, n = whole_numbers(successes, names[0]), whole_numbers(trials, names[1])
    c, n = np.broadcast_arrays(c, n)
    reject(n < 1, n, f"{names[1]} must be at least 1 trial; remove items without samples")
    reject(c < 0, c, f"{names[0]} counts successes and can't be negative")
    reject(
        c > n,
        c,
        f"{names[0]} may not exceed {names[1]} (successes among trials); are the two swapped?",
    )
    return c, n


def whole_numbers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Values as int64, or an error that names the first one that is not a whole number.

    Args:
        values: numbers of any kind; booleans count as 0 and 1.
        name: what they are called in the message.

    Returns:
        The same shape, int64.

    Raises:
        InputError: for a value with a fraction, a nan, or something that is no number.

    Examples:
        >>> whole_numbers([1.0, 2.0], "k")
        array([1, 2])
    """
    array = np.asarray(values)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise InputError(
            f"{name} holds {array.dtype} values; expected whole numbers, so pass counts"
        )
    reject(
        ~(np.isfinite(array) & (array == np.floor(array))),
        array,
        f"{name} must be whole numbers; pass counts, not rates",
    )
    return array.astype(np.int64)


def reject(bad: NDArray[np.bool_], values: NDArray[Any], expected: str) -> None:
    """Raise for the first True of ``bad``, naming its index and value.

    Args:
        bad: True where a value is wrong.
        values: what was found there; same shape.
        expected: what was expected, and what to do, as a sentence.

    Raises:
        InputError: if any of ``bad`` is True.

    Examples:
        >>> reject(np.array([False]), np.array([1]), "all is well")
    """
    if not bad.any():
        return
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    place = f" at index {', '.join(str(int(i)) for i in first)}" if first else ""
    raise InputError(f"found {values[first]}{place} ({int(bad.sum())} such); {expected}.")
