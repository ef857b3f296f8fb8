"""``entropilot run`` with training, and ``entropilot recipes``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entropilot.cli.app import app
from entropilot.cli.training import training_table
from entropilot.policy.recipe_table import RECIPES

FILE = """
[run]
name = "small"
n_seeds = 1
[train]
steps = 2
n_prompts = 2
n_answers = 4
n_eval_problems = 4
n_eval_answers = 4
evaluate_every = 1
workers = 1
[[recipes]]
name = "grpo"
[[recipes]]
name = "clip-higher"
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(FILE)
    return file


def test_run_trains_and_writes_a_report(experiment: Path, tmp_path: Path) -> None:
    arguments = ["run", str(experiment), "--folder", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "clip-higher" in result.stdout
    assert "One seed was run" in result.stdout.replace("\n", " ")
    assert "grpo, seed 0: step 2/2" in result.stderr
    page = (tmp_path / "runs" / "small" / "report.html").read_text()
    assert "Objectives in full" in page
    assert (tmp_path / "runs" / "small" / "report.md").read_text().startswith("# Recipes on")
    found = json.loads((tmp_path / "runs" / "small" / "report.json").read_text())
    assert [recipe["label"] for recipe in found["recipes"]] == ["grpo", "clip-higher"]
    again = CliRunner().invoke(app, [*arguments, "--format", "json"])
    assert json.loads(again.stdout)["failed"] == {}


def test_dry_run_says_the_plan_and_the_cost(experiment: Path, tmp_path: Path) -> None:
    arguments = ["run", str(experiment), "--folder", str(tmp_path / "runs"), "--dry-run"]
    result = CliRunner().invoke(app, arguments)
    assert "under 2 recipes (grpo, clip-higher)" in result.stdout
    assert "about 3,936 answer tokens" in result.stdout
    assert not (tmp_path / "runs").exists()
    plain = CliRunner().invoke(app, [*arguments, "--format", "json"])
    assert json.loads(plain.stdout)["arms"] == 2


def test_recipes_are_listed_and_shown() -> None:
    listed = CliRunner().invoke(app, ["recipes", "--format", "json"])
    assert {recipe["name"] for recipe in json.loads(listed.stdout)} == set(RECIPES)
    block = CliRunner().invoke(app, ["recipes", "show", "steer", "--toml"])
    assert tomllib.loads(block.stdout)["recipes"][0]["w_min"] == 0.8
    both = CliRunner().invoke(app, ["recipes", "show", "kl-cov", "--verl", "--toml"])
    assert both.exit_code == 2
    chosen = CliRunner().invoke(app, ["recipes", "show", "kl-cov", "--verl"])
    assert "policy_loss.loss_mode=entropilot-kl-cov" in chosen.stdout
    text = CliRunner().invoke(app, ["recipes", "show", "kl-cov"])
    assert "when it does nothing" in text.stdout


def test_table_off_a_terminal_prints_evaluations_only(capsys: pytest.CaptureFixture[str]) -> None:
    with training_table(4) as update:
        update("grpo", 0, {"step": 0, "eval/pass@1": 0.5, "eval/entropy": 0.3})
        update("grpo", 0, {"step": 1, "reward": 0.2})
        update("grpo", 0, {"step": 4, "reward": 0.4, "eval/pass@1": 0.75, "tokens_per_second": 9e3})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "step 4/4, reward 0.400, pass@1 0.750" in lines[1]
    assert lines[1].endswith("left done")


def test_table_off_a_terminal_prints_every_tenth_of_a_long_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with training_table(100) as update:
        for step in range(101):
            update("grpo", 0, {"step": step, "reward": 0.2, "n_tokens": 500})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert "step 50/100" in lines[5]
    assert "tokens/s" in lines[5]
