from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import nbinom

from entropilot.errors import InputError
from entropilot.information import (
    PassUntilResult,
    above_chance,
    clopper_pearson,
    instance_rates,
    pass_until,
    pu_from_counts,
    stack_results,
    task_pu,
)


def test_estimators_golden(golden):
    for row in golden("passuntil")["estimators"]:
        found = pu_from_counts(row["K"], row["r"], row["r"], 100_000)
        assert float(found.mle) == pytest.approx(row["mle"], rel=1e-9)
        if row["mvue"] is None:
            assert np.isnan(found.mvue)
        else:
            assert float(found.mvue) == pytest.approx(row["mvue"], rel=1e-9)
        assert found.ci == pytest.approx(row["ci95"], rel=1e-9)


@pytest.mark.slow
def test_bias_golden(golden):
    for row in golden("passuntil")["bias"]:
        p = row["p"]
        n = int(60 / p) + 50  # the tail beyond has probability below 1e-20
        for r in (1, 2):
            k = np.arange(r, n)
            weight = nbinom.pmf(k - r, r, p)
            # 1e-8: the tail, and scipy's pmf itself
            assert (weight * r / k).sum() == pytest.approx(row[f"E_mle_r{r}"], rel=1e-8)
        found = PassUntilResult(k, np.full(len(k), 2), 2, n)
        assert (weight * found.mvue).sum() == pytest.approx(row["E_mvue_r2"], rel=1e-8)


def test_censored_golden(golden):
    for row in golden("passuntil")["censored"]:
        found = pu_from_counts(row["K_max"], row["s"], 2, row["K_max"])
        assert bool(found.censored)
        assert float(found.mle) == float(found.mvue) == row["mle"]
        assert float(found.upper95) == pytest.approx(row["upper95_one_sided"], rel=1e-9)
        if row["s"] == 0:
            assert found.ci == pytest.approx((0, row["upper95_one_sided"]), rel=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 64, 5000])
def test_streams_golden(golden, batch):
    for row in golden("passuntil")["streams"]:
        stream = np.zeros(2001, dtype=bool)
        base = 1 if row["K"] == (row["pass_indices"] + [0, 0])[1] else 0  # positions count from 1
        stream[np.array(row["pass_indices"], dtype=int) - base] = True
        place = 0

        def sample(n, rng, stream=stream):
            nonlocal place
            place += n
            return stream[place - n : place]

        found = pass_until(sample, row["r"], row["K_max"], batch=batch)
        if row["K"] is None:
            assert bool(found.censored)
            assert (found.K, found.passes) == (row["K_max"], 0)
        else:
            assert row["K"] == found.K
            assert float(found.mle) == pytest.approx(row["mle"], rel=1e-9)
            assert float(found.mvue) == pytest.approx(row["mvue"], rel=1e-9)


