from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from entropilot.errors import InputError
from entropilot.information import (
    auc,
    auc_interval,
    delong,
    equal_count_buckets,
    mantel_haenszel,
    roc_curve,
    spearman,
)
from entropilot.information.intervals import bootstrap_weights

labelled = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=4, max_size=40).filter(
    lambda rows: len({w for _, w in rows}) == 2
)


def test_auc_agrees_with_golden_value(golden):
    row = golden("instability")["auc"]
    assert auc(row["score"], row["wrong"]) == pytest.approx(row["auc"], rel=1e-12)


@given(labelled)
@settings(max_examples=100, deadline=None)
def test_auc_roc_and_delong_agree_with_scikit_learn(rows):
    score, wrong = np.array([s for s, _ in rows], dtype=float), np.array([w for _, w in rows])
    expected = metrics.roc_auc_score(wrong, score)
    assert auc(score, wrong) == pytest.approx(expected, abs=1e-12)
    assert delong(score, wrong)[0] == pytest.approx(expected, abs=1e-12)
    curve = roc_curve(score, wrong)
    area = np.trapezoid(curve.detection, curve.false_alarm)
    assert area == pytest.approx(expected, abs=1e-12)


@given(labelled)
@settings(max_examples=50, deadline=None)
def test_auc_mirrors_and_ignores_monotone_maps(rows):
    score, wrong = np.array([s for s, _ in rows], dtype=float), np.array([w for _, w in rows])
    value = auc(score, wrong)
    assert auc(-score, wrong) == pytest.approx(1 - value, abs=1e-12)
    assert auc(np.exp(score), wrong) == pytest.approx(value, abs=1e-12)


def test_bootstrap_resamples_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    score, wrong = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.4
    groups = np.arange(60) // 4
    found = auc_interval(score, wrong, groups, n_resamples=300, seed=5)
    plain = []
    for w in np.concatenate(list(bootstrap_weights(15, 300, np.random.default_rng(5)))):
        picked = np.concatenate(
            [np.flatnonzero(groups == g).repeat(int(n)) for g, n in enumerate(w)]
        )
        items = np.concatenate(
            [np.tile(np.flatnonzero(groups == g), int(n)) for g, n in enumerate(w) if n]
        )
        assert sorted(picked) == sorted(items)
        plain.append(metrics.roc_auc_score(wrong[items], score[items]))
    low, high = np.quantile(plain, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_delong_agrees_with_the_bootstrap_with_and_without_groups():
    rng = np.random.default_rng(2)
    n_groups = 300
    easy = rng.normal(size=n_groups).repeat(4)  # shared by the answers to one question
    wrong = rng.random(1200) < 1 / (1 + np.exp(-easy))
    score = easy + rng.normal(size=1200) + 0.3 * wrong
    groups = np.arange(n_groups).repeat(4)
    widths = []
    for g in (None, groups):
        boot = auc_interval(score, wrong, g, n_resamples=4000, method="bootstrap")
        closed = auc_interval(score, wrong, g, method="delong")
        assert closed.value == pytest.approx(boot.value, abs=1e-12)
        # Monte-Carlo error of a percentile width is about 2 %; the two methods differ by O(1/n)
        assert closed.high - closed.low == pytest.approx(boot.high - boot.low, rel=0.08)
        widths.append(closed.high - closed.low)
    assert widths[1] > widths[0]


def test_delong_variance_equals_its_definition():
    rng = np.random.default_rng(4)
    score, wrong = rng.integers(0, 8, 50).astype(float), rng.random(50) < 0.5
    x, y = score[wrong], score[~wrong]
    kernel = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    expected = kernel.mean(1).var(ddof=1) / len(x) + kernel.mean(0).var(ddof=1) / len(y)
    assert delong(score, wrong)[1] == pytest.approx(expected, rel=1e-12)


def test_large_samples_fall_to_delong():
    rng = np.random.default_rng(0)
    n = 250_000
    wrong = rng.random(n) < 0.3
    found = auc_interval(rng.normal(size=n) + wrong, wrong)
    assert found.method == "delong"
    assert found.low < stats.norm.cdf(1 / np.sqrt(2)) < found.high


def test_equal_labels_give_nan_and_a_reason():
    with pytest.warns(UserWarning, match="labels are equal"):
        assert np.isnan(auc([1, 2], [1, 1]))
    found = auc_interval([1, 2], [0, 0])
    assert np.isnan(found.value)
    assert "equal" in found.reason
    assert "no scored" in auc_interval([np.nan], [1]).reason
    with pytest.raises(InputError, match="no ROC curve"):
        roc_curve([1, 2], [1, 1])


def test_nan_scores_are_left_out_and_counted():
    score, wrong = [1, np.nan, 3, 2, np.nan], [0, 1, 1, 0, 0]
    with pytest.warns(UserWarning, match="2 scores were nan"):
        assert auc(score, wrong) == 1.0
    assert auc_interval(score, wrong, groups=list("aabbc")).n_dropped == 2
    assert roc_curve(score, wrong).n_dropped == 2
    assert equal_count_buckets(score, wrong, n=2).n_dropped == 2


def test_roc_is_thinned_and_keeps_its_ends():
    rng = np.random.default_rng(0)
    wrong = rng.random(5000) < 0.5
    curve = roc_curve(rng.normal(size=5000) + wrong, wrong)
    assert len(curve.threshold) <= 200
    assert (curve.false_alarm[0], curve.detection[0]) == (0, 0)
    assert (curve.false_alarm[-1], curve.detection[-1]) == (1, 1)
    assert (np.diff(curve.false_alarm) >= 0).all()
    assert (np.diff(curve.detection) >= 0).all()


def test_buckets_cut_by_rank_with_ties_in_order():
    found = equal_count_buckets([2, 1, 1, 1, 3, 3, 5], [1, 1, 1, 0, 1, 0, 0], n=3)
    assert found.n.tolist() == [3, 2, 2]
    assert found.n_right.tolist() == [2, 2, 0]
    assert not found.is_monotone
    assert found.score_low.tolist() == [1, 2, 3]
    assert found.score_high.tolist() == [1, 3, 5]
    assert found.spearman == pytest.approx(-0.5)


def test_spearman_agrees_with_scipy_and_says_when_undefined():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 40), rng.integers(0, 9, 40)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)
    with pytest.warns(UserWarning, match="constant"):
        assert np.isnan(spearman([1, 2], [3, 3]))


