"""Countdown: every problem can be solved, and expressions are evaluated exactly and safely."""

from __future__ import annotations

import ast
import operator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.tasks.countdown import (
    Countdown,
    check_expression,
    read_expression,
    verify_countdown,
)
from entropilot.policy.tasks.expressions import evaluate
from entropilot.policy.tasks.task import Problem, TextTask, TokenTask

APPLY: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def by_python(node: ast.AST) -> Fraction:
    """The same value by way of Python's own parser."""
    if isinstance(node, ast.Constant):
        return Fraction(node.value)
    assert isinstance(node, ast.BinOp)
    value: Fraction = APPLY[type(node.op)](by_python(node.left), by_python(node.right))
    return value


expressions = st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", " + ", " * "]), inner).map("".join),
        inner.map("({})".format),
    ),
    max_leaves=12,
)


@given(expressions)
def test_values_are_python_s(text: str) -> None:
    try:
        wanted = by_python(ast.parse(text, mode="eval").body)
    except ZeroDivisionError:
        with pytest.raises(InputError, match="divides by zero"):
            evaluate(text)
        return
    assert evaluate(text).value == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "3+",
        "+3",
        "-3+4",
        "3 4",
        "3**4",
        "3//4",
        "3^4",
        "(3",
        "3)",
        "3+(4",
        "2.5",
        "x",
        "__import__('os')",
        "３+4",  # a full-width digit
        "1\n+2",
        "9" * 13,
        "(" * 41 + "1" + ")" * 41,
        "1+" * 300 + "1",
        "*".join(["999999999999"] * 3),
        "(" * 5_000_000,
        "9" * 10_000_000,
    ],
)
def test_hostile_expressions_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        evaluate(text)
    assert not check_expression(text, [3, 4], 7).correct


@pytest.mark.parametrize(
    "task", [Countdown(), Countdown(2, 9, 20), Countdown(6, 99, 999), Countdown(4, 999, 9999)]
)
def test_every_problem_has_its_solution(task: Countdown) -> None:
    problems = task.problems(60, 2)
    assert problems[:20] == task.problems(20, 2)
    for problem in problems:
        solution = problem.meta["solution"]
        assert evaluate(solution).value == problem.meta["target"]
        assert sorted(evaluate(solution).numbers) == sorted(problem.meta["numbers"])
        assert problem.meta["target"] not in problem.meta["numbers"]
        assert 1 <= problem.meta["target"] <= task.largest_target
        assert verify_countdown(problem, f"<answer>{solution}</answer>").correct
    assert len({p.tokens for p in problems}) > 40
    assert len({len(p.tokens or ()) for p in problems}) == 1


def test_demonstrations_are_right_and_mutations_are_read_one_by_one() -> None:
    task = Countdown()
    assert isinstance(task, TokenTask)
    assert isinstance(task, TextTask)
    random = np.random.default_rng(4)
    shown = task.demonstrations(300, random)
    problems = []
    for row in shown.prompt:
        numbers, target = task.render(row).lstrip("_").rstrip("=").split(">")
        problems.append(task.problem([int(v) for v in numbers.split(",")], int(target)))
    assert task.rewards(problems, shown.response, shown.mask).correct.all()
    tokens = shown.response.copy()
    rows = np.flatnonzero(random.random(len(tokens)) < 0.6)
    tokens[rows, random.integers(0, 5, len(rows))] = random.integers(0, task.n_vocab, len(rows))
    verdicts = task.verify_tokens(problems, tokens, shown.mask)
    for problem, row, mask, verdict in zip(problems, tokens, shown.mask, verdicts, strict=True):
        expression, end, _ = task.render(row[mask]).partition("$")
        wanted = bool(end)
        try:
            tree = ast.parse(expression, mode="eval")
            kinds = (ast.Expression, ast.BinOp, ast.Constant, *APPLY)
            wanted &= all(isinstance(node, kinds) for node in ast.walk(tree))
            wanted &= wanted and by_python(tree.body) == problem.meta["target"]
            left = list(problem.meta["numbers"])
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant):
                    left.remove(node.value)
        except (SyntaxError, ZeroDivisionError, ValueError):
            wanted = False
        assert verdict.correct == wanted, (expression, problem.prompt)
    assert 0.3 < np.mean([v.correct for v in verdicts]) < 0.9


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("3*25+7", "3*25+7"),
        ("Let me see.\n\n3*25 + 7 = 82\n", "3*25 + 7"),
        ("82 = 3*25+7", "3*25+7"),
        ("Answer: 3*25+7", "3*25+7"),
        ("The answer is 3 × 25 + 7.", "3 * 25 + 7"),
        (r"\boxed{3 \cdot 25 + 7}", "3 * 25 + 7"),
        (r"$\boxed{\left(3 \times 25\right) + 7 = 82}$", "(3 * 25) + 7"),
        ("<think>3+25</think><answer> 3*25+7 </answer>", "3*25+7"),
        ("<think>3*25+7", None),
        ("", None),
        ("82", "82"),
    ],
)
def test_expressions_are_found(text: str, expression: str | None) -> None:
    assert read_expression(text) == expression


def test_numbers_are_used_at_most_as_often_as_they_are_there() -> None:
    assert check_expression("5*5", [5, 5, 2], 25).correct
    assert check_expression("5*5", [5, 2], 25).reason.startswith("a number that is not there")
    assert check_expression("5*2", [5, 2, 9], 10).correct  # not all have to be used
    assert check_expression("5/2*2", [5, 2, 2], 5).correct  # fractions on the way are exact
    assert check_expression("5*2", [5, 2], 11).reason == "another value"


def test_huge_texts_take_no_time() -> None:
    problem = Countdown().problem([3, 7, 25], 82)
    for text in ("(" * 10_000_000, "=" * 10_000_000, "9" * 10_000_000, "\\boxed{" * 1_000_000):
        assert not verify_countdown(problem, text).correct
    assert verify_countdown(problem, "x" * 10_000_000 + "\nAnswer: 3*25+7").correct


def test_bad_requests() -> None:
    with pytest.raises(ConfigurationError, match="n_numbers is 7; it must be 2 to 6"):
        Countdown(7)
    with pytest.raises(InputError, match="problem 'q' has no numbers and target"):
        verify_countdown(Problem("q", "?", "3"), "3")
