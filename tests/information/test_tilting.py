from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import beta_for_reward, nsr_bound, tilt, tilt_entropy_derivative


def entropy(p):
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def test_golden_tilts(golden):
    table = golden("invisible-leash")["tilting"]
    q, reward = np.array(table["q"]), np.array(table["reward"])
    for row in table["rows"]:
        pi = tilt(q, reward, row["beta"])
        np.testing.assert_allclose(pi, row["pi"], rtol=1e-12)
        assert entropy(pi) == pytest.approx(row["entropy"], rel=1e-12)
        assert (pi * np.log(pi / q)).sum() == pytest.approx(row["kl"], abs=1e-12)
        assert pi @ reward == pytest.approx(row["reward"], rel=1e-12)


def test_golden_entropy_can_rise(golden):
    table = golden("invisible-leash")["entropy_can_rise"]
    rows = [entropy(tilt(table["q"], table["reward"], row["beta"])) for row in table["rows"]]
    np.testing.assert_allclose(rows, [row["entropy"] for row in table["rows"]], rtol=1e-12)
    assert rows[2] > rows[0]


def test_golden_beta(golden):
    for row in golden("invisible-leash")["beta_for_rho"]:
        a = row["q_correct"]
        found = beta_for_reward([1 - a, a], [0, 1], row["rho"])
        assert float(found) == pytest.approx(row["beta"], abs=1e-12)


def test_golden_nsr(golden):
    for row in golden("invisible-leash")["nsr_bound"]:
        found = nsr_bound(row["eta"], row["K"], row["T"])
        assert float(found) == pytest.approx(row["factor"], rel=1e-13)
    assert float(nsr_bound(1, 1000, 1000)) == np.inf


weights = st.lists(st.floats(0.01, 1), min_size=3, max_size=3)


@given(weights, st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.floats(-3, 5))
@settings(max_examples=100, deadline=None)
def test_entropy_slope_equals_the_finite_difference(w, reward, beta):
    q = np.array(w) / np.sum(w)
    h = 1e-5
    slope = (entropy(tilt(q, reward, beta + h)) - entropy(tilt(q, reward, beta - h))) / (2 * h)
    found = float(tilt_entropy_derivative(q, reward, beta))
    assert found == pytest.approx(slope, abs=1e-6)  # rounding 1e-16/h plus h^2


@given(weights, st.integers(0, 5), st.floats(0, 20))
@settings(max_examples=100, deadline=None)
def test_right_answers_only_gain_and_zero_stays_zero(w, which, beta):
    q = np.append(np.array(w) / np.sum(w), 0.0)
    reward = np.array([(which >> i) & 1 for i in range(3)] + [1])
    pi = tilt(q, reward, beta)
    assert (pi[:3][reward[:3] == 1] >= q[:3][reward[:3] == 1] - 1e-15).all()
    assert pi[3] == 0


def test_beta_reaches_any_reward():
    q, reward = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([0.0, 0.4, 2.0])
    beta = beta_for_reward(q, reward, 1.7)
    reached = (tilt(q, reward, beta) * reward).sum(-1)
    np.testing.assert_allclose(reached, [1.7, 1.7], atol=1e-9)
    assert beta_for_reward(q[1], reward, 1.0) == 0  # has 1.64 already
    assert float(beta_for_reward(q[0], reward, 2.0)) == np.inf
    assert float(beta_for_reward([0.5, 0.5], [0, 1], 1.0)) == np.inf


def test_torch_equals_numpy():
    q, reward, beta = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]]), np.array([0, 1, 1.0]), 1.5
    tensors = torch.tensor(q), torch.tensor(reward), beta
    for function in (tilt, tilt_entropy_derivative):
        found = function(*tensors)
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found.numpy(), function(q, reward, beta), rtol=1e-14)
    found = beta_for_reward(*tensors[:2], 0.95)
    np.testing.assert_allclose(found.numpy(), beta_for_reward(q, reward, 0.95), rtol=1e-14)
    half = tilt(torch.tensor(q, dtype=torch.float16), reward, torch.tensor([1.5, 1.5]))
    assert half.dtype == torch.float64  # of the rewards; float16 alone would give float32
    np.testing.assert_allclose(half.numpy(), tilt(q, reward, beta), atol=1e-3)


def test_gradient_of_a_tilt_is_finite_at_zero_probability():
    q = torch.tensor([0.6, 0.4, 0.0], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    pi = tilt(q, torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64), beta)
    mean = pi[1] + pi[2]
    mean.backward()
    mean = mean.detach()
    assert torch.isfinite(q.grad).all()
    assert float(q.grad[2]) == 0
    assert float(beta.grad) == pytest.approx(float(mean * (1 - mean)))  # Var of a binary reward


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tilt([-0.1, 1.1], [0, 1], 1), "log-probabilities"),
        (lambda: tilt([0.5, 0.6], [0, 1], 1), "sum to 1"),
        (lambda: tilt([0.5, 0.5], [0, np.inf], 1), "finite"),
        (lambda: tilt(1.0, 0, 1), "single number"),
        (lambda: beta_for_reward([1.0, 0.0], [0, 1], 0.5), "stays at 0"),
        (lambda: nsr_bound(-1, 1), "eta >= 0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
