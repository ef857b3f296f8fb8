"""How a policy is trained: sizes, learning rate, seeds. What it is trained for is the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from entropilot.errors import ConfigurationError


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run.

    Args:
        steps: rollout batches; 0 trains nothing.
        n_prompts: prompts a step.
        n_answers: answers a prompt, the group.
        n_updates: updates on each rollout batch, each on its own random part of the answers.
        n_epochs: passes over each rollout batch; updates in all are ``n_updates * n_epochs``.
        learning_rate: of AdamW.
        betas: of AdamW.
        weight_decay: of AdamW.
        schedule: "constant", or "cosine" to a tenth of the learning rate.
        warm_up: steps over which the learning rate rises from 0.
        clip_norm: largest gradient norm; 0 clips nothing.
        temperature: of sampling; every measure is of the distribution at this temperature.
            Answers are drawn from the whole distribution: with a nucleus, ratios would compare
            two kinds of log-probs.
        max_tokens: longest answer; None takes the task's.
        micro_tokens: tokens that go through the network side by side in an update. A memory knob:
            the result does not depend on it beyond rounding.
        evaluate_every: steps between evaluations; 0 evaluates at the start and the end only.
        n_eval_problems: fixed problems of an evaluation.
        n_eval_answers: answers to each.
        checkpoint_every: steps between checkpoints; 0 keeps only the last step.
        seed: of prompts, draws, splits.

    Raises:
        ConfigurationError: a value is out of range; the message names it.

    Examples:
        >>> TrainSettings(steps=10).answers_per_step
        256
    """

    steps: int = 100
    n_prompts: int = 32
    n_answers: int = 8
    n_updates: int = 2
    n_epochs: int = 1
    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: int = 0
    clip_norm: float = 1.0
    temperature: float = 1.0
    max_tokens: int | None = None
    micro_tokens: int = 16384
    evaluate_every: int = 20
    n_eval_problems: int = 200
    n_eval_answers: int = 16
    checkpoint_every: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least("steps", self.steps, 0)
        for name in ("n_prompts", "n_answers", "n_updates", "n_epochs", "micro_tokens"):
            _at_least(name, getattr(self, name), 1)
        for name in ("n_eval_problems", "n_eval_answers"):
            _at_least(name, getattr(self, name), 1)
        for name in ("evaluate_every", "checkpoint_every", "warm_up", "clip_norm", "weight_decay"):
            _at_least(name, getattr(self, name), 0)
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigurationError(f"{name} is {value}; it must be above 0")
        if self.max_tokens is not None:
            _at_least("max_tokens", self.max_tokens, 1)
        if self.n_updates > self.answers_per_step:
            raise ConfigurationError(
                f"n_updates is {self.n_updates}, but a step has only {self.answers_per_step} "
                "answers; an update needs at least one"
            )

    @property
    def answers_per_step(self) -> int:
        """Answers of one rollout batch."""
        return self.n_prompts * self.n_answers

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0.

        Examples:
            >>> TrainSettings(steps=10, warm_up=2, learning_rate=1.0).rate_at(0)
            0.5
        """
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        if self.schedule == "constant":
            return self.learning_rate
        share = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.learning_rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigurationError(f"{name} is {value}; it must be at least {least}")
