"""Hold the entropy of a run at a set point by turning one knob.

A PI rule, as of a thermostat: what is too low now turns the knob at once, what stays too low keeps
turning it. The knob is any number that a recipe is built from (the width of a clip, a coefficient,
the share of tokens that learn), or the temperature of sampling. Everything is free of units: the
error is a share of the set point, the knob moves along the logarithm of its value.

    seen_n     = smoothing seen_{n-1} + (1 - smoothing) quantity_n
    error_n    = (target_n - seen_n) / |set point in the quantity's unit|
    wanted     = log start + gain error_n + integral_{n-1} + integral_gain error_n
    log knob_{n+1} = wanted, no further than largest_move from log knob_n, within [low, high]
    integral_n = integral_{n-1} + integral_gain error_n   unless a limit has cut wanted off and the
                 error would push further out

The last line is the anti-windup (conditional integration): however long the knob was at a limit,
it leaves it as soon as the error turns, and a start far from the set point leaves no debt behind.
On the scale "linear" the range from low to high counts as five units, as many as a range of 150 to
1 has on the scale "log".

With ``slope`` the target is a line that begins at the first value: holding the line holds the
slope, without the noise of single differences. While the knob is at a limit and can't follow, the
line starts again from what is seen.

Where the knob sets how fast the quantity drifts (a coefficient, a clip), ``GAINS["drift"]`` is for
you; where it sets the level at once (the temperature), ``GAINS["level"]``. Beside a drift of d a
step (a share of the set point), a coefficient that just cancels it moves the quantity by about d a
step and unit of its logarithm, whatever the task, which is why one pair of gains serves. The
quantity of a step is measured on answers that were drawn before its updates, and Adam turns over
ten updates, so a knob acts with a lag of several steps; in simulation the drift gains bear it for
sensitivities from half to 16 times that of the default experiment.

Source: ours; the textbook PI rule with conditional integration (Astrom and Hagglund, Advanced PID
Control, 2006, section 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.objective import Objective
from entropilot.policy.training.trainee import Memory

Scale = Literal["linear", "log"]
SCALES: Final[tuple[Scale, ...]] = get_args(Scale)

TEMPERATURE: Final = "temperature"  # the knob that is no part of a recipe
LINEAR_SPAN: Final = 5.0  # what a linear range counts as; log 150


class Gains(NamedTuple):
    """How strongly a knob answers.

    Examples:
        >>> GAINS["drift"].gain
        16.0
    """

    gain: float
    integral_gain: float


#: By what a knob does to the quantity: it sets its drift, or its level.
GAINS: Final = {"drift": Gains(16.0, 0.8), "level": Gains(0.2, 0.15)}


@dataclass(frozen=True)
class KnobControl:
    """Settings of a controller.

    Args:
        knob: name of what is turned, for the log and for messages; "temperature" is the one of
            sampling.
        set_point: value to hold, in the quantity's unit; with ``relative`` a multiple of its first
            value, so that 0.7 holds 70 percent of the entropy that the run began with. With
            ``slope`` the change a step, in the same unit.
        low: least value of the knob; above 0 for "log".
        high: greatest value. Take one that can do no harm if it acts for ten steps.
        quantity: name of a metric of each step, such as "entropy".
        gain: units of the scale per error; negative where raising the knob lowers the quantity.
            Too large, the knob swings.
        integral_gain: the same a step; without it an offset stays.
        smoothing: in [0, 1); share of the past in what is seen. 0.5 halves the noise of a batch.
        largest_move: > 0; units of the scale that the knob moves in a step at most.
        scale: "log" for a knob that spans decades, as coefficients do.
        relative: the set point is a multiple of the quantity's first value.
        start: first value of the knob; None takes the middle of low and high on the scale.
        slope: hold the change a step of the quantity, and not the quantity.

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> control = KnobControl("coef", 0.7, low=0.001, high=0.1)
        >>> state = next_value(control, first_state(control), 1.0)  # all is well: let it fall
        >>> state = next_value(control, state, 0.2)
        >>> round(control.first_value, 3), round(state.value, 3)
        (0.01, 0.01)
        >>> round(next_value(control, state, 0.2).value, 3)  # too little entropy: more bonus
        0.016
    """

    knob: str
    set_point: float
    low: float
    high: float
    quantity: str = "entropy"
    gain: float = GAINS["drift"].gain
    integral_gain: float = GAINS["drift"].integral_gain
    smoothing: float = 0.5
    largest_move: float = 0.5
    scale: Scale = "log"
    relative: bool = True
    start: float | None = None
    slope: bool = False

    def __post_init__(self) -> None:
        if problems := self._problems():
            raise ConfigurationError("\n".join(problems))

    def _problems(self) -> list[str]:
        """All that is wrong, a sentence each."""
        numbers = ("set_point", "gain", "integral_gain", "low", "high")
        found = [
            f"{name} is {getattr(self, name)}; expected a number"
            for name in (*numbers, "smoothing", "largest_move")
            if not math.isfinite(getattr(self, name))
        ]
        if self.scale not in SCALES:
            found.append(unknown_name("scale", self.scale, SCALES))
        return found or [*self._range_problems(), *self._rule_problems()]

    def _range_problems(self) -> list[str]:
        found = []
        if not self.low < self.high:
            found.append(
                f"the limits of {self.knob} are low={self.low} and high={self.high}; low must be "
                "below high"
            )
        if self.scale == "log" and not self.low > 0:
            found.append(
                f"low is {self.low}; on the scale 'log' it must be above 0. Use 'linear', or a "
                "small low such as 1e-4"
            )
        outside = self.start is not None and not self.low <= self.start <= self.high
        if outside and self.low < self.high:
            found.append(
                f"start is {self.start}; it must lie between low={self.low} and high={self.high}"
            )
        return found

    def _rule_problems(self) -> list[str]:
        found = []
        if self.gain == 0 and self.integral_gain == 0:
            found.append(
                f"both gains of {self.knob} are 0, so it would never move; give one of them"
            )
        if self.gain * self.integral_gain < 0:
            found.append(
                f"gain is {self.gain} and integral_gain {self.integral_gain}; they must have one "
                "sign, negative where raising the knob lowers the quantity"
            )
        if not 0 <= self.smoothing < 1:
            found.append(f"smoothing is {self.smoothing}; it must be in [0, 1)")
        if not self.largest_move > 0:
            found.append(f"largest_move is {self.largest_move}; it must be above 0")
        if self.set_point == 0 and not self.slope:
            found.append(
                f"set_point of {self.quantity} is 0, and errors are shares of the set point; give "
                "another one, or slope = true to hold the quantity still"
            )
        return found

    @property
    def first_value(self) -> float:
        """Value of the knob before anything was measured."""
        if self.start is not None:
            return self.start
        return _value(self, (_position(self, self.low) + _position(self, self.high)) / 2)


class KnobState(NamedTuple):
    """Memory of a controller; plain numbers, so that JSON keeps it bit for bit."""

    value: float  # of the knob
    integral: float = 0.0  # units of the scale
    first: float | None = None  # first value of the quantity
    seen: float | None = None  # smoothed quantity
    target: float | None = None  # where it should be, in the quantity's unit
    error: float | None = None  # last error, None before the first


def first_state(control: KnobControl) -> KnobState:
    """State before anything was measured.

    Examples:
        >>> first_state(KnobControl("coef", 0.5, low=0.0, high=0.5, scale="linear")).value
        0.25
    """
    return KnobState(control.first_value)


def next_value(control: KnobControl, state: KnobState, measured: float) -> KnobState:
    """The knob after one more measurement; a pure function.

    A measurement that is not finite is passed over.

    Args:
        control: settings.
        state: before.
        measured: the quantity, in its unit.

    Returns:
        State after, its value within [low, high].

    Raises:
        InputError: the set point is a multiple of the first measurement, and that is 0.
    """
    if not math.isfinite(measured):
        return state
    first = measured if state.first is None else state.first
    seen = measured
    if state.seen is not None:
        seen = control.smoothing * state.seen + (1 - control.smoothing) * measured
    unit = abs(first) if control.relative else 1.0
    target = control.set_point * unit
    scale = abs(target)
    if control.slope:
        target = first if state.target is None else state.target + target
        scale = abs(first)
    if scale == 0:
        raise InputError(
            f"the first {control.quantity} of the run is 0, so no multiple of it can be held; "
            "give the set point in its own unit (relative=False)"
        )
    error = (target - seen) / scale
    before = _position(control, state.value)
    low, high = _position(control, control.low), _position(control, control.high)
    pushed = control.integral_gain * error
    wanted = _position(control, control.first_value) + control.gain * error
    wanted += state.integral + pushed
    reached = min(max(wanted, before - control.largest_move), before + control.largest_move)
    reached = min(max(reached, low), high)
    is_cut_off = (wanted - reached) * (control.gain + control.integral_gain) * error > 0
    if is_cut_off and control.slope and reached in (low, high):
        target = seen
    integral = state.integral if is_cut_off else state.integral + pushed
    return KnobState(_value(control, reached), integral, first, seen, target, error)


def _position(control: KnobControl, value: float) -> float:
    """Units of the scale."""
    if control.scale == "log":
        return math.log(value)
    return LINEAR_SPAN * (value - control.low) / (control.high - control.low)


def _value(control: KnobControl, position: float) -> float:
    """The knob at a position on its scale; beyond a limit the limit itself, without rounding."""
    if position <= _position(control, control.low):
        return control.low
    if position >= _position(control, control.high):
        return control.high
    if control.scale == "log":
        value = math.exp(position)
    else:
        value = control.low + position / LINEAR_SPAN * (control.high - control.low)
    return min(max(value, control.low), control.high)


class Controlled:
    """A recipe whose knob is turned after every step; see ``controlled``.

    It plugs into a trainee:

        Trainee(..., objective=run.objective, listeners=(run.listen,), memory=run.memory,
                temperature=run.temperature)
    """

    def __init__(self, recipe: Callable[[float], Objective], control: KnobControl) -> None:
        self.control = control
        self.state = first_state(control)
        self._recipe = recipe
        self._objective = recipe(self.state.value)

    @property
    def temperature(self) -> Callable[[int], float] | None:
        """For a trainee: of sampling in a step; None where the knob is one of the recipe."""
        return (lambda _step: self.state.value) if self.control.knob == TEMPERATURE else None

    @property
    def memory(self) -> Memory:
        """For checkpoints, so that a run that was stopped goes on bit-equal."""
        return Memory(self._save, self._load)

    def objective(self, _step: int) -> Objective:
        """The objective at the knob's present value."""
        return self._objective

    def listen(self, row: MutableMapping[str, Any]) -> None:
        """Read a row of metrics, add the knob's value to it, turn the knob.

        Adds ``control/value``, that acted in this step, ``control/set_point`` in the quantity's
        unit, ``control/error`` and ``control/at_limit``.
        A row without the quantity, as that of step 0, is left alone.
        """
        measured = row.get(self.control.quantity)
        if measured is None:
            if int(row.get("step", 0)) > 0:
                raise InputError(
                    f"the metrics of step {row['step']} have no {self.control.quantity!r}, which "
                    f"the control of {self.control.knob} holds; they have {', '.join(sorted(row))}"
                )
            return
        before = self.state.value
        self._turn(next_value(self.control, self.state, float(measured)))
        at_limit = before in (self.control.low, self.control.high)
        row.update({"control/value": before, "control/at_limit": float(at_limit)})
        if self.state.error is not None:
            row["control/set_point"] = self.state.target
            row["control/error"] = self.state.error

    def _turn(self, state: KnobState) -> None:
        if state.value != self.state.value:
            self._objective = self._recipe(state.value)
        self.state = state

    def _save(self) -> dict[str, Any]:
        return {"knob": self.control.knob, **self.state._asdict()}

    def _load(self, kept: Mapping[str, Any] | None) -> None:
        found = dict(kept or {})
        knob = found.pop("knob", None)
        if knob != self.control.knob:
            raise ConfigurationError(
                f"the checkpoint holds a control of {knob!r}, this run controls "
                f"{self.control.knob!r}. Name another folder"
            )
        self._turn(KnobState(**found))