def test_mantel_haenszel_of_one_stratum_is_the_odds_ratio():
    found = mantel_haenszel([[10, 5], [4, 9]])
    assert found.odds_ratio == pytest.approx(4.5)
    half = 1.959964 * np.sqrt(1 / 10 + 1 / 5 + 1 / 4 + 1 / 9)  # Woolf, equal for one stratum
    assert found.high == pytest.approx(4.5 * np.exp(half), rel=1e-6)


def test_mantel_haenszel_agrees_with_a_plain_sum():
    tables = np.random.default_rng(0).integers(1, 30, (6, 2, 2)).astype(float)
    r = s = pr = cross = qs = 0.0
    for (a, b), (c, d) in tables:
        n = a + b + c + d
        p, q, ri, si = (a + d) / n, (b + c) / n, a * d / n, b * c / n
        r, s, pr, cross, qs = r + ri, s + si, pr + p * ri, cross + p * si + q * ri, qs + q * si
    sd = np.sqrt(pr / 2 / r**2 + cross / 2 / r / s + qs / 2 / s**2)
    found = mantel_haenszel(tables)
    assert found.odds_ratio == pytest.approx(r / s, rel=1e-12)
    assert found.low == pytest.approx(r / s * np.exp(-1.959963984540054 * sd), rel=1e-12)


def test_mantel_haenszel_says_why_it_has_no_answer():
    assert "no stratum" in mantel_haenszel([[0, 0], [3, 4]]).reason
    found = mantel_haenszel([[5, 0], [3, 4]])
    assert found.odds_ratio == np.inf
    assert "no interval" in found.reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: auc([1, 2], [0]), "two lists of one length"),
        (lambda: auc([1, 2], [0, 2]), "True/False or 0/1"),
        (lambda: auc([1, 2], ["a", "b"]), "unlabelled"),
        (lambda: auc([1.0, 2.0], [0, np.nan]), "unlabelled"),
        (lambda: auc_interval([1, 2], [0, 1], method="best"), "method is 'best'"),
        (lambda: auc_interval([1, 2], [0, 1], groups=[1]), "one group to each score"),
        (lambda: equal_count_buckets([1, 2], [0, 1], n=5), "lower n"),
        (lambda: roc_curve([1, 2], [0, 1], max_points=1), "at least 2"),
        (lambda: mantel_haenszel([[1, 2, 3]]), "strata, 2, 2"),
        (lambda: mantel_haenszel([[1, -2], [1, 1]]), "0 or more"),
        (lambda: spearman([1, 2], [1]), "one length"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
