from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from entropilot.cli.app import app

RUNNER = CliRunner()
FAST = ("--order", "2", "--readings", "2", "--memory", "1")


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "noise.bin").write_bytes(rng.bytes(6000))
    (tmp_path / "table.bin").write_bytes(rng.bytes(250) * 30)
    return str(tmp_path / "table.bin"), str(tmp_path / "noise.bin")


def invoke(*arguments, code=0, given=None):
    found = RUNNER.invoke(app, ["epiplexity", *arguments, *FAST], input=given)
    assert found.exit_code == code, found.output
    return found


def test_the_answer_comes_first(files):
    text = " ".join(invoke(*files).stdout.split())
    assert "table.bin holds the most learnable structure:" in text
    assert "S, structure" in text
    assert "Compared at equal length" in text


def test_json_and_files(files, tmp_path):
    found = json.loads(invoke(*files, "--json").stdout)
    assert found["schema"] == "entropilot/epiplexity/1"
    assert found["symbols"] == 6000
    for name, start in (("a.html", "<!doctype html>"), ("a.md", "# "), ("a.json", "{")):
        invoke(*files, "-o", str(tmp_path / name))
        assert (tmp_path / name).read_text().startswith(start)
    invoke(*files, "-o", str(tmp_path / "a.txt"))
    assert "S, structure" in (tmp_path / "a.txt").read_text()


def test_standard_input_and_one_file(files):
    assert "standard input" in invoke("-", given=b"ab" * 3000).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--length", "100"), "at least 2,000"),
        (("--length", "0"), "--length is 0"),
        (("--json", "--format", "md"), "choose one"),
    ],
)
def test_bad_options(files, options, message):
    assert message in " ".join(invoke(*files, *options, code=2).output.split())


def test_bad_files(files, tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "short.txt").write_bytes(b"too short")
    for name, message in (
        ("empty.txt", "is empty"),
        ("short.txt", "has 9 bytes; at least 2,000"),
        ("none.txt", "no such file"),
        ("", "is a folder"),
    ):
        found = invoke(files[0], str(tmp_path / name), code=2)
        assert message in " ".join(found.output.split())
    assert "is read as well" in invoke(files[0], "-o", files[0], code=2).output
