"""Order parameters and entropies of a school: the reference's values, limits and invariances."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.physics import fish_school_entropies as entropies
from entropilot.physics.fish_school_metrics import (
    ENTROPIES,
    METRICS,
    OSI_WEIGHTS,
    all_metrics,
    heading_entropy,
    metrics_timeseries,
    polarization_entropy,
    spread,
    unit,
    unwrapped,
    velocity_correlation_entropy,
)

ROUNDING = ("velocity_correlation_entropy", "oceanic_schooling_index")


@pytest.mark.parametrize("number", range(8))
def test_the_references_metrics_are_met(golden: Any, number: int) -> None:
    case = golden("fish-school")["metric_cases"][number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = all_metrics(case["positions"], case["velocities"], case["box_size"])
    assert tuple(found) == METRICS == tuple(case["expected"])
    for name, value in case["expected"].items():
        if case["name"] == "mill" and name in ROUNDING:
            continue  # next test
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_opposite_fish_of_a_mill_count_where_the_reference_drops_some(golden: Any) -> None:
    """Their cosine is -1 but for round-off; the reference drops what is below -1, here nothing."""
    case = next(c for c in golden("fish-school")["metric_cases"] if c["name"] == "mill")
    u = unit(np.array(case["velocities"]))
    cosine = (u @ u.T)[np.triu_indices(60, 1)]
    counts = np.histogram((np.clip(cosine, -1, 1) + 1) / 2, 20, (0, 1))[0]

    def entropy(dropped: int) -> float:
        p = counts - dropped * (np.arange(20) == 0)
        p = p[p > 0] / p.sum()
        return float(-(p * np.log(p)).sum() / np.log(20))

    expected = case["expected"]["velocity_correlation_entropy"]
    assert any(abs(entropy(k) - expected) < 1e-12 for k in range(1, 31))  # of 30 such pairs
    found = velocity_correlation_entropy(None, u)
    assert found == pytest.approx(entropy(0), abs=1e-12)
    assert found == pytest.approx(expected, abs=1e-3)


def test_random_headings_reach_the_closed_forms(golden: Any) -> None:
    v = np.random.default_rng(0).normal(size=(400_000, 3))
    limit = golden("fish-school")["closed_forms"]["polarization_entropy_uniform_sphere_limit"]
    assert polarization_entropy(v) == pytest.approx(limit, abs=5e-4)
    assert heading_entropy(v) == pytest.approx(1.0, abs=5e-4)
    assert heading_entropy(v, equal_area=False) == polarization_entropy(v)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(6, 80), scale=st.floats(0.01, 1.0))
def test_every_metric_keeps_its_bounds(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, v = rng.random((n, 3)) * 9 * scale, rng.normal(size=(n, 3)) + 3 * rng.random(3)
    found = all_metrics(x, v, 9.0)
    assert all(0 <= found[name] <= 1 + 1e-12 for name in METRICS if name != "spread")
    osi = sum(OSI_WEIGHTS[name] * found[name] for name in ENTROPIES)
    assert found["oceanic_schooling_index"] == pytest.approx(osi)
    assert found["order_index"] == max(found["polarization"], found["rotation"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), speed=st.floats(0.1, 30.0))
def test_neither_speed_nor_the_order_of_the_fish_counts(seed: int, speed: float) -> None:
    rng = np.random.default_rng(seed)
    x, v = rng.random((30, 3)) * 9, rng.normal(size=(30, 3))
    order = rng.permutation(30)
    a, b = all_metrics(x, v, 9.0), all_metrics(x[order], speed * v[order], 9.0)
    # a value on a bin's edge may change its bin by round-off: one of 30
    assert all(abs(a[name] - b[name]) < 0.03 for name in METRICS)
    assert a["polarization"] == pytest.approx(b["polarization"], abs=1e-12)


def test_weights_sum_to_one() -> None:
    assert sum(OSI_WEIGHTS.values()) == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), shift=st.floats(0.0, 10.0))
def test_an_unwrapped_school_does_not_feel_the_faces_of_the_box(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x = 5 + rng.normal(size=(40, 3)).clip(-2, 2)
    v = rng.normal(size=(40, 3))
    moved = np.mod(x + shift, 10.0)
    assert spread(unwrapped(moved, 10.0)) == pytest.approx(spread(x), abs=1e-9)
    a, b = all_metrics(x, v, 10.0, unwrap=True), all_metrics(moved % 10.0, v, 10.0, unwrap=True)
    assert a["rotation"] == pytest.approx(b["rotation"], abs=1e-9)
    assert a["school_shape_entropy"] == pytest.approx(b["school_shape_entropy"], abs=1e-9)


def test_blocks_of_pairs_add_up_to_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    v = np.random.default_rng(0).normal(size=(157, 3)) + np.array([1, 0, 0])
    whole = velocity_correlation_entropy(None, v)
    monkeypatch.setattr(entropies, "_BLOCK", 1000)
    assert velocity_correlation_entropy(None, v) == whole


def test_a_sample_of_pairs_is_close_to_all_of_them() -> None:
    v = np.random.default_rng(0).normal(size=(2000, 3)) + np.array([2, 0, 0])
    whole = velocity_correlation_entropy(None, v)
    assert velocity_correlation_entropy(None, v, n_pairs=400_000) == pytest.approx(whole, abs=2e-3)


def test_a_tree_finds_the_same_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, v = rng.random((200, 3)) * 9, rng.normal(size=(200, 3))
    for box in (9.0, None):
        pairs = all_metrics(x, v, box)
        with monkeypatch.context() as patch:
            patch.setattr(entropies, "_TREE_FROM", 0)
            assert all_metrics(x, v, box) == pytest.approx(pairs, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "name"),
    [
        (1, "school_cohesion_entropy"),
        (1, "velocity_correlation_entropy"),
        (2, "angular_momentum_entropy"),
        (3, "school_shape_entropy"),
        (5, "nearest_neighbor_entropy"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* needs at least")
def test_too_few_fish_are_a_half_and_a_warning(n: int, name: str) -> None:
    x = np.random.default_rng(0).random((n, 3))
    with pytest.warns(UserWarning, match=rf"{name} needs at least \d fish, found {n}"):
        assert all_metrics(x, x, 1.0)[name] == 0.5


def test_a_recording_without_a_box_has_one_range_for_all_frames() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 30, 3)) * np.array([1, 1, 1, 1, 5.0])[:, None, None] - 100
    v = rng.normal(size=(5, 30, 3))
    found = metrics_timeseries(x, v, range(5), None)
    assert found["depth_stratification_entropy"][0] < found["depth_stratification_entropy"][4]
    late = found["spread"][2:]
    assert found["spread_mean"] == pytest.approx(late.mean())
    assert found["spread_std"] == pytest.approx(late.std())
    assert found["spread_final"] == found["spread"][-1]
    assert found["sampled_pairs"] == 0


@pytest.mark.parametrize(
    ("x", "times", "message"),
    [
        (np.zeros((3, 4)), range(3), "expected as"),
        (np.zeros((3, 4, 3)), range(2), "2 times for 3 frames"),
    ],
)
def test_series_that_do_not_fit_are_named(x: Any, times: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics_timeseries(x, x, times, None)
