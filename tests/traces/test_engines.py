"""Many shards, one summary: in this process, in others, on Ray, in one go or after a stop."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, FormatError, InputError
from entropilot.traces import log_summary
from entropilot.traces.engines import Progress, summarise_logs
from entropilot.traces.log_summary import LogSettings, summarise_log
from entropilot.traces.reading.options import ReadOptions, Shard
from entropilot.traces.summary import SummarySettings, equal_summaries, merge_summaries

SETTINGS = LogSettings(rule="line", summary=SummarySettings(vocab_size=99, n_exemplars=2))


def record(name: str, rng: np.random.Generator) -> str:
    content = []
    for _ in range(int(rng.integers(1, 9))):
        p = rng.dirichlet(np.ones(5))[:4]
        names = rng.choice(["a", " b", ".\n", "c", "\n\n", "é"], 4, replace=False)
        top = [{"token": t, "logprob": math.log(x)} for t, x in zip(names, sorted(-p), strict=True)
               for x in [-x]]  # fmt: skip
        content.append({**top[0], "top_logprobs": top})
    return json.dumps({"id": name, "choices": [{"logprobs": {"content": content}}]})


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for i in range(5):
        path = tmp_path / f"{i}.jsonl"
        path.write_text("".join(record(f"{i}-{j}", rng) + "\n" for j in range(6)))
        paths.append(path)
    return paths


def test_shards_merge_to_the_whole(shards: list[Path]) -> None:
    whole = summarise_logs(shards, n_workers=1, settings=SETTINGS)
    assert (whole.counts["traces"], whole.report.files) == (30, 5)
    parts = [summarise_log(path, SETTINGS) for path in reversed(shards)]
    assert equal_summaries(merge_summaries(parts), whole)
    folder = summarise_logs(shards[0].parent, n_workers=1, settings=SETTINGS)
    assert equal_summaries(folder, whole)
    small = LogSettings("line", 1, ReadOptions(batch_bytes=500), SETTINGS.summary)
    assert equal_summaries(summarise_logs(shards, n_workers=1, settings=small), whole)


def test_ranges_of_a_file_merge_to_the_file(shards: list[Path]) -> None:
    lines = shards[0].read_bytes().splitlines(keepends=True)
    ends = np.cumsum([0, *(len(line) for line in lines)]).tolist()
    ranges = [Shard(shards[0], ends[a], ends[b], a + 1) for a, b in ((0, 2), (2, 5), (5, 6))]
    whole = summarise_logs(shards[0], settings=SETTINGS)
    assert equal_summaries(summarise_logs(ranges, n_workers=1, settings=SETTINGS), whole)
    seen: list[Progress] = []
    cut = summarise_logs(shards[0], n_workers=1, settings=SETTINGS, shard_bytes=3000,
                          resume=shards[0].parent / "kept", progress=seen.append)  # fmt: skip
    assert seen[-1].total > 1
    assert equal_summaries(cut, whole)


@pytest.mark.slow
def test_processes_give_the_same(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    seen: list[Progress] = []
    found = summarise_logs(shards, n_workers=2, settings=SETTINGS, progress=seen.append)
    assert equal_summaries(found, summarise_logs(shards, n_workers=1, settings=SETTINGS))
    assert [p.done for p in seen] == [1, 2, 3, 4, 5]
    assert (seen[-1].traces, seen[-1].total, seen[-1].resumed) == (30, 5, 0)
    (shards[3]).write_text(json.dumps({"choices": []}) + "\n{broken\n")
    strict = LogSettings(options=ReadOptions(strict=True))
    with pytest.raises(InputError, match=r"3\.jsonl"):  # errors cross the process border whole
        summarise_logs(shards, n_workers=2, settings=strict)


@pytest.mark.slow
@pytest.mark.ray
def test_ray_gives_the_same(
    shards: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        kept = tmp_path / "results"
        found = summarise_logs(shards, engine="ray", settings=SETTINGS, resume=kept)
        assert equal_summaries(found, summarise_logs(shards, n_workers=1, settings=SETTINGS))
        assert len(list(kept.iterdir())) == 5
        assert ray.is_initialized()  # a cluster that was there before stays
        with pytest.raises(InputError, match="missing"):
            summarise_logs([*shards, tmp_path / "missing.jsonl"], engine="ray")
    finally:
        ray.shutdown()


def test_a_stopped_run_goes_on(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "results"
    whole = summarise_logs(shards, n_workers=1, settings=SETTINGS)

    def stop_after_two(progress: Progress) -> None:
        if progress.done == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        summarise_logs(shards, n_workers=1, settings=SETTINGS, resume=kept, progress=stop_after_two)
    assert len(list(kept.iterdir())) == 2

    read: list[str] = []
    original = log_summary.read_traces

    def counting(source: Any, **options: Any) -> Iterator[Any]:
        read.append(source.path.name)
        return original(source, **options)

    monkeypatch.setattr(log_summary, "read_traces", counting)
    seen: list[Progress] = []
    found = summarise_logs(
        shards, n_workers=1, settings=SETTINGS, resume=kept, progress=seen.append
    )
    assert equal_summaries(found, whole)
    assert read == ["2.jsonl", "3.jsonl", "4.jsonl"]
    assert [p.resumed for p in seen] == [1, 2, 2, 2, 2]

    # A changed file, or another question, is read anew.
    read.clear()
    shards[0].write_text(shards[1].read_text())
    summarise_logs(shards, n_workers=1, settings=SETTINGS, resume=kept)
    assert read == ["0.jsonl"]
    read.clear()
    summarise_logs(shards, n_workers=1, settings=LogSettings("sentence"), resume=kept)
    assert len(read) == 5


def test_one_unreadable_shard_is_counted(shards: list[Path], tmp_path: Path) -> None:
    junk = tmp_path / "junk.jsonl"
    junk.write_text("{broken\n")
    found = summarise_logs([*shards, junk], n_workers=1, settings=SETTINGS)
    assert found.counts["traces"] == 30
    assert found.report.skipped_lines == 1
    kept = tmp_path / "results"
    for _ in range(2):  # a result of nothing is not kept
        with pytest.raises(FormatError, match="nothing could be read"):
            summarise_logs(junk, resume=kept)
    with pytest.raises(FormatError, match="nothing could be read"):
        summarise_log(junk)


def test_bad_arguments(shards: list[Path]) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'local'"):
        summarise_logs(shards, engine="locale")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="n_workers is 0"):
        summarise_logs(shards, n_workers=0)
    with pytest.raises(ConfigurationError, match="unknown rule 'spans'"):
        LogSettings("spans")
    with pytest.raises(ConfigurationError, match="top_k 0"):
        LogSettings(top_k=0)


def test_lists_can_be_cut_on_the_way(shards: list[Path]) -> None:
    whole = summarise_logs(shards, n_workers=1)
    cut = summarise_logs(shards, n_workers=1, settings=LogSettings(top_k=2))
    assert set(whole.frame["k"]) == {4}
    assert set(cut.frame["k"]) == {2}
    assert cut.frame["entropy_max"].max() <= math.log(2) + 1e-12


@pytest.mark.slow
def test_an_interrupt_leaves_no_worker_behind(shards: list[Path], tmp_path: Path) -> None:
    """SIGINT to the parent alone: it stops, its workers are gone, finished shards are kept."""
    marker, kept = tmp_path / "ready", tmp_path / "results"
    program = f"""
