"""Divergences: golden values, bounds, gradients, bad input."""

import dit
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import (
    js_divergence,
    js_divergence_from_logits,
    kl_divergence,
    kl_estimate,
    with_gradient,
)

LN2 = np.log(2)
rows = hnp.arrays(np.float64, (2, 6), elements=st.floats(-40, 40))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def aligned(case):
    keys = sorted(set(case["p"]) | set(case["q"]))
    return [np.array([case[name].get(key, 0.0) for key in keys]) for name in ("p", "q")]


def test_golden_divergences(golden):
    for case in golden("instability")["jsd"]:
        p, q = aligned(case)
        assert js_divergence(p, q) == pytest.approx(case["jsd"], rel=1e-12, abs=1e-15)
        tensor = js_divergence(torch.tensor(p), torch.tensor(q))
        assert tensor.item() == pytest.approx(case["jsd"], rel=1e-12, abs=1e-15)
        with np.errstate(divide="ignore"):
            from_logits = js_divergence_from_logits(np.log(p), np.log(q))
        assert from_logits == pytest.approx(case["jsd"], rel=1e-12, abs=1e-15)


def test_dit_agrees():
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5), 2)
    a, b = (dit.Distribution(list("abcde"), x.tolist()) for x in (p, q))
    oracle = dit.divergences.jensen_shannon_divergence([a, b])
    assert js_divergence(p, q, base=2) == pytest.approx(oracle, rel=1e-10)


@given(rows)
def test_js_divergence_is_symmetric_and_bounded(z):
    p, q = softmax(z)
    d = js_divergence(p, q)
    assert 0 <= d <= LN2
    assert js_divergence(q, p) == pytest.approx(d, rel=1e-12, abs=1e-300)
    assert js_divergence(p[::-1], q[::-1]) == pytest.approx(d, rel=1e-12, abs=1e-300)
    # the quantities differ by the rounding of p itself
    assert js_divergence_from_logits(z[0], z[1]) == pytest.approx(d, rel=1e-9, abs=1e-15)
    assert js_divergence(p, p) == 0


@given(rows)
def test_torch_equals_numpy(z):
    p, q = softmax(z)
    tensors = torch.tensor(p), torch.tensor(q)
    assert js_divergence(*tensors).item() == pytest.approx(js_divergence(p, q), rel=1e-9, abs=1e-15)
    assert kl_divergence(*tensors).item() == pytest.approx(kl_divergence(p, q), rel=1e-9, abs=1e-14)
    a, b = torch.tensor(z)
    compiled = js_divergence_from_logits(a, b)
    eager = with_gradient(js_divergence_from_logits)(a.requires_grad_(), b)
    assert eager.item() == pytest.approx(compiled.item(), abs=1e-12)


def test_small_divergences_keep_their_digits():
    p = np.array([0.5, 0.5])
    q = np.array([0.5 + 2.0**-30, 0.5 - 2.0**-30])
    assert js_divergence(p, q) == pytest.approx(2.0**-61, rel=1e-6)  # eps^2 / 2, next term eps^4


def test_probabilities_below_the_smallest_float_are_not_lost():
    a = torch.tensor([0.0, -200.0, -float("inf")])
    b = torch.tensor([-200.0, 0.0, -float("inf")])
    assert js_divergence_from_logits(a, b).item() == pytest.approx(LN2, abs=1e-6)
    assert js_divergence_from_logits(a, a).item() == 0


def test_gradients_by_finite_differences():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 5, dtype=torch.float64)
    a[0, 2] = -float("inf")
    a.requires_grad_()
    with_gradient(js_divergence_from_logits)(a, b).sum().backward()
    assert torch.isfinite(a.grad).all()
    assert a.grad[0, 2] == 0
    step = 1e-6
    for i, j in ((0, 0), (1, 2), (2, 4)):
        up, down = a.detach().clone(), a.detach().clone()
        up[i, j] += step
        down[i, j] -= step
        slope = (js_divergence_from_logits(up, b) - js_divergence_from_logits(down, b)).sum()
        assert a.grad[i, j].item() == pytest.approx(slope.item() / (2 * step), abs=1e-8)


def test_estimates_average_to_the_divergence():
    p, q = softmax(np.random.default_rng(2).normal(size=(2, 4)))
    expected = kl_divergence(p, q)
    for kind in ("k1", "k3"):
        estimate = kl_estimate(np.log(p), np.log(q), kind)
        assert (p * estimate).sum() == pytest.approx(expected, rel=1e-12)
    assert (kl_estimate(np.log(p), np.log(q), "k3") >= 0).all()
    assert kl_estimate(np.array([-1.0]), np.array([-3.0]), "k2").tolist() == [2.0]


def test_kl_of_a_missing_outcome_is_infinite():
    assert np.isinf(kl_divergence([0.5, 0.5], [1.0, 0.0]))
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(LN2)


def test_bad_input():
    with pytest.raises(InputError, match="logprob_q, row 1: above 0"):
        kl_estimate([-1.0, -1.0], [-1.0, 1.0])
    with pytest.raises(ConfigurationError, match="did you mean"):
        kl_estimate([-1.0], [-1.0], "k33")
    with pytest.raises(InputError, match="shape"):
        js_divergence_from_logits(np.zeros(3), np.zeros(4))
    with pytest.raises(InputError, match="b, row 1: nan"):
        js_divergence_from_logits(np.zeros((2, 2)), np.array([[0.0, 0.0], [0.0, np.nan]]))
    with pytest.raises(InputError, match="a, row 0: every outcome"):
        js_divergence_from_logits(np.full(2, -np.inf), np.zeros(2))
