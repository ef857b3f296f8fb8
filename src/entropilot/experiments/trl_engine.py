"""An arm of an experiment trained by TRL: same prompts, verifier, evaluations and metrics file.

A step is one rollout batch of ``n_prompts * n_answers`` answers and ``n_updates * n_epochs``
optimizer steps on it, on the prompts that the built-in trainer takes; draws and splits are TRL's,
so the answers differ. TRL keeps its own checkpoints (``trl/``) with the states of the terms, always
between steps, and a run that was stopped ends as one that was not.

Where TRL runs on several processes (Accelerate, ``torchrun``), call ``objective_trainer`` in a
script of your own; the engine is for one process.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn.utils.rnn import pad_sequence

from entropilot.errors import ConfigurationError, require
from entropilot.policy.hosts.trl import objective_trainer
from entropilot.policy.language_policy import LanguagePolicy
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.tasks.task import Problem
from entropilot.policy.training.bound_task import BoundTask
from entropilot.policy.training.evaluation import evaluate, stream_seed
from entropilot.policy.training.metrics_log import (
    MEANINGS,
    METRICS_NAME,
    append_metrics,
    canonical_name,
    keep_steps,
)
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Listener
from entropilot.policy.training.training_step import PROBLEMS

CHECKPOINT_FOLDER: Final = "trl"


@dataclass
class Verifying:
    """The task's verifier as a reward function of TRL, which remembers its last verdicts."""

    task: BoundTask
    problems: Sequence[Problem]
    correct: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))

    #: TRL's name of the reward.
    __name__ = "verifier"

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        row: Sequence[int],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float]:
        """Rewards of answers; ``row`` says which problem each answers."""
        answers = [torch.tensor(ids, dtype=torch.int64) for ids in completion_ids]
        tokens = pad_sequence(answers, batch_first=True)
        lengths = torch.tensor([len(ids) for ids in answers])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        graded = self.task.grade([self.problems[i] for i in row], tokens, mask)
        self.correct = graded.correct
        log_metric("accuracy", float(graded.correct.float().mean()))
        for kind, n in graded.failures.items():
            log_metric(f"verifier/{kind}", float(n))
        return [float(value) for value in graded.reward]

    def annotate(self, rollouts: Rollouts) -> Rollouts:
        """The rollouts with verdicts and with what the task knows of their tokens."""
        correct = self.correct.to(rollouts.mask.device)
        return rollouts.replace(
            correct=correct, **self.task.annotate(rollouts.tokens, rollouts.mask)
        )


def check_trl(config_train: Any, *, is_text: bool, controlled: Sequence[str]) -> None:
    """Reject an experiment that TRL can't run, before anything is loaded.

    Args:
        config_train: the section ``train``.
        is_text: whether the task is for language models.
        controlled: recipes with a controller.

    Raises:
        ConfigurationError: with the mend.
        MissingExtraError: TRL is not installed.
    """
    require("trl", extra="trl", purpose="train.engine = 'trl'")
    if not is_text:
        raise ConfigurationError(
            "train.engine is 'trl', which trains language models; this task has a vocabulary of "
            "its own. Set train.engine to 'local', or task.name to 'word-problems' or a file of "
            "problems (.jsonl) and model.name to a language model"
        )
    if controlled:
        raise ConfigurationError(
            f"train.engine is 'trl', and {', '.join(controlled)} has a control, which only the "
            "built-in trainer turns. Set train.engine to 'local', or leave the control out"
        )
    answers = config_train.n_prompts * config_train.n_answers
    if answers % config_train.n_updates:
        raise ConfigurationError(
            f"train.engine is 'trl', whose updates are of one size: {answers} answers "
            f"(n_prompts x n_answers) can't be cut into n_updates = {config_train.n_updates}"
        )


def train_in_trl(
    policy: LanguagePolicy,
    task: BoundTask,
    tokenizer: Any,
    objective: Objective,
    settings: TrainSettings,
    folder: Path,
    listeners: Sequence[Listener] = (),
) -> None:
    """Train a policy with TRL, or go on with a run that was stopped.

    Args:
        policy: changed in place; in evaluation mode before and after.
        task: problems and verifier.
        tokenizer: of the model.
        objective: what is minimised.
        settings: sizes and seeds.
        folder: of metrics and checkpoints.
        listeners: see each row of metrics.

    Raises:
        ConfigurationError: the tokenizer adds tokens to prompts, or see ``objective_trainer``.
        NonFiniteError: a term or the network gave nan.
    """
    from transformers import PrinterCallback
    from transformers.trainer_utils import get_last_checkpoint

    problems = [
        problem
        for step in range(settings.steps)
        for problem in task.problems(settings.n_prompts, stream_seed(settings.seed, PROBLEMS, step))
    ]
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    policy.causal.generation_config.eos_token_id = list(task.eos)
    verifying = Verifying(task, problems)
    output = folder / CHECKPOINT_FOLDER
    last = get_last_checkpoint(str(output)) if output.is_dir() else None
    rows = _Rows(policy, task, objective, settings, folder, tuple(listeners))
    rows.begin(_updates_done(last) // _updates(settings))
    with _quiet():
        trainer = objective_trainer(objective, annotate=verifying.annotate)(
            model=policy.model,
            reward_funcs=verifying,
            args=_arguments(policy, task, settings, output),
            train_dataset=_prompts(task, problems, tokenizer),
            processing_class=tokenizer,
            callbacks=[rows.callback()],
        )
        trainer.remove_callback(PrinterCallback)
        if _updates_done(last) == settings.steps * _updates(settings):
            trainer._load_from_checkpoint(last)  # only the evaluation after it is left
        else:
            trainer.train(resume_from_checkpoint=last)
    policy.model.eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars for files and no notes on names that transformers is about to change."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _updates(settings: TrainSettings) -> int:
    """Optimizer steps a rollout batch."""
    return settings.n_updates * settings.n_epochs


def _updates_done(checkpoint: str | None) -> int:
    return 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])


