"""Whatever a user gets wrong ends with code 2 and a message that says the mend; no traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from entropilot.cli.endings import IN_OPTIONS, file_trouble, in_options

Command = Callable[..., Any]
SOURCE = Path(in_options.__code__.co_filename).parent.parent


@pytest.fixture
def files(tmp_path: Path, log: Path, answers: Any) -> Path:
    """A folder with everything that is odd."""
    ids = [f"t{i}" for i in range(40)]
    tables = {
        "columns.csv": ("name,foo", [f"{i},1" for i in ids]),
        "twice.csv": ("id,correct", [f"{i},1" for i in [*ids[:-1], "t0"]]),
        "other.csv": ("id,correct", [f"z{i},1" for i in ids]),
        "odd.csv": ("id,correct", [f"{i},maybe" for i in ids]),
        "graded.csv": ("id,reward", [f"{name},{n / 40}" for n, name in enumerate(ids)]),
        "ragged.csv": ("id,correct", ["t0,1,2,3"]),
    }
    for name, (head, lines) in tables.items():
        (tmp_path / name).write_text("\n".join([head, *lines]) + "\n")
    (tmp_path / "nothing.csv").write_text("")
    (tmp_path / "nothing.jsonl").write_text("")
    (tmp_path / "garbage.jsonl").write_bytes(b"\x00\xff garbage\n" * 3)
    (tmp_path / "unlabelled.jsonl").write_text(
        "".join(json.dumps({**row, "passed_test": None}) + "\n" for row in answers(12))
    )
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "unknown.toml").write_text("[samplng]\n[run]\nseed = -3\n[sampling]\ntemprature=1")
    (tmp_path / "broken.toml").write_text("[run\n")
    (tmp_path / "flat.toml").write_text("run = 3\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nowhere.jsonl", "'nowhere.jsonl' can't be opened: No such file"),
        ("folder", "the folder folder holds no trace files; known endings: .jsonl"),
        ("loop", "Too many levels of symbolic links"),
        ("nothing.jsonl", "nothing.jsonl holds no traces"),
        ("garbage.jsonl", "garbage.jsonl, line 1: not JSON"),
        ("- -", "standard input is named twice"),
        ("- --engine ray", "Ray can't read standard input"),
        ("log.jsonl -o folder", "is a folder; name a file: folder/report.html"),
        ("log.jsonl -o log.jsonl", "the output log.jsonl is read as well"),
        ("log.jsonl --labels odd.csv -o odd.csv", "the output odd.csv is read as well"),
        ("folder -o folder/next.json", "the next diagnosis would read it as a log"),
        ("log.jsonl -o log.jsonl/report.html", "log.jsonl is no folder"),
        ("log.jsonl --rate 0", "--rate is 0; expected a share between 0 and 1"),
        ("log.jsonl --rate -1", "--rate is -1"),
        ("log.jsonl --rate nan", "--rate is nan"),
        ("log.jsonl --rate many", "'--rate'"),
        ("log.jsonl --fail-above 2", "--fail-above is 2"),
        ("log.jsonl --workers 0", "'--workers'"),
        ("log.jsonl --workers 100000", "processors; expected at most"),
        ("log.jsonl --vocab-size -1", "'--vocab-size'"),
        ("log.jsonl --vocab-size 3", "a token lists 5 alternatives, more than the vocabulary of 3"),
        ("log.jsonl --top-k 1", "'--top-k'"),
        ("log.jsonl --seed -1", "'--seed'"),
        ("log.jsonl --show -1", "'--show'"),
        ("log.jsonl --max-decompressed nan", "--max-decompressed is nan"),
        ("log.jsonl --max-decompressed inf", "--max-decompressed is inf"),
        ("log.jsonl --steps regex", "unknown rule 'regex'. Known: auto"),
        ("log.jsonl --steps sentense", "did you mean 'sentence'?"),
        ("log.jsonl --signal entropy_men", "did you mean 'entropy_mean'"),
        ("log.jsonl --signal model", "no trace has a value of model"),
        ("log.jsonl --format pdf", "'pdf' is not one of 'html', 'json', 'md', 'parquet', 'text'"),
        ("log.jsonl --engine rey", "'rey' is not one of"),
        ("log.jsonl --logprob-space cooked", "'cooked' is not one of"),
        ("log.jsonl --strct", "--strict"),
        ("log.jsonl --resume log.jsonl", "log.jsonl is a file; finished parts are kept in a"),
        ("log.jsonl --group-field nofield", "--group-field nofield: no trace has such a field"),
        ("log.jsonl --reward-threshold 0.5", "no trace has a reward"),
        ("log.jsonl --labels nofield", "--labels nofield: no trace has such a field"),
        ("unlabelled.jsonl --labels passed_test", "no trace has such a field"),
        ("log.jsonl --labels problem_id", "For a graded score add --reward-threshold"),
        ("log.jsonl --labels nowhere.csv", "no file of labels at nowhere.csv"),
        ("log.jsonl --labels nothing.csv", "nothing.csv can't be read as labels: empty CSV"),
        ("log.jsonl --labels columns.csv", "no label column found; its columns are name, foo"),
        ("log.jsonl --labels twice.csv", "the labels repeat 1 ids ('t0')"),
        ("log.jsonl --labels other.csv", "Call the right column id"),
        ("log.jsonl --labels odd.csv", "For graded rewards give --reward-threshold"),
        ("log.jsonl --labels graded.csv", "an answer is right: --reward-threshold"),
        ("log.jsonl --labels ragged.csv", "ragged.csv can't be read as labels: found more fields"),
    ],
)
def test_diagnose(command: Command, files: Path, arguments: str, said: str) -> None:
    before = sorted(files.iterdir()), (files / "log.jsonl").read_bytes()
    ended = command("diagnose", *arguments.split(), stdin="")
    assert ended.code == 2, ended.err
    assert said in ended.said
    assert ended.out == ""
    assert not any(word in ended.said for word in ("Traceback", "=True", "_column=", "polars"))
    assert (sorted(files.iterdir()), (files / "log.jsonl").read_bytes()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run unknown.toml", "samplng: unknown section; did you mean 'sampling'?"),
        ("run unknown.toml", "run.seed: it is -3"),
        ("run unknown.toml", "temprature: unknown key; did you mean 'temperature'?"),
        ("run broken.toml", "broken.toml is not TOML"),
        ("run flat.toml", "run: it is 3, expected a table [run]"),
        ("run nowhere.toml", "nowhere.toml can't be read: No such file or directory"),
        ("run folder", "folder can't be read: Is a directory"),
        ("run --problems 0", "'--problems'"),
        ("run --seed -1", "'--seed'"),
        ("run --name ../evil", "run.name: it is '../evil'"),
        ("run --model tiny --folder log.jsonl", "log.jsonl"),
        ("study show instabilty", "did you mean 'instability'?"),
        ("study run instabilty", "did you mean 'instability'?"),
        ("study run instability --scale quik", "--scale 'quik', expected smoke, quick or full"),
        ("study run all --seeds 0", "'--seeds'"),
        ("study table --folder log.jsonl", "log.jsonl is a file"),
        ("study table --write folder", "is a folder; name a file: folder/RESULTS.md"),
        ("study table --write log.jsonl/a.md", "log.jsonl is no folder"),
        ("study list --format xml", "'xml' is not one of 'text', 'json', 'md'"),
        ("models fetch smollm3", "did you mean 'smollm2'?"),
        ("utility log.jsonl -o log.jsonl", "the output log.jsonl is read as well"),
        ("diagnos log.jsonl", "Did you mean 'diagnose'?"),
        ("diagnose", "Missing argument"),
    ],
)
def test_the_other_commands(command: Command, files: Path, arguments: str, said: str) -> None:
    ended = command(*arguments.split())
    assert ended.code == 2, ended.err
    assert said in ended.said
    assert not any(word in ended.said for word in ("Traceback", "[Errno"))


@pytest.mark.parametrize("words", [(), ("study",), ("models",)])
def test_without_a_command_there_is_help(command: Command, words: tuple[str, ...]) -> None:
    ended = command(*words)
    assert ended.code == 2
    assert "Usage" in ended.out


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_permissions(command: Command, log: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    assert "no permission in" in command("diagnose", log, "-o", locked / "r.html").said
    log.chmod(0)
    assert "is not readable" in command("diagnose", log).said


def test_a_write_that_fails_leaves_nothing(
    command: Command, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("the old one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    ended = command("diagnose", log)
    assert ended.code == 2
    assert ended.said.endswith("error: no space left on device")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.jsonl", "report.html"]
    assert (tmp_path / "report.html").read_text() == "the old one"


def test_names_with_control_codes_reach_no_terminal(command: Command, tmp_path: Path) -> None:
    ended = command("diagnose", "no\x1b[31mfile\u202e.jsonl")
    assert ended.code == 2
    assert not set("\x1b\u202e") & set(ended.err)


@pytest.mark.parametrize("python", [python for python, _ in IN_OPTIONS])
def test_what_is_put_in_words_of_the_command_line_is_still_said(python: str) -> None:
    pieces = [part for part in python.split("{}") if len(part) > 1]
    texts = [
        "".join(path.read_text().replace('"\n', '"').split())
        for path in SOURCE.rglob("*.py")
        if path.parent.name != "cli"
    ]
    for piece in pieces:
        wanted = "".join(piece.split())
        # a sentence may run over lines of source: `"... pass "` `f"force=True"`
        assert any(wanted in text.replace('""', "").replace('"f"', "") for text in texts), piece


def test_options_take_the_place_of_parameters() -> None:
    said = in_options("Cut all to the smallest with truncate_top_k(traces, 12), or pass force=True")
    assert said == "Cut all to the smallest with --top-k 12, or pass --force"
    assert in_options("nothing of the kind") == "nothing of the kind"


def test_what_the_system_says() -> None:
    moved = OSError(21, "Is a directory", "a.part", None, "a")
    assert file_trouble(moved) == "'a': is a directory"
    assert file_trouble(OSError("no code")) == "no code"
