"""Forking tokens: TRL's choice, padding, ties, the whole batch."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.forking_tokens import forking_mask, forking_tokens


def batch(seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    entropy = torch.rand(5, 7, generator=g) * 2
    mask = torch.rand(5, 7, generator=g) > 0.3
    mask[0, 0] = True
    return entropy, mask


@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.2, 0.5, 0.9, 1.0]))
def test_choice_is_the_quantile_over_tokens_that_count(seed: int, share: float) -> None:
    entropy, mask = batch(seed)
    expected = mask & (entropy >= torch.quantile(entropy[mask], 1 - share))
    # a threshold between two entropies is rounded in float32 there and in float64 here
    padded = torch.where(mask, entropy, torch.nan)
    assert torch.equal(forking_mask(padded, mask, share), expected)


@pytest.mark.slow
def test_choice_is_that_of_trl() -> None:
    try:
        trainer: Any = importlib.import_module("trl.trainer.grpo_trainer").GRPOTrainer
    except ImportError:
        pytest.skip("TRL is not installed")
    alone = SimpleNamespace(pad_across_processes=lambda x, **_: x, gather=lambda x: x)
    for seed in range(5):
        entropy, mask = batch(seed)
        theirs = trainer.get_high_entropy_mask(
            SimpleNamespace(accelerator=alone), entropy, mask.long(), 0.8
        )
        assert torch.equal(forking_mask(entropy, mask, 0.2), theirs)


def test_equal_entropies_are_all_kept_and_none_of_none() -> None:
    same, mask = torch.ones(2, 3), torch.ones(2, 3).bool()
    assert forking_mask(same, mask, 0.2).all()
    assert not forking_mask(same, ~mask, 0.2).any()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="share is 0"):
        forking_tokens(0.0)
    entropy = torch.tensor([[0.1, torch.nan]])
    with pytest.raises(InputError, match="entropy has 1 values that are nan"):
        forking_mask(entropy, torch.ones(1, 2).bool())
