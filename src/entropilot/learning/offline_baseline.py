"""A safe baseline from logged episodes, by pessimistic value iteration.

VI-LCB with Bernstein widths, as the offline part of StepMix (arXiv 2306.06265) uses it; the
published constants could not be checked, these are derived. With L = log(2HSAn/delta) and n_off
logged episodes:

    b = min(H, sqrt(c L Var_P^(V^) / n) + c H L / n),   Q^ = max(0, r - b + P^ V^),   n = 0: Q^ = 0
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.conservative_explorer import checked_episodes, count_transitions
from entropilot.learning.tabular_mdp import checked_rewards, start_distribution

Floats = NDArray[np.float64]


class OfflineBaseline(NamedTuple):
    """A deterministic policy and what its value is at least, with probability 1 - delta."""

    policy: Floats  # [H, S, A], one-hot
    lower: float


def offline_baseline(
    trajectories: tuple[ArrayLike, ArrayLike],
    r: ArrayLike,
    delta: float = 0.1,
    *,
    gamma: float | None = None,
    split: bool = False,
    width: float = 4.0,
    s1: ArrayLike = 0,
) -> OfflineBaseline:
    """Pessimistic value iteration over logged episodes.

    Args:
        trajectories: states [n, H + 1] and actions [n, H].
        r: rewards [H, S, A] in [0, 1].
        delta: chance of failure.
        gamma: raise when the lower value does not reach it.
        split: use the h-th of H parts at step h alone, for formal independence.
        width: the constant c of the bonus.
        s1: first state, or its distribution [S].

    Raises:
        InputError: episodes of a wrong length, unknown states, or too few data to reach gamma.
        ConfigurationError: delta outside (0, 1), a width that is not positive.

    Examples:
        >>> logs = np.zeros((500, 2), int), np.ones((500, 1), int)
        >>> found = offline_baseline(logs, np.array([[[0.5, 0.9]]]))
        >>> found.policy.tolist(), round(found.lower, 3)
        ([[[0.0, 1.0]]], 0.9)
    """
    rewards = checked_rewards(r)
    H, S, A = rewards.shape
    states, actions = checked_episodes(*(np.asarray(t) for t in trajectories), rewards.shape)
    n = len(states)
    if not n:
        raise InputError("no trajectories; a baseline needs logged episodes")
    if not 0 < delta < 1:
        raise ConfigurationError(f"delta is {delta}; expected a number between 0 and 1")
    if not width > 0:
        raise ConfigurationError(f"width is {width}; expected a positive number")
    N = np.zeros((H, S, A, S), np.int64)
    if split:
        for h, rows in enumerate(np.array_split(np.arange(n), H)):
            part = np.zeros_like(N)
            count_transitions(part, states[rows], actions[rows])
            N[h] = part[h]
    else:
        count_transitions(N, states, actions)
    log_factor = math.log(2 * H * S * A * n / delta)
    V, policy = np.zeros(S), np.zeros((H, S, A))
    for h in range(H - 1, -1, -1):
        totals = N[h].sum(axis=-1)
        P = N[h] / np.maximum(totals, 1)[..., None]
        mean = P @ V
        variance = (P * (V - mean[..., None]) ** 2).sum(axis=-1)
        visits = np.maximum(totals, 1)
        bonus = np.sqrt(width * log_factor * variance / visits) + width * H * log_factor / visits
        if h == H - 1:
            bonus = np.zeros_like(bonus)  # the reward is known, and nothing follows
        Q = np.maximum(0.0, rewards[h] - np.minimum(H, bonus) + mean)
        Q[totals == 0] = 0.0
        best = Q.argmax(axis=1)
        policy[h, np.arange(S), best] = 1.0
        V = Q.max(axis=1)
    lower = float(start_distribution(s1, S) @ V)
    if gamma is not None and lower < gamma:
        raise InputError(
            f"the offline lower value is {lower:.4g}, below gamma = {gamma:.4g}, after {n} "
            "trajectories; collect more of them (with actions that a good policy takes), or lower "
            "gamma"
        )
    return OfflineBaseline(policy, lower)
