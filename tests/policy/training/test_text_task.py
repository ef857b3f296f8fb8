"""Text tasks bound to a language model, and whole runs of the tiny one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from entropilot.errors import ConfigurationError
from entropilot.models.loaders import load_model
from entropilot.policy.language_policy import language_policy
from entropilot.policy.objective import Objective
from entropilot.policy.tasks.jsonl_problems import JsonlProblems
from entropilot.policy.tasks.task import Problem, Verdict
from entropilot.policy.tasks.word_problems import WordProblemTask
from entropilot.policy.training.bound_task import bind_text_task, stop_tokens
from entropilot.policy.training.checkpoints import WEIGHTS, checkpoints
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Trainee
from entropilot.policy.training.trainer import train
from entropilot.policy.verifiers.verifier import Verifier

PROBLEM = Problem("q", "1+1=", "2")
SETTINGS = TrainSettings(
    steps=2,
    n_prompts=2,
    n_answers=4,
    n_eval_problems=2,
    n_eval_answers=2,
    checkpoint_every=1,
    learning_rate=1e-2,
)
TIMES = {"seconds", "seconds_rollout", "tokens_per_second"}


def rows(*texts: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids = [load_model("tiny").encode(text) for text in texts]
    width = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    return tokens, torch.arange(width) < torch.tensor([len(row) for row in ids])[:, None]


def test_text_after_a_stop_string_is_not_graded() -> None:
    bound = bind_text_task(WordProblemTask(), load_model("tiny"), max_tokens=9)
    problem = WordProblemTask().problems(1)[0]
    right, wrong = f"answer is {problem.answer}", "answer is 1234"
    graded = bound.grade([problem] * 2, *rows(f"{right}\n{wrong}", f"{wrong}\n{right}"))
    assert graded.correct.tolist() == [True, False]
    assert graded.reward.tolist() == [1.0, 0.0]
    assert graded.answers == [problem.answer, "1234"]
    assert bound.max_tokens == 9
    assert bound.render(bound.encode(problem)) == problem.prompt


def test_end_token_is_no_text() -> None:
    model = load_model("tiny")
    bound = bind_text_task(WordProblemTask(), model, Verifier("exact"))
    graded = bound.grade([PROBLEM], torch.tensor([[ord("2"), 256]]), torch.ones(1, 2).bool())
    assert graded.correct.tolist() == [True]


def test_tokens_with_a_stop_string_end_an_answer() -> None:
    assert stop_tokens(load_model("tiny"), ("\n",)) == (10, 256)
    assert stop_tokens(load_model("tiny"), ()) == (256,)


def test_failures_of_the_verifier_are_counted_batch_by_batch() -> None:
    def breaks(_problem: Problem, text: str) -> Verdict:
        if "x" in text:
            raise RuntimeError("no")
        return Verdict(1.0, True, text, "right")

    bound = bind_text_task(WordProblemTask(), load_model("tiny"), Verifier(breaks))
    first = bound.grade([PROBLEM] * 3, *rows("x", "2", "xx"))
    assert first.failures == {"raised": 2}
    assert first.reward.tolist() == [0.0, 1.0, 0.0]
    assert bound.grade([PROBLEM], *rows("2")).failures == {}


def test_bad_settings_say_the_mend() -> None:
    model = load_model("tiny")
    with pytest.raises(ConfigurationError, match="no chat template"):
        bind_text_task(WordProblemTask(), model, chat=True)
    with pytest.raises(ConfigurationError, match="stop string is empty"):
        bind_text_task(WordProblemTask(), model, stop=[""])
    with pytest.raises(ConfigurationError, match="max_tokens is 0"):
        bind_text_task(WordProblemTask(), model, max_tokens=0)


def test_chat_template_wraps_the_prompt() -> None:
    model = load_model("tiny")
    model.tokenizer.chat_template = "<{{ messages[0]['content'] }}>"
    bound = bind_text_task(WordProblemTask(), model, chat=True)
    assert bound.render(bound.encode(PROBLEM)) == "<1+1=>"


def trainee(task: Any, lora_rank: int) -> Trainee:
    model = load_model("tiny")
    likes_small = Verifier(lambda _p, text: Verdict(float(len(text) < 5), False, text, "length"))
    bound = bind_text_task(task, model, likes_small, max_tokens=6)
    objective = Objective()
    policy = language_policy(model, lora_rank=lora_rank)
    return Trainee(policy, bound, lambda _step: objective, SETTINGS)


class Killed(BaseException):
    """As sudden as a signal."""


def kill(row: Mapping[str, Any]) -> None:
    if row["step"] == 1:
        raise Killed


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_run_that_was_killed_ends_bit_equal(tmp_path: Path, lora_rank: int) -> None:
    whole = trainee(WordProblemTask(), lora_rank)
    begin = {n: p.clone() for n, p in whole.policy.state_dict().items()}
    expected = train(whole, tmp_path / "whole")
    with pytest.raises(Killed):
        train(trainee(WordProblemTask(), lora_rank), tmp_path / "cut", progress=kill)
    resumed = trainee(WordProblemTask(), lora_rank)
    found = train(resumed, tmp_path / "cut")
    for row, other in zip(found.rows, expected.rows, strict=True):
        assert {k: v for k, v in row.items() if k not in TIMES} == {
            k: v for k, v in other.items() if k not in TIMES
        }
    assert all(row["logprob_gap"] < 1e-4 for row in expected.rows[1:])
    after = resumed.policy.state_dict()
    changed = set()
    for name, weight in whole.policy.state_dict().items():
        assert torch.equal(after[name], weight), name
        if not torch.equal(begin[name], weight):
            changed.add(name)
    saved = set(load_file(checkpoints(tmp_path / "cut" / "checkpoints")[-1].folder / WEIGHTS))
    assert changed <= saved | {"model.lm_head.weight"}  # tied: the embedding under another name
    assert "model.lm_head.weight" not in saved
    if lora_rank:
        assert saved
        assert all("lora_" in name for name in saved)


def test_problems_of_a_file_can_be_trained_on(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [{"prompt": f"{a}+{a}=", "answer": str(2 * a)} for a in range(8)]
    file.write_text("\n".join(map(json.dumps, lines)))
    rows = train(trainee(JsonlProblems(file), 0)).rows
    assert [row["step"] for row in rows] == [0, 1, 2]
