"""``entropilot score``: rows on standard output or in a file, words on standard error."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from entropilot.cli.app import app

RUNNER = CliRunner()


def invoke(*arguments: object) -> Result:
    return RUNNER.invoke(app, ["score", *map(str, arguments)])


def test_a_log_is_scored_with_the_labels_of_a_field(log: Path) -> None:
    found = invoke(log, "--labels", "passed_test", "--alpha", "0.5")
    assert found.exit_code == 0, found.output
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert {row["measure"] for row in rows} == {"entropy_lower"}
    for row in rows:
        assert row["has_tag"] is False
        assert row["n_think"] == row["n_tokens"] == 12
        assert row["penalty"] == row["h_think"] > 0
        assert row["reward"] == pytest.approx((1 - row["penalty"]) * row["correct"])
    assert "100% of the answers have no tag" in found.stderr
    assert f"{len(rows)} answers, {len(rows)} with a reward" in found.stderr


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_lines_of_entropies_into_a_file(tmp_path: Path, ending: str) -> None:
    source, output = tmp_path / "rollouts.jsonl", tmp_path / f"rewards{ending}"
    rows = [
        {"tokens": [5, 151668, 7], "entropies": [0.8, 0.0, 0.3], "correct": True, "id": "a"},
        {"tokens": [5, 151668, 7], "entropies": [0.8, 0.0, 0.3], "correct": False, "id": "b"},
        {"tokens": [5, 151668, 7], "entropies": [0.8, 0.0, 0.3], "id": "c"},
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    found = invoke(source, "--think-end", "151668", "--wrong", "-0.5", "-o", output)
    assert found.exit_code == 0, found.output
    assert not found.stdout
    read = {".jsonl": pl.read_ndjson, ".csv": pl.read_csv, ".parquet": pl.read_parquet}[ending]
    table = read(output)
    assert table["reward"].to_list() == pytest.approx([0.5, -0.5, None])
    assert "1 answer has no reward" in found.stderr
    labels = tmp_path / "labels.csv"
    labels.write_text("id,correct\na,0\nb,1\nc,1\n")
    found = invoke(source, "--think-end", "151668", "--labels", labels)
    rewards = [json.loads(line)["reward"] for line in found.stdout.splitlines()]
    assert rewards == pytest.approx([0.0, 0.5, 0.5])


def test_bad_input_ends_with_a_sentence(tmp_path: Path, log: Path) -> None:
    good = b'{"tokens": ["a"], "entropies": [0.5]}'
    (tmp_path / "latin.jsonl").write_bytes(good + b'\n{"tokens": ["\xe9"], "entropies": [0.5]}')
    (tmp_path / "yes.jsonl").write_bytes(good + b'\n{"tokens": ["a"], "entropies": [true]}')
    for arguments, words in (
        ((tmp_path / "none.jsonl",), "none.jsonl"),
        ((tmp_path / "latin.jsonl",), "line 2: 'utf-8' codec can't decode"),
        ((tmp_path / "yes.jsonl",), "line 2: entropies[0] is True"),
        ((log, "--right", "0", "--wrong", "1"), "wrong answers could win"),
        ((log, "--think-end", ""), "a tag is empty"),
        ((log, "-o", log), "log.jsonl"),
    ):
        found = invoke(*arguments)
        assert found.exit_code == 2, arguments
        assert words in found.output, found.output
        assert "Traceback" not in found.output
