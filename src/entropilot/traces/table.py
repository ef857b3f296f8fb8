"""The columnar table of traces: what a process left behind, one row a trace, one row a token.

Legend: n traces, N tokens, K listed alternatives a token, M steps, W vocabulary entries.

A million traces are a handful of arrays, never a million objects:

    rows        polars frame, n rows, columns of ``ROW_SCHEMA``
    tokens      flat token table; trace i owns tokens offsets[i]:offsets[i+1]
    vocabulary  the distinct token texts (bytes), to which the token table points
    steps       flat step table; trace i owns steps offsets[i]:offsets[i+1]; None before a split
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

#: One row a trace. ``text`` is the completion as the source gives it; ``group`` names the problem,
#: so that samples of one problem share it. ``logprobs_kind`` says of which distribution the
#: log-probabilities are: "raw" (the model's own), "sampling" (after temperature and truncation) or
#: "unknown".
ROW_SCHEMA: Final[dict[str, Any]] = {
    "id": pl.String,
    "group": pl.String,
    "prompt": pl.String,
    "text": pl.String,
    "reference": pl.String,
    "answer": pl.String,
    "correct": pl.Boolean,
    "reward": pl.Float64,
    "finish_reason": pl.String,
    "model": pl.String,
    "temperature": pl.Float64,
    "logprobs_kind": pl.String,
    "source": pl.String,
    "line": pl.Int64,
}


def ragged_offsets(lengths: ArrayLike) -> NDArray[np.int64]:
    """Offsets [n+1] of ragged rows with the given lengths [n].

    Examples:
        >>> ragged_offsets([2, 0, 3]).tolist()
        [0, 2, 2, 5]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def ragged_take(
    offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat positions that hold ``rows``, and the offsets of the selection.

    Examples:
        >>> positions, offsets = ragged_take(np.array([0, 2, 2, 5]), np.array([2, 0]))
        >>> positions.tolist(), offsets.tolist()
        ([2, 3, 4, 0, 1], [0, 3, 5])
    """
    lengths = offsets[rows + 1] - offsets[rows]
    taken = ragged_offsets(lengths)
    positions = np.arange(taken[-1]) + np.repeat(offsets[rows] - taken[:-1], lengths)
    return positions, taken


@dataclass(frozen=True)
class Vocabulary:
    """The distinct token texts of a log.

    Two model tokens with different ids may decode to the same text; they stay two entries when the
    log names ids. Texts are bytes, because a token may be a piece of a UTF-8 character.
    """

    text: NDArray[np.uint8]  # all texts, one after another
    offsets: NDArray[np.int64]  # [W+1] entry w is text[offsets[w]:offsets[w+1]]
    token_id: NDArray[np.int64]  # [W] the model's own id, -1 where the log names none

    @classmethod
    def from_pieces(cls, pieces: Sequence[bytes], token_id: ArrayLike | None = None) -> Vocabulary:
        """Build from texts, and the model's ids where they are known.

        Examples:
            >>> Vocabulary.from_pieces([b"a", b"bc"]).piece(1)
            b'bc'
        """
        ids = np.full(len(pieces), -1) if token_id is None else np.asarray(token_id)
        return cls(
            np.frombuffer(b"".join(pieces), dtype=np.uint8),
            ragged_offsets([len(piece) for piece in pieces]),
            ids.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def piece(self, entry: int) -> bytes:
        """Text of one entry."""
        return self.text[self.offsets[entry] : self.offsets[entry + 1]].tobytes()

    def pieces(self, entries: Iterable[int] | None = None) -> list[bytes]:
        """Texts of the given entries, or of all."""
        if entries is not None:
            return [self.piece(int(entry)) for entry in entries]
        text = self.text.tobytes()  # one copy: slices of bytes cost a tenth of slices of an array
        return [text[start:stop] for start, stop in pairwise(self.offsets.tolist())]

    def take(self, entries: NDArray[np.int64]) -> Vocabulary:
        """The vocabulary of only the given entries, in that order."""
        positions, offsets = ragged_take(self.offsets, entries)
        return Vocabulary(self.text[positions], offsets, self.token_id[entries])


@dataclass(frozen=True)
class Tokens:
    """The flat token table.

    The first ``n_top`` slots of a row are the top-k proper, most likely first. Some servers append
    the sampled token when it is outside the top-k: it then sits in slot ``n_top``, is a known
    token, and does not belong to the top-k. Empty slots hold piece -1 and log-probability -inf; so
    a log-probability of -inf with a piece >= 0 is a token that the source called impossible.
    """

    offsets: NDArray[np.int64]  # [n+1]
    piece: NDArray[np.int32]  # [N] vocabulary entry of the token taken
    logprob: NDArray[np.float32]  # [N] nats; nan where the source gives none
    top_piece: NDArray[np.int32]  # [N, K]
    top_logprob: NDArray[np.float32]  # [N, K] nats
    n_top: NDArray[np.int16]  # [N] entries of the top-k proper; 0 where the source gives none
    entropy: NDArray[np.float32] | None = (
        None  # [N] over the full vocabulary, where the source knew
    )
    jsd: NDArray[np.float32] | None = None  # [N] to the step before, full vocabulary; nan at t = 0

    def __len__(self) -> int:
        return len(self.piece)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[n] tokens a trace."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64]) -> Tokens:
        """The tokens of only the given traces, in that order."""
        positions, offsets = ragged_take(self.offsets, rows)
        return Tokens(
            offsets,
            self.piece[positions],
            self.logprob[positions],
            self.top_piece[positions],
            self.top_logprob[positions],
            self.n_top[positions],
            None if self.entropy is None else self.entropy[positions],
            None if self.jsd is None else self.jsd[positions],
        )


@dataclass(frozen=True)
class Steps:
    """The flat step table. Steps of a trace are consecutive and cover each of its tokens once."""

    offsets: NDArray[np.int64]  # [n+1]
    start: NDArray[np.int64]  # [M] first token, a position in the flat token table
    stop: NDArray[np.int64]  # [M] one past the last token
    phase: NDArray[np.int8]  # [M] 0 = none, 1 = think, 2 = answer

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[n] steps a trace."""
        return np.diff(self.offsets)

    def take(self, rows: NDArray[np.int64], token_offsets: NDArray[np.int64]) -> Steps:
        """The steps of only the given traces; ``token_offsets`` are those before the selection."""
        positions, offsets = ragged_take(self.offsets, rows)
        _, taken = ragged_take(token_offsets, rows)
        shift = np.repeat(taken[:-1] - token_offsets[rows], np.diff(offsets))
        return Steps(
            offsets,
            self.start[positions] + shift,
            self.stop[positions] + shift,
            self.phase[positions],
        )


@dataclass(frozen=True)
class Traces:
    """Traces in columns: see the top of this module."""

    rows: pl.DataFrame
    tokens: Tokens
    vocabulary: Vocabulary
    steps: Steps | None = None

    def __post_init__(self) -> None:
        missing = [name for name in ROW_SCHEMA if name not in self.rows.columns]
        if missing:
            raise InputError(
                f"the rows of Traces lack the columns {', '.join(missing)}; "
                "build them with trace_rows(), which fills what is not given"
            )
        if len(self.tokens.offsets) != self.rows.height + 1:
            raise InputError(
                f"{self.rows.height} rows need {self.rows.height + 1} token offsets, "
                f"got {len(self.tokens.offsets)}"
            )

    def __len__(self) -> int:
        return self.rows.height

    def take(self, rows: ArrayLike) -> Traces:
        """Only the given traces, in that order, with a vocabulary of only what they use."""
        chosen = np.asarray(rows, dtype=np.int64)
        steps = None if self.steps is None else self.steps.take(chosen, self.tokens.offsets)
        tokens = self.tokens.take(chosen)
        marked = np.zeros(len(self.vocabulary) + 1, dtype=bool)  # the last entry answers for -1
        marked[tokens.piece] = True
        marked[tokens.top_piece] = True
        used = np.flatnonzero(marked[:-1])
        position: NDArray[np.int32] = np.full(len(marked), -1, dtype=np.int32)
        position[used] = np.arange(len(used), dtype=np.int32)
        tokens = replace(tokens, piece=position[tokens.piece], top_piece=position[tokens.top_piece])
        vocabulary = self.vocabulary.take(used)
        return Traces(self.rows[chosen], tokens, vocabulary, steps)

    def token_pieces(self, trace: int) -> list[bytes]:
        """Texts of the tokens of one trace; joined they are the trace, byte for byte."""
        start, stop = self.tokens.offsets[trace], self.tokens.offsets[trace + 1]
        return self.vocabulary.pieces(self.tokens.piece[start:stop])


def trace_rows(columns: dict[str, Any], n: int) -> pl.DataFrame:
    """A frame of ``ROW_SCHEMA`` from the columns that are known; the others are null.

    Examples:
        >>> trace_rows({"id": ["a"], "correct": [True]}, 1)["correct"].to_list()
        [True]
    """
    unknown = set(columns) - set(ROW_SCHEMA)
    if unknown:
        raise InputError(f"unknown row columns {sorted(unknown)}; known: {', '.join(ROW_SCHEMA)}")
    return pl.DataFrame(
        {
            name: pl.Series(name, columns[name], dtype=kind, strict=False)
            if name in columns
            else pl.Series(name, [None] * n, dtype=kind)
            for name, kind in ROW_SCHEMA.items()
        }
    )


def concatenate(parts: Sequence[Traces]) -> Traces:
    """Join traces end to end; vocabularies are merged by (model id, text)."""
    if not parts:
        return empty_traces()
    entries: dict[tuple[int, bytes], int] = {}
    tables = []
    largest = max((part.vocabulary for part in parts), key=len)
    shared = all(_begins(largest, part.vocabulary) for part in parts)  # as batches of one reading
    for part in parts:
        if shared:
            numbers = np.arange(len(part.vocabulary), dtype=np.int32)
            tables.append(np.append(numbers, np.int32(-1)))
            continue
        keys = zip(part.vocabulary.token_id.tolist(), part.vocabulary.pieces(), strict=True)
        table = np.array([entries.setdefault(key, len(entries)) for key in keys], dtype=np.int32)
        tables.append(np.append(table, np.int32(-1)))  # index -1 finds -1
    width = max(part.tokens.top_piece.shape[1] for part in parts)

    def padded(values: NDArray[Any], fill: float) -> NDArray[Any]:
        short = width - values.shape[1]
        return np.pad(values, ((0, 0), (0, short)), constant_values=fill) if short else values

    def known(name: str) -> NDArray[np.float32] | None:
        columns = [getattr(part.tokens, name) for part in parts]
        if all(column is None for column in columns):
            return None
        blank = (np.full(len(p.tokens), np.nan, np.float32) for p in parts)
        return np.concatenate([b if c is None else c for b, c in zip(blank, columns, strict=True)])

    tokens = Tokens(
        ragged_offsets(np.concatenate([part.tokens.lengths for part in parts])),
        np.concatenate([t[p.tokens.piece] for t, p in zip(tables, parts, strict=True)]),
        np.concatenate([part.tokens.logprob for part in parts]),
        np.concatenate(
            [padded(t[p.tokens.top_piece], -1) for t, p in zip(tables, parts, strict=True)]
        ),
        np.concatenate([padded(part.tokens.top_logprob, -np.inf) for part in parts]),
        np.concatenate([part.tokens.n_top for part in parts]),
        known("entropy"),
        known("jsd"),
    )
    steps = None
    if all(part.steps is not None for part in parts):
        base = ragged_offsets([len(part.tokens) for part in parts])
        split = [part.steps for part in parts if part.steps is not None]
        steps = Steps(
            ragged_offsets(np.concatenate([s.lengths for s in split])),
            np.concatenate([s.start + b for s, b in zip(split, base, strict=False)]),
            np.concatenate([s.stop + b for s, b in zip(split, base, strict=False)]),
            np.concatenate([s.phase for s in split]),
        )
    vocabulary = largest
    if not shared:
        vocabulary = Vocabulary.from_pieces(
            [text for _, text in entries], [token_id for token_id, _ in entries]
        )
    return Traces(pl.concat([part.rows for part in parts]), tokens, vocabulary, steps)


def _begins(whole: Vocabulary, part: Vocabulary) -> bool:
    """Whether the entries of ``part`` are the first entries of ``whole``."""
    n = len(part)
    return (
        np.array_equal(whole.offsets[: n + 1], part.offsets)
        and np.array_equal(whole.token_id[:n], part.token_id)
        and np.array_equal(whole.text[: part.offsets[-1]], part.text)
    )


def empty_traces() -> Traces:
    """No traces at all."""
    tokens = Tokens(
        np.zeros(1, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.float32),
        np.zeros((0, 0), np.int32),
        np.zeros((0, 0), np.float32),
        np.zeros(0, np.int16),
    )
    return Traces(trace_rows({}, 0), tokens, Vocabulary.from_pieces([]))
