"""Signals, buckets, timing and probabilities on planted data and against golden values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.traces.buckets import bucket_table, is_falling
from entropilot.traces.calibration import calibrate, rising
from entropilot.traces.scores import (
    check_comparable,
    clusters_of,
    folds_of,
    groups_of,
    labels_of,
)
from entropilot.traces.signals import choose_signal, prefix_table, signal_table
from entropilot.traces.timing import timing_of, timing_table


def frame_of(n: int = 400, seed: int = 0, strength: float = 1.0) -> pl.DataFrame:
    """Traces in groups of four; wrong ones have a higher mean entropy by ``strength``."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.5
    return pl.DataFrame(
        {
            "id": [f"t{i}" for i in range(n)],
            "group": [f"q{i // 4}" for i in range(n)],
            "correct": ~wrong,
            "n_tokens": rng.integers(20, 60, n),
            "k": np.full(n, 20),
            "entropy_mean": rng.normal(size=n) + strength * wrong,
            "instability_peak": rng.normal(size=n),
            "surprisal_mean": rng.normal(size=n),
            "peak_position": rng.random(n),
        }
    )


def test_auc_is_that_of_the_golden_values(golden: Callable[[str], Any]) -> None:
    expected = golden("instability")["auc"]
    frame = pl.DataFrame(
        {"correct": [not w for w in expected["wrong"]], "instability_peak": expected["score"]}
    )
    (found,) = signal_table(frame)
    assert found.auc is not None
    assert found.auc.value == pytest.approx(expected["auc"], rel=1e-12)


def test_a_planted_signal_is_chosen_and_chance_is_not_beaten_by_noise() -> None:
    frame = frame_of()
    table = {s.name: s for s in signal_table(frame)}
    best, noise = table["entropy_mean"].auc, table["surprisal_mean"].auc
    assert best is not None
    assert best.low > 0.6
    assert noise is not None
    assert noise.low < 0.5 < noise.high
    choice = choose_signal(frame)
    assert choice is not None
    assert choice.name == "entropy_mean"
    assert choice.auc_held_out is not None
    assert abs(choice.auc_held_out - best.value) < 0.05


def test_held_out_auc_shows_that_the_best_of_noise_is_noise() -> None:
    held_out = []
    for seed in range(20):
        choice = choose_signal(frame_of(80, seed, strength=0.0), seed=seed)
        assert choice is not None
        assert choice.auc_held_out is not None
        held_out.append(choice.auc_held_out)
    assert abs(np.mean(held_out) - 0.5) < 0.05  # standard error 0.065 / sqrt(20) = 0.015


def test_equal_labels_give_no_auc_and_say_why() -> None:
    frame = frame_of(20).with_columns(correct=pl.lit(True))
    found = signal_table(frame, ("entropy_mean",))[0]
    assert found.auc is None
    assert "all 20 labels are equal" in found.note
    assert found.roc == ()


def test_missing_values_are_counted() -> None:
    frame = frame_of(40).with_columns(
        entropy_mean=pl.when(pl.int_range(pl.len()) < 3).then(None).otherwise("entropy_mean")
    )
    assert "3 labelled traces have no value" in signal_table(frame, ("entropy_mean",))[0].note


def test_choice_without_enough_labels_is_the_mean_entropy() -> None:
    frame = frame_of(12)
    choice = choose_signal(frame)
    assert choice is not None
    assert choice.name == "entropy_mean"
    assert choice.auc_held_out is None
    assert "at least 10 of each" in choice.reason


def test_choice_by_name() -> None:
    frame = frame_of(12)
    choice = choose_signal(frame, "instability_peak")
    assert choice is not None
    assert choice.name == "instability_peak"
    with pytest.raises(InputError, match="did you mean 'entropy_mean'"):
        choose_signal(frame, "entropy_meen")
    empty = frame.with_columns(entropy_mean=pl.lit(None, dtype=pl.Float64))
    with pytest.raises(InputError, match="no trace has a value of entropy_mean"):
        choose_signal(empty, "entropy_mean")


