"""How far one step moves the entropy of its own answers, and what first order says of it.

Entropies of two steps are of different prompts and answers: most of their difference is the draw.
Here the same answers are measured before and after the updates of a step, so that nothing but the
weights has changed, beside

    dH = grad H . (weights after - weights before)

with H the mean token entropy of those answers. The step is the one that was taken: clips, weights,
regularisers, momentum and the scaling of Adam are all in it, and so is what shared weights do.

Source: ours; the exact first order of what arXiv 2602.03392, Theorem 3.3, states for one
distribution and one step of gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import torch
from torch import Tensor

from entropilot.policy.models import PolicyModel
from entropilot.policy.training.measuring import measure
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Batch, Probe
from entropilot.policy.training.updating import micro_batches

ANSWERS: Final = 32  # that are measured; all of a small batch


def entropy_probe(n_answers: int = ANSWERS) -> Probe:
    """Measured and first-order change of the mean entropy in a step.

    Metrics ``entropy_change`` and ``entropy_change/first_order``, nats over all updates of a step.

    Cost: two passes forward and one backward over ``n_answers`` answers, and two copies of the
    weights that are trained. Nothing of the run depends on it.

    Args:
        n_answers: evenly spaced over the batch, so that every prompt has its turn.
    """

    def begin(batch: Batch, settings: TrainSettings) -> Callable[[], Mapping[str, float]]:
        n = batch.rollouts.n_answers
        rows = torch.linspace(0, n - 1, min(n_answers, n)).round().long()
        policy = batch.policy
        trained = [p for p in policy.parameters() if p.requires_grad]
        before, gradient = _with_gradient(policy, batch, rows, settings, trained)
        weights = [p.detach().clone() for p in trained]

        def end() -> Mapping[str, float]:
            moved = sum(
                float(torch.sum((p.detach() - w) * g, dtype=torch.float64))
                for p, w, g in zip(trained, weights, gradient, strict=True)
            )
            with torch.no_grad():
                after = sum(float(x) for x in _shares(policy, batch, rows, settings))
            return {"entropy_change": after - before, "entropy_change/first_order": float(moved)}

        return end

    return begin


def _with_gradient(
    policy: PolicyModel,
    batch: Batch,
    rows: Tensor,
    settings: TrainSettings,
    trained: list[torch.nn.Parameter],
) -> tuple[float, list[Tensor]]:
    """Mean entropy of some answers and its gradient."""
    total = 0.0
    gradient = [torch.zeros_like(p) for p in trained]
    with torch.enable_grad():
        for share in _shares(policy, batch, rows, settings):
            total += float(share.detach())
            found = torch.autograd.grad(share, trained, allow_unused=True)
            for kept, part in zip(gradient, found, strict=True):
                if part is not None:
                    kept += part
    return total, gradient


def _shares(
    policy: PolicyModel, batch: Batch, rows: Tensor, settings: TrainSettings
) -> Iterator[Tensor]:
    """Parts of the mean entropy that add up to it, one pass of ``micro_tokens`` after the other."""
    answers = batch.rollouts.select(rows)
    prompts = [batch.prompts[i] for i in rows.tolist()]
    for part in micro_batches(answers.lengths, prompts, settings.micro_tokens):
        chosen = answers.select(part)
        width = int(chosen.mask.any(0).nonzero().max()) + 1
        mask = chosen.mask[:, :width]
        found = measure(
            policy,
            [prompts[i] for i in part.tolist()],
            chosen.tokens[:, :width],
            mask,
            wants=("entropy",),
            temperature=settings.temperature,
        )
        yield torch.where(mask, found.get("entropy"), 0).sum() / answers.n_tokens
