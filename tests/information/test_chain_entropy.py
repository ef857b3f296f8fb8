from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    closed_classes,
    entropy_production,
    entropy_production_from_counts,
    lumped_chain,
    relaxation_information,
    simulate_chain,
    stationary,
    transition_counts,
)

RIGHT = np.roll(np.eye(3), 1, 1)


def ring(p: float, q: float) -> np.ndarray:
    return (1 - p - q) * np.eye(3) + p * RIGHT + q * RIGHT.T


def chain(seed: int, n: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(n), n)


def test_golden_rings(golden):
    for row in golden("statmech")["driven_ring"]:
        made = entropy_production(ring(row["p_forward"], row["p_backward"]))
        assert made.rate == pytest.approx(row["entropy_production_nats_per_step"], abs=1e-14)
        assert made.one_way == ()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_production_is_not_negative_and_splits_into_system_and_medium(seed):
    P, p = chain(seed), np.random.default_rng(seed + 1).dirichlet(np.ones(6))
    after = p @ P
    made = entropy_production(P, p)
    flow = p[:, None] * P
    assert made.rate == pytest.approx((flow * np.log(flow / (after * P.T))).sum(), abs=1e-12)
    assert made.medium == pytest.approx((flow * np.log(P / P.T)).sum(), abs=1e-12)
    assert made.rate >= 0
    still = entropy_production(P)
    assert still.rate == pytest.approx(entropy_production(P, stationary(P)).rate, abs=1e-12)
    assert still.rate == pytest.approx(entropy_production(sp.csr_array(P)).rate, abs=1e-12)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_what_an_observer_does_not_see_can_only_hide_production(seed):
    P = chain(seed)
    assert entropy_production(lumped_chain(P, [0, 0, 1, 1, 2, 2])).rate <= (
        entropy_production(P).rate + 1e-12
    )


def test_detailed_balance_produces_nothing():
    flow = np.random.default_rng(0).uniform(size=(5, 5))
    flow = flow + flow.T
    assert entropy_production(flow / flow.sum(1, keepdims=True)).rate < 1e-15


def test_a_one_way_transition_is_named():
    P = np.array([[0.5, 0.5, 0.0], [0.2, 0.5, 0.3], [0.5, 0.0, 0.5]])
    made = entropy_production(P)
    assert made.rate == np.inf
    assert made.one_way == ((1, 2), (2, 0))
    counted = entropy_production_from_counts((1000 * P).astype(int))
    assert counted.rate == np.inf
    assert counted.one_way == ((1, 2), (2, 0))


def test_the_bias_of_counts_is_taken_off():
    p, q, n = 0.3, 0.1, 1000
    exact = (p - q) * np.log(p / q)
    rng = np.random.default_rng(0)
    cells = (ring(p, q) / 3).ravel()
    made = [
        entropy_production_from_counts(rng.multinomial(n, cells).reshape(3, 3), n_resamples=0)
        for _ in range(4000)
    ]
    plug_in = np.array([m.plug_in for m in made])
    rate = np.array([m.rate for m in made])
    error = plug_in.std() / np.sqrt(len(made))
    assert plug_in.mean() - exact > 5 * error  # the bias is real
    assert abs(rate.mean() - exact) < 4 * error
    one = entropy_production_from_counts(rng.multinomial(n, cells).reshape(3, 3))
    assert one.std_error == pytest.approx(plug_in.std(), rel=0.3)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_knowledge_of_the_start_only_falls(seed):
    made = relaxation_information(chain(seed), np.eye(6)[seed % 6], 30)
    assert (made.loss >= -1e-14).all()
    assert made.divergence[0] == pytest.approx(-np.log(stationary(chain(seed))[seed % 6]))
    assert made.divergence[-1] < made.divergence[0]


def test_paths_have_the_rates_of_their_chain():
    for n in (3, 40):  # both ways of finding the next state
        P = chain(7, n)
        path = simulate_chain(P, 200_000, np.random.default_rng(1))
        counts = transition_counts(path, n)
        assert counts.sum() == 200_000
        z = (counts - counts.sum(1, keepdims=True) * P) / np.sqrt(counts.sum(1, keepdims=True) * P)
        assert np.abs(z).max() < 5
    same = [simulate_chain(P, 100, np.random.default_rng(3), 0) for _ in range(2)]
    np.testing.assert_array_equal(*same)


def test_impossible_transitions_are_never_made():
    path = simulate_chain(ring(0.5, 0.0), 10_000, np.random.default_rng(0))
    assert set(np.diff(path).tolist()) <= {0, 1, -2}


def test_closed_classes():
    P = np.array([[0.5, 0.25, 0.25, 0], [0, 1.0, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 1, 0]])
    assert closed_classes(P) == [[1], [2, 3]]
    with pytest.raises(InputError, match=r"closed classes \{1\}; \{2, 3\}, and 1 states"):
        stationary(P)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stationary([[0.5, 0.6], [1, 0]]), "row 0 of P sums to 1.1"),
        (lambda: stationary([[1.1, -0.1], [0.5, 0.5]]), r"P\[0, 1\] = -0.1 is negative"),
        (lambda: stationary([[0.5, 0.5]]), r"expected \[n, n\]"),
        (lambda: stationary([[np.nan, 1], [0.5, 0.5]]), "nan or infinite"),
        (lambda: stationary(np.zeros((0, 0))), r"expected \[n, n\]"),
        (lambda: entropy_production(np.eye(2)), "reducible"),
        (lambda: entropy_production(ring(0.3, 0.1), [1, 1, 1]), "sum to 1"),
        (lambda: entropy_production_from_counts([[1, 2]]), r"expected \[n, n\]"),
        (lambda: entropy_production_from_counts([[0.5, 1], [1, 0]]), "whole numbers"),
        (lambda: entropy_production_from_counts([[-1, 1], [1, 0]]), "0 or more"),
        (lambda: entropy_production_from_counts(np.zeros((2, 2))), "some above 0"),
        (lambda: relaxation_information(ring(0.3, 0.1), [1, 0], 3), r"expected \[3\]"),
        (lambda: relaxation_information(ring(0.3, 0.1), [1, 0, 0], -1), "steps = -1"),
        (lambda: lumped_chain(ring(0.3, 0.1), [0, 0]), "one number"),
        (lambda: lumped_chain(ring(0.3, 0.1), [0, 0, 2]), "group 1 is empty"),
        (lambda: simulate_chain(ring(0.3, 0.1), 5, np.random.default_rng(0), 3), "start = 3"),
        (lambda: transition_counts([0, 5], 3), "states 0 to 5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
