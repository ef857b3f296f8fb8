r"""The answer that a text ends with, where it says plainly that it is one; never a guess."""

from __future__ import annotations

import re
from typing import Final

from entropilot.traces.steps.phases import ANSWER, phase_spans

LAST: Final = 2000  # bytes of the end that are searched
LONGEST: Final = 200  # characters of an answer
_BRACES: Final = re.compile(r"\\boxed\{|[{}]")
_MARKER: Final = re.compile(r"####[ \t]*(\S.*)")
_TAGGED: Final = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_SENTENCE: Final = re.compile(
    r"\banswer(?:\*\*)?(?: is:?|:)(?:\*\*)?[ \t]*(\S[^\n]*?)[ \t]*(?:[.!](?=\s|$)|\n|$)",
    re.IGNORECASE,
)


def boxed(text: str) -> str | None:
    r"""What the last complete ``\boxed{...}`` of a text holds, or None.

    Args:
        text: any text; braces inside the box may be nested.

    Returns:
        The inside of the last box whose braces close.

    Examples:
        >>> boxed(r"so \boxed{\frac{1}{2}}.")
        '\\frac{1}{2}'
    """
    opened: list[int] = []  # where the inside of each open brace starts; -1 for a plain brace
    last, inside = -1, None
    for mark in _BRACES.finditer(text):
        if mark.group() != "}":
            opened.append(mark.end() if len(mark.group()) > 1 else -1)
        elif opened and (start := opened.pop()) > last:
            last, inside = start, text[start : mark.start()]
    return inside


def final_answer(text: str) -> str | None:
    r"""The answer that a text states: boxed, after ``####``, in answer tags or after "answer is".

    What stands in a thought is none, so a thought that never ends has no answer.

    Args:
        text: what a model wrote.

    Returns:
        The answer as it stands there, at most ``LONGEST`` characters; None where none is stated.

    Examples:
        >>> final_answer("2 + 6 = 8\n#### 8"), final_answer("The answer is 8.5. Good luck!")
        ('8', '8.5')
        >>> final_answer("<think>The answer is 9") is None
        True
    """
    raw = text.encode("utf-8", "surrogatepass")
    begins = 0
    if spans := phase_spans(raw):
        begins, phase = spans[-1]
        if phase != ANSWER:
            return None
    said = raw[max(begins, len(raw) - LAST) :].decode("utf-8", "ignore")
    found = boxed(said)
    for pattern in (_MARKER, _TAGGED, _SENTENCE):
        if found is None and (matches := pattern.findall(said)):
            found = matches[-1]
    found = None if found is None else found.strip().strip("*").strip()
    return found if found and len(found) <= LONGEST else None
