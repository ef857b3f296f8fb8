"""Traces as Parquet: what is written comes back, and nothing half-written is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entropilot.errors import FormatError, InputError
from entropilot.traces import (
    ReadOptions,
    ReadReport,
    Steps,
    load_traces,
    read_parquet,
    read_traces,
    write_parquet,
)
from entropilot.traces.table import Traces, empty_traces


@pytest.fixture
def traces(chat: Any, token: Any) -> Traces:
    items = [
        chat([token("é", -0.5, [("é", -0.5), ("b", -1.5)]), token("z", -9.0, [])], x_correct=True),
        chat(None, x_correct=False),
        chat([token("b", -2.0, [("a", -0.1), ("b", -2.0), ("c", float("-inf"))])]),
    ]
    items[2]["choices"][0]["logprobs"]["content"][0] |= {"x_entropy_full": 1.5}
    return load_traces(items)


def test_round_trip(tmp_path: Path, traces: Traces, assert_same: Any) -> None:
    assert write_parquet(traces, tmp_path / "t.parquet") == 3
    back = read_parquet(tmp_path / "t.parquet")
    assert_same(back, traces)
    assert back.tokens.top_piece.shape == traces.tokens.top_piece.shape
    for name in ("piece", "logprob", "top_piece", "top_logprob", "n_top", "entropy", "offsets"):
        assert getattr(back.tokens, name).dtype == getattr(traces.tokens, name).dtype
    assert back.steps is None
    assert_same(load_traces(tmp_path / "t.parquet"), traces)


def test_steps_come_back(tmp_path: Path, traces: Traces) -> None:
    steps = Steps(
        np.array([0, 2, 2, 3]),
        np.array([0, 1, 2]),
        np.array([1, 2, 3]),
        np.array([1, 2, 0], np.int8),
    )
    write_parquet(replace(traces, steps=steps), tmp_path / "t.parquet")
    back = read_parquet(tmp_path / "t.parquet").steps
    assert back is not None
    for name in ("offsets", "start", "stop", "phase"):
        assert np.array_equal(getattr(back, name), getattr(steps, name))


def test_batches_with_their_own_vocabularies(
    tmp_path: Path, traces: Traces, assert_same: Any
) -> None:
    parts = [traces.take([2]), traces.take([0, 1]), traces]
    assert write_parquet(iter(parts), tmp_path / "t.parquet") == 6
    back = read_parquet(tmp_path / "t.parquet")
    assert_same(back.take([1, 2, 0]), traces)
    assert len(back.vocabulary) == 5
    sizes = [len(batch.traces) for batch in read_traces(tmp_path / "t.parquet")]
    assert sizes == [1, 2, 3]


def test_nothing_and_no_tokens(tmp_path: Path, traces: Traces) -> None:
    write_parquet(empty_traces(), tmp_path / "t.parquet")
    assert len(read_parquet(tmp_path / "t.parquet")) == 0
    write_parquet(traces.take([1]), tmp_path / "t.parquet")
    assert read_parquet(tmp_path / "t.parquet").rows["correct"].to_list() == [False]


def test_real_traces_by_batches(real_traces: Path, tmp_path: Path, assert_same: Any) -> None:
    options = ReadOptions(batch_bytes=1 << 20)
    write_parquet(read_traces(real_traces, options=options), tmp_path / "t.parquet")
    assert_same(read_parquet(tmp_path / "t.parquet"), load_traces(real_traces))
    report = sum((b.report for b in read_traces(tmp_path / "t.parquet")), ReadReport())
    assert (report.traces, report.tokens, report.files) == (256, 8247, 1)


def test_other_tools_can_read_it(tmp_path: Path, traces: Traces) -> None:
    write_parquet(traces, tmp_path / "t.parquet")
    frame = pl.read_parquet(tmp_path / "t.parquet")
    assert frame["id"].to_list() == traces.rows["id"].to_list()
    assert frame["logprob"].list.len().to_list() == [2, 0, 1]


def test_a_failed_write_leaves_nothing(tmp_path: Path, traces: Traces) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"before")

    def parts() -> Any:
        yield traces
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_parquet(parts(), path)
    assert path.read_bytes() == b"before"
    assert [child.name for child in tmp_path.iterdir()] == ["t.parquet"]
    with pytest.raises(InputError, match="can't be written"):
        write_parquet(traces, tmp_path / "missing" / "t.parquet")


def test_damaged_and_foreign_files(tmp_path: Path, traces: Traces) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(traces, path)
    raw = path.read_bytes()
    path_of_good = tmp_path / "good.parquet"
    path_of_good.write_bytes(raw)
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(FormatError, match="can't be read as Parquet"):
        load_traces(path)
    table = pq.read_table(path_of_good)
    for name, values in (("piece", [[9, 0], [], [0]]), ("logprob", [[-1.0], [], [-1.0]])):
        column = pa.array(values, table.schema.field(name).type)
        spoilt = table.set_column(table.column_names.index(name), table.schema.field(name), column)
        metadata = pq.ParquetFile(path_of_good).metadata.metadata
        pq.write_table(spoilt.replace_schema_metadata(metadata), path)
        with pytest.raises(FormatError, match=r"outside the vocabulary|not one value for each"):
            read_parquet(path)
    beyond = Steps(np.array([0, 1, 1, 1]), np.array([0]), np.array([9]), np.zeros(1, np.int8))
    write_parquet(replace(traces, steps=beyond), path)
    with pytest.raises(FormatError, match="a step reaches beyond the tokens"):
        read_parquet(path)
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(FormatError, match="columns found: a"):
        read_parquet(path)
    with pytest.raises(FormatError, match="keys found: a"):
        load_traces(path)
