r"""Verifiers that compare: the same text, or the same number.

Both read the answer where a text states one: in a box, after ``####``, in answer tags or after
"the answer is". What stands in a thought is no answer.
"""

from __future__ import annotations

from typing import Final

from entropilot.diagnosis.correctness import same_answer
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.verifiers.numbers import (
    first_number,
    last_number,
    read_number,
    same_number,
)
from entropilot.traces.reading.final_answer import final_answer

LONGEST_TEXT: Final = 100_000  # characters of the end of a response that are read
LONGEST_SHORT: Final = 200  # characters of a response that is an answer as a whole
LAST_LINES: Final = 2_000  # characters of the end in which an unstated number is looked for


def stated_answer(text: str) -> str | None:
    """The answer that a response states, or None; the end of a long response is read.

    Examples:
        >>> stated_answer("<think>7?</think> So the answer is 8.")
        '8'
    """
    return final_answer(text[-LONGEST_TEXT:])


def after_thinking(text: str) -> str:
    """What follows the last thought; nothing where the thought has no end.

    Examples:
        >>> after_thinking("<think>7?</think> 8"), after_thinking("<think>7?")
        (' 8', '')
    """
    before, tag, after = text[-LONGEST_TEXT:].rpartition("</think>")
    if "<think>" in after:
        return ""
    return after if tag else before or after


def short_answer(text: str) -> str | None:
    r"""A response that is one short line and so an answer as a whole, or None.

    Examples:
        >>> short_answer(" x + 1 "), short_answer("First,\nx + 1")
        ('x + 1', None)
    """
    whole = after_thinking(text).strip()
    return whole if 0 < len(whole) <= LONGEST_SHORT and "\n" not in whole else None


def verify_exact(problem: Problem, text: str) -> Verdict:
    """Right where the stated answer, or the whole response, is the reference, letter by letter.

    Spaces around and runs of spaces do not count.

    Examples:
        >>> verify_exact(Problem("q", "Capital?", "Paris"), "The answer is Paris.").correct
        True
    """
    wanted = " ".join(problem.answer.split())
    stated = stated_answer(text)
    whole = " ".join(after_thinking(text).split())
    for said in (stated, whole):
        if said is not None and " ".join(said.split()) == wanted:
            return Verdict(1.0, True, said, "right")
    said = stated if stated is not None else whole[:200] or None
    return Verdict(0.0, False, said, "no answer" if said is None else "wrong answer")


def verify_number(problem: Problem, text: str) -> Verdict:
    r"""Right where the stated answer, or else the last number of the response, is the reference.

    Thousands commas, currencies, units, per cent signs, fractions and LaTeX are understood. A
    reference that is no number is compared with the stated answer as normalised text.

    Examples:
        >>> ask = Problem("q", "How many?", "1200")
        >>> [verify_number(ask, said).correct for said in
        ...     ("#### 1,200", r"\boxed{1200 \text{ eggs}}", "so $1200.00", "1200 + 1 = 1201")]
        [True, True, True, False]
    """
    reference = read_number(problem.answer)
    stated = stated_answer(text)
    if reference is None:
        stated = stated if stated is not None else short_answer(text)
        correct = stated is not None and same_answer(stated, problem.answer)
        reason = "right" if correct else "wrong answer" if stated else "no answer"
        return Verdict(float(correct), correct, stated, reason)
    if stated is not None:
        number = read_number(stated) or first_number(stated)
    else:
        number = last_number(after_thinking(text)[-LAST_LINES:])
    if number is None:
        return Verdict(0.0, False, stated, "wrong answer" if stated else "no answer")
    correct = same_number(number, reference)
    said = stated if stated is not None else str(number.value)
    return Verdict(float(correct), correct, said, "right" if correct else "wrong answer")
