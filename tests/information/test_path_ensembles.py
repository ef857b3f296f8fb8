from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    driven_chain,
    gaussian_path_free_energy,
    green_kubo,
    max_caliber,
    path_free_energy,
    path_response,
    response,
    stationary,
)

CHANNEL = np.array([[0.9, 0.1], [0.2, 0.8]])
OPEN = np.array([0.0, 1.0])
RIGHT = np.roll(np.eye(3), 1, 1)
STEP = RIGHT - RIGHT.T


def ring(p: float, q: float) -> np.ndarray:
    return (1 - p - q) * np.eye(3) + p * RIGHT + q * RIGHT.T


def random_chain(seed: int, n: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n), n), rng.standard_normal((2, n, n))


def test_golden_channels(golden):
    for case in golden("statmech")["two_state_channel"]:
        a, b = case["a"], case["b"]
        P = np.array([[1 - a, a], [b, 1 - b]])
        g = OPEN if case["observable"] == "open_occupancy" else np.array([[0, 1.0], [0, 0]])
        for row in case["psi"]:
            value, mean, var = path_free_energy(P, g, row["lam"])
            assert value == pytest.approx(row["psi"], rel=1e-10, abs=1e-14)
            assert mean == pytest.approx(row["mean"], rel=1e-10)
            assert var == pytest.approx(row["var_rate"], rel=1e-10)
        assert stationary(P)[1] == pytest.approx(case["stationary_open"], rel=1e-12)
        if "green_kubo_sum" in case:
            assert green_kubo(P, g).total == pytest.approx(case["green_kubo_sum"], rel=1e-10)
            finite = path_free_energy(P, g, 0.0, 50)
            assert finite.var == pytest.approx(case["variance_of_sum_50_steps"], rel=1e-10)


def test_golden_rings_and_their_symmetry(golden):
    for case in golden("statmech")["driven_ring"]:
        P = ring(case["p_forward"], case["p_backward"])
        still = path_free_energy(P, STEP, 0.0)
        assert still.mean == pytest.approx(case["mean_current"], abs=1e-12)
        assert still.var == pytest.approx(case["var_rate"], rel=1e-10)
        for row in case["psi"]:
            here = path_free_energy(P, STEP, row["lam"]).value
            there = path_free_energy(P, STEP, -row["lam"] - case["affinity"]).value
            assert here == pytest.approx(row["psi"], rel=1e-10)
            assert abs(here - there) < 1e-12


def test_golden_gaussian_paths(golden):
    case = golden("statmech")["ar1_path"]
    for row in case["logZ"]:
        made = gaussian_path_free_energy(case["r"], case["noise_var"], case["n"], row["lam"])
        assert made.value == pytest.approx(row["logZ"], rel=1e-10)
        assert made.mean == pytest.approx(row["mean"], rel=1e-10)
        assert made.var == pytest.approx(case["variance_of_path_sum"], rel=1e-10)


@given(st.integers(0, 10_000), st.sampled_from([None, 1, 6]), st.floats(-2, 2))
@settings(max_examples=40, deadline=None)
def test_derivatives_are_mean_and_variance(seed, T, lam):
    P, g = random_chain(seed)
    h, at = 1e-4, np.array([lam, 0.3])
    here = path_free_energy(P, g, at, T)
    for a in range(2):
        up, down = (path_free_energy(P, g, at + s * h * np.eye(2)[a], T) for s in (1, -1))
        assert (up.value - down.value) / (2 * h) == pytest.approx(here.mean[a], abs=1e-6)
        np.testing.assert_allclose((up.mean - down.mean) / (2 * h), here.var[a], atol=1e-6)
    np.testing.assert_allclose(here.var, here.var.T, atol=1e-12)


def test_finite_times_equal_a_sum_over_all_paths():
    P, g = random_chain(3, n=3)
    start = np.array([0.2, 0.5, 0.3])
    weights, totals = [], []
    for a, b, c, d in np.ndindex(3, 3, 3, 3):
        total = g[0, a, b] + g[0, b, c] + g[0, c, d]
        weights.append(start[a] * P[a, b] * P[b, c] * P[c, d] * np.exp(0.7 * total))
        totals.append(total)
    w, x = np.array(weights), np.array(totals)
    made = path_free_energy(P, g[0], 0.7, 3, start)
    assert made.value == pytest.approx(np.log(w.sum()), rel=1e-12)
    assert made.mean == pytest.approx(w @ x / w.sum(), rel=1e-12)
    assert made.var == pytest.approx(w @ x**2 / w.sum() - (w @ x / w.sum()) ** 2, rel=1e-10)


