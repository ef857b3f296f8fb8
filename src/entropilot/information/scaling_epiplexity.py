"""Epiplexity from published scaling laws, without training.

    L(N, T) = (T/T0)^-beta + (N/N0)^-alpha + E                  nats a token; N weights, T tokens
    S(T)    = beta / (1 - beta) T0^beta T^(1 - beta)            the area above the final loss
    C       = 6 N T + 2 N D                                     learn from T tokens, code D tokens

At a given C the sum S + D L is smallest where

    beta T0^beta (D - T) T^(-beta-1) = 3 alpha D (2 N0)^alpha C^-alpha (3 T + D)^(alpha-1)

Paper: arXiv 2601.03220, Section 4 and Table 1; the laws are Henighan et al., 2010.14701, and
Hoffmann et al., 2203.15556.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from entropilot.errors import InputError

PF_DAY: Final = 8.64e19  # FLOP


@dataclass(frozen=True)
class ScalingLaw:
    """Exponents, scales and floor of a loss law; E in nats a token."""

    alpha: float  # of the weights
    beta: float  # of the tokens
    N0: float
    T0: float
    E: float


@dataclass(frozen=True)
class ScalingEpiplexity:
    """The best split at a compute: tokens, weights, S and H of D tokens, loss a token."""

    T: float
    N: float
    S_nats: float
    H_nats: float
    loss_nats: float


# (gamma, delta, N0, C* in PF-days, E): fits of the best loss and size at a compute, raw.
_COMPUTE_OPTIMAL: Final = {
    "image 8x8": (0.19, 0.64, 8.0e1, 5.3e-14, 3.13),
    "image 16x16": (0.16, 0.75, 2.8e2, 4.8e-12, 2.64),
    "image 32x32": (0.10, 0.65, 6.3e1, 1.6e-13, 2.21),
    "image vq 16x16": (0.11, 0.64, 2.7e4, 6.2e-14, 4.09),
    "image vq 32x32": (0.12, 0.70, 1.9e4, 9.4e-13, 3.17),
    "video vq 16x16x16": (0.14, 0.71, 3.7e4, 1.13e-12, 0.95),
    "text": (0.154844, 0.456497, 4.91463e7, 3.90618e-20, 1.6934),
}
# (alpha, beta, N0, T0, E) with embeddings counted, as printed in the paper's Table 1.
_EMBEDDING_CORRECTED: Final = {
    "image 8x8": (0.331, 0.566, 8.0e1, 2.66e6, 3.14),
    "image 16x16": (0.307, 0.820, 2.8e2, 8.94e7, 2.68),
    "image 32x32": (0.258, 0.399, 6.3e1, 1.95e6, 2.30),
    "image vq 16x16": (0.322, 0.441, 2.7e4, 4.44e7, 4.23),
    "image vq 32x32": (0.287, 0.560, 1.9e4, 1.63e8, 3.32),
    "video vq 16x16x16": (0.428, 0.718, 3.7e4, 1.79e8, 1.15),
    "text": (0.339, 0.285, 4.91e7, 1.49e9, 1.69),
}


def law_from_compute_fit(
    gamma: float, delta: float, N0: float, C_star: float, E: float
) -> ScalingLaw:
    """The law in tokens and weights, from fits along the compute-optimal front.

        beta = gamma / (1 - delta),  alpha = gamma / delta,
        T0   = (C*/6) N0^(alpha/beta) (beta/alpha)^(-1/beta)

    Args:
        gamma: exponent of the loss in compute.
        delta: exponent of the size in compute, in (0, 1).
        N0: scale of the weights.
        C_star: FLOP.
        E: floor, nats a token.

    Raises:
        InputError: delta outside (0, 1).

    Examples:
        >>> round(law_from_compute_fit(0.15, 0.46, 4.9e7, 3.4, 1.69).beta, 4)
        0.2778
    """
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta}; the exponent of the size in compute lies in (0, 1)")
    beta, alpha = gamma / (1 - delta), gamma / delta
    t0 = C_star / 6 * N0 ** (alpha / beta) * (beta / alpha) ** (-1 / beta)
    return ScalingLaw(alpha, beta, N0, t0, E)


def published_laws(*, embedding_corrected: bool = False) -> dict[str, ScalingLaw]:
    """Laws of text, images and video by name.

    Args:
        embedding_corrected: the constants that the paper printed after counting embeddings as
            weights, three digits; False gives the published fits as they are.

    Examples:
        >>> round(published_laws()["text"].T0 / 1e9, 3)
        1.491
    """
    if embedding_corrected:
        return {name: ScalingLaw(*row) for name, row in _EMBEDDING_CORRECTED.items()}
    return {
        name: law_from_compute_fit(gamma, delta, n0, c_star * PF_DAY, e)
        for name, (gamma, delta, n0, c_star, e) in _COMPUTE_OPTIMAL.items()
    }


def scaling_law_epiplexity(
    alpha: float, beta: float, N0: float, T0: float, E: float, D: float, C: float
) -> ScalingEpiplexity:
    """S and H of D tokens for an observer of C FLOP, from a scaling law.

    Args:
        alpha: exponent of the weights, > 0.
        beta: exponent of the tokens, in (0, 1).
        N0: scale of the weights, > 0.
        T0: scale of the tokens, > 0.
        E: floor of the loss, nats a token.
        D: tokens to be coded, > 1.
        C: FLOP for learning and coding.

    Returns:
        Best tokens T* in (1, D), weights N = C / (2 (3 T* + D)), S, H = D L(N, T*), and L.

    Raises:
        InputError: beta >= 1 (the area above the final loss is infinite), a constant out of range,
            or a compute too small for one weight.

    Examples:
        >>> law = published_laws()["text"]
        >>> found = scaling_law_epiplexity(law.alpha, law.beta, law.N0, law.T0, law.E, 1e12, 1e25)
        >>> f"{found.S_nats:.3g}", f"{found.S_nats / (found.S_nats + found.H_nats):.1%}"
        ('5.51e+10', '2.8%')
    """
    if not 0 < beta < 1:
        raise InputError(
            f"beta is {beta}; the area above the final loss is finite only for 0 < beta < 1"
        )
    for name, value in (("alpha", alpha), ("N0", N0), ("T0", T0), ("C", C)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} is {value}; expected a finite number above 0")
    if not D > 1:
        raise InputError(f"D is {D}; expected more than one token to be coded")
    if C < 2 * D:
        raise InputError(
            f"C = {C:.4g} FLOP can't code D = {D:.4g} tokens with a single weight (2 D = "
            f"{2 * D:.4g}); raise C or lower D"
        )
    T = _best_tokens(alpha, beta, N0, T0, D, C)
    N = C / (2 * (3 * T + D))
    loss = (T / T0) ** -beta + (N / N0) ** -alpha + E
    S = beta / (1 - beta) * T0**beta * T ** (1 - beta)
    return ScalingEpiplexity(T, N, S, D * loss, loss)


def _best_tokens(alpha: float, beta: float, N0: float, T0: float, D: float, C: float) -> float:
    from scipy.optimize import brentq  # costs 0.2 s to import

    def gap(log_t: float) -> float:
        t = math.exp(log_t)
        gain: float = beta * T0**beta * (D - t) * t ** (-beta - 1)
        price: float = 3 * alpha * D * (2 * N0) ** alpha * C**-alpha * (3 * t + D) ** (alpha - 1)
        return gain - price

    ends = 0.0, math.log(D) + math.log1p(-1e-15)
    if gap(ends[0]) <= 0:
        return 1.0  # more data never pays at this compute
    grid = np.linspace(*ends, 200)
    signs = np.sign([gap(x) for x in grid])
    down = np.flatnonzero((signs[:-1] > 0) & (signs[1:] <= 0))
    if len(down) == 0:
        return float(D)
    i = int(down[0])
    root: float = brentq(gap, float(grid[i]), float(grid[i + 1]), xtol=1e-15, rtol=1e-15)
    return math.exp(root)
