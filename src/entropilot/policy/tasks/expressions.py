"""Arithmetic expressions that a model wrote, evaluated exactly and safely.

    sum     = product { (+ | -) product }
    product = factor { (* | /) factor }
    factor  = whole number | ( sum )

Nothing is handed to Python's own evaluator. Length, depth and the size of every intermediate result
are bounded, so that no text takes more than a few milliseconds.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

from entropilot.errors import InputError

LONGEST: Final = 400  # characters
DEEPEST: Final = 40  # brackets in brackets
LONGEST_NUMBER: Final = 12  # digits of a written number
LARGEST: Final = 10**30  # of the top and the bottom of every result on the way

_TOKEN: Final = re.compile(r"[0-9]+|[-+*/()]")


class Evaluated(NamedTuple):
    """What an expression is worth, and the numbers that it is made of, in order."""

    value: Fraction
    numbers: tuple[int, ...]


def evaluate(text: str) -> Evaluated:
    """Value of an expression of whole numbers, + - * / and brackets.

    Args:
        text: the expression; spaces are allowed.

    Returns:
        Its exact value and its numbers. A minus in front of a number is not allowed.

    Raises:
        InputError: not such an expression, a division by zero, or over one of the limits.

    Examples:
        >>> evaluate("3 * (25 + 7) / 4")
        Evaluated(value=Fraction(24, 1), numbers=(3, 25, 7, 4))
    """
    if len(text) > LONGEST:
        raise InputError(f"an expression of {len(text)} characters; at most {LONGEST} are read")
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"[ \t]", "", text) or re.search(r"[0-9][ \t]+[0-9]", text):
        raise InputError(f"{text[:60]!r} is not an expression of numbers, + - * / and brackets")
    reader = _Reader([*tokens, ""])
    value = reader.sum(0)
    if reader.next:
        raise InputError(f"{reader.next!r} is not expected after {text[:60]!r} is complete")
    return Evaluated(value, tuple(reader.numbers))


class _Reader:
    """Reads tokens from the left; ``""`` stands after the last one."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.numbers = tokens, 0, list[int]()

    @property
    def next(self) -> str:
        return self.tokens[self.at]

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def sum(self, depth: int) -> Fraction:
        value = self.product(depth)
        while self.next in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            value = _bounded(value + sign * self.product(depth))
        return value

    def product(self, depth: int) -> Fraction:
        value = self.factor(depth)
        while self.next in ("*", "/"):
            operation, factor = self.take(), self.factor(depth)
            if operation == "*":
                value = _bounded(value * factor)
            elif factor:
                value = _bounded(value / factor)
            else:
                raise InputError("the expression divides by zero")
        return value

    def factor(self, depth: int) -> Fraction:
        if self.next == "(":
            if depth >= DEEPEST:
                raise InputError(f"more than {DEEPEST} brackets are inside each other")
            self.take()
            value = self.sum(depth + 1)
            if self.next != ")":
                raise InputError("a bracket is not closed")
            self.take()
            return value
        if not self.next.isdigit():
            raise InputError(f"{self.next or 'the end'!r} stands where a number is expected")
        number = self.take()
        if len(number) > LONGEST_NUMBER:
            raise InputError(f"a number of {len(number)} digits; at most {LONGEST_NUMBER} are read")
        self.numbers.append(int(number))
        return Fraction(int(number))


def _bounded(value: Fraction) -> Fraction:
    if abs(value.numerator) > LARGEST or value.denominator > LARGEST:
        raise InputError("a result on the way is larger than 1e30 or finer than 1e-30")
    return value
