"""Labels from files: by id, by line, by reward; and what is said when they don't fit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from entropilot.diagnosis.label_files import read_label_table
from entropilot.diagnosis.labels import correct_from_reward, join_labels
from entropilot.errors import FormatError, InputError

TRACES = pl.DataFrame({"id": ["a", "b", "c"], "correct": [None, None, None]})
ROWS = [{"id": "c", "correct": False}, {"id": "a", "correct": True}, {"id": "b", "correct": None}]


def written(folder: Path, name: str) -> Path:
    path = folder / name
    lines = "\n".join(json.dumps(row) for row in ROWS)
    if name.endswith(".csv"):
        path.write_text("id,correct\nc,0\na,1\nb,\n")
    elif name.endswith(".jsonl"):
        path.write_text(lines + "\n")
    elif name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif name.endswith(".json"):
        path.write_text(json.dumps(ROWS))
    else:
        pl.DataFrame(ROWS).write_parquet(path)
    return path


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.jsonl.gz", "l.json", "l.parquet"])
def test_every_format_gives_the_same_labels(tmp_path: Path, name: str) -> None:
    joined = join_labels(TRACES, written(tmp_path, name))
    assert joined.frame["correct"].to_list() == [True, None, False]
    assert (joined.n_labelled, joined.n_missing, joined.n_extra) == (2, 0, 0)


def test_json_object_from_id_to_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"a": true, "b": 0, "c": "right"}')
    assert join_labels(TRACES, path).frame["correct"].to_list() == [True, False, True]


@pytest.mark.parametrize(
    ("column", "values", "right"),
    [
        ("correct", [1, 0, 1], [True, False, True]),
        ("is_correct", ["true", "FALSE", "Yes"], [True, False, True]),
        ("label", ["right", "wrong", "pass"], [True, False, True]),
        ("wrong", [True, False, None], [False, True, None]),
        ("Correct", [1.0, 0.0, 1.0], [True, False, True]),
        ("reward", [1.0, -1.0, 1.0], [True, False, True]),
        ("score", [0.0, 0.0, 0.0], [False, False, False]),
    ],
)
def test_label_columns_are_found(
    column: str, values: list[object], right: list[bool | None]
) -> None:
    table = pl.DataFrame({"id": ["a", "b", "c"], column: values})
    assert join_labels(TRACES, table).frame["correct"].to_list() == right


def test_labels_without_ids_go_by_line() -> None:
    assert join_labels(TRACES, pl.DataFrame({"correct": [1, 0, 0]})).frame["correct"].to_list() == [
        True,
        False,
        False,
    ]
    with pytest.raises(InputError, match=r"2 labels for 3 traces.*Add an id column"):
        join_labels(TRACES, pl.DataFrame({"correct": [1, 0]}))


def test_missing_and_extra_ids_are_listed() -> None:
    table = pl.DataFrame({"id": ["a", "x", "y"], "correct": [1, 0, 0]})
    with pytest.raises(InputError) as caught:
        join_labels(TRACES, table)
    message = str(caught.value)
    assert "2 traces have no label ('b', 'c')" in message
    assert "2 labels have no trace ('x', 'y')" in message
    assert "partial=True" in message
    joined = join_labels(TRACES, table, partial=True)
    assert joined[1:] == (1, 2, 2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": ["x", "y", "z"], "correct": [1, 0, 0]}, "no label belongs to a trace.*'a'.*'x'"),
        ({"id": ["a", "a", "b"], "correct": [1, 0, 0]}, "labels repeat 1 ids .'a'."),
        ({"id": ["a", "b", "c"], "correct": [1, 0, 2]}, "row 3 .* has 2 in column 'correct'"),
        ({"id": ["a", "b", "c"], "colour": [1, 0, 2]}, "no label column.*id, colour"),
        ({"id": ["a", "b", "c"], "reward": [0.1, 0.5, 0.9]}, "3 values from 0.1 to 0.9"),
        ({"id": ["a", "b", "c"], "reward": ["0.1", "x", "1"]}, "'x' in column 'reward'"),
        ({"id": ["a", "b", "c"], "reward": [0.4, 0.4, 0.4]}, "every reward is 0.4"),
    ],
)
def test_bad_labels_are_refused(table: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        join_labels(TRACES, pl.DataFrame(table))


def test_named_columns_must_exist() -> None:
    table = pl.DataFrame({"id": ["a", "b", "c"], "ok": [1, 0, 1]})
    assert join_labels(TRACES, table, label_column="ok").n_labelled == 3
    for name in ("id_column", "label_column"):
        with pytest.raises(InputError, match="no column 'nothing'; its columns are id, ok"):
            join_labels(TRACES, table, **{"label_column": "ok", name: "nothing"})
    with pytest.raises(InputError, match="use 'auto', 'id' or 'order'"):
        join_labels(TRACES, table, label_column="ok", by="row")


def test_repeated_trace_ids_are_refused() -> None:
    frame = pl.DataFrame({"id": ["a", "a"]})
    with pytest.raises(InputError, match="the traces repeat 1 ids"):
        join_labels(frame, pl.DataFrame({"id": ["a"], "correct": [1]}))


def test_reward_threshold() -> None:
    table = pl.DataFrame({"id": ["a", "b", "c"], "reward": [0.1, 0.5, 0.9]})
    joined = join_labels(TRACES, table, reward_threshold=0.5)
    assert joined.frame["correct"].to_list() == [False, True, True]
    assert joined.frame["reward"].to_list() == [0.1, 0.5, 0.9]


def test_rewards_become_labels_only_where_none_are() -> None:
    frame = pl.DataFrame({"reward": [0.0, 1.0, None], "correct": [True, None, None]})
    assert correct_from_reward(frame)["correct"].to_list() == [True, True, None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.txt", b"a", "no format that labels can have"),
        ("l.jsonl", b'{"id": 1}\n{oops\n', "line 2: not JSON"),
        ("l.json", b"[1, {}]", "row 1: expected an object"),
        ("l.json", b"3", "expected a list of objects"),
        ("l.parquet", b"PAR", "can't be read as labels"),
        ("l.csv.gz", b"not gzip", "can't be read as labels"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        read_label_table(path)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of labels at"):
        read_label_table(tmp_path / "none.csv")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="no rows"):
        read_label_table(tmp_path / "empty.jsonl")


def test_a_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("entropilot.diagnosis.label_files.LARGEST_FILE", 1 << 20)
    bomb = tmp_path / "labels.csv.gz"
    bomb.write_bytes(gzip.compress(b"id,correct\n" + b"0" * (2 << 20)))
    with pytest.raises(InputError, match="more than 1 MiB"):
        read_label_table(bomb)
