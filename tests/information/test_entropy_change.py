"""Change of an entropy with its logits: closed forms, first-order theory, both kinds of arrays."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
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
    token_statistics,
    with_gradient,
)

seeds = st.integers(0, 10**6)
sizes = st.integers(2, 1000)


def random_logits(seed: int, n_vocab: int, rows: int = 4) -> np.ndarray[Any, Any]:
    logits: np.ndarray[Any, Any] = np.random.default_rng(seed).normal(0, 3, (rows, n_vocab))
    return logits


def tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    p: np.ndarray[Any, Any] = weight / weight.sum(-1, keepdims=True)
    return p


@pytest.mark.parametrize("kind", [np.asarray, tensor])
def test_values_of_fifty_digit_arithmetic(
    golden: Callable[[str], Any], kind: Callable[[Any], Any]
) -> None:
    case = golden("entropy-dynamics")["first_order"]
    logits = kind(case["logits"])

    def close(value: Any, rel: float = 1e-12) -> Any:  # what the values promise
        return pytest.approx(value, rel=rel, abs=1e-15)

    assert discriminator_all(logits).tolist() == close(case["S"])
    assert float(discriminator_vocab_mean(logits)) == close(case["vocab_mean"])
    for step in case["steps"]:
        k, eps = step["k"], step["eps"]
        for name, change in (
            ("single_logit", entropy_change_single_logit(logits, k, eps)),
            ("policy_gradient", entropy_change_policy_gradient(logits, k, eps)),
        ):
            first, exact = step[f"{name}_first_order"], step[f"{name}_exact"]
            assert float(change.first_order) == close(first)
            assert float(change.exact) == close(exact, 1e-10)
            assert abs(exact - float(change.first_order)) < 0.5 * eps**2 + 1e-15


def test_gradient_steps_of_the_covariance_theory(golden: Callable[[str], Any]) -> None:
    case = golden("cov-clip")["first_order"]
    logits, advantages = np.asarray(case["logits"]), np.asarray(case["advantages"])
    p, eta = np.asarray(case["probs"]), case["eta"]
    steps = {
        "exact_grad_step": eta * p * (advantages - p @ advantages),
        "natural_grad_step": eta * advantages,
    }
    for name, step in steps.items():
        first = entropy_change_first_order(logits, step)
        assert first == pytest.approx(case[name]["first_order"], rel=1e-9)
        exact = entropy_change_exact(logits, step)  # of size 1e-8, and still to nine digits
        assert exact == pytest.approx(case[name]["delta_H_exact"], rel=1e-9)


@given(seeds, sizes)
@settings(max_examples=40, deadline=None)
def test_discriminator_sums_to_zero_and_its_mean_is_a_covariance(seed: int, n_vocab: int) -> None:
    logits = random_logits(seed, n_vocab)
    p, score = softmax(logits), discriminator_all(logits)
    np.testing.assert_allclose(score.sum(-1), 0, atol=1e-12)
    mean = discriminator_vocab_mean(logits)
    assert (mean >= 0).all()
    np.testing.assert_allclose(mean, (p * score).sum(-1), atol=1e-13)
    on_policy = (p * (score - mean[:, None])).sum(-1)
    np.testing.assert_allclose(on_policy, 0, atol=1e-13)
    found = token_statistics(logits, squares=True)
    assert found.sum_p2 is not None
    assert found.sum_p2_logp is not None
    np.testing.assert_allclose(mean, found.entropy * found.sum_p2 + found.sum_p2_logp, atol=1e-9)


@given(seeds, st.integers(2, 60))
@settings(max_examples=20, deadline=None)
def test_discriminator_is_minus_the_gradient_of_the_entropy(seed: int, n_vocab: int) -> None:
    logits = torch.tensor(random_logits(seed, n_vocab), requires_grad=True)
    with_gradient(entropy_from_logits)(logits).sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(discriminator_all(logits), -logits.grad)


@given(seeds, sizes)
@settings(max_examples=40, deadline=None)
def test_error_of_the_first_order_is_quadratic(seed: int, n_vocab: int) -> None:
    rng = np.random.default_rng(seed)
    logits = random_logits(seed, n_vocab)
    direction = rng.normal(size=logits.shape)
    errors = []
    for eta in (1e-2, 1e-3, 1e-4):
        step = eta * direction
        errors.append(
            abs(entropy_change_exact(logits, step) - entropy_change_first_order(logits, step))
        )
    # A row where the second order happens to nearly vanish shows the third: it is left out.
    plain = errors[1] > 0.02 * 1e-3**2
    for coarse, fine in pairwise(errors):
        ratio = (coarse / np.maximum(fine, 1e-300))[plain]
        assert ((ratio > 60) & (ratio < 140)).all()


@given(seeds, sizes)
@settings(max_examples=30, deadline=None)
def test_exact_change_is_the_difference_of_entropies(seed: int, n_vocab: int) -> None:
    logits = random_logits(seed, n_vocab)
    step = np.random.default_rng(seed + 1).normal(0, 2, logits.shape)
    expected = entropy_from_logits(logits + step) - entropy_from_logits(logits)
    np.testing.assert_allclose(entropy_change_exact(logits, step), expected, atol=1e-11)


def test_sign_is_that_of_likelier_than_exp_of_minus_entropy() -> None:
    logits = random_logits(3, 20, rows=1)[0]
    typical = np.exp(-entropy_from_logits(logits))
    for k, p in enumerate(softmax(logits)):
        change = entropy_change_single_logit(logits, k, 1e-6)
        assert (change.first_order < 0) == (p > typical)


def test_on_policy_a_constant_push_leaves_the_entropy() -> None:
    logits = random_logits(5, 30, rows=1)[0]
    change = entropy_change_policy_gradient(
        np.tile(logits, (30, 1)), np.arange(30), np.full(30, 0.1)
    )
    assert softmax(logits) @ change.first_order == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("kind", [np.asarray, tensor])
def test_uniform_one_hot_and_impossible_outcomes(kind: Callable[[Any], Any]) -> None:
    inf = float("inf")
    logits = kind([[0.0, 0.0, 0.0], [1e4, 0.0, 0.0], [0.0, -inf, -inf], [1.0, 0.0, -inf]])
    score = discriminator_all(logits)
    none = pytest.approx(np.zeros((3, 3)), abs=1e-15)  # rounding of ln 3
    assert np.asarray(score[:3]) == none
    assert np.asarray(discriminator_vocab_mean(logits))[:3] == pytest.approx(0, abs=1e-15)
    assert score[3].tolist() == pytest.approx([*discriminator_all([1.0, 0.0]), 0.0])
    steps = kind([[0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, inf, 0.0], [0.5, 0.0, 9.0]])
    expected = [entropy_change_exact(row, [0.5, 0.0]) for row in ([1.0, 0.0],)]
    assert entropy_change_exact(logits, steps)[1:].tolist() == pytest.approx([0.0, 0.0, *expected])
    first = entropy_change_first_order(logits, steps)
    assert first.tolist()[:3] == pytest.approx([0, 0, 0], abs=1e-15)


def test_large_steps_do_not_overflow() -> None:
    change = entropy_change_exact([0.0, 0.0, 0.0], [2000.0, 0.0, -2000.0])
    assert change == pytest.approx(-np.log(3))
    lifted = entropy_change_exact([0.0, -1.0], [-900.0, -900.0])
    assert lifted == pytest.approx(0, abs=1e-12)


def test_dtypes_and_kinds() -> None:
    narrow = torch.tensor([2.0, 0.0, 0.0], dtype=torch.float16)
    assert discriminator_all(narrow).dtype == torch.float32
    assert discriminator_all(narrow.double()).dtype == torch.float64
    assert isinstance(discriminator_all([2.0, 0.0]), np.ndarray)
    attached = torch.zeros(3, requires_grad=True)
    assert not discriminator_vocab_mean(attached).requires_grad


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"row 1, are nan, \+inf, or -inf everywhere"):
        discriminator_all([[0.0, 1.0], [np.nan, 0.0]])
    with pytest.raises(InputError, match="last axes are the outcomes"):
        entropy_change_first_order([0.0, 1.0], [0.0, 1.0, 2.0])
    with pytest.raises(InputError, match=r"outside 0\.\.1"):
        entropy_change_single_logit([0.0, 1.0], 2, 0.1)
