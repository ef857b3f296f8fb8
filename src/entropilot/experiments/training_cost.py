"""What training a language model costs, from its size and the speed of this machine.

    operations = 2 x parameters x tokens        of one forward pass
    answers      are drawn token by token, all rows of a batch side by side     1 pass, decoding
    prompts      are read once a group, before its answers                      1 pass
    updates      forward and backward: 3 passes; 2 where only an adapter is trained, whose weights'
                 gradients cost nothing; one more where a batch goes through in parts

The speed is that of matrix products of the model's width, measured for a second: one with as many
rows as answers are drawn side by side, which is bound by reading the weights, and one with as many
as tokens are in an update. What is not a product (attention, sampling, verifiers, loading) is left
out, so a run of a small model takes longer than that.

Source: the 6 N D rule, Kaplan et al. (arXiv 2001.08361), Section 2.1.
"""

from __future__ import annotations

import math
import time
from typing import Any, Final, NamedTuple

from entropilot.models.model_size import ModelSize
from entropilot.policy.training.settings import TrainSettings

CACHE: Final = 128 * 2**20  # bytes of weights that no cache holds
CHARACTERS: Final = 4  # of a token of English
SECONDS: Final = 0.5  # that each of two speeds is measured for


class Workload(NamedTuple):
    """Tokens of one arm, by how they go through the model."""

    decoded: int  # answer tokens, drawn one after the other
    read: int  # tokens of prompts, before answers are drawn
    learned: int  # tokens times passes of the updates
    rows: int  # answers that are drawn side by side
    batch: int  # tokens side by side in an update


def workload(
    settings: TrainSettings, *, prompt_tokens: float, answer_tokens: float, adapter: bool
) -> Workload:
    """What one arm sends through its model.

    Args:
        settings: of the training.
        prompt_tokens: mean of a prompt.
        answer_tokens: mean of an answer, or the most it may have.
        adapter: whether only an adapter is trained.

    Examples:
        >>> settings = TrainSettings(steps=1, n_prompts=2, n_answers=4, n_updates=1,
        ...     evaluate_every=0, n_eval_problems=1, n_eval_answers=1)
        >>> workload(settings, prompt_tokens=10, answer_tokens=5, adapter=False)
        Workload(decoded=55, read=50, learned=180, rows=8, batch=60)
    """
    answers, n_evals = settings.answers_per_step, n_evaluations(settings)
    asked = n_evals * settings.n_eval_problems
    in_batch = (answers * answer_tokens + settings.n_prompts * prompt_tokens) / settings.n_updates
    passes = (2 if adapter else 3) + (in_batch > settings.micro_tokens)
    updates = settings.steps * settings.n_epochs * settings.n_updates
    return Workload(
        decoded=round(answer_tokens * (settings.steps * answers + asked * settings.n_eval_answers)),
        read=round(prompt_tokens * (settings.steps * settings.n_prompts + asked)),
        learned=round(updates * in_batch * passes),
        rows=answers,
        batch=round(min(in_batch, settings.micro_tokens)),
    )


def n_evaluations(settings: TrainSettings) -> int:
    """Evaluations of an arm: before training, on the way, after the last step, and the kept one.

    Examples:
        >>> n_evaluations(TrainSettings(steps=7, evaluate_every=3))
        5
    """
    every = settings.evaluate_every
    on_the_way = settings.steps // every if every else 0
    at_the_end = not every or settings.steps % every != 0
    return 2 + on_the_way + at_the_end


def prompt_length(prompts: list[str]) -> float:
    """Tokens of a prompt, from its characters.

    Examples:
        >>> prompt_length(["eight ch", "four"])
        1.5
    """
    return sum(map(len, prompts)) / CHARACTERS / max(1, len(prompts))


def arm_seconds(work: Workload, size: ModelSize) -> float:
    """Estimated seconds of one arm on one thread of this machine; takes about a second itself."""
    slow = product_speed(work.rows, size)
    fast = product_speed(max(1, work.batch), size)
    forward = 2 * size.n_parameters
    return forward * (work.decoded / slow + (work.read + work.learned) / fast)


def product_speed(rows: int, size: ModelSize, seconds: float = SECONDS) -> float:
    """Floating-point operations a second in products [rows, D] x [D, 4 D], on one thread.

    Args:
        rows: of the left factor.
        size: its width is D; the right factors are as many as the model has, or as no cache holds.
        seconds: to measure for.

    Examples:
        >>> product_speed(4, ModelSize(10_000, 16), seconds=0.01) > 0
        True
    """
    import torch

    from entropilot.policy.training.threads import one_thread

    with one_thread(), torch.inference_mode():
        weight = 4 * size.width**2
        n = max(1, math.ceil(min(size.n_parameters, CACHE / 4) / weight))
        weights = [torch.zeros(size.width, 4 * size.width) for _ in range(n)]
        states: Any = torch.zeros(rows, size.width)
        states @ weights[0]  # the first product makes room
        n_done, began = 0, time.process_time()
        while n_done == 0 or time.process_time() - began < seconds:
            states @ weights[n_done % n]
            n_done += 1
        return 2 * rows * weight * n_done / (time.process_time() - began)
