"""Probes of every step of a rollout batch, for objectives that credit steps by their potential.

Legend: B answers, T tokens, K steps.
"""

from __future__ import annotations

import torch

from entropilot.errors import ConfigurationError
from entropilot.policy.exact_probe import exact_probe
from entropilot.policy.models import SmallPolicy
from entropilot.policy.probing import Probes, split_steps
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.tasks.task import TokenTask
from entropilot.policy.training.trainee import Annotate, Batch


def probe_batch(task: TokenTask, batch: Batch, *, use_confidence: bool = True) -> Probes:
    """Accuracy, confidence and potential at the end of each step, exactly and without sampling.

    The token that ends thinking is put after each step, and the distribution over the next token is
    read; the answer must be one token, the reference of the problem.

    Args:
        task: names ``think_end`` and ``step_end`` and encodes the reference as one token.
        batch: answers of a ``SmallPolicy``.
        use_confidence: see ``step_potential``.

    Returns:
        [B, K] each.

    Raises:
        ConfigurationError: the policy or the task can't be probed.
    """
    think_end, step_end = (getattr(task, name, None) for name in ("think_end", "step_end"))
    if think_end is None or step_end is None or not isinstance(batch.policy, SmallPolicy):
        raise ConfigurationError(
            f"steps of {task.name} answered by a {type(batch.policy).__name__} can't be probed "
            "here; the exact probe needs a small transformer and a task with steps, such as "
            "digit-sums"
        )
    answers = [_token(task, problem.answer) for problem in batch.problems]
    split = split_steps(batch.rollouts.tokens, batch.rollouts.mask, (step_end,), think_end)
    return exact_probe(
        batch.policy.model,
        torch.tensor([list(prompt) for prompt in batch.prompts]),
        batch.rollouts.tokens,
        split.boundaries,
        think_end,
        torch.tensor(answers),
        use_confidence=use_confidence,
    )


def step_probes(task: TokenTask, *, use_confidence: bool = True) -> Annotate:
    """The ``annotate`` of a ``Trainee`` that fills in step ids, potentials and their mask."""

    def annotate(batch: Batch) -> Rollouts:
        probes = probe_batch(task, batch, use_confidence=use_confidence)
        return batch.rollouts.replace(step_potential=probes.potential, step_valid=probes.valid)

    return annotate


def _token(task: TokenTask, answer: str) -> int:
    encoded: list[int] = task.encode(answer) if hasattr(task, "encode") else []
    if len(encoded) != 1:
        raise ConfigurationError(
            f"the answer {answer!r} of {task.name} has {len(encoded)} tokens; the exact probe "
            "needs answers of one token"
        )
    return encoded[0]
