"""Boltzmann entropies of cells, and the closed forms of an expanding gas."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.physics.hard_discs import IdealGas, free_expansion
from entropilot.physics.phase_space import (
    SparseCellsWarning,
    boltzmann_entropy,
    collision_rate,
    contact_value,
    diameter_for,
    equilibrium_entropy,
    free_shear_entropy,
    phase_space_counts,
    pooled_counts,
    scaling_entropy,
    velocity_edges,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "boltzmann-gas.json").read_text())


@pytest.mark.filterwarnings("ignore::entropilot.physics.phase_space.SparseCellsWarning")
@pytest.mark.parametrize("case", GOLDEN["count_entropy"])
@pytest.mark.parametrize(
    ("name", "key"),
    [("exact", "exact"), ("plugin", "plugin"), ("miller-madow", "miller_madow")],
)
def test_entropies_of_counts(case: dict[str, Any], name: Any, key: str) -> None:
    found = boltzmann_entropy(case["counts"], case["cell_volume"], estimator=name)
    assert found == pytest.approx(case[f"{key}_per_particle"], abs=1e-12)


def test_free_motion_in_closed_form() -> None:
    tau = [case["tau"] for case in GOLDEN["free_shear_entropy_gain"]]
    exact = [case["ds"] for case in GOLDEN["free_shear_entropy_gain"]]
    np.testing.assert_allclose(free_shear_entropy(tau), exact, rtol=0, atol=1e-10)


def test_free_motion_gains_half_tau_then_ln_2() -> None:
    tau = np.linspace(0, 1, 11)
    np.testing.assert_allclose(free_shear_entropy(tau), tau / 2, atol=1e-14)
    np.testing.assert_allclose(free_shear_entropy([2, 4, 6]), math.log(2), atol=1e-14)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.25, [0.1107, 0.2328, 0.3853, 0.5834, 0.6752]),
        (1.0, [0.2247, 0.4035, 0.5579, 0.6677, 0.6909]),
        (1.2533, [0.2545, 0.4415, 0.5882, 0.6771, 0.6920]),
        (4.0, [0.4585, 0.6287, 0.6845, 0.6930, 0.6931]),
    ],
)
def test_both_mechanisms_scale(ratio: float, expected: list[float]) -> None:
    found = scaling_entropy([0.1, 0.25, 0.5, 1.0, 1.5], ratio)
    np.testing.assert_allclose(found, expected, atol=6e-5)


@given(st.floats(0, 20), st.floats(0, 50))
def test_scaled_entropy_lies_between_free_motion_and_ln_2(tau: float, ratio: float) -> None:
    gained = float(scaling_entropy(tau, ratio))
    assert float(free_shear_entropy(tau)) - 1e-9 <= gained <= math.log(2) + 1e-9
    assert float(scaling_entropy(tau, 0.0)) == pytest.approx(float(free_shear_entropy(tau)))


def test_equilibrium_and_kinetic_theory() -> None:
    for case in GOLDEN["equilibrium"]:
        found = equilibrium_entropy(case["area"], case["kT"], case["mass"])
        exact = case["entropy_per_particle_ln_A_plus_1_plus_ln_2pi_kT"]
        assert found == pytest.approx(exact, abs=1e-12)
    for case in GOLDEN["collision_rate"]:
        rate = collision_rate(case["n"], case["sigma"], case["kT"])
        assert rate == pytest.approx(case["rate_boltzmann"], rel=1e-12)
        assert contact_value(case["phi"]) == pytest.approx(case["chi_henderson"], rel=1e-12)
        assert diameter_for(case["mean_free_path"], case["n"]) == pytest.approx(case["sigma"])


@pytest.mark.parametrize("case", GOLDEN["maxwell_coarse"])
def test_a_cut_maxwellian_has_the_entropy_of_its_cells(case: dict[str, Any]) -> None:
    from scipy.special import ndtr

    edges = velocity_edges(case["dv"], 12.0)
    n = 10**12
    counts = np.rint(n * np.diff(ndtr(edges))).astype(np.int64)
    found = boltzmann_entropy(counts, case["dv"], estimator="plugin")
    assert found == pytest.approx(case["entropy_1d_plus_log_dv"], abs=1e-8)


def test_an_ideal_gas_gains_what_free_motion_says() -> None:
    n, width = 200_000, 0.5
    gas = free_expansion(IdealGas(n, (0.5, 1.0), seed=1), (0.5, 1.0), (1.0, 1.0))
    edges = velocity_edges(width)

    def entropy() -> float:
        made = phase_space_counts(
            gas.positions, gas.velocities, np.linspace(0, 1, 33), [0, 1], edges, edges
        )
        return boltzmann_entropy(made.counts, made.volumes)

    start = entropy()
    assert start == pytest.approx(equilibrium_entropy(0.5), abs=0.03)
    for tau in (0.5, 1.0, 2.0):
        gas.advance(tau / width - gas.time)
        assert entropy() - start == pytest.approx(float(free_shear_entropy(tau)), abs=0.012)


def test_cells_may_be_sparse_uneven_and_pooled() -> None:
    rng = np.random.default_rng(0)
    x, v = rng.random((500, 2)), rng.standard_normal((500, 2))
    coarse = [0, 0.3, 1.0], [0, 1], [-1, 0.5, 9], [-2, 0, 1]
    made = phase_space_counts(x, v, *coarse)
    assert made.counts.sum() == 500
    assert made.volumes.max() == pytest.approx(0.7 * 8.5 * 2)
    fine = np.linspace(-5, 5, 201)
    sparse = phase_space_counts(x, v, np.linspace(0, 1, 101), [0, 1], fine, fine)
    assert sparse.counts.sum() == 500
    halves = [phase_space_counts(x[s], v[s], *coarse) for s in (slice(250), slice(250, None))]
    both = pooled_counts(halves)
    assert (both.counts == made.counts).all()
    assert (both.cells == made.cells).all()


def test_too_few_particles_a_cell_is_said() -> None:
    with pytest.warns(SparseCellsWarning, match=r"expected to be 0\.417 too low"):
        boltzmann_entropy([1, 1, 1, 1, 1, 1], 1.0)


def test_bad_cells_are_named() -> None:
    with pytest.raises(InputError, match="width = 6"):
        velocity_edges(6.0)
    with pytest.raises(InputError, match="vx_edges have to rise"):
        phase_space_counts([[0, 0]], [[0, 0]], [0, 1], [0, 1], [1, 0], [0, 1])
    with pytest.raises(InputError, match="not finite"):
        phase_space_counts([[0, np.nan]], [[0, 0]], [0, 1], [0, 1], [0, 1], [0, 1])
    with pytest.raises(InputError, match="estimator = 'best'"):
        boltzmann_entropy([1], 1.0, estimator="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="add up to 1"):
        boltzmann_entropy([1], 1.0, n_total=2)
    with pytest.raises(InputError, match="at least one particle"):
        boltzmann_entropy([0], 1.0)
    with pytest.raises(InputError, match="tau has to be"):
        free_shear_entropy(-1.0)
