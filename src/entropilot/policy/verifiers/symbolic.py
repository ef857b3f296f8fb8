r"""Is an answer mathematically the same? Expressions, sets, intervals, equations and matrices.

The work is done by the library math-verify. It may take any time on hostile input, and its own time
limit works in the main thread only; so it is switched off, and the verifier that calls this runs in
a process of its own under the limit of :mod:`entropilot.policy.verifiers.isolated`.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Final

from entropilot.diagnosis.correctness import same_answer
from entropilot.errors import require
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.verifiers.matching import after_thinking, short_answer, stated_answer
from entropilot.policy.verifiers.numbers import read_number, same_number
from entropilot.traces.reading.final_answer import boxed

LAST: Final = 2_000  # characters of the end that are searched where no answer is stated
LONGEST: Final = 1_000  # characters of an expression


def verify_math(problem: Problem, text: str) -> Verdict:
    r"""Right where the answer equals the reference as mathematics.

    The answer is what the last box holds, else a stated answer, else the last formula of the text.

    Raises:
        MissingExtraError: math-verify is not installed.

    Examples:
        >>> verify_math(Problem("q", "?", r"\frac{\sqrt{3}}{3}"), r"\boxed{1/\sqrt{3}}").correct
        True
    """
    after = after_thinking(text)[-LAST:]
    inside = boxed(after)
    stated = inside if inside is not None else stated_answer(text) or short_answer(text)
    if stated is not None:
        if _surely_same(stated, problem.answer):
            return Verdict(1.0, True, stated, "right")
        said = rf"$\boxed{{{stated[:LONGEST]}}}$" if inside is not None else stated[:LONGEST]
    elif after.strip():
        said = after
    else:
        return Verdict(0.0, False, None, "no answer")
    correct = _equal(problem.answer, said)
    if not correct and inside is None and stated is not None:
        correct = _equal(problem.answer, f"${stated.strip('$')[:LONGEST]}$")
    return Verdict(float(correct), correct, stated, "right" if correct else "wrong answer")


def _surely_same(stated: str, reference: str) -> bool:
    if same_answer(stated, reference):
        return True
    left, right = read_number(stated), read_number(reference)
    return left is not None and right is not None and same_number(left, right)


def _equal(reference: str, said: str) -> bool:
    library = require("math_verify", extra="math", purpose="the verifier 'math'")
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its limit is off
    wanted = _reference(reference)
    found = library.parse(said, parsing_timeout=None)
    return bool(wanted and found and library.verify(wanted, found, timeout_seconds=None))


@lru_cache(maxsize=4096)
def _reference(text: str) -> Any:
    library = require("math_verify", extra="math", purpose="the verifier 'math'")
    return library.parse(rf"$\boxed{{{text}}}$", parsing_timeout=None)
