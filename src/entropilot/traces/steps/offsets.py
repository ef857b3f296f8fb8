"""Where tokens lie in the text of a trace, in bytes and in characters.

Legend: n traces, N tokens in all, L bytes in all.

A token may be a piece of a UTF-8 character, or bytes that are not UTF-8 at all, so bytes are the
measure of all things here. Characters are those of ``bytes.decode("utf-8", "surrogateescape")``:
each byte that is not UTF-8 counts as one character, and nothing is lost on the way back.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.traces.table import Traces

UNITS = ("bytes", "characters", "tokens")


class TokenText(NamedTuple):
    """The text of all traces, one after another, and where each token lies in it."""

    text: NDArray[np.uint8]  # [L]
    token: NDArray[np.int64]  # [N+1] token t is text[token[t]:token[t+1]]
    trace: NDArray[np.int64]  # [n+1] trace i is text[trace[i]:trace[i+1]]

    def of(self, trace: int) -> bytes:
        """The text of one trace."""
        return self.text[self.trace[trace] : self.trace[trace + 1]].tobytes()


def token_text(traces: Traces) -> TokenText:
    """The bytes of all tokens, joined.

    Examples:
        >>> from entropilot.traces.table import empty_traces
        >>> len(token_text(empty_traces()).text)
        0
    """
    vocabulary, tokens = traces.vocabulary, traces.tokens
    token = np.zeros(len(tokens) + 1, dtype=np.int64)
    np.cumsum(np.diff(vocabulary.offsets)[tokens.piece], out=token[1:])
    text = np.empty(token[-1], dtype=np.uint8)
    _gather(vocabulary.text, vocabulary.offsets, tokens.piece, text)
    return TokenText(text, token, token[tokens.offsets])


@njit(cache=True, nogil=True)
def _gather(source: Any, offsets: Any, piece: Any, out: Any) -> None:
    at = 0
    for t in range(piece.size):
        for j in range(offsets[piece[t]], offsets[piece[t] + 1]):
            out[at] = source[j]
            at += 1


def character_starts(text: bytes) -> NDArray[np.int64]:
    r"""Byte at which each character starts, and the length of the text at the end.

    Examples:
        >>> character_starts("aé".encode() + b"\xff").tolist()
        [0, 1, 3, 4]
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        characters = text.decode("utf-8", "surrogateescape")
        lengths = [1 if 0xDC80 <= ord(c) <= 0xDCFF else len(c.encode()) for c in characters]
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    codes = np.frombuffer(text, dtype=np.uint8)
    return np.append(np.flatnonzero((codes & 0xC0) != 0x80), len(text))


def bytes_to_characters(text: bytes, positions: ArrayLike) -> NDArray[np.int64]:
    """Character that holds the byte at each position; the end of the text is one past the last.

    Examples:
        >>> bytes_to_characters("aéb".encode(), [0, 1, 2, 3, 4]).tolist()
        [0, 1, 1, 2, 3]
    """
    starts = character_starts(text)
    where = _within(positions, len(text), "byte")
    return np.searchsorted(starts, where, side="right").astype(np.int64) - 1


def characters_to_bytes(text: bytes, positions: ArrayLike) -> NDArray[np.int64]:
    """First byte of the character at each position.

    Examples:
        >>> characters_to_bytes("aéb".encode(), [0, 1, 2, 3]).tolist()
        [0, 1, 3, 4]
    """
    starts = character_starts(text)
    return starts[_within(positions, len(starts) - 1, "character")]


def step_spans(traces: Traces, unit: str = "characters") -> NDArray[np.int64]:
    """Where each step lies in the text of its trace.

    Args:
        traces: split into steps.
        unit: "bytes", "characters" or "tokens", counted from the start of the trace. A step that
            begins inside a character counts from that character's start, and the step before ends
            there.

    Returns:
        [M, 2] start and stop of each step.

    Raises:
        InputError: the traces are not split yet.
        ConfigurationError: unknown unit.

    Examples:
        >>> from entropilot.traces.steps.splitting import split_steps
        >>> from entropilot.traces.table import empty_traces
        >>> step_spans(split_steps(empty_traces())).shape
        (0, 2)
    """
    if unit not in UNITS:
        raise ConfigurationError(unknown_name("unit", unit, UNITS))
    steps = traces.steps
    if steps is None:
        raise InputError("the traces are not split into steps; call split_steps(traces) first")
    ends = np.stack([steps.start, steps.stop], axis=1)
    owner = np.repeat(np.arange(len(traces)), steps.lengths)
    if unit == "tokens":
        return ends - traces.tokens.offsets[owner][:, None]
    joined = token_text(traces)
    ends = joined.token[ends] - joined.trace[owner][:, None]
    if unit == "characters":
        for i in range(len(traces)):
            mine = slice(steps.offsets[i], steps.offsets[i + 1])
            ends[mine] = bytes_to_characters(joined.of(i), ends[mine])
    return ends


def step_texts(traces: Traces, trace: int) -> list[bytes]:
    r"""The texts of the steps of one trace; joined they are the trace, byte for byte.

    Raises:
        InputError: the traces are not split yet.

    Examples:
        >>> from entropilot.traces.table import Tokens, Vocabulary, Traces, trace_rows
        >>> from entropilot.traces.steps.splitting import split_steps
        >>> one = Traces(trace_rows({}, 1), Tokens(np.array([0, 2]), np.array([0, 1], np.int32),
        ...     np.zeros(2, np.float32), np.zeros((2, 0), np.int32), np.zeros((2, 0), np.float32),
        ...     np.zeros(2, np.int16)), Vocabulary.from_pieces([b"a\n", b"b"]))
        >>> step_texts(split_steps(one, "line"), 0)
        [b'a\n', b'b']
    """
    steps = traces.steps
    if steps is None:
        raise InputError("the traces are not split into steps; call split_steps(traces) first")
    pieces = traces.token_pieces(trace)
    first = traces.tokens.offsets[trace]
    mine = slice(steps.offsets[trace], steps.offsets[trace + 1])
    return [
        b"".join(pieces[start - first : stop - first])
        for start, stop in zip(steps.start[mine], steps.stop[mine], strict=True)
    ]


def _within(positions: ArrayLike, end: int, what: str) -> NDArray[np.int64]:
    where = np.asarray(positions, dtype=np.int64)
    if where.size and not 0 <= where.min() <= where.max() <= end:
        raise InputError(
            f"{what} positions run from {where.min()} to {where.max()}; the text has {end} {what}s"
        )
    return where
