"""Numbers: read as a person reads them, and no text is too hostile to read."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.policy.verifiers.numbers import (
    Number,
    first_number,
    last_number,
    read_number,
    same_number,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", "18"),
        ("-18", "-18"),
        ("+18", "18"),
        ("- 18", "-18"),
        ("\N{MINUS SIGN}3", "-3"),
        ("1,200.50", "1200.5"),
        ("11,111,111,100", "11111111100"),
        ("11,\\!111,\\!111,\\!100", "11111111100"),
        ("1{,}200", "1200"),
        (".35625", ".35625"),
        ("3.0", "3"),
        ("2e3", "2000"),
        ("$18", "18"),
        ("\\$18.90", "18.9"),
        ("$\\$18$", "18"),
        ("€ 5", "5"),
        ("5 €", "5"),
        ("-$5", "-5"),
        ("18 dollars", "18"),
        ("18 dollars per day.", "18"),
        ("18 \\text{ cm}^2", None),
        ("18 \\text{ square cm}", "18"),
        ("120^\\circ", "120"),
        ("120°", "120"),
        ("3/4", "3/4"),
        ("3 / 4", "3/4"),
        ("-3/4", "-3/4"),
        ("1 3/4", "7/4"),
        ("-1 3/4", "-7/4"),
        ("\\frac{3}{4}", "3/4"),
        ("\\dfrac34", "3/4"),
        ("-\\frac{35}{9}", "-35/9"),
        ("137\\frac{1}{2}", "275/2"),
        ("50\\%", "50"),
        ("50 percent", "50"),
        ("**42**", "42"),
        ("x = 5", "5"),
        ("3 + 4 = 7", "7"),
        ("\\left(5\\right)", None),
        ("2x", None),
        ("2\\sqrt{5}", None),
        ("6+9i", None),
        ("3, 5, 7", None),
        ("1/0", None),
        ("", None),
        ("Paris", None),
        ("9" * 61, None),
        ("1e999999999", None),
        ("３", None),  # a full-width digit
    ],
)
def test_numbers_are_read(text: str, value: str | None) -> None:
    number = read_number(text)
    assert (None if number is None else number.value) == (
        None if value is None else Fraction(value)
    )


@given(st.fractions(-10_000, 10_000, max_denominator=1000))
def test_fractions_and_decimals_come_back(value: Fraction) -> None:
    for text in (str(value), f"so it is {value}"):
        found = last_number(text)
        assert found is not None
        assert found.value == value
    rounded = read_number(f"{float(value):,.3f}")
    assert rounded is not None
    assert abs(rounded.value - value) <= Fraction(1, 1999)


@given(st.text(max_size=300))
def test_no_text_breaks_the_reading(text: str) -> None:
    for read in (read_number, first_number, last_number):
        found = read(text)
        assert found is None or isinstance(found.value, Fraction)


@pytest.mark.parametrize(
    "text",
    ["1," * 50_000, "9" * 100_000, " " * 100_000, "1 " * 50_000, "$ " * 50_000, "-" * 100_000,
     "1/" * 50_000, "\\frac{" * 20_000, "\\text{" * 20_000, "((((" * 25_000, "a.b " * 25_000,
     "1" + " ab" * 30_000 + "!", "1," + "000," * 25_000],
)  # fmt: skip
def test_patterns_take_no_more_than_linear_time(text: str) -> None:
    for read in (read_number, first_number, last_number):
        read(text)  # a quadratic pattern would take minutes here


def test_phrases() -> None:
    assert first_number("3 bolts, 2 blue and 1 white") == Number(Fraction(3), False)
    assert first_number("2 + 1 bolts") is None
    assert last_number("16 - 3 - 4 = 9 eggs, or 75%") == Number(Fraction(75), True)
    assert last_number("5-3") == Number(Fraction(3), False)
    assert last_number("none") is None


def test_equal_numbers() -> None:
    third = Number(Fraction(1, 3), False)
    assert same_number(third, Number(Fraction("0.3333333"), False))
    assert not same_number(third, Number(Fraction("0.3333"), False))
    assert not same_number(Number(Fraction(0), False), Number(Fraction(1, 10**9), False))
    half, fifty = Number(Fraction(1, 2), False), Number(Fraction(50), True)
    assert same_number(half, fifty)
    assert same_number(fifty, half)
    assert not same_number(Number(Fraction(1, 2), True), fifty)
