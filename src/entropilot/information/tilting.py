"""Exponential tilting: the exact solution of "raise the reward, stay close to the base".

    argmin KL(pi || q)  subject to  E_pi R >= rho   is   pi_beta(y) = q(y) e^(beta R(y)) / Z

Under it every right answer gains (pi/q = e^beta / Z >= 1 for a binary reward), so pass@k can't fall
at any k, and the entropy may rise. What shrinks support in practice is what the projection leaves
out: finite groups, shared parameters, clipping.

Source: The Invisible Leash (arXiv 2507.14843), theory part.
Departs from the paper: it states that an update lowers entropy, H[pi] = H[q] - KL(pi||q), and that
pass@k at large k is strictly lost; neither follows. H[pi] = cross entropy(pi, q) - KL(pi||q).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.information.counts import reject
from entropilot.information.intervals import Floats


def tilt(q: ArrayLike, R: ArrayLike, beta: ArrayLike) -> Floats:
    """Tilted distribution, ``q exp(beta R)`` over its sum. What has probability 0 keeps it.

    Args:
        q: [..., M] probabilities; each row sums to 1.
        R: [..., M] rewards; broadcasts against ``q``.
        beta: scalar or [...], inverse price of the divergence; negative lowers the reward.

    Returns:
        [..., M] float64.

    Raises:
        InputError: for negative probabilities, rows that do not sum to 1, or rewards that are not
            finite.

    Example:
        >>> tilt([0.6, 0.3, 0.1], [0, 0, 1], 2.0).round(3).tolist()
        [0.366, 0.183, 0.451]
    """
    _, reward, log_p = _checked(q, R)
    logits = log_p + np.asarray(beta, dtype=np.float64)[..., None] * reward
    logits = logits - logits.max(axis=-1, keepdims=True)
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def beta_for_reward(q: ArrayLike, R: ArrayLike, rho: ArrayLike) -> Floats:
    """Tilt that reaches a mean reward; 0 where the base has it already.

        binary reward, a = q(C):   beta = log( rho (1-a) / (a (1-rho)) ),   a < rho < 1
        any other reward:          E_beta[R] rises with beta, so the root is bracketed and bisected

    Args:
        q: [..., M] probabilities.
        R: [..., M] rewards.
        rho: scalar or [...], the mean reward asked for.

    Returns:
        beta >= 0, the shape of the leading axes; inf where rho is the largest reward of the
        support.

    Raises:
        InputError: where rho exceeds every reward in the support (zero stays zero).

    Example:
        >>> round(float(beta_for_reward([0.6, 0.3, 0.1], [0, 0, 1], 0.5)), 4)
        2.1972
    """
    p, reward, _ = _checked(q, R)
    target = np.asarray(rho, dtype=np.float64)
    best = np.where(p > 0, reward, -np.inf).max(axis=-1)
    best, target = np.broadcast_arrays(best, target)
    reject(
        target > best,
        target,
        "rho may not exceed the largest reward that has positive probability; "
        "an answer of probability 0 stays at 0 under any tilt, so lower rho",
    )
    base = np.broadcast_to((p * reward).sum(axis=-1), target.shape)
    if np.all((reward == 0) | (reward == 1)):
        with np.errstate(divide="ignore", invalid="ignore"):
            beta = np.log(target) + np.log1p(-base) - np.log(base) - np.log1p(-target)
        return np.where(target <= base, 0.0, beta)[()]
    return _bisected(p, reward, target, np.asarray(best), base)[()]


def _bisected(p: Floats, reward: Floats, target: Floats, best: Floats, base: Floats) -> Floats:
    """Root of E_beta[R] = rho in beta, for rewards of any values."""
    spread = np.maximum(best - np.where(p > 0, reward, np.inf).min(axis=-1), 1e-300)
    low, high = np.zeros(target.shape), np.full(target.shape, 1.0) / spread
    for _ in range(60):  # doubles up to 2^60 / spread: beyond it the tilt is its limit
        short = (tilt(p, reward, high) * reward).sum(axis=-1) < target
        if not short.any():
            break
        high = np.where(short, 2 * high, high)
    for _ in range(200):
        middle = (low + high) / 2
        short = (tilt(p, reward, middle) * reward).sum(axis=-1) < target
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    beta = (low + high) / 2
    return np.where(target <= base, 0.0, np.where(target >= best, np.inf, beta))


def tilt_entropy_derivative(q: ArrayLike, R: ArrayLike, beta: ArrayLike) -> Floats:
    """Slope of the entropy along the tilt; positive where right answers are the unlikely ones.

        dH/dbeta = -beta Var_pi(R) - Cov_pi(log q, R)

    Args:
        q: [..., M] probabilities.
        R: [..., M] rewards.
        beta: scalar or [...].

    Returns:
        Nats per unit of beta, the shape of the leading axes.

    Example:
        >>> bool(tilt_entropy_derivative([0.96, 0.02, 0.02], [0, 1, 1], 0.0) > 0)
        True
    """
    _, reward, log_q = _checked(q, R)
    pi = tilt(q, R, beta)
    log_q = np.where(np.isneginf(log_q), 0.0, log_q)  # carries no weight
    mean = (pi * reward).sum(axis=-1)
    variance = (pi * (reward - mean[..., None]) ** 2).sum(axis=-1)
    covariance = (pi * (reward - mean[..., None]) * log_q).sum(axis=-1)
    return np.asarray(-np.asarray(beta) * variance - covariance)[()]


def nsr_bound(eta: ArrayLike, K: ArrayLike, T: ArrayLike = 1) -> Floats:
    """Largest factor by which negative samples alone can raise a sequence's probability.

        factor = exp(2 eta T K)         (small steps: eta pi^2 <= 1/2)

    It is near 1 only while eta T K is small: 1000 updates of 500 tokens at 1e-6 give 2.7, but
    eta T K = 10 gives 5e8.

    Args:
        eta: step size, >= 0.
        K: updates, >= 0.
        T: tokens of the sequence, >= 1.

    Returns:
        >= 1, the broadcast shape; inf when it overflows.

    Raises:
        InputError: for negative values.

    Example:
        >>> round(float(nsr_bound(1e-6, 1000, 500)), 3)
        2.718
    """
    step, updates, tokens = (np.asarray(x, dtype=np.float64) for x in (eta, K, T))
    if np.any(step < 0) or np.any(updates < 0) or np.any(tokens < 1):
        raise InputError(
            f"found eta = {eta!r}, K = {K!r}, T = {T!r}; expected eta >= 0, K >= 0 and T >= 1"
        )
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(2 * step * tokens * updates))[()]


def _checked(q: ArrayLike, R: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Probabilities, rewards and log-probabilities (-inf at 0), of one shape."""
    p, reward = np.broadcast_arrays(
        np.asarray(q, dtype=np.float64), np.asarray(R, dtype=np.float64)
    )
    if p.ndim == 0:
        raise InputError("q is a single number; expected probabilities over at least one outcome")
    reject(~(p >= 0), p, "q holds probabilities, which are 0 or more; are these log-probabilities?")
    total = p.sum(axis=-1)
    reject(np.abs(total - 1) > 1e-6, total, "each row of q must sum to 1; divide by its sum first")
    reject(~np.isfinite(reward), reward, "rewards must be finite")
    with np.errstate(divide="ignore"):
        return p, reward, np.log(p)
