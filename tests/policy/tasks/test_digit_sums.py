"""Digit sums: the demonstrations' noise, the check, and where a response could answer."""

from __future__ import annotations

import re

import numpy as np
import pytest

from entropilot.errors import ConfigurationError
from entropilot.policy.tasks.digit_sums import NO_NOISE, DemonstrationNoise, DigitSums
from entropilot.policy.tasks.task import Problem, TokenTask


def problems_of(task: DigitSums, prompt: np.ndarray) -> list[Problem]:
    return [task.problem(row[0::2][: task.n_digits]) for row in prompt.tolist()]


def plainly(task: DigitSums, problem: Problem, tokens: list[int], mask: list[bool]) -> bool:
    """The rule as a pattern on the rendered response."""
    said = [t for t, counts in zip(tokens, mask, strict=True) if counts][: task.max_tokens]
    found = re.match(r"[^E$]*E([0-9])\$", task.render(said))
    return found is not None and int(found[1]) == sum(problem.meta["digits"]) % 10


def boundaries_plainly(task: DigitSums, problem: Problem, text: str) -> list[tuple[int, bool]]:
    """(position, solved) of each step's end."""
    digits, found, done, start = problem.meta["digits"], [], 0, 0
    thinking = re.split("[E$]", text)[0]
    for at, symbol in enumerate(thinking):
        if symbol == ";":
            step, start = thinking[start:at], at + 1
            done = min(done + ("C" not in step), task.n_steps)
            written = re.findall("[0-9]", step)
            right = bool(written) and int(written[-1]) == sum(digits[: done + 1]) % 10
            found.append((at, right and done == task.n_steps))
    return found


@pytest.mark.parametrize("task", [DigitSums(), DigitSums(2, 0), DigitSums(8, 3)])
def test_demonstrations_without_noise_are_right(task: DigitSums) -> None:
    shown = task.demonstrations(500, np.random.default_rng(1), NO_NOISE)
    problems = problems_of(task, shown.prompt)
    assert task.rewards(problems, shown.response, shown.mask).correct.all()
    marks = task.boundaries(problems, shown.response, shown.mask)
    assert marks.value_right[marks.ends].all()
    assert (
        marks.ends.sum(axis=1).tolist()
        == (task.n_steps + task.n_checks(shown.response, shown.mask)).tolist()
    )
    assert marks.solved.any(axis=1).all()
    assert [task.render(row) for row in shown.prompt[:3]] == [p.prompt for p in problems[:3]]


def test_the_noise_is_as_stated() -> None:
    task, n = DigitSums(), 20_000
    shown = task.demonstrations(n, np.random.default_rng(2))
    problems = problems_of(task, shown.prompt)
    steps = (shown.response == task.step_end).sum(axis=1)
    early = steps < task.n_steps
    assert np.mean(early) == pytest.approx(0.15, abs=0.01)
    assert np.mean(shown.mask.sum(axis=1)) == pytest.approx(16.0, abs=0.15)
    checks = task.n_checks(shown.response, shown.mask)
    # geometric with mean 2.5, cut at 7: sum of q^k for k = 1..7, q = 2.5/3.5
    assert np.mean(checks[~early]) == pytest.approx(2.263, abs=0.06)
    correct = task.rewards(problems, shown.response, shown.mask).correct
    assert np.mean(correct[early]) == pytest.approx(0.1, abs=0.03)
    marks = task.boundaries(problems, shown.response, shown.mask)
    first = marks.ends & (np.cumsum(marks.ends, axis=1) == 1) & ~early[:, None]
    # a random digit is the right one in a tenth of the cases
    assert np.mean(marks.value_right[first]) == pytest.approx(1 - 0.08 * 0.9, abs=0.008)
    quiet = task.demonstrations(50, np.random.default_rng(2), DemonstrationNoise(0, 0, 0, 0))
    assert set(quiet.mask.sum(axis=1)) == {11}  # the shortest complete response


def test_a_batch_is_checked_as_each_response_is() -> None:
    task = DigitSums(4, 2)
    random = np.random.default_rng(3)
    shown = task.demonstrations(2000, random)
    tokens, mask = shown.response.copy(), shown.mask.copy()
    rows = np.flatnonzero(random.random(len(tokens)) < 0.6)
    column = (random.random(len(rows)) * mask[rows].sum(axis=1)).astype(int)
    tokens[rows, column] = random.integers(0, task.n_vocab, len(rows))
    mask[:100] = True
    tokens[100:500] = random.integers(0, task.n_vocab, (400, task.max_tokens))
    problems = problems_of(task, shown.prompt)
    rendered = [task.render([t for t, m in zip(r, k, strict=True) if m])
                for r, k in zip(tokens.tolist(), mask.tolist(), strict=True)]  # fmt: skip
    one_by_one = [
        plainly(task, p, t, m)
        for p, t, m in zip(problems, tokens.tolist(), mask.tolist(), strict=True)
    ]
    assert task.rewards(problems, tokens, mask).correct.tolist() == one_by_one
    assert 0.2 < np.mean(one_by_one) < 0.7
    verdicts = task.verify_tokens(problems, tokens, mask)
    assert [v.correct for v in verdicts] == one_by_one
    assert len({v.reason for v in verdicts}) == 5
    marks = task.boundaries(problems, tokens, mask)
    for i, (problem, text) in enumerate(zip(problems, rendered, strict=True)):
        wanted = boundaries_plainly(task, problem, text)
        assert np.flatnonzero(marks.ends[i]).tolist() == [at for at, _ in wanted]
        assert np.flatnonzero(marks.solved[i]).tolist() == [at for at, solved in wanted if solved]
        assert task.n_checks(tokens[i : i + 1], mask[i : i + 1])[0] == re.split("[E$]", text)[
            0
        ].count("C")


@pytest.mark.parametrize(
    ("text", "reason", "answer"),
    [
        ("2;6;7;8;E8$", "right", "8"),
        ("E8$", "right", "8"),
        ("E8", "no end", "8"),
        ("2;6$", "no answer", None),
        ("2;6$E8", "no answer", None),
        ("E8;$", "answer out of form", "8"),
        ("EE8$", "answer out of form", None),
        ("E7$", "wrong answer", "7"),
        ("C8;" * 9 + "E8$E", "right", "8"),
        ("C8;" * 10 + "E8$", "no end", "8"),
    ],
)
def test_reasons(text: str, reason: str, answer: str | None) -> None:
    task = DigitSums()
    tokens = task.encode(text)
    assert task.render(tokens) == text
    problem = task.problem([3, 9, 4, 1, 1])
    [verdict] = task.verify_tokens([problem], [tokens], [[True] * len(tokens)])
    assert (verdict.reason, verdict.answer) == (reason, answer)


def test_problems_are_stable_and_bad_requests_are_refused() -> None:
    task = DigitSums()
    assert isinstance(task, TokenTask)
    assert task.problems(40, 1)[:15] == task.problems(15, 1)
    assert task.problems(15, 1) != task.problems(15, 2)
    with pytest.raises(ConfigurationError, match="n_digits is 1; it must be 2 to 20"):
        DigitSums(1)
    with pytest.raises(ConfigurationError, match=r"\[1, 2\] are not 5 digits"):
        task.problem([1, 2])
    with pytest.raises(ConfigurationError, match="'x' is no token of digit-sums"):
        task.encode("x")
