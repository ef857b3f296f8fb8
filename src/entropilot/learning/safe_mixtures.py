"""How much of a new policy may be played when only lower bounds of its value are known?

StepMix and EpsMix (arXiv 2306.06265). Candidate j follows the safe baseline at steps h < j and the
new policy from step j on; low[j] bounds its value from below, j = 0 is the new policy, j = H the
baseline. Two neighbours differ at one step only, so that the value of a mixture at that step is
exactly linear in its share rho: if the bounds hold, the mixture's value is at least gamma. The same
rules serve any bounds, such as Clopper-Pearson's from rollouts of "first j steps by the safe
language model, the rest by the new one".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, InputError
from entropilot.learning import _exploration_kernels as kernels
from entropilot.learning.tabular_mdp import checked_policy

Floats = NDArray[np.float64]

#: In the order of the kernels' numbers.
KINDS: Final = ("baseline", "mixture", "optimistic")


class StepMixture(NamedTuple):
    """Baseline at steps h < h0 - 1, with probability rho at step h0 - 1, new policy from h0."""

    kind: str  # of KINDS
    h0: int
    rho: float


class CoinMixture(NamedTuple):
    """Baseline for a whole episode with probability eps, else the new policy."""

    kind: str  # of KINDS
    eps: float


def step_mixture(low: ArrayLike, gamma: float) -> StepMixture:
    """StepMix: the least share of the baseline, step by step, whose value is proven to be gamma.

    Args:
        low: lower bounds of the candidates [H + 1]; they need not rise.
        gamma: value that every episode's policy must have.

    Raises:
        InputError: fewer than two bounds.
        BrokenNumbersError: nan.

    Examples:
        >>> step_mixture([0.2, 0.4, 0.9], gamma=0.65)
        StepMixture(kind='mixture', h0=2, rho=0.5)
        >>> step_mixture([0.7, 0.4, 0.9], gamma=0.65).kind
        'optimistic'
    """
    bounds = np.ascontiguousarray(low, np.float64)
    if bounds.ndim != 1 or len(bounds) < 2:
        raise InputError(f"low has shape {bounds.shape}; expected H + 1 bounds, one a candidate")
    if np.isnan(bounds).any() or not np.isfinite(gamma):
        raise BrokenNumbersError(f"low is {bounds}, gamma {gamma}; expected numbers")
    kind, h0, rho = kernels.choose_step(bounds, float(gamma))
    return StepMixture(KINDS[kind], int(h0), float(rho))


def eps_mixture(low0: float, low_baseline: float, gamma: float) -> CoinMixture:
    """EpsMix: the least chance of a baseline episode with which the mean is proven to be gamma.

    Args:
        low0: lower bound of the new policy's value.
        low_baseline: lower bound of the baseline's.
        gamma: value that every episode's policy must have.

    Raises:
        BrokenNumbersError: nan.

    Examples:
        >>> eps_mixture(0.0, 1.0, gamma=0.25)
        CoinMixture(kind='mixture', eps=0.25)
    """
    if not np.isfinite([low0, low_baseline, gamma]).all():
        raise BrokenNumbersError(f"bounds {low0}, {low_baseline}, gamma {gamma}; expected numbers")
    kind, eps = kernels.choose_coin(float(low0), float(low_baseline), float(gamma))
    return CoinMixture(KINDS[kind], float(eps))


def mixture_policy(pi_b: ArrayLike, pi_up: ArrayLike, h0: int, rho: float) -> Floats:
    """The action probabilities [H, S, A] of a step mixture.

    Args:
        pi_b: baseline [H, S, A].
        pi_up: new policy, [H, S, A] or actions [H, S].
        h0: first step that is all new; 0 for the new policy alone.
        rho: share of the baseline at step h0 - 1, in [0, 1].

    Raises:
        InputError: rows that are no distributions, h0 or rho out of range.

    Examples:
        >>> mixture_policy(np.full((2, 1, 2), 0.5), [[0], [0]], h0=1, rho=0.5).tolist()
        [[[0.75, 0.25]], [[1.0, 0.0]]]
    """
    base = checked_policy(pi_b, np.shape(pi_b), "pi_b")
    new = np.asarray(pi_up)
    if new.ndim == 2:
        if new.shape != base.shape[:2] or new.dtype.kind not in "iu":
            raise InputError(f"pi_up has shape {new.shape}; expected actions {base.shape[:2]}")
        if new.min() < 0 or new.max() >= base.shape[2]:
            raise InputError(f"pi_up holds actions outside 0 to {base.shape[2] - 1}")
        new = np.eye(base.shape[2])[new]
    new = checked_policy(new, base.shape, "pi_up")
    if not 0 <= h0 <= len(base) or not 0 <= rho <= 1:
        raise InputError(f"h0 is {h0}, rho {rho}; expected 0 to H = {len(base)}, and 0 to 1")
    found = np.empty_like(base)
    kernels.mix(base, new, int(h0), float(rho), found)
    return found
