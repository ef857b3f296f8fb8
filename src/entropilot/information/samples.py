"""From records of sampled answers to counts: match problems, refuse doubles, compare settings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

NAMED = 5  # how many offenders a message names


class SampleCounts(NamedTuple):
    """Right answers among the samples of each problem."""

    problem: tuple[str, ...]  # [Q] in order of first sight
    c: NDArray[np.int64]  # [Q] right
    n: NDArray[np.int64]  # [Q] samples


def count_samples(
    problem: Sequence[str], correct: ArrayLike, sample: Sequence[str] | None = None
) -> SampleCounts:
    """Right answers and samples of each problem.

    Args:
        problem: [N] id of the problem of each sample.
        correct: [N] bool.
        sample: [N] id of each sample within its problem; None skips the check for doubles.

    Returns:
        Problems in order of first sight, with counts.

    Raises:
        InputError: if a sample id occurs twice in one problem, or lengths differ.

    Examples:
        >>> count_samples(["a", "b", "a"], [True, False, False])
        SampleCounts(problem=('a', 'b'), c=array([1, 0]), n=array([2, 1]))
    """
    right = np.asarray(correct, dtype=np.bool_)
    if right.shape != (len(problem),) or (sample is not None and len(sample) != len(problem)):
        raise InputError(
            f"{len(problem)} problem ids came with correct of shape {right.shape}"
            + (f" and {len(sample)} sample ids" if sample is not None else "")
            + "; expected one of each per sample"
        )
    if sample is not None:
        seen: dict[tuple[str, str], int] = {}
        for i, key in enumerate(zip(problem, sample, strict=True)):
            if key in seen:
                raise InputError(
                    f"sample {key[1]!r} of problem {key[0]!r} occurs twice (rows {seen[key]} and "
                    f"{i}); samples must be independent, so remove the copy"
                )
            seen[key] = i
    number: dict[str, int] = {}
    index = np.array([number.setdefault(p, len(number)) for p in problem], dtype=np.int64)
    n = np.bincount(index, minlength=len(number))
    return SampleCounts(tuple(number), np.bincount(index[right], minlength=len(number)), n)


def match_problems(
    base: Sequence[str], new: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Orders that bring the problems of two runs into line.

    Args:
        base: ids of the base run.
        new: ids of the other run, in any order.

    Returns:
        Two index arrays: ``base[i[0]] == new[i[1]]`` problem by problem, in the base's order.

    Raises:
        InputError: if an id is doubled, or missing in either run; the message lists the missing.

    Examples:
        >>> match_problems(["a", "b"], ["b", "a"])
        (array([0, 1]), array([1, 0]))
    """
    places = []
    for name, ids in (("base", base), ("new", new)):
        place = {p: i for i, p in enumerate(ids)}
        if len(place) < len(ids):
            double = next(p for i, p in enumerate(ids) if place[p] != i)
            raise InputError(f"problem {double!r} occurs twice in the {name} run; keep one")
        places.append(place)
    missing = [
        f"{_named(sorted(set(a) - set(b)))} missing in the {name} run"
        for a, b, name in ((places[0], places[1], "new"), (places[1], places[0], "base"))
        if set(a) - set(b)
    ]
    if missing:
        raise InputError(
            f"the runs hold different problems: {'; '.join(missing)}. Evaluate both on one list"
        )
    return np.arange(len(base)), np.array([places[1][p] for p in base], dtype=np.int64)


def compare_settings(base: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Settings that differ between two runs, also given as one warning.

    Args:
        base: such as {"temperature": 0.6, "prompt": "chat"}.
        new: of the other run.

    Returns:
        One sentence for each difference; empty when there is none.

    Examples:
        >>> compare_settings({"temperature": 0.6}, {"temperature": 0.6})
        []
    """
    found = [
        f"{name} is {base.get(name)!r} in the base run and {new.get(name)!r} in the new run"
        for name in sorted({*base, *new})
        if base.get(name) != new.get(name)
    ]
    if found:
        warnings.warn(
            f"the runs differ in more than the model: {'; '.join(found)}. Part of any expansion or "
            f"shrinkage may come from that",
            stacklevel=2,
        )
    return found


def _named(ids: Sequence[str]) -> str:
    head = ", ".join(repr(p) for p in ids[:NAMED])
    return head + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")
