"""Addition of two numbers, column by column with carries: a reasoning task of single characters.

With two digits, one of the many right responses to "47+85=" is

    7+5=12;  4+8+1=13;  ?5+7=12;  #132$          (without the spaces)

    step      the digits of a column and the carry 1, where there is one, in any order, then their
              sum; columns go from the right to the left
    check     ? and a column once more, in any order; any number of them
    answer    # and the sum of the numbers, then the end token

The reward is 1 when the response has this form and the answer is right. Steps may be missing or
wrong, so that what earns the reward is the policy's own business; the order of the terms and the
checks make diversity measurable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.responses import (
    distinct_responses,
    first_index,
    prompt_array,
    response_array,
    rewards_of,
    verdicts_of,
)
from entropilot.policy.tasks.task import (
    Demonstrations,
    Ints,
    Problem,
    Rewards,
    Verdict,
    problem_generator,
)

SYMBOLS: Final = "0123456789+=;?#$_"  # $ ends a response, _ fills
PLUS, EQUALS, STEP_END, CHECK, THINK_END, EOS, PAD = range(10, 17)
REASONS: Final = ("right", "no end", "out of form", "wrong answer")

# The form as an automaton: the state before a kind of symbol -> the state after it. What is not
# listed is out of form. A column has at least two terms and a sum of one or two digits.
STEP, TERM_OR_NONE, ONE_TERM, NEXT_TERM, TERMS, SUM, SUM_1, SUM_2, ANSWER, DIGITS, DONE, BAD = (
    range(12)
)
_MOVES: Final[dict[tuple[int, str], int]] = {
    (STEP, "?"): TERM_OR_NONE,
    (STEP, "d"): ONE_TERM,
    (STEP, "#"): ANSWER,
    (TERM_OR_NONE, "d"): ONE_TERM,
    (ONE_TERM, "+"): NEXT_TERM,
    (NEXT_TERM, "d"): TERMS,
    (TERMS, "+"): NEXT_TERM,
    (TERMS, "="): SUM,
    (SUM, "d"): SUM_1,
    (SUM_1, "d"): SUM_2,
    (SUM_1, ";"): STEP,
    (SUM_2, ";"): STEP,
    (ANSWER, "d"): DIGITS,
    (DIGITS, "d"): DIGITS,
    (DIGITS, "$"): DONE,
}


def _automaton() -> Ints:
    """Table [states, symbols] of the form; a finished response stays finished."""
    table = np.full((12, len(SYMBOLS)), BAD, dtype=np.int64)
    for (state, kind), after in _MOVES.items():
        columns = range(10) if kind == "d" else [SYMBOLS.index(kind)]
        table[state, list(columns)] = after
    table[DONE] = DONE
    return table


_FORM: Final = _automaton()


@dataclass(frozen=True)
class Addition:
    """The task; see the module.

    Args:
        digits: of each number, 1 to 8: the difficulty.
        max_checks: checks that the longest response has room for, 0 to 20.

    Examples:
        >>> task = Addition(digits=2)
        >>> task.n_vocab, task.max_tokens
        (17, 41)
        >>> response = task.encode("5+7=12;1+4+8=13;#132$")
        >>> mask = np.ones((1, len(response)), bool)
        >>> task.rewards([task.problem(47, 85)], [response], mask).correct.tolist()
        [True]
    """

    name: ClassVar[str] = "addition"
    n_vocab: ClassVar[int] = len(SYMBOLS)
    eos: ClassVar[int] = EOS
    pad: ClassVar[int] = PAD
    think_end: ClassVar[int] = THINK_END
    step_end: ClassVar[int] = STEP_END
    digits: int = 2
    max_checks: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 8:
            raise ConfigurationError(f"digits is {self.digits}; it must be 1 to 8")
        if not 0 <= self.max_checks <= 20:
            raise ConfigurationError(f"max_checks is {self.max_checks}; it must be 0 to 20")

    @property
    def max_tokens(self) -> int:
        """Longest response, its end token included: every carry and every check."""
        return 7 + 9 * (self.digits - 1) + 10 * self.max_checks + self.digits + 3

    def problem(self, a: int, b: int, name: str = "addition") -> Problem:
        """The problem of two numbers of ``digits`` digits."""
        prompt = f"{a}+{b}="
        if a < 0 or b < 0 or len(prompt) != self._prompt_length or len(str(a)) != self.digits:
            raise ConfigurationError(f"{a} and {b} are not numbers of {self.digits} digits")
        return Problem(name, prompt, str(a + b), tuple(self.encode(prompt)), {"a": a, "b": b})

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` problems of uniform numbers; some may be equal.

        Examples:
            >>> Addition().problems(2)[1].id
            'addition-0-1'
        """
        random = problem_generator(self.name, n, seed)
        pairs = random.integers(*self._range, (n, 2)).tolist()
        return [self.problem(a, b, f"addition-{seed}-{i}") for i, (a, b) in enumerate(pairs)]

    def demonstrations(
        self,
        n: int,
        generator: np.random.Generator,
        *,
        noise: float = 0.05,
        mean_checks: float = 0.5,
    ) -> Demonstrations:
        """``n`` worked examples with the terms in random order.

        Args:
            n: examples.
            generator: draws them.
            noise: share of columns with a random sum in 0 .. 19, which the carry, the answer and
                the checks then follow; 0 gives right ones only.
            mean_checks: of the geometric number of checks, cut at ``max_checks``.

        Returns:
            prompt [n, 2*digits+2], response [n, max_tokens], mask.

        Examples:
            >>> Addition().demonstrations(4, np.random.default_rng(0)).response.shape
            (4, 41)
        """
        D, C = self.digits, self.max_checks
        pairs = generator.integers(*self._range, (n, 2))
        n_checks = (generator.geometric(1 / (1 + mean_checks), n) - 1).clip(max=C)
        checked = generator.integers(0, D, (n, C))
        order = generator.random((n, D + C, 3)).argsort(axis=2).tolist()
        wrong = np.where(
            generator.random((n, D)) < noise, generator.integers(0, 20, (n, D)), -1
        ).tolist()
        texts = [
            _worked(a, b, D, columns[:count], order[i], wrong[i])
            for i, ((a, b), columns, count) in enumerate(
                zip(pairs.tolist(), checked.tolist(), n_checks.tolist(), strict=True)
            )
        ]
        prompt = np.array([self.encode(f"{a}+{b}=") for a, b in pairs.tolist()], dtype=np.int64)
        filled = [self.encode(text.ljust(self.max_tokens, SYMBOLS[PAD])) for text in texts]
        response = np.array(filled, dtype=np.int64).reshape(n, self.max_tokens)
        return Demonstrations(prompt.reshape(n, self._prompt_length), response, response != PAD)

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
        """The verdicts with their reasons; the answer is what stands between # and the end."""
        clean = self._clean(tokens, mask)
        said = [self.render(row).partition(SYMBOLS[EOS])[0].partition("#") for row in clean]
        answers = [answer if mark and answer.isdecimal() else None for _, mark, answer in said]
        return verdicts_of(self._codes(problems, clean), REASONS, answers)

    def distinct_right(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike, group: ArrayLike
    ) -> Ints:
        """Different right responses [G] of each group; ``group`` [B] is the problem's number."""
        correct = self.rewards(problems, tokens, mask).correct
        return distinct_responses(tokens, mask, group, correct)

    def render(self, tokens: Sequence[int] | Ints) -> str:
        """One character a token: $ is the end, _ fills.

        Examples:
            >>> Addition().render(Addition().encode("4+8=12;"))
            '4+8=12;'
        """
        return "".join(SYMBOLS[t] if 0 <= t < len(SYMBOLS) else "!" for t in map(int, tokens))

    def encode(self, text: str) -> list[int]:
        """Ids of characters, the other way round than ``render``."""
        if unknown := [c for c in text if c not in SYMBOLS]:
            raise ConfigurationError(f"{unknown[0]!r} is no token of {self.name}: {SYMBOLS}")
        return [SYMBOLS.index(c) for c in text]

    @property
    def _prompt_length(self) -> int:
        return 2 * self.digits + 2

    @property
    def _range(self) -> tuple[int, int]:
        return (0 if self.digits == 1 else 10 ** (self.digits - 1)), 10**self.digits

    def _clean(self, tokens: ArrayLike, mask: ArrayLike) -> Ints:
        return response_array(tokens, mask, pad=PAD, width=self.max_tokens)

    def _codes(self, problems: Sequence[Problem], clean: Ints) -> Ints:
        """Index [B] into ``REASONS``."""
        D = self.digits
        prompt = prompt_array(problems, len(clean), self._prompt_length)
        place = 10 ** np.arange(D - 1, -1, -1)
        total = (prompt[:, :D] + prompt[:, D + 1 : 2 * D + 1]) @ place
        state = np.full(len(clean), STEP)
        known = (clean >= 0) & (clean < len(SYMBOLS))
        symbols = np.where(known, clean, PAD)
        for column in range(clean.shape[1]):
            state = _FORM[state, symbols[:, column]]
        mark, end = first_index(clean == THINK_END), first_index(clean == EOS)
        # a right answer is the number without zeros before it, so its length says how many digits
        n_digits = 1 + (total[:, None] >= 10 ** np.arange(1, D + 1)).sum(axis=1)
        at = (mark[:, None] + 1 + np.arange(D + 1)).clip(max=clean.shape[1] - 1)
        written = np.take_along_axis(clean, at, axis=1)
        power = 10 ** (n_digits[:, None] - 1 - np.arange(D + 1)).clip(min=0)
        wanted = total[:, None] // power % 10
        same = ((written == wanted) | (np.arange(D + 1) >= n_digits[:, None])).all(axis=1)
        return np.select(
            [end == clean.shape[1], state != DONE, (end - mark - 1 != n_digits) | ~same],
            [1, 2, 3],
            default=0,
        )


def _worked(
    a: int, b: int, digits: int, checked: list[int], order: list[list[int]], wrong: list[int]
) -> str:
    """One response as text; ``wrong`` holds a column's sum where it is not to be the right one."""
    columns: list[tuple[list[int], int]] = []
    carry, answer = 0, ""
    for place in range(digits):
        terms = [a // 10**place % 10, b // 10**place % 10] + [1] * (carry > 0)
        total = sum(terms) if wrong[place] < 0 else wrong[place]
        columns.append((terms, total))
        carry, answer = total // 10, str(total % 10) + answer
    answer = str(int(f"{carry}{answer}"))
    lines = []
    for line, place in enumerate([*range(digits), *checked]):
        terms, total = columns[place]
        shuffled = [terms[i] for i in order[line] if i < len(terms)]
        lines.append(f"{'?' * (line >= digits)}{'+'.join(map(str, shuffled))}={total};")
    return "".join(lines) + f"#{answer}$"
