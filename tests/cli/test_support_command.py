from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from entropilot.cli.app import app

RUNNER = CliRunner()


@pytest.fixture
def logs(tmp_path):
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 1.5, 60)
    found = []
    for name, rate in (("base", rates), ("same", rates), ("lost", np.where(rates < 0.4, 0, rates))):
        rows = pl.DataFrame(
            {
                "problem": np.repeat([f"q{i}" for i in range(60)], 16),
                "answer": rng.integers(0, 5, 960),
                "correct": (rng.random((60, 16)) < rate[:, None]).ravel(),
                "token_entropy": rng.random(960),
            }
        )
        path = tmp_path / f"{name}.jsonl"
        rows.write_ndjson(path)
        found.append(str(path))
    return found


def invoke(*arguments):
    found = RUNNER.invoke(app, ["support", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


def test_verdict_comes_first(logs):
    base, same, lost = logs
    assert invoke(base, same).startswith("No change beyond noise:")
    text = invoke(base, lost, "--k", "8", "--rule", "observed")
    assert text.startswith("Shrinkage beyond noise: with 8 samples,")
    assert "sign test: p =" in text
    assert "token" in text


def test_json_has_the_documented_keys(logs):
    found = json.loads(invoke(logs[0], logs[2], "--format", "json"))
    assert found["schema"] == "entropilot/support/1"
    assert found["verdict"] == "shrinkage beyond noise"
    assert set(found) == {
        "schema", "verdict", "headline", "k", "rule", "confidence", "counts", "missing", "curve",
        "crossing_k", "support", "metrics", "noise", "token_entropy", "answer_entropy", "warnings",
        "problems",
    }  # fmt: skip
    assert found["noise"]["exchange"]["p_shrunk"] < 0.025
    assert set(found["metrics"]["SRR"]) == {"value", "low", "high"}
    assert len(found["problems"]) == 60


def test_markdown_escapes_what_a_file_brought(logs, tmp_path):
    rows = pl.read_ndjson(logs[1]).with_columns(problem=pl.col("problem").replace("q1", "<b>x"))
    rows.write_ndjson(tmp_path / "odd.jsonl")
    text = invoke(logs[0], str(tmp_path / "odd.jsonl"), "--format", "md")
    assert text.startswith("# Support: no change beyond noise")
    assert "<b>" not in text
    assert r"\<b\>x" in text
    assert "missing in the base run" in text


def test_a_real_log_against_itself(real_traces):
    text = invoke(str(real_traces), str(real_traces), "--k", "2")
    assert text.startswith("No change beyond noise")
    assert "one file given twice" in " ".join(text.split())
