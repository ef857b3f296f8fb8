"""A training experiment: the same files after a kill, arms that fail alone, and what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError, InputError
from entropilot.experiments import ExperimentConfig, load_config, plan_training, run_training
from entropilot.experiments.arms import ArmPlan, hopeless, plan_arms
from entropilot.traces.parquet import read_parquet

SMALL = {
    "train.steps": 4,
    "train.n_prompts": 2,
    "train.n_answers": 4,
    "train.n_eval_problems": 4,
    "train.n_eval_answers": 4,
    "train.evaluate_every": 2,
    "train.checkpoint_every": 1,
    "train.workers": 1,
    "run.n_seeds": 1,
}
TIMES = ("seconds", "seconds_rollout", "tokens_per_second")


def config(folder: Path, *recipes: str, **changes: Any) -> ExperimentConfig:
    overrides = SMALL | {"run.folder": str(folder)} | changes
    return load_config(overrides=overrides, recipes=recipes or ("grpo", "siren"))


def rows(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def test_run_writes_what_it_promises(tmp_path: Path) -> None:
    result = run_training(config(tmp_path))
    assert result.failed == {}
    assert [file.name for file in result.files] == [
        "metrics.jsonl",
        "summary.json",
        "traces.parquet",
    ]
    assert result.comparison.labels == ["grpo", "siren"]
    assert next(arm.start for arm in result.comparison.arms) == result.comparison.arms[1].start
    steps = [row["step"] for row in rows(result.folder) if row["recipe"] == "grpo"]
    assert steps == [0, 1, 2, 3, 4]
    summary = json.loads((result.folder / "summary.json").read_text())
    assert summary["arms"][1]["objective"].startswith("group-advantage; clipped-ratio")
    traces = read_parquet(result.folder / "traces.parquet")
    assert len(traces) == 2 * 2 * 4 * 4  # arms, before and after, problems, answers
    assert traces.tokens.entropy is not None
    assert result.comparison.examples[0]["before"]["tokens"]


def test_finished_experiment_is_not_run_again(tmp_path: Path) -> None:
    first = run_training(config(tmp_path))
    heard: list[ArmPlan] = []
    again = run_training(config(tmp_path), heard=lambda arm, _row: heard.append(arm))
    assert heard == []
    assert rows(again.folder) == rows(first.folder)


SCRIPT = """
import sys
from entropilot.experiments import load_config, run_training
if __name__ == "__main__":
    run_training(load_config(overrides=eval(sys.argv[1]), recipes=["grpo", "kl-cov"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_killed_at_a_random_moment_it_ends_with_the_same_files(
    tmp_path: Path, attempt: int
) -> None:
    changes = {"train.steps": 12, "train.workers": 2}
    whole = run_training(config(tmp_path / "whole", "grpo", "kl-cov", **changes))
    overrides = SMALL | changes | {"run.folder": str(tmp_path / "cut")}
    script = tmp_path / "go.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), repr(overrides)], start_new_session=True
    )
    arms = tmp_path / "cut" / "default" / "arms"
    until = time.monotonic() + 120
    while not list(arms.glob("*/*/metrics.jsonl")) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(random.Random(attempt).uniform(0, 1.0))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    cut = run_training(config(tmp_path / "cut", "grpo", "kl-cov", **changes))
    assert rows(cut.folder) == rows(whole.folder)
    for file in (whole.folder / "arms").rglob("step-000012/*.safetensors"):
        other = cut.folder / file.relative_to(whole.folder)
        assert other.read_bytes() == file.read_bytes(), file


def test_arm_that_gives_nan_stops_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from entropilot.policy import selective_entropy

    def broken(mean: Any, _anchor: float, coef: float) -> Any:
        return mean * float("nan") * coef

    monkeypatch.setattr(selective_entropy, "anchored_penalty", broken)
    result = run_training(config(tmp_path))
    stopped = {arm.label: arm.stopped for arm in result.comparison.arms}
    assert stopped["grpo"] == ""
    assert "'siren'" in stopped["siren"]


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"task.name": "word-problems"}, "the reasoner speaks no language"),
        ({"model.name": "tiny"}, "addition has a vocabulary of its own"),
        ({"task.name": "adition"}, "did you mean 'addition'"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            plan_training(config(tmp_path, **changes))
    with pytest.raises(ConfigurationError, match="modular-paths has none that can be probed"):
        plan_training(config(tmp_path, "spae", **{"task.name": "modular-paths"}))


def test_missing_column_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "1+1=", "solution": "2"}\n')
    changes = {"task.name": str(file), "model.name": "tiny", "task.answer_column": "answer"}
    with pytest.raises(InputError, match="line 1 has no column 'answer'"):
        plan_training(config(tmp_path, **changes))


