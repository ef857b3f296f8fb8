from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    crossing_k,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_difference,
    pass_at_k_interval,
)


def test_golden_values(golden):
    rows = golden("invisible-leash")["pass_at_k"]
    found = pass_at_k(*([row[key] for row in rows] for key in "nck"))
    np.testing.assert_allclose(found, [row["value"] for row in rows], rtol=0, atol=1e-12)


@given(st.integers(1, 300), st.data())
@settings(max_examples=200, deadline=None)
def test_agrees_with_exact_binomials(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    exact = (comb(n, k) - comb(n - c, k)) / comb(n, k)  # the division is correctly rounded
    assert float(pass_at_k(n, c, k)) == pytest.approx(exact, rel=1e-12, abs=1e-15)


@given(st.integers(2, 60), st.data())
@settings(max_examples=50, deadline=None)
def test_rises_with_c_and_k(n, data):
    c = data.draw(st.integers(0, n))
    curve = pass_at_k(n, c, np.arange(1, n + 1))
    assert (np.diff(curve) >= -1e-15).all()
    assert (np.diff(pass_at_k(n, np.arange(n + 1), 1 + n // 2)) >= -1e-15).all()
    assert curve[0] == pytest.approx(c / n)


def test_curve_mixes_numbers_of_samples():
    curve = pass_at_k_curve([4, 8, 4], [1, 2, 1], [1, 2])
    np.testing.assert_allclose(curve.per_problem[0], curve.per_problem[2])
    assert curve.per_problem[1, 1] == pytest.approx(float(pass_at_k(8, 2, 2)))


def test_clopper_pearson_interval_holds_the_plug_in():
    c, k = np.arange(33), 8
    low, high = pass_at_k_interval(32, c, k)
    plug_in = 1 - (1 - c / 32) ** k
    assert (low <= plug_in + 1e-12).all()
    assert (plug_in <= high + 1e-12).all()
    assert low[0] == 0
    assert high[-1] == 1


def test_bootstrap_interval_is_wider_when_nested():
    c = np.random.default_rng(0).binomial(16, 0.3, 60)
    plain = pass_at_k_interval(16, c, 4, "bootstrap", n_resamples=2000)
    nested = pass_at_k_interval(16, c, 4, "bootstrap", n_resamples=2000, nested=True)
    assert nested[1] - nested[0] > plain[1] - plain[0]
    assert plain[0] < pass_at_k(16, c, 4).mean() < plain[1]
    low, high = pass_at_k_interval(16, c, [1, 4], "bootstrap", n_resamples=2000)
    assert (low[1], high[1]) == pytest.approx(plain)


def test_difference_is_paired():
    c = np.random.default_rng(0).binomial(16, 0.3, 60)
    found = pass_at_k_difference(16, c, np.minimum(c + 1, 16), [1])
    assert found.value[0] == pytest.approx(1 / 16)
    assert found.high[0] - found.low[0] < 0.01  # the spread between problems cancels


@pytest.mark.parametrize(
    ("base", "new", "expected"),
    [
        ({1: 0.4, 4: 0.6, 16: 1.0}, {1: 0.7, 4: 0.8, 16: 0.8}, 8.0),
        ({1: 0.4, 4: 0.8, 16: 1.0}, {1: 0.7, 4: 0.8, 16: 0.9}, 4.0),
        ({1: 0.4, 4: 0.8}, {1: 0.7, 4: 0.9}, None),
        ({1: 0.7, 4: 0.9}, {1: 0.4, 4: 0.8}, None),
    ],
)
def test_crossing(base, new, expected):
    assert crossing_k(base, new) == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pass_at_k(8, 1, 9), "largest k allowed here is 8"),
        (lambda: pass_at_k(8, 1, 0), "at least 1 answer"),
        (lambda: pass_at_k(8, 9, 1), "may not exceed n"),
        (lambda: pass_at_k(8, -1, 1), "negative"),
        (lambda: pass_at_k(8, 1.5, 1), "whole numbers"),
        (lambda: pass_at_k_curve(8, [], [1]), "no problems"),
        (lambda: pass_at_k_interval(8, [1], 1, "exact"), "method is 'exact'"),
        (
            lambda: pass_at_k_interval(8, [1], 1, "bootstrap", nested=True, groups=["a"]),
            "leave groups out",
        ),
        (lambda: pass_at_k_difference(8, [1], [1, 2], [1]), "match them by id"),
        (lambda: crossing_k({1: 0.1}, {2: 0.1}), "different k"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
