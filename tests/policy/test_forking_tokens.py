"""The tokens of highest entropy: TRL's choice, and never padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.forking_tokens import forking_tokens, high_entropy_mask
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics


@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 9), st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_is_the_quantile_of_the_tokens_that_count(seed: int, B: int, T: int, share: float) -> None:
    g = torch.Generator().manual_seed(seed)
    entropy = torch.rand(B, T, generator=g, dtype=torch.float64).round(decimals=1)  # with ties
    mask = torch.rand(B, T, generator=g) < 0.7
    mask[0, 0] = True
    kept = high_entropy_mask(torch.where(mask, entropy, torch.nan), mask, share)
    threshold = torch.quantile(entropy[mask], 1 - share)
    assert torch.equal(kept[mask], entropy[mask] >= threshold - 1e-12)
    assert not kept[~mask].any()


def test_trls_example() -> None:
    # values of trl 1.16 GRPOTrainer.get_high_entropy_mask at threshold 0.8 of this batch
    entropy = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.3, 0.8, 0.2, 0.0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    assert high_entropy_mask(entropy, mask, 0.2).int().tolist() == [[0, 1, 0, 0], [0, 1, 0, 0]]


def test_padding_changes_nothing() -> None:
    g = torch.Generator().manual_seed(0)
    entropy = torch.rand(4, 5, generator=g)
    kept = high_entropy_mask(entropy, torch.ones(4, 5).bool(), 0.3)
    for filler in (0.0, -1.0, 99.0, torch.nan):
        wide = torch.cat([entropy, torch.full((4, 30), filler)], 1)
        mask = torch.arange(35).expand(4, 35) < 5
        padded = high_entropy_mask(wide, mask, 0.3)
        assert torch.equal(padded[:, :5], kept)
        assert not padded[:, 5:].any()


def test_term_weighs_and_keeps_the_denominator() -> None:
    entropy = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.3, 0.8, 0.2, 0.0]])
    one = torch.ones(2, 4)
    rollouts = Rollouts(
        one.long(), one.bool(), -one, torch.tensor([1.0, 0.0]), torch.zeros(2).long()
    )
    objective = Objective(weights=(forking_tokens(0.25),))
    prepared = objective.prepare(rollouts)
    now = PolicyStatistics(-one, entropy)
    output = objective.loss(prepared, now)
    assert (output.per_token_loss != 0).tolist() == [
        [False, True, False, False],
        [False, True, False, False],
    ]
    assert output.metrics["forking-tokens/kept_fraction"] == 0.25
    assert output.metrics["forking-tokens/threshold"] == pytest.approx(0.8)
    torch.testing.assert_close(output.loss, output.per_token_loss.sum() / 8)


def test_no_token_that_counts_keeps_none() -> None:
    none = torch.zeros(2, 3).bool()
    assert not high_entropy_mask(torch.full((2, 3), torch.nan), none, 0.2).any()


def test_bad_input_is_refused() -> None:
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigurationError, match="share of tokens that stay"):
            forking_tokens(share)
    with pytest.raises(InputError, match="one number a token"):
        high_entropy_mask(torch.ones(1, 2), torch.ones(1, 3).bool())
    nan = torch.tensor([[1.0, torch.nan]])
    with pytest.raises(InputError, match="a valid value is nan"):
        high_entropy_mask(nan, torch.ones(1, 2).bool())
