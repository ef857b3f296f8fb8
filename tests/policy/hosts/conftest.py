"""One batch in float64, and what the built-in objective says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import statistics_from_logits


class HostBatch(NamedTuple):
    logits: Tensor  # [B, T, V]
    tokens: Tensor
    old: Tensor
    mask: Tensor
    reward: Tensor
    group: Tensor


@pytest.fixture
def batch() -> HostBatch:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 5, 11, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, 11, (8, 5), generator=g)
    now = statistics_from_logits(logits, tokens)
    old = (now.logprob + 0.2 * torch.randn(8, 5, generator=g, dtype=torch.float64)).clamp(max=0)
    mask = torch.arange(5) < torch.randint(1, 6, (8, 1), generator=g)
    reward = torch.tensor([1.0, 0, 0, 1, 0, 1, 1, 1]).double()
    return HostBatch(logits, tokens, old, mask, reward, torch.arange(8) // 4)


@pytest.fixture
def built_in(batch: HostBatch) -> Callable[[Objective], tuple[float, Tensor, Tensor]]:
    """Loss, its gradient in the logits, and the advantages, by the built-in path."""
    return lambda objective: _built_in(objective, batch)


def _built_in(objective: Objective, batch: HostBatch) -> tuple[float, Tensor, Tensor]:
    leaf = batch.logits.clone().requires_grad_()
    prepared = objective.prepare(
        Rollouts(batch.tokens, batch.mask, batch.old, batch.reward, batch.group)
    )
    now = statistics_from_logits(leaf, batch.tokens, wants=objective.needs)
    output = objective.loss(prepared, now)
    (gradient,) = torch.autograd.grad(output.loss, leaf)
    return float(output.loss.detach()), gradient, prepared.advantages