def test_long_paths_approach_the_rate():
    finite = path_free_energy(CHANNEL, OPEN, 0.5, 20_000)
    rate = path_free_energy(CHANNEL, OPEN, 0.5)
    assert finite.value / 20_000 == pytest.approx(rate.value, rel=1e-4)
    assert finite.var / 20_000 == pytest.approx(rate.var, rel=1e-3)


def test_the_driven_chain_is_a_chain_with_the_tilted_rate():
    P, g = random_chain(1)
    made = driven_chain(P, g, [0.4, -0.8])
    np.testing.assert_allclose(made.P.sum(1), 1, atol=1e-14)
    np.testing.assert_allclose(made.pi @ made.P, made.pi, atol=1e-14)
    flow = made.pi[:, None] * made.P
    assert (flow * g[0]).sum() == pytest.approx(path_free_energy(P, g, [0.4, -0.8]).mean[0])
    # its relative entropy to the reference is the Legendre transform of psi
    information = (flow * np.log(made.P / P)).sum()
    rates = np.array([(flow * x).sum() for x in g])
    assert information == pytest.approx(rates @ [0.4, -0.8] - made.psi, abs=1e-12)


def test_correlations_add_up_to_the_exact_sum():
    P, g = random_chain(2)
    exact, cut = green_kubo(P, g).total, green_kubo(P, g, 200)
    np.testing.assert_allclose(cut.total, exact, atol=1e-12)
    assert cut.correlations.shape == (201, 2, 2)
    pi = stationary(P)
    spread = g[0] - (pi[:, None] * P * g[0]).sum()
    assert cut.correlations[0, 0, 0] == pytest.approx((pi[:, None] * P * spread**2).sum())


def test_onsager_symmetry_at_rest():
    # A reversible chain: the matrix of Green-Kubo sums is symmetric, and zero between a current
    # (odd under reversal) and an occupancy (even).
    rng = np.random.default_rng(0)
    flow = rng.uniform(size=(4, 4))
    flow = flow + flow.T
    P = flow / flow.sum(1, keepdims=True)
    odd = np.triu(np.ones((4, 4)), 1) - np.tril(np.ones((4, 4)), -1)
    even = np.broadcast_to(np.arange(4.0), (4, 4)) + np.arange(4.0)[:, None]
    total = green_kubo(P, np.stack([odd, even])).total
    assert abs(total[0, 1]) < 1e-12
    np.testing.assert_allclose(total, total.T, atol=1e-12)


def test_a_periodic_chain_is_as_good_as_others():
    there_and_back = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert green_kubo(there_and_back, OPEN).total == pytest.approx(0, abs=1e-12)
    value, mean, var = path_free_energy(there_and_back, OPEN, 1.0)
    assert (value, mean) == (pytest.approx(0.5), pytest.approx(0.5))
    assert var == pytest.approx(0, abs=1e-12)


def test_sparse_equals_dense_and_iterated_equals_all_eigenvalues():
    n = 400
    i = np.arange(n)
    rng = np.random.default_rng(0)
    up = rng.uniform(0.2, 0.4, n)
    P = np.zeros((n, n))
    P[i, (i + 1) % n], P[i, (i - 1) % n], P[i, i] = up, 0.2, 0.8 - up
    g = np.sin(i / 20)
    dense, sparse = path_free_energy(P, g, 0.3), path_free_energy(sp.csr_array(P), g, 0.3)
    np.testing.assert_allclose(dense, sparse, rtol=1e-9)
    values = np.linalg.eigvals(P * np.exp(0.3 * g))
    assert dense.value == pytest.approx(np.log(values.real.max()), rel=1e-10)
    assert green_kubo(sp.csr_array(P), sp.csr_array(P * 2)).total == pytest.approx(
        green_kubo(P, P * 2).total
    )


def test_max_caliber_finds_the_force_again():
    P, g = random_chain(4)
    wanted = path_free_energy(P, g, [0.9, -1.4]).mean
    made = max_caliber(P, g, wanted)
    np.testing.assert_allclose(made.lam, [0.9, -1.4], rtol=1e-8)
    np.testing.assert_allclose(made.rates, wanted, atol=1e-10)
    assert made.information > 0
    assert max_caliber(P, g, path_free_energy(P, g, [0, 0]).mean).information < 1e-20


