"""An answer is found where a text states one, and nowhere else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.traces import load_traces
from entropilot.traces.reading.final_answer import LONGEST, boxed, final_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        ("2 + 6 = 8\n#### 8", "8"),
        ("#### 7\n#### 8\n", "8"),
        ("<answer> Paris\n</answer>", "Paris"),
        ("The answer is 8.5. Good luck!", "8.5"),
        ("Final answer: $1,200.00", "$1,200.00"),
        ("**Answer:** 12", "12"),
        ("The answer is: 3\nIs it?", "3"),
        ("<think>the answer is 9</think>The answer is 8.", "8"),
        (r"[THINK]\boxed{9}[/THINK] \boxed{8}", "8"),
        (r"<think>\boxed{9}</think> I do not know", None),
        ("<think>the answer is 9", None),
        ("There are 8 apples.", None),
        ("answers are hard", None),
        (r"\boxed{", None),
        ("#### " + "9" * (LONGEST + 1), None),
        ("", None),
    ],
)
def test_stated_answers(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@given(st.text(alphabet="a \\boxed{}#<answer>/:.\n*é", max_size=300))
def test_any_text_gives_an_answer_within_it_or_none(text: str) -> None:
    found = final_answer(text)
    assert found is None or (found in text and 0 < len(found) <= LONGEST)
    inside = boxed(text)
    assert inside is None or f"\\boxed{{{inside}}}" in text


@pytest.mark.parametrize("part", [r"\boxed{", "answer is ", "<answer>", "#### \t", "answer: . "])
def test_hostile_texts_take_no_time(part: str) -> None:
    began = time.perf_counter()
    final_answer(part * 200_000)
    assert time.perf_counter() - began < 1.0


def test_the_logs_own_answer_is_kept() -> None:
    row = {"input": "q", "output": "#### 8", "score": 1.0}
    assert load_traces([row, {**row, "answer": "nine"}]).rows["answer"].to_list() == ["8", "nine"]
