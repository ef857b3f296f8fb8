"""From the sections of an experiment to what is trained: the policy and its task."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from entropilot.errors import ConfigurationError
from entropilot.experiments.config import ExperimentConfig
from entropilot.experiments.task_names import is_text_task
from entropilot.models.reasoner_model import load_reasoner
from entropilot.policy.models import PolicyModel, SmallPolicy
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.tasks.addition import Addition
from entropilot.policy.tasks.countdown import Countdown
from entropilot.policy.tasks.digit_sums import DigitSums
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.tasks.task import TokenTask
from entropilot.policy.training.bound_task import BoundTask, bind_token_task
from entropilot.policy.training.step_probes import step_probes
from entropilot.policy.training.trainee import Annotate
from entropilot.policy.training.warm_up import WarmUp, cached_start

TOKEN_TASKS: Final[dict[str, TokenTask]] = {
    task.name: task for task in (Addition(), Countdown(), DigitSums(), ModularPaths())
}
WARM_UP_STEPS: Final = 480  # of a reasoner for another task than addition


class Subject(NamedTuple):
    """What is trained, and on what."""

    policy: PolicyModel
    task: BoundTask
    token_task: TokenTask | None  # None for a text task
    tokenizer: Any = None  # of a language model


def check_subject(config: ExperimentConfig) -> None:
    """Reject a model that can't be asked the task, before anything is loaded.

    Raises:
        ConfigurationError: they do not go together, or a recipe needs steps that the task has not.
    """
    text = is_text_task(config.task.name)
    if text and config.model.name == "reasoner":
        raise ConfigurationError(
            f"the reasoner speaks no language, so it can't be asked {config.task.name}. Set "
            "model.name to 'smollm2', a folder or a Hugging Face id, or choose one of the tasks "
            f"{', '.join(TOKEN_TASKS)}"
        )
    if not text and config.model.name != "reasoner":
        raise ConfigurationError(
            f"{config.task.name} has a vocabulary of its own, so the model {config.model.name!r} "
            "can't be asked it. Set model.name to 'reasoner', or task.name to 'word-problems' or a "
            "file of problems (.jsonl)"
        )
    if config.task.name.endswith(".jsonl"):
        from entropilot.experiments.text_subjects import text_task

        text_task(config).problems(1)  # a column that is missing is said before anything is loaded
    if config.train.steps:
        check_engine(config, is_text=text)
    for section in config.recipes:
        task = TOKEN_TASKS.get(config.task.name)
        if find_recipe(section.name).probes and not hasattr(task, "step_end"):
            raise ConfigurationError(
                f"the recipe {section.name} probes the steps of answers, and {config.task.name} "
                "has none that can be probed; use the task digit-sums"
            )


def check_engine(config: ExperimentConfig, *, is_text: bool) -> None:
    """Reject an engine that can't run the experiment.

    Raises:
        ConfigurationError: verl, with the command that runs each recipe there; or see
            ``check_trl``.
    """
    if config.train.engine == "trl":
        from entropilot.experiments.trl_engine import check_trl

        controlled = [section.title for section in config.recipes if section.control is not None]
        check_trl(config.train, is_text=is_text, controlled=controlled)
    if config.train.engine == "verl":
        from entropilot.policy.hosts.verl_recipes import verl_block, why_not

        recipes = [(find_recipe(section.name), section.knobs) for section in config.recipes]
        said = [why_not(*recipe) or verl_block(*recipe) for recipe in recipes]
        raise ConfigurationError(
            "train.engine is 'verl', which runs on a cluster of its own and is started by its own "
            "command. Choose the recipes there like this, or set train.engine to 'local' or "
            "'trl':\n\n" + "\n".join(said)
        )


def load_subject(config: ExperimentConfig) -> Subject:
    """The start policy and the task.

    Raises:
        ConfigurationError: see ``check_subject``.
        ModelError: the model can't be had.
    """
    check_subject(config)
    if is_text_task(config.task.name):
        from entropilot.experiments.text_subjects import load_text_subject

        policy, bound, tokenizer = load_text_subject(config)
        return Subject(policy, bound, None, tokenizer)
    task = TOKEN_TASKS[config.task.name]
    if task.name == "addition":
        return Subject(SmallPolicy(load_reasoner()), bind_token_task(task), task)
    start = cached_start(task, WarmUp(steps=WARM_UP_STEPS))
    return Subject(SmallPolicy(start), bind_token_task(task), task)


def annotate_for(subject: Subject, recipe: str) -> Annotate | None:
    """What fills in probes, where the recipe needs them."""
    if not find_recipe(recipe).probes or subject.token_task is None:
        return None
    return step_probes(subject.token_task)