@pytest.mark.parametrize(
    ("rate", "message"),
    [(1.2, "out of reach"), (1.0, "a force diverges"), ([0.5, 0.5], "expected 1 finite")],
)
def test_rates_that_no_flow_has(rate, message):
    with pytest.raises(InputError, match=message):
        max_caliber(CHANNEL, OPEN, rate)


def test_a_rate_is_bounded_by_cycles_not_by_single_transitions():
    # No ring of three can step forward at more than 1 a step, and openings at most every second.
    with pytest.raises(InputError, match="out of reach"):
        max_caliber(CHANNEL, np.array([[0, 1.0], [0, 0]]), 0.6)


def gate(h: float) -> np.ndarray:
    a, b = 0.1 * np.exp(0.7 * h), 0.2 * np.exp(-0.3 * h) / (1 + h * h)
    return np.array([[1 - a, a], [b, 1 - b]])


def test_response_equals_the_difference_of_stationary_means():
    for h in (-0.5, 0.0, 0.8):
        slope = (stationary(gate(h + 1e-5))[1] - stationary(gate(h - 1e-5))[1]) / 2e-5
        assert response(gate, OPEN, h) == pytest.approx(slope, rel=1e-7)


def test_response_to_a_tilting_force_is_the_slope_of_psi():
    # The driven chain under one more bit of force: psi'' and the score form must agree.
    exact = path_free_energy(CHANNEL, OPEN, 0.4).var
    assert response(lambda h: driven_chain(CHANNEL, OPEN, h).P, OPEN, 0.4) == pytest.approx(
        exact, rel=1e-8
    )


def test_forces_in_time_act_on_every_step():
    forces = np.array([0.3, -0.2, 0.5, 0.1])
    P, g = random_chain(5)
    made = path_response(P, g[0], forces)
    for t in range(4):
        d = 1e-5 * np.eye(4)[t]
        up, down = path_response(P, g[0], forces + d), path_response(P, g[0], forces - d)
        np.testing.assert_allclose((up.means - down.means) / 2e-5, made.covariance[t], atol=1e-8)
        assert (up.log_z - down.log_z) / 2e-5 == pytest.approx(made.means[t], abs=1e-8)
    same = path_free_energy(P, g[0], 0.3, 4)
    constant = path_response(P, g[0], np.full(4, 0.3))
    assert constant.log_z == pytest.approx(same.value)
    assert constant.covariance.sum() == pytest.approx(same.var)


def test_large_forces_do_not_overflow():
    value, mean, _ = path_free_energy(CHANNEL, 1e4 * OPEN, 0.05)
    assert value == pytest.approx(500 + np.log(0.8), rel=1e-12)
    assert mean == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: path_free_energy(CHANNEL, OPEN, np.nan), "expected a finite number"),
        (lambda: path_free_energy(CHANNEL, np.zeros(3), 0.0), r"expected \[n\] or \[n, n\]"),
        (lambda: path_free_energy(CHANNEL, [0, np.inf], 0.0), "on the transition 0 -> 1"),
        (lambda: path_free_energy(CHANNEL, OPEN, 1e6), "vanish in float64"),
        (lambda: path_free_energy(CHANNEL, OPEN, 0.0, -1), "T = -1"),
        (lambda: path_free_energy(CHANNEL, OPEN, 0.0, 2, [1, 1]), "probabilities that sum to 1"),
        (lambda: path_free_energy(np.eye(2), OPEN, 0.0), r"closed classes \{0\}; \{1\}"),
        (lambda: green_kubo(CHANNEL, OPEN, -1), "kmax = -1"),
        (lambda: response(lambda h: [[1 - h * h, h * h], [0.5, 0.5]], OPEN, 0.0), "reducible"),
        (lambda: gaussian_path_free_energy(1.0, 1.0, 3, 0.0), "expected .r. < 1"),
        (lambda: path_response(CHANNEL, OPEN, []), "T >= 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_transition_that_appears_has_no_score():
    def opened(h: float) -> list[list[float]]:
        return [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25], [abs(h), 0.5 - abs(h), 0.5]]

    with pytest.raises(InputError, match="appear or vanish near h"):
        response(opened, [0.0, 1.0, 2.0], 0.0)