def test_prefix_windows_that_nobody_has_are_left_out() -> None:
    frame = frame_of(40).with_columns(
        instability_peak_10=pl.col("entropy_mean"),
        instability_peak_100=pl.lit(None, dtype=pl.Float64),
    )
    assert [w for w, _ in prefix_table(frame)] == [10]


def test_different_k_are_refused_unless_forced() -> None:
    frame = pl.DataFrame({"k": [20, 20, 5, None, 0]})
    with pytest.raises(InputError, match=r"k = 20: 2 traces, k = 5: 1 traces.*truncate_top_k.*5"):
        check_comparable(frame)
    assert "forced" in (check_comparable(frame, force=True) or "")
    assert check_comparable(frame.head(2)) is None
    assert check_comparable(pl.DataFrame({"id": ["a"]})) is None


def test_labels_and_groups_without_columns() -> None:
    known, wrong = labels_of(pl.DataFrame({"id": ["a", "b"]}))
    assert not known.any()
    assert not wrong.any()
    assert groups_of(pl.DataFrame({"id": ["a", "b"]})).tolist() == [0, 1]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 5))
def test_folds_and_bundles_never_split_a_group(groups: list[int], seed: int) -> None:
    names = np.array(groups)
    for parts in (folds_of(names, seed), clusters_of(names, seed, most=3)[0]):
        for name in set(groups):
            assert len(set(parts[names == name].tolist())) == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 20)), min_size=1, max_size=30))
def test_rising_is_the_best_rising_fit(pairs: list[tuple[float, int]]) -> None:
    share = np.array([p for p, _ in pairs])
    weight = np.array([float(w) for _, w in pairs])
    fit = rising(share, weight)
    assert (np.diff(fit) >= -1e-12).all()
    # Pooling keeps the weighted mean, and a sequence that rises already stays as it is.
    assert weight @ fit == pytest.approx(weight @ share, abs=1e-9)
    assert rising(np.sort(share), weight) == pytest.approx(np.sort(share), abs=1e-12)


@pytest.mark.slow  # importing scikit-learn takes seconds
def test_rising_against_scikit_learn() -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    rng = np.random.default_rng(0)
    share, weight = rng.random(40), rng.integers(1, 9, 40).astype(float)
    expected = isotonic.isotonic_regression(share, sample_weight=weight)
    assert rising(share, weight) == pytest.approx(expected, abs=1e-12)


def test_probabilities_are_calibrated_where_the_model_is_right() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    score = rng.normal(size=n)
    truth = 1 / (1 + np.exp(-2 * score))
    wrong = rng.random(n) < truth
    known = np.arange(n) < 2000
    found = calibrate(score, known, wrong & known, np.arange(n))
    assert found is not None
    assert np.abs(found.p_wrong - truth)[~known].mean() < 0.05
    assert ((found.low <= truth + 0.05) & (truth - 0.05 <= found.high))[~known].mean() > 0.9
    assert found.gap < 0.05
    assert found.brier < found.brier_base


def test_probabilities_from_noise_are_no_better_than_the_base_rate() -> None:
    rng = np.random.default_rng(1)
    score, wrong = rng.normal(size=400), rng.random(400) < 0.3
    found = calibrate(score, np.ones(400, dtype=bool), wrong, np.arange(400))
    assert found is not None
    assert found.brier > found.brier_base - 0.01


def test_a_label_never_speaks_for_its_own_trace() -> None:
    rng = np.random.default_rng(2)
    score, wrong = rng.normal(size=100), rng.random(100) < 0.5
    known, groups = np.ones(100, dtype=bool), np.arange(100)
    before = calibrate(score, known, wrong, groups)
    turned = wrong.copy()
    turned[7] = ~turned[7]
    after = calibrate(score, known, turned, groups)
    assert before is not None
    assert after is not None
    assert before.p_wrong[7] == after.p_wrong[7]


