"""Thinking and answering: where the answer of a trace begins.

The answer is what follows the last closing of a thought, in text order. A thought that is opened
and not closed has no answer. A closing tag without an opening one closes a thought that the prompt
opened. ``<answer>`` begins an answer when no thought is closed after the last opening. What lies
between a closed thought and a later one belongs to neither phase.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.traces.steps.cuts import skip_space

NONE: Final = 0
THINK: Final = 1
ANSWER: Final = 2

_NAMES = rb"(?:mm:|seed:|antml:)?(?:think|thinking|thought|reasoning|reflection)"
_OPEN = rb"|".join(
    (
        rb"<" + _NAMES + rb"(?:\s[^<>]{0,80})?>",
        rb"\[THINK\]",
        rb"<\|begin_of_thought\|>",
        rb"<\|start_thinking\|>|<\|START_THINKING\|>",
        "◁think▷".encode(),
        rb"<\|channel\|>(?:analysis|commentary)[^<]{0,80}<\|message\|>",
    )
)
_CLOSE = rb"|".join(
    (
        rb"</" + _NAMES + rb"\s*>",
        rb"<" + _NAMES + rb"\s*/>",
        rb"\[/THINK\]",
        rb"<\|end_of_thought\|>",
        rb"<\|end_thinking\|>|<\|END_THINKING\|>",
        "◁/think▷".encode(),
    )
)
_BEGIN = rb"|".join(
    (
        rb"<(?:answer|solution|response)>",
        rb"<\|begin_of_solution\|>",
        rb"<\|START_RESPONSE\|>",
        rb"<\|channel\|>final[^<]{0,80}<\|message\|>",
    )
)
_DELIMITER: Final = re.compile(
    rb"(?P<open>" + _OPEN + rb")|(?P<close>" + _CLOSE + rb")|(?P<begin>" + _BEGIN + rb")"
)


def phase_spans(text: bytes) -> list[tuple[int, int]]:
    """Byte at which each stretch of one phase begins, and the phase (0 none, 1 think, 2 answer).

    Tags belong to the thought that they open or close; ``<answer>`` belongs to the answer. White
    space after a closing tag belongs to the thought, so that no phase is white space alone.

    Args:
        text: one trace.

    Returns:
        (byte, phase) in ascending order; empty where no delimiter occurs.

    Examples:
        >>> phase_spans(b"<think>2+2</think> 4")
        [(0, 1), (19, 2)]
        >>> phase_spans(b"<think>2+2 is")
        [(0, 1)]
    """
    codes = np.frombuffer(text, dtype=np.uint8)
    return _spans(text, _delimiters(text, _candidates(codes), 0, len(text)))


def log_phases(
    text: NDArray[np.uint8], trace: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """The phase spans of all traces of a log.

    Args:
        text: [L] joined text of all traces.
        trace: [n+1] byte at which each trace starts.

    Returns:
        Bytes at which a phase begins, ascending, and the phases; nothing for traces without
        delimiters.

    Examples:
        >>> text = np.frombuffer(b"ab<think>c", np.uint8)
        >>> [x.tolist() for x in log_phases(text, np.array([0, 2, 10]))]
        [[2], [1]]
    """
    candidates = _candidates(text)
    at, phase = [], []
    if len(candidates):
        joined = text.tobytes()
        bounds = np.searchsorted(candidates, trace)
        for i in np.flatnonzero(np.diff(bounds)):
            start, stop = int(trace[i]), int(trace[i + 1])
            found = _delimiters(joined, candidates[bounds[i] : bounds[i + 1]], start, stop)
            if found:
                spans = _spans(joined[start:stop], found)
                at += [start + byte for byte, _ in spans]
                phase += [kind for _, kind in spans]
    return np.array(at, dtype=np.int64), np.array(phase, dtype=np.int8)


def _delimiters(
    text: bytes, candidates: NDArray[np.int64], start: int, stop: int
) -> list[tuple[str | None, int, int]]:
    """(kind, start, stop) of each delimiter, counted from ``start``."""
    matches = (_DELIMITER.match(text, at, stop) for at in candidates.tolist())
    return [(m.lastgroup, m.start() - start, m.end() - start) for m in matches if m]


def _spans(text: bytes, found: list[tuple[str | None, int, int]]) -> list[tuple[int, int]]:
    if not found:
        return []
    opens = [i for i, (kind, _, _) in enumerate(found) if kind == "open"]
    later = found[opens[-1] + 1 :] if opens else found
    closes = [stop for kind, _, stop in later if kind == "close"]
    begins = [start for kind, start, _ in later if kind == "begin"]
    answer = len(text)  # past the end: there is none
    if closes:
        answer = skip_space(text, closes[-1])
    elif begins:
        answer = begins[0]
    return _stretches(text, found, answer)


def _stretches(
    text: bytes, found: list[tuple[str | None, int, int]], answer: int
) -> list[tuple[int, int]]:
    first = found[0]
    spans = [(0, NONE if first[0] == "open" and first[1] > 0 else THINK)]
    for kind, start, stop in found:
        if start >= answer:
            break
        at, phase = (start, THINK) if kind == "open" else (skip_space(text, stop), NONE)
        if kind != "begin" and at < min(answer, len(text)) and phase != spans[-1][1]:
            spans.append((at, phase))
    if answer < len(text):
        spans.append((answer, ANSWER))
    # A stretch that begins where the one before does replaces it.
    followed = zip(spans, [*spans[1:], (len(text) + 1, NONE)], strict=True)
    return [span for span, after in followed if after[0] > span[0]]


@njit(cache=True, nogil=True)
def _candidates(text: Any) -> Any:
    """Bytes at which a delimiter may begin: a cheap test, so that the pattern is seldom tried."""
    out = np.empty(text.size, np.int64)
    n = 0
    for i in range(text.size - 1):
        byte = text[i]
        if byte == 60:  # "<" before a letter, "/" or "|"
            after = text[i + 1]
            likely = 97 <= after <= 122 or after in (47, 124)
        elif byte == 91:  # "[" before "T" or "/"
            likely = text[i + 1] in (84, 47)
        else:
            likely = byte == 0xE2 and text[i + 1] == 0x97  # the triangles of Kimi
        if likely:
            out[n] = i
            n += 1
    return out[:n].copy()
