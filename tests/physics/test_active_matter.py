"""Active matter: forces, motion, exact entropy production, and what a user gets wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.physics.active_matter import ActiveSystem, TrapWarning, phase_of
from entropilot.physics.active_matter_exact import gaussian_epr, ring_fokker_planck
from entropilot.physics.entropy_production import dissipation, trajectory_epr

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "active-matter.json").read_text()
)
RING = ActiveSystem(1, 1, half_width=8.0, obstacle=True)


def spread_out(system: ActiveSystem, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, g = system.start(1, np.random.default_rng(seed))
    return x[0], g[0]


@pytest.mark.parametrize("case", GOLDEN["gaussian_single"])
def test_one_trapped_particle_meets_the_closed_form(case: dict[str, Any]) -> None:
    made = gaussian_epr(case["A"], case["v0"], case["gamma"], case["eps"])
    assert made.total == pytest.approx(case["epr_total_per_dof"], abs=1e-10)
    assert made.x == pytest.approx(case["epr_x"], abs=1e-10)
    assert made.g == pytest.approx(case["epr_g"], abs=1e-10)
    np.testing.assert_allclose(made.covariance, case["cov_x_g"], atol=1e-10)
    np.testing.assert_allclose(made.score, case["score_matrix_minus_inv_cov"], atol=1e-10)


@pytest.mark.parametrize("case", GOLDEN["gaussian_many"])
def test_bound_particles_meet_the_closed_form(case: dict[str, Any]) -> None:
    K = case["A"] * np.eye(case["N"]) + case["k"] * np.array(case["laplacian"])
    made = gaussian_epr(K, case["v0"], case["gamma"], case["eps"])
    assert made.total == pytest.approx(case["epr_total"], abs=1e-10)
    assert made.x + made.g == pytest.approx(made.total, abs=1e-10)
    np.testing.assert_allclose(made.per_particle_x, case["epr_x_per_particle"], atol=1e-10)
    np.testing.assert_allclose(made.per_particle_g, case["epr_g_per_particle"], atol=1e-10)


@pytest.mark.parametrize("case", GOLDEN["ring"], ids=lambda c: f"v0={c['v0']}")
def test_the_ring_meets_another_discretisation(case: dict[str, Any]) -> None:
    system = ActiveSystem(1, 1, v0=case["v0"], half_width=8.0, obstacle=True)
    made = ring_fokker_planck(system)
    assert made.total == pytest.approx(case["epr_total"], rel=2e-3, abs=1e-12)
    area = (made.x[1] - made.x[0]) * (made.g[1] - made.g[0])
    assert made.density.sum() * area == pytest.approx(1)
    assert made.production.sum() * area == pytest.approx(made.total, abs=1e-12)
    # a current without sources is the same through every section of the ring
    through = made.current_x.sum(axis=1)
    np.testing.assert_allclose(through, through[0], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(1, 5),
    v0=st.floats(0, 2),
    gamma=st.floats(0.1, 2),
    eps=st.floats(0.1, 2),
)
def test_harmonic_shares_are_never_negative_and_add_up(
    seed: int, n: int, v0: float, gamma: float, eps: float
) -> None:
    root = np.random.default_rng(seed).normal(size=(n, n))
    made = gaussian_epr(root @ root.T + 0.2 * np.eye(n), v0, gamma, eps, d=2)
    assert (made.per_particle_x >= -1e-9).all()
    assert (made.per_particle_g >= -1e-9).all()
    assert made.x + made.g == pytest.approx(made.total, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("beta", [7.5, None])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_divergence_is_that_of_the_drift(beta: float | None, d: int) -> None:
    system = ActiveSystem(6, d, beta=beta, half_width=4.0, trap=0.3, exact=True)
    x, g = spread_out(system, d)
    step, found = 1e-6, np.zeros(6)
    for i in range(6):
        for a in range(d):
            ahead, behind = x.copy(), x.copy()
            ahead[i, a] += step
            behind[i, a] -= step
            found[i] += (system.drift(ahead, g)[0] - system.drift(behind, g)[0])[i, a] / (2 * step)
    np.testing.assert_allclose(system.div_drift(x), found, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), by=st.floats(-20, 20))
def test_forces_know_no_order_no_origin_and_no_net_push(seed: int, by: float) -> None:
    system = ActiveSystem(9, phi=0.4)
    x, g = spread_out(system, seed)
    b, _ = system.drift(x, 0 * g)
    np.testing.assert_allclose(b.sum(axis=0), 0, atol=1e-10)
    order = np.random.default_rng(seed).permutation(9)
    np.testing.assert_allclose(system.drift(x[order], 0 * g)[0], b[order], atol=1e-10)
    moved = x + by
    moved -= 2 * system.width * np.rint(moved / (2 * system.width))
    np.testing.assert_allclose(system.drift(moved, 0 * g)[0], b, atol=1e-6)


def test_cells_find_what_all_pairs_find() -> None:
    by_cells = ActiveSystem(900, phi=0.6)
    pairs = ActiveSystem(900, phi=0.6, exact=True)
    x, g = spread_out(by_cells, 0)
    # the tail that is cut off: k e^-10/beta a pair, a few tens of pairs
    np.testing.assert_allclose(by_cells.drift(x, g)[0], pairs.drift(x, g)[0], atol=1e-3)
    np.testing.assert_array_equal(by_cells.neighbours(x), pairs.neighbours(x))
    kinked = [ActiveSystem(900, phi=0.6, beta=None, exact=exact) for exact in (False, True)]
    one, other = (system.drift(x, g)[0] for system in kinked)
    np.testing.assert_allclose(one, other, atol=1e-10)


def test_a_seed_is_a_run_and_a_run_can_be_cut() -> None:
    system = ActiveSystem(5, phi=0.3)
    x, g = spread_out(system, 1)
    whole = system.step(x, g, 1e-2, np.random.default_rng(4), 30)
    rng = np.random.default_rng(4)
    part = system.step(*system.step(x, g, 1e-2, rng, 10), 1e-2, rng, 20)
    assert (whole[0] == part[0]).all()
    assert (whole[1] == part[1]).all()
    assert (np.abs(whole[0]) <= system.width).all()


def test_samples_have_the_covariance_of_the_closed_form() -> None:
    system = ActiveSystem(1, 1, v0=1.0, gamma=1.0, eps=1.0, trap=1.0, force="none")
    x, g = system.sample(20_000, 8.0, dt=0.01, rng=np.random.default_rng(0))
    # four standard errors of a covariance at 20,000 samples, and the bias of dt
    np.testing.assert_allclose(np.cov(x[:, 0, 0], g[:, 0, 0]), [[1.5, 0.5], [0.5, 1.0]], atol=0.07)


def test_both_estimates_without_a_score_meet_the_truth() -> None:
    rng = np.random.default_rng(0)
    system = ActiveSystem(1, 1, v0=1.0, gamma=1.0, eps=1.0, trap=1.0, force="none")
    x, g = system.sample(4000, 8.0, rng=rng)
    made = trajectory_epr(system, 8.0, start=(x, g), rng=rng)
    # dt = 0.01 biases by about its own size
    assert made.total == pytest.approx(0.5, abs=4 * made.error + 0.01)
    local = dissipation(system, x, g).sum(axis=1)
    assert local.mean() == pytest.approx(0.5, abs=4 * local.std() / math.sqrt(4000) + 0.01)


@pytest.mark.slow
def test_the_ring_dissipates_what_the_grid_says() -> None:
    rng = np.random.default_rng(0)
    start = RING.sample(2000, 180, dt=0.02, rng=rng)
    made = trajectory_epr(RING, 60, dt=0.02, start=start, rng=rng)
    assert made.total == pytest.approx(0.3966, abs=4 * made.error + 0.004)


def test_phases_are_told_by_neighbours_itself_not_counted() -> None:
    assert phase_of(np.array([1, 2, 3, 4])).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"n": 0}, "n = 0"),
        ({"n": 2, "eps": -1.0}, "eps = -1"),
        ({"n": 2, "gamma": 0.0}, "gamma = 0"),
        ({"n": 2, "v0": math.nan}, "v0 = nan"),
        ({"n": 2, "phi": 0.1, "half_width": 3.0}, "give one of them"),
        ({"n": 2, "d": 1, "phi": 0.1}, "phi is for d = 2"),
        ({"n": 1}, "no pair to push"),
        ({"n": 2, "half_width": 1.0}, "narrower than two discs"),
        ({"n": 2, "force": "hard"}, "force = hard"),
        ({"n": 0, "gamma": -1.0}, "n = 0.*; gamma = -1"),
    ],
)
def test_a_system_that_can_not_be_is_named(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ActiveSystem(**how)


def test_bad_configurations_are_named() -> None:
    two = ActiveSystem(2)
    rng = np.random.default_rng(0)
    g = np.zeros((2, 2))
    with pytest.raises(InputError, match="particles 0 and 1 of configuration 0 lie on one point"):
        two.drift(np.ones((2, 2)), g)
    with pytest.raises(InputError, match="particles 0 and 1"):
        two.step(np.ones((2, 2)), g, 0.1, rng)
    with pytest.raises(InputError, match=r"x has shape \(3, 2\)"):
        two.drift(np.ones((3, 2)), g)
    with pytest.raises(BrokenNumbersError, match=r"x\[1, 0\] is nan"):
        two.drift([[0.0, 0.0], [math.nan, 1.0]], g)
    with pytest.raises(InputError, match="dt = 0"):
        two.step([[0.0, 0.0], [1.0, 0.0]], g, 0.0, rng)
    with pytest.raises(InputError, match="every = 0"):
        two.sample(4, 1.0, walkers=2, rng=rng)


def test_without_diffusion_the_share_of_places_is_refused() -> None:
    still = ActiveSystem(2, eps=0.0, phi=0.1)
    with pytest.raises(InputError, match="eps = 0: places do not diffuse"):
        trajectory_epr(still, 1.0)
    with pytest.raises(InputError, match="eps = 0"):
        dissipation(still, [[0.0, 0.0], [1.0, 0.0]], np.zeros((2, 2)))


def test_a_trap_at_the_seam_is_warned_of() -> None:
    system = ActiveSystem(1, 1, half_width=2.0, trap=0.1, force="none")
    with pytest.warns(TrapWarning, match="where the trap jumps"):
        system.step([[1.95]], [[0.0]], 1e-4, np.random.default_rng(0))


def test_bad_exact_problems_are_named() -> None:
    with pytest.raises(InputError, match="nothing holds the particles"):
        gaussian_epr(np.array([[1.0, -1.0], [-1.0, 1.0]]), 1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="eps = 0"):
        gaussian_epr(1.0, 1.0, 1.0, 0.0)
    with pytest.raises(InputError, match="symmetric"):
        gaussian_epr(np.array([[1.0, 0.5], [0.0, 1.0]]), 1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="a ring has"):
        ring_fokker_planck(ActiveSystem(2, phi=0.1))
    with pytest.raises(InputError, match="n_x = 4"):
        ring_fokker_planck(RING, n_x=4)
