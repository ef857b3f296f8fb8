"""Laws of the hard-disc gas: conservation, no overlap, reversal, the order of collisions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.physics.hard_disc_kernels import pair_contact_time
from entropilot.physics.hard_discs import (
    HardDiscGas,
    IdealGas,
    free_expansion,
    free_flight,
    maxwellian_velocities,
)
from entropilot.physics.phase_space import collision_rate

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "boltzmann-gas.json").read_text())


def discs(n: int, phi: float, seed: int = 0, **how: Any) -> HardDiscGas:
    return HardDiscGas(n, math.sqrt(4 * phi / (math.pi * n)), seed=seed, **how)


@pytest.mark.parametrize("case", GOLDEN["pair_collisions"])
def test_a_pair_collides_when_and_as_exact_arithmetic_says(case: dict[str, Any]) -> None:
    x1, x2, v1, v2 = (np.array(case[key]) for key in ("x1", "x2", "v1", "v2"))
    found = pair_contact_time(*(x2 - x1), *(v2 - v1), case["sigma"])
    if case["time"] is None:
        assert found == np.inf
        return
    assert found == pytest.approx(case["time"], abs=1e-12)
    shift = 20.0  # a box wide enough for all of them
    gas = HardDiscGas(2, case["sigma"], (40.0, 40.0), x=[x1 + shift, x2 + shift], v=[v1, v2])
    gas.advance(case["time"] + 1e-6)
    np.testing.assert_allclose(
        gas.velocities, [case["v1_after"], case["v2_after"]], rtol=0, atol=2e-11
    )  # the shift by 20 costs a digit


def test_energy_stays_to_round_off_over_a_million_events_and_no_discs_overlap() -> None:
    gas = discs(2000, 0.1, seed=3)
    energy = gas.kinetic_energy
    while gas.stats.events < 1_000_000:
        gas.advance(1.0)
        assert gas.smallest_gap()[2] > -1e-12 * gas.sigma[0]
    assert abs(gas.kinetic_energy / energy - 1) < 1e-13


def test_momentum_stays_where_walls_are_periodic() -> None:
    gas = discs(500, 0.2, walls=("periodic", "periodic"))
    gas.advance(5.0)
    assert gas.stats.collisions > 10_000
    assert gas.stats.wall_hits == 0
    assert np.abs(gas.velocities.sum(axis=0)).max() < 1e-11
    assert ((gas.positions >= 0) & (gas.positions <= 1)).all()


def reference_collisions(
    x: np.ndarray, v: np.ndarray, sigma: float, count: int, periodic: tuple[bool, bool]
) -> list[tuple[int, int]]:
    """The next events among all pairs and walls, looked for anew each time; O(N^2) an event."""
    x, v, found = x.copy(), v.copy(), []
    i, j = np.triu_indices(len(x), 1)
    images = [
        (a, b)
        for a in ((-1, 0, 1) if periodic[0] else (0,))
        for b in ((-1, 0, 1) if periodic[1] else (0,))
    ]
    while len(found) < count:
        best, event = np.inf, None
        with np.errstate(divide="ignore", invalid="ignore"):
            for image in images:
                d, w = x[j] - x[i] + image, v[j] - v[i]
                b, ww = (d * w).sum(1), (w * w).sum(1)
                c = (d * d).sum(1) - sigma**2
                t = c / (-b + np.sqrt(b * b - ww * c))
                t = np.where((b < 0) & (b * b > ww * c), np.maximum(t, 0), np.inf)
                if t.min() < best:
                    best, event = t.min(), (int(i[t.argmin()]), int(j[t.argmin()]), image)
            for axis in range(2):
                ends = np.where(v[:, axis] > 0, 1 - sigma / 2, sigma / 2)
                if periodic[axis]:  # stop halfway, so that images stay the nearest
                    ends = x[:, axis] + np.sign(v[:, axis]) * 0.2
                t = (ends - x[:, axis]) / v[:, axis]
                t = np.where(t >= 0, t, 0)
                if t.min() < best:
                    best, event = t.min(), (int(t.argmin()), axis)
        x = x + v * best
        if len(event) == 3:
            a, b, image = event
            d = x[b] - x[a] + image
            push = d * (d @ (v[b] - v[a])) / (d @ d)
            v[a] += push
            v[b] -= push
            found.append((a, b))
        elif not periodic[event[1]]:
            v[event] = -v[event]
        for axis in range(2):
            if periodic[axis]:
                x[:, axis] %= 1.0
    return found


@pytest.mark.parametrize("walls", [("hard", "hard"), ("hard", "periodic"), ("periodic",) * 2])
def test_the_same_pairs_collide_first_as_when_all_pairs_are_looked_at(
    walls: tuple[str, str],
) -> None:
    gas = discs(64, 0.2, seed=5, walls=walls)
    periodic = (walls[0] == "periodic", walls[1] == "periodic")
    expected = reference_collisions(
        gas.positions, gas.velocities, float(gas.sigma[0]), 120, periodic
    )
    found = [tuple(sorted(pair)) for pair in gas.colliding_pairs(3.0, 120).tolist()]
    # the two routes round differently, and each collision multiplies that by about 10
    assert found[:100] == expected[:100]


def test_reversal_brings_the_start_back_while_few_have_collided() -> None:
    gas = discs(400, 0.05, seed=2)
    x, v = gas.positions, gas.velocities
    gas.advance(0.1)
    assert 0.5 < 2 * gas.stats.collisions / gas.n < 2.5
    gas.reverse()
    gas.advance(0.1)
    np.testing.assert_allclose(gas.positions, x, rtol=0, atol=1e-9)
    np.testing.assert_allclose(-gas.velocities, v, rtol=0, atol=1e-6)


def test_a_saved_gas_goes_on_bit_for_bit() -> None:
    whole, first = discs(300, 0.1, seed=4), discs(300, 0.1, seed=4)
    for _ in range(4):
        whole.advance(0.1)
    first.advance(0.1)
    first.advance(0.1)
    second = HardDiscGas(300, first.sigma, x=first.positions, v=first.velocities).resume(
        first.time, first.stats
    )
    second.advance(0.1)
    second.advance(0.1)
    assert (second.positions == whole.positions).all()
    assert (second.velocities == whole.velocities).all()
    assert second.stats == whole.stats


@pytest.mark.parametrize("phi", [0.01, 0.1])
def test_the_collision_rate_is_that_of_kinetic_theory(phi: float) -> None:
    gas = discs(5000, phi, walls=("periodic", "periodic"))
    gas.advance(0.05)
    before = gas.stats.collisions
    gas.advance(0.5)
    rate = 2 * (gas.stats.collisions - before) / gas.n / 0.5
    assert rate / collision_rate(gas.n, gas.sigma[0], phi=phi) == pytest.approx(1, abs=0.03)


def test_the_pressure_is_that_of_the_virial_of_discs() -> None:
    phi = 0.2
    gas = discs(2000, phi, walls=("periodic", "periodic"))
    gas.advance(3.0)
    expected = gas.n * (1 + 2 * phi * (1 - 7 * phi / 16) / (1 - phi) ** 2)
    assert gas.pressure / expected == pytest.approx(1, abs=0.02)


def test_discs_of_several_sizes_collide_at_their_own_distance() -> None:
    gas = HardDiscGas(2, [0.1, 0.3], x=[[0.2, 0.5], [0.8, 0.5]], v=[[1.0, 0], [0.0, 0]])
    gas.advance(0.41)  # they touch at a distance of 0.2, after 0.4
    np.testing.assert_allclose(gas.positions, [[0.6, 0.5], [0.81, 0.5]], atol=1e-12)
    mixed = HardDiscGas(200, np.linspace(0.005, 0.03, 200), seed=1)
    mixed.advance(1.0)
    assert mixed.smallest_gap()[2] > -1e-12


def test_one_disc_bounces_between_walls() -> None:
    gas = HardDiscGas(1, 0.2, x=[[0.5, 0.5]], v=[[1.0, 0.0]])
    gas.advance(0.6)
    np.testing.assert_allclose(gas.positions, [[0.7, 0.5]], atol=1e-12)
    assert gas.stats.wall_hits == 1


def test_dense_starts_do_not_overlap() -> None:
    for phi in (0.3, 0.5, 0.68):
        gas = discs(400, phi)
        assert gas.smallest_gap()[2] >= 0
        gas.advance(0.05)
        assert gas.smallest_gap()[2] > -1e-12


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 5.0), st.sampled_from(["hard", "periodic"]))
def test_free_flight_runs_back(seed: int, dt: float, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x, v = rng.random((20, 2)), rng.standard_normal((20, 2))
    walls = (kind, "hard")
    there, then = free_flight(x, v, dt, (1.0, 1.0), walls)
    assert ((there >= 0) & (there <= 1)).all()
    back, last = free_flight(there, -then, dt, (1.0, 1.0), walls)
    away = np.abs(back - x)
    np.testing.assert_allclose(np.minimum(away, 1 - away), 0, atol=1e-11)
    np.testing.assert_allclose(-last, v)


def test_very_small_discs_move_as_an_ideal_gas() -> None:
    gas = HardDiscGas(50, 1e-12, seed=1)
    free = IdealGas(50, x=gas.positions, v=gas.velocities)
    gas.advance(1.0)
    free.advance(1.0)
    assert gas.stats.collisions == 0
    np.testing.assert_allclose(gas.positions, free.positions, atol=1e-10)


def test_an_expanding_gas_fills_both_halves() -> None:
    gas = free_expansion(HardDiscGas(1000, 1e-3, (0.5, 1.0), seed=0), (0.5, 1.0), (1.0, 1.0))
    assert gas.time == 0
    gas.advance(3.0)
    assert (gas.positions[:, 0] > 0.5).mean() == pytest.approx(0.5, abs=0.07)


def test_velocities_have_no_net_momentum_and_unit_temperature() -> None:
    v = maxwellian_velocities(1000, np.random.default_rng(0))
    assert np.abs(v.sum(axis=0)).max() < 1e-10
    assert (v**2).sum() == pytest.approx(2000)


NAN = [[0.2, 0.5], [np.nan, 0.5]]
OK = [[0.2, 0.5], [0.8, 0.5]]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"n": 0, "sigma": 0.1}, "at least 1 disc"),
        ({"n": 2, "sigma": 0.0}, "diameters > 0"),
        ({"n": 2, "sigma": -1.0}, "diameters > 0"),
        ({"n": 2, "sigma": [0.1, 0.1, 0.1]}, "sigma has shape"),
        ({"n": 2, "sigma": 0.1, "box": (0.0, 1.0)}, "two lengths > 0"),
        ({"n": 2, "sigma": 0.1, "box": (np.nan, 1.0)}, "two lengths > 0"),
        ({"n": 1, "sigma": 1.5}, "it has to hold one disc"),
        ({"n": 1, "sigma": 0.5, "walls": ("periodic", "hard")}, "three diameters"),
        ({"n": 2, "sigma": 0.1, "walls": ("hard", "soft")}, "expected two of"),
        ({"n": 2, "sigma": 0.1, "walls": "hard"}, "expected two of"),
        ({"n": 2, "sigma": 0.1, "x": NAN}, "positions of disc 1"),
        ({"n": 2, "sigma": 0.1, "v": NAN}, "velocities of disc 1"),
        ({"n": 2, "sigma": 0.1, "x": [[0.5, 0.5]]}, r"expected \(2, 2\)"),
        ({"n": 2, "sigma": 0.1, "x": [[0.5, 0.5], [0.55, 0.5]]}, "discs 0 and 1 overlap.*-0.05"),
        ({"n": 2, "sigma": 0.1, "x": [[0.01, 0.5], [0.5, 0.5]]}, "disc 0 has x = 0.01, outside"),
        ({"n": 2, "sigma": 0.1, "x": OK, "v": np.zeros((2, 2))}, "kinetic energy is 0"),
        ({"n": 100, "sigma": 0.11}, "would cover 0.950"),
        ({"n": 100, "sigma": 0.098}, "a start is drawn up to 0.7"),
    ],
)
def test_bad_input_is_named_with_the_mend(how: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        HardDiscGas(**how)


@pytest.mark.parametrize("dt", [-1.0, np.nan, np.inf])
def test_time_runs_forward(dt: float) -> None:
    with pytest.raises(InputError, match="expected a time >= 0"):
        discs(10, 0.01).advance(dt)


def test_a_gas_only_expands() -> None:
    gas = IdealGas(10, (0.5, 1.0))
    with pytest.raises(InputError, match="smaller than from_box"):
        free_expansion(gas, (0.5, 1.0), (0.4, 1.0))
    with pytest.raises(InputError, match="but the gas is in"):
        free_expansion(gas, (0.6, 1.0), (1.0, 1.0))
