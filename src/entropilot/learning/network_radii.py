"""Radii of a transformer besides that of its output: attention and hidden units.

Source: Ghosts of Softmax (arXiv 2603.13552): rho_net is the least of the three. The slopes come
from forward-mode differentiation of what the network computes on the way.
"""

from __future__ import annotations

import math

import numpy as np

from entropilot.errors import InputError
from entropilot.information._backend import Array, as_float, namespace
from entropilot.learning.convergence_radius import on_cpu


def attention_radius(slopes: Array, allowed: Array) -> float:
    """Radius of the attention's softmaxes: pi / the largest spread over layers, heads and queries.

    Args:
        slopes: [..., L, L] change of the pre-softmax attention logits along a unit direction.
        allowed: bool, broadcast against ``slopes``; True where a query may look at a key.

    Raises:
        InputError: an allowed slope is not finite.

    Examples:
        >>> import torch
        >>> a = torch.tensor([[0.0, 9.0], [0.0, 1.0]])
        >>> round(attention_radius(a, torch.ones(2, 2, dtype=torch.bool).tril()), 6)
        3.141593
    """
    a = as_float(slopes)
    xp = namespace(a)
    high = xp.where(allowed, a, xp.full_like(a, -math.inf))
    low = xp.where(allowed, a, xp.full_like(a, math.inf))
    spread = xp.amax(high, -1) - xp.amin(low, -1)  # -inf for a query that sees nothing
    if bool(xp.isnan(spread).any() | (spread == math.inf).any()):
        raise InputError("a slope of the attention is not finite")
    top = float(spread.max())
    return math.pi / top if top > 0 else math.inf


def activation_radius(preactivations: Array, slopes: Array, quantile: float = 0.01) -> float:
    """How far until a hidden unit has changed by its own size: a low quantile of |h| / |h'|.

    Args:
        preactivations: any shape, h before the non-linearity.
        slopes: of the same shape, h' along a unit direction.
        quantile: in (0, 1); the paper takes 1 %.

    Raises:
        InputError: shapes differ.

    Examples:
        >>> activation_radius(np.array([1.0, 2.0]), np.array([2.0, 0.0]), quantile=0.01) >= 0.5
        True
    """
    h = np.abs(np.asarray(on_cpu(preactivations), dtype=np.float64)).ravel()
    d = np.abs(np.asarray(on_cpu(slopes), dtype=np.float64)).ravel()
    if h.shape != d.shape:
        raise InputError(f"{h.size} activations and {d.size} slopes; give one slope a unit")
    moving = d > 0
    ratio = np.sort(np.where(moving, h / np.where(moving, d, 1.0), np.inf))
    return float(ratio[min(int(quantile * len(ratio)), len(ratio) - 1)]) if len(ratio) else math.inf
