"""Tokens of peak entropy: thresholds of each answer, padding, and answers that keep nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.peak_entropy import peak_entropy_mask, selected_mean


def entropies(seed: int = 0, b: int = 5, t: int = 7) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(t) < torch.randint(2, t + 1, (b, 1), generator=g)
    return torch.rand(b, t, generator=g, dtype=torch.float64), mask


@given(st.integers(0, 10_000), st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_threshold_is_the_linear_quantile_of_each_answer(seed: int, tau: float) -> None:
    entropy, mask = entropies(seed)
    kept = peak_entropy_mask(entropy, mask, tau)
    for values, counts, chosen in zip(entropy, mask, kept, strict=True):
        threshold = np.quantile(values[counts].numpy(), tau)
        expected = counts.numpy() & (values.numpy() > threshold)
        clear = np.abs(values.numpy() - threshold) > 1e-12  # not a tie within rounding
        assert (chosen.numpy()[clear] == expected[clear]).all()


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_padding_and_order_of_answers_change_nothing(seed: int) -> None:
    entropy, mask = entropies(seed)
    found = selected_mean(entropy, mask)
    wide = torch.cat([torch.where(mask, entropy, torch.nan), torch.full((5, 3), torch.nan)], 1)
    wide = wide.requires_grad_()
    wide_mask = torch.cat([mask, torch.zeros(5, 3).bool()], 1)
    padded = selected_mean(wide, wide_mask)
    torch.testing.assert_close(padded.mean.detach(), found.mean, rtol=1e-15, atol=0)
    (gradient,) = torch.autograd.grad(padded.mean, wide)
    assert torch.isfinite(gradient).all()
    assert not gradient[~padded.kept].any()
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    moved = selected_mean(entropy[order], mask[order])
    torch.testing.assert_close(moved.mean, found.mean, rtol=1e-14, atol=0)
    assert torch.equal(moved.kept, found.kept[order])


def test_answers_that_keep_nothing_are_left_out_and_counted() -> None:
    entropy = torch.tensor([[0.5, 0.5, 0.5], [0.7, 9.0, 9.0], [0.1, 0.2, 0.9]])
    mask = torch.tensor([[True] * 3, [True, False, False], [True] * 3])
    found = selected_mean(entropy, mask)
    assert found.mean.item() == pytest.approx(0.9)
    assert found.n_left_out == 2
    empty_row = torch.cat([mask, torch.zeros(1, 3).bool()])
    assert selected_mean(torch.cat([entropy, entropy[:1]]), empty_row).n_left_out == 2
    assert selected_mean(entropy, mask, use_peak=False).n_left_out == 0


def test_ablations_without_peak_keep_every_token() -> None:
    entropy, mask = entropies()
    found = selected_mean(entropy, mask, use_peak=False)
    rows = [values[counts].mean() for values, counts in zip(entropy, mask, strict=True)]
    torch.testing.assert_close(found.mean, torch.stack(rows).mean())
    assert torch.equal(found.kept, mask)


def test_bad_input_is_refused() -> None:
    entropy, mask = entropies()
    with pytest.raises(InputError, match=r"both must be \[B, T\]"):
        peak_entropy_mask(entropy, mask[:, :3])
    for tau in (1.0, -0.1):
        with pytest.raises(ConfigurationError, match=f"tau is {tau}"):
            selected_mean(entropy, mask, tau=tau)
