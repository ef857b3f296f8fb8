"""Modular paths: demonstrations are right, and a batch is checked as each response is."""

from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.tasks.modular_paths import OPERATIONS, ModularPaths
from entropilot.policy.tasks.task import Problem, TokenTask

APPLY = [
    lambda v: v + 1,
    lambda v: v + 3,
    lambda v: v - 2,
    lambda v: v * 2,
    lambda v: v * 3,
    lambda v: v * 5,
]


def plainly(task: ModularPaths, problem: Problem, tokens: list[int], mask: list[bool]) -> bool:
    """The rule, one token after the other."""
    said = [t for t, counts in zip(tokens, mask, strict=True) if counts][: task.max_tokens]
    if task.eos not in said:
        return False
    said = said[: said.index(task.eos)]
    if not said or len(said) % 2:
        return False
    value = problem.meta["start"]
    for operation, written in zip(said[::2], said[1::2], strict=True):
        number = operation - task.modulus
        if not 0 <= number < len(OPERATIONS):
            return False
        value = APPLY[number](value) % task.modulus
        if written != value:
            return False
    return bool(value == problem.meta["target"])


def problems_of(task: ModularPaths, prompt: np.ndarray) -> list[Problem]:
    return [task.problem(start, target) for _, start, target in prompt.tolist()]


@pytest.mark.parametrize("task", [ModularPaths(), ModularPaths(7, 2), ModularPaths(2, 1)])
def test_demonstrations_are_right(task: ModularPaths) -> None:
    shown = task.demonstrations(500, np.random.default_rng(1))
    problems = problems_of(task, shown.prompt)
    assert task.rewards(problems, shown.response, shown.mask).correct.all()
    assert {v.reason for v in task.verify_tokens(problems, shown.response, shown.mask)} == {"right"}
    assert set((shown.mask.sum(axis=1) - 1) // 2) == set(range(1, task.n_steps + 1))
    assert (shown.response[~shown.mask] == task.pad).all()


def test_a_batch_is_checked_as_each_response_is() -> None:
    task = ModularPaths(11, 3)
    random = np.random.default_rng(2)
    shown = task.demonstrations(3000, random)
    tokens = shown.response.copy()
    for _ in range(2):  # some stay right, some change in one place, some in two
        rows = np.flatnonzero(random.random(len(tokens)) < 0.5)
        column = (random.random(len(rows)) * shown.mask[rows].sum(axis=1)).astype(int)
        tokens[rows, column] = random.integers(-1, task.n_vocab + 1, len(rows))
    mask = shown.mask.copy()
    mask[:200] = True  # responses that were not cut at their end
    mask[200:300] = np.arange(task.max_tokens) < random.integers(0, 8, (100, 1))
    tokens[300:600] = random.integers(0, task.n_vocab, (300, task.max_tokens))
    problems = problems_of(task, shown.prompt)
    one_by_one = [
        plainly(task, p, t, m)
        for p, t, m in zip(problems, tokens.tolist(), mask.tolist(), strict=True)
    ]
    assert task.rewards(problems, tokens, mask).correct.tolist() == one_by_one
    assert 0.2 < np.mean(one_by_one) < 0.6  # both kinds are tested
    verdicts = task.verify_tokens(problems, tokens, mask)
    assert [v.correct for v in verdicts] == one_by_one
    assert len({v.reason for v in verdicts}) == 7
    order = random.permutation(len(tokens))
    shuffled = task.rewards([problems[i] for i in order], tokens[order], mask[order]).correct
    assert shuffled.tolist() == np.array(one_by_one)[order].tolist()


@pytest.mark.parametrize(
    ("text", "reason", "answer"),
    [
        ("*2 6 +1 7 <eos>", "right", "7"),
        ("+1 4 +3 7 <eos>", "right", "7"),
        ("+1 4 +3 7", "no end", None),
        ("<eos>", "no pair", None),
        ("+1 4 +3 7 +1 <eos>", "half a pair", None),
        ("5 4 +3 7 <eos>", "not an operation", "7"),
        ("+1 5 +3 7 <eos>", "wrong value", "7"),
        ("+1 4 +1 5 <eos>", "wrong target", "5"),
        ("+3 6 +1 7 <eos> +1 9", "right", "7"),  # what follows the end does not count
        ("*2 6 +1 7 +1 8 -2 6 +1 7 <eos>", "right", "7"),  # the longest
        ("*2 6 +1 7 +1 8 -2 6 +3 9 -2 7 <eos>", "no end", None),
    ],
)
def test_reasons(text: str, reason: str, answer: str | None) -> None:
    task = ModularPaths()
    tokens = task.encode(text)
    assert task.render(tokens) == text
    [verdict] = task.verify_tokens([task.problem(3, 7)], [tokens], [[True] * len(tokens)])
    assert (verdict.reason, verdict.answer) == (reason, answer)


def test_problems_are_stable_and_begin_alike() -> None:
    task = ModularPaths()
    assert isinstance(task, TokenTask)
    assert task.problems(50, 3)[:20] == task.problems(20, 3)
    assert task.problems(20, 3) != task.problems(20, 4)
    assert {p.tokens[0] for p in task.problems(20) if p.tokens} == {task.bos}
    assert len({p.id for p in task.problems(300)}) == 300


def test_distinct_right_responses() -> None:
    task = ModularPaths()
    texts = ["*2 6 +1 7 <eos>", "+1 4 +3 7 <eos>", "+1 4 +3 7 <eos>", "+1 4 +1 5 <eos>"]
    tokens = np.array([task.encode(t) for t in texts])
    problems = [task.problem(3, 7)] * 4
    mask = np.ones_like(tokens, dtype=bool)
    assert task.distinct_right(problems, tokens, mask, [0, 0, 0, 0]).tolist() == [2]
    assert task.distinct_right(problems, tokens, mask, [0, 0, 2, 1]).tolist() == [2, 0, 1]


def test_bad_input() -> None:
    task = ModularPaths()
    problem = task.problem(3, 7)
    with pytest.raises(ConfigurationError, match="modulus is 1; it must be 2 to 1000"):
        ModularPaths(1)
    with pytest.raises(ConfigurationError, match="0 problems of modular-paths asked for"):
        task.problems(0)
    with pytest.raises(ConfigurationError, match="the seed of modular-paths is -1"):
        task.problems(1, -1)
    with pytest.raises(ConfigurationError, match="'four' is no token of modular-paths"):
        task.encode("+1 four")
    with pytest.raises(InputError, match="2 problems for 1 answers"):
        task.rewards([problem, problem], [[1]], [[True]])
    with pytest.raises(InputError, match=r"problem 'x' has no tokens; expected 3"):
        task.rewards([Problem("x", "", "")], [[1]], [[True]])
    with pytest.raises(InputError, match="the mask of answer 0 has a gap"):
        task.rewards([problem], [[1, 1, 1]], [[True, False, True]])
    with pytest.raises(InputError, match="tokens are float64; expected whole numbers"):
        task.rewards([problem], [[1.0]], [[True]])
    with pytest.raises(InputError, match=r"shape \(1, 1\) and the mask \(1, 2\)"):
        task.rewards([problem], [[1]], [[True, True]])
