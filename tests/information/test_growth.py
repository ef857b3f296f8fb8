from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.information import (
    circuits,
    fit_two_circuits,
    growth_shape,
    pass_rate,
    pu_from_counts,
)

SIZES = np.logspace(7.5, 9.4, 8)


def divided(x, f):
    first = np.diff(f) / np.diff(x)
    return 2 * np.diff(first) / (x[2:] - x[:-2])


@pytest.mark.parametrize("vote", ["product", "max", "soft"])
def test_curves_golden(golden, vote):
    table = golden("passuntil")["curves"]
    f = circuits(table["N"], np.log(table["c"]), table["alpha"], vote)
    np.testing.assert_allclose(f, table[vote]["F"], rtol=1e-9)
    x = np.log(table["N"])
    np.testing.assert_allclose(
        divided(x, f), table[vote]["second_divided_differences"], rtol=1e-9, atol=1e-13
    )
    found = growth_shape(table["N"], pass_rate(f))
    expected = table[vote]["quadratic_coefficient"]
    assert found.q2 == pytest.approx(expected, rel=1e-9)


def test_theorems():
    rng = np.random.default_rng(0)
    x = np.log(SIZES)
    for _ in range(50):
        log_c, alpha = rng.normal(6, 2, 3), rng.uniform(0.05, 0.6, 3)
        assert (divided(x, circuits(SIZES, log_c, alpha, "product")) >= -1e-12).all()
        assert (divided(x, circuits(SIZES, log_c, alpha, "max")) <= 1e-12).all()


def results(f, seed, n=200):
    rng = np.random.default_rng(seed)
    return [
        pu_from_counts(np.minimum(rng.negative_binomial(2, p, n) + 2, 10**6), 2, 2, 10**6)
        for p in pass_rate(f)
    ]


@pytest.mark.parametrize(
    ("log_c", "alpha", "vote", "verdict"),
    [
        ([7.0], [0.32], "soft", "consistent with the law"),
        ([1.2, 16.0], [0.03, 0.75], "max", "accelerated"),
        ([0.3, 16.0], [0.01, 0.85], "product", "sub-scaling"),
    ],
)
def test_verdicts_on_sampled_tasks(log_c, alpha, vote, verdict):
    f = circuits(SIZES, log_c, alpha, vote)
    found = growth_shape(SIZES, results(f, seed=3))
    assert found.verdict == verdict
    assert found.q2_ci[0] < found.q2 < found.q2_ci[1]


def test_aicc_prefers_two_circuits_where_there_are_two():
    f = circuits(SIZES, [1.2, 16.0], [0.03, 0.75], "soft")
    noisy = f + 1e-3 * np.random.default_rng(0).normal(size=len(f))
    found = growth_shape(SIZES, pass_rate(noisy))
    assert found.aicc["two-circuit"] < found.aicc["line"]
    assert found.circuit_params is not None
    assert found.circuit_params[1] < found.circuit_params[3]


def test_aicc_needs_more_sizes_than_parameters():
    found = growth_shape(SIZES[:5], pass_rate(circuits(SIZES[:5], [7.0], [0.32])))
    assert found.aicc["line"] is not None
    assert found.aicc["quadratic"] is None
    assert found.circuit_params is None


def test_three_sizes_are_undetermined():
    found = growth_shape(SIZES[:3], [0.1, 0.2, 0.3])
    assert found.verdict == "undetermined"
    assert "at least 4" in found.reason


def test_sizes_without_shape_are_dropped_and_named():
    rates = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert growth_shape(SIZES[:6], rates).dropped == (SIZES[0],)


def test_two_circuits_are_recovered():
    truth = ([1.2, 16.0], [0.03, 0.75])
    params, rss = fit_two_circuits(SIZES, circuits(SIZES, *truth))
    assert rss < 1e-9
    assert params == pytest.approx((1.2, 0.03, 16.0, 0.75), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: growth_shape(SIZES, np.zeros(8)), "at least 2"),
        (lambda: growth_shape(SIZES, [0.1, 0.2]), "8 sizes, instances"),
        (lambda: growth_shape(SIZES[:2], [[0.1, 2.0], [0.2, 0.1]]), r"in \[0, 1\]"),
        (
            lambda: growth_shape(
                SIZES[:2], [pu_from_counts([5], 2, 2, 9), pu_from_counts([5, 6], 2, 2, 9)]
            ),
            "same ones",
        ),
        (lambda: circuits(SIZES, [1.0], [0.1], "mean"), "vote is 'mean'"),
        (lambda: fit_two_circuits(SIZES[:3], np.zeros(3)), "four parameters"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
