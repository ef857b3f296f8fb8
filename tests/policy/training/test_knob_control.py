"""Control of a knob: simulated plants, limits, units, checkpoints, a run that was killed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.entropy_bonus import entropy_bonus
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.surrogates import clipped_ratio
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.training.bound_task import bind_token_task
from entropilot.policy.training.knob_control import (
    Controlled,
    KnobControl,
    KnobState,
    controlled,
    first_state,
    next_value,
)
from entropilot.policy.training.metrics_log import MEANINGS, METRICS_NAME, read_metrics
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainer import Trainee, train

PLAIN = KnobControl("coef", 0.5, "entropy", 0.2, 0.02, low=-5.0, high=5.0)


def change(control: KnobControl, **fields: Any) -> KnobControl:
    return dataclasses.replace(control, **fields)


def simulate(
    control: KnobControl, plant: Callable[[float, float], float], first: float, steps: int
) -> tuple[list[float], list[KnobState]]:
    """Quantity and state step by step, with the trainer's delay of one step."""
    state, quantity, acting = first_state(control), first, control.first_value
    seen, states = [], []
    for _ in range(steps):
        seen.append(quantity)
        following = next_value(control, state, quantity)
        quantity = plant(quantity, acting)  # the knob of before: measured ahead of the updates
        state, acting = following, following.value
        states.append(state)
    return seen, states


@given(st.floats(0.1, 0.95), st.floats(0.1, 10), st.floats(0.05, 0.5), st.floats(-1, 1))
@settings(max_examples=50, deadline=None)
def test_error_dies_out_as_the_theory_says(a: float, b: float, rate: float, load: float) -> None:
    """Gains that cancel the pole of a plant at rest leave the error (1 - rate)^n, without delay."""
    gains = {"gain": a * rate / b, "integral_gain": (1 - a) * rate / b}
    control = change(PLAIN, **gains, low=-1e4, high=1e4)
    state = first_state(control)
    rest = x = load / (1 - a)  # at the first value of the knob, which is 0
    for n in range(30):
        state = next_value(control, state, x)
        assert state.error == pytest.approx((0.5 - rest) * (1 - rate) ** n, abs=1e-9)
        x = a * x + b * state.value + load


@given(st.floats(0.02, 0.5), st.floats(-2, 2), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_drifting_entropy_is_held_at_the_set_point(b: float, drift: float, first: float) -> None:
    """The knob sets the drift, as a coefficient does; some drift is there without it."""
    control = change(PLAIN, gain=0.2 / b, integral_gain=0.02 / b, low=-1e3, high=1e3)
    seen, states = simulate(control, lambda x, v: x + b * (v - drift), first, 400)
    assert seen[-1] == pytest.approx(0.5, abs=1e-3)
    assert states[-1].value == pytest.approx(drift, abs=1e-2)  # no offset is left


@given(st.floats(0.0, 0.9), st.floats(0.1, 5), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_level_that_the_knob_sets_is_held(a: float, b: float, first: float) -> None:
    control = change(PLAIN, gain=0.0, integral_gain=0.2 * (1 - a) / b, low=-1e3, high=1e3)
    seen, _ = simulate(control, lambda x, v: a * x + (1 - a) * b * v, first, 600)
    assert seen[-1] == pytest.approx(0.5, abs=1e-3)


def test_knob_that_lowers_the_quantity_takes_negative_gains() -> None:
    control = change(PLAIN, gain=-0.5, integral_gain=-0.05)
    seen, _ = simulate(control, lambda x, v: x - 0.2 * v + 0.05, 2.0, 300)
    assert seen[-1] == pytest.approx(0.5, abs=1e-3)


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=30),
    st.sampled_from(["linear", "log"]),
    st.booleans(),
)
def test_knob_never_leaves_its_limits(values: list[float], scale: Any, slope: bool) -> None:
    control = change(PLAIN, low=1e-3, high=0.5, scale=scale, slope=slope)
    state = first_state(control)
    for value in values:
        state = next_value(control, state, value)
        assert control.low <= state.value <= control.high
        assert math.isfinite(state.integral)


@given(st.integers(1, 500), st.sampled_from(["linear", "log"]))
def test_knob_leaves_a_limit_as_soon_as_the_error_turns(steps: int, scale: Any) -> None:
    control = change(PLAIN, low=1e-3, high=0.5, scale=scale)
    state = first_state(control)
    for _ in range(steps + 200):
        state = next_value(control, state, -10.0)  # far too low, for long
    assert state.value == control.high
    assert next_value(control, state, 0.6).value < control.high


def test_slope_is_held_at_a_set_fall() -> None:
    control = change(PLAIN, set_point=-0.01, slope=True, gain=0.0, integral_gain=0.5)
    seen, states = simulate(control, lambda x, v: x + 0.3 * v - 0.05, 3.0, 200)
    assert seen[-1] - seen[-2] == pytest.approx(-0.01, abs=1e-6)
    assert states[0].error is None  # one value has no slope


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=20), st.sampled_from([2.0, 0.25]))
def test_relative_set_point_does_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    control = change(PLAIN, relative=True, set_point=0.7)
    one, other = first_state(control), first_state(control)
    for value in values:  # powers of two scale without rounding
        one = next_value(control, one, value)
        other = next_value(control, other, value * unit)
        assert other.value == one.value
    assert one.first == values[0]


