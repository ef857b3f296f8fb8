"""What the tests of the commands share: small logs, and the command in this process or its own."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import entropilot
from entropilot.cli.app import app

SOURCE = Path(entropilot.__file__).parent.parent
WORDS = (
    "Ben has three boxes with twelve pencils in each . He gives five to Eva . So the answer is 31"
)


def made_answer(
    number: int, rng: random.Random, *, n: int = 12, k: int = 5, **more: Any
) -> dict[str, Any]:
    """One chat completion in which wrong answers hesitate more often than right ones."""
    right = rng.random() < 0.5
    words, content = WORDS.split(), []
    for place in range(n):
        spread = 0.3 + rng.random() * (1.0 if right else 2.0)
        weights = [math.exp(-rank / spread) for rank in range(k)]
        total = sum(weights) / 0.97
        names = [f" {words[place % len(words)]}", *(f" other{rank}" for rank in range(1, k))]
        top = [
            {"token": name, "logprob": math.log(weight / total), "bytes": list(name.encode())}
            for name, weight in zip(names, weights, strict=True)
        ]
        content.append({**top[0], "top_logprobs": top})
    text = "".join(entry["token"] for entry in content)
    choice = {"index": 0, "message": {"content": text}, "logprobs": {"content": content}}
    return {
        "id": f"t{number}",
        "problem_id": f"p{number // 4}",
        "passed_test": right,
        "choices": [{**choice, "finish_reason": "stop"}],
        **more,
    }


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Standard error in one line, whatever the width it was wrapped to."""
        return " ".join(self.err.replace("│", " ").split())


@pytest.fixture(scope="session")
def answers() -> Callable[..., list[dict[str, Any]]]:
    """Maker of n answers; keywords as for one."""

    def make(count: int, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
        rng = random.Random(seed)
        return [made_answer(i, rng, **options) for i in range(count)]

    return make


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[..., Path]:
    """Writer of rows to a file of the test's folder."""
    return lambda name, rows: written(tmp_path / name, rows)


@pytest.fixture
def log(tmp_path: Path, answers: Any) -> Path:
    """40 answers to 10 problems, 5 alternatives a token; passed_test says which are right."""
    return written(tmp_path / "log.jsonl", answers(40))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Ended]:
    """Run the command line in this process, in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, stdin: str | bytes | None = None) -> Ended:
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        known = result.exception is None or isinstance(result.exception, SystemExit)
        assert known, f"{arguments} raised {result.exception!r}"
        return Ended(result.exit_code, result.stdout_bytes.decode(), result.stderr)

    return run


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., subprocess.Popen[Any]]:
    """Start the command line as a process of a group of its own."""

    def start(*arguments: object, **options: Any) -> subprocess.Popen[Any]:
        environment = os.environ | {
            "PYTHONPATH": str(SOURCE),
            "COLUMNS": "200",
            **options.pop("env", {}),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "entropilot", *map(str, arguments)],
            text=options.pop("text", True),
            cwd=options.pop("cwd", tmp_path),
            env=environment,
            start_new_session=True,
            stdout=options.pop("stdout", subprocess.PIPE),
            stderr=options.pop("stderr", subprocess.PIPE),
            **options,
        )

    return start
