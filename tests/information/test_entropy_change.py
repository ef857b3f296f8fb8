"""First-order theory of the entropy of a softmax: golden values, identities, order of the error."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
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

seeds = st.integers(0, 2**31)


def softmax(z: np.ndarray) -> np.ndarray:
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_golden_steps(golden: Callable[[str], Any]) -> None:
    case = golden("entropy-dynamics")["first_order"]
    z = np.array(case["logits"])
    np.testing.assert_allclose(discriminator_all(z), case["S"], atol=1e-12)
    np.testing.assert_allclose(discriminator_vocab_mean(z), case["vocab_mean"], atol=1e-12)
    for step in case["steps"]:
        for name, change in (
            ("single_logit", entropy_change_single_logit(z, step["k"], step["eps"])),
            ("policy_gradient", entropy_change_policy_gradient(z, step["k"], step["eps"])),
        ):
            expected = step[f"{name}_first_order"]
            assert change.first_order == pytest.approx(expected, rel=0, abs=1e-12)
            # 50-digit arithmetic; nothing cancels, so the digits that float64 holds are right
            assert change.exact == pytest.approx(step[f"{name}_exact"], rel=1e-12, abs=1e-18)
            assert abs(change.exact - change.first_order) < 0.5 * step["eps"] ** 2 + 1e-15


def test_golden_gradient_of_the_mean_advantage(golden: Callable[[str], Any]) -> None:
    case = golden("cov-clip")["first_order"]
    z, advantage, eta = np.array(case["logits"]), np.array(case["advantages"]), case["eta"]
    p = softmax(z)
    for name, dz in (
        ("exact_grad_step", eta * p * (advantage - p @ advantage)),
        ("natural_grad_step", eta * advantage),
    ):
        first, exact = entropy_change_first_order(z, dz), entropy_change_exact(z, dz)
        assert first == pytest.approx(case[name]["first_order"], rel=1e-10)
        assert exact == pytest.approx(case[name]["delta_H_exact"], rel=1e-10)


def test_golden_sampled_tokens(golden: Callable[[str], Any]) -> None:
    case = golden("entropy-dynamics")
    z, tokens = np.array(case["inputs"]["logits"]), np.array(case["inputs"]["tokens"])
    taken = np.take_along_axis(discriminator_all(z), tokens[..., None], -1)[..., 0]
    mask = np.array(case["inputs"]["mask"])
    np.testing.assert_allclose(taken * mask, case["discriminator_sampled"], atol=1e-12)
    mean = discriminator_vocab_mean(z) * mask
    np.testing.assert_allclose(mean, case["vocab_mean_float64"], atol=1e-12)
    np.testing.assert_allclose(mean, case["vocab_mean_code"], atol=1e-6)  # float32 inside


@given(seeds, st.integers(2, 1000))
def test_identities(seed: int, V: int) -> None:
    z = 3 * np.random.default_rng(seed).standard_normal((4, V))
    p, S, N = softmax(z), discriminator_all(z), discriminator_vocab_mean(z)
    np.testing.assert_allclose(S.sum(-1), 0, atol=1e-13)
    np.testing.assert_allclose((p * (S - N[:, None])).sum(-1), 0, atol=1e-13)
    assert (N >= 0).all()
    leaf = torch.tensor(z, requires_grad=True)
    with_gradient(entropy_from_logits)(leaf).sum().backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(-leaf.grad.numpy(), S, atol=1e-12)


@given(seeds, st.integers(2, 1000))
def test_error_of_the_first_order_is_quadratic(seed: int, V: int) -> None:
    g = np.random.default_rng(seed)
    z, direction = 3 * g.standard_normal(V), g.standard_normal(V)
    errors = []
    for eta in (1e-2, 1e-3, 1e-4):
        exact, first = (
            change(z, eta * direction)
            for change in (entropy_change_exact, entropy_change_first_order)
        )
        errors.append(abs(exact - first))
    # where the curvature along the direction nearly vanishes, the error is of third order
    assume(errors[2] > 0.1 * 1e-8)
    for larger, smaller in itertools.pairwise(errors):
        assert 60 < larger / smaller < 140


@given(seeds, st.integers(2, 200), st.floats(1e-3, 2.0))
def test_exact_change_is_the_difference_of_entropies(seed: int, V: int, size: float) -> None:
    g = np.random.default_rng(seed)
    z, dz = 3 * g.standard_normal((3, V)), size * g.standard_normal((3, V))
    expected = entropy_from_logits(z + dz) - entropy_from_logits(z)
    np.testing.assert_allclose(entropy_change_exact(z, dz), expected, atol=1e-12)


@pytest.mark.parametrize("V", [2, 7, 1000])
def test_uniform_and_one_hot_rows_have_no_slope(V: int) -> None:
    one_hot = np.zeros(V)
    one_hot[1] = 1e4
    masked = np.full(V, -np.inf)
    masked[0] = 0.3
    for z in (np.zeros(V), one_hot, masked):
        np.testing.assert_allclose(discriminator_all(z), 0, atol=1e-15)
        assert discriminator_vocab_mean(z) == pytest.approx(0, abs=1e-15)
        assert np.isfinite(entropy_change_policy_gradient(z, 0, 0.1).exact)


def test_impossible_outcomes_count_for_nothing() -> None:
    z = np.array([0.4, -np.inf, 1.1, -0.3])
    possible = [0, 2, 3]
    np.testing.assert_allclose(discriminator_all(z)[possible], discriminator_all(z[possible]))
    dz = np.array([0.1, np.nan, -0.2, 0.0])
    for change in (entropy_change_first_order, entropy_change_exact):
        assert change(z, dz) == pytest.approx(change(z[possible], dz[possible]))
    assert entropy_change_single_logit(z, 1, 0.5) == (0, 0)


def test_tensors_give_tensors_of_the_same_values() -> None:
    z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k, alpha = torch.tensor([0, 4, 2]), torch.tensor([0.1, -0.2, 0.3])
    for function in (entropy_change_single_logit, entropy_change_policy_gradient):
        ours, arrays = function(z, k, alpha), function(z.numpy(), k.numpy(), alpha.double().numpy())
        for tensor, array in zip(ours, arrays, strict=True):
            assert isinstance(tensor, torch.Tensor)
            np.testing.assert_allclose(tensor, array, rtol=1e-12)
    half = discriminator_all(z.to(torch.bfloat16))
    assert half.dtype == torch.float32
    assert not discriminator_vocab_mean(z.requires_grad_()).requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discriminator_all([[0.0, 1.0], [np.nan, 0.0]]), "row 1, are nan"),
        (lambda: discriminator_all([-np.inf, -np.inf]), "-inf everywhere"),
        (lambda: discriminator_vocab_mean(np.zeros((2, 0))), "must hold outcomes"),
        (lambda: entropy_change_single_logit([0.0, 1.0], 2, 0.1), r"outside 0\.\.1"),
        (lambda: entropy_change_first_order([0.0, 1.0], [0.0, 1.0, 2.0]), "last axes"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
