"""Radii against values of 40-digit arithmetic, bounds and invariances; KL bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.learning.convergence_radius import (
    binary_radius,
    exact_radius,
    ghosts_top2,
    normalized_step,
    radius_bound,
    slope_spread,
    zeros_within,
)
from entropilot.learning.network_radii import activation_radius, attention_radius
from entropilot.learning.step_divergence import THIRD_MOMENT, kl_step_bounds

Golden = dict[str, Any]


@pytest.fixture(scope="module")
def values(golden: Callable[[str], Any]) -> Golden:
    found: Golden = golden("ghosts")
    return found


def samples(seed: int, k: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal(k), rng.standard_normal(k)


def test_two_logits(values: Golden) -> None:
    for case in values["binary"]:
        found = binary_radius(case["delta"], case["spread"])
        assert found == pytest.approx(case["rho_exact"], rel=1e-12)
        assert radius_bound(case["spread"]) == pytest.approx(case["rho_bound"], rel=1e-12)
        pair = exact_radius([case["delta"], 0.0], [0.0, case["spread"]])
        assert pair == pytest.approx(case["rho_exact"], rel=1e-12)


def test_closed_forms(values: Golden) -> None:
    for case in values["closed_form"]:
        if "n" in case:
            z, k = np.zeros(case["n"]), np.arange(case["n"])
        else:
            k = np.arange(case["m"] + 1)
            z = np.log([math.comb(case["m"], int(i)) for i in k])  # a zero of multiplicity m
        assert exact_radius(z, case["h"] * k) == pytest.approx(case["rho_exact"], rel=1e-9)


def test_many_logits_and_the_count_around_the_zero(values: Golden) -> None:
    for case in values["multiclass"]:
        z, a, rho = case["logits"], case["slopes"], case["rho_exact"]
        assert exact_radius(z, a) == pytest.approx(rho, rel=1e-9)
        assert radius_bound(slope_spread(np.array(a))) == pytest.approx(case["rho_bound"], rel=1e-9)
        inside, outside = zeros_within(z, a, [0.995 * rho, 1.005 * rho])
        assert (inside, outside) == (case["zeros_inside_0p995"], case["zeros_inside_1p005"])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(2, 12),
    scale=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    factor=st.floats(0.01, 100),
)
def test_the_exact_radius_obeys_bound_and_invariances(
    seed: int, k: int, scale: float, factor: float
) -> None:
    z, a = samples(seed, k, scale)
    rho = float(exact_radius(z, a))
    assert rho >= radius_bound(slope_spread(a)) * (1 - 1e-12)
    assert exact_radius(z, -a) == pytest.approx(rho, rel=1e-7)
    assert exact_radius(z + 3, a - 7) == pytest.approx(rho, rel=1e-7)
    assert exact_radius(z[::-1], a[::-1]) == pytest.approx(rho, rel=1e-7)
    assert exact_radius(z, factor * a) == pytest.approx(rho / factor, rel=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(3, 8))
def test_a_taylor_series_settles_inside_the_exact_radius_only(seed: int, k: int) -> None:
    """The coefficients of log F fall like rho^-n: their growth tells the radius independently."""
    z, a = samples(seed, k, 2.0)
    rho = float(exact_radius(z, a))
    # coefficients by a contour integral of log F well inside: zeros stay outside, log F is smooth
    radius, n = 0.5 * rho, 512
    t = radius * np.exp(2j * np.pi * np.arange(n) / n)
    f = np.exp(z[:, None] + (a - a.mean())[:, None] * t).sum(0)
    derivative = ((a - a.mean())[:, None] * np.exp(z[:, None] + (a - a.mean())[:, None] * t)).sum(0)
    coefficient = abs(np.fft.fft(derivative / f) / n)[:40] / radius ** np.arange(40)
    # a pair of poles makes the coefficients swing; their envelope over ten terms is compared
    growth = (coefficient[28:38].max() / coefficient[14:24].max()) ** (1 / 14)
    assert growth == pytest.approx(1 / rho, rel=0.25)


def test_a_confident_sample_has_a_far_zero() -> None:
    ratio = exact_radius([60.0, 0.0, 0.0], [0.0, 1.0, -1.0]) / radius_bound(2.0)
    assert ratio > 30


def test_no_slope_no_limit() -> None:
    assert exact_radius([[1.0, 2.0, 3.0]], [[4.0, 4.0, 4.0]]).tolist() == [math.inf]
    assert radius_bound(torch.tensor(0.0)) == math.inf
    assert normalized_step(np.zeros((3, 4))) == 0.0


def test_equal_slopes_are_one_logit() -> None:
    z, a = np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 1.0])
    joined = np.log(np.exp(1.0) + np.exp(2.0)) - 0.5
    assert exact_radius(z, a) == pytest.approx(binary_radius(joined, 1.0), rel=1e-12)


def test_the_linear_classifier(values: Golden) -> None:
    case = values["linear_classifier"]
    x, v = np.array(case["X"]), np.array(case["V"])
    slopes = x @ (v / np.linalg.norm(v)).T
    np.testing.assert_allclose(slopes, case["slopes_along_V_unit"], rtol=1e-12)
    np.testing.assert_allclose(slope_spread(slopes), case["spread_per_sample"], rtol=1e-12)
    assert normalized_step(x @ v.T) == pytest.approx(case["r_for_step_V"], rel=1e-12)
    assert radius_bound(slope_spread(slopes)).min() == pytest.approx(case["rho_bound_V"], rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), tau=st.floats(1e-6, 1e6))
def test_r_depends_on_the_step_alone(seed: int, tau: float) -> None:
    _, a = samples(seed, 10, 1.0)
    rho = float(radius_bound(slope_spread(a)))
    assert normalized_step(tau * a[None]) == pytest.approx(tau / rho, rel=1e-12)


def test_temperature_scales_the_radius() -> None:
    z, a = samples(0, 10, 3.0)
    for t in (0.25, 4.0):
        assert radius_bound(slope_spread(a / t)) == pytest.approx(t * radius_bound(slope_spread(a)))
        # the exact radius of the softened logits is that of softened slopes and logits
        assert exact_radius(z / t, a / t) >= t * radius_bound(slope_spread(a)) * (1 - 1e-12)


def test_numpy_and_torch_agree() -> None:
    a = np.random.default_rng(0).standard_normal((5, 7, 11))
    mask = np.arange(7) < 4
    mask = np.broadcast_to(mask, (5, 7))
    found = slope_spread(torch.tensor(a), torch.tensor(mask))
    np.testing.assert_array_equal(found.numpy(), slope_spread(a, mask))
    assert (found[:, 4:] == 0).all()


def test_the_two_best_make_a_ghost() -> None:
    z, a = np.array([[0.0, 3.0, 1.0]]), np.array([[1.0, 0.0, 2.0]])
    assert ghosts_top2(z, a, np.array([1]))[0] == pytest.approx((2 + math.pi * 1j) / 2)
    flat = ghosts_top2(torch.tensor(z), torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([1]))
    assert np.isinf(flat).all()
    two_z, two_a = np.array([0.3, 1.1]), np.array([0.2, -0.7])
    assert abs(ghosts_top2(two_z, two_a, np.array(0))) == pytest.approx(
        float(exact_radius(two_z, two_a))
    )


def test_divergences(values: Golden) -> None:
    for case in values["kl"]:
        found = kl_step_bounds(case["logits"], case["slopes"], case["tau"])
        for name, value in found.items():
            assert value == pytest.approx(case[name], rel=1e-9), name
    extremal = values["third_moment_extremal"]
    assert extremal["value_over_spread_cubed"] == pytest.approx(THIRD_MOMENT, rel=1e-12)


def test_divergence_of_the_reference(values: Golden) -> None:
    case = values["reference_verifyBound"]
    found = kl_step_bounds(np.log(case["alpha0"]), case["a"], case["tau"])
    assert found["kl_new_old"][0] == pytest.approx(case["out"]["klActual"], rel=1e-9)
    assert found["bound_new_old"][0] == pytest.approx(case["out"]["bound"], rel=1e-9)
    assert found["quadratic"][0] == pytest.approx(case["out"]["klQuad"], rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 20), tau=st.floats(-3, 3))
def test_divergence_bounds_hold(seed: int, k: int, tau: float) -> None:
    z, a = samples(seed, k, 3.0)
    found = kl_step_bounds(z, a, tau)
    slack = 1e-12
    assert abs(found["kl_new_old"] - found["quadratic"]) <= found["bound_new_old"] + slack
    assert abs(found["kl_old_new"] - found["quadratic"]) <= found["bound_old_new"] + slack


def test_radii_inside_a_transformer() -> None:
    slopes = np.array([[0.0, 100.0, 7.0], [1.0, 3.0, 50.0], [0.0, 1.0, 2.0]])
    causal = np.tril(np.ones((3, 3), bool))
    assert attention_radius(slopes, causal) == pytest.approx(math.pi / 2)
    assert attention_radius(np.zeros((2, 2)), np.eye(2, dtype=bool)) == math.inf
    assert activation_radius(np.ones(100), np.full(100, 2.0)) == 0.5
    assert activation_radius(np.ones(3), np.zeros(3)) == math.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: slope_spread(np.array([1.0])), "at least two logits"),
        (lambda: slope_spread(np.array([[0.0, 1.0], [0.0, np.nan]])), "row 1"),
        (lambda: exact_radius([[0.0, 1.0], [np.inf, 0.0]], np.zeros((2, 2))), "logits, row 1"),
        (lambda: exact_radius([0.0, 1.0], [np.nan, 0.0]), "slopes"),
        (lambda: exact_radius([0.0, 1.0], [0.0, 1.0, 2.0]), "must agree"),
        (lambda: slope_spread(np.ones((2, 3)), np.zeros(2, bool)), "no sample"),
        (lambda: slope_spread(np.ones((2, 3)), np.zeros(3, bool)), "one flag a sample"),
        (lambda: zeros_within([0.0, 1.0], [0.0, 1.0], 0.0), "positive"),
        (lambda: ghosts_top2(np.zeros((2, 3)), np.ones((2, 3)), np.array([0, 3])), "labels run"),
        (lambda: attention_radius(np.array([[np.nan]]), np.ones((1, 1), bool)), "not finite"),
        (lambda: activation_radius(np.ones(2), np.ones(3)), "one slope a unit"),
    ],
)
def test_bad_input(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