def controlled(recipe: Callable[[float], Objective], control: KnobControl) -> Controlled:
    """A recipe that is a function of one number, with a controller on that number.

    When this does nothing: at the set point, and at a limit of the knob (``control/at_limit`` 1):
    then the set point is out of the knob's reach, and wider limits or another knob are needed. A
    knob of a term that is idle (a clip with one update a rollout) moves to its limit without
    effect. It holds what it measures and promises nothing of the reward.

    Args:
        recipe: from the knob's value to the objective. Terms must keep their names, since their
            states are kept by name. The knob "temperature" is turned in sampling, and the recipe
            may leave it aside.
        control: settings.

    Returns:
        What plugs into a trainee. It has a state, so make one for each run.

    Raises:
        ConfigurationError: the recipe refuses the first value, or either limit.

    Examples:
        >>> from entropilot.policy.surrogates import clipped_ratio
        >>> control = KnobControl("eps_high", 0.7, low=0.1, high=1.6)
        >>> run = controlled(lambda x: Objective(surrogate=clipped_ratio(0.2, x)), control)
        >>> run.listen({"step": 1, "entropy": 1.0})
        >>> run.listen({"step": 2, "entropy": 0.4})  # all is well: still above 0.7 with the past
        >>> run.listen({"step": 3, "entropy": 0.4})
        >>> run.state.value > 0.4  # the clip is wider than at the start
        True
    """
    for limit in (control.low, control.high):
        recipe(limit)
    return Controlled(recipe, control)
