"""Processes of a run: one that dies takes its own arm only, and what each says is its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from entropilot.errors import ConfigurationError
from entropilot.experiments import ExperimentConfig, load_config, run_training
from entropilot.experiments.arms import ArmPlan, plan_arms
from entropilot.experiments.run_folder import only_run
from entropilot.experiments.workers import run_arms
from entropilot.report.training_verdict import verdict_sentences

SMALL = {
    "train.steps": 6,
    "train.n_prompts": 2,
    "train.n_answers": 4,
    "train.n_eval_problems": 2,
    "train.n_eval_answers": 2,
    "train.evaluate_every": 0,
    "train.checkpoint_every": 1,
    "train.workers": 2,
    "run.n_seeds": 1,
}
TIMES = ("seconds", "seconds_rollout", "tokens_per_second")


def config(folder: Path, *recipes: str, **changes: Any) -> ExperimentConfig:
    return load_config(
        overrides=SMALL | {"run.folder": str(folder)} | changes,
        recipes=recipes or ("grpo", "rloo", "gspo"),
    )


def own_children() -> list[int]:
    return [p.pid for p in multiprocessing.active_children() if p.pid is not None]


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


@pytest.mark.slow
def test_killed_process_takes_only_its_own_arm_and_the_rest_can_be_had_later(
    tmp_path: Path,
) -> None:
    killed: list[str] = []

    def heard(arm: ArmPlan, row: Mapping[str, Any]) -> None:
        if not killed and row["step"] == 2:  # the process that said this is at work on it
            killed.append(arm.name)
            before = own_children()
            victim = min(before, key=lambda pid: Path(f"/proc/{pid}").stat().st_ctime)
            os.kill(victim, signal.SIGKILL)

    chosen = config(tmp_path / "cut")
    result = run_training(chosen, heard=heard)
    (name,) = result.failed  # one arm, whichever process the oldest was
    assert "killed (SIGKILL)" in result.failed[name]
    assert "train.micro_tokens" in result.failed[name]
    assert len(result.comparison.arms) == 2
    said = " ".join(verdict_sentences(result.comparison))
    assert f"{name} did not come to its end: its process was killed" in said
    assert "The same command again goes on with it from its last checkpoint." in said
    summary = json.loads((result.folder / "summary.json").read_text())
    assert list(summary["unfinished"]) == [name]

    again = run_training(chosen)
    assert again.failed == {}
    assert len(again.comparison.arms) == 3
    whole = run_training(config(tmp_path / "whole"))
    assert lines(again.folder) == lines(whole.folder)


def test_rows_of_each_arm_are_whole_and_in_order(tmp_path: Path) -> None:
    seen: dict[str, list[int]] = {}

    def heard(arm: ArmPlan, row: Mapping[str, Any]) -> None:
        seen.setdefault(arm.name, []).append(row["step"])

    chosen = config(tmp_path)
    assert run_arms(chosen, plan_arms(chosen), heard) == {}
    assert seen == {arm.name: list(range(7)) for arm in plan_arms(chosen)}
    for arm in plan_arms(chosen):
        rows = lines(arm.folder(chosen.folder))
        assert [row["step"] for row in rows] == list(range(7))


@pytest.mark.parametrize("workers", [1, 2])
def test_warnings_name_their_arm_and_come_once(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []
    # one answer update a batch: KL-Cov has nothing to act on and says so, in both of its arms
    changes = {"train.n_updates": 1, "train.workers": workers, "run.n_seeds": 2}
    chosen = config(tmp_path, "kl-cov", **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing leaks past
        failed = run_arms(
            chosen,
            plan_arms(chosen),
            lambda _arm, _row: None,
            lambda arm, sentence: said.append((arm.name, sentence)),
        )
    assert failed == {}
    about = [name for name, sentence in said if "no effect on the first update" in sentence]
    assert sorted(about) == ["kl-cov, seed 0", "kl-cov, seed 1"]


def test_one_folder_is_worked_on_by_one_run(tmp_path: Path) -> None:
    with (
        only_run(tmp_path),
        pytest.raises(ConfigurationError, match="under way in another process"),
        only_run(tmp_path),
    ):
        pass
    with only_run(tmp_path):
        pass


ORPHANS = """
import os, sys
from entropilot.experiments import load_config
from entropilot.experiments.arms import plan_arms
from entropilot.experiments.workers import run_arms
import multiprocessing
if __name__ == "__main__":
    config = load_config(overrides=eval(sys.argv[1]), recipes=["grpo", "rloo"])
    def heard(arm, row):
        print(*[p.pid for p in multiprocessing.active_children()], flush=True)
    run_arms(config, plan_arms(config), heard)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_processes_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "go.py"
    script.write_text(ORPHANS)
    overrides = SMALL | {"run.folder": str(tmp_path), "train.steps": 2000}
    process = subprocess.Popen(
        [sys.executable, str(script), repr(overrides)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    children = [int(pid) for pid in process.stdout.readline().split()]
    assert len(children) == 2
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
