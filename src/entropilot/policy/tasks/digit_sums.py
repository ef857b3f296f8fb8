"""Digit sums: add digits step by step, check as often as you like, then answer.

The task on which over-checking and long thinking show, small enough for a CPU. With 5 digits:

    prompt      d+d+d+d+d=
    response    s;  s;  s;  s;      the running sums modulo 10, one step each
                Cv; Cv; ...         checks, each one more step, at most ``max_checks``
                Ev<eos>             the answer; E plays the end of the thinking part

The reward is 1 when the response ends with E, the sum of the digits modulo 10 and the end token, E
being the first one. What stands before E is free: a policy may leave steps out.

Source: the study task for Step Potential Advantage Estimation (arXiv 2601.03823) and Phase Entropy
Aware Reward (arXiv 2510.08026). Both papers train on competition mathematics, which this replaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.responses import (
    first_index,
    prompt_array,
    response_array,
    rewards_of,
    verdicts_of,
)
from entropilot.policy.tasks.task import (
    Bools,
    Demonstrations,
    Ints,
    Problem,
    Rewards,
    Verdict,
    problem_generator,
)

SYMBOLS: Final = "0123456789+=;CE$_"  # $ ends a response, _ fills
PLUS, EQUALS, STEP_END, CHECK, THINK_END, EOS, PAD = range(10, 17)
REASONS: Final = ("right", "no end", "no answer", "answer out of form", "wrong answer")


class DemonstrationNoise(NamedTuple):
    """How often a demonstration goes astray; each share is in [0, 1].

    ``step`` and ``check``: written digit replaced by a random one, which what follows is built on.
    ``early_exit``: demonstrations that answer a random digit before all steps are done.
    ``mean_checks``: of the geometric number of checks, cut at the task's ``max_checks``.
    """

    step: float = 0.08
    check: float = 0.03
    early_exit: float = 0.15
    mean_checks: float = 2.5


NOISE: Final = DemonstrationNoise()
NO_NOISE: Final = DemonstrationNoise(step=0.0, check=0.0, early_exit=0.0)


class Boundaries(NamedTuple):
    """The ends of thinking steps, [B,T] bool each, False off the boundaries.

    ``ends``: a step ends here. ``is_check``: and the step was a check. ``value_right``: the digit
    last written is the running sum of as many digits as steps are done. ``solved``: and no step is
    missing, so the answer could be given now.
    """

    ends: Bools
    is_check: Bools
    value_right: Bools
    solved: Bools


@dataclass(frozen=True)
class DigitSums:
    """The task; see the module.

    Args:
        n_digits: terms of a sum, 2 to 20; n_digits - 1 steps solve it.
        max_checks: checks that the longest response has room for, 0 to 50.

    Examples:
        >>> task = DigitSums()
        >>> task.n_vocab, task.max_tokens
        (17, 32)
        >>> problem = task.problem([3, 9, 4, 1, 1])
        >>> response = task.encode("2;6;7;8;C8;E8$")
        >>> task.rewards([problem], [response], np.ones((1, len(response)), bool)).reward.tolist()
        [1.0]
    """

    name: ClassVar[str] = "digit-sums"
    n_vocab: ClassVar[int] = len(SYMBOLS)
    eos: ClassVar[int] = EOS
    pad: ClassVar[int] = PAD
    think_end: ClassVar[int] = THINK_END
    step_end: ClassVar[int] = STEP_END
    n_digits: int = 5
    max_checks: int = 7

    def __post_init__(self) -> None:
        if not 2 <= self.n_digits <= 20:
            raise ConfigurationError(f"n_digits is {self.n_digits}; it must be 2 to 20")
        if not 0 <= self.max_checks <= 50:
            raise ConfigurationError(f"max_checks is {self.max_checks}; it must be 0 to 50")

    @property
    def n_steps(self) -> int:
        """Steps that solve a sum."""
        return self.n_digits - 1

    @property
    def max_tokens(self) -> int:
        """Longest response, its end token included."""
        return 2 * self.n_steps + 3 * self.max_checks + 3

    def problem(self, digits: Sequence[int], name: str = "sum") -> Problem:
        """The problem of some digits."""
        if len(digits) != self.n_digits or not all(0 <= d <= 9 for d in digits):
            raise ConfigurationError(f"{list(digits)} are not {self.n_digits} digits")
        prompt = "+".join(map(str, digits)) + "="
        meta = {"digits": list(digits)}
        return Problem(name, prompt, str(sum(digits) % 10), tuple(self.encode(prompt)), meta)

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` problems with uniform digits.

        Examples:
            >>> DigitSums().problems(2)[1].id
            'sum-0-1'
        """
        random = problem_generator(self.name, n, seed)
        rows = random.integers(0, 10, (n, self.n_digits)).tolist()
        return [self.problem(row, f"sum-{seed}-{i}") for i, row in enumerate(rows)]

    def demonstrations(
        self, n: int, generator: np.random.Generator, noise: DemonstrationNoise = NOISE
    ) -> Demonstrations:
        """``n`` worked examples, noisy on purpose: a policy warmed up on them has much to learn.

        A replaced digit stays: the next sum is built on it, a check repeats the digit before it,
        and so does the answer. An early exit happens after 0 .. n_steps-1 steps and has no checks.

        Args:
            n: examples.
            generator: draws them.
            noise: how often they go astray; ``NO_NOISE`` gives right ones only.

        Returns:
            prompt [n, 2*n_digits], response [n, max_tokens], mask.

        Examples:
            >>> DigitSums().demonstrations(4, np.random.default_rng(0)).response.shape
            (4, 32)
        """
        digits = generator.integers(0, 10, (n, self.n_digits))
        prompt = np.full((n, 2 * self.n_digits), PLUS, dtype=np.int64)
        prompt[:, 0::2], prompt[:, -1] = digits, EQUALS
        early = generator.random(n) < noise.early_exit
        n_steps = np.where(early, generator.integers(0, self.n_steps, n), self.n_steps)
        checks = generator.geometric(1 / (1 + noise.mean_checks), n) - 1
        n_checks = np.where(early, 0, checks.clip(max=self.max_checks))

        response = np.full((n, self.max_tokens), PAD, dtype=np.int64)
        rows, at, value = np.arange(n), np.zeros(n, dtype=np.int64), digits[:, 0]
        for step in range(self.n_steps):
            wrong = generator.random(n) < noise.step
            said = np.where(wrong, generator.integers(0, 10, n), (value + digits[:, step + 1]) % 10)
            now = step < n_steps
            value = np.where(now, said, value)
            at = _write(response, rows[now], at, [value, STEP_END])
        for check in range(self.max_checks):
            wrong = generator.random(n) < noise.check
            now = check < n_checks
            value = np.where(now & wrong, generator.integers(0, 10, n), value)
            at = _write(response, rows[now], at, [CHECK, value, STEP_END])
        value = np.where(early, generator.integers(0, 10, n), value)
        at = _write(response, rows, at, [THINK_END, value, EOS])
        return Demonstrations(prompt, response, np.arange(self.max_tokens) < at[:, None])

    def rewards(self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike) -> Rewards:
        """1 for right answers in the right form and 0 for the others; see the module.

        Args:
            problems: [B], one for each response.
            tokens: [B,T] token ids.
            mask: [B,T] bool, True on the response, its end token included.

        Returns:
            reward [B] and correct [B].

        Raises:
            InputError: shapes that do not fit, or problems of another task.
        """
        return rewards_of(self._codes(problems, self._clean(tokens, mask)))

    def verify_tokens(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike
    ) -> list[Verdict]:
        """The verdicts with their reasons; the answer is the digit after E."""
        clean = self._clean(tokens, mask)
        codes, said = self._codes(problems, clean), self._answer(clean)
        answers = [
            str(v) if 0 <= v <= 9 and REASONS[code] != "no answer" else None
            for v, code in zip(said.tolist(), codes.tolist(), strict=True)
        ]
        return verdicts_of(codes, REASONS, answers)

    def boundaries(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike
    ) -> Boundaries:
        """Where the steps of each response end, and whether it could answer right there.

        Args:
            problems: [B], one for each response.
            tokens: [B,T] token ids, T of any size.
            mask: [B,T] bool, True on the response.

        Returns:
            Four masks [B,T]; boundaries after the first E are none.

        Examples:
            >>> task = DigitSums()
            >>> response = task.encode("2;6;7;8;E8$")
            >>> task.boundaries([task.problem([3, 9, 4, 1, 1])], [response],
            ...     np.ones((1, 11), bool)).solved.nonzero()[1].tolist()
            [7]
        """
        clean = response_array(tokens, mask, pad=PAD, width=np.asarray(tokens).shape[1])
        digits = prompt_array(problems, len(clean), 2 * self.n_digits)[:, 0::2]
        column = np.arange(clean.shape[1])
        ends = (clean == STEP_END) & (column < self._thinking(clean)[:, None])
        last_end = _latest(ends, inclusive=False)
        is_check = ends & (_latest(clean == CHECK, inclusive=True) > last_end)
        # a check made before any step restates the first digit, so it counts as no step
        n_done = (np.cumsum(ends & ~is_check, axis=1)).clip(max=self.n_steps)
        last_digit = _latest((clean >= 0) & (clean < 10), inclusive=True)
        said = np.take_along_axis(clean, last_digit.clip(min=0), axis=1)
        sums = np.cumsum(digits, axis=1) % 10
        wanted = np.take_along_axis(sums, n_done, axis=1)
        right = ends & (last_digit > last_end) & (said == wanted)
        return Boundaries(ends, is_check, right, right & (n_done == self.n_steps))

    def n_checks(self, tokens: ArrayLike, mask: ArrayLike) -> Ints:
        """Checking steps [B] begun before the answer.

        Examples:
            >>> response = DigitSums().encode("C1;C1;E1$")
            >>> DigitSums().n_checks([response], np.ones((1, 9), bool)).tolist()
            [2]
        """
        clean = response_array(tokens, mask, pad=PAD, width=np.asarray(tokens).shape[1])
        before = np.arange(clean.shape[1]) < self._thinking(clean)[:, None]
        counts: Ints = ((clean == CHECK) & before).sum(axis=1)
        return counts

    def render(self, tokens: Sequence[int] | Ints) -> str:
        """One character a token: $ is the end, _ fills.

        Examples:
            >>> DigitSums().render([14, 8, 15])
            'E8$'
        """
        return "".join(SYMBOLS[t] if 0 <= t < len(SYMBOLS) else "?" for t in map(int, tokens))

    def encode(self, text: str) -> list[int]:
        """Ids of characters, the other way round than ``render``."""
        if unknown := [c for c in text if c not in SYMBOLS]:
            raise ConfigurationError(f"{unknown[0]!r} is no token of {self.name}: {SYMBOLS}")
        return [SYMBOLS.index(c) for c in text]

    def _clean(self, tokens: ArrayLike, mask: ArrayLike) -> Ints:
        return response_array(tokens, mask, pad=PAD, width=self.max_tokens)

    def _thinking(self, clean: Ints) -> Ints:
        """Tokens [B] before the first E or end token."""
        return first_index((clean == THINK_END) | (clean == EOS))

    def _answer(self, clean: Ints) -> Ints:
        """Token [B] after the first E; padding where there is none."""
        at = first_index(clean == THINK_END) + 1
        padded = np.pad(clean, ((0, 0), (0, 2)), constant_values=PAD)
        said: Ints = np.take_along_axis(padded, at[:, None], axis=1)[:, 0]
        return said

    def _codes(self, problems: Sequence[Problem], clean: Ints) -> Ints:
        """Index [B] into ``REASONS``."""
        digits = prompt_array(problems, len(clean), 2 * self.n_digits)[:, 0::2]
        mark, end = first_index(clean == THINK_END), first_index(clean == EOS)
        said = self._answer(clean)
        return np.select(
            [
                end == clean.shape[1],
                mark > end,
                (end != mark + 2) | (said > 9) | (said < 0),
                said != digits.sum(axis=1) % 10,
            ],
            [1, 2, 3, 4],
            default=0,
        )


def _write(response: Ints, rows: Ints, at: Ints, columns: Sequence[Ints | int]) -> Ints:
    """Write tokens into some rows, in place, and return where each row goes on."""
    after = at.copy()
    for column in columns:
        response[rows, after[rows]] = column if isinstance(column, int) else column[rows]
        after[rows] += 1
    return after


def _latest(hits: Bools, *, inclusive: bool) -> Ints:
    """Column [B,T] of the latest True up to here (or strictly before here); -1 for none."""
    column = np.where(hits, np.arange(hits.shape[1]), -1)
    latest = np.maximum.accumulate(column, axis=1)
    if inclusive:
        return latest
    return np.pad(latest, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