@given(st.lists(st.floats(-2, 2), max_size=20), st.integers(0, 20))
def test_state_goes_through_json_bit_for_bit(values: list[float], at: int) -> None:
    whole = cut = first_state(PLAIN)
    for number, value in enumerate(values):
        if number == at:
            cut = KnobState(**json.loads(json.dumps(cut._asdict())))
        whole, cut = next_value(PLAIN, whole, value), next_value(PLAIN, cut, value)
    assert cut == whole


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low must be below high"),
        ({"scale": "log", "low": 0.0}, "must be above 0"),
        ({"gain": 0.0, "integral_gain": 0.0}, "would never move"),
        ({"gain": 1.0, "integral_gain": -0.1}, "one sign"),
        ({"start": 9.0}, "between low=-5.0 and high=5.0"),
        ({"set_point": math.nan}, "set_point is nan"),
        ({"scale": "lin"}, "did you mean 'linear'"),
    ],
)
def test_bad_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        change(PLAIN, **fields)


def test_multiple_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="is 0, so no multiple of it can be held"):
        next_value(change(PLAIN, relative=True), first_state(PLAIN), 0.0)


BONUS = KnobControl(
    "coef", 0.8, "entropy", 5.0, 0.5, low=1e-3, high=1.0, scale="log", relative=True, start=0.01
)
SMALL = TrainSettings(
    steps=6,
    n_prompts=4,
    n_answers=4,
    n_eval_problems=2,
    n_eval_answers=2,
    evaluate_every=0,
    checkpoint_every=2,
    learning_rate=3e-3,
)
TIMES = {"seconds", "seconds_rollout", "tokens_per_second"}


def with_bonus(coef: float) -> Objective:
    return Objective(regularisers=(entropy_bonus(coef),))


def run(folder: Path, run_settings: TrainSettings = SMALL, **fields: Any) -> tuple[Any, Controlled]:
    task = ModularPaths(modulus=5, n_steps=2)
    config = TransformerConfig(task.n_vocab, width=16, heads=2, context=16)
    policy = SmallPolicy(SmallTransformer.seeded(config, 0))
    turned = controlled(with_bonus, BONUS)
    trainee = Trainee(
        policy,
        bind_token_task(task),
        turned.objective,
        run_settings,
        listeners=(turned.listen,),
        memory=turned.memory,
    )
    rows = train(trainee, folder, **fields).rows
    weights = torch.cat([p.detach().flatten() for p in policy.parameters()])
    return ([{k: v for k, v in row.items() if k not in TIMES} for row in rows], weights), turned


class Killed(BaseException):
    """As sudden as a signal."""


@pytest.mark.parametrize("at", [1, 3, 5])
def test_controlled_run_that_was_killed_ends_bit_equal(tmp_path: Path, at: int) -> None:
    (rows, weights), whole = run(tmp_path / "whole")

    def kill(row: Mapping[str, Any]) -> None:
        if row["step"] == at:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "cut", progress=kill)
    (found, other), resumed = run(tmp_path / "cut")
    assert found == rows
    assert torch.equal(other, weights)
    assert resumed.state == whole.state


def test_rows_show_the_knob_that_acted(tmp_path: Path) -> None:
    (rows, _), turned = run(tmp_path)
    written = read_metrics(tmp_path / METRICS_NAME)
    values = [row["control/value"] for row in written[1:]]
    assert values[0] == 0.01
    assert len(set(values)) > 1
    for row in written[1:]:  # the value that is shown is the one in the loss
        assert row["entropy-bonus/coef"] == pytest.approx(row["control/value"], rel=1e-12)
    state = first_state(BONUS)
    for row in written[1:]:
        assert row["control/value"] == state.value
        state = next_value(BONUS, state, row["entropy"])
        assert row["control/error"] == state.error
    assert turned.state == state
    assert "control/value" not in written[0]
    assert {name for name in rows[1] if name.startswith("control/")} <= set(MEANINGS)


def test_checkpoint_of_another_control_is_refused(tmp_path: Path) -> None:
    turned = controlled(with_bonus, BONUS)
    kept = turned.memory.save()
    other = controlled(lambda x: Objective(surrogate=clipped_ratio(0.2, x)), change(PLAIN, low=0.0))
    with pytest.raises(ConfigurationError, match="a control of 'coef', this run controls"):
        controlled(with_bonus, change(BONUS, knob="weight")).memory.load(kept)
    with pytest.raises(ConfigurationError, match="a control of None"):
        other.memory.load(None)


def test_limits_that_the_recipe_refuses_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="coef of the entropy bonus is -5"):
        controlled(with_bonus, PLAIN)


def test_missing_quantity_is_named() -> None:
    turned = controlled(with_bonus, change(BONUS, quantity="entropi"))
    turned.listen({"step": 0, "eval/entropy": 1.0})  # step 0 has no training metrics
    with pytest.raises(InputError, match=r"step 1 have no 'entropi'.* they have entropy, step"):
        turned.listen({"step": 1, "entropy": 1.0})
