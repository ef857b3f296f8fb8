"""Who chooses the time step of three bodies, and how well: fixed, random, by error, by a network.

Legend: n systems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.physics.three_bodies import Array, pair_lengths
from entropilot.physics.three_body_batch import (
    StepTask,
    Systems,
    advanced,
    mu_of,
    observed,
    started,
)

Actions = NDArray[np.int64]
EVALUATED: int = 300  # decisions
TRIES: int = 4  # of one interval, where a policy may reject
FAR: float = 1.5  # decades over its share from which a retry goes down by two
SPARE: float = 2.0  # decades below its share from which a step grows


class StepPolicy(Protocol):
    """Chooses an action a system; sees what happened to its last one."""

    def start(self, n: int, /) -> None:
        """Forget the last episode; n systems begin."""

    def act(self, seen: NDArray[np.float32], /) -> Actions:
        """Actions [n] in 0..9 from observations [n, 13]."""

    def review(self, change: Array, which: NDArray[np.bool_], /) -> NDArray[np.bool_]:
        """Hear the change of the error [n] of the systems in ``which``; says whose to redo [n]."""


@dataclass
class FixedStep:
    """One mu for all.

    Examples:
        >>> FixedStep(6).act(np.zeros((2, 13), np.float32)).tolist()
        [6, 6]
    """

    action: int

    def start(self, _n: int, /) -> None:
        """Nothing to forget."""

    def act(self, seen: NDArray[np.float32], /) -> Actions:
        """The same action for each."""
        return np.full(len(seen), self.action)

    def review(self, change: Array, _which: NDArray[np.bool_], /) -> NDArray[np.bool_]:
        """Nothing is redone."""
        return np.zeros(len(change), bool)


@dataclass
class RandomStep:
    """Any of the ten, at random."""

    seed: int = 0
    _draws: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._draws = np.random.default_rng(self.seed)

    def start(self, _n: int, /) -> None:
        """Draw as in the first episode."""
        self._draws = np.random.default_rng(self.seed)

    def act(self, seen: NDArray[np.float32], /) -> Actions:
        """Ten actions, alike."""
        return self._draws.integers(10, size=len(seen))

    def review(self, change: Array, _which: NDArray[np.bool_], /) -> NDArray[np.bool_]:
        """Nothing is redone."""
        return np.zeros(len(change), bool)


@dataclass
class ErrorController:
    """Holds the change of the energy error in an interval below its share of a target; no training.

    The target is usually met and is no bound: one close encounter between two checks may spend
    more. With ``allow_reject`` a bad interval is undone and redone with smaller steps.

    Args:
        target: relative energy error wanted at the end of the horizon.
        horizon: decisions.
        allow_reject: undo bad intervals, at most four times each.

    Raises:
        InputError: target or horizon is not positive.

    Examples:
        >>> controller = ErrorController(1e-6)
        >>> controller.start(1)
        >>> controller.act(np.zeros((1, 13), np.float32)).tolist()
        [5]
        >>> bool(controller.review(np.array([1e-3]), np.array([True]))[0])  # lowers the next step
        False
        >>> controller.act(np.zeros((1, 13), np.float32)).tolist()
        [4]
    """

    target: float
    horizon: int = EVALUATED
    allow_reject: bool = False
    _actions: Actions = field(init=False, repr=False)
    _tries: Actions = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.target > 0 or self.horizon < 1:
            raise InputError(
                f"target is {self.target} and horizon {self.horizon}; both must be above 0"
            )
        self.start(1)

    def start(self, n: int, /) -> None:
        """Begin in the middle of the range."""
        self._actions, self._tries = np.full(n, 5), np.zeros(n, np.int64)

    def act(self, _seen: NDArray[np.float32], /) -> Actions:
        """The action that the last errors call for."""
        return self._actions.copy()

    def review(self, change: Array, which: NDArray[np.bool_], /) -> NDArray[np.bool_]:
        """Move each action by its last error; redo where that was too large and can be mended."""
        over = decades_over(change, self.target, self.horizon)
        redo = which & (over > 0) & (self._actions > 0) & (self._tries < TRIES)
        redo &= self.allow_reject
        moved = next_action(self._actions, over) - (redo & (over > FAR))
        self._actions = np.where(which, np.maximum(moved, 0), self._actions)
        self._tries = np.where(which, np.where(redo, self._tries + 1, 0), self._tries)
        return np.asarray(redo)


def decades_over(change: Array, target: float, horizon: int) -> Array:
    """Decades by which an interval's change of the error exceeds its share of the target.

    Args:
        change: [n] of the relative energy error in an interval.
        target: relative energy error wanted at the end.
        horizon: decisions that share it.

    Examples:
        >>> decades_over(np.array([1e-3, 1e-12]), 1e-4, 100).round(9).tolist()
        [3.0, -6.0]
    """
    spent = np.log10(np.maximum(np.abs(change), 1e-300))
    return np.asarray(spent - float(np.log10(target) - np.log10(horizon)))


def next_action(actions: Actions, over: Array) -> Actions:
    """Actions of an error controller that redoes nothing: one down, one up, or the same.

    Args:
        actions: [n] of the last interval.
        over: [n] decades over its share of the target, see ``decades_over``.

    Examples:
        >>> next_action(np.array([5, 5, 5]), np.array([3.0, -6.0, -1.0])).tolist()
        [4, 6, 5]
    """
    moved = actions - (over > 0).astype(np.int64) + (over < -SPARE).astype(np.int64)
    return np.asarray(np.clip(moved, 0, 9))


class Evaluated(NamedTuple):
    """How a policy did on a number of starts.

    Examples:
        >>> found = evaluate(FixedStep(9), [100000], horizon=5)
        >>> found.summary()["n"]
        1
    """

    error: Array  # [n] |relative energy error| at the end
    steps: NDArray[np.int64]  # [n] integrator steps, those of rejected intervals included
    actions: NDArray[np.int64]  # [n, horizon]
    errors: Array  # [n, horizon] along the way
    distances: Array  # [n, horizon] smallest distance of a pair at each check
    short: NDArray[np.int64]  # [n] intervals cut short by an encounter below float resolution

    def summary(self) -> dict[str, float]:
        """Mean, median and worst log10 of the error, and mean log10 of the steps."""
        decades = np.log10(np.maximum(self.error, 1e-16))
        return {
            "n": len(self.error),
            "mean": float(decades.mean()),
            "median": float(np.median(decades)),
            "worst": float(decades.max()),
            "log_steps": float(np.log10(self.steps).mean()),
        }


def evaluate(
    policy: StepPolicy,
    seeds: Sequence[int],
    *,
    horizon: int = EVALUATED,
    task: StepTask | None = None,
    progress: Callable[[float, str], None] = lambda _share, _doing: None,
) -> Evaluated:
    """Run a policy on starts; a system whose error passes the limit of the task stays there.

    Args:
        policy: who chooses.
        seeds: of the starts; those of 100000 and above are never trained on.
        horizon: decisions.
        task: integrator, observation and limit of the error; its horizon is not used.
        progress: called with the share done.

    Raises:
        InputError: no seed.
        EntropilotError: an interval that does not end.
    """
    if not len(seeds):
        raise InputError("seeds is empty; give at least one")
    chosen = task or StepTask()
    systems = started(seeds=list(seeds))
    policy.start(len(seeds))
    taken: list[Any] = []
    for number in range(horizon):
        going = (np.abs(systems.error) <= chosen.error_limit) | (systems.number == 0)
        actions = policy.act(observed(systems, chosen))
        after, redo = systems, going
        while redo.any():
            if after is not systems:
                actions = np.where(redo, policy.act(observed(systems, chosen)), actions)
            tried = advanced(systems.part(redo), mu_of(actions[redo]), chosen)
            lost = after.steps[redo] - systems.steps[redo]  # what was undone has its cost
            after = after.with_part(redo, tried._replace(steps=tried.steps + lost))
            redo = policy.review(after.error - _so_far(systems), redo)
        systems = after
        taken.append((actions, np.abs(systems.error), pair_lengths(systems.x).min(axis=-1)))
        progress((number + 1) / horizon, f"check {number + 1}/{horizon}")
    actions, errors, distances = (np.stack(values, axis=1) for values in zip(*taken, strict=True))
    found = (np.abs(systems.error), systems.steps, actions, errors, distances, systems.short)
    return Evaluated(*found)


def _so_far(systems: Systems) -> Array:
    """Error until now; 0 at the start, where 1 stands for it."""
    return np.where(systems.number > 0, systems.error, 0.0)
