"""Answers against references: what means the same, what does not, and hostile answers."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.diagnosis.correctness import (
    answer_keys,
    boxed,
    check_answers,
    normalise_answer,
    same_answer,
)
from entropilot.errors import InputError


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("8", "8.0"),
        ("$1,234.50", "1234.5"),
        ("1,234,567", "1234567"),
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"Thus \boxed{\dfrac{3}{4}} follows", "3/4"),
        (r"\frac12", "0.5"),
        ("-3", " -3. "),
        ("0.3333333", "1/3"),
        ("50%", "50"),
        (r"50\%", "50"),
        (r"90^\circ", "90"),
        ("so 4 * 2 = 8\n#### 8", "8"),
        ("The Eiffel Tower.", "eiffel tower"),
        (r"\boxed{\text{Paris}}", "paris"),
        (r"\left( 1, 2 \right)", "(1, 2)"),
        ("1e3", "1000"),
        (r"\boxed{7} or rather \boxed{8}", "8"),
        (r"\boxed{8} and an unclosed \boxed{9", "8"),
    ],
)
def test_same(answer: str, reference: str) -> None:
    assert same_answer(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("8", "9"),
        ("8", "-8"),
        ("80", "8"),
        ("1,23", "123"),  # no thousands comma
        ("Paris", "Rome"),
        ("", "0"),
        ("1/0", "0"),
        ("0.33", "1/3"),  # too coarse to be a rounding
        ("1e400", "1e401"),
    ],
)
def test_different(answer: str, reference: str) -> None:
    assert not same_answer(answer, reference)


@pytest.mark.parametrize(
    "hostile",
    [
        "1e9999",
        "9" * 10_000,
        "__import__('os')",
        "{" * 5000,
        r"\boxed{" * 20_000,
        " " * 50_000 + "x",
        "1/0",
        "\x00",
    ],
)
def test_hostile_answers_stay_text(hostile: str) -> None:
    assert isinstance(normalise_answer(hostile), str)
    assert not same_answer(hostile, "7")


def test_boxed_takes_nested_braces() -> None:
    assert boxed(r"\boxed{\sqrt{\frac{1}{2}}}") == r"\sqrt{\frac{1}{2}}"
    assert boxed("no box") is None


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**4))
def test_numbers_equal_themselves_in_other_spellings(top: int, bottom: int) -> None:
    assert same_answer(f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}")
    assert same_answer(f"{top:,}", f"{top}.00")
    assert not same_answer(str(top), str(top + 1)) or abs(top) >= 10**6


@settings(max_examples=50)  # each text is short, and the point is that none fails
@given(st.text(max_size=60))
def test_normal_form_is_stable_and_never_fails(text: str) -> None:
    assert same_answer(text, text)


def test_check_answers_keeps_labels_and_fills_the_rest() -> None:
    frame = pl.DataFrame(
        {
            "answer": ["8", "8", None, "9"],
            "reference": ["8.0", "8.0", "8", None],
            "correct": [None, False, None, None],
        }
    )
    assert check_answers(frame)["correct"].to_list() == [True, False, None, None]


def test_check_answers_says_when_there_is_nothing_to_check() -> None:
    frame = pl.DataFrame(
        {"answer": ["8"], "reference": [None], "correct": [None]},
        schema_overrides={"reference": pl.String},
    )
    with pytest.raises(InputError, match="none of the 1 traces has both an answer and a reference"):
        check_answers(frame)


def test_answer_keys_keep_nulls() -> None:
    assert answer_keys(pl.Series([None, "8.0", "8"])).to_list() == [None, "8", "8"]
    assert answer_keys(pl.Series([None, None], dtype=pl.String)).to_list() == [None, None]