def test_too_few_or_equal_labels_are_not_calibrated() -> None:
    score = np.arange(40.0)
    known = np.ones(40, dtype=bool)
    assert calibrate(score, known, score > 35, np.arange(40)) is None
    assert calibrate(score, known, score > 100, np.arange(40)) is None
    assert calibrate(score, known, score > 20, np.zeros(40, dtype=int)) is None


def test_buckets_of_a_perfect_signal_fall() -> None:
    frame = frame_of(100).sort("correct", descending=True)
    frame = frame.with_columns(x=pl.int_range(pl.len()).cast(pl.Float64))
    found = bucket_table(frame, "x")
    assert [b.n for b in found] == [20] * 5
    assert is_falling(found)
    assert found[0].accuracy.value == 1.0
    assert found[-1].accuracy.value == 0.0
    assert sum(b.n_right for b in found) == frame["correct"].sum()
    assert bucket_table(frame.head(3), "x") == ()


def test_timing_compares_only_peaks_of_one_fifth() -> None:
    # Early peaks are small, and small peaks are right: without strata, early would look better.
    rng = np.random.default_rng(3)
    n = 4000
    peak = rng.random(n)
    position = np.where(rng.random(n) < peak, 0.8, 0.1)
    fifth = np.floor(peak * 5)
    frame = pl.DataFrame(
        {
            "correct": rng.random(n) < 0.9 - 0.15 * fifth,
            "instability_peak": peak,
            "peak_position": position,
        }
    )
    found = timing_table(frame)
    assert found is not None
    assert found.odds_ratio is not None
    assert found.odds_ratio.low < 1.1
    assert found.odds_ratio.high > 0.9
    early = [c for c in found.cells if c.timing == "early"]
    late = [c for c in found.cells if c.timing == "late"]
    crude = sum(c.n_right for c in early) / sum(c.n for c in early)
    crude -= sum(c.n_right for c in late) / sum(c.n for c in late)
    assert crude > 0.1


def test_a_planted_timing_effect_is_found() -> None:
    rng = np.random.default_rng(4)
    n = 1000
    late = rng.random(n) < 0.5
    frame = pl.DataFrame(
        {
            "correct": rng.random(n) < np.where(late, 0.3, 0.6),
            "instability_peak": rng.random(n),
            "peak_position": np.where(late, 0.7, 0.1),
        }
    )
    found = timing_table(frame)
    assert found is not None
    assert found.odds_ratio is not None
    # odds 1.5 against 0.43: a ratio of 3.5
    assert found.odds_ratio.low < 3.5 < found.odds_ratio.high
    assert found.odds_ratio.low > 1
    assert sum(c.n for c in found.cells) == n


def test_timing_without_late_peaks_has_no_odds_ratio() -> None:
    frame = frame_of(40).with_columns(peak_position=pl.lit(0.1))
    found = timing_table(frame)
    assert found is not None
    assert found.odds_ratio is None
    assert found.note.startswith("no odds ratio")
    assert timing_table(frame.head(3)) is None


def test_cut_points() -> None:
    assert timing_of(np.array([0.0, 0.2499, 0.25, 0.4999, 0.5, np.nan])).tolist() == [
        0,
        0,
        1,
        1,
        2,
        -1,
    ]


@settings(max_examples=25)
@given(st.permutations(range(24)))
def test_auc_does_not_depend_on_the_order_of_traces(order: list[int]) -> None:
    frame = frame_of(24, seed=5)
    value = signal_table(frame, ("entropy_mean",), roc_points=0)[0].auc
    other = signal_table(frame[order], ("entropy_mean",), roc_points=0)[0].auc
    assert value is not None
    assert other is not None
    assert value.value == pytest.approx(other.value, abs=1e-12)
