"""Rules that say where, in a text, a new step begins.

A cut is the byte at which a step begins. White space between two steps belongs to the first of
them. Rules on whole logs take the joined text of all traces; the others take one trace.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, LimitError
from entropilot.traces.steps.offsets import character_starts

#: Words with which a model turns: it doubts, starts over, or goes on to something else.
MARKERS: Final = (
    "Wait", "Hmm", "Hold on", "Alternatively", "But", "However", "Actually", "So", "Therefore",
    "Thus", "Hence", "Now", "Next", "Then", "First", "Second", "Third", "Finally", "Let me",
    "Let's", "Okay", "Ok", "Alright", "Maybe", "Perhaps", "Another", "Again", "No", "Yes",
    "In summary", "To verify", "Step",
)  # fmt: skip

_SPACE: Final = b" \t\r\n\v\f"
_ABBREVIATIONS: Final = frozenset(
    b"e.g i.e mr mrs ms dr prof st vs cf fig figs eq eqs vol pp approx resp sec ch ref al "
    b"jr sr inc ltd dept".split()
)
_SENTENCE_END: Final = re.compile(
    rb"[.?!]+[\"')\]*_]{0,8}(?=\s)|(?:" + "|".join("。！？").encode() + rb")"
)

_TOOL_BLOCKS: Final = (  # opening character, the rest of the opening, closings
    (b"<", rb"tool_call>", (b"</tool_call>",)),
    (b"<", rb"tool_response>", (b"</tool_response>",)),
    (b"<", rb"tool_code>", (b"</tool_code>",)),
    (b"<", rb"function_call>", (b"</function_call>",)),
    (b"<", rb"function=[^<>\n]{1,80}>", (b"</function>",)),
    (b"<", rb"search>", (b"</search>",)),
    (b"<", rb"result>", (b"</result>",)),
    (b"<", rb"information>", (b"</information>",)),
    (b"<", rb"python>", (b"</python>",)),
    (b"`", rb"``tool[^\n]{0,80}\n", (b"\n```",)),
    (b"<", rb"\|python_tag\|>", (b"<|eom_id|>", b"<|eot_id|>")),
    (b"<", rb"\|tool_call\|>", (b"<|/tool_call|>", b"<|tool_response|>")),
    (b"<", rb"\|tool_calls_section_begin\|>", (b"<|tool_calls_section_end|>",)),
    (b"<", "｜tool▁calls▁begin｜>".encode(), ("<｜tool▁calls▁end｜>".encode(),)),
    (b"[", rb"TOOL_CALLS\]", (b"\n", b"</s>")),
)
# With a class in front the search skips the bytes that open nothing; then each block looks back.
_TOOL_OPEN: Final = re.compile(
    rb"[<`\[](?:"
    + b"|".join(b"((?<=" + re.escape(first) + b")" + rest + b")" for first, rest, _ in _TOOL_BLOCKS)
    + b")"
)

_REGEX_BYTES: Final = 1 << 20  # longest trace that a custom pattern is tried on
_REGEX_SECONDS: Final = 30.0  # of matching for one log


def line_cuts(
    text: NDArray[np.uint8], trace: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    r"""Cuts at the start of each line but the first of a trace.

    Lines of white space alone are blank; a trace's leading blank lines belong to its first step.

    Args:
        text: [L] joined text of all traces.
        trace: [n+1] byte at which each trace starts.

    Returns:
        Cuts, ascending, and their level: 1 after a line end, 2 after a blank line.

    Examples:
        >>> text = np.frombuffer(b"a\nb\n\nc", np.uint8)
        >>> [x.tolist() for x in line_cuts(text, np.array([0, 6]))]
        [[2, 5], [1, 2]]
    """
    most = int(np.count_nonzero(text == 10))
    cuts, level = np.empty(most, np.int64), np.empty(most, np.int8)
    n = _line_cuts(text, trace, cuts, level)
    return cuts[:n], level[:n]


@njit(cache=True, nogil=True)
def _line_cuts(text: Any, trace: Any, cuts: Any, level: Any) -> int:
    n = 0
    for i in range(trace.size - 1):
        seen = False
        newlines = 0
        line = trace[i]
        for b in range(trace[i], trace[i + 1]):
            byte = text[b]
            if byte == 10:
                newlines += 1
                line = b + 1
            elif byte != 32 and not 9 <= byte <= 13:
                if newlines and seen:
                    cuts[n] = line
                    level[n] = min(newlines, 2)
                    n += 1
                newlines = 0
                seen = True
    return n


def sentence_cuts(text: bytes) -> list[int]:
    """Cuts after each sentence end: ``.``, ``?`` or ``!`` before white space, and the CJK ones.

    A full stop does not end a sentence inside a number, after an abbreviation or an initial, or
    after the number that opens a line ("1. First").

    Examples:
        >>> sentence_cuts(b"It is 3.5, e.g. more. 1. Yes! No")
        [22, 30]
    """
    cuts = []
    for match in _SENTENCE_END.finditer(text):
        if match.group().startswith(b".") and _is_abbreviated(text, match.start()):
            continue
        at = skip_space(text, match.end())
        if at < len(text):
            cuts.append(at)
    return cuts


def _is_abbreviated(text: bytes, dot: int) -> bool:
    head = text[max(0, dot - 16) : dot]
    parts = head.split()
    if not parts or head[-1:].isspace():
        return False
    word = parts[-1].lstrip(b"(\"'[*")
    if word.isdigit():  # the label of a list item opens a line, or follows the end of a sentence
        before = head[: len(head) - len(parts[-1])].rstrip(b" \t*#")
        return not before or before[-1:] in b"\n.?!:"
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper())


def marker_cuts(text: bytes, markers: Sequence[str] = MARKERS) -> list[int]:
    """Cuts where a line or a sentence begins with one of the words.

    Args:
        text: of one trace, or of all.
        markers: case matters.

    Examples:
        >>> marker_cuts(b"x = 2. Wait, no. It was. But")
        [7, 25]
    """
    if not markers or not all(markers):
        raise ConfigurationError(
            "the rule 'marker' needs words that open a step; pass markers=('Wait', ...)"
        )
    words = b"|".join(re.escape(word).encode() for word in markers)
    pattern = rb"(?:(?<=\n)|(?<=[.?!\"')\]]\s))[ \t]*(?=(?:" + words + rb")(?![A-Za-z0-9_]))"
    return [match.end() for match in re.finditer(pattern, text)]


def tool_cuts(text: bytes) -> list[int]:
    """Cuts before and after each tool call and each tool's answer; an unclosed one goes to the end.

    Examples:
        >>> tool_cuts(b"ask <tool_call>{}</tool_call> then")
        [4, 30]
    """
    cuts: list[int] = []
    at = 0
    while found := _TOOL_OPEN.search(text, at):
        closers = _TOOL_BLOCKS[(found.lastindex or 1) - 1][2]
        ends = [end + len(c) for c in closers if (end := text.find(c, found.end())) >= 0]
        at = min(ends, default=len(text))
        cuts += [found.start(), skip_space(text, at)]
    return cuts


def skip_space(text: bytes, at: int) -> int:
    """First position from ``at`` on that is not white space."""
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


class RegexCuts:
    r"""Cuts at the end of each match of a pattern, so that a separator belongs to the step before.

    A zero-width pattern such as ``(?=Step \d)`` cuts where it matches. Matching cannot be
    interrupted, so patterns that may take exponential time are refused, traces above 1 MiB are
    too, and so is a log that needs more than 30 s.

    Args:
        pattern: of the module ``re``, for text.

    Raises:
        ConfigurationError: no valid pattern, or one that repeats a repetition.

    Examples:
        >>> RegexCuts(";").of(b"a;b")
        [2]
    """

    def __init__(self, pattern: str | None) -> None:
        if not pattern:
            raise ConfigurationError(
                "the rule 'regex' needs a pattern that matches what separates steps; "
                r"pass pattern=r'\n---\n', for example"
            )
        try:
            self.pattern = re.compile(pattern)
        except re.error as error:
            raise ConfigurationError(f"{pattern!r} is no regular expression: {error}") from error
        if _is_explosive(re._parser.parse(pattern)):  # type: ignore[attr-defined]
            raise ConfigurationError(
                f"{pattern!r} repeats a repetition, or alternatives that begin alike, without "
                "bound; that can take time exponential in the length of a trace. Write it without "
                "a repetition inside a repetition, for example a+ for (a+)+"
            )
        self.seconds = 0.0

    def of(self, text: bytes) -> list[int]:
        """Cuts in one trace, bytes."""
        if len(text) > _REGEX_BYTES:
            raise LimitError(
                f"a trace has {len(text)} bytes; a custom pattern is tried on at most "
                f"{_REGEX_BYTES}. Use the rule 'line' or 'blank-line'"
            )
        found = list(self.in_text(text.decode("utf-8", "surrogateescape")))
        return character_starts(text)[found].tolist() if found else []

    def in_text(self, text: str) -> Iterator[int]:
        """Cuts in one text, characters."""
        began = time.perf_counter()
        for match in self.pattern.finditer(text):
            elapsed = self.seconds + time.perf_counter() - began
            if elapsed > _REGEX_SECONDS:
                raise LimitError(
                    f"matching {self.pattern.pattern!r} took more than {_REGEX_SECONDS:g} s; "
                    "use a simpler pattern or a rule by name"
                )
            yield match.end()
        self.seconds += time.perf_counter() - began


def _is_explosive(node: Any, repeated: bool = False) -> bool:
    """Whether an unbounded repetition holds another, or alternatives that begin alike."""
    for operator, argument in node:
        name = str(operator)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, body = argument
            grows = int(high) > 16 and low != high
            if (repeated and grows) or _is_explosive(body, repeated or grows):
                return True
        elif name == "BRANCH":
            firsts = [str(option[0]) if len(option) else "" for option in argument[1]]
            plain = all(first.startswith("(LITERAL") for first in firsts)
            if repeated and not (plain and len(set(firsts)) == len(firsts)):
                return True
            if any(_is_explosive(option, repeated) for option in argument[1]):
                return True
        elif name in ("SUBPATTERN", "ATOMIC_GROUP", "ASSERT", "ASSERT_NOT"):
            body = argument[-1] if isinstance(argument, tuple) else argument
            if _is_explosive(body, repeated):
                return True
    return False
