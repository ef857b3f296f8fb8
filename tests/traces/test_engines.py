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
from entropilot.traces import diagnosis as diagnosis_module
from entropilot.traces.diagnosis import Diagnosis, summarise_shard
from entropilot.traces.engines import Progress, diagnose_shards
from entropilot.traces.reading import ReadOptions, Shard
from entropilot.traces.summary import SummarySettings, equal_summaries, merge_summaries

DIAGNOSIS = Diagnosis(rule="line", settings=SummarySettings(vocab_size=99, n_exemplars=2))


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
    whole = diagnose_shards(shards, n_workers=1, diagnosis=DIAGNOSIS)
    assert (whole.counts["traces"], whole.report.files) == (30, 5)
    parts = [summarise_shard(path, DIAGNOSIS) for path in reversed(shards)]
    assert equal_summaries(merge_summaries(parts), whole)
    folder = diagnose_shards(shards[0].parent, n_workers=1, diagnosis=DIAGNOSIS)
    assert equal_summaries(folder, whole)
    small = Diagnosis("line", 1, ReadOptions(batch_bytes=500), DIAGNOSIS.settings)
    assert equal_summaries(diagnose_shards(shards, n_workers=1, diagnosis=small), whole)


def test_ranges_of_a_file_merge_to_the_file(shards: list[Path]) -> None:
    lines = shards[0].read_bytes().splitlines(keepends=True)
    ends = np.cumsum([0, *(len(line) for line in lines)]).tolist()
    ranges = [Shard(shards[0], ends[a], ends[b], a + 1) for a, b in ((0, 2), (2, 5), (5, 6))]
    whole = diagnose_shards(shards[0], diagnosis=DIAGNOSIS)
    assert equal_summaries(diagnose_shards(ranges, n_workers=1, diagnosis=DIAGNOSIS), whole)
    seen: list[Progress] = []
    cut = diagnose_shards(shards[0], n_workers=1, diagnosis=DIAGNOSIS, shard_bytes=3000,
                          resume=shards[0].parent / "kept", progress=seen.append)  # fmt: skip
    assert seen[-1].total > 1
    assert equal_summaries(cut, whole)