@given(st.integers(2, 6), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_interval_is_the_inverse_of_the_tails(r, extra):
    k = r + extra
    low, high = pu_from_counts(k, r, r, 10**6).ci
    # At the low end K or fewer draws have probability 2.5 %, at the high end K or more have.
    assert nbinom.cdf(k - r, r, float(low)) == pytest.approx(0.025, rel=1e-6)
    if k > r:
        assert nbinom.sf(k - r - 1, r, float(high)) == pytest.approx(0.025, rel=1e-6)


def test_mvue_is_unbiased_and_mle_is_not():
    rng = np.random.default_rng(0)
    p, n = 0.01, 40_000
    found = pu_from_counts(rng.negative_binomial(2, p, n) + 2, 2, 2, 10**6)
    error = found.mvue.std() / np.sqrt(n)
    assert abs(found.mvue.mean() - p) < 4 * error
    assert found.mle.mean() == pytest.approx(1.926 * p, rel=0.05)


def test_task_mean_and_its_interval():
    p = np.full(3000, 0.05)  # the estimator has a long tail: a few instances are not enough
    rng = np.random.default_rng(1)
    found = task_pu(pu_from_counts(rng.negative_binomial(2, p) + 2, 2, 2, 10_000))
    assert found.ci[0] < 0.05 < found.ci[1]
    assert found.stderr == pytest.approx((found.ci[1] - found.ci[0]) / 3.92, rel=0.1)
    assert found.n_censored == 0


def test_scalar_results_stack():
    results = [pass_until(lambda n, g: g.random(n) < 0.2, seed=i) for i in range(5)]
    stacked = stack_results(results)
    assert stacked.K.shape == (5,)
    assert task_pu(results).value == pytest.approx(float(stacked.mvue.mean()))


def test_above_chance_and_its_variance():
    value, var = above_chance([0.25, 1.0], 0.25, [0.09, 0.09])
    np.testing.assert_allclose(value, [0, 1])
    np.testing.assert_allclose(var, 0.16)


def test_draws_that_are_not_random_are_warned_of():
    def same(n, rng):
        return np.zeros(n, dtype=bool), ["42"] * n

    with pytest.warns(UserWarning, match="draws are not random"):
        pass_until(same, k_max=100)
    with pytest.warns(UserWarning, match="draws are not random"):
        pass_until(lambda n, rng: rng.random(n) < 0.5, temperature=0)


@pytest.mark.filterwarnings("error")
def test_varied_or_sampled_answers_are_not_warned_of():
    pass_until(lambda n, g: (np.zeros(n, dtype=bool), [str(x) for x in range(n)]), k_max=100)
    pass_until(lambda n, g: (np.zeros(n, dtype=bool), ["42"] * n), k_max=100, temperature=0.8)


def test_intervals_of_many_equal_those_of_one():
    rng = np.random.default_rng(3)
    k = np.minimum(rng.negative_binomial(3, 0.02, 200) + 3, 200)
    passes = np.where(k < 200, 3, rng.integers(0, 4, 200))
    many = pu_from_counts(k, passes, 3, 200)
    assert {0, 1, 2, 3} <= set(passes.tolist())
    for i in range(200):
        one = pu_from_counts(k[i], passes[i], 3, 200)
        assert one.ci == (many.ci[0][i], many.ci[1][i])
        assert one.upper95 == many.upper95[i]


def test_censored_intervals_are_clopper_pearson():
    found = pu_from_counts([50, 50], [1, 2], 3, 50)
    low, high = clopper_pearson([1, 2], 50)
    np.testing.assert_allclose(found.ci, (low, high), rtol=1e-9)


def test_draws_and_tokens_are_printed():
    def sample(n, rng):
        return rng.random(n) < 0.3, None, np.full(n, 10)

    results = [pass_until(sample, batch=8, seed=i) for i in range(4)]
    assert all(x.tokens % 80 == 0 for x in results)  # whole batches are paid for
    found = task_pu(results)
    assert found.tokens == sum(x.tokens for x in results) >= 10 * found.draws
    assert f"{found.draws:,} draws, {found.tokens:,} tokens" in str(found)
    silent = pass_until(lambda n, g: g.random(n) < 0.3)
    assert task_pu([*results, silent]).tokens is None
    assert "met the cap" in str(task_pu(pu_from_counts([9, 10], [2, 0], 2, 10)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: task_pu(pu_from_counts([5], 1, 1, 10)),
            "the unbiased estimator needs r >= 2; use r=2 or estimator='mle'",
        ),
        (lambda: instance_rates(pu_from_counts([5], 2, 2, 10), "best"), "estimator is 'best'"),
        (lambda: pu_from_counts([5, 2], [2, 3], 3, 10), r"found 3 at index 1.*more passes than K"),
        (lambda: pu_from_counts([5, 9], [2, 3], 2, 10), r"found 3 at index 1.*may not exceed r"),
        (lambda: pu_from_counts([5, 9], [2, 1], 2, 10), r"found 9 at index 1.*stopped early"),
        (lambda: pu_from_counts([11], [2], 2, 10), "exceed the cap"),
        (lambda: pu_from_counts([0], [0], 2, 10), "at least 1"),
        (lambda: pu_from_counts([5], [-1], 2, 10), "negative"),
        (lambda: pu_from_counts([5.5], [2], 2, 10), "whole numbers"),
        (lambda: pass_until(lambda n, g: g.random(n) < 1, r=0), "r >= 1"),
        (lambda: pass_until(lambda n, g: g.random(n) < 1, k_max=1), "at least r draws"),
        (lambda: pass_until(lambda n, g: g.random(n) < 1, batch=0), "at least 1 answer"),
        (lambda: pass_until(lambda n, g: g.random(n)), r"float64.*expected bool \[64\]"),
        (lambda: pass_until(lambda n, g: (g.random(n) < 1, None, [3])), r"token counts of shape"),
        (lambda: task_pu(pu_from_counts([5], [2], 2, 9), n_resamples=1), "at least 2"),
        (lambda: stack_results([]), "0 designs"),
        (lambda: above_chance([0.1], 1.0), "chance is 1.0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
