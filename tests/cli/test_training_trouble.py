"""What goes wrong in a training run is said in words, and the rest of the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from entropilot.cli.app import app

FILE = """
[run]
name = "x"
n_seeds = 1
[model]
name = "tiny"
[task]
name = "mine.jsonl"
{task}
[train]
n_prompts = 2
n_answers = 4
max_tokens = 4
evaluate_every = 0
n_eval_problems = 2
n_eval_answers = 2
checkpoint_every = 1
workers = 1
{train}
"""
VERIFIER = """
import time
def grade(problem, text):
    if len(text) % 2:
        raise ValueError("odd text")
    time.sleep(30 if problem.id.endswith("-1") else 0)
    return 0.5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"prompt": f"{a}+1=", "answer": str(a + 1)}) for a in range(4)]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    return tmp_path


def run(*, task: str = "", train: str = "steps = 2", recipes: str = "--recipe grpo") -> Any:
    Path("x.toml").write_text(FILE.format(task=task, train=train))
    return CliRunner().invoke(app, ["run", "x.toml", *recipes.split()])


def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("runs/x/metrics.jsonl").read_text().splitlines()]


def test_verifier_that_raises_and_hangs_is_counted_said_and_survived(here: Path) -> None:
    (here / "my_rewards.py").write_text(VERIFIER)
    result = run(task='verifier = "my_rewards:grade"\ntime_limit = 0.2')
    assert result.exit_code == 0, result.output
    assert "the verifier 'my_rewards:grade' gave no verdict on" in result.stderr
    counted: dict[str, int] = {}
    for row in rows():
        for name in row:
            if name.startswith("verifier/"):
                counted[name] = counted.get(name, 0) + row[name]
    assert counted["verifier/raised"] > 0
    total = sum(counted.values())
    page = Path("runs/x/report.html").read_text()
    assert f"The verifier gave no verdict on {total} answers of grpo" in page


def test_verifier_that_is_not_there_is_said_before_anything_is_made(here: Path) -> None:
    result = run(task='verifier = "no_such_module:grade"')
    assert result.exit_code == 2
    assert "No module named 'no_such_module'" in " ".join(result.stderr.split())
    assert not Path("runs").exists()


def test_answer_column_that_is_missing_is_named_with_those_there_are(here: Path) -> None:
    result = run(task='answer_column = "solution"')
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "has no column 'solution' for the answer: its columns are 'prompt', 'answer'" in said
    assert not Path("runs").exists()


def test_rewards_that_are_all_equal_are_said_to_teach_nothing(here: Path) -> None:
    result = run(train="steps = 11\nn_updates = 1")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stderr.split())
    assert "grpo, seed 0: every answer of the last 10 steps was wrong" in said
    assert said.count("nothing to prefer") == 1
    assert "the prompts are too hard" in Path("runs/x/report.html").read_text()


def test_numbers_that_break_stop_the_arm_and_leave_the_last_good_checkpoint(here: Path) -> None:
    (here / "my_rewards.py").write_text("def grade(problem, text): return len(text) % 3")
    train = "steps = 6\nlearning_rate = 1e30\nwarm_up = 0"
    result = run(task='verifier = "my_rewards:grade"', train=train)
    assert result.exit_code == 1
    assert "Lower train.learning_rate" in " ".join(result.output.split())
    (arm,) = json.loads(Path("runs/x/summary.json").read_text())["arms"]
    assert "the gradient is not finite although every term is" in arm["stopped"]
    assert "Lower train.learning_rate" in Path("runs/x/report.html").read_text()
    again = CliRunner().invoke(app, ["run", "x.toml", "--recipe", "grpo", "--format", "json"])
    assert again.exit_code == 1  # nothing is left to do, and the arm has not come to its end
    assert "the gradient is not finite" in json.loads(again.stdout)["stopped"]["grpo, seed 0"]
    from safetensors.torch import load_file

    kept = sorted(Path("runs/x/arms/grpo/seed-0/checkpoints").iterdir())
    assert kept
    for folder in kept:
        weights = load_file(folder / "weights.safetensors")
        assert all(bool(x.isfinite().all()) for x in weights.values())


def test_disk_that_is_full_leaves_the_old_checkpoint_and_the_run_can_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import torch as safetensors_torch

    whole, calls = safetensors_torch.save_file, []

    def full(tensors: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) == 6:  # weights and optimizer of steps 0 and 1 are there, weights of 2 too
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        whole(tensors, path)

    monkeypatch.setattr(safetensors_torch, "save_file", full)
    result = run(train="steps = 4")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "No space left on device" in said
    assert "The checkpoint of step 1 is intact." in said
    names = sorted(p.name for p in Path("runs/x/arms/grpo/seed-0/checkpoints").iterdir())
    assert names == ["step-000000", "step-000001"]
    monkeypatch.setattr(safetensors_torch, "save_file", whole)
    assert run(train="steps = 4").exit_code == 0
    assert [row["step"] for row in rows()] == [0, 1, 2, 3, 4]


def test_memory_that_runs_out_names_the_knob_and_other_arms_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from entropilot.experiments import arms

    evaluate, calls = arms.evaluate, []

    def hungry(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
        return evaluate(*arguments, **named)

    monkeypatch.setattr(arms, "evaluate", hungry)
    result = run(recipes="--recipe grpo --recipe rloo")
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert "grpo, seed 0 did not end: out of memory. Set train.micro_tokens to 4096" in said
    summary = json.loads(Path("runs/x/summary.json").read_text())
    assert [arm["recipe"] for arm in summary["arms"]] == ["rloo"]
    assert "goes on with it" in summary["unfinished"]["grpo, seed 0"]
