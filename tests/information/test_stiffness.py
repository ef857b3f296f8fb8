"""Stiffness indices: golden values, closed forms, invariances, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information.stiffness import (
    lipschitz_index,
    rate_index,
    stiffness_match,
    stiffness_ratio,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("case", "tolerance"), [("linear_euler", 1e-9), ("linear_exact", 1e-9), ("van_der_pol", 1e-6)]
)
def test_indices_are_the_golden_ones(
    golden: Callable[[str], Any], case: str, tolerance: float
) -> None:
    want = golden("stepnet")[case]
    states = np.array(want["states"])
    steps = np.linalg.norm(np.diff(states, axis=0), axis=1)
    # the golden values are plain quotients, ours have 1e-8 in the denominator
    rate_want = want["rate_index"] / (1 + 1e-8 / np.linalg.norm(states[:-1], axis=1))
    change_want = want["lipschitz_index"] / (1 + 1e-8 / steps[:-1])
    for kind in (states[None], torch.tensor(states)[None]):
        rate, change = rate_index(kind, want["dt"]), lipschitz_index(kind, want["dt"])
        assert type(rate) is type(kind)
        np.testing.assert_allclose(rate[0], rate_want, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(change[0], change_want, rtol=tolerance, atol=tolerance)


def test_stiffness_ratio(golden: Callable[[str], Any]) -> None:
    want = golden("stepnet")
    euler, pol = want["linear_euler"], want["van_der_pol"]
    assert stiffness_ratio(euler["matrix"]) == pytest.approx(euler["stiffness_ratio"], rel=1e-9)
    x, v = pol["states"][0]
    mu = pol["mu"]
    jacobian = np.array([[0, 1], [-2 * mu * x * v - 1, mu * (1 - x * x)]])
    real = pol["jacobian_real_parts"][0]
    assert stiffness_ratio(jacobian) == pytest.approx(real[1] / real[0], rel=1e-6)


def test_ratio_without_two_decaying_eigenvalues_says_why() -> None:
    assert stiffness_ratio(np.diag([-1.0, -50.0])) == 50
    for matrix, n in ((np.diag([1.0, -1.0]), 1), (np.eye(3), 0)):
        with pytest.warns(UserWarning, match=f"{n} of {len(matrix)} decay"):
            assert np.isnan(stiffness_ratio(matrix))


@given(st.floats(-3, -0.05), st.floats(0.05, 0.6))
@settings(max_examples=30, deadline=None)
def test_one_dimension_gives_the_eigenvalue(rate: float, dt: float) -> None:
    factor = 1 + dt * rate
    if abs(factor) < 0.05 or abs(factor - 1) < 1e-3:
        return
    x = (factor ** np.arange(5)).reshape(1, 5, 1)
    np.testing.assert_allclose(rate_index(x, dt), -rate, rtol=1e-2)  # the 1e-8 beside small x
    np.testing.assert_allclose(lipschitz_index(x, dt), -rate, rtol=1e-2)


@given(st.floats(0.01, 100), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_scale_and_rotation_do_not_matter(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 6, 4))
    turned = scale * x @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    np.testing.assert_allclose(rate_index(turned), rate_index(x), rtol=1e-5)
    np.testing.assert_allclose(lipschitz_index(turned), lipschitz_index(x), rtol=1e-5)


@given(st.floats(0.01, 50), st.floats(0.01, 10))
@settings(max_examples=30, deadline=None)
def test_a_gate_of_one_over_the_rate_is_a_stable_step(rate: float, x: float) -> None:
    after = x - min(1, 1 / rate) * rate * x
    assert -1e-12 <= after <= x


def test_maps_by_channel() -> None:
    x = RNG.normal(size=(2, 4, 3, 5, 5))
    whole, each = rate_index(x), rate_index(x, per_channel=True)
    assert whole.shape == (2, 3)
    assert each.shape == (2, 3, 3)
    np.testing.assert_allclose(each[0, 1, 2], rate_index(x[:, :, 2])[0, 1])
    np.testing.assert_allclose(rate_index(list(np.moveaxis(x, 1, 0))), whole)
    assert rate_index(x.astype(np.float32)).dtype == np.float32


def test_match_with_itself_and_with_another() -> None:
    x = RNG.normal(size=(4, 6, 3))
    assert stiffness_match(x, 7 * x)["correlation"] == pytest.approx(1)
    other = stiffness_match(torch.tensor(x), RNG.normal(size=x.shape))
    assert abs(other["correlation"]) < 0.95
    assert other["rmse"] > 0
    with pytest.raises(InputError, match="same samples and steps"):
        stiffness_match(x, x[:, :-1])
    still = (0.5 ** np.arange(4)).reshape(1, 4, 1)
    assert np.isnan(stiffness_match(np.ones((1, 4, 1)), still)["correlation"])


def test_bad_input_says_what_to_mend() -> None:
    x = RNG.normal(size=(2, 5, 3))
    with pytest.raises(InputError, match="at least 2 states"):
        rate_index(x[:, :1])
    with pytest.raises(InputError, match="at least 3 states"):
        lipschitz_index(x[:, :2])
    with pytest.raises(InputError, match=r"\[B, T \+ 1, ...\]"):
        rate_index(x[0])
    with pytest.raises(InputError, match="down-sampling between block 1 and 2"):
        rate_index([np.ones((2, 4)), np.ones((2, 4)), np.ones((2, 8))])
    for dt in (0, -1, float("nan")):
        with pytest.raises(ConfigurationError, match="dt is"):
            rate_index(x, dt)
    x[1, 3, 0] = np.nan
    for kind in (x, torch.tensor(x)):
        with pytest.raises(BrokenNumbersError, match="state 3 of sample 1"):
            lipschitz_index(kind)
    with pytest.warns(UserWarning, match="a state is zero"):
        assert rate_index(np.array([[[0.0], [1.0]]])) == pytest.approx(1e8)
    with pytest.raises(InputError, match="square"):
        stiffness_ratio(np.ones((2, 3)))
    with pytest.raises(BrokenNumbersError):
        stiffness_ratio([[np.nan, 0], [0, 1]])
    with pytest.raises(InputError):
        rate_index([["a", "b"]])
