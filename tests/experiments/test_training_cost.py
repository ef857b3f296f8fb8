"""The cost of a run: what is counted, what it scales with, and where it is not known."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from entropilot.experiments import load_config, plan_training
from entropilot.experiments import training_cost as module
from entropilot.experiments.training_cost import arm_seconds, n_evaluations, product_speed, workload
from entropilot.models.model_size import SIZES, ModelSize, model_size
from entropilot.policy.training.settings import TrainSettings

SETTINGS = TrainSettings(
    steps=10, n_prompts=4, n_answers=8, n_updates=2, n_eval_problems=5, n_eval_answers=3
)


def test_work_is_that_of_the_run() -> None:
    found = workload(SETTINGS, prompt_tokens=20, answer_tokens=6, adapter=False)
    n_evals = n_evaluations(SETTINGS)
    assert n_evals == 3  # before, after the last step, the kept one
    assert found.decoded == 6 * (10 * 32 + n_evals * 5 * 3)
    assert found.read == 20 * (10 * 4 + n_evals * 5)
    assert found.learned == 10 * (32 * 6 + 4 * 20) * 3
    assert (found.rows, found.batch) == (32, 136)


def test_adapters_and_parts_change_the_passes() -> None:
    whole = workload(SETTINGS, prompt_tokens=20, answer_tokens=6, adapter=False).learned
    adapter = workload(SETTINGS, prompt_tokens=20, answer_tokens=6, adapter=True).learned
    assert adapter / whole == pytest.approx(2 / 3)
    parts = dataclasses.replace(SETTINGS, micro_tokens=100)
    found = workload(parts, prompt_tokens=20, answer_tokens=6, adapter=False)
    assert found.learned / whole == pytest.approx(4 / 3)
    assert found.batch == 100


def test_seconds_follow_from_operations_and_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    work = workload(SETTINGS, prompt_tokens=20, answer_tokens=6, adapter=False)
    monkeypatch.setattr(
        module, "product_speed", lambda rows, _size: 1e9 if rows == work.rows else 1e10
    )
    seconds = arm_seconds(work, ModelSize(1_000_000, 64))
    by_hand = 2e6 * (work.decoded / 1e9 + (work.read + work.learned) / 1e10)
    assert seconds == pytest.approx(by_hand)


def test_speed_is_a_number_of_operations() -> None:
    assert 1e6 < product_speed(16, ModelSize(100_000, 64), seconds=0.02) < 1e15


def test_size_is_read_from_the_headers_of_the_files(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from entropilot.models.tiny import tiny_parts

    model, _ = tiny_parts()
    assert SIZES["tiny"].n_parameters == sum(p.numel() for p in model.parameters())
    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "one.safetensors")
    save_file({"c": torch.zeros(2, 2)}, tmp_path / "two.safetensors", {"format": "pt"})
    found = model_size(tmp_path)
    assert found is not None
    assert found.n_parameters == 26
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 48}))
    assert model_size(tmp_path) == ModelSize(26, 48)
    (tmp_path / "one.safetensors").write_bytes(b"no header")
    assert model_size(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 500_000_000),
        ("HuggingFaceTB/SmolLM2-135M", 135_000_000),
        ("meta/Llama-3.1-8B", 8_000_000_000),
        ("owner/unnamed", None),
    ],
)
def test_size_may_stand_in_the_name(name: str, n: int | None) -> None:
    found = model_size(name)
    assert (None if found is None else found.n_parameters) == n


def test_plan_of_a_language_model_says_that_it_is_an_estimate(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [json.dumps({"prompt": f"{a}+1=", "answer": str(a + 1)}) for a in range(40)]
    file.write_text("\n".join(lines))
    changes = {
        "run.folder": str(tmp_path),
        "run.n_seeds": 1,
        "task.name": str(file),
        "model.name": "tiny",
        "train.steps": 2,
        "train.n_eval_problems": 8,
        "train.workers": 1,
    }
    plan = plan_training(load_config(overrides=changes, recipes=["grpo"]))
    assert plan.seconds is not None
    assert plan.seconds > 0
    said = plan.sentences[-1]
    assert "estimated from 0.0088 million parameters" in said
    assert "at most" in said
    assert "at most 64 tokens an answer" in plan.sentences[1]
    unknown = plan_training(
        load_config(overrides=changes | {"model.name": "a/b"}, recipes=["grpo"])
    )
    assert unknown.seconds is None
    assert "is known when a/b is there" in unknown.sentences[-1]
