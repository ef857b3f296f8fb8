from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    SupportMonitor,
    expected_support,
    null_support,
    perplexity_by_category,
    sign_test,
    support_category,
    support_dynamics,
    support_metrics,
    support_threshold,
)


def test_threshold_golden(golden):
    for row in golden("invisible-leash")["epsilon"]:
        approx = support_threshold(row["k"], row["zeta"])
        exact = support_threshold(row["k"], row["zeta"], exact=True)
        assert float(approx) == pytest.approx(row["approx"], rel=1e-14)
        assert float(exact) == pytest.approx(row["exact"], rel=1e-12)


@pytest.mark.parametrize("table", ["support_metrics", "edge"])
def test_metrics_golden(golden, table):
    for row in golden("invisible-leash")[table]:
        found = support_metrics(row["P"], row["E"], row["S"])
        for name, value in row["exact"].items():
            ours = float(found[name.upper()])
            assert np.isnan(ours) if value is None else ours == pytest.approx(value, abs=1e-15)


def test_published_rows_agree_to_rounding(golden):
    for row in golden("invisible-leash")["support_metrics"]:
        found = support_metrics(row["P"], row["E"], row["S"])
        for name, printed in row["published"].items():
            # printed with 2 or 3 decimals; one NDR (.0148, printed .02) is off by more
            assert float(found[name.upper()]) == pytest.approx(printed, abs=0.0053)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
@settings(max_examples=100, deadline=None)
def test_sds_is_the_harmonic_mean(p, e, s):
    found = support_metrics(p, e, s)
    srr, ndr = float(found["SRR"]), float(found["NDR"])
    if srr + ndr > 0:
        assert float(found["SDS"]) == pytest.approx(2 * srr * ndr / (srr + ndr), abs=1e-14)


def test_zero_hits_certify_out_at_the_exact_threshold():
    for n in (8, 64, 1000, 8192):
        found = support_category([0, 0], n, [0, n], n, "certified")
        assert found.tolist() == [3, 1]


def test_certified_leaves_the_middle_undecided():
    found = support_category([1, 60], 64, [1, 0], 64, "certified")
    assert found.tolist() == [4, 2]
    assert support_dynamics(found, ci=None)["U"] == 1


def test_false_positive_rate_asks_for_more_hits():
    plain = support_category([3], 100, [0], 100)
    strict = support_category([3], 100, [0], 100, false_positive_rate=0.02)
    assert (plain[0], strict[0]) == (2, 3)  # Binomial(100, 0.02) has 5 at its 95 % quantile


def test_dynamics_counts_intervals_and_null():
    category = np.repeat([0, 1, 2, 3], [70, 5, 15, 10])
    c_base = np.repeat([8, 0, 1, 0], [70, 5, 15, 10])
    found = support_dynamics(category, base=(c_base, 8, 4), n_resamples=2000)
    assert [found[x] for x in "PESOU"] == [70, 5, 15, 10, 0]
    low, high = found["ci"]["NSCR"]
    assert found["NSCR"] == pytest.approx(-10 / 90)
    assert low < found["NSCR"] < high
    assert found["null_E"] == found["null_S"] == pytest.approx(15 * 0.25)
    assert found["sign_p"] == pytest.approx(0.04139, abs=1e-5)  # 2 P(X <= 5), Binomial(20, 1/2)


def test_all_out_is_nan_with_a_reason():
    found = support_dynamics([3, 3], ci=None)
    assert np.isnan(found["SRR"])
    assert found["SDS"] == 0
    assert "no problem" in found["reason"]
    assert sign_test(0, 0) == 1


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_expected_counts_add_up_and_meet_the_observed_ones_at_k_n(rows):
    base, new = np.array(rows).T
    found = expected_support(base, new, 8, 8)
    category = support_category(base, 8, new, 8)
    for name, number in zip("PESO", range(4), strict=True):
        assert float(found[name]) == pytest.approx((category == number).sum())
    at_1 = expected_support(base, new, 8, 1)
    assert sum(float(at_1[x]) for x in "PESO") == pytest.approx(len(rows))


