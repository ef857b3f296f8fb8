"""From records, which readers make of a log's objects, to Traces."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.traces.reading.columns import (
    GOOD,
    MAX_ALTERNATIVES,
    ROUNDING,
    GrowingColumns,
    put_rows,
    settle,
)
from entropilot.traces.reading.final_answer import final_answer
from entropilot.traces.reading.interning import GrowingVocabulary
from entropilot.traces.reading.options import MAX_EXAMPLES, ReadReport, Skipped
from entropilot.traces.table import ROW_SCHEMA, Traces, ragged_offsets, trace_rows

MAX_VOCABULARY: Final = 1 << 20  # entries; a fresh vocabulary is begun beyond it
MAX_VOCABULARY_BYTES: Final = 1 << 26
MAX_IDS: Final = 1 << 20  # ids that are remembered to find duplicates


@dataclass
class TokenLists:
    """Tokens of one trace as a reader finds them; ids are -1 where the log names none."""

    text: list[bytes] = field(default_factory=list)
    token_id: list[int] = field(default_factory=list)
    logprob: list[float] = field(default_factory=list)
    n_listed: list[int] = field(default_factory=list)
    top_text: list[bytes] = field(default_factory=list)  # flat
    top_id: list[int] = field(default_factory=list)
    top_logprob: list[float] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)  # empty, or one a token
    jsd: list[float] = field(default_factory=list)
    has_statistics: bool = False

    def add(
        self,
        text: bytes,
        token_id: int,
        logprob: float,
        alternatives: Iterable[tuple[bytes, int, float]] = (),
        entropy: float = np.nan,
        jsd: float = np.nan,
    ) -> None:
        """Append a token. Ids count only where the token and all its alternatives have one."""
        listed = list(alternatives)
        if listed and (token_id < 0 or any(other[1] < 0 for other in listed)):
            token_id = -1
            listed = [(other[0], -1, other[2]) for other in listed]
        if len(listed) > MAX_ALTERNATIVES:
            raise InputError(
                f"token {len(self.text)} lists {len(listed)} alternatives; at most "
                f"{MAX_ALTERNATIVES} fit. Keep the most likely ones"
            )
        self.text.append(text)
        self.token_id.append(token_id)
        self.logprob.append(logprob)
        self.n_listed.append(len(listed))
        for other_text, other_id, other_logprob in listed:
            self.top_text.append(other_text)
            self.top_id.append(other_id)
            self.top_logprob.append(other_logprob)
        self.entropy.append(entropy)
        self.jsd.append(jsd)
        self.has_statistics |= not (math.isnan(entropy) and math.isnan(jsd))


@dataclass(frozen=True)
class Scanned:
    """Token rows that the fast scanner has already written: start:stop of the batch's columns."""

    start: int
    stop: int
    has_statistics: bool


@dataclass
class Record:
    """One trace as a reader finds it."""

    row: dict[str, Any]  # some columns of ROW_SCHEMA
    tokens: TokenLists | Scanned | None = None
    k: int = 0  # alternatives that the request asked for; 0 = not known
    has_scored_prompt: bool = False  # the prompt has log-probabilities, the completion none


