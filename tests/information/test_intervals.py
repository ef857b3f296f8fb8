from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from entropilot.errors import InputError
from entropilot.information import (
    clopper_pearson,
    cluster_bootstrap,
    cluster_bootstrap_of,
    wilson,
)
from entropilot.information.intervals import bootstrap_weights, group_index, percentile_interval


def test_clopper_pearson_agrees_with_golden_values(golden):
    for row in golden("invisible-leash")["clopper_pearson"]:
        low, high = clopper_pearson(row["c"], row["n"], row["confidence"])
        assert low == pytest.approx(row["low"], abs=1e-10)
        assert high == pytest.approx(row["high"], abs=1e-10)


def test_clopper_pearson_table_and_pairs_agree():
    c = np.arange(11).repeat(3)
    table = clopper_pearson(c, 10)
    pairs = [clopper_pearson(int(x), 10) for x in c]
    np.testing.assert_allclose(np.array(table).T, np.array(pairs), rtol=1e-14)


@given(st.integers(1, 40), st.floats(0.01, 0.99))
@settings(max_examples=50, deadline=None)
def test_clopper_pearson_covers_at_least_as_often_as_it_says(n, p):
    c = np.arange(n + 1)
    low, high = clopper_pearson(c, n, 0.9)
    covered = binom.pmf(c, n, p)[(low <= p) & (p <= high)].sum()
    assert covered >= 0.9 - 1e-12


def test_wilson_known_value():
    low, high = wilson(10, 100)  # Newcombe 1998, by hand: 0.0552, 0.1744
    assert float(low) == pytest.approx(0.0552, abs=5e-5)
    assert float(high) == pytest.approx(0.1744, abs=5e-5)


@given(st.integers(0, 60), st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_wilson_holds_the_rate_and_mirrors(c, n):
    c = min(c, n)
    low, high = wilson(c, n)
    assert 0 <= low <= c / n <= high <= 1
    mirrored = wilson(n - c, n)
    assert float(mirrored[0]) == pytest.approx(1 - float(high), abs=1e-12)


def test_wilson_of_nothing_is_everything():
    low, high = wilson([0, 1], [0, 2])
    assert (low[0], high[0]) == (0, 1)
    with pytest.raises(InputError, match="above 0 where n is 0"):
        wilson(1, 0)


@pytest.mark.parametrize(
    ("c", "n", "message"),
    [
        (5, 4, "may not exceed n.*swapped"),
        (-1, 4, "negative"),
        (1.5, 4, "whole numbers"),
        (np.nan, 4, "whole numbers"),
        ([0, 9], [4, 4], "index 1"),
        (0, 0, "at least 1 trial"),
        ("3", 4, "whole numbers"),
    ],
)
def test_bad_counts(c, n, message):
    with pytest.raises(InputError, match=message):
        clopper_pearson(c, n)


def test_confidence_as_percent_is_refused():
    for call in (wilson, clopper_pearson):
        with pytest.raises(InputError, match=r"share between 0 and 1"):
            call(1, 2, 95)


def test_bootstrap_of_a_mean_agrees_with_the_normal_theory():
    x = np.random.default_rng(1).normal(size=400)
    found = cluster_bootstrap(x, rng=np.random.default_rng(0), n_resamples=4000)
    half = 1.96 * x.std() / 20
    assert found.value == pytest.approx(x.mean(), abs=1e-12)
    assert found.high - found.low == pytest.approx(
        2 * half, rel=0.06
    )  # Monte-Carlo error about 2 %


def test_groups_of_copies_widen_the_interval():
    x = np.random.default_rng(1).normal(size=100)
    alone = cluster_bootstrap(x, rng=np.random.default_rng(0))
    copies = cluster_bootstrap(
        x.repeat(5), groups=np.arange(100).repeat(5), rng=np.random.default_rng(0)
    )
    assert copies.low == pytest.approx(alone.low, abs=1e-12)  # copies carry no information
    assert copies.n_groups == 100


def test_ratio_columns_and_user_statistic_agree():
    rng = np.random.default_rng(3)
    top, bottom = rng.random((50, 2)), rng.random((50, 2)) + 0.1
    groups = np.array([f"q{i % 10}" for i in range(50)])
    ratio = cluster_bootstrap(top, bottom, groups=groups, rng=np.random.default_rng(0))
    index, n_groups = group_index(groups, 50)
    by_hand = cluster_bootstrap_of(
        lambda w: (w[:, index] @ top) / (w[:, index] @ bottom),
        n_groups,
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose(ratio.low, by_hand.low, rtol=1e-12)
    shared = cluster_bootstrap(top, bottom[:, 0], groups=groups, rng=np.random.default_rng(0))
    assert shared.value[0] == pytest.approx(ratio.value[0])


def test_weights_are_multinomial():
    w = np.concatenate(list(bootstrap_weights(4, 20_000, np.random.default_rng(0))))
    assert (w.sum(axis=1) == 4).all()
    np.testing.assert_allclose(w.mean(axis=0), 1, atol=0.03)  # 4 standard errors
    np.testing.assert_allclose(np.cov(w.T)[0, 1], -1 / 4, atol=0.03)


def test_undefined_resamples_are_counted():
    found = cluster_bootstrap([1.0, 0.0], [1.0, 0.0], rng=np.random.default_rng(0))
    assert 0 < found.n_undefined < found.n_resamples
    low, high, left_out = percentile_interval(np.full(3, np.nan))
    assert np.isnan(low)
    assert np.isnan(high)
    assert left_out == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: cluster_bootstrap([], rng=rng), "no items"),
        (lambda rng: cluster_bootstrap([1, 2], [1, 2, 3], rng=rng), "one row per item"),
        (lambda rng: cluster_bootstrap([1, 2], groups=[1], rng=rng), "one group to each item"),
        (lambda rng: cluster_bootstrap([1, 2], rng=rng, n_resamples=0), "at least 1 of each"),
    ],
)
def test_bad_bootstrap_input(call, message):
    with pytest.raises(InputError, match=message):
        call(np.random.default_rng(0))