@pytest.mark.slow
def test_processes_give_the_same(shards: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    seen: list[Progress] = []
    found = diagnose_shards(shards, n_workers=2, diagnosis=DIAGNOSIS, progress=seen.append)
    assert equal_summaries(found, diagnose_shards(shards, n_workers=1, diagnosis=DIAGNOSIS))
    assert [p.done for p in seen] == [1, 2, 3, 4, 5]
    assert (seen[-1].traces, seen[-1].total, seen[-1].resumed) == (30, 5, 0)
    (shards[3]).write_text(json.dumps({"choices": []}) + "\n{broken\n")
    strict = Diagnosis(options=ReadOptions(strict=True))
    with pytest.raises(InputError, match=r"3\.jsonl"):  # errors cross the process border whole
        diagnose_shards(shards, n_workers=2, diagnosis=strict)


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
        found = diagnose_shards(shards, engine="ray", diagnosis=DIAGNOSIS, resume=kept)
        assert equal_summaries(found, diagnose_shards(shards, n_workers=1, diagnosis=DIAGNOSIS))
        assert len(list(kept.iterdir())) == 5
        assert ray.is_initialized()  # a cluster that was there before stays
        with pytest.raises(InputError, match="missing"):
            diagnose_shards([*shards, tmp_path / "missing.jsonl"], engine="ray")
    finally:
        ray.shutdown()


def test_a_stopped_run_goes_on(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "results"
    whole = diagnose_shards(shards, n_workers=1, diagnosis=DIAGNOSIS)

    def stop_after_two(progress: Progress) -> None:
        if progress.done == 2:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        diagnose_shards(
            shards, n_workers=1, diagnosis=DIAGNOSIS, resume=kept, progress=stop_after_two
        )
    assert len(list(kept.iterdir())) == 2

    read: list[str] = []
    original = diagnosis_module.read_traces

    def counting(source: Any, **options: Any) -> Iterator[Any]:
        read.append(source.path.name)
        return original(source, **options)

    monkeypatch.setattr(diagnosis_module, "read_traces", counting)
    seen: list[Progress] = []
    found = diagnose_shards(
        shards, n_workers=1, diagnosis=DIAGNOSIS, resume=kept, progress=seen.append
    )
    assert equal_summaries(found, whole)
    assert read == ["2.jsonl", "3.jsonl", "4.jsonl"]
    assert [p.resumed for p in seen] == [1, 2, 2, 2, 2]

    # A changed file, or another question, is read anew.
    read.clear()
    shards[0].write_text(shards[1].read_text())
    diagnose_shards(shards, n_workers=1, diagnosis=DIAGNOSIS, resume=kept)
    assert read == ["0.jsonl"]
    read.clear()
    diagnose_shards(shards, n_workers=1, diagnosis=Diagnosis("sentence"), resume=kept)
    assert len(read) == 5


def test_one_unreadable_shard_is_counted(shards: list[Path], tmp_path: Path) -> None:
    junk = tmp_path / "junk.jsonl"
    junk.write_text("{broken\n")
    found = diagnose_shards([*shards, junk], n_workers=1, diagnosis=DIAGNOSIS)
    assert found.counts["traces"] == 30
    assert found.report.skipped_lines == 1
    kept = tmp_path / "results"
    for _ in range(2):  # a result of nothing is not kept
        with pytest.raises(FormatError, match="nothing could be read"):
            diagnose_shards(junk, resume=kept)
    with pytest.raises(FormatError, match="nothing could be read"):
        summarise_shard(junk)


def test_bad_arguments(shards: list[Path]) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'local'"):
        diagnose_shards(shards, engine="locale")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="n_workers is 0"):
        diagnose_shards(shards, n_workers=0)
    with pytest.raises(ConfigurationError, match="unknown rule 'spans'"):
        Diagnosis("spans")
    with pytest.raises(ConfigurationError, match="top_k 0"):
        Diagnosis(top_k=0)


def test_lists_can_be_cut_on_the_way(shards: list[Path]) -> None:
    whole = diagnose_shards(shards, n_workers=1)
    cut = diagnose_shards(shards, n_workers=1, diagnosis=Diagnosis(top_k=2))
    assert set(whole.frame["k"]) == {4}
    assert set(cut.frame["k"]) == {2}
    assert cut.frame["entropy_max"].max() <= math.log(2) + 1e-12


@pytest.mark.slow
def test_an_interrupt_leaves_no_worker_behind(shards: list[Path], tmp_path: Path) -> None:
    """SIGINT to the parent alone: it stops, its workers are gone, finished shards are kept."""
    marker, kept = tmp_path / "ready", tmp_path / "results"
    program = f"""
import multiprocessing, pathlib, sys, time
from entropilot.traces.engines import diagnose_shards
def progress(p):
    pids = [str(c.pid) for c in multiprocessing.active_children()]
    part = pathlib.Path({str(marker)!r} + ".part")
    part.write_text(" ".join(pids)); part.rename({str(marker)!r})
    time.sleep(60)
if __name__ == "__main__":
    diagnose_shards({[str(path) for path in shards]!r}, n_workers=2, progress=progress,
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
    whole = diagnose_shards(shards, n_workers=1)
    seen: list[Progress] = []
    again = diagnose_shards(shards, n_workers=1, resume=kept, progress=seen.append)
    assert seen[-1].resumed == 1
    assert equal_summaries(again, whole)


def test_lists_that_are_no_distributions_are_counted(shards: list[Path]) -> None:
    good = shards[0].read_text()
    top = [{"token": t, "logprob": -0.1} for t in "ab"]
    bad = {"id": "bad", "choices": [{"logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}
    shards[0].write_text(good + json.dumps(bad) + "\n")
    found = diagnose_shards(shards[0], n_workers=1, diagnosis=DIAGNOSIS)
    assert found.counts["traces"] == found.report.traces == 6
    assert found.report.tokens == found.counts["tokens"]
    assert found.report.skipped_lines == 1
    assert found.report.skipped[0].line == 7
    assert "step 0 lists a probability mass of 1.80967" in found.report.skipped[0].reason
    with pytest.raises(InputError, match=r"0\.jsonl, line 7: step 0 lists"):
        diagnose_shards(shards[0], diagnosis=Diagnosis(options=ReadOptions(strict=True)))
    shards[0].write_text(json.dumps(bad) + "\n")
    with pytest.raises(FormatError, match=r"nothing could be read\..* line 1: step 0 lists"):
        diagnose_shards(shards[0], diagnosis=DIAGNOSIS)
