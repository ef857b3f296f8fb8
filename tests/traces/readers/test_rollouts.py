"""Rollouts that trainers write: TRL's completions and verl's dumps, JSONL and Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from entropilot.traces import ReadReport, load_traces, read_traces


def test_verl_lines() -> None:
    lines = [
        {"input": "1+1=", "output": "2", "gts": "2", "score": 1.0, "step": 3, "acc": True},
        {"input": "1+1=", "output": "3", "gts": "2", "score": 0.0, "step": 3, "acc": False},
        {"input": "2+2=", "output": "4", "gts": "4", "score": 1.0, "step": 3},
    ]
    rows = load_traces("\n".join(json.dumps(line) for line in lines).encode()).rows
    assert rows["text"].to_list() == ["2", "3", "4"]
    assert rows["prompt"].to_list() == ["1+1=", "1+1=", "2+2="]
    assert rows["reference"].to_list() == ["2", "2", "4"]
    assert rows["reward"].to_list() == [1.0, 0.0, 1.0]
    assert rows["correct"].to_list() == [True, False, None]
    assert rows["group"][0] == rows["group"][1] != rows["group"][2]
    assert rows["id"].n_unique() == 3


def test_trl_parquet_and_jsonl(tmp_path: Path) -> None:
    message = [{"role": "assistant", "content": "four"}]
    frame = pl.DataFrame(
        {
            "step": [1, 1],
            "prompt": ["2+2?", "2+2?"],
            "completion": [message, message],
            "accuracy_reward": [1.0, 0.0],
            "format_reward": [0.5, 0.5],
            "advantage": [0.7, -0.7],
        }
    )
    frame.write_parquet(tmp_path / "completions.parquet")
    frame.write_ndjson(tmp_path / "completions.jsonl")
    for name in ("completions.parquet", "completions.jsonl"):
        rows = load_traces(tmp_path / name).rows
        assert rows["text"].to_list() == ["four", "four"]
        assert rows["reward"].to_list() == [1.5, 0.5]
        assert rows["correct"].to_list() == [True, False]
        assert rows["group"].n_unique() == 1
    report = sum((b.report for b in read_traces(tmp_path / "completions.parquet")), ReadReport())
    assert report.formats == {"TRL completions (Parquet)": 2}
    assert report.without_logprobs == 2


def test_trl_columns_in_one_object() -> None:
    item = {"step": 5, "prompt": ["a", "b"], "completion": ["x", "y"], "reward": [0.0, 1.0]}
    rows = load_traces(item).rows
    assert rows["prompt"].to_list() == ["a", "b"]
    assert rows["text"].to_list() == ["x", "y"]
    assert rows["reward"].to_list() == [0.0, 1.0]
