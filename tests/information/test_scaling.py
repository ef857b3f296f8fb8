from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    fit_instances,
    fit_task_scaling,
    fit_task_scaling_counts,
    log_minus_log,
    pass_rate,
    pu_from_counts,
)

SIZES = np.array([1e6, 3e6, 1e7, 3e7, 1e8])


def law(sizes, c=1234.5, alpha=0.31):
    return np.exp(-c * np.asarray(sizes) ** -alpha)


def counts(p, n, r=2, k_max=20_000, seed=0):
    rng = np.random.default_rng(seed)
    k = rng.negative_binomial(r, p, n) + r
    passes = np.where(k > k_max, rng.binomial(1, 0.0, n), r)
    return pu_from_counts(np.minimum(k, k_max), passes, r, k_max)


def test_exact_law_golden(golden):
    row = golden("passuntil")["exact_law"]
    np.testing.assert_allclose(log_minus_log(row["PU"]), row["F"], rtol=1e-9)
    np.testing.assert_allclose(pass_rate(row["F"]), row["PU"], rtol=1e-9)
    fit = fit_task_scaling(row["N"], row["PU"])
    assert fit.alpha == pytest.approx(row["alpha"], rel=1e-9)
    assert np.exp(fit.log_c) == pytest.approx(row["c"], rel=1e-8)  # exp carries log c's 7 digits on


def test_noisy_fit_golden(golden):
    row = golden("passuntil")["noisy_fit"]
    n = row["fit_on_first"]
    fit = fit_task_scaling(row["N"][:n], pass_rate(np.array(row["F"][:n])))
    assert fit.log_c == pytest.approx(row["log_c"], rel=1e-9)
    assert fit.alpha == pytest.approx(row["alpha"], rel=1e-9)
    assert float(fit.predict(row["N"][-1])) == pytest.approx(row["predicted_PU_last"], rel=1e-9)
    low, high = fit.predict_interval(row["N"][-1])
    assert low < row["predicted_PU_last"] < high


def test_instance_level_golden(golden):
    row = golden("passuntil")["instance_level"]
    fit = fit_instances(row["N"][:5], np.array(row["IPU"]).T[:5])
    np.testing.assert_allclose(fit.c, row["c"], rtol=1e-8)
    np.testing.assert_allclose(fit.alpha, row["alpha"], rtol=1e-9)
    for n, ipu, pu in zip(row["N"], np.array(row["IPU"]).T, row["PU"], strict=True):
        found = fit.predict(n)
        np.testing.assert_allclose(found.per_instance, ipu, rtol=1e-8)
        assert found.mean == pytest.approx(pu, rel=1e-9)


@given(st.floats(1e-12, 1 - 1e-12))
@settings(max_examples=100, deadline=None)
def test_transform_and_inverse(p):
    assert float(pass_rate(log_minus_log(p))) == pytest.approx(p, rel=1e-9)


def test_weighted_covariance_is_that_of_the_normal_equations():
    pu, var = law(SIZES), np.array([1, 4, 2, 3, 1]) * 1e-6
    fit = fit_task_scaling(SIZES, pu, var)
    x = np.stack([np.ones(5), -np.log(SIZES)], 1)
    w = (pu * np.log(pu)) ** 2 / var
    np.testing.assert_allclose(fit.cov, np.linalg.inv(x.T * w @ x), rtol=1e-6)


def test_regression_interval_covers():
    rng = np.random.default_rng(0)
    sizes, target = SIZES, 1e9
    hits = 0
    for _ in range(400):
        f = log_minus_log(law(sizes)) + 0.05 * rng.normal(size=5)
        low, high = fit_task_scaling(sizes, pass_rate(f)).predict_interval(target)
        truth = pass_rate(log_minus_log(law(target)) + 0.05 * rng.normal())
        hits += low <= truth <= high
    assert 0.92 < hits / 400 < 0.98  # 3 standard errors of 0.95


def test_counts_fit_meets_the_law_and_uses_sizes_without_a_pass():
    sizes = np.array([2e5, *SIZES])
    results = [counts(p, 200, seed=i) for i, p in enumerate(law(sizes))]
    results[0] = pu_from_counts(np.full(200, 20_000), 0, 2, 20_000)  # no pass: PU is 0
    fit = fit_task_scaling_counts(sizes, results)
    assert fit.alpha == pytest.approx(0.31, abs=0.02)
    low, high = fit.predict_interval(1e9)
    assert low < law(1e9) < high


def test_counts_fit_is_the_maximum():
    results = [counts(p, 50, seed=i) for i, p in enumerate(law(SIZES))]
    fit = fit_task_scaling_counts(SIZES, results, n_resamples=0)
    passes = np.array([r.passes.sum() for r in results])
    draws = np.array([r.K.sum() for r in results])

    def value(log_c, alpha):
        p = pass_rate(log_c - alpha * np.log(SIZES))
        return (passes * np.log(p) + (draws - passes) * np.log1p(-p)).sum()

    best = value(fit.log_c, fit.alpha)
    centre = np.log(SIZES).mean()
    for step in ((1e-3, 0), (-1e-3, 0), (1e-3 * centre, 1e-3), (-1e-3 * centre, -1e-3)):
        assert value(fit.log_c + step[0], fit.alpha + step[1]) < best
    # Fisher information against the curvature of the likelihood along alpha at the fixed centre
    h = 1e-3
    curve = (
        value(fit.log_c + h * centre, fit.alpha + h)
        - 2 * best
        + value(fit.log_c - h * centre, fit.alpha - h)
    ) / h**2
    direction = np.array([centre, 1.0])
    fisher = direction @ np.linalg.inv(fit.cov) @ direction
    assert fisher == pytest.approx(-curve, rel=0.1)  # expected against observed information


