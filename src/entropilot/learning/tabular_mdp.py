"""A finite decision process of a few steps: exact values, the best policy, rollouts.

S states, A actions, H steps; step h = 0 to H - 1 has its own transitions and rewards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROW_SUM = 1e-8  # how far a row of probabilities may be from 1


class Optimum(NamedTuple):
    """Values of the best policy, and that policy."""

    V: Floats  # [H + 1, S]
    Q: Floats  # [H, S, A]
    policy: Floats  # [H, S, A], one-hot; ties go to the lowest action


@dataclass(frozen=True)
class TabularMDP:
    """Transitions P [H, S, A, S], rewards r [H, S, A] in [0, 1], and where an episode starts.

    Args:
        P: probabilities; every row P[h, s, a] sums to 1 within 1e-8.
        r: known rewards in [0, 1], so that a return lies in [0, H].
        s1: the state an episode starts in, or a distribution over states [S].

    Raises:
        InputError: names the h, s, a of a bad row.

    Examples:
        >>> P = np.full((2, 1, 2, 1), 1.0)
        >>> mdp = TabularMDP(P, np.array([[[0.0, 1.0]], [[0.5, 0.25]]]))
        >>> mdp.optimal().V[0].tolist()
        [1.5]
    """

    P: Floats
    r: Floats
    s1: int | Sequence[float] | Floats = 0

    def __post_init__(self) -> None:
        P = np.ascontiguousarray(self.P, np.float64)
        if P.ndim != 4 or P.shape[1] != P.shape[3] or 0 in P.shape:
            raise InputError(f"P has shape {P.shape}; expected [H, S, A, S]")
        bad = ~np.isfinite(P).all(-1) | (P < 0).any(-1) | (np.abs(P.sum(-1) - 1) > ROW_SUM)
        if bad.any():
            h, s, a = np.argwhere(bad)[0]
            row = P[h, s, a]
            raise InputError(
                f"P[h={h}, s={s}, a={a}] has the sum {row.sum():.6g} and the least entry "
                f"{row.min():.4g}; expected probabilities that sum to 1. Divide counts by their "
                f"sum ({int(bad.sum())} such rows)"
            )
        object.__setattr__(self, "P", P)
        object.__setattr__(self, "r", checked_rewards(self.r, P.shape[:3]))
        object.__setattr__(self, "s1", start_distribution(self.s1, P.shape[1]))

    @property
    def start(self) -> Floats:
        """Distribution of the first state [S]."""
        return np.asarray(self.s1, np.float64)

    def optimal(self) -> Optimum:
        """Backward induction."""
        H, S, A = self.r.shape
        V, Q, policy = np.zeros((H + 1, S)), np.zeros((H, S, A)), np.zeros((H, S, A))
        for h in range(H - 1, -1, -1):
            Q[h] = self.r[h] + self.P[h] @ V[h + 1]
            best = Q[h].argmax(axis=1)
            policy[h, np.arange(S), best] = 1.0
            V[h] = Q[h].max(axis=1)
        return Optimum(V, Q, policy)

    def value(self, pi: ArrayLike) -> float:
        """Expected return of a policy [H, S, A] from the start.

        Raises:
            InputError: rows that are no distributions.
        """
        policy = checked_policy(pi, self.r.shape)
        V = np.zeros(self.r.shape[1])
        for h in range(len(self.r) - 1, -1, -1):
            V = (policy[h] * (self.r[h] + self.P[h] @ V)).sum(axis=1)
        return float(self.start @ V)

    def rollout(self, pi: ArrayLike, n: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
        """Play n episodes: states [n, H + 1] and actions [n, H].

        Args:
            pi: policy [H, S, A].
            n: episodes.
            rng: where draws come from.

        Raises:
            InputError: rows that are no distributions.
        """
        policy = checked_policy(pi, self.r.shape)
        H = len(self.r)
        states, actions = np.empty((n, H + 1), np.int64), np.empty((n, H), np.int64)
        states[:, 0] = rng.choice(len(self.start), size=n, p=self.start / self.start.sum())
        for h in range(H):
            actions[:, h] = _draws(policy[h, states[:, h]], rng)
            states[:, h + 1] = _draws(self.P[h, states[:, h], actions[:, h]], rng)
        return states, actions


def _draws(rows: Floats, rng: np.random.Generator) -> Integers:
    ends = np.cumsum(rows, axis=1)
    x = rng.random(len(rows)) * ends[:, -1]
    found: Integers = (ends <= x[:, None]).sum(axis=1)
    return found


def checked_rewards(r: ArrayLike, shape: tuple[int, ...] | None = None) -> Floats:
    """Rewards [H, S, A] in [0, 1].

    Raises:
        InputError: another shape, or rewards outside [0, 1].

    Examples:
        >>> checked_rewards(np.zeros((1, 2, 3))).shape
        (1, 2, 3)
    """
    rewards = np.ascontiguousarray(r, np.float64)
    if rewards.ndim != 3 or 0 in rewards.shape or (shape and rewards.shape != shape):
        raise InputError(f"r has shape {rewards.shape}; expected {shape or '[H, S, A]'}")
    bad = ~((rewards >= 0) & (rewards <= 1))
    if bad.any():
        h, s, a = np.argwhere(bad)[0]
        raise InputError(
            f"r[h={h}, s={s}, a={a}] is {rewards[h, s, a]:.6g}; expected rewards in [0, 1], so that "
            "a return is at most H: rescale with (r - r.min()) / (r.max() - r.min()), and gamma "
            "alike"
        )
    return rewards


def start_distribution(s1: ArrayLike, n_states: int) -> Floats:
    """A distribution over first states from one state or from itself.

    Raises:
        InputError: no such state, or no distribution.

    Examples:
        >>> start_distribution(1, 3).tolist()
        [0.0, 1.0, 0.0]
    """
    start = np.asarray(s1)
    if start.ndim == 0:
        if start.dtype.kind not in "iu" or not 0 <= start < n_states:
            raise InputError(f"s1 is {s1}; expected a state from 0 to {n_states - 1}")
        found = np.zeros(n_states)
        found[int(start)] = 1.0
        return found
    start = start.astype(np.float64)
    if start.shape != (n_states,) or not (start >= 0).all() or abs(start.sum() - 1) > ROW_SUM:
        raise InputError(
            f"s1 has shape {start.shape} and sum {start.sum():.6g}; expected a distribution over "
            f"{n_states} states"
        )
    return start


def checked_policy(pi: ArrayLike, shape: tuple[int, ...], name: str = "pi") -> Floats:
    """A policy [H, S, A] whose rows are distributions.

    Raises:
        InputError: names the h, s of a bad row.

    Examples:
        >>> checked_policy(np.full((1, 1, 2), 0.5), (1, 1, 2)).shape
        (1, 1, 2)
    """
    policy = np.ascontiguousarray(pi, np.float64)
    if policy.shape != tuple(shape):
        raise InputError(f"{name} has shape {policy.shape}; expected [H, S, A] = {tuple(shape)}")
    bad = ~(policy >= 0).all(-1) | ~(np.abs(policy.sum(-1) - 1) <= ROW_SUM)
    if bad.any():
        h, s = np.argwhere(bad)[0]
        raise InputError(
            f"{name}[h={h}, s={s}] is {np.round(policy[h, s], 4).tolist()}; expected probabilities "
            "that sum to 1"
        )
    return policy
