"""Language models and tasks in words, as subjects of training."""

from __future__ import annotations

from typing import Any, Final

from entropilot.experiments.config import ExperimentConfig
from entropilot.models.loaders import load_model
from entropilot.policy.language_policy import language_policy
from entropilot.policy.models import PolicyModel
from entropilot.policy.tasks.jsonl_problems import JsonlProblems
from entropilot.policy.tasks.task import TextTask
from entropilot.policy.tasks.word_problems import WordProblemTask
from entropilot.policy.training.bound_task import BoundTask, bind_text_task
from entropilot.policy.verifiers.verifier import Verifier

MAX_TOKENS: Final = 64  # of an answer, where train.max_tokens is not given


def load_text_subject(config: ExperimentConfig) -> tuple[PolicyModel, BoundTask, Any]:
    """The language model as a policy, its problems with their verifier, and its tokenizer.

    Raises:
        ConfigurationError: the file has too few problems, or a setting is out of range.
        InputError: the file of problems can't be read, or lacks a column.
        ModelError: the model can't be had.
    """
    task = text_task(config)
    model = load_model(config.model.name, dtype=config.model.dtype)
    policy = language_policy(
        model, lora_rank=config.model.lora_rank, lora_alpha=config.model.lora_alpha
    )
    bound = bind_text_task(
        task, model, max_tokens=config.train.max_tokens or MAX_TOKENS, chat=config.task.chat
    )
    return policy, bound, model.tokenizer


def text_task(config: ExperimentConfig) -> TextTask:
    """The task in words that the experiment names."""
    asked = config.task
    if asked.name == "word-problems":
        return WordProblemTask(asked.operations)
    return JsonlProblems(
        asked.name,
        verifier=Verifier(asked.verifier, time_limit=asked.time_limit),
        template=asked.template,
        prompt_column=asked.prompt_column,
        answer_column=asked.answer_column,
    )