class TraceBuilder:
    """Collects records into one batch after another; the vocabulary lives on between them."""

    def __init__(self, *, find_answers: bool = True) -> None:
        self.vocabulary = GrowingVocabulary()
        self._find_answers = find_answers
        self.columns = GrowingColumns()
        self._ids: set[int] = set()
        self._start_batch()

    def _start_batch(self) -> None:
        self.columns.clear()
        self._rows: dict[str, list[Any]] = {name: [] for name in ROW_SCHEMA}
        self._lengths: list[int] = []
        self._formats: dict[str, int] = {}
        self._skipped: list[Skipped] = []
        self._counts = dict.fromkeys(
            ("files", "bytes_read", "lines", "skipped_lines", "duplicate_ids", "invalid_utf8",
             "without_logprobs", "prompt_only"), 0
        )  # fmt: skip
        if (
            len(self.vocabulary) > MAX_VOCABULARY
            or self.vocabulary.text_bytes > MAX_VOCABULARY_BYTES
        ):
            self.vocabulary = GrowingVocabulary()

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def bytes_read(self) -> int:
        """Input bytes of the batch so far."""
        return self._counts["bytes_read"]

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the report's counts."""
        self._counts[name] += by

    def skip(self, file: str, line: int, reason: str) -> None:
        """Note a line that can't be read."""
        self._counts["skipped_lines"] += 1
        if len(self._skipped) < MAX_EXAMPLES:
            self._skipped.append(Skipped(file, line, reason))

    def add(self, records: list[Record], format_name: str) -> None:
        """Append the traces of one log object: all of them, or none when one is wrong."""
        start = self.columns.n
        counts = self.columns.counts.copy()
        had_statistics = self.columns.has_statistics
        lengths = []
        try:
            for record in records:
                if isinstance(record.tokens, TokenLists):
                    self._put(record.tokens)
                elif record.tokens is not None:
                    self.columns.n = record.tokens.stop
                    self.columns.has_statistics |= record.tokens.has_statistics
                stop = self.columns.n
                lengths.append(stop - start)
                settle(start, stop, record.k, self.columns.address)
                start = stop
        except InputError:
            self.columns.n -= sum(lengths)
            self.columns.has_statistics = had_statistics
            self.columns.counts[:] = counts
            raise
        first = self.columns.n - sum(lengths)
        for record, length in zip(records, lengths, strict=True):
            if length and not record.row.get("text"):
                pieces = self.columns.piece[first : first + length]
                whole = b"".join(self.vocabulary.snapshot().pieces(pieces))
                record.row["text"] = whole.decode("utf-8", "replace")
            first += length
            text = record.row.get("text")
            if self._find_answers and text and record.row.get("answer") is None:
                record.row["answer"] = final_answer(text)
            self._lengths.append(length)
            for name, values in self._rows.items():
                values.append(record.row.get(name))
            self._counts["without_logprobs"] += length == 0 and bool(record.row.get("text"))
            self._counts["prompt_only"] += length == 0 and record.has_scored_prompt
            self._note_id(record.row.get("id"))
        self._formats[format_name] = self._formats.get(format_name, 0) + len(records)

    def _note_id(self, name: str | None) -> None:
        if name is None:
            return
        key = hash(name)
        if key in self._ids:
            self._counts["duplicate_ids"] += 1
        elif len(self._ids) < MAX_IDS:
            self._ids.add(key)

    def _put(self, tokens: TokenLists) -> None:
        """Check, intern and write the tokens of one trace."""
        n = len(tokens.text)
        logprob = np.array(tokens.logprob, np.float64)
        top_logprob = np.array(tokens.top_logprob, np.float64)
        check_logprobs(logprob, top_logprob)
        listed = np.array(tokens.n_listed, np.int64)
        self.columns.reserve(n, int(listed.max(initial=0)))
        entries = self.vocabulary.intern(
            tokens.text + tokens.top_text, tokens.token_id + tokens.top_id
        )
        start, columns = self.columns.n, self.columns
        columns.entropy[start : start + n] = tokens.entropy
        columns.jsd[start : start + n] = tokens.jsd
        status = put_rows(
            start,
            entries[:n],
            logprob,
            listed,
            entries[n:].ctypes.data,
            top_logprob.ctypes.data,
            columns.address,
            self.vocabulary.address,
        )
        assert status == GOOD  # check_logprobs has seen every value
        self.columns.n = start + n
        self.columns.has_statistics |= tokens.has_statistics

    def take(self) -> tuple[Traces, ReadReport]:
        """The batch so far and its report; the next batch begins empty."""
        n = len(self)
        tokens = self.columns.tokens(ragged_offsets(self._lengths))
        try:
            rows = trace_rows(self._rows, n)
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and UTF-8 can't
            self._counts["invalid_utf8"] += sum(map(_replace_surrogates, self._rows.values()))
            rows = trace_rows(self._rows, n)
        traces = Traces(rows, tokens, self.vocabulary.snapshot())
        impossible, rounded, merged = self.columns.counts.tolist()
        report = ReadReport(
            formats=dict(self._formats),
            traces=n,
            tokens=len(tokens),
            skipped=tuple(self._skipped),
            impossible_logprobs=impossible,
            rounded_logprobs=rounded,
            merged_alternatives=merged,
            **self._counts,
        )
        self._start_batch()
        return traces, report


def _replace_surrogates(values: list[Any]) -> int:
    """Put U+FFFD in place of lone surrogates; how many texts had some."""
    replaced = 0
    for i, value in enumerate(values):
        if isinstance(value, str):
            raw = value.encode("utf-16", "surrogatepass")
            values[i] = raw.decode("utf-16", "replace")
            replaced += values[i] != value
    return replaced


def check_logprobs(logprob: NDArray[np.float64], top_logprob: NDArray[np.float64]) -> None:
    """Refuse what can't be natural-log probabilities.

    A token may lack its own log-probability (nan); a listed alternative may not.
    """
    missing = int(np.isnan(top_logprob).sum())
    if missing:
        raise InputError(
            f"{missing} alternatives have no log-probability (NaN or null); every one needs "
            "a number. Find the step that wrote NaN, or remove these entries"
        )
    values = np.concatenate([logprob[~np.isnan(logprob)], top_logprob])
    positive = values > ROUNDING
    if not positive.any():
        return
    largest = values.max()
    if values.min() >= 0 and largest <= 1 + ROUNDING:
        raise InputError(
            f"the values lie between {values.min():.3g} and {largest:.3g}: this looks like "
            "probabilities; natural-log probabilities are <= 0. Take their logarithm first"
        )
    raise InputError(
        f"log-probs have {int(positive.sum())} positive values (largest {largest:.3g}); "
        "natural-log probabilities are <= 0. If these are probabilities, take np.log first; if "
        "they are logits, subtract their logsumexp"
    )
