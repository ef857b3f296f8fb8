"""Bounds of values from counts of transitions: the optimistic policy, and any policy's value.

After BPI-UCBVI (arXiv 2007.13442) as used by StepMix (arXiv 2306.06265). One backup at a cell with
n visits, empirical next-state law P^, next-step bounds U >= L:

    bonus = c (3 sqrt(Var_P^(U) b / n) + 14 H^2 beta / n) + P^(U - L) / H,   0 at the last step
    up = min(H - h, r + bonus + P^ U),   low = max(0, r - bonus + P^ L),   n = 0: H - h and 0
    beta = log(3SAH/delta) + S log(8e(n+1)),   beta* = log(3SAH/delta) + log(8e(n+1))

b is beta* for a policy fixed before any data, beta for others. The bounds hold for all steps, states,
actions and episodes at once with probability 1 - delta when c = 1. Departs from the published
sketch: a policy is evaluated with its own U and L. With the optimistic U the lower bound of a
baseline never reaches its value, because actions that it never takes keep U at its ceiling.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning import _exploration_kernels as kernels
from entropilot.learning.tabular_mdp import checked_policy, checked_rewards

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class OptimisticPlan(NamedTuple):
    """The greedy policy of the upper values, and bounds of the best value."""

    policy: Integers  # [H, S]
    upper: Floats  # [H + 1, S]
    lower: Floats  # [H + 1, S]


class ValueBounds(NamedTuple):
    """Bounds of one policy's value."""

    upper: Floats  # [H + 1, S]
    lower: Floats  # [H + 1, S]


def log_term(n_states: int, n_actions: int, horizon: int, delta: float) -> float:
    """log(3 S A H / delta).

    Raises:
        ConfigurationError: delta outside (0, 1).

    Examples:
        >>> round(log_term(3, 2, 3, 0.1), 4)
        6.2916
    """
    if not 0 < delta < 1:
        raise ConfigurationError(
            f"delta is {delta}; expected a chance of failure between 0 and 1, such as 0.1"
        )
    return math.log(3 * n_states * n_actions * horizon / delta)


def widths(
    n: ArrayLike, n_states: int, n_actions: int, horizon: int, delta: float
) -> tuple[Floats, Floats]:
    """beta(n) for all value functions at once, and beta*(n) for a fixed one.

    Examples:
        >>> [round(float(w), 4) for w in widths(1, 3, 2, 3, 0.1)]
        [17.6093, 10.0642]
    """
    l0 = log_term(n_states, n_actions, horizon, delta)
    grown = np.log(8 * math.e * (np.asarray(n, np.float64) + 1))
    return l0 + n_states * grown, l0 + grown


def optimistic_plan(
    N: ArrayLike, r: ArrayLike, delta: float, bonus_scale: float = 1.0
) -> OptimisticPlan:
    """Backward induction on upper values; ties go to the lowest action.

    Args:
        N: visit counts [H, S, A, S].
        r: rewards [H, S, A] in [0, 1].
        delta: chance that some bound fails.
        bonus_scale: 1 is the theory; below 1 nothing is proven.

    Raises:
        InputError: counts that are negative or no whole numbers, bad rewards.
        ConfigurationError: delta outside (0, 1), or a scale that is not positive.

    Examples:
        >>> plan = optimistic_plan(np.zeros((1, 1, 2, 1), int), np.array([[[0.2, 0.9]]]), 0.1)
        >>> plan.policy.tolist(), plan.upper[0].tolist()  # unknown: all actions may be worth 1
        ([[0]], [1.0])
    """
    counts, rewards = checked_counts(N), checked_rewards(r)
    totals, wide, narrow = _prepared(counts, rewards, delta, bonus_scale)
    H, S, _ = rewards.shape
    policy = np.empty((H, S), np.int64)
    U, L = np.empty((H + 1, S)), np.empty((H + 1, S))
    kernels.optimistic(counts, totals, rewards, wide, narrow, float(bonus_scale), policy, U, L)
    return OptimisticPlan(policy, U, L)


def evaluate_policy(
    N: ArrayLike, r: ArrayLike, pi: ArrayLike, delta: float, fixed: bool, bonus_scale: float = 1.0
) -> ValueBounds:
    """Bounds of a policy's value from its own bounds of the next step.

    Args:
        N: visit counts [H, S, A, S].
        r: rewards [H, S, A] in [0, 1].
        pi: policy [H, S, A].
        delta: chance that some bound fails.
        fixed: the policy was chosen before any of these counts (a narrower width then serves).
        bonus_scale: 1 is the theory.

    Raises:
        InputError: bad counts, rewards or policy.
        ConfigurationError: delta outside (0, 1), or a scale that is not positive.

    Examples:
        >>> N = np.array([[[[9], [0]]]])
        >>> found = evaluate_policy(N, np.array([[[0.4, 0.9]]]), [[[0.5, 0.5]]], 0.1, fixed=True)
        >>> found.lower[0].tolist(), found.upper[0].tolist()
        ([0.2], [0.7])
    """
    counts, rewards = checked_counts(N), checked_rewards(r)
    policy = checked_policy(pi, rewards.shape)
    totals, wide, narrow = _prepared(counts, rewards, delta, bonus_scale)
    H, S, _ = rewards.shape
    U, L = np.empty((H + 1, S)), np.empty((H + 1, S))
    kernels.evaluate(
        counts, totals, rewards, policy, narrow if fixed else wide, wide, float(bonus_scale), U, L
    )
    return ValueBounds(U, L)


def _prepared(
    counts: Integers, rewards: Floats, delta: float, bonus_scale: float
) -> tuple[Integers, Floats, Floats]:
    if counts.shape[:3] != rewards.shape:
        raise InputError(f"N has shape {counts.shape} beside r {rewards.shape}; expected [H,S,A,S]")
    if not bonus_scale > 0:
        raise ConfigurationError(f"bonus_scale is {bonus_scale}; expected a positive number")
    H, S, A = rewards.shape
    totals = counts.sum(axis=-1)
    wide, narrow = np.empty((H, S, A)), np.empty((H, S, A))
    kernels.fill_widths(totals, log_term(S, A, H, delta), wide, narrow)
    return totals, wide, narrow


def checked_counts(N: ArrayLike) -> Integers:
    """Counts [H, S, A, S] as int64.

    Raises:
        InputError: another shape, negative, or no whole numbers.

    Examples:
        >>> checked_counts(np.zeros((1, 2, 1, 2), np.int32)).dtype
        dtype('int64')
    """
    counts = np.asarray(N)
    if counts.ndim != 4 or counts.shape[1] != counts.shape[3]:
        raise InputError(f"N has shape {counts.shape}; expected [H, S, A, S]")
    if counts.dtype.kind not in "iu":
        raise InputError(f"N has dtype {counts.dtype}; expected whole numbers of visits")
    if (counts < 0).any():
        h, s, a, k = np.argwhere(counts < 0)[0]
        raise InputError(
            f"N[h={h}, s={s}, a={a}, next={k}] is {counts[h, s, a, k]}; a count of visits can't be "
            "negative"
        )
    return np.ascontiguousarray(counts, np.int64)
