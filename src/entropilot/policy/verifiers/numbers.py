r"""Numbers as people write them: 1,200.50  $18  3/4  137\frac{1}{2}  50%  7 eggs  x = 5.

What is read here was written by a model and is hostile: patterns take linear time, and numbers of
absurd length or exponent are none.
"""

from __future__ import annotations

import re
from collections import deque
from fractions import Fraction
from typing import Final, NamedTuple

LONGEST_NUMBER: Final = 60  # characters; a longer run of digits is no answer
TOLERANCE: Final = Fraction(1, 1_000_000)  # relative; references are often rounded decimals

_WHOLE: Final = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL: Final = rf"(?:{_WHOLE}(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{{1,2}}(?!\d))?"
_NUMBER: Final = re.compile(
    rf"(?P<sign>(?<![\d)\w])[-+] ?)?(?:[$€£¥] ?)?(?:(?P<whole>\d+) (?=\d+ ?/ ?\d))?"
    rf"(?P<top>{_DECIMAL})(?: ?/ ?(?P<bottom>{_DECIMAL}))?(?P<percent> ?(?:%|percent\b))?",
    re.ASCII,
)
_UNIT: Final = re.compile(
    r"(?: ?[°€£¥]| ?\^? ?\\circ| [a-zA-Z][a-zA-Z.²³]+| ?\([a-zA-Z ]*\))* ?\.?"
)
_FRACTION: Final = re.compile(r"\\[dt]?frac ?(?:\{ ?(\d+) ?\} ?\{ ?(\d+) ?\}|(\d) ?(\d))")
_TEXT: Final = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mbox)\{([^{}]*)\}")
_NOISE: Final = re.compile(
    r"\\(?:left|right|displaystyle|[!,;: ])|[$*~]|\\(?=[$%])|\{(?=,\})|(?<=,)\}"
)
_MATHS: Final = re.compile(r"[\\^_+×÷/]|\d ?[-(] ?\d|\d[a-zA-Z]")


class Number(NamedTuple):
    """A number, and whether it was written with a per cent sign (its value is then as written)."""

    value: Fraction
    is_percent: bool


def read_number(text: str) -> Number | None:
    r"""The number that a short text is: with a currency, a unit or "x =" around it, or None.

    Args:
        text: an answer as stated, at most a sentence.

    Returns:
        The number, or None where the text is something else, such as "2x" or "3 + 4".

    Examples:
        >>> read_number("$1,200.50").value, read_number(r"137\frac{1}{2} miles").value
        (Fraction(2401, 2), Fraction(275, 2))
        >>> read_number("x = 50%"), read_number("2x")
        (Number(value=Fraction(50, 1), is_percent=True), None)
    """
    plain = _plain(text)
    plain = re.split("[=≈:]", plain)[-1].strip()
    found = _NUMBER.match(plain)
    if found is None or _UNIT.fullmatch(plain, found.end()) is None:
        return None
    return _value(found)


def first_number(text: str) -> Number | None:
    """The first number of a phrase in words, or None where formulas stand in it.

    Examples:
        >>> first_number("it takes 3 bolts, 2 blue and 1 white").value, first_number("2 + 1")
        (Fraction(3, 1), None)
    """
    plain = _plain(text)
    found = _NUMBER.search(plain)
    return None if found is None or _MATHS.search(plain) else _value(found)


def last_number(text: str) -> Number | None:
    """The last number of a text, or None.

    Examples:
        >>> last_number("16 - 3 = 13 eggs").value
        Fraction(13, 1)
    """
    last = deque(_NUMBER.finditer(_plain(text)), maxlen=1)
    return _value(last[0]) if last else None


def same_number(left: Number, right: Number) -> bool:
    """Equal within one part in a million; a per cent sign on one side may be a unit or a factor.

    Examples:
        >>> percent = Number(Fraction(50), True)
        >>> same_number(percent, Number(Fraction(50), False)), same_number(
        ...     percent, Number(Fraction(1, 2), False))
        (True, True)
    """
    a, b = left.value, right.value
    if _near(a, b):
        return True
    if left.is_percent == right.is_percent:
        return False
    return _near(a / 100, b) if left.is_percent else _near(a, b / 100)


def _near(a: Fraction, b: Fraction) -> bool:
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b))


def _plain(text: str) -> str:
    """One line with ASCII signs, without LaTeX dress; fractions as 1/2 after a space."""
    text = " ".join(text.split()).replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")
    text = _FRACTION.sub(lambda m: f" {m[1] or m[3]}/{m[2] or m[4]}", text)
    text = _NOISE.sub("", _TEXT.sub(r" \1", text))
    return " ".join(text.split())


def _value(found: re.Match[str]) -> Number | None:
    if len(found.group()) > LONGEST_NUMBER:
        return None
    value = Fraction(found["top"].replace(",", ""))
    if found["bottom"] is not None:
        bottom = Fraction(found["bottom"].replace(",", ""))
        if not bottom:
            return None
        value /= bottom
    value += Fraction(found["whole"] or 0)
    sign = -1 if (found["sign"] or "").startswith("-") else 1
    return Number(sign * value, found["percent"] is not None)
