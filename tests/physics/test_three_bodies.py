"""Three bodies: integrators, environment, rewards and policies against references and laws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, EntropilotError, InputError
from entropilot.physics import three_bodies
from entropilot.physics.step_policies import (
    ErrorController,
    FixedStep,
    RandomStep,
    evaluate,
)
from entropilot.physics.step_rewards import step_reward
from entropilot.physics.three_bodies import CHECK, energy, initial_conditions
from entropilot.physics.three_body_batch import (
    ACTIONS,
    StepTask,
    ThreeBodyBatch,
    advanced,
    mu_of,
    observed,
    started,
)


@pytest.fixture
def values(golden: Callable[[str], Any]) -> Any:
    return golden("three-body")


def test_units_and_actions_are_the_references(values: Any) -> None:
    found = {
        "velocity_unit_m_s": three_bodies.VELOCITY_UNIT,
        "time_unit_s": three_bodies.TIME_UNIT,
        "yr_in_nbody": three_bodies.YEAR,
        "check_step_nbody": CHECK,
    }
    for name, value in found.items():
        assert value == pytest.approx(values["units"][name], rel=1e-13)
    np.testing.assert_allclose(ACTIONS, values["actions"], rtol=1e-12)


def test_starts_are_the_references(values: Any) -> None:
    for case in values["initial_conditions"]:
        m, x, v = initial_conditions(case["seed"])
        np.testing.assert_allclose(x, case["position"], atol=1e-13)
        np.testing.assert_allclose(v, case["velocity"], atol=1e-13)
        assert energy(m, x, v) == pytest.approx(case["energy"], rel=1e-12)


def test_starts_from_a_modern_generator_lie_where_the_references_do() -> None:
    places = []
    for seed in range(50):
        m, x, v = initial_conditions(seed, legacy=False)
        np.testing.assert_allclose([m @ x, m @ v], 0, atol=1e-12)
        places.append((x - x[0])[1:, :2])
    first, second = np.swapaxes(places, 0, 1)
    assert (first >= [5, 0]).all()
    assert (first <= [20, 10]).all()
    assert (second >= [-10, 5]).all()
    assert (second <= [0, 20]).all()
    assert not np.array_equal(initial_conditions(0)[1], initial_conditions(0, legacy=False)[1])


def test_hermite_is_amuses_to_the_last_step(values: Any) -> None:
    for case in values["hermite"]:
        systems = started(seeds=[case["seed"]])
        for number, n_steps in enumerate(case["n_steps"], 1):
            systems = advanced(systems, np.array([case["mu"]]), StepTask())
            assert systems.steps[0] == n_steps
            key = f"state_after_check_{number}"
            if key in case:
                found = np.concatenate([systems.x[0], systems.v[0]], axis=1)
                np.testing.assert_allclose(found, case[key], atol=1e-10)


def test_ias15_is_rebounds(values: Any) -> None:
    pytest.importorskip("rebound", reason="the integrator ias15 needs REBOUND")
    task = StepTask(integrator="ias15")
    for case in values["ias15"][:3]:
        systems = started(seeds=[case["seed"]])
        for number in range(1, 21):
            systems = advanced(systems, np.array([1e-3]), task)
            if number in case["checks"]:
                place = case["position"][case["checks"].index(number)]
                np.testing.assert_allclose(systems.x[0], place, atol=1e-9)


def test_rewards_are_the_references(values: Any) -> None:
    for case in values["reward"]:
        found = step_reward(
            np.array([case["dE"]]), np.array([case["dE_prev"]]), np.array([case["iteration"]]),
            np.array([case["mu"]]), option=case["reward_f"], weights=tuple(case["weights"]),
        )  # fmt: skip
        assert found[0] == pytest.approx(case["reward"], rel=1e-12, abs=1e-12)


def test_a_reward_is_finite_where_the_references_is_not() -> None:
    one = np.ones(1)
    for option in (0, 2, 3, 4, 5, 6):
        assert np.isfinite(step_reward(one, one, one, 0.1 * one, option=option)).all()


def test_observations_are_the_references(values: Any) -> None:
    for case in values["state_vectors"]:
        systems = started(seeds=[case["seed"]])._replace(error=np.array([case["dE"]]))
        np.testing.assert_allclose(observed(systems, StepTask())[0], case["cart"], rtol=1e-6)
    seen = observed(started(seeds=[0]), StepTask(observation="distance"))
    assert seen.shape == (1, 3)
    assert seen[0, 2] == 0


@pytest.mark.parametrize(("integrator", "order"), [("hermite", 4), ("leapfrog", 2)])
def test_the_error_falls_with_the_order_of_the_scheme(integrator: Any, order: int) -> None:
    exact = started(seeds=[2])
    task = StepTask(integrator=integrator, check=4.0)
    exact = advanced(exact, np.array([1e-4]), StepTask(check=4.0))
    apart = [
        np.abs(advanced(started(seeds=[2]), np.array([mu]), task).x - exact.x).max()
        for mu in (0.04, 0.02, 0.01)
    ]
    slopes = np.log2(np.array(apart[:-1]) / apart[1:])
    assert np.all(np.abs(slopes - order) < 0.6), slopes


def test_momentum_and_centre_of_mass_are_kept() -> None:
    systems = started(seeds=[0, 1, 2])
    for _ in range(20):
        systems = advanced(systems, np.full(3, 1e-2), StepTask())
    np.testing.assert_allclose(np.einsum("ni,nic->nc", systems.m, systems.v), 0, atol=1e-14)
    np.testing.assert_allclose(np.einsum("ni,nic->nc", systems.m, systems.x), 0, atol=1e-13)


def test_advancing_leaves_what_it_was_given() -> None:
    before = started(seeds=[0])
    held = [part.copy() for part in before]
    advanced(before, np.array([0.1]), StepTask())
    for part, copy in zip(before, held, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_a_batch_is_its_systems_one_by_one() -> None:
    batch = ThreeBodyBatch(3)
    batch.reset([0, 1, 2])
    for actions in ([9, 5, 7], [3, 8, 9]):
        batch.step(np.array(actions))
    for place, seed in enumerate([0, 1, 2]):
        alone = started(seeds=[seed])
        for actions in ([9, 5, 7], [3, 8, 9]):
            alone = advanced(alone, mu_of([actions[place]]), StepTask())
        np.testing.assert_array_equal(batch.systems.x[place], alone.x[0])


def test_the_environment_passes_gymnasiums_own_check() -> None:
    gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium")
    from gymnasium.utils.env_checker import check_env

    from entropilot.physics.three_body_env import NAME

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(gymnasium.make(NAME).unwrapped, skip_render_check=True)


def test_a_time_limit_is_no_terminal_state() -> None:
    pytest.importorskip("gymnasium", reason="needs gymnasium")
    from entropilot.physics.three_body_env import ThreeBodyEnv

    for reference, ended in ((False, (False, True)), (True, (True, False))):
        env = ThreeBodyEnv(horizon=2, reference_terminals=reference)
        env.reset(options={"seed": 0})
        assert env.step(5)[2:4] == (False, False)
        assert env.step(5)[2:4] == ended


def test_a_large_error_ends_an_episode() -> None:
    batch = ThreeBodyBatch(1, StepTask(error_limit=1e-14))
    batch.reset([0])
    _, _, terminated, truncated = batch.step(np.array([9]))
    assert terminated[0]
    assert not truncated[0]


def test_bodies_in_circles_keep_their_distance() -> None:
    """The equilateral triangle of Lagrange turns as a whole."""
    angle = 2 * np.pi * np.arange(3) / 3
    x = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    m = np.full(3, 1 / 3)
    speed = np.sqrt((1 / 3) / np.sqrt(3))  # v^2 = M / (sqrt(3) * 3 r) * ... for side sqrt(3)
    v = speed * np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    systems = started([(m, x, v)])
    for _ in range(10):
        systems = advanced(systems, np.array([1e-2]), StepTask())
    np.testing.assert_allclose(np.linalg.norm(systems.x[0], axis=1), 1.0, atol=1e-8)


def test_a_controller_spends_less_error_with_a_smaller_target() -> None:
    seeds = list(range(100_000, 100_008))
    loose = evaluate(ErrorController(1e-3, 40), seeds, horizon=40).summary()
    tight = evaluate(ErrorController(1e-8, 40), seeds, horizon=40).summary()
    assert tight["mean"] < loose["mean"]
    assert tight["log_steps"] > loose["log_steps"]


def test_what_is_undone_costs_steps() -> None:
    seeds = list(range(100_000, 100_006))
    plain = evaluate(ErrorController(1e-6, 60), seeds, horizon=60)
    careful = evaluate(ErrorController(1e-6, 60, allow_reject=True), seeds, horizon=60)
    assert careful.steps.sum() > plain.steps.sum()


def test_random_steps_are_the_same_again() -> None:
    first = evaluate(RandomStep(3), [100_000], horizon=5)
    again = evaluate(RandomStep(3), [100_000], horizon=5)
    np.testing.assert_array_equal(first.actions, again.actions)


@pytest.mark.parametrize("mu", [0.0, -1.0, np.nan, np.inf])
def test_a_step_that_would_never_end_is_refused(mu: float) -> None:
    with pytest.raises(InputError, match="mu is"):
        advanced(started(seeds=[0]), np.array([mu]), StepTask())


def test_an_interval_without_end_names_time_pair_and_distance() -> None:
    with pytest.raises(EntropilotError, match=r"t = .*mu = .*bodies \d and \d are .* apart"):
        advanced(started(seeds=[0]), np.array([1e-4]), StepTask(max_steps=10))


def test_ctrl_c_within_an_interval_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        inner = SystemError("_numba_unpickle returned a result with an exception set")
        inner.__cause__ = KeyboardInterrupt()
        raise SystemError("advance_batch returned a result with an exception set") from inner

    monkeypatch.setattr("entropilot.physics.three_body_kernels.advance_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        advanced(started(seeds=[0]), np.array([1e-2]), StepTask())


def test_an_encounter_below_float_resolution_ends_the_interval_and_is_counted() -> None:
    m, x, _ = initial_conditions(0)
    x = x.copy()
    x[1] = x[0] + [1e-9, 0, 0]
    close = started([(m, x, np.zeros((3, 3)))])._replace(t=np.array([1.0]))
    later = advanced(close, np.array([1e-4]), StepTask())
    assert later.short[0] == 1
    assert later.t[0] < CHECK


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"check": 0.0}, "check is 0"),
        ({"error_limit": -1.0}, "error_limit"),
        ({"reward": 1}, "expected one of 0, 2, 3, 4, 5, 6"),
        ({"integrator": "hermit"}, "did you mean 'hermite'"),
        ({"observation": "polar"}, "unknown observation"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        StepTask(**settings)


@pytest.mark.parametrize("actions", [[10], [-1], [0.5]])
def test_an_action_out_of_range_is_refused(actions: list[float]) -> None:
    with pytest.raises(InputError, match="from 0 to 9"):
        mu_of(actions)


def test_bodies_that_cannot_be_integrated_are_named() -> None:
    m, x, v = initial_conditions(0)
    with pytest.raises(InputError, match="bodies 0 and 1 are at the same place"):
        started([(m, np.zeros((3, 3)), v)])
    with pytest.raises(InputError, match="must be above 0"):
        started([(m * [1, 0, 1], x, v)])
    with pytest.raises(InputError, match="not finite"):
        started([(m, x * np.nan, v)])
    with pytest.raises(InputError, match="shapes"):
        started([(m[:2], x, v)])
    with pytest.raises(InputError, match="seeds is empty"):
        evaluate(FixedStep(1), [])