import multiprocessing, pathlib, sys, time
from entropilot.traces.engines import summarise_logs
def progress(p):
    pids = [str(c.pid) for c in multiprocessing.active_children()]
    part = pathlib.Path({str(marker)!r} + ".part")
    part.write_text(" ".join(pids)); part.rename({str(marker)!r})
    time.sleep(60)
if __name__ == "__main__":
    summarise_logs({[str(path) for path in shards]!r}, n_workers=3, progress=progress,
                    resume={str(kept)!r})
"""
    script = tmp_path / "run.py"
    script.write_text(program)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, text=True
    )
    limit = time.monotonic() + 120
    while not marker.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    workers = [int(pid) for pid in marker.read_text().split()]
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert len(list(kept.glob("*.summary"))) == 1
    whole = summarise_logs(shards, n_workers=1)
    seen: list[Progress] = []
    again = summarise_logs(shards, n_workers=1, resume=kept, progress=seen.append)
    assert seen[-1].resumed == 1
    assert equal_summaries(again, whole)


def test_lists_that_are_no_distributions_are_counted(shards: list[Path]) -> None:
    good = shards[0].read_text()
    top = [{"token": t, "logprob": -0.1} for t in "ab"]
    bad = {"id": "bad", "choices": [{"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}
    shards[0].write_text(good + json.dumps(bad) + "\n")
    found = summarise_logs(shards[0], n_workers=1, settings=SETTINGS)
    assert found.counts["traces"] == found.report.traces == 6
    assert found.report.tokens == found.counts["tokens"]
    assert found.report.skipped_lines == 1
    assert found.report.skipped[0].line == 7
    assert "step 0 lists a probability mass of 1.80967" in found.report.skipped[0].reason
    with pytest.raises(InputError, match=r"0\.jsonl, line 7: step 0 lists"):
        summarise_logs(shards[0], settings=LogSettings(options=ReadOptions(strict=True)))
    shards[0].write_text(json.dumps(bad) + "\n")
    with pytest.raises(FormatError, match=r"nothing could be read\..* line 1: step 0 lists"):
        summarise_logs(shards[0], settings=SETTINGS)
