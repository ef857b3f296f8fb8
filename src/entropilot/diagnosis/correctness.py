r"""Is an answer right? Answers against references: numbers as numbers, the rest as normalised text.

What a model wrote is hostile: nothing here evaluates an expression, and numbers with absurd
exponents or lengths stay text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

import polars as pl

from entropilot.errors import InputError
from entropilot.traces.reading.final_answer import boxed

LONGEST_NUMBER: Final = 60  # characters; a longer run of digits is compared as text
LONGEST_ANSWER: Final = 1000  # characters; a longer answer is prose and is not taken apart
LARGEST_EXPONENT: Final = 300  # 1e999999999 would fill the memory as an exact integer
TOLERANCE: Final = 1e-6  # relative; references are often rounded decimals

_DECIMAL = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?"
_NUMBER = re.compile(rf"({_DECIMAL})(?:/({_DECIMAL}))?")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}")
_SHORT_FRACTION = re.compile(r"\\[dt]?frac(\d)(\d)")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}")
_SPACING = re.compile(r"\\(?:left|right|displaystyle)|\\[!,;: ]|[$\u20ac\u00a3]|~")
_UNIT_SIGNS = re.compile(r"\s*(?:\\?%|\\?\^?\{?\\circ\}?|\u00b0)$")
_BRACKETS = re.compile(r" ?([()\[\],]) ?")
_MARKER = re.compile(r"####\s*(.+)")


def normalise_answer(text: str) -> str:
    r"""One spelling for answers that mean the same; numbers come out in lowest terms.

    A ``\boxed{}`` or a ``####`` line, where there is one, holds the answer. Currency and degree
    signs, thousands commas, a trailing per cent sign, LaTeX spacing and case are dropped.

    Args:
        text: an answer as a model or a reference gives it.

    Returns:
        A key: equal keys are equal answers (see ``same_answer`` for rounded decimals).

    Examples:
        >>> normalise_answer(r"The answer is \boxed{\frac{2}{4}}"), normalise_answer("$1,200.00")
        ('1/2', '1200')
        >>> normalise_answer(" The Eiffel  Tower. ")
        'eiffel tower'
    """
    inside = boxed(text)
    if inside is not None:
        text = inside
    elif marks := _MARKER.findall(text):
        text = marks[-1]
    text = " ".join(text.split())
    if len(text) > LONGEST_ANSWER:
        return text.casefold()
    text = _FRACTION.sub(r"(\1)/(\2)", text)
    text = _SHORT_FRACTION.sub(r"\1/\2", text)
    text = _TEXT_COMMAND.sub(r"\1", text)
    text = _SPACING.sub("", text)
    text = _THOUSANDS.sub("", text.strip().rstrip(".!?").strip())
    text = _UNIT_SIGNS.sub("", text)
    number = _as_number(text.replace("(", "").replace(")", "").replace(" ", ""))
    if number is not None:
        return str(number)
    text = _BRACKETS.sub(r"\1", " ".join(text.split())).casefold()
    return re.sub(r"^(?:a|an|the) ", "", text).strip(" \"'`*_.,;:")


def same_answer(answer: str, reference: str) -> bool:
    """Whether two answers mean the same: equal keys, or numbers within one part in a million.

    Args:
        answer: what the model answered.
        reference: what is right.

    Returns:
        True where they agree.

    Examples:
        >>> same_answer("8.0", "8"), same_answer("0.333333333", "1/3"), same_answer("Paris", "Rome")
        (True, True, False)
    """
    return _same_key(normalise_answer(answer), normalise_answer(reference))


def check_answers(frame: pl.DataFrame) -> pl.DataFrame:
    """Fill ``correct`` where it is missing and both ``answer`` and ``reference`` are there.

    Labels that are there already stay as they are.

    Args:
        frame: one row a trace, with the columns answer, reference and correct.

    Returns:
        The frame with ``correct`` filled where that was possible.

    Raises:
        InputError: when no row has both an answer and a reference.

    Examples:
        >>> check_answers(pl.DataFrame({"answer": ["8.0", None], "reference": ["8", "1"],
        ...     "correct": [None, None]}))["correct"].to_list()
        [True, None]
    """
    both = frame["answer"].is_not_null() & frame["reference"].is_not_null()
    if not both.any():
        raise InputError(
            f"none of the {frame.height} traces has both an answer and a reference; name the "
            "fields that hold them when reading, or join a file of labels"
        )
    pairs = (
        frame.filter(both)
        .select(pl.col("answer").cast(pl.String), pl.col("reference").cast(pl.String))
        .unique()
    )
    match = [same_answer(a, r) for a, r in pairs.iter_rows()]
    checked = pairs.with_columns(pl.Series("__match", match, dtype=pl.Boolean))
    joined = frame.select(
        pl.col("answer").cast(pl.String), pl.col("reference").cast(pl.String)
    ).join(checked, on=["answer", "reference"], how="left", maintain_order="left")
    known = frame["correct"].cast(pl.Boolean)
    return frame.with_columns(
        pl.select(pl.coalesce(known, joined["__match"]).alias("correct")).to_series()
    )


def answer_keys(answers: pl.Series) -> pl.Series:
    """Normalised answers; null stays null, and each distinct answer is normalised once.

    Args:
        answers: one answer a trace, as text.

    Returns:
        Series of keys, named ``answer_key``.

    Examples:
        >>> answer_keys(pl.Series(["8", "8.0", None])).to_list()
        ['8', '8', None]
    """
    return _map_distinct(answers.cast(pl.String), normalise_answer).alias("answer_key")


def _map_distinct(values: pl.Series, function: Callable[[str], str]) -> pl.Series:
    distinct = values.drop_nulls().unique()
    table = {value: function(value) for value in distinct.to_list()}
    if not table:
        return values
    return values.replace_strict(table, default=None, return_dtype=pl.String)


def _same_key(left: str, right: str) -> bool:
    if left == right:
        return True
    a, b = _as_number(left), _as_number(right)
    if a is None or b is None:
        return False
    return abs(a - b) <= Fraction(TOLERANCE) * max(abs(a), abs(b))


def _as_number(text: str) -> Fraction | None:
    if not text or len(text) > LONGEST_NUMBER:
        return None
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    parts = [part for part in found.groups() if part is not None]
    for part in parts:
        exponent = re.search(r"[eE]([+-]?\d+)$", part)
        if exponent and abs(int(exponent.group(1))) > LARGEST_EXPONENT:
            return None
    top, bottom = Fraction(parts[0]), Fraction(parts[1]) if len(parts) > 1 else Fraction(1)
    return None if bottom == 0 else top / bottom
