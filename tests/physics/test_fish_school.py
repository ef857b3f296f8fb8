"""The zone model: the reference's steps, laws that hold for any school, and bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.physics.fish_school import (
    PRESETS,
    Couzin,
    cautions,
    couzin_step,
    frames,
    initial_state,
    simulate,
    swum,
)
from entropilot.physics.fish_school_metrics import rotation

SMALL = Couzin(n_fish=40, box_size=12.0, r_orientation=3.0, r_attraction=4.0)


def of_case(case: dict[str, Any]) -> Couzin:
    params = dict(case["params"])
    ring = {}
    if params.pop("torus_init", False):
        ring = {"start": "ring", "ring_radius": params.pop("torus_radius")}
    params["n_fish"] = int(params["n_fish"])
    return Couzin(**params, dt=case["dt"], legacy_seed=case["numpy_legacy_seed"], **ring)


@pytest.mark.parametrize("number", range(4))
def test_the_references_steps_are_met(golden: Any, number: int) -> None:
    case = golden("fish-school")["one_step_cases"][number]
    params = of_case(case)
    x, u = initial_state(params)
    assert abs(x - case["positions0"]).max() < 1e-14
    assert abs(params.speed * u - case["velocities0"]).max() < 1e-14
    for step in range(1, 6):
        x, u = couzin_step(x, u, params)
        if step in (1, 5):
            expected = case[f"after_step_{step}"]
            tolerance = 1e-12 if step == 1 else 1e-10  # as stated with the golden values
            assert abs(x - expected["positions"]).max() < tolerance
            assert abs(params.speed * u - expected["velocities"]).max() < tolerance


@pytest.mark.parametrize(("preset", "value"), [("torus", 0.951923), ("dynamic_parallel", 0.078127)])
def test_presets_start_where_the_published_runs_did(preset: str, value: float) -> None:
    assert rotation(*initial_state(PRESETS[preset])) == pytest.approx(value, abs=5e-7)


@pytest.mark.parametrize("n", [40, 300])  # by pairs and by cells
def test_a_run_is_the_same_at_any_number_of_threads(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("entropilot.physics.fish_school.PAIRS_FOR_THREADS", 0)
    one, four = (simulate(replace(SMALL, n_fish=n), 20, threads=threads) for threads in (1, 4))
    assert np.array_equal(one.x, four.x)
    assert np.array_equal(one.u, four.u)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(64, 200),
    cells=st.floats(3.0, 7.0),
    blind=st.sampled_from([0.0, 30.0, 150.0]),
)
def test_cells_and_pairs_agree(seed: int, n: int, cells: float, blind: float) -> None:
    params = Couzin(n, 10.0, 1.0, 0.3, 0.8, 10.0 / cells, blind_angle=blind, seed=seed)
    x, u = initial_state(params)
    z = np.random.default_rng(seed).standard_normal((n, 3))
    found = couzin_step(x, u, params, z)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("entropilot.physics.fish_school.FEWEST_FOR_CELLS", 10**9)
        expected = couzin_step(x, u, params, z)
    # sums in another order; a turn near 180 degrees can enlarge the difference
    assert abs(found[1] - expected[1]).max() < 1e-9
    assert np.array_equal(found[0] < 10.0, np.ones((n, 3), bool))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 120), speed=st.floats(0.1, 200.0))
def test_fish_stay_in_the_box_and_keep_their_speed(seed: int, n: int, speed: float) -> None:
    params = replace(SMALL, n_fish=n, speed=speed, seed=seed)
    x, u = initial_state(params)
    x, u = swum(x, u, params, 3, np.random.default_rng(seed))
    assert ((x >= 0) & (x < params.box_size)).all()
    assert np.allclose(np.linalg.norm(u, axis=1), 1.0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), shift=st.integers(-20, 20))
def test_the_box_has_no_middle(seed: int, shift: int) -> None:
    """A school that is moved and wrapped takes the same turns (r_attraction below half the box)."""
    params = replace(SMALL, seed=seed)
    x, u = initial_state(params)
    moved = np.mod(x + 0.5 * shift, params.box_size)
    _, a = couzin_step(x, u, params)
    _, b = couzin_step(moved, u, params)
    assert np.quantile(abs(a - b).max(axis=1), 0.9) < 1e-9  # a pair on a zone's edge may flip


def test_the_order_of_the_fish_does_not_matter() -> None:
    params = replace(SMALL, n_fish=100)
    x, u = initial_state(params)
    order = np.random.default_rng(1).permutation(100)
    _, a = couzin_step(x, u, params)
    _, b = couzin_step(x[order], u[order], params)
    assert np.allclose(a[order], b, atol=1e-10)


def test_two_fish_obey_their_zones() -> None:
    x, u = [[5.0, 5, 5], [5, 5, 6]], [[1.0, 0, 0], [0, 1, 0]]
    wide = Couzin(2, 20.0, 1.0, 0.5, 0.7, 3.0, max_turn=math.pi, blind_angle=0.0)
    assert np.allclose(couzin_step(x, u, wide)[1], [[0, 0, 1], [0, 0, -1]])  # attraction
    aligned = replace(wide, r_orientation=2.0)
    assert np.allclose(couzin_step(x, u, aligned)[1], [[0, 1, 0], [1, 0, 0]])
    near = replace(wide, r_repulsion=1.5, r_orientation=2.0)
    assert np.allclose(couzin_step(x, u, near)[1], [[0, 0, -1], [0, 0, 1]])
    blind = replace(wide, blind_angle=100.0)  # sees 80 degrees to each side; the other is at 90
    assert np.allclose(couzin_step(x, u, blind)[1], u)


def test_a_run_streams_its_frames_and_keeps_the_last() -> None:
    seen: list[int] = []
    run = simulate(SMALL, 10, 5, stream=lambda frame: seen.append(frame.step))
    assert seen == [0, 5, 10]
    assert run.x.shape == (1, 40, 3)
    assert run.P.shape == (3,)
    whole = simulate(SMALL, 10, 5)
    assert np.array_equal(run.x[-1], whole.x[-1])
    assert np.array_equal(run.M, whole.M)


def test_frames_do_not_change_the_run() -> None:
    every, some = (list(frames(SMALL, 12, k)) for k in (1, 4))
    assert np.array_equal(every[8].x, some[2].x)
    assert some[2].t == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"r_orientation": 0.5}, "0 <= r_repulsion < r_orientation"),
        ({"r_attraction": 2.0}, "<= r_attraction"),
        ({"r_repulsion": -1.0}, "0 <= r_repulsion"),
        ({"n_fish": 1}, "n_fish = 1, expected at least 2"),
        ({"box_size": 0.0}, "box_size = 0.0, expected a positive"),
        ({"speed": -1.0}, "speed = -1.0"),
        ({"max_turn": 0.0}, "max_turn = 0.0"),
        ({"dt": math.nan}, "dt = nan"),
        ({"noise": -0.1}, "noise = -0.1"),
        ({"orientation_weight": 1.5}, r"orientation_weight = 1.5, expected a number in \[0, 1\]"),
        ({"blind_angle": 181.0}, r"blind_angle = 181.0, expected degrees in \[0, 180\]"),
        ({"start": "cube"}, "start = 'cube', expected random or ring"),
        ({"speed": 0.0, "noise": -1.0}, "speed = 0.0.*; noise = -1.0"),
        ({"legacy_seed": 2**32}, "legacy_seed = 4294967296"),
    ],
)
def test_parameters_outside_the_model_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Couzin(**wrong)


@pytest.mark.parametrize(
    ("x", "u", "message"),
    [
        ([[1.0, 1, 13]], [[1.0, 0, 0]], r"fish 0 is at \(1, 1, 13\), outside \[0, 12\)|outside"),
        ([[1.0, 1, math.nan]], [[1.0, 0, 0]], "the position of fish 0 is not finite"),
        ([[1.0, 1, 1]], [[math.inf, 0, 0]], "the velocity of fish 0 is not finite"),
        ([[1.0, 1]], [[1.0, 0]], r"positions have shape \(1, 2\), expected \[fish, 3\]"),
        ([[1.0, 1, 1]], [[1.0, 0, 0]] * 2, r"velocities have shape \(2, 3\), expected \(1, 3\)"),
    ],
)
def test_a_state_that_is_no_school_is_named(x: Any, u: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        couzin_step(x, u, SMALL)


def test_noise_of_a_wrong_shape_is_named() -> None:
    with pytest.raises(InputError, match="noise has shape"):
        couzin_step(*initial_state(SMALL), SMALL, np.zeros((3, 3)))


def test_what_is_allowed_but_hard_to_read_is_said() -> None:
    with pytest.warns(UserWarning, match="exceeds half the box"):
        simulate(replace(SMALL, r_attraction=7.0), 1)
    assert "jump through the repulsion zone" in cautions(replace(SMALL, speed=11.0))[0]


def test_a_fish_at_rest_sees_all_around_and_starts_to_swim() -> None:
    x, u = [[5.0, 5, 5], [5, 5, 7]], [[0.0, 0, 0], [0, 0, 1]]
    _, after = couzin_step(x, u, Couzin(2, 20.0, 1.0, 0.5, 1.0, 4.0, blind_angle=80.0))
    assert after[0, 2] > 0
