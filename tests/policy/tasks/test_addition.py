"""Addition: the form, the answer, and a second reading by a pattern."""

from __future__ import annotations

import re

import numpy as np
import pytest

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.addition import Addition
from entropilot.policy.tasks.task import Problem, TokenTask

FORM = re.compile(r"(?:\??[0-9](?:\+[0-9])+=[0-9]{1,2};)*#([0-9]+)\$")


def problems_of(task: Addition, prompt: np.ndarray) -> list[Problem]:
    pairs = [task.render(row).rstrip("=").split("+") for row in prompt]
    return [task.problem(int(a), int(b)) for a, b in pairs]


def plainly(task: Addition, problem: Problem, tokens: list[int], mask: list[bool]) -> bool:
    said = [t for t, counts in zip(tokens, mask, strict=True) if counts][: task.max_tokens]
    found = FORM.match(task.render(said))
    return found is not None and found[1] == str(problem.meta["a"] + problem.meta["b"])


@pytest.mark.parametrize("digits", range(1, 9))
def test_demonstrations_without_noise_are_right(digits: int) -> None:
    task = Addition(digits)
    shown = task.demonstrations(300, np.random.default_rng(digits), noise=0)
    problems = problems_of(task, shown.prompt)
    assert task.rewards(problems, shown.response, shown.mask).correct.all()
    for row in shown.response[:50]:
        for terms, total in re.findall(r"([0-9+]+)=([0-9]+);", task.render(row)):
            assert sum(map(int, terms.split("+"))) == int(total)


def test_noise_makes_some_wrong_but_none_out_of_form() -> None:
    task = Addition(3)
    shown = task.demonstrations(4000, np.random.default_rng(1), noise=0.1)
    verdicts = task.verify_tokens(problems_of(task, shown.prompt), shown.response, shown.mask)
    assert {v.reason for v in verdicts} == {"right", "wrong answer"}
    # three columns, each wrong in a tenth of the cases, and one random sum of twenty is right
    assert np.mean([v.correct for v in verdicts]) == pytest.approx((1 - 0.095) ** 3, abs=0.03)


@pytest.mark.parametrize("digits", [1, 2, 4])
def test_a_batch_is_checked_as_each_response_is(digits: int) -> None:
    task = Addition(digits)
    random = np.random.default_rng(5)
    shown = task.demonstrations(2000, random)
    tokens, mask = shown.response.copy(), shown.mask.copy()
    rows = np.flatnonzero(random.random(len(tokens)) < 0.5)
    column = (random.random(len(rows)) * mask[rows].sum(axis=1)).astype(int)
    tokens[rows, column] = random.integers(-1, task.n_vocab + 1, len(rows))
    mask[:300] = True
    mask[300:400] = np.arange(task.max_tokens) < random.integers(0, 12, (100, 1))
    problems = problems_of(task, shown.prompt)
    one_by_one = [
        plainly(task, p, t, m)
        for p, t, m in zip(problems, tokens.tolist(), mask.tolist(), strict=True)
    ]
    assert task.rewards(problems, tokens, mask).correct.tolist() == one_by_one
    assert 0.3 < np.mean(one_by_one) < 0.8
    verdicts = task.verify_tokens(problems, tokens, mask)
    assert [v.correct for v in verdicts] == one_by_one
    assert {v.reason for v in verdicts} == {"right", "no end", "out of form", "wrong answer"}


@pytest.mark.parametrize(
    ("text", "reason", "answer"),
    [
        ("7+5=12;4+8+1=13;#132$", "right", "132"),
        ("1+4+8=13;?5+7=12;#132$", "right", "132"),
        ("#132$", "right", "132"),
        ("7+5=99;#132$", "right", "132"),  # steps are the policy's own business
        ("#132", "no end", None),
        ("#0132$", "wrong answer", "0132"),
        ("#13$", "wrong answer", "13"),
        ("#1320$", "wrong answer", "1320"),
        ("#$", "out of form", None),
        ("7=7;#132$", "out of form", "132"),
        ("7+5=123;#132$", "out of form", "132"),
        ("??7+5=12;#132$", "out of form", "132"),
        ("7+5=12#132$", "out of form", "132"),
        ("#132$#", "right", "132"),
    ],
)
def test_reasons(text: str, reason: str, answer: str | None) -> None:
    task = Addition()
    tokens = task.encode(text)
    [verdict] = task.verify_tokens([task.problem(47, 85)], [tokens], [[True] * len(tokens)])
    assert (verdict.reason, verdict.answer) == (reason, answer)


@pytest.mark.parametrize(("a", "b"), [(10, 89), (10, 90), (99, 99), (50, 49), (50, 50)])
def test_sums_at_a_power_of_ten(a: int, b: int) -> None:
    task = Addition()
    for said in range(90, 210):
        tokens = task.encode(f"#{said}$")
        correct = task.rewards([task.problem(a, b)], [tokens], [[True] * len(tokens)]).correct
        assert correct.tolist() == [said == a + b]


def test_many_responses_are_right_and_counted() -> None:
    task = Addition()
    texts = ["7+5=12;#132$__", "5+7=12;#132$__", "5+7=12;#132$__", "5+7=12;#133$__"]
    tokens = np.array([task.encode(t) for t in texts])
    mask = tokens != task.pad
    problems = [task.problem(47, 85)] * 4
    assert task.distinct_right(problems, tokens, mask, [0] * 4).tolist() == [2]


def test_problems_are_stable_and_bad_requests_are_refused() -> None:
    task = Addition()
    assert isinstance(task, TokenTask)
    assert task.problems(40, 1)[:15] == task.problems(15, 1)
    assert {len(p.prompt) for p in task.problems(200)} == {6}
    assert {len(p.prompt) for p in Addition(1).problems(200)} == {4}
    with pytest.raises(ConfigurationError, match="digits is 0; it must be 1 to 8"):
        Addition(0)
    with pytest.raises(ConfigurationError, match="5 and 500 are not numbers of 2 digits"):
        task.problem(5, 500)
