"""PEAR's filtering experiment: answer from the surest share of the thinking tokens."""

from __future__ import annotations

from typing import Any, Final

import torch

from entropilot.policy.models import SmallPolicy
from entropilot.policy.phase_entropy_reward import entropy_filter
from entropilot.policy.training.measuring import head_logits
from entropilot.studies.digit_arms import fresh_batch
from entropilot.studies.training_arms import SUMS

KEEP: Final = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)


@torch.no_grad()
def filter_curve(policy: SmallPolicy, n: int, seed: int) -> dict[str, Any]:
    """Mean chance of the right answer after the prompt, the kept thinking tokens and the tag."""
    batch = fresh_batch(policy, n, seed)
    rollouts = batch.rollouts
    assert rollouts.think is not None
    assert rollouts.entropy is not None
    answers = torch.tensor([SUMS.encode(problem.answer)[0] for problem in batch.problems])
    accuracy = []
    for keep in KEEP:
        kept = entropy_filter(rollouts.entropy, rollouts.mask, keep, rollouts.think)
        contexts = [
            [*prompt, *row[stays].tolist(), SUMS.think_end]
            for prompt, row, stays in zip(batch.prompts, rollouts.tokens, kept, strict=True)
        ]
        blank = torch.zeros(len(contexts), 1, dtype=torch.int64)
        hidden = policy.response_hidden(contexts, blank, torch.ones_like(blank, dtype=torch.bool))
        p = torch.softmax(head_logits(policy, hidden), -1)
        accuracy.append(float(p.gather(-1, answers[:, None]).mean()))
    return {"keep": list(KEEP), "accuracy": accuracy}