def test_zero_and_one_are_dropped_by_name_or_refused():
    pu = [0.0, 0.01, 0.1, 0.3, 1.0]
    with pytest.warns(UserWarning, match=r"N = 1e\+06, 1e\+08.*fit_task_scaling_counts.*dropped"):
        fit = fit_task_scaling(SIZES, pu)
    assert fit.dropped == (1e6, 1e8)
    with pytest.raises(InputError, match="fit_task_scaling_counts"):
        fit_task_scaling(SIZES, pu, zeros="error")


def test_two_sizes_fit_without_error_bars():
    fit = fit_task_scaling([1e6, 1e7], [0.1, 0.2])
    assert np.isnan(fit.cov).all()
    assert np.isnan(fit.predict_interval(1e8)).all()
    assert float(fit.predict(1e7)) == pytest.approx(0.2)


def test_chance_above_the_smallest_size_is_warned_of():
    with pytest.warns(UserWarning, match=r"guessing passes at 0\.25.*above_chance"):
        fit_task_scaling([1e6, 1e7, 1e8], [0.2, 0.3, 0.4], chance=0.25)


def test_loss_assists_hard_instances():
    c, alpha = np.array([50.0, 200.0, 3e4, 6e4]), np.array([0.25, 0.3, 0.33, 0.36])
    nll = c * SIZES[:, None] ** -alpha  # the reference answer dominates: b0 = 0, b1 = 1
    ipu = np.exp(-nll)
    ipu[:, 2:] = 0.0
    fit = fit_instances(SIZES, ipu, nll)
    assert fit.usable.tolist() == [True, True, False, False]
    assert fit.assisted.tolist() == [False, False, True, True]
    b0, b1, r2 = fit.assist
    assert (b0, b1, r2) == pytest.approx((0, 1, 1), abs=1e-9)
    truth = np.exp(-c * 1e9**-alpha)
    np.testing.assert_allclose(fit.predict(1e9).per_instance, truth, rtol=1e-6)
    without = fit_instances(SIZES, ipu).predict(1e9)
    assert np.isnan(without.per_instance[2:]).all()
    assert without.mean == pytest.approx(truth[:2].mean())


def test_slopes_of_three_sizes_have_an_error():
    sizes = np.array([1e6, 1e7, 1e8, 1e9])
    rates = np.array([[0.1, 0.2], [0.3, 0.5], [0.5, 0.0], [0.9, 0.0]])
    fit = fit_instances(sizes, rates)
    x, f = np.log(sizes), np.log(-np.log(rates[:, 0]))
    (slope, _), cov = np.polyfit(x, f, 1, cov="unscaled")
    scatter = ((f - np.polyval(np.polyfit(x, f, 1), x)) ** 2).sum() / 2
    assert fit.alpha[0] == pytest.approx(-slope)
    assert fit.alpha_stderr[0] == pytest.approx(np.sqrt(cov[0, 0] * scatter))
    assert np.isnan(fit.alpha_stderr[1])


def test_rates_of_one_are_clipped_by_their_draws_and_worse_is_flagged():
    ipu = np.array([[0.5, 0.5], [0.8, 0.4], [1.0, 0.3]])
    fit = fit_instances(SIZES[:3], ipu, draws=np.full((3, 2), 2))
    assert fit.worse.tolist() == [False, True]
    plain = fit_instances(SIZES[:3], [[0.5, 0.5], [0.8, 0.4], [0.75, 0.3]])
    np.testing.assert_allclose(fit.alpha, plain.alpha)
    skipped = fit_instances(SIZES[:3], ipu)
    assert skipped.alpha[0] != fit.alpha[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_task_scaling([1e6], [0.1]), "at least 2"),
        (lambda: fit_task_scaling([1e6, 0.0], [0.1, 0.2]), "index 1.*positive"),
        (lambda: fit_task_scaling([1e6, 1e7, 1e6], [0.1, 0.2, 0.3]), "index 2.*distinct"),
        (lambda: fit_task_scaling([1e6, 1e7], [0.1, 1.2]), r"in \[0, 1\]"),
        (lambda: fit_task_scaling([1e6, 1e7], [0.1]), "one each"),
        (lambda: fit_task_scaling([1e6, 1e7], [0.1, 0.2], [0.0, 1.0]), "variances"),
        (lambda: fit_task_scaling([1e6, 1e7, 1e8], [0.1, 0.2, 0], zeros="keep"), "zeros is 'keep'"),
        (lambda: fit_task_scaling_counts([1e6, 1e7], [counts(0.1, 5)]), "one result each"),
        (
            lambda: fit_task_scaling_counts([1e6, 1e7], [pu_from_counts([9], 0, 2, 9)] * 2),
            "raise k_max",
        ),
        (lambda: fit_instances([1e6, 1e7], [[0.0], [0.1]]), "no instance"),
        (lambda: fit_instances([1e6, 1e7], [0.1, 0.2]), "sizes, instances"),
        (lambda: fit_instances([1e6, 1e7], [[0.1], [0.2]], [[1.0], [1.0]]), "can't tie pass rate"),
        (lambda: fit_instances([1e6, 1e7], [[0.1], [0.2]], [1.0]), "nll has shape"),
        (lambda: fit_instances([1e6, 1e7], [[0.1], [0.2]], [[1.0], [-1.0]]), "above 0"),
        (
            lambda: fit_instances(SIZES, law(SIZES)[:, None], [[1.0], [9.0], [1.1], [9.0], [1.0]]),
            r"explains .*less than 30%.*leave nll out",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
