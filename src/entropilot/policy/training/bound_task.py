"""A task bound to a vocabulary: what the trainer needs to know of it, and no more.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.policy.phases import phase_masks
from entropilot.policy.probing import split_steps
from entropilot.policy.tasks.task import Problem, TokenTask


class Graded(NamedTuple):
    """Verdicts on a batch of answers."""

    reward: Tensor  # [B] float32
    correct: Tensor  # [B] bool
    answers: list[str | None]  # extracted, for diversity and reports
    failures: Mapping[str, int] = {}


@dataclass(frozen=True)
class BoundTask:
    """Problems, prompts as tokens, and the verifier.

    Args:
        name: of the task.
        problems: (n, seed) -> problems; equal for equal seeds.
        encode: prompt tokens of a problem.
        grade: (problem of each answer, tokens [B, T], mask [B, T]) -> verdicts.
        eos: tokens that end an answer.
        max_tokens: longest answer.
        render: tokens of an answer as text.
        annotate: (tokens, mask) -> fields of ``Rollouts`` that the task knows, such as phases.
    """

    name: str
    problems: Callable[[int, int], Sequence[Problem]]
    encode: Callable[[Problem], tuple[int, ...]]
    grade: Callable[[Sequence[Problem], Tensor, Tensor], Graded]
    eos: tuple[int, ...]
    max_tokens: int
    render: Callable[[Sequence[int]], str]
    annotate: Callable[[Tensor, Tensor], dict[str, Tensor]] = field(
        default=lambda _tokens, _mask: {}
    )


def bind_token_task(task: TokenTask) -> BoundTask:
    """A task that has a vocabulary of its own, such as ``ModularPaths``.

    Where the task names the token that ends thinking (``think_end``), the rollouts get the masks of
    both phases; where it names the one that ends a step (``step_end``), they get step ids.

    Examples:
        >>> from entropilot.policy.tasks.modular_paths import ModularPaths
        >>> bind_token_task(ModularPaths()).max_tokens
        11
    """

    def grade(problems: Sequence[Problem], tokens: Tensor, mask: Tensor) -> Graded:
        ids, valid = tokens.cpu().numpy(), mask.cpu().numpy()
        reward, correct = task.rewards(problems, ids, valid)
        texts: list[str | None] = [
            task.render(row[keep].tolist()) for row, keep in zip(ids, valid, strict=True)
        ]
        return Graded(torch.as_tensor(reward).float(), torch.as_tensor(correct).bool(), texts)

    def encode(problem: Problem) -> tuple[int, ...]:
        if problem.tokens is None:
            raise InputError(
                f"problem {problem.id!r} has no tokens; a task with its own vocabulary gives them"
            )
        return problem.tokens

    def annotate(tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        think_end, step_end = (getattr(task, name, None) for name in ("think_end", "step_end"))
        if think_end is None:
            return {}
        phases = phase_masks(tokens, think_end, mask)
        found = {"think": phases.think, "answer": phases.answer}
        if step_end is not None:
            found["step_id"] = split_steps(tokens, mask, (step_end,), think_end).step_id
        return found

    return BoundTask(
        name=task.name,
        problems=task.problems,
        encode=encode,
        grade=grade,
        eos=(task.eos,),
        max_tokens=task.max_tokens,
        render=task.render,
        annotate=annotate,
    )
