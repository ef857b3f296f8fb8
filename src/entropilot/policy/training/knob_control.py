"""Hold the entropy of a run at a set point by turning one knob of a recipe.

A PI rule, as of a thermostat: what is too low now turns the knob at once, what stays too low keeps
turning it. The knob is any number that a recipe is built from: the width of a clip, a coefficient,
the share of tokens that learn. A knob of sampling, such as the temperature, is no part of an
objective and can't be turned here.

    error_n    = set_point - quantity_n
    integral_n = clip(integral_{n-1} + integral_gain error_n, low - start, high - start)
    knob_{n+1} = clip(start + gain error_n + integral_n, low, high)

On the scale "log" knob, start, low and high enter by their logarithms. The clip of the integral is
the anti-windup: however long the knob was at a limit, it leaves it as soon as the error turns.

The quantity of a step is measured on answers that were drawn before its updates, so a knob that is
turned after step n acts in step n + 1 and shows in the entropy of step n + 2. Gains must bear this
delay. Where the knob sets the drift of the quantity (b a step and unit of knob), as it mostly does
for an entropy, ``gain`` does the work: take about 0.2 / b, and a tenth of it for ``integral_gain``.
Where the knob sets the level that the quantity settles at (b a unit of knob), ``integral_gain``
does: take about 0.2 / b, and no ``gain``.

Source: ours; the textbook PI rule with a clamped integrator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.objective import Objective
from entropilot.policy.training.trainer import Memory

Scale = Literal["linear", "log"]
SCALES: Final[tuple[Scale, ...]] = get_args(Scale)


@dataclass(frozen=True)
class KnobControl:
    """Settings of a controller.

    Args:
        knob: name of what is turned, for the log and for messages.
        set_point: value to hold, in the quantity's unit; with ``relative`` a multiple of its first
            value, so that 0.7 holds 70 percent of the entropy that the run began with.
        quantity: name of a metric of each step, such as "entropy".
        gain: knob per unit of error ("log": logarithm of the knob). Negative where raising the
            knob lowers the quantity. Too large, the knob swings.
        integral_gain: knob per unit of error and step; without it an offset stays.
        low: least value of the knob; above 0 for "log".
        high: greatest value.
        scale: "log" for a knob that spans decades, as coefficients do.
        relative: errors are shares of the quantity's first value.
        start: first value of the knob; None takes the middle of low and high on the scale.
        slope: hold the change a step of the quantity, and not the quantity.

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> control = KnobControl("coef", 0.5, "entropy", 0.0, 0.1, low=0.0, high=1.0, start=0.2)
        >>> state = next_value(control, first_state(control), 0.3)
        >>> round(state.value, 3)  # too little entropy: the coefficient rises
        0.22
    """

    knob: str
    set_point: float
    quantity: str
    gain: float
    integral_gain: float
    low: float
    high: float
    scale: Scale = "linear"
    relative: bool = False
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
            for name in numbers
            if not math.isfinite(getattr(self, name))
        ]
        if self.scale not in SCALES:
            found.append(unknown_name("scale", self.scale, SCALES))
        if found:
            return found
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
        if self.gain == 0 and self.integral_gain == 0:
            found.append(
                f"both gains of {self.knob} are 0, so it would never move; give one of them"
            )
        if self.gain * self.integral_gain < 0:
            found.append(
                f"gain is {self.gain} and integral_gain {self.integral_gain}; they must have one "
                "sign, negative where raising the knob lowers the quantity"
            )
        outside = self.start is not None and not self.low <= self.start <= self.high
        if outside and self.low < self.high:
            found.append(
                f"start is {self.start}; it must lie between low={self.low} and high={self.high}"
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
    integral: float = 0.0  # on the scale
    first: float | None = None  # first value of the quantity
    previous: float | None = None  # last value of the quantity
    error: float | None = None  # last error, None before the first


def first_state(control: KnobControl) -> KnobState:
    """State before anything was measured.

    Examples:
        >>> control = KnobControl("coef", 0.5, "entropy", 1.0, 0.1, low=0.0, high=0.5)
        >>> first_state(control).value
        0.25
    """
    return KnobState(control.first_value)


def next_value(control: KnobControl, state: KnobState, measured: float) -> KnobState:
    """The knob after one more measurement; a pure function.

    A measurement that is not finite is passed over. With ``slope`` the first measurement gives no
    slope yet and leaves the knob.

    Args:
        control: settings.
        state: before.
        measured: the quantity, in its unit.

    Returns:
        State after, its value within [low, high].

    Raises:
        InputError: ``relative`` and the first measurement is 0.
    """
    if not math.isfinite(measured):
        return state
    first = measured if state.first is None else state.first
    seen: float | None = measured
    if control.slope:
        seen = None if state.previous is None else measured - state.previous
    if control.relative:
        if first == 0:
            raise InputError(
                f"the first {control.quantity} of the run is 0, so no multiple of it can be held; "
                "give the set point in its own unit (relative=False)"
            )
        seen = None if seen is None else seen / abs(first)
    if seen is None:
        return state._replace(first=first, previous=measured)
    error = control.set_point - seen
    limits = control.first_value, control.low, control.high
    start, low, high = (_position(control, value) for value in limits)
    integral = state.integral + control.integral_gain * error
    integral = min(max(integral, low - start), high - start)
    value = _value(control, start + control.gain * error + integral)
    return KnobState(value, integral, first, measured, error)


def _position(control: KnobControl, value: float) -> float:
    return math.log(value) if control.scale == "log" else value


def _value(control: KnobControl, position: float) -> float:
    """The knob at a position on its scale; beyond a limit the limit itself, without rounding."""
    if position <= _position(control, control.low):
        return control.low
    if position >= _position(control, control.high):
        return control.high
    value = math.exp(position) if control.scale == "log" else position
    return min(max(value, control.low), control.high)


class Controlled:
    """A recipe whose knob is turned after every step; see ``controlled``.

    It plugs into a trainee:

        Trainee(..., objective=run.objective, listeners=(run.listen,), memory=run.memory)
    """

    def __init__(self, recipe: Callable[[float], Objective], control: KnobControl) -> None:
        self.control = control
        self.state = first_state(control)
        self._recipe = recipe
        self._objective = recipe(self.state.value)

    @property
    def memory(self) -> Memory:
        """For checkpoints, so that a run that was stopped goes on bit-equal."""
        return Memory(self._save, self._load)

    def objective(self, _step: int) -> Objective:
        """The objective at the knob's present value."""
        return self._objective

    def listen(self, row: MutableMapping[str, Any]) -> None:
        """Read a row of metrics, add the knob's value to it, turn the knob.

        Adds ``control/value``, that acted in this step, ``control/error`` and ``control/at_limit``.
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
            states are kept by name.
        control: settings.

    Returns:
        What plugs into a trainee. It has a state, so make one for each run.

    Raises:
        ConfigurationError: the recipe refuses the first value, or either limit.

    Examples:
        >>> from entropilot.policy.surrogates import clipped_ratio
        >>> control = KnobControl("eps_high", 0.7, "entropy", 0.5, 0.05, 0.2, 0.6, relative=True)
        >>> run = controlled(lambda x: Objective(surrogate=clipped_ratio(0.2, x)), control)
        >>> run.listen({"step": 1, "entropy": 1.0})
        >>> run.listen({"step": 2, "entropy": 0.5})
        >>> 0.4 < run.state.value < 0.6
        True
    """
    for limit in (control.low, control.high):
        recipe(limit)
    return Controlled(recipe, control)
