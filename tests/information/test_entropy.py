"""Entropy of probabilities and of logits: golden values, invariants, bad input."""

import dit
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import (
    cross_entropy,
    entropy,
    entropy_from_logits,
    kl_divergence,
    mutual_information,
    surprisal,
    varentropy,
    varentropy_from_logits,
    with_gradient,
)

logits_rows = hnp.arrays(np.float64, (3, 7), elements=st.floats(-30, 30))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_golden_entropies(golden):
    for case in golden("instability")["entropy"]:
        p = np.array(case["p"], dtype=np.float64)
        assert entropy(p) == pytest.approx(case["H"], rel=1e-12, abs=1e-15)
        assert float(entropy(torch.tensor(p))) == pytest.approx(case["H"], rel=1e-12, abs=1e-15)
        if "H_bits" in case:
            assert entropy(p, base=2) == pytest.approx(case["H_bits"], rel=1e-12)


def test_dit_agrees():
    rng = np.random.default_rng(0)
    joint = rng.dirichlet(np.ones(12)).reshape(3, 4)
    outcomes = [f"{x}{y}" for x in range(3) for y in range(4)]
    oracle = dit.Distribution(outcomes, joint.ravel().tolist())
    assert entropy(joint.ravel(), base=2) == pytest.approx(dit.shannon.entropy(oracle), rel=1e-12)
    expected = dit.shannon.mutual_information(oracle, [0], [1])
    assert mutual_information(joint, base=2) == pytest.approx(expected, rel=1e-9)


@given(logits_rows)
def test_entropy_is_bounded_and_does_not_depend_on_the_order(z):
    p = softmax(z)
    h = entropy(p)
    assert (h >= 0).all()
    assert (h <= np.log(7) + 1e-12).all()
    np.testing.assert_allclose(entropy(p[:, ::-1]), h, atol=1e-12)
    np.testing.assert_allclose(entropy_from_logits(z), h, atol=1e-10)
    np.testing.assert_allclose(varentropy_from_logits(z), varentropy(p), atol=1e-9)


@given(logits_rows, st.floats(0.1, 5))
def test_temperature_divides_the_logits(z, temperature):
    """OpenRLHF took the entropy before the division: up to 1 nat off."""
    np.testing.assert_allclose(
        entropy_from_logits(z, temperature=temperature),
        entropy_from_logits(z / temperature),
        atol=1e-10,
    )


@given(logits_rows)
def test_torch_equals_numpy(z):
    p = softmax(z)
    t = torch.tensor(p)
    np.testing.assert_allclose(entropy(t).numpy(), entropy(p), atol=1e-14)
    np.testing.assert_allclose(varentropy(t).numpy(), varentropy(p), atol=1e-13)
    np.testing.assert_allclose(
        cross_entropy(t, t.flip(-1)).numpy(), cross_entropy(p, p[:, ::-1]), atol=1e-12
    )
    np.testing.assert_allclose(
        mutual_information(t / 3).numpy(), mutual_information(p / 3), atol=1e-14
    )


def test_cross_entropy_splits_into_entropy_and_divergence():
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(5), 2)
    assert cross_entropy(p, q) == pytest.approx(entropy(p) + kl_divergence(p, q), rel=1e-12)
    assert np.isinf(cross_entropy([0.5, 0.5], [1.0, 0.0]))


def test_surprisal_of_the_impossible_is_infinite():
    assert np.isinf(surprisal(0.0))
    assert surprisal(np.array([1.0, 0.5])).tolist() == pytest.approx([0.0, np.log(2)])


def test_gradient_of_zero_probabilities_is_zero():
    p = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    with_gradient(entropy)(p).backward()
    assert p.grad[2] == 0
    assert p.grad[0].item() == pytest.approx(-np.log(0.5) - 1)


def test_measuring_builds_no_graph():
    """verifiers#662 kept an autograd graph of an entropy that was only logged."""
    p = torch.full((2, 4), 0.25, requires_grad=True)
    for measured in (entropy(p), varentropy(p), entropy_from_logits(p), cross_entropy(p, p)):
        assert measured.grad_fn is None
        assert not measured.requires_grad
    assert with_gradient(entropy)(p).grad_fn is not None
    assert with_gradient(entropy_from_logits)(p).grad_fn is not None


def test_float16_and_bfloat16_are_measured_in_float32():
    p = torch.full((1024,), 1 / 1024)
    for kind in (torch.float16, torch.bfloat16):
        h = entropy(p.to(kind))
        assert h.dtype == torch.float32
        assert h.item() == pytest.approx(np.log(1024), abs=1e-5)
    assert entropy(np.full(1024, 1 / 1024, np.float16)).dtype == np.float32


@pytest.mark.parametrize(
    ("p", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.4]], "row 1, sums to 0.9"),
        ([[0.5, 0.5], [1.5, -0.5]], "row 1, has a negative"),
        ([0.5, float("nan")], "nan"),
        ([-1.0, -2.0], "take exp first"),
        (["a", "b"], "array of numbers"),
        ([], "must hold outcomes"),
    ],
)
def test_bad_probabilities(p, message):
    with pytest.raises(InputError, match=message):
        entropy(p)


def test_bad_settings():
    with pytest.raises(ConfigurationError, match="base"):
        entropy([0.5, 0.5], base=1)
    with pytest.raises(ConfigurationError, match="temperature"):
        entropy_from_logits([0.0, 1.0], temperature=0)
    with pytest.raises(InputError, match="outside"):
        surprisal(-0.5)
    with pytest.raises(InputError, match="must agree"):
        cross_entropy([0.5, 0.5], [1.0])
    with pytest.raises(ConfigurationError, match="differentiable"):
        with_gradient(softmax)
