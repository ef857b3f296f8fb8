"""The first-order theory of entropy: 50-digit values, identities, and the size of what it omits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    discriminator_all,
    discriminator_vocab_mean,
    entropy_change_exact,
    entropy_change_first_order,
    entropy_change_policy_gradient,
    entropy_change_single_logit,
    entropy_from_logits,
    with_gradient,
)


def test_values_of_50_digits(golden: Callable[[str], Any]) -> None:
    case = golden("entropy-dynamics")["first_order"]
    logits = case["logits"]
    np.testing.assert_allclose(discriminator_all(logits), case["S"], rtol=1e-12, atol=1e-15)
    assert discriminator_vocab_mean(logits) == pytest.approx(case["vocab_mean"], rel=1e-12)
    for step in case["steps"]:
        k, eps = step["k"], step["eps"]
        for name, found in (
            ("single_logit", entropy_change_single_logit(logits, k, eps)),
            ("policy_gradient", entropy_change_policy_gradient(logits, k, eps)),
        ):
            assert found.first_order == pytest.approx(step[f"{name}_first_order"], rel=1e-12)
            assert found.exact == pytest.approx(step[f"{name}_exact"], rel=1e-10)
            assert abs(found.exact - found.first_order) < 0.5 * eps**2 + 1e-15


@given(st.integers(2, 1000), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_what_is_omitted_is_quadratic(width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    z, direction = random.normal(0, 3, width), random.normal(0, 1, width)
    gaps = [
        abs(
            entropy_change_exact(z, eta * direction)
            - entropy_change_first_order(z, eta * direction)
        )
        for eta in (1e-2, 1e-3, 1e-4)
    ]
    # where the second derivative nearly vanishes the ratio is of third order: leave those out
    if gaps[2] > 1e-3 * 1e-8:
        assert 60 <= gaps[0] / gaps[1] <= 140
        assert 60 <= gaps[1] / gaps[2] <= 140


@given(st.integers(2, 200), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_identities(width: int, seed: int) -> None:
    z = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, width)).requires_grad_()
    s = discriminator_all(z)
    p = torch.softmax(z.detach(), -1)
    assert abs(float(s.sum())) < 1e-12
    assert float(discriminator_vocab_mean(z)) >= 0
    entropy = with_gradient(entropy_from_logits)(z)
    (slope,) = torch.autograd.grad(entropy, z)
    torch.testing.assert_close(slope, -s, rtol=1e-9, atol=1e-12)
    steps = entropy_change_policy_gradient(
        z.detach().expand(width, width), torch.arange(width), 1.0
    )
    assert abs(float((p * steps.first_order).sum())) < 1e-10  # its mean under p is 0


def test_uniform_and_one_hot_rows_are_0() -> None:
    assert not np.any(discriminator_all(np.zeros(5)).round(15))
    sure = np.array([0.0, -np.inf, -np.inf])
    assert discriminator_all(sure).tolist() == [0.0, 0.0, 0.0]
    assert float(discriminator_vocab_mean(sure)) == 0.0
    assert float(entropy_change_first_order(sure, [1.0, 2.0, np.inf])) == 0.0


def test_bad_rows_and_outcomes_are_named() -> None:
    with pytest.raises(InputError, match="row 1, are nan"):
        discriminator_all([[0.0, 1.0], [np.nan, 0.0]])
    with pytest.raises(InputError, match=r"outside 0\.\.1"):
        entropy_change_single_logit([0.0, 1.0], 2, 0.1)
