"""Many three-body systems side by side, each a decision of its time step every tenth of a year.

The reinforcement-learning task of arXiv 2502.12809: an action picks mu, the systems are integrated
to the next check, and the reward weighs the energy error against the cost. Departures: a time limit
is truncation and no terminal state, and a system whose step is lost to rounding is an error and not
an endless loop.

Legend: n systems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, EntropilotError, InputError, unknown_name
from entropilot.physics.step_rewards import OPTIONS, WEIGHTS, Weights, step_reward
from entropilot.physics.three_bodies import (
    CHECK,
    PAIRS,
    Array,
    check_bodies,
    energy,
    initial_conditions,
    pair_lengths,
)

Integrator = Literal["hermite", "leapfrog", "ias15"]
Observation = Literal["cartesian", "distance"]

#: mu of each action: ten values from 1e-4 to 1e-1.
ACTIONS: Final[Array] = 10.0 ** (-4.0 + np.arange(10) / 3.0)
EPISODE: Final = 100  # decisions in training; evaluations take 300
MAX_STEPS: Final = 10_000_000  # of one interval


@dataclass(frozen=True)
class StepTask:
    """What a decision is about.

    Examples:
        >>> StepTask(horizon=0)
        Traceback (most recent call last):
        ...
        entropilot.errors.ConfigurationError: horizon is 0; expected at least 1
    """

    integrator: Integrator = "hermite"
    observation: Observation = "cartesian"
    reward: int = 5
    weights: Weights = WEIGHTS
    horizon: int = EPISODE  # decisions
    check: float = CHECK  # time between two decisions, N-body units
    error_limit: float = 0.1  # relative energy error that ends an episode
    max_steps: int = MAX_STEPS

    def __post_init__(self) -> None:
        """Name the first setting that is out of range."""
        for name, kind in (("integrator", Integrator), ("observation", Observation)):
            if getattr(self, name) not in get_args(kind):
                raise ConfigurationError(unknown_name(name, getattr(self, name), get_args(kind)))
        if self.reward not in OPTIONS:
            raise ConfigurationError(
                f"reward option {self.reward!r}; expected one of {', '.join(map(str, OPTIONS))}"
            )
        if self.horizon < 1:
            raise ConfigurationError(f"horizon is {self.horizon}; expected at least 1")
        for name in ("check", "error_limit", "max_steps"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must be above 0")


class Systems(NamedTuple):
    """State of n systems; ``advanced`` returns new ones and leaves these as they are."""

    m: Array  # [n, 3]
    x: Array  # [n, 3, 3]
    v: Array  # [n, 3, 3]
    t: Array  # [n]
    first_energy: Array  # [n]
    error: Array  # [n] relative, since the start; 1 at the start, as the reference has it
    before: Array  # [n] error one decision earlier
    number: NDArray[np.int64]  # [n] decisions so far
    steps: NDArray[np.int64]  # [n] integrator steps so far
    short: NDArray[np.int64]  # [n] intervals that ended early, see ``advanced``

    def part(self, mask: NDArray[Any]) -> Systems:
        """The systems that a mask or indices choose."""
        return Systems._make(values[mask] for values in self)

    def with_part(self, mask: NDArray[Any], part: Systems) -> Systems:
        """These systems with some of them replaced."""
        made = [values.copy() for values in self]
        for values, new in zip(made, part, strict=True):
            values[mask] = new
        return Systems._make(made)


def started(
    starts: list[tuple[Array, Array, Array]] | None = None, *, seeds: list[int] | None = None
) -> Systems:
    """Systems at their start, from bodies (m, x, v) or from seeds of ``initial_conditions``.

    Raises:
        InputError: bodies that can't be integrated, or of total energy 0, whose relative error
            means nothing.

    Examples:
        >>> started(seeds=[0, 1]).x.shape
        (2, 3, 3)
    """
    if (starts is None) == (seeds is None):
        raise InputError("give either starts or seeds")
    chosen = starts if starts is not None else [initial_conditions(s) for s in seeds or []]
    for m, x, v in chosen:
        check_bodies(m, x, v)
    m, x, v = (np.stack([np.asarray(one[i], float) for one in chosen]) for i in range(3))
    first = np.array([energy(*one) for one in chosen])
    if not np.all(first != 0):
        raise InputError(
            f"system {int(np.argmin(np.abs(first)))} has energy 0; its relative error is undefined"
        )
    n, one = len(chosen), np.ones(len(chosen))
    zeros = np.zeros(n, np.int64)
    counts = (zeros, zeros.copy(), zeros.copy())
    return Systems(m, x, v, np.zeros(n), first, one, one.copy(), *counts)


def advanced(systems: Systems, mu: Array, task: StepTask) -> Systems:
    """The systems at their next check.

    In an encounter so close that a step is below 1e-12 of the time, time can't be told forward any
    more. The interval ends there, as it does in the reference, and counts as ``short``.

    Args:
        systems: as they are.
        mu: [n] step over collision time; of ``ias15`` the tolerance is mu cubed, so that mu = 1e-3
            is REBOUND's default.
        task: integrator, interval and limit of steps.

    Raises:
        InputError: mu is not positive and finite.
        EntropilotError: an interval takes more than ``max_steps``; names time, pair and distance.

    Examples:
        >>> later = advanced(started(seeds=[0]), np.array([1e-2]), StepTask())
        >>> bool(abs(later.error[0]) < 1e-8), int(later.steps[0])
        (True, 3)
    """
    mu = np.asarray(mu, dtype=float)
    if not (np.isfinite(mu) & (mu > 0)).all():
        raise InputError(
            f"mu is {mu.tolist()}; each must be a number above 0, or a step never ends"
        )
    m, x, v, t = (values.copy() for values in systems[:4])
    end: Array = np.asarray((systems.number + 1) * task.check, dtype=np.float64)
    if task.integrator == "ias15":
        steps, found = _ias15(m, x, v, t, end, mu)
        short = np.zeros(len(t), bool)
    else:
        from entropilot.physics import three_body_kernels as kernels

        work = np.empty((len(t), 6, 3, 3))
        kind = kernels.HERMITE if task.integrator == "hermite" else kernels.LEAPFROG
        try:
            steps, ended, found = kernels.advance_batch(
                kind, m, x, v, t, end, mu, task.max_steps, work
            )
        except SystemError as wrapped:
            if _is_interrupt(wrapped):
                raise KeyboardInterrupt from None
            raise
        stuck = np.flatnonzero(ended == kernels.TOO_MANY)
        if len(stuck):
            raise EntropilotError(_stuck(int(stuck[0]), x, t, mu, task))
        short = ended == kernels.NO_PROGRESS
    error = (found - systems.first_energy) / systems.first_energy + 1e-20
    return Systems(
        m, x, v, t, systems.first_energy, error, systems.error,
        systems.number + 1, systems.steps + steps, systems.short + short,
    )  # fmt: skip


def observed(systems: Systems, task: StepTask) -> NDArray[np.float32]:
    """What a policy sees: [n, 13], or [n, 3] of ``distance``.

    Cartesian: x and y of the bodies over 10, their velocities, and -log10 of the error. Distance:
    the smallest distance over 10, the relative speed of that pair, and -log10 of the error.
    """
    n = len(systems.t)
    accuracy = -np.log10(np.maximum(np.abs(systems.error), 1e-20))[:, None]
    if task.observation == "cartesian":
        seen = [systems.x[:, :, :2].reshape(n, 6) / 10, systems.v[:, :, :2].reshape(n, 6), accuracy]
        return np.concatenate(seen, axis=1).astype(np.float32)
    distances, speeds = pair_lengths(systems.x), pair_lengths(systems.v)
    nearest = distances.argmin(axis=1)[:, None]
    seen = [np.take_along_axis(distances, nearest, 1) / 10]
    seen += [np.take_along_axis(speeds, nearest, 1), accuracy]
    return np.concatenate(seen, axis=1).astype(np.float32)


def rewarded(systems: Systems, mu: Array, task: StepTask) -> Array:
    """Reward [n] of the last decision; 0 for the first one of an episode."""
    made = step_reward(
        systems.error, systems.before, np.maximum(systems.number, 1).astype(float),
        np.asarray(mu, float), option=task.reward, weights=task.weights,
    )  # fmt: skip
    return np.where(systems.number <= 1, 0.0, made)


class ThreeBodyBatch:
    """n systems with Gymnasium's vector-like reset and step; systems that end stay as they are.

    Examples:
        >>> batch = ThreeBodyBatch(2)
        >>> seen = batch.reset(seeds=[0, 1])
        >>> seen, reward, terminated, truncated = batch.step(np.array([6, 6]))
        >>> seen.shape, reward.tolist(), terminated.any()
        ((2, 13), [0.0, 0.0], np.False_)
    """

    def __init__(self, n: int, task: StepTask | None = None) -> None:
        if n < 1:
            raise InputError(f"n is {n}; expected at least 1")
        self.n, self.task = n, task or StepTask()
        self.systems = started(seeds=list(range(n)))

    def reset(self, seeds: list[int]) -> NDArray[np.float32]:
        """Start anew from one seed a system."""
        if len(seeds) != self.n:
            raise InputError(f"{len(seeds)} seeds for {self.n} systems")
        self.systems = started(seeds=seeds)
        return observed(self.systems, self.task)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Array, NDArray[np.bool_], NDArray[np.bool_]]:
        """Advance by one interval: observation, reward, terminated, truncated.

        Raises:
            InputError: an action outside 0..9.
        """
        mu = mu_of(actions)
        self.systems = advanced(self.systems, mu, self.task)
        terminated = ~(np.abs(self.systems.error) <= self.task.error_limit)
        truncated = self.systems.number >= self.task.horizon
        reward = rewarded(self.systems, mu, self.task)
        return observed(self.systems, self.task), reward, terminated, truncated


def mu_of(actions: Any) -> Array:
    """The mu of each action.

    Raises:
        InputError: an action outside 0..9.

    Examples:
        >>> mu_of([0, 9]).tolist()
        [0.0001, 0.1]
    """
    chosen = np.asarray(actions)
    if not np.issubdtype(chosen.dtype, np.integer) or ((chosen < 0) | (chosen > 9)).any():
        raise InputError(f"action {chosen.tolist()}; expected whole numbers from 0 to 9")
    return np.asarray(ACTIONS[chosen])


def _ias15(
    m: Array, x: Array, v: Array, t: Array, end: Array, mu: Array
) -> tuple[NDArray[np.int64], Array]:
    """Advance with REBOUND's IAS15, in place: steps and energies."""
    from entropilot.errors import require

    rebound = require("rebound", extra="physics", purpose="the integrator ias15")
    steps = np.zeros(len(t), np.int64)
    for s in range(len(t)):
        simulation = rebound.Simulation()
        simulation.integrator = "ias15"
        simulation.integrator.epsilon = float(mu[s]) ** 3
        simulation.t = float(t[s])
        for i in range(3):
            x0, x1, x2 = map(float, x[s, i])
            v0, v1, v2 = map(float, v[s, i])
            simulation.add(m=float(m[s, i]), x=x0, y=x1, z=x2, vx=v0, vy=v1, vz=v2)
        simulation.integrate(float(end[s]), exact_finish_time=1)
        steps[s] = simulation.steps_done
        for i, body in enumerate(simulation.particles):
            x[s, i], v[s, i] = (body.x, body.y, body.z), (body.vx, body.vy, body.vz)
        t[s] = end[s]
    return steps, np.array([energy(m[s], x[s], v[s]) for s in range(len(t))])


def _is_interrupt(wrapped: SystemError) -> bool:
    """Whether Ctrl-C came while numba returned from a kernel; it wraps that, more than once."""
    cause: BaseException | None = wrapped
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__
    return cause is not None


def _stuck(s: int, x: Array, t: Array, mu: Array, task: StepTask) -> str:
    distances = pair_lengths(x[s])
    pair = PAIRS[int(distances.argmin())]
    return (
        f"system {s} took more than max_steps = {task.max_steps:,} steps at t = {t[s]:.6g} with "
        f"mu = {mu[s]:.3g}: bodies {pair[0]} and {pair[1]} are {distances.min():.3g} apart. Raise "
        "mu or max_steps, or give this start up"
    )
