"""Word problems: answers are right, the list is stable, and texts are read as a person would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.task import TextTask
from entropilot.policy.tasks.word_problems import (
    LARGEST,
    SHOTS,
    TEMPLATES,
    WordProblemTask,
    few_shot_prompt,
    is_correct,
    parse_answer,
    word_problems,
)

APPLY = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}


def test_problems_are_right_different_and_small() -> None:
    problems = word_problems(600, seed=3)
    assert len({p.question for p in problems}) == 600
    assert len({p.id for p in problems}) == 600
    for p in problems:
        assert p.answer == APPLY[p.operation](p.a, p.b)
        assert 1 <= min(p.a, p.b) <= max(p.a, p.b) <= LARGEST
        assert p.answer > 0
        assert str(p.a) in p.question
        assert str(p.b) in p.question
        assert "{" not in p.question
    starts = {(p.operation, p.question.split()[-3]) for p in problems}
    assert len(starts) > 10  # many templates are in use


def test_a_longer_list_begins_with_the_shorter_one() -> None:
    assert word_problems(40, seed=1)[:15] == word_problems(15, seed=1)
    assert word_problems(15, seed=1) != word_problems(15, seed=2)


def test_only_the_asked_operations() -> None:
    assert {p.operation for p in word_problems(20, operations=["mul", "add"])} == {"add", "mul"}


def test_few_shot_prompt_ends_where_the_answer_starts() -> None:
    prompt = few_shot_prompt("What?")
    assert prompt.startswith(SHOTS)
    assert prompt.count("The answer is") == 3
    assert all(len(templates) == 10 for templates in TEMPLATES.values())


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("5 + 4 = 9. The answer is 9.", "9"),
        ("The answer is $1,250.00", "1250"),
        ("the ANSWER is: -3", "-3"),
        ("The answer is 4. No, the answer is 5.", "4"),
        ("so 3 x 4 makes 12", "12"),
        ("12.50 dollars", "12.5"),
        ("no number", None),
        ("", None),
    ],
)
def test_answers_are_read(text: str, answer: str | None) -> None:
    assert parse_answer(text) == answer


@given(st.integers(-10_000, 10_000), st.text(alphabet="ab .\n", max_size=8))
def test_a_stated_answer_is_found(number: int, tail: str) -> None:
    assert is_correct(f"1 + 1 is 2. The answer is {number:,}{' ' + tail}", number)
    assert not is_correct(f"The answer is {number + 1}", number)


def test_bad_requests() -> None:
    with pytest.raises(ConfigurationError, match="0 word problems asked for"):
        word_problems(0)
    with pytest.raises(ConfigurationError, match="unknown operation 'div'"):
        word_problems(3, operations=["div"])
    with pytest.raises(ConfigurationError, match="no operations given"):
        word_problems(3, operations=[])


def test_as_a_text_task() -> None:
    task = WordProblemTask(("add",))
    assert isinstance(task, TextTask)
    problems = task.problems(6, seed=2)
    assert problems[:3] == task.problems(3, seed=2)
    assert [p.id for p in problems] == [p.id for p in word_problems(6, seed=2, operations=["add"])]
    problem = problems[0]
    assert problem.prompt == few_shot_prompt(problem.meta["question"])
    assert task.verify_text(problem, f" The answer is {problem.answer}.").reason == "right"
    assert task.verify_text(problem, "The answer is 999.").reason == "wrong answer"
    assert task.verify_text(problem, "I give up").answer is None
