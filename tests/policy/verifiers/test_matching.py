"""Verdicts by text and by number: dressings, thoughts, and the published references."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from entropilot.policy.tasks.jsonl_problems import read_problems
from entropilot.policy.tasks.task import Problem
from entropilot.policy.verifiers.matching import verify_exact, verify_number

DRESSED = (
    "{}",
    "So it is \\boxed{{{}}}.",
    "First 2 + 2 = 4.\n#### {}",
    "Therefore, the answer is {}.",
    "The answer is ${}$.",
    "**Answer:** {}",
    "<think>The answer is 99.</think><answer>{}</answer>",
)


def ask(answer: str) -> Problem:
    return Problem("q", "?", answer)


@pytest.mark.parametrize(
    ("text", "correct", "reason"),
    [
        ("18", True, "right"),
        ("She makes 9 * 2 = $18 every day.", True, "right"),
        ("#### 18.00", True, "right"),
        ("The answer is 19. Or maybe 18?", False, "wrong answer"),
        ("The answer is 18 eggs, 2 of them broken", True, "right"),
        ("\\boxed{9 + 9}", False, "wrong answer"),
        ("\\boxed{9 + 9 = 18}", True, "right"),
        ("\\boxed{19}\n18", False, "wrong answer"),
        ("\\boxed{19} no, \\boxed{18}", True, "right"),
        ("<think>It is 17.</think>It is 18.", True, "right"),
        ("<think>It is 18.", False, "no answer"),
        ("no idea", False, "no answer"),
        ("", False, "no answer"),
        ("\\boxed{18x}", False, "wrong answer"),
        ("1" * 1_000_000 + "#### 18", True, "right"),
        ("18" + "9" * 1_000_000, False, "no answer"),
        ("\\boxed{" * 1_000_000 + "18", True, "right"),
        ("}" * 5_000_000, False, "no answer"),
    ],
)
def test_a_number(text: str, correct: bool, reason: str) -> None:
    verdict = verify_number(ask("18"), text)
    assert (verdict.correct, verdict.reason, verdict.reward) == (correct, reason, float(correct))


def test_references_that_are_no_numbers_are_compared_as_text() -> None:
    assert verify_number(ask("Evelyn"), "The answer is evelyn.").correct
    assert verify_number(ask("(2,4)"), "\\boxed{(2, 4)}").correct
    assert not verify_number(ask("2x"), "The answer is 2.").correct


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        ("Paris", True),
        ("  Paris \n", True),
        ("The answer is Paris.", True),
        ("<think>Rome?</think>\nParis", True),
        ("paris", False),
        ("It is Paris", False),
        ("<think>Paris", False),
        ("", False),
    ],
)
def test_exactly(text: str, correct: bool) -> None:
    assert verify_exact(ask("Paris"), text).correct is correct


def test_published_references_in_several_dresses(
    test_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for name in ("gsm8k_test.jsonl", "svamp.json", "aime24.jsonl", "aime25.jsonl", "amc23.jsonl",
                 "math500.jsonl"):  # fmt: skip
        column = ["Body", "Question"] if name == "svamp.json" else None
        problems = read_problems(test_data / name, prompt_column=column)
        right = [
            sum(verify_number(p, dress.format(p.answer)).correct for p in problems)
            for dress in DRESSED
        ]
        others = [(p, q) for p, q in pairwise(problems) if p.answer != q.answer]
        n_false = sum(verify_number(p, f"The answer is {q.answer}.").correct for p, q in others)
        lines.append(f"{name}: {right} of {len(problems)} right; {n_false} others taken as right")
        assert right == [len(problems)] * len(DRESSED)
        assert n_false == 0
    with capsys.disabled():
        print("\n" + "\n".join(lines))
