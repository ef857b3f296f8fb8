"""One batch, one loss: a host's tensors give what the built-in objective gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from entropilot.errors import ConfigurationError
from entropilot.policy.hosts.tensors import host_loss, shared_loss
from entropilot.policy.recipe_table import RECIPES, find_recipe
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits

NEED_MORE = {"pear", "spae", "clip-cov"}  # phases, step potentials, a generator


@pytest.mark.parametrize("name", sorted(set(RECIPES) - NEED_MORE))
@pytest.mark.parametrize("shared", [False, True])
def test_loss_and_gradient_are_those_of_the_built_in_objective(
    name: str, shared: bool, batch: Any, built_in: Any
) -> None:
    objective = find_recipe(name).objective()
    expected, slope, advantages = built_in(objective)
    leaf = batch.logits.clone().requires_grad_()
    now = statistics_from_logits(leaf, batch.tokens, wants=objective.needs)
    tensors = {
        "old_logprob": batch.old,
        "advantages": advantages,
        "mask": batch.mask.long(),
        "reward": batch.reward,
        "group": batch.group,
    }
    if shared:
        output, slopes = shared_loss(objective, now, **tensors)
        sent = torch.zeros(())
        for part in (slice(0, 3), slice(3, 8)):  # as two micro-batches
            for statistic, s in slopes.items():
                sent = sent + (s[part] * now.get(statistic)[part]).sum()
        (gradient,) = torch.autograd.grad(sent, leaf)
    else:
        output = host_loss(objective, now, **tensors)
        (gradient,) = torch.autograd.grad(output.loss, leaf)
    assert float(output.loss.detach()) == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(gradient, slope)


def test_term_that_a_host_cannot_feed_is_named(batch: Any) -> None:
    with pytest.raises(ConfigurationError, match="siren needs nucleus_entropy"):
        host_loss(
            find_recipe("siren").objective(),
            PolicyStatistics(logprob=batch.old),
            old_logprob=batch.old,
            advantages=batch.reward,
            mask=batch.mask,
        )
