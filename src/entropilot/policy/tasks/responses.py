"""Responses as arrays: what the token tasks share when they check a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.policy.tasks.task import Bools, Ints, Problem, Rewards, Verdict


def response_array(tokens: ArrayLike, mask: ArrayLike, *, pad: int, width: int) -> Ints:
    """Tokens [B, width] with ``pad`` wherever the response has none.

    Args:
        tokens: [B,T] whole numbers; anything where the mask is False.
        mask: [B,T] bool; True on the response, which starts in the first column and has no gaps.
        pad: fills the rest.
        width: columns of the result; longer rows are cut.

    Raises:
        InputError: other shapes or kinds of numbers, or a gap in the mask.

    Examples:
        >>> response_array([[4, 5, 9]], [[True, True, False]], pad=0, width=4).tolist()
        [[4, 5, 0, 0]]
    """
    said, counts = np.asarray(tokens), np.asarray(mask)
    if said.ndim != 2 or said.shape != counts.shape:
        raise InputError(
            f"tokens have shape {said.shape} and the mask {counts.shape}; both must be "
            "[answers, tokens]"
        )
    if not np.issubdtype(said.dtype, np.integer):
        raise InputError(f"tokens are {said.dtype}; expected whole numbers, the token ids")
    counts = counts.astype(bool)
    gap = counts[:, 1:] & ~counts[:, :-1]
    if gap.any():
        row = int(np.flatnonzero(gap.any(axis=1))[0])
        raise InputError(
            f"the mask of answer {row} has a gap; it must be True from the first token of the "
            "response to its last, and False after it"
        )
    columns = min(width, said.shape[1])
    result = np.full((len(said), width), pad, dtype=np.int64)
    result[:, :columns] = np.where(counts[:, :columns], said[:, :columns], pad)
    return result


def prompt_array(problems: Sequence[Problem], n_rows: int, length: int) -> Ints:
    """Prompt tokens [B, length] of problems that all have prompts of one length.

    Raises:
        InputError: another number of problems than rows, or a prompt that is not of this task.

    Examples:
        >>> prompt_array([Problem("a", "1", "1", (3, 4))], 1, 2).tolist()
        [[3, 4]]
    """
    if len(problems) != n_rows:
        raise InputError(
            f"{len(problems)} problems for {n_rows} answers; give each answer its problem, "
            "repeated where a problem has several"
        )
    for problem in problems:
        if problem.tokens is None or len(problem.tokens) != length:
            found = "no tokens" if problem.tokens is None else f"{len(problem.tokens)} tokens"
            raise InputError(
                f"problem {problem.id!r} has {found}; expected {length}, as this task's own "
                "problems have"
            )
    return np.array([problem.tokens for problem in problems], dtype=np.int64).reshape(-1, length)


def first_index(hits: Bools) -> Ints:
    """Column [B] of the first True of each row; the number of columns where there is none.

    Examples:
        >>> first_index(np.array([[False, True, True], [False, False, False]])).tolist()
        [1, 3]
    """
    first: Ints = np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])
    return first


def rewards_of(codes: Ints) -> Rewards:
    """Rewards from reason codes [B]; code 0 is right and worth 1, the others 0."""
    correct = codes == 0
    return Rewards(correct.astype(np.float64), correct)


def verdicts_of(
    codes: Ints, reasons: Sequence[str], answers: Sequence[str | None]
) -> list[Verdict]:
    """Verdicts from reason codes [B]; ``reasons[0]`` is the one of right answers."""
    return [
        Verdict(float(code == 0), bool(code == 0), answer, reasons[code])
        for code, answer in zip(codes.tolist(), answers, strict=True)
    ]


def distinct_responses(
    tokens: ArrayLike, mask: ArrayLike, group: ArrayLike, keep: ArrayLike | None = None
) -> Ints:
    """How many different responses each group has.

    Args:
        tokens: [B,T] token ids.
        mask: [B,T] bool, True on the response.
        group: [B] whole numbers 0 .. G-1, the problem of each response.
        keep: [B] bool, the responses that count, for example the right ones; None = all.

    Returns:
        [G] counts, G = largest group + 1; 0 where no response of the group counts.

    Examples:
        >>> distinct_responses([[1, 2], [1, 3], [1, 9], [4, 4]],
        ...     [[1, 1], [1, 1], [1, 0], [1, 1]], [0, 0, 0, 1], [True, True, True, False]).tolist()
        [3, 0]
    """
    groups = np.asarray(group, dtype=np.int64)
    width = np.asarray(tokens).shape[-1]
    clean = response_array(tokens, mask, pad=-1, width=width)
    if groups.shape != (len(clean),):
        raise InputError(f"group has shape {groups.shape}; expected ({len(clean)},)")
    chosen = np.ones(len(clean), bool) if keep is None else np.asarray(keep, dtype=bool)
    rows = np.unique(np.column_stack([groups, clean])[chosen], axis=0)
    n_groups = int(groups.max()) + 1 if groups.size else 0
    return np.bincount(rows[:, 0], minlength=n_groups)