def test_folder_of_another_experiment_is_refused(tmp_path: Path) -> None:
    run_training(config(tmp_path, "grpo"))
    with pytest.raises(ConfigurationError, match=r"differs in train, recipes|differs in recipes"):
        run_training(config(tmp_path, "gspo"))


def test_arms_are_ordered_by_seed_and_have_folders_of_their_own(tmp_path: Path) -> None:
    arms = plan_arms(config(tmp_path, **{"run.n_seeds": 2}))
    assert [(a.section.name, a.seed) for a in arms] == [
        *(("grpo", 0), ("siren", 0)),
        *(("grpo", 1), ("siren", 1)),
    ]
    assert len({a.folder(tmp_path) for a in arms}) == 4


def test_steps_that_teach_nothing_are_told_apart() -> None:
    dead = {"frac_zero_std_groups": 1.0}
    assert "was wrong" in hopeless([dead | {"frac_all_wrong_groups": 1.0}] * 10)
    assert "was right" in hopeless([dead | {"frac_all_right_groups": 1.0}] * 10)
    assert "one and the same reward" in hopeless([dead] * 10)
    assert hopeless([dead] * 9) == ""
    assert hopeless([dead] * 9 + [{"frac_zero_std_groups": 0.9}]) == ""


@pytest.mark.slow
def test_language_model_learns_from_problems_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [json.dumps({"q": f"{a}+{b}=", "a": str(a + b)}) for a in range(5) for b in range(5)]
    file.write_text("\n".join(lines))
    changes = {
        "task.name": str(file),
        "task.prompt_column": "q",
        "task.answer_column": "a",
        "model.name": "tiny",
        "model.lora_rank": 2,
        "train.max_tokens": 4,
        "train.steps": 2,
        "log.tensorboard": True,
    }
    pytest.importorskip("peft")
    pytest.importorskip("tensorboard")
    result = run_training(config(tmp_path, "entropy-bonus", **changes))
    assert len(result.comparison.arms[0].rows) == 3
    assert list(result.folder.rglob("events.out.tfevents*"))


@pytest.mark.slow
@pytest.mark.parametrize("lora_rank", [0, 4])
def test_folder_of_a_hugging_face_model_is_trained_and_goes_on_after_a_kill(
    tmp_path: Path, lora_rank: int
) -> None:
    if lora_rank:
        pytest.importorskip("peft", reason="peft is not installed: pip install 'entropilot[torch]'")
    model = tmp_path / "my-llama"
    llama_folder(model)
    file = tmp_path / "mine.jsonl"
    lines = [json.dumps({"prompt": f"{a} + {a} =", "answer": str(2 * a)}) for a in range(12)]
    file.write_text("\n".join(lines))
    (tmp_path / "long_is_good.py").write_text("def grade(problem, text): return len(text) / 9\n")
    changes = {
        "task.name": str(file),
        "task.verifier": "long_is_good:grade",
        "model.name": str(model),
        "model.lora_rank": lora_rank,
        "train.max_tokens": 5,
        "train.learning_rate": 1e-2,
        "train.steps": 3,
    }

    class Killed(BaseException):
        pass

    def kill(_arm: ArmPlan, row: Any) -> None:
        if row["step"] == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # where the verifier is
        whole = run_training(config(tmp_path / "whole", "grpo", **changes))
        with pytest.raises(Killed):
            run_training(config(tmp_path / "cut", "grpo", **changes), heard=kill)
        cut = run_training(config(tmp_path / "cut", "grpo", **changes))
    assert whole.failed == cut.failed == {}
    assert rows(cut.folder) == rows(whole.folder)
    (kept,) = (whole.folder / "arms").rglob("step-000003/weights.safetensors")
    assert (cut.folder / kept.relative_to(whole.folder)).read_bytes() == kept.read_bytes()
    steps = [row for row in rows(whole.folder) if row["step"]]
    assert all(row["logprob_gap"] < 1e-4 for row in steps)
    assert any(row["grad_norm"] > 0 for row in steps)


def llama_folder(folder: Path) -> None:
    """A random Llama with a word-piece tokenizer of its own, saved as a user would have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.train_from_iterator(
        [f"{a} + {b} = {a + b}" for a in range(30) for b in range(30)],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<unk>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    from tokenizers import decoders

    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="</s>"
    )
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        eos_token_id=1,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
