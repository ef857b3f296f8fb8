"""The choice of a time step as a Gymnasium environment, ``entropilot/ThreeBody-v0``.

Importing this module registers it:

    import gymnasium, entropilot.physics.three_body_env
    env = gymnasium.make("entropilot/ThreeBody-v0", integrator="leapfrog")
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, require
from entropilot.physics.three_bodies import Array
from entropilot.physics.three_body_batch import (
    ACTIONS,
    StepTask,
    advanced,
    mu_of,
    observed,
    rewarded,
    started,
)

gymnasium = require("gymnasium", extra="physics", purpose="the three-body environment")

NAME: Final = "entropilot/ThreeBody-v0"
TRAINING_SEEDS: Final = 1000  # starts that a reset without options draws from
Cost = Literal["steps", "wall"]


class ThreeBodyEnv(gymnasium.Env):  # type: ignore[misc, name-defined]
    """One system; an action in 0..9 picks mu until the next check.

    Observation: Box of 13 float32 (or 3, see ``observed``). ``info`` holds ``energy_error``,
    ``n_steps`` of the interval, ``mu``, ``t`` and ``cost`` (of the interval, in steps or in seconds
    of wall time).

    ``reset(options={"seed": 7})`` begins at that start, ``options={"bodies": (m, x, v)}`` at bodies
    of one's own; without options the start is drawn from the training range.

    Args:
        cost: what ``info["cost"]`` counts.
        reference_terminals: report the time limit as termination, as the reference does.
        settings: of ``StepTask``.

    Raises:
        ConfigurationError: a setting out of range.
        MissingExtraError: gymnasium is not installed.

    Examples:
        >>> env = ThreeBodyEnv()
        >>> seen, info = env.reset(options={"seed": 0})
        >>> seen, reward, terminated, truncated, info = env.step(6)
        >>> seen.shape, reward, terminated, truncated, info["n_steps"]
        ((13,), 0.0, False, False, 3)
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self, *, cost: Cost = "steps", reference_terminals: bool = False, **settings: Any
    ) -> None:
        if cost not in ("steps", "wall"):
            raise ConfigurationError(f"cost is {cost!r}; expected 'steps' or 'wall'")
        self.task = StepTask(**settings)
        self.cost, self.reference_terminals = cost, reference_terminals
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        size = 13 if self.task.observation == "cartesian" else 3
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.systems = started(seeds=[0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        chosen = options or {}
        if "bodies" in chosen:
            m, x, v = (np.asarray(part, float) for part in chosen["bodies"])
            self.systems = started([(m, x, v)])
        else:
            start = chosen.get("seed")
            start = int(self.np_random.integers(TRAINING_SEEDS)) if start is None else int(start)
            self.systems = started(seeds=[start])
        return observed(self.systems, self.task)[0], self._info(float(ACTIONS[0]), 0, 0.0)

    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Advance to the next check with the mu of an action."""
        mu: Array = mu_of(np.asarray([action]))
        before, began = int(self.systems.steps[0]), time.perf_counter()
        self.systems = advanced(self.systems, mu, self.task)
        seconds = time.perf_counter() - began
        terminated = not abs(float(self.systems.error[0])) <= self.task.error_limit
        truncated = int(self.systems.number[0]) >= self.task.horizon
        if self.reference_terminals:
            terminated, truncated = terminated or truncated, False
        n_steps = int(self.systems.steps[0]) - before
        return (
            observed(self.systems, self.task)[0],
            float(rewarded(self.systems, mu, self.task)[0]),
            terminated,
            truncated,
            self._info(float(mu[0]), n_steps, seconds),
        )

    def _info(self, mu: float, n_steps: int, seconds: float) -> dict[str, Any]:
        return {
            "energy_error": float(self.systems.error[0]),
            "n_steps": n_steps,
            "mu": mu,
            "t": float(self.systems.t[0]),
            "short": int(self.systems.short[0]),
            "cost": seconds if self.cost == "wall" else float(n_steps),
        }


if NAME not in gymnasium.registry:
    gymnasium.register(NAME, entry_point=f"{__name__}:ThreeBodyEnv")
