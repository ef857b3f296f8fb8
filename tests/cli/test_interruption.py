"""Stopped by Ctrl-C, `kill` or worse: no process stays, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc"),
]

Start = Callable[..., subprocess.Popen[str]]
RUN = ("run", "--model", "tiny", "--problems", 200, "--samples", 8)


def alive(group: int) -> list[str]:
    """Processes of a group that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if entry.name.isdigit() and int(fields[2]) == group and fields[0] not in "ZX":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except (OSError, IndexError):  # it ended while we looked
            continue
    return found


def wait_until(reached: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.fixture
def parts(tmp_path: Path, answers: Any) -> Iterator[Path]:
    """A folder of three logs, and beside it a pipe that nobody writes to: reading never ends."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for part in range(3):
        rows = [{**row, "id": f"{part}-{row['id']}"} for row in answers(8, part)]
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    os.mkfifo(tmp_path / "never.jsonl")
    reader = os.open(tmp_path / "never.jsonl", os.O_RDWR)
    yield folder
    os.close(reader)


def ended(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=30)
    wait_until(lambda: not alive(process.pid), 10)
    assert "Traceback" not in said
    return " ".join(said.split())


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)],
)
@pytest.mark.parametrize("worker_hangs", [True, False])  # else the process that waits for it
def test_diagnose_with_processes_leaves_none_behind(
    started: Start,
    parts: Path,
    tmp_path: Path,
    number: signal.Signals,
    whole_group: bool,
    worker_hangs: bool,
) -> None:
    sources = ["never.jsonl", parts] if worker_hangs else [parts, "never.jsonl"]
    process = started("diagnose", *sources, "--workers", 2, "--resume", "kept")
    kept = tmp_path / "kept"
    wait_until(lambda: len(list(kept.glob("*.summary"))) >= (3 if worker_hangs else 1))
    assert len(alive(process.pid)) > 2
    (os.killpg if whole_group else os.kill)(process.pid, number)
    said = ended(process)
    assert process.returncode == 130
    assert "interrupted, nothing is written" in said
    assert "Finished parts are kept in kept; the same command goes on" in said
    assert not (tmp_path / "report.html").exists()
    again = started("diagnose", parts, "--workers", 2, "--resume", "kept", "-o", "a.json")
    assert "24 traces" in ended(again)
    assert again.returncode == 0


def test_without_resume_the_message_names_it(started: Start, parts: Path) -> None:
    process = started("diagnose", parts, "never.jsonl", "--workers", 2)
    assert process.stderr is not None
    process.stderr.readline()  # the first part is done
    os.killpg(process.pid, signal.SIGINT)
    assert "With --resume FOLDER finished parts are kept" in ended(process)
    assert process.returncode == 130


def test_workers_end_with_a_parent_that_was_killed(
    started: Start, parts: Path, tmp_path: Path
) -> None:
    process = started("diagnose", "never.jsonl", parts, "--workers", 2, "--resume", "kept")
    wait_until(lambda: len(list((tmp_path / "kept").glob("*.summary"))) == 3)
    process.kill()
    ended(process)


def files(folder: Path) -> dict[str, bytes]:
    """What a run leaves, without the time at which its report was made."""
    names = ("traces.parquet", "summary.json", "experiment.json", "model.json")
    found = {name: (folder / name).read_bytes() for name in names}
    return found | {file.name: file.read_bytes() for file in (folder / "chunks").iterdir()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_to_the_same_files(
    started: Start, tmp_path: Path, number: signal.Signals
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = started(*RUN, cwd=tmp_path / "whole")
    assert whole.wait(timeout=300) == 0, ended(whole)
    cut = started(*RUN, cwd=tmp_path / "cut")
    chunks = tmp_path / "cut/runs/diagnosis/chunks"
    wait_until(lambda: len(list(chunks.glob("[0-9]*.parquet"))) >= 2, 120)
    os.killpg(cut.pid, number)
    said = ended(cut)
    assert cut.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert "what is finished is kept, the same command goes on from there" in said
    done = {file.name: file.stat().st_mtime_ns for file in chunks.glob("[0-9]*.parquet")}
    assert 2 <= len(done) < len(list((tmp_path / "whole/runs/diagnosis/chunks").iterdir()))
    on = started(*RUN, cwd=tmp_path / "cut")
    assert on.wait(timeout=300) == 0
    assert files(tmp_path / "cut/runs/diagnosis") == files(tmp_path / "whole/runs/diagnosis")
    for name, age in done.items():
        assert (chunks / name).stat().st_mtime_ns == age
