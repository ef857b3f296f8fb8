"""Verdicts by mathematics."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from entropilot.policy.tasks.jsonl_problems import read_problems
from entropilot.policy.tasks.task import Problem
from entropilot.policy.verifiers.symbolic import verify_math

pytest.importorskip("math_verify")

DRESSED = (
    "So it is \\boxed{{{}}}.",
    "#### {}",
    "The answer is ${}$.",
    "<think>The answer is 99.</think>\n<answer>{}</answer>",
)


@pytest.mark.parametrize(
    ("answer", "text", "correct"),
    [
        ("\\frac{\\sqrt{3}}{3}", "\\boxed{\\frac{1}{\\sqrt{3}}}", True),
        ("\\frac{\\sqrt{3}}{3}", "$x = \\frac{1}{\\sqrt 3}$", True),
        ("\\frac{\\sqrt{3}}{3}", "\\boxed{\\frac{1}{\\sqrt{2}}}", False),
        ("(a+5)(b+2)", "\\boxed{(b+2)(5+a)}", True),
        ("x^3+3x-6", "The answer is $3x + x^3 - 6$.", True),
        ("x^3+3x-6", "The answer is $3x + x^3 + 6$.", False),
        ("-2 \\le x \\le 7", "\\boxed{[-2,7]}", True),
        ("[-2,7]", "\\boxed{(-2,7]}", False),
        ("1,-2", "\\boxed{-2, 1}", True),
        ("6-5i", "\\boxed{-5i+6}", True),
        ("0.5", "\\boxed{\\frac12}", True),
        ("Evelyn", "\\boxed{\\text{Evelyn}}", True),
        ("Evelyn", "\\boxed{\\text{Navin}}", False),
        ("\\begin{pmatrix}-7\\\\16\\\\5\\end{pmatrix}",
         "\\boxed{\\begin{pmatrix} -7 \\\\ 16 \\\\ 5 \\end{pmatrix}}", True),
        ("5", "<think>\\boxed{5}", False),
        ("5", "", False),
        ("5", "no idea", False),
    ],
)  # fmt: skip
def test_equal_mathematics(answer: str, text: str, correct: bool) -> None:
    assert verify_math(Problem("q", "?", answer), text).correct is correct


@pytest.mark.slow
def test_published_references_in_several_dresses(
    test_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for name in ("aime24.jsonl", "amc23.jsonl", "math500.jsonl"):
        problems = read_problems(test_data / name)
        right = [
            sum(verify_math(p, dress.format(p.answer)).correct for p in problems)
            for dress in DRESSED
        ]
        others = [(p, q) for p, q in pairwise(problems) if p.answer != q.answer]
        n_false = sum(verify_math(p, f"\\boxed{{{q.answer}}}").correct for p, q in others)
        lines.append(f"{name}: {right} of {len(problems)} right; {n_false} others taken as right")
        assert right == [len(problems)] * len(DRESSED)
        assert n_false == 0
    with capsys.disabled():
        print("\n" + "\n".join(lines))
