"""What ``entropilot diagnose`` says of the log that it reads."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from entropilot.cli.app import main


def run(*arguments: str) -> int:
    """Exit code of the command."""
    old = sys.argv
    sys.argv = ["entropilot", "diagnose", *arguments]
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = old
    return 0


def answer(name: str, k: int = 3) -> dict[str, Any]:
    top = [{"token": f"t{i}", "logprob": -0.5 - i} for i in range(k)]
    content = [{**top[0], "top_logprobs": top}, {**top[1], "top_logprobs": top[::-1]}]
    choice = {"message": {"content": "t0t1"}, "logprobs": {"content": content}}
    return {"id": name, "choices": [choice]}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(answer(f"a{i}")) for i in range(4)) + "\n")
    return path


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.json"


def words(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize("content", ["", "\n\n", "[]", "data: [DONE]\n"])
def test_no_traces_end_with_a_message(
    content: str, tmp_path: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(content)
    assert run(str(path), "--format", "json", "-o", str(report)) == 2
    assert "empty.jsonl holds no traces" in words(capsys)
    assert not report.exists()


def test_the_format_is_named(log: Path, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(log), "--format", "json", "-o", str(report)) == 0
    said = "Read 4 traces, 8 tokens, from 1 file: OpenAI chat completions (JSONL)."
    assert said in words(capsys)
    assert json.loads(report.read_text())["reading"]["formats"] == {
        "OpenAI chat completions (JSONL)": 4
    }


def test_bad_lines_are_counted_or_fail(
    log: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write_text(log.read_text() + '{"id": "cut off", "choi\n' + json.dumps(answer("z")) + "\n")
    assert run(str(log), "--format", "json", "-o", str(report)) == 0
    reading = json.loads(report.read_text())["reading"]
    assert (reading["traces"], reading["skipped_lines"]) == (5, 1)
    assert "log.jsonl, line 5: the JSON value is cut off" in reading["skipped"][0]
    assert "1 line could not be read" in words(capsys)
    assert run(str(log), "--strict", "-o", str(report)) == 2
    assert "line 5: the JSON value is cut off" in words(capsys)


def test_standard_input(
    log: Path, report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    assert run("-", "--format", "json", "-o", str(report)) == 0
    assert "Read 4 traces" in words(capsys)


def test_lists_of_different_length_can_be_cut(
    log: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write_text(log.read_text() + json.dumps(answer("wide", 5)) + "\n")
    out = ("--format", "json", "-o", str(report))
    assert run(str(log), *out) == 2
    assert "the smallest with --top-k 3" in words(capsys)
    assert run(str(log), "--top-k", "3", *out) == 0


def test_scored_prompts(tmp_path: Path, report: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps: list[Any] = [None, *({"1": {"logprob": -0.5}, "2": {"logprob": -1.0}} for _ in "ab")]
    choice = {"message": {"content": "x"}, "logprobs": None}
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"id": "a", "choices": [choice], "prompt_logprobs": steps}))
    out = ("--format", "json", "-o", str(report))
    assert run(str(path), *out) == 0
    assert "read with --part prompt" in words(capsys)
    assert run(str(path), "--part", "prompt", *out) == 0
    assert "Read 1 trace, 2 tokens" in words(capsys)


def test_without_logprobs_answers_and_lengths_are_told(
    tmp_path: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"input": f"q{i // 2}", "output": f"So #### {i % 2}", "score": float(i % 2)}
        for i in range(8)
    ]
    path = tmp_path / "rollouts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert run(str(path), "--format", "json", "-o", str(report)) == 0
    said = words(capsys)
    assert "4 of 8 traces are wrong" in said
    assert "The texts are 9 to 9 characters long" in said
    assert "Samples disagree on the answer in 4 of 4 problems" in said
    assert "pass@2 is 100%" in said
    assert "top_logprobs=20" in said


def test_single_alternatives_say_nothing_of_entropy(
    log: Path, report: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = answer("a", 2)
    for entry in narrow["choices"][0]["logprobs"]["content"]:
        entry["top_logprobs"] = entry["top_logprobs"][:1]
    log.write_text(json.dumps(narrow) + "\n")
    assert run(str(log), "--format", "json", "-o", str(report)) == 0
    found = json.loads(report.read_text())
    assert found["signal"] == "surprisal_mean"
    assert any("1 of 1 traces list fewer than 2 alternatives" in note for note in found["notes"])
    capsys.readouterr()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "alternatives have no log-probability"),
        (2.5, "positive values (largest 2.5)"),
        (-0.01, "a probability mass of 1.67867"),
    ],
)
def test_impossible_numbers_cost_their_line_alone(
    value: float, message: str, log: Path, report: Path
) -> None:
    spoilt = answer("spoilt")
    spoilt["choices"][0]["logprobs"]["content"][1]["top_logprobs"][1]["logprob"] = value
    log.write_text(log.read_text() + json.dumps(spoilt) + "\n" + json.dumps(answer("z")) + "\n")
    assert run(str(log), "--format", "json", "-o", str(report)) == 0
    reading = json.loads(report.read_text())["reading"]
    assert (reading["traces"], reading["skipped_lines"]) == (5, 1)
    assert "log.jsonl, line 5: " in reading["skipped"][0]
    assert message in reading["skipped"][0]
    assert run(str(log), "--strict", "-o", str(report)) == 2


def test_answers_of_no_tokens_are_no_failure(log: Path, report: Path) -> None:
    empty = {"id": "e", "choices": [{"message": {"content": ""}, "logprobs": {"content": []}}]}
    log.write_text(json.dumps(empty) + "\n" + log.read_text())
    assert run(str(log), "--format", "json", "-o", str(report)) == 0
    found = json.loads(report.read_text())
    assert found["counts"]["traces"] == 5
    assert any("1 traces have fewer than 2 tokens" in note for note in found["notes"])


def test_equal_ids_are_counted(log: Path, report: Path) -> None:
    log.write_text("\n".join([json.dumps(answer("same"))] * 3))
    assert run(str(log), "--format", "json", "-o", str(report)) == 0
    said = json.loads(report.read_text())["reading"]["sentences"]
    assert said == ["2 traces have ids that an earlier one has."]