def test_expected_counts_agree_with_sampling():
    rng = np.random.default_rng(0)
    base, new = rng.integers(0, 17, 30), rng.integers(0, 17, 30)
    draws = 4000
    hit_base = rng.hypergeometric(base, 16 - base, 4, (draws, 30)) > 0
    hit_new = rng.hypergeometric(new, 16 - new, 4, (draws, 30)) > 0
    expected = expected_support(base, new, 16, 4)
    for name, hits in (("E", ~hit_base & hit_new), ("S", hit_base & ~hit_new)):
        counts = hits.sum(1)
        error = counts.std() / np.sqrt(draws)
        assert abs(counts.mean() - float(expected[name])) < 4 * error


def test_unbiased_null_is_that_of_disjoint_halves():
    rng = np.random.default_rng(0)
    c = np.array([0, 1, 2, 3, 8])
    samples = np.zeros((5, 8), dtype=bool)
    for i, count in enumerate(c):
        samples[i, :count] = True
    found = [
        ((s[:, :4].any(1)) & ~s[:, 4:].any(1)).sum()
        for s in (rng.permuted(samples, axis=1) for _ in range(4000))
    ]
    error = np.std(found) / np.sqrt(4000)
    assert abs(np.mean(found) - null_support(c, 8, 4, unbiased=True)) < 4 * error


def test_perplexity_is_told_apart_by_category():
    rng = np.random.default_rng(0)
    category = np.repeat([0, 2], 50)
    nats = np.where(category == 0, 0.3, 1.2) + 0.1 * rng.normal(size=100) ** 2
    found = perplexity_by_category(nats, category, n_resamples=200)
    assert list(found) == ["preserved", "shrunk"]
    for name, kind in (("preserved", 0), ("shrunk", 2)):
        assert found[name].value == pytest.approx(np.exp(nats[category == kind]).mean())
    assert found["preserved"].high < found["shrunk"].low


def test_monitor_rows():
    monitor = SupportMonitor([4, 4], 8, k=4)
    monitor.update(0, [4, 4], 8)
    row = monitor.update(5, [8, 0], 16)
    base_hits = 1 - 1 / 70  # pass@4 of 4 right among 8; the new model has 8 of 16 and 0 of 16
    lost = comb(8, 4) / comb(16, 4)
    assert row["S"] == pytest.approx(base_hits * (lost + 1))
    assert row["pass_at_1"] == 0.25
    assert [r["step"] for r in monitor.rows] == [0, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: support_category([1], 8, [1], 16), r"expected_support.*k=8"),
        (lambda: support_category([1, 2], 8, [1], 8), "match_problems"),
        (lambda: support_category([1], 8, [1], 8, "sure"), "rule is 'sure'"),
        (
            lambda: support_category([1], 8, [1], 8, false_positive_rate=2.0),
            "false_positive_rate is 2.0",
        ),
        (lambda: support_category([9], 8, [1], 8), "c_base.*may not exceed"),
        (lambda: support_threshold(0), "k >= 1"),
        (lambda: support_threshold(8, 5), r"zeta in \(0, 1\)"),
        (lambda: support_dynamics([5]), "0..4"),
        (lambda: support_dynamics([]), "at least one"),
        (lambda: support_dynamics([1], ci="normal"), "ci is 'normal'"),
        (lambda: expected_support([1], [1, 2], 8, 1), "match_problems"),
        (lambda: expected_support([1], [1], 8, 9), "largest k allowed here is 8"),
        (lambda: perplexity_by_category([1.0], [0, 1]), "one of each"),
        (lambda: perplexity_by_category([-1.0], [0]), "negate log-probabilities"),
        (lambda: perplexity_by_category([1.0], [5]), r"0\.\.4"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
