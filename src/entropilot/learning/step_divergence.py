"""How far a step moves the distribution: KL divergence, its quadratic form and rigorous bounds.

Source: Ghosts of Softmax (arXiv 2603.13552), the KL companion of the radius. With
p_tau = softmax(z + tau a), V the variance of a under p_0 and Delta the spread of a:

    |KL(p_tau || p_0) - tau^2 V / 2| <= |tau|^3 Delta^3 / (18 sqrt 3)
    |KL(p_0 || p_tau) - tau^2 V / 2| <= |tau|^3 Delta^3 / (36 sqrt 3)

since a third central moment on an interval of width Delta is at most Delta^3 / (6 sqrt 3).

Departs from the paper: its equation 26 names the first divergence for the expression of the second;
each has its own constant here.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.learning.convergence_radius import checked_samples

Floats = NDArray[np.float64]

#: Largest |third central moment| of a variable on an interval of width 1, at p = (3 +- sqrt 3) / 6.
THIRD_MOMENT: Final = 1 / (6 * math.sqrt(3))


def kl_step_bounds(logits: ArrayLike, slopes: ArrayLike, tau: ArrayLike) -> dict[str, Floats]:
    """Divergence of a step, what the quadratic form says, and how far off that can be.

    Args:
        logits: [..., K] nats, K >= 2.
        slopes: [..., K] along a direction.
        tau: length of the step along it, broadcast against the samples.

    Returns:
        [...] float64, nats: ``quadratic`` = tau^2 V / 2, ``kl_new_old`` = KL(p_tau || p_0),
        ``kl_old_new`` = KL(p_0 || p_tau), and ``bound_new_old`` and ``bound_old_new`` on the
        distance of each from ``quadratic``.

    Raises:
        InputError: shapes differ, K < 2 or a value is not finite.

    Examples:
        >>> found = kl_step_bounds(np.zeros(3), np.array([1.0, 0.0, -1.0]), 0.1)
        >>> abs(found["kl_new_old"] - found["quadratic"]) <= found["bound_new_old"]
        np.True_
        >>> round(float(found["quadratic"]), 6)
        0.003333
    """
    z, a = checked_samples(logits, slopes)
    t = np.asarray(tau, dtype=np.float64)
    log_p = _log_softmax(z)
    log_q = _log_softmax(z + t[..., None] * a)
    p, q = np.exp(log_p), np.exp(log_q)
    mean = (p * a).sum(-1, keepdims=True)
    variance = (p * (a - mean) ** 2).sum(-1)
    cubed = abs(t) ** 3 * np.ptp(a, -1) ** 3
    return {
        "quadratic": t**2 * variance / 2,
        "kl_new_old": (q * (log_q - log_p)).sum(-1),
        "kl_old_new": (p * (log_p - log_q)).sum(-1),
        "bound_new_old": cubed * THIRD_MOMENT / 3,
        "bound_old_new": cubed * THIRD_MOMENT / 6,
    }


def _log_softmax(z: Floats) -> Floats:
    shifted = z - z.max(-1, keepdims=True)
    found: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return found
