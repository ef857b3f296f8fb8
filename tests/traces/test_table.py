"""The columnar table: selecting and joining lose nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.traces.table import (
    ROW_SCHEMA,
    Steps,
    Tokens,
    Traces,
    Vocabulary,
    concatenate,
    empty_traces,
    ragged_offsets,
    ragged_take,
    trace_rows,
)

Slot = tuple[bytes, float]
TokenSpec = tuple[bytes, float, list[Slot]]
PIECES = st.sampled_from([b"a", b" b", b"\xf0\x9f", b"\x98\x80", b"", b"\n\n", "é".encode()])
SLOTS = st.lists(st.tuples(PIECES, st.floats(-9, 0, width=32)), max_size=3)
TRACES = st.lists(
    st.lists(st.tuples(PIECES, st.floats(-9, 0, width=32), SLOTS), max_size=5), max_size=5
)


def build(specs: list[list[TokenSpec]], width: int = 3, names: str = "t") -> Traces:
    flat = [token for trace in specs for token in trace]
    pieces = sorted({t[0] for t in flat} | {s[0] for t in flat for s in t[2]})
    entry = {piece: i for i, piece in enumerate(pieces)}
    top_piece = np.full((len(flat), width), -1, np.int32)
    top_logprob = np.full((len(flat), width), -np.inf, np.float32)
    for row, (_, _, slots) in enumerate(flat):
        for column, (piece, logprob) in enumerate(slots):
            top_piece[row, column], top_logprob[row, column] = entry[piece], logprob
    tokens = Tokens(
        ragged_offsets([len(trace) for trace in specs]),
        np.array([entry[t[0]] for t in flat], np.int32),
        np.array([t[1] for t in flat], np.float32),
        top_piece,
        top_logprob,
        np.array([len(t[2]) for t in flat], np.int16),
    )
    n = len(specs)
    ends = np.maximum(tokens.offsets[1:], tokens.offsets[:-1])
    steps = Steps(np.arange(n + 1), tokens.offsets[:-1], ends, np.zeros(n, np.int8))
    rows = trace_rows({"id": [f"{names}{i}" for i in range(n)]}, n)
    return Traces(rows, tokens, Vocabulary.from_pieces(pieces), steps)


def unbuild(traces: Traces) -> list[list[TokenSpec]]:
    specs: list[list[TokenSpec]] = []
    t = traces.tokens
    for i in range(len(traces)):
        trace: list[TokenSpec] = []
        for j in range(t.offsets[i], t.offsets[i + 1]):
            slots = [
                (traces.vocabulary.piece(p), float(lp))
                for p, lp in zip(t.top_piece[j], t.top_logprob[j], strict=True)
                if p >= 0
            ]
            trace.append((traces.vocabulary.piece(t.piece[j]), float(t.logprob[j]), slots))
        specs.append(trace)
    return specs


@given(TRACES)
def test_build_and_read_back(specs: list[list[TokenSpec]]) -> None:
    assert unbuild(build(specs)) == specs


@given(TRACES, st.data())
def test_take_selects_traces_and_keeps_only_their_vocabulary(
    specs: list[list[TokenSpec]], data: st.DataObject
) -> None:
    chosen = (
        data.draw(st.lists(st.integers(0, max(len(specs) - 1, 0)), max_size=4)) if specs else []
    )
    taken = build(specs).take(chosen)
    assert unbuild(taken) == [specs[i] for i in chosen]
    assert taken.rows["id"].to_list() == [f"t{i}" for i in chosen]
    assert taken.steps is not None
    assert taken.steps.start.tolist() == taken.tokens.offsets[:-1].tolist()
    used = {t[0] for i in chosen for t in specs[i]} | {
        s[0] for i in chosen for t in specs[i] for s in t[2]
    }
    assert set(taken.vocabulary.pieces()) == used


@given(TRACES, TRACES)
def test_concatenate_joins_end_to_end(
    first: list[list[TokenSpec]], second: list[list[TokenSpec]]
) -> None:
    joined = concatenate([build(first, 3), build(second, 4, "u")])
    assert unbuild(joined) == first + second
    assert joined.steps is not None
    assert joined.steps.stop.tolist() == joined.tokens.offsets[1:].tolist()
    pieces = joined.vocabulary.pieces()
    assert len(pieces) == len(set(pieces))


def test_same_text_with_two_model_ids_stays_two_entries() -> None:
    a = build([[(b"a", -1.0, [])]])
    vocabulary = Vocabulary.from_pieces([b"a"], [7])
    b = Traces(a.rows, a.tokens, vocabulary, a.steps)
    assert concatenate([a, b]).vocabulary.token_id.tolist() == [-1, 7]


def test_full_entropies_survive_a_join_with_traces_that_lack_them() -> None:
    from dataclasses import replace

    a = build([[(b"a", -1.0, [])]])
    b = replace(a, tokens=replace(a.tokens, entropy=np.array([0.5], np.float32)))
    joined = concatenate([a, b]).tokens.entropy
    assert joined is not None
    assert np.isnan(joined[0])
    assert joined[1] == 0.5


def test_empty() -> None:
    assert len(empty_traces()) == 0
    assert len(concatenate([])) == 0
    assert len(concatenate([empty_traces(), empty_traces()])) == 0
    assert empty_traces().rows.schema == pl.Schema(ROW_SCHEMA)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_ragged_take(lengths: list[int], data: st.DataObject) -> None:
    offsets = ragged_offsets(lengths)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=5))
    positions, taken = ragged_take(offsets, np.array(rows, np.int64))
    expected = [list(range(offsets[r], offsets[r + 1])) for r in rows]
    assert positions.tolist() == [p for row in expected for p in row]
    assert taken.tolist() == ragged_offsets([len(e) for e in expected]).tolist()


def test_rows_of_the_wrong_shape_are_refused() -> None:
    traces = build([[(b"a", -1.0, [])]])
    with pytest.raises(InputError, match="lack the columns"):
        Traces(traces.rows.drop("group"), traces.tokens, traces.vocabulary)
    with pytest.raises(InputError, match="2 rows need 3 token offsets"):
        Traces(pl.concat([traces.rows, traces.rows]), traces.tokens, traces.vocabulary)
    with pytest.raises(InputError, match="unknown row columns"):
        trace_rows({"idd": ["a"]}, 1)
