"""``entropilot utility`` on a tiny file: forms, resuming, interruption, bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from entropilot.cli import app as cli
from entropilot.cli import utility as command

ROWS = [
    {
        "id": f"{problem}{'rw'[wrong]}",
        "question": f"How much is {problem} and 2?",
        "steps": [f"We add {problem} and 2.", f"So it is {problem + 2 + wrong}."],
        "reference": str(problem + 2),
        "answer": str(problem + 2 + wrong),
        "correct": not wrong,
        "group": f"p{problem}",
    }
    for problem in (3, 4, 5)
    for wrong in (0, 1)
]


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    path = tmp_path / "chains.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture
def entropilot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        words = ["entropilot", "utility", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def tiny(*more: object) -> tuple[object, ...]:
    return ("--inspector", "tiny", "--device", "cpu", *more)


def test_the_json_form(entropilot: Any, chains: Path) -> None:
    code, output, progress = entropilot(chains, *tiny("--format", "json"))
    assert code == 0
    found = json.loads(output)
    assert found["schema"] == "entropilot/utility/1"
    assert (found["inspector"], found["mode"], found["estimate"]) == ("tiny", "gold", None)
    assert [one["id"] for one in found["chains"]] == [row["id"] for row in ROWS]
    assert all(len(one["h"]) == 3 for one in found["chains"])
    assert found["chains"][0]["leak_step"] == 2
    assert found["report"]["aucs"]["-drop"]["n_wrong"] == 3
    assert [one["group"] for one in found["ranking"]] == ["p3", "p4", "p5"]
    assert "6/6 chains" in progress
    assert "chains/s" in progress


def test_the_text_and_markdown_forms(entropilot: Any, chains: Path, tmp_path: Path) -> None:
    code, output, _ = entropilot(chains, *tiny())
    assert code == 0
    for words in ("h_0", "verdict", "leak step", "idle", "Right beside wrong", "Ranking", "Leak"):
        assert words in output
    assert entropilot(chains, *tiny("--format", "md", "-o", tmp_path / "u.md"))[0] == 0
    assert "| 3r | right |" in (tmp_path / "u.md").read_text()
    assert entropilot(chains, *tiny("-o", tmp_path / "u.txt"))[0] == 0
    assert "Ranking" in (tmp_path / "u.txt").read_text()


def test_own_answers_connector_and_unit(entropilot: Any, chains: Path) -> None:
    options = ("--mode", "own", "--connector", r"\nA: ", "--unit", "bits", "--format", "json")
    found = json.loads(entropilot(chains, *tiny(*options))[1])
    assert (found["mode"], found["connector"], found["unit"]) == ("own", "\nA: ", "bits")
    assert [one["answer"] for one in found["chains"]] == [row["answer"] for row in ROWS]


def test_an_interrupted_run_goes_on(
    entropilot: Any, chains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.json"
    rest = tmp_path / "rest.json"
    assert entropilot(chains, *tiny("--format", "json", "-o", whole))[0] == 0
    rate = command._rate

    def stopping(update: Any) -> Any:
        report = rate(update)

        def stop(progress: Any) -> None:
            report(progress)
            if progress.done == 3:
                raise KeyboardInterrupt

        return stop

    resumed = tiny("--format", "json", "-o", rest, "--resume", tmp_path / "kept")
    with monkeypatch.context() as patched:
        patched.setattr(command, "_rate", stopping)
        code, _, said = entropilot(chains, *resumed)
        assert code == 130
        assert "the same command goes on from there" in said
        assert not rest.exists()
        assert len(list((tmp_path / "kept").iterdir())) == 3
        code, _, said = entropilot(chains, *tiny())
        assert code == 130
        assert "nothing is kept; --resume FOLDER" in said
    code, _, said = entropilot(chains, *resumed)
    assert code == 0
    assert "3 kept from before" in said
    assert rest.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"answer": "", "reference": ""}, (), "line 1: the answer is empty"),
        ({"answer": "99"}, ("--mode", "own"), "line 1: the answer '99' does not stand in the"),
        ({"steps": [5, 6]}, (), "step 1 is a number; give texts, not token ids"),
        ({"steps": ["x" * 4090]}, (), "tokens to the inspector, more than the context of 4096"),
        ({}, ("--steps", "lin"), "unknown rule 'lin'"),
        ({}, ("--connector", ""), "the connector '' and the answer"),
        ({}, ("--dtype", "float8"), "unknown dtype 'float8'"),
    ],
)
def test_bad_input_ends_with_code_2(
    entropilot: Any, tmp_path: Path, change: Any, options: Any, message: str
) -> None:
    row = ROWS[0] | change
    if "--steps" in options:
        row = {**row, "chain": "One. Two."}
        del row["steps"]
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(row))
    code, output, said = entropilot(path, *tiny(*options))
    assert (code, output) == (2, "")
    assert message in said


def test_chains_without_steps_and_long_answers(entropilot: Any, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    long = {**ROWS[0], "id": "long", "reference": "seven and " * 5}
    path.write_text(json.dumps(ROWS[0] | {"steps": []}) + "\n" + json.dumps(long))
    code, output, _ = entropilot(path, *tiny("--format", "json"))
    assert code == 0
    found = json.loads(output)
    assert (found["chains"][0]["slope"], len(found["chains"][0]["h"])) == (None, 1)
    assert "1 answer has more than 32 tokens" in found["notes"][0]
    assert "1 chain has no steps" in found["notes"][1]


def test_long_chains_can_be_left_out(entropilot: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    long = {**ROWS[0], "id": "long", "steps": ["x" * 4090]}
    path.write_text(json.dumps(long) + "\n" + json.dumps(ROWS[0]))
    found = json.loads(entropilot(path, *tiny("--format", "json", "--skip-long"))[1])
    assert [one["id"] for one in found["chains"]] == ["3r"]
    assert found["skipped"][0]["id"] == "long"
    assert "context of 4096" in found["skipped"][0]["reason"]
