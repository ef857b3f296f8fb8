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

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.information._backend import Array, as_float, is_torch, log_or_zero, namespace
from entropilot.information.counts import reject
from entropilot.information.intervals import Floats


def tilt(q: Array, R: Array, beta: Array) -> Array:
    """Tilted distribution, ``q exp(beta R)`` over its sum. What has probability 0 keeps it.

    Gradients flow to tensors that ask for them; those of impossible outcomes are 0.

    Args:
        q: [..., M] probabilities; each row sums to 1.
        R: [..., M] rewards; broadcasts against ``q``.
        beta: scalar or [...], inverse price of the divergence; negative lowers the reward.

    Returns:
        [..., M], float64 for arrays; a tensor where any argument is one.

    Raises:
        InputError: for negative probabilities, rows that do not sum to 1, or rewards that are not
            finite.

    Examples:
        >>> tilt([0.6, 0.3, 0.1], [0, 0, 1], 2.0).round(3).tolist()
        [0.366, 0.183, 0.451]
    """
    p, reward, log_p = _checked(q, R, beta)
    xp = namespace(p)
    exponent = log_p + _wide(beta, p)[..., None] * reward
    logits = xp.where(p > 0, exponent, xp.full_like(exponent, -np.inf))
    weights = xp.exp(logits - xp.amax(logits, -1)[..., None])
    return weights / weights.sum(-1)[..., None]


def beta_for_reward(q: Array, R: Array, rho: ArrayLike) -> Array:
    """Tilt that reaches a mean reward; 0 where the base has it already.

        binary reward, a = q(C):   beta = log( rho (1-a) / (a (1-rho)) ),   a < rho < 1
        any other reward:          E_beta[R] rises with beta, so the root is bracketed and bisected

    Args:
        q: [..., M] probabilities.
        R: [..., M] rewards.
        rho: scalar or [...], the mean reward asked for.

    Returns:
        beta >= 0, the shape of the leading axes; inf where rho is the largest reward of the
        support. A tensor where ``q`` is one, found on the CPU in float64, without a gradient.

    Raises:
        InputError: where rho exceeds every reward in the support (zero stays zero).

    Examples:
        >>> round(float(beta_for_reward([0.6, 0.3, 0.1], [0, 0, 1], 0.5)), 4)
        2.1972
    """
    if is_torch(q) or is_torch(R):
        like: Any = q if is_torch(q) else R
        found = beta_for_reward(_plain(q), _plain(R), _plain(rho))
        return like.new_tensor(found, dtype=as_float(like).dtype)
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


def tilt_entropy_derivative(q: Array, R: Array, beta: Array) -> Array:
    """Slope of the entropy along the tilt; positive where right answers are the unlikely ones.

        dH/dbeta = -beta Var_pi(R) - Cov_pi(log q, R)

    Args:
        q: [..., M] probabilities.
        R: [..., M] rewards.
        beta: scalar or [...].

    Returns:
        Nats per unit of beta, the shape of the leading axes.

    Examples:
        >>> bool(tilt_entropy_derivative([0.96, 0.02, 0.02], [0, 1, 1], 0.0) > 0)
        True
    """
    p, reward, log_q = _checked(q, R, beta)
    pi = tilt(p, reward, beta)
    spread = reward - (pi * reward).sum(-1)[..., None]
    variance = (pi * spread**2).sum(-1)
    covariance = (pi * spread * log_q).sum(-1)
    return -_wide(beta, p) * variance - covariance


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

    Examples:
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


def _plain(value: Array) -> Floats:
    """The numbers of an array or tensor, as float64."""
    return np.asarray(value.detach().cpu() if is_torch(value) else value, dtype=np.float64)


def _wide(value: Array, like: Array) -> Array:
    """The value in the kind and precision of ``like``."""
    if is_torch(like):
        return as_float(value, like=like).to(device=like.device, dtype=like.dtype)
    return np.asarray(value, dtype=np.float64)


def _checked(q: Array, R: Array, beta: Array = 0.0) -> tuple[Array, Array, Array]:
    """Probabilities, rewards and log-probabilities (0 where p = 0), of one shape and kind."""
    xp = namespace(q, R, beta)
    if xp is np:
        p, reward = np.asarray(q, dtype=np.float64), np.asarray(R, dtype=np.float64)
        slack = 1e-6
    else:
        tensor: Any = next(x for x in (q, R, beta) if is_torch(x))
        p, reward = as_float(q, like=tensor), as_float(R, like=tensor)
        slack = 1e-6 if p.dtype == xp.float64 else 1e-3  # float16 probabilities came from above
        wide = xp.promote_types(p.dtype, reward.dtype)
        p, reward = p.to(wide), reward.to(wide)
    if not len(np.broadcast_shapes(p.shape, reward.shape)):
        raise InputError("q is a single number; expected probabilities over at least one outcome")
    numbers, rewards = _plain(p), _plain(reward)
    reject(
        ~(numbers >= 0),
        numbers,
        "q holds probabilities, which are 0 or more; are these log-probabilities?",
    )
    total = np.atleast_1d(numbers).sum(axis=-1)
    reject(np.abs(total - 1) > slack, total, "each row of q must sum to 1; divide by its sum first")
    reject(~np.isfinite(rewards), rewards, "rewards must be finite")
    p, reward = xp.broadcast_tensors(p, reward) if is_torch(p) else np.broadcast_arrays(p, reward)
    return p, reward, log_or_zero(p)
