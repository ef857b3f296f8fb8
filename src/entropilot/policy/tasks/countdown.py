r"""Countdown: reach a target from a few numbers, each used at most once, with + - * / and brackets.

Every problem is made from a solution, so each has at least one, and usually many. There are two
forms: a question in words for language models, and one of single characters for a small policy,

    prompt "3,7,25>82="   response "3*25+7$"

with padding before the prompt, so that all prompts of a task have one length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.tasks.expressions import evaluate
from entropilot.policy.tasks.responses import distinct_responses, prompt_array, response_array
from entropilot.policy.tasks.task import (
    Demonstrations,
    Ints,
    Problem,
    Rewards,
    Verdict,
    problem_generator,
)
from entropilot.traces.reading.final_answer import final_answer

SYMBOLS: Final = "0123456789+-*/(),>=$_"  # $ ends a response, _ fills
EOS: Final = SYMBOLS.index("$")
PAD: Final = SYMBOLS.index("_")
LONGEST_TEXT: Final = 20_000  # characters of the end of a text that are searched
_SIGNS: Final = str.maketrans("×÷−–·[]{}", "*/--*()()")
_LATEX: Final = re.compile(r"\\(?:left|right|,|;|!|\s)")
_TRIES: Final = 10_000


def check_expression(text: str, numbers: Sequence[int], target: int) -> Verdict:
    """Verdict on one expression.

    Args:
        text: the expression, hostile.
        numbers: those that may be used, each as often as it is listed.
        target: what the expression must be worth.

    Examples:
        >>> check_expression("3*25+7", [3, 7, 25], 82).reason
        'right'
        >>> check_expression("7+7", [3, 7, 25], 14).reason
        'a number that is not there, or used too often'
    """
    try:
        value, used = evaluate(text)
    except InputError:
        return Verdict(0.0, False, None, "not an expression")
    if Counter(used) - Counter(numbers):
        reason = "a number that is not there, or used too often"
    elif value != target:
        reason = "another value"
    else:
        return Verdict(1.0, True, text, "right")
    return Verdict(0.0, False, text, reason)


def read_expression(text: str) -> str | None:
    r"""The expression that a text ends with: boxed, tagged, after "answer:", or its last line.

    Where an equation stands there, the side that is more than a number is meant.

    Examples:
        >>> read_expression(r"I try \boxed{3 \times 25 + 7 = 82}"), read_expression("so\n3*25+7")
        ('3 * 25 + 7', '3*25+7')
    """
    text = text[-LONGEST_TEXT:]
    found = final_answer(text)
    if found is None:
        if "<think>" in text and "</think>" not in text:
            return None
        lines = [line for line in text.splitlines() if line.strip()]
        found = lines[-1] if lines else ""
    found = found.replace(r"\times", "*").replace(r"\cdot", "*").replace(r"\div", "/")
    found = _LATEX.sub("", found.replace("$", "").translate(_SIGNS)).strip(" .`*")
    sides = [side.strip() for side in found[:1000].split("=")]
    rich = [side for side in sides if not re.fullmatch(r"[0-9.,]*", side)]
    return (rich or sides)[0] or None


def verify_countdown(problem: Problem, text: str) -> Verdict:
    """Verdict on a text; the problem's ``meta`` holds ``numbers`` and ``target``.

    Raises:
        InputError: the problem has no such meta.

    Examples:
        >>> verify_countdown(Countdown().problem([3, 7, 25], 82), "Answer: 7 + 25*3").correct
        True
    """
    try:
        numbers, target = [int(v) for v in problem.meta["numbers"]], int(problem.meta["target"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"problem {problem.id!r} has no numbers and target; the countdown verifier needs both "
            'in its meta, for example {"numbers": [3, 7, 25], "target": 82}'
        ) from error
    said = read_expression(text)
    if said is None:
        return Verdict(0.0, False, None, "no answer")
    return check_expression(said, numbers, target)


@dataclass(frozen=True)
class Countdown:
    """The task; see the module. It is a text task and a token task.

    Args:
        n_numbers: 2 to 6 numbers a problem.
        largest: numbers are 1 to ``largest``, 5 to 999.
        largest_target: targets are 1 to ``largest_target``, 10 to 9999.

    Examples:
        >>> task = Countdown()
        >>> problem = task.problems(1)[0]
        >>> task.verify_text(problem, problem.meta["solution"]).correct
        True
    """

    name: ClassVar[str] = "countdown"
    n_vocab: ClassVar[int] = len(SYMBOLS)
    eos: ClassVar[int] = EOS
    pad: ClassVar[int] = PAD
    n_numbers: int = 3
    largest: int = 25
    largest_target: int = 100

    def __post_init__(self) -> None:
        ranges = {"n_numbers": (2, 6), "largest": (5, 999), "largest_target": (10, 9999)}
        for field, (low, high) in ranges.items():
            if not low <= getattr(self, field) <= high:
                raise ConfigurationError(
                    f"{field} is {getattr(self, field)}; it must be {low} to {high}"
                )

    @property
    def max_tokens(self) -> int:
        """Longest response, its end token included: all numbers, all in brackets."""
        return self.n_numbers * len(str(self.largest)) + 3 * (self.n_numbers - 1) + 1

    def problem(
        self, numbers: Sequence[int], target: int, name: str = "countdown", solution: str = ""
    ) -> Problem:
        """The problem of some numbers and a target."""
        shown = ", ".join(map(str, numbers))
        prompt = (
            f"Use the numbers {shown}, each at most once, with + - * / and brackets to make "
            f'{target}. End with one line: "Answer: " and the expression.'
        )
        short = ",".join(map(str, numbers)) + f">{target}="
        tokens = tuple(self.encode(short.rjust(self._prompt_length, SYMBOLS[PAD])))
        meta = {"numbers": list(numbers), "target": target, "solution": solution}
        return Problem(name, prompt, str(target), tokens, meta)

    def problems(self, n: int, seed: int = 0) -> list[Problem]:
        """``n`` problems, each with the solution that it was made from in ``meta``.

        Examples:
            >>> Countdown().problems(2)[1].id
            'countdown-0-1'
        """
        random = problem_generator(self.name, n, seed)
        return [self._drawn(random, f"countdown-{seed}-{i}") for i in range(n)]

    def demonstrations(self, n: int, generator: np.random.Generator) -> Demonstrations:
        """``n`` problems with their solutions, all of them right.

        Returns:
            prompt [n,P], response [n, max_tokens], mask.

        Examples:
            >>> Countdown().demonstrations(4, np.random.default_rng(0)).response.shape
            (4, 13)
        """
        drawn = [self._drawn(generator, "") for _ in range(n)]
        texts = [f"{p.meta['solution']}$".ljust(self.max_tokens, SYMBOLS[PAD]) for p in drawn]
        response = np.array([self.encode(t) for t in texts], np.int64).reshape(n, self.max_tokens)
        return Demonstrations(
            prompt_array(drawn, n, self._prompt_length), response, response != PAD
        )

    def verify_text(self, problem: Problem, text: str) -> Verdict:
        """Verdict on what a language model wrote."""
        return verify_countdown(problem, text)

    def verify_tokens(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike
    ) -> list[Verdict]:
        """Verdicts on responses [B,T] of single characters; equal ones are read once."""
        clean = response_array(tokens, mask, pad=PAD, width=self.max_tokens)
        prompt_array(problems, len(clean), self._prompt_length)  # are they this task's problems?
        known: dict[tuple[tuple[int, ...], str], Verdict] = {}
        verdicts = []
        for problem, row in zip(problems, clean, strict=True):
            key = (problem.tokens or (), self.render(row))
            if key not in known:
                expression, end, _ = key[1].partition(SYMBOLS[EOS])
                known[key] = (
                    check_expression(expression, problem.meta["numbers"], problem.meta["target"])
                    if end
                    else Verdict(0.0, False, None, "no end")
                )
            verdicts.append(known[key])
        return verdicts

    def rewards(self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike) -> Rewards:
        """1 for right expressions and 0 for the others: reward [B] and correct [B]."""
        verdicts = self.verify_tokens(problems, tokens, mask)
        correct = np.array([verdict.correct for verdict in verdicts], dtype=bool)
        return Rewards(correct.astype(np.float64), correct)

    def distinct_right(
        self, problems: Sequence[Problem], tokens: ArrayLike, mask: ArrayLike, group: ArrayLike
    ) -> Ints:
        """Different right responses [G] of each group; ``group`` [B] is the problem's number."""
        correct = self.rewards(problems, tokens, mask).correct
        return distinct_responses(tokens, mask, group, correct)

    def render(self, tokens: Sequence[int] | Ints) -> str:
        """One character a token: $ is the end, _ fills.

        Examples:
            >>> Countdown().render(Countdown().encode("3*25+7$"))
            '3*25+7$'
        """
        return "".join(SYMBOLS[t] if 0 <= t < len(SYMBOLS) else "?" for t in map(int, tokens))

    def encode(self, text: str) -> list[int]:
        """Ids of characters, the other way round than ``render``."""
        if unknown := [c for c in text if c not in SYMBOLS]:
            raise ConfigurationError(f"{unknown[0]!r} is no token of {self.name}: {SYMBOLS}")
        return [SYMBOLS.index(c) for c in text]

    @property
    def _prompt_length(self) -> int:
        return self.n_numbers * (len(str(self.largest)) + 1) + len(str(self.largest_target)) + 1

    def _drawn(self, random: np.random.Generator, name: str) -> Problem:
        for _ in range(_TRIES):
            numbers = random.integers(1, self.largest + 1, self.n_numbers).tolist()
            made = _combined(random, numbers, limit=10 * self.largest_target)
            if made is None:
                continue
            target, solution = made
            if 1 <= target <= self.largest_target and target not in numbers:
                return self.problem(numbers, target, name, solution)
        raise ConfigurationError(
            f"no countdown problem was found in {_TRIES} tries; raise largest_target "
            f"({self.largest_target}) or lower largest ({self.largest})"
        )


def _combined(
    random: np.random.Generator, numbers: Sequence[int], limit: int
) -> tuple[int, str] | None:
    """All numbers joined by random operations with whole results: value and expression."""
    parts = [(n, str(n), 3) for n in numbers]  # value, text, how tightly the text binds
    while len(parts) > 1:
        first, second = random.choice(len(parts), 2, replace=False).tolist()
        (a, left, bind_left), (b, right, bind_right) = parts[first], parts[second]
        sign = "+-*/"[random.integers(4)]
        if (sign == "-" and a <= b) or (sign == "/" and (b < 2 or a % b)):
            return None
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a // max(b, 1)}[sign]
        if value > limit:
            return None
        bind = 1 if sign in "+-" else 2
        left = left if bind_left >= bind else f"({left})"
        right = right if bind_right > bind - (sign in "+*") else f"({right})"
        parts = [p for i, p in enumerate(parts) if i not in (first, second)]
        parts.append((value, left + sign + right, bind))
    return parts[0][0], parts[0][1]