def _prompts(task: BoundTask, problems: Sequence[Problem], tokenizer: Any) -> Any:
    """Prompts as text, checked to become the tokens that the task gives its own trainer."""
    from datasets import Dataset

    texts = [tokenizer.decode(list(task.encode(problem))) for problem in problems]
    read = tokenizer(text=texts[:1])["input_ids"][0]
    if tuple(read) != task.encode(problems[0]):
        raise ConfigurationError(
            "train.engine is 'trl', which reads prompts as text, and this tokenizer does not give "
            "back the prompt's tokens (it adds some, such as a start token). Use 'local'"
        )
    return Dataset.from_dict({"prompt": texts, "row": list(range(len(texts)))})


def _arguments(policy: LanguagePolicy, task: BoundTask, settings: TrainSettings, out: Path) -> Any:
    trl = require("trl", extra="trl", purpose="train.engine = 'trl'")
    longest = settings.max_tokens or task.max_tokens
    per_update = settings.answers_per_step // settings.n_updates
    fits = max(1, settings.micro_tokens // (2 * longest))  # prompts are about as long as answers
    parts = next(
        n for n in range(1, per_update + 1) if per_update % n == 0 and per_update // n <= fits
    )
    cosine = settings.schedule == "cosine"
    per_step = _updates(settings)
    return trl.GRPOConfig(
        output_dir=str(out),
        max_steps=settings.steps * per_step,
        per_device_train_batch_size=per_update // parts,
        gradient_accumulation_steps=parts,
        steps_per_generation=settings.n_updates * parts,
        num_iterations=settings.n_epochs,
        num_generations=settings.n_answers,
        max_completion_length=longest,
        temperature=settings.temperature,
        shuffle_dataset=False,
        learning_rate=settings.learning_rate,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.clip_norm,
        lr_scheduler_type="cosine_with_min_lr" if cosine else "constant_with_warmup",
        lr_scheduler_kwargs={"min_lr_rate": 0.1} if cosine else {},
        warmup_steps=settings.warm_up * per_step,
        logging_steps=per_step,
        save_strategy="steps",
        save_steps=per_step * (settings.checkpoint_every or settings.steps),
        save_total_limit=2,
        seed=settings.seed,
        report_to=[],
        bf16=policy.head_weight.dtype == torch.bfloat16,
        fp16=policy.head_weight.dtype == torch.float16,
        gradient_checkpointing=False,
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
    )


@dataclass
class _Rows:
    """Rows of the metrics file, from what TRL logs after each rollout batch."""

    policy: LanguagePolicy
    task: BoundTask
    objective: Objective
    settings: TrainSettings
    folder: Path
    listeners: tuple[Listener, ...]
    since: float = 0.0

    def begin(self, first: int) -> None:
        """Drop rows after the checkpoint; the first row of a new run is an evaluation."""
        path = self.folder / METRICS_NAME
        if not keep_steps(path, first):
            self.publish({"step": 0, **self.evaluated(0)})
        self.since = time.perf_counter()

    def add(self, logs: Mapping[str, Any], updates: int) -> None:
        """A row of one step."""
        step = updates // _updates(self.settings)
        found = {canonical_name(name): value for name, value in logs.items()}
        own = {term.name for term in self.objective.terms} | {"verifier"}
        kept = {n: v for n, v in found.items() if n in MEANINGS or n.partition("/")[0] in own}
        seconds = time.perf_counter() - self.since
        n_tokens = kept.get("length", 0.0) * self.settings.answers_per_step
        row = {**kept, "step": step, "n_tokens": n_tokens, "seconds": seconds}
        row["tokens_per_second"] = n_tokens / seconds
        every = self.settings.evaluate_every
        if step == self.settings.steps or (every and step % every == 0):
            row |= self.evaluated(step)
        self.publish(row)
        self.since = time.perf_counter()

    def evaluated(self, step: int) -> dict[str, float]:
        """What the evaluation says; the network trains on as before."""
        was_training = self.policy.model.training
        self.policy.model.eval()
        with torch.no_grad():
            found = evaluate(self.policy, self.task, self.settings, seed=step)
        self.policy.model.train(was_training)
        return found.evaluation.metrics()

    def publish(self, row: dict[str, Any]) -> None:
        """Tell the listeners and write the row."""
        for listener in self.listeners:
            listener(row)
        append_metrics(self.folder / METRICS_NAME, row)

    def callback(self) -> Any:
        """For TRL's trainer."""
        from transformers import TrainerCallback

        rows = self

        class Report(TrainerCallback):  # type: ignore[misc]
            def on_log(
                self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any
            ) -> None:
                if logs and "loss" in logs:
                    rows.add(logs, state.global_step)

        return Report()
