"""Control of a knob: simulated plants, limits, units, checkpoints, a run that was killed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.models.transformer import SmallTransformer, TransformerConfig
from entropilot.policy.entropy_bonus import entropy_bonus
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.surrogates import clipped_ratio
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.training.bound_task import bind_token_task
from entropilot.policy.training.knob_control import (
    GAINS,
    LINEAR_SPAN,
    Controlled,
    KnobControl,
    KnobState,
    controlled,
    first_state,
    next_value,
)
from entropilot.policy.training.metrics_log import MEANINGS, METRICS_NAME, read_metrics
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Trainee
from entropilot.policy.training.trainer import train

PLAIN = KnobControl("coef", 0.7, low=1e-3, high=1.0)
LEVEL = GAINS["level"]._asdict()
Floats = NDArray[np.float64]


def change(control: KnobControl, **fields: Any) -> KnobControl:
    return dataclasses.replace(control, **fields)


def drifting(
    control: KnobControl,
    sensitivity: float,
    *,
    drift: float = 0.012,
    noise: float = 0.03,
    steps: int = 200,
    disturbed: Callable[[int], float] = lambda _n: 1.0,
) -> tuple[Floats, list[KnobState]]:
    """An entropy that falls by itself, and that a coefficient lifts with the lag of Adam.

    ``sensitivity`` 1 is what the default experiment has: a coefficient of 0.03 holds its entropy.
    Entropies are multiples of the first one; batches are noisy, and measured before the updates.
    """
    rng = np.random.default_rng(7)
    state, entropy, speed = first_state(control), 1.0, 0.0
    seen, states = [], []
    for n in range(steps):
        seen.append(entropy)
        acting = state.value
        state = next_value(control, state, entropy * float(np.exp(noise * rng.normal())))
        wanted = 0.4 * sensitivity * acting - drift * disturbed(n) * min(1.0, entropy / 0.4)
        speed += 0.2 * (wanted - speed)
        entropy = max(entropy + speed, 1e-3)
        states.append(state)
    return np.array(seen), states


@pytest.mark.parametrize("sensitivity", [0.5, 1, 2, 4, 8, 16])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_usual_gains_hold_the_set_point_for_a_range_of_plants(
    sensitivity: float, scale: Any
) -> None:
    high = 0.1 if scale == "log" else 0.1 / sensitivity  # a linear range has no decades
    control = change(PLAIN, high=high, low=1e-3 * high, scale=scale)
    seen, _ = drifting(control, sensitivity)
    assert seen[100:].mean() == pytest.approx(0.7, abs=0.02)
    assert np.abs(seen[100:] - 0.7).max() < 0.1  # no swing
    assert seen.min() > 0.5  # the first value of the knob may be six times too small


@pytest.mark.parametrize("sensitivity", [0.5, 1.0, 2.0, 4.0])
def test_temperature_holds_a_level_that_it_sets_at_once(sensitivity: float) -> None:
    """H = H_1 T^sensitivity, falling by itself."""
    control = change(PLAIN, **LEVEL, low=0.3, high=3.0, start=1.0)
    rng, state, seen = np.random.default_rng(3), first_state(control), []
    for n in range(200):
        entropy = math.exp(-0.004 * n) * state.value**sensitivity
        seen.append(entropy)
        state = next_value(control, state, entropy * float(np.exp(0.03 * rng.normal())))
    late = np.array(seen[40:])
    assert late.mean() == pytest.approx(0.7, abs=0.05)
    assert np.abs(late - 0.7).max() < 0.12


def test_no_windup_after_a_long_time_at_a_limit() -> None:
    """For 150 steps the entropy falls whatever the knob does; then it can be held again."""
    control = change(PLAIN, high=0.1)
    seen, states = drifting(control, 1.0, disturbed=lambda n: 8.0 if n < 150 else 1.0, steps=400)
    assert states[149].value == control.high
    back = int(np.argmax(seen[150:] > 0.65)) + 150
    assert seen[150:].max() < 0.85  # it does not shoot over
    assert seen[back + 60 :].mean() == pytest.approx(0.7, abs=0.03)
    wound = max(abs(state.integral) for state in states)
    assert wound < 2 * LINEAR_SPAN


def test_start_above_the_set_point_leaves_no_debt() -> None:
    seen, states = drifting(change(PLAIN, high=0.1), 1.0, noise=0.0)
    crossing = int(np.argmax(seen < 0.7))
    assert states[crossing].integral == pytest.approx(0.0, abs=1.0)
    assert min(seen) > 0.6


def test_knob_that_lowers_the_quantity_takes_negative_gains() -> None:
    control = change(PLAIN, gain=-16.0, integral_gain=-0.8, relative=False, set_point=0.5)
    state, x = first_state(control), 0.9
    for _ in range(300):
        state = next_value(control, state, x)
        x += 0.01 - 0.3 * state.value
    assert x == pytest.approx(0.5, abs=1e-3)


def test_slope_is_held_at_a_set_fall() -> None:
    control = change(PLAIN, set_point=-0.003, slope=True, high=0.1)
    seen, states = drifting(control, 1.0, steps=160)
    fitted = np.polyfit(np.arange(40, 160), seen[40:], 1)[0]
    assert fitted == pytest.approx(-0.003, abs=3e-4)
    assert states[0].error == 0.0  # the line begins at the first value


def test_slope_does_not_catch_up_after_a_limit() -> None:
    """What was lost while the knob was at its limit is not won back."""
    control = change(PLAIN, set_point=0.0, slope=True, high=0.1)
    seen, _ = drifting(control, 1.0, disturbed=lambda n: 5.0 if n < 60 else 1.0, steps=300)
    assert seen[60] < 0.7
    assert seen[150:].mean() == pytest.approx(seen[75:85].mean(), abs=0.15)
    assert np.polyfit(np.arange(150), seen[150:], 1)[0] == pytest.approx(0.0, abs=5e-4)


@given(st.floats(0.05, 1.0), st.lists(st.floats(0.01, 5), min_size=1, max_size=20))
def test_knob_moves_no_further_than_it_may(most: float, values: list[float]) -> None:
    control = change(PLAIN, largest_move=most)
    state = first_state(control)
    for value in values:
        following = next_value(control, state, value)
        assert abs(math.log(following.value / state.value)) <= most + 1e-9
        state = following


@given(
    st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=30),
    st.sampled_from(["linear", "log"]),
    st.booleans(),
)
def test_knob_never_leaves_its_limits(values: list[float], scale: Any, slope: bool) -> None:
    control = change(PLAIN, high=0.5, scale=scale, slope=slope, relative=slope)
    values = [1.0, *values]  # a slope is a share of the first value
    state = first_state(control)
    for value in values:
        state = next_value(control, state, value)
        assert control.low <= state.value <= control.high
        assert math.isfinite(state.integral)


@given(st.integers(1, 300), st.sampled_from(["linear", "log"]))
def test_knob_leaves_a_limit_as_soon_as_the_error_turns(steps: int, scale: Any) -> None:
    control = change(PLAIN, high=0.5, scale=scale, smoothing=0.0, relative=False)
    state = first_state(control)
    for _ in range(steps + 200):
        state = next_value(control, state, 0.01)  # far too low, for long
    assert state.value == control.high
    assert next_value(control, state, 0.9).value < control.high


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=20), st.sampled_from([2.0, 0.25]))
def test_relative_set_point_does_not_depend_on_the_unit(values: list[float], unit: float) -> None:
    control = PLAIN
    one, other = first_state(control), first_state(control)
    for value in values:  # powers of two scale without rounding
        one = next_value(control, one, value)
        other = next_value(control, other, value * unit)
        assert other.value == one.value
    assert one.first == values[0]


@given(st.lists(st.floats(0.01, 2), max_size=20), st.integers(0, 20))
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
        ({"start": 9.0}, "between low=0.001 and high=1.0"),
        ({"set_point": math.nan}, "set_point is nan"),
        ({"set_point": 0.0}, "errors are shares of the set point"),
        ({"smoothing": 1.0}, r"must be in \[0, 1\)"),
        ({"largest_move": 0.0}, "must be above 0"),
        ({"scale": "lin"}, "did you mean 'linear'"),
    ],
)
def test_bad_settings_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        change(PLAIN, **fields)


def test_multiple_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="is 0, so no multiple of it can be held"):
        next_value(PLAIN, first_state(PLAIN), 0.0)


BONUS = KnobControl("coef", 0.8, low=1e-3, high=1.0, start=0.01)
WARM = KnobControl("temperature", 1.1, low=0.5, high=2.0, start=1.0, **LEVEL)
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


def run(
    folder: Path, control: KnobControl = BONUS, settings: TrainSettings = SMALL, **fields: Any
) -> tuple[Any, Controlled]:
    task = ModularPaths(modulus=5, n_steps=2)
    config = TransformerConfig(task.n_vocab, width=16, heads=2, context=16)
    policy = SmallPolicy(SmallTransformer.seeded(config, 0))
    turned = controlled(with_bonus if control is BONUS else lambda _: Objective(), control)
    trainee = Trainee(
        policy,
        bind_token_task(task),
        turned.objective,
        settings,
        listeners=(turned.listen,),
        memory=turned.memory,
        temperature=turned.temperature,
    )
    rows = train(trainee, folder, **fields).rows
    weights = torch.cat([p.detach().flatten() for p in policy.parameters()])
    return ([{k: v for k, v in row.items() if k not in TIMES} for row in rows], weights), turned


class Killed(BaseException):
    """As sudden as a signal."""


@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("control", [BONUS, WARM])
def test_controlled_run_that_was_killed_ends_bit_equal(
    tmp_path: Path, at: int, control: KnobControl
) -> None:
    (rows, weights), whole = run(tmp_path / "whole", control)

    def kill(row: Mapping[str, Any]) -> None:
        if row["step"] == at:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "cut", control, progress=kill)
    (found, other), resumed = run(tmp_path / "cut", control)
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
        assert row["control/set_point"] == state.target
    assert turned.state == state
    assert "control/value" not in written[0]
    assert {name for name in rows[1] if name.startswith("control/")} <= set(MEANINGS)


def test_temperature_acts_in_sampling_and_in_every_logprob(tmp_path: Path) -> None:
    (rows, _), _ = run(tmp_path, WARM)
    values = [row["temperature"] for row in rows[1:]]
    assert values == [row["control/value"] for row in rows[1:]]
    assert len(set(values)) > 3
    for row in rows[1:]:  # sampler and trainer agree, so ratios are exact
        assert row["logprob_gap"] < 1e-5


def test_checkpoint_of_another_control_is_refused(tmp_path: Path) -> None:
    turned = controlled(with_bonus, BONUS)
    kept = turned.memory.save()
    other = controlled(lambda x: Objective(surrogate=clipped_ratio(0.2, x)), PLAIN)
    with pytest.raises(ConfigurationError, match="a control of 'coef', this run controls"):
        controlled(with_bonus, change(BONUS, knob="weight")).memory.load(kept)
    with pytest.raises(ConfigurationError, match="a control of None"):
        other.memory.load(None)


def test_limits_that_the_recipe_refuses_are_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="coef of the entropy bonus is -5"):
        controlled(with_bonus, change(PLAIN, low=-5.0, scale="linear"))


def test_missing_quantity_is_named() -> None:
    turned = controlled(with_bonus, change(BONUS, quantity="entropi"))
    turned.listen({"step": 0, "eval/entropy": 1.0})  # step 0 has no training metrics
    with pytest.raises(InputError, match=r"step 1 have no 'entropi'.* they have entropy, step"):
        turned.listen({"step": 1, "entropy": 1.0})
