"""``train.engine``: an arm trained by TRL is one like any other; verl says how it is started."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from entropilot.errors import ConfigurationError
from entropilot.experiments import ExperimentConfig, plan_training, run_training
from entropilot.experiments.arms import EVALUATION_FILE, ArmPlan, plan_arms
from entropilot.experiments.config_file import parse_config
from entropilot.policy.training.metrics_log import MEANINGS

TIMES = ("seconds", "tokens_per_second")

TEXT = """
[run]
name = "t"
n_seeds = 1
[model]
name = "tiny"
[task]
name = "{problems}"
verifier = "trl_engine_verifier:letters"
[train]
engine = "trl"
steps = 4
n_prompts = 4
n_answers = 4
max_tokens = 6
learning_rate = 0.01
micro_tokens = 48
evaluate_every = 2
n_eval_problems = 4
n_eval_answers = 4
checkpoint_every = 2
workers = 1
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ExperimentConfig]:
    pytest.importorskip("trl", reason="TRL is not installed")
    (tmp_path / "trl_engine_verifier.py").write_text(
        "def letters(problem, text):\n    return sum(c.isalnum() for c in text) / 8\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    problems = tmp_path / "problems.jsonl"
    lines = [json.dumps({"prompt": f"say {i}", "answer": str(i)}) for i in range(40)]
    problems.write_text("\n".join(lines) + "\n")

    def make(folder: str = "runs", recipe: str = "siren", **changes: Any) -> ExperimentConfig:
        overrides = {"run.folder": str(tmp_path / folder)} | changes
        text = TEXT.format(problems=problems)
        return parse_config(text, overrides=overrides, recipes=[recipe])

    return make


def rows(config: ExperimentConfig) -> list[dict[str, Any]]:
    text = (plan_arms(config)[0].folder(config.folder) / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


@pytest.mark.slow
def test_arm_in_trl_leaves_what_a_local_one_leaves_and_survives_a_stop(
    config: Callable[..., ExperimentConfig],
) -> None:
    whole = config("whole")
    result = run_training(whole)
    assert result.failed == {}
    logged = rows(whole)
    assert [row["step"] for row in logged] == [0, 1, 2, 3, 4]
    assert [row["step"] for row in logged if "eval/pass@1" in row] == [0, 2, 4]
    assert any(row.get("loss") for row in logged)
    named = {"reward", "accuracy", "entropy", "length", "truncated", "loss", "learning_rate"}
    assert named <= set(logged[1]) & set(MEANINGS)
    assert logged[1]["siren/anchor"] == logged[4]["siren/anchor"]
    (arm,) = result.comparison.arms
    assert arm.end != arm.start

    class StopError(KeyboardInterrupt):  # as Ctrl-C does; an Exception fails the arm alone
        pass

    def stop(_arm: ArmPlan, row: Mapping[str, Any]) -> None:
        if row["step"] == 3:
            raise StopError

    stopped = config("stopped")
    with pytest.raises(StopError):
        run_training(stopped, heard=stop)
    again = run_training(stopped)
    assert rows(stopped) == logged
    assert again.comparison.arms[0].end == arm.end

    evaluation = plan_arms(whole)[0].folder(whole.folder) / EVALUATION_FILE
    kept = json.loads(evaluation.read_text())
    del kept["end"]  # as if killed before the last evaluation
    evaluation.write_text(json.dumps(kept))
    assert run_training(whole).comparison.arms[0].end == arm.end


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"task.name": "addition", "model.name": "reasoner"}, "which trains language models"),
        ({"train.n_updates": 3}, "16 answers .* can't be cut into n_updates = 3"),
    ],
)
def test_what_trl_cannot_run_is_refused_before_anything_is_loaded(
    config: Callable[..., ExperimentConfig], changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        plan_training(config(**changes))


def test_verl_prints_how_it_is_started(config: Callable[..., ExperimentConfig]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        plan_training(config(recipe="kl-cov", **{"train.engine": "verl"}))
    assert "actor.policy_loss.loss_mode=entropilot-kl-cov" in str(raised.value)
    with pytest.raises(ConfigurationError, match="siren needs nucleus_entropy"):
        plan_training(config(**{"train.engine": "verl"}))


def test_unknown_engine_names_the_known(config: Callable[..., ExperimentConfig]) -> None:
    with pytest.raises(ConfigurationError, match="'local', 'trl' or 'verl'"):
        config(**{"train.engine": "ray"})
