"""Closed-form geometry of neural collapse: how long, and whether, each class's classifier is.

Unconstrained feature model: K classes with n_k samples, N in all, free features H (d x N), linear
layers W_M ... W_1 and one-hot targets Y, W = W_M ... W_1:

    MSE   1/(2N) |W H - Y|^2 + 1/2 sum_m lambda_m |W_m|^2 + lambda_H/2 |H|^2
    CE    1/N sum CE(W H)    + the same penalties

Source: Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data, arXiv 2301.00437.
The expressions for cross-entropy, for limited rank and for an imbalanced MSE problem with a free
bias are our own derivations; tests check them against direct minimisation.

Legend: K classes, M linear layers, N samples, n_k samples of class k, d features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import ConfigurationError, InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UFMSolution:
    """A global minimum, direction by direction; without a bias direction k is class k.

    Args:
        b: [R] prices of the directions; a direction lives where b < ``b_threshold``.
        b_threshold: 1 for M = 1, (M-1)^((M-1)/M) / M above.
        x: [R] roots; S^2 = N lambda_H x^M.
        S2: [R] squared singular values of the product W.
        w_norm: [R] |w| of the product classifier, the root of S2.
        h_norm: [R] norm of the class mean features.
        logit: [R] logit of a class at its own features.
        layer_sv: [M, R] singular values of every layer, in the order of ``lambda_w``.
        collapsed: [R] whether a direction has vanished.
        objective: the minimum.
        rank_limited: whether the width left out directions that would have lived.
        classes: [K, R] directions in the space of classes, orthonormal columns.
        features: [K, R] maps class means to the directions; equals ``classes`` without a bias.
    """

    b: Floats
    b_threshold: float
    x: Floats
    S2: Floats
    w_norm: Floats
    h_norm: Floats
    logit: Floats
    layer_sv: Floats
    collapsed: NDArray[np.bool_]
    objective: float
    rank_limited: bool
    classes: Floats
    features: Floats

    @property
    def classifier_gram(self) -> Floats:
        """[K, K] W W'."""
        return (self.classes * self.S2) @ self.classes.T

    @property
    def feature_gram(self) -> Floats:
        """[K, K] inner products of the class mean features."""
        return (self.features * self.h_norm**2) @ self.features.T

    @property
    def logits(self) -> Floats:
        """[K, K] W times the class means (without the bias): row class, column sample's class."""
        return (self.classes * self.logit) @ self.features.T

    @property
    def ratio(self) -> Floats:
        """[R] S^2 + N lambda_H: how much longer a classifier row is than its class mean."""
        h = np.where(self.h_norm > 0, self.h_norm, 1.0)
        return np.where(self.h_norm > 0, self.w_norm / h, 0.0)


@dataclass(frozen=True)
class CESolution:
    """A global minimum of the balanced cross-entropy problem: a simplex ETF.

    Args:
        c: sqrt(n lambda_W lambda_H) at M = 1, (n lambda_H prod lambda)^(1/(M+1)) in general.
        collapsed: whether everything is zero.
        logit_gap: logit of the right class minus that of any other, nats.
        w_norm_sq: |w_k|^2 of the product classifier.
        h_norm_sq: |h|^2 of every feature.
        layer_sv: [M] the K-1 equal singular values of every layer.
        objective: the minimum, nats.
    """

    c: float
    collapsed: bool
    logit_gap: float
    w_norm_sq: float
    h_norm_sq: float
    layer_sv: Floats
    objective: float


def ufm_mse(
    counts: ArrayLike,
    lambda_w: float | Sequence[float],
    lambda_h: float,
    depth: int = 1,
    rank: int | None = None,
) -> UFMSolution:
    """Geometry of the MSE problem without a bias, balanced or not.

        b_k = (M N / n_k) (N lambda_H prod lambda)^(1/M)
        x_k = largest root of b (x^M + 1)^2 = M x^(M-1) where b_k < b*, else 0

    Args:
        counts: [K] samples of each class.
        lambda_w: decay of each linear layer; one number for all.
        lambda_h: decay of the features.
        depth: M, linear layers after the features.
        rank: smallest of d and the widths; None where it is at least K. Below K only the classes
            with most samples keep a direction; of equal ones the earlier, where in truth any
            rotation of them is as good.

    Raises:
        InputError: counts that are no positive integers, decay that is not positive.

    Examples:
        >>> s = ufm_mse([20, 10, 5, 1], 1e-2, 1e-2)
        >>> s.S2.round(6), s.collapsed.tolist()
        (array([4.112136, 2.802278, 1.876068, 0.64    ]), [False, False, False, False])
        >>> ufm_mse([100, 1], 1e-2, 1e-2).collapsed.tolist()  # minority collapse: n <= N^2 lw lh
        [False, True]
    """
    n = _counts(counts)
    eye = np.eye(len(n))
    return _solve(n.astype(float), eye, eye, int(n.sum()), lambda_w, lambda_h, depth, rank)


def ufm_mse_bias(
    counts: ArrayLike,
    lambda_w: float | Sequence[float],
    lambda_h: float,
    depth: int = 1,
    rank: int | None = None,
) -> UFMSolution:
    """Geometry of the MSE problem with a free bias in the last layer, balanced or not.

    The best bias takes the mean of the targets away, so that K - 1 directions are left: those of
    diag(n) - n n'/N, whose eigenvalues stand in for the counts. Arguments as in ``ufm_mse``.

    Examples:
        >>> s = ufm_mse_bias([10, 10, 10, 10], 5e-3, 5e-3)
        >>> round(s.objective, 6), s.classifier_gram[0].round(4).tolist()
        (0.045934, [2.2217, -0.7406, -0.7406, -0.7406])
    """
    n = _counts(counts).astype(float)
    total = int(n.sum())
    values, vectors = np.linalg.eigh(np.diag(n) - np.outer(n, n) / total)
    values, vectors = values[:0:-1], vectors[:, :0:-1]  # the smallest is that of the bias
    # YC = U s V' with V' = s^-1 U' (YC); class k's column of YC is e_k - n/N
    centred = np.eye(len(n)) - np.outer(n, np.ones(len(n))) / total
    features = centred.T @ vectors
    return _solve(values, vectors, features, total, lambda_w, lambda_h, depth, rank)


def ufm_mse_bias_balanced(
    n_classes: int, n: int, lambda_w: float | Sequence[float], lambda_h: float, depth: int = 1
) -> UFMSolution:
    """Simplex ETF of the balanced MSE problem with a free bias, whose best value is 1/K.

    Examples:
        >>> s = ufm_mse_bias_balanced(4, 10, 5e-3, 5e-3)
        >>> round(float(s.S2[0]), 6)
        2.962278
    """
    return ufm_mse_bias([n] * n_classes, lambda_w, lambda_h, depth)


def ufm_ce_balanced(
    n_classes: int, n: int, lambda_w: float | Sequence[float], lambda_h: float, depth: int = 1
) -> CESolution:
    """Geometry of the balanced cross-entropy problem; needs d >= K - 1.

        M = 1: gap g = log(1/c - (K-1)) where c < 1/K, else everything is 0
        M > 1: minimise log(1 + (K-1) e^-g) + (K-1) (M+1)/2 c g^(2/(M+1)), compare with g = 0

    Args:
        n_classes: K >= 2.
        n: samples a class.
        lambda_w: decay of each linear layer; one number for all.
        lambda_h: decay of the features.
        depth: M.

    Raises:
        InputError: a number out of its range.

    Examples:
        >>> round(ufm_ce_balanced(4, 100, 5e-4, 1e-5).logit_gap, 4)
        7.2522
    """
    _counts([n] * n_classes)
    lambdas = _decays(lambda_w, lambda_h, depth)
    product = float(np.prod(lambdas))
    k, m = n_classes, depth
    c = (n * lambda_h * product) ** (1 / (m + 1))
    gap = _best_gap(k, m, c)
    paid = (product * lambda_h) ** (1 / (m + 1)) * (gap * math.sqrt(n)) ** (2 / (m + 1))
    share = (k - 1) / k
    value = math.log1p((k - 1) * math.exp(-gap))
    value += (k - 1) * (m + 1) / 2 * c * gap ** (2 / (m + 1))
    return CESolution(
        c=c,
        collapsed=gap == 0,
        logit_gap=gap,
        w_norm_sq=paid**m / product * share,
        h_norm_sq=paid / (lambda_h * n) * share,
        layer_sv=np.sqrt(paid / lambdas),
        objective=value,
    )


def min_count_before_collapse(
    n_samples: float, lambda_w: float | Sequence[float], lambda_h: float, depth: int = 1
) -> float:
    """Samples at and below which a class vanishes from the MSE problem without a bias.

        n_min = M N (N lambda_H prod lambda)^(1/M) / b*

    For M = 1 that is N^2 lambda_W lambda_H. N counts the class itself.

    Examples:
        >>> round(min_count_before_collapse(312, 1.11e-2, 1.11e-2), 3)
        11.994
    """
    lambdas = _decays(lambda_w, lambda_h, depth)
    if not n_samples > 0:
        raise InputError(f"n_samples is {n_samples}; it must be positive")
    price = (n_samples * lambda_h * float(np.prod(lambdas))) ** (1 / depth)
    return float(depth * n_samples * price / _threshold(depth))


def _solve(
    strength: Floats,
    classes: Floats,
    features: Floats,
    total: int,
    lambda_w: float | Sequence[float],
    lambda_h: float,
    depth: int,
    rank: int | None,
) -> UFMSolution:
    lambdas = _decays(lambda_w, lambda_h, depth)
    m, scale = depth, total * lambda_h
    price = (scale * float(np.prod(lambdas))) ** (1 / m)
    with np.errstate(divide="ignore"):
        b = m * total * price / strength
    threshold = _threshold(m)
    x = np.array([_largest_root(value, m) if value < threshold else 0.0 for value in b])
    limited = rank is not None and rank < int((x > 0).sum())
    if rank is not None and limited:
        x[np.argsort(-strength, kind="stable")[rank:]] = 0.0
        warnings.warn(
            f"the width {rank} is below the {len(x)} directions of the problem; only the "
            f"{rank} with most samples are kept",
            stacklevel=3,
        )
    power = x**m
    squared = scale * power
    living = np.where(np.isfinite(b), b, 0.0) * x
    terms = strength / (2 * total) * (1 / (power + 1) + living)
    return UFMSolution(
        b=b,
        b_threshold=threshold,
        x=x,
        S2=squared,
        w_norm=np.sqrt(squared),
        h_norm=np.sqrt(squared) / (squared + scale),
        logit=squared / (squared + scale),
        layer_sv=np.sqrt(price * x / lambdas[:, None]),
        collapsed=x == 0,
        objective=float(terms.sum()),
        rank_limited=limited,
        classes=classes,
        features=features,
    )


def _threshold(m: int) -> float:
    return 1.0 if m == 1 else float((m - 1) ** ((m - 1) / m) / m)


def _largest_root(b: float, m: int) -> float:
    """Largest x with b (x^M + 1)^2 = M x^(M-1), in the logarithm of x, to rounding."""
    from scipy.optimize import brentq

    if m == 1:
        return 1 / math.sqrt(b) - 1

    def excess(u: float) -> float:  # falls beyond the peak
        return math.log(m / b) + (m - 1) * u - 2 * float(np.logaddexp(m * u, 0.0))

    low = math.log((m - 1) / (m + 1)) / m
    high = low + 1.0
    while excess(high) > 0:
        high += high - low
    return math.exp(float(brentq(excess, low, high, xtol=1e-15, rtol=8.9e-16)))


def _best_gap(k: int, m: int, c: float) -> float:
    """Gap of the global minimum; 0 where all zeros are better."""
    from scipy.optimize import brentq

    if m == 1:
        return math.log(1 / c - (k - 1)) if c < 1 / k else 0.0
    p = (m - 1) / (m + 1)
    peak = brentq(lambda g: p * (1 + (k - 1) * math.exp(-g)) - g, 0.0, p * k)

    def pull(g: float) -> float:  # of the gap: log of loss slope over penalty slope
        return p * math.log(g) - float(np.logaddexp(g, math.log(k - 1))) - math.log(c)

    if pull(peak) <= 0:
        return 0.0
    high = 2 * peak + 1
    while pull(high) > 0:
        high *= 2
    gap = float(brentq(pull, peak, high, xtol=1e-15, rtol=8.9e-16))
    value = math.log1p((k - 1) * math.exp(-gap))
    value += (k - 1) * (m + 1) / 2 * c * gap ** (2 / (m + 1))
    return gap if value < math.log(k) else 0.0


def _counts(counts: ArrayLike) -> NDArray[np.int64]:
    n = np.asarray(counts)
    whole: Any = n.ndim == 1 and n.dtype.kind in "iuf" and bool(np.all(n == np.round(n)))
    if not whole or len(n) < 2 or not bool(np.all(n >= 1)):
        raise InputError(
            f"counts are {np.array2string(n, threshold=8)}; give the samples of each of at least "
            "two classes, as positive integers"
        )
    return n.astype(np.int64)


def _decays(lambda_w: float | Sequence[float], lambda_h: float, depth: int) -> Floats:
    if depth < 1:
        raise ConfigurationError(f"depth is {depth}; it must be >= 1")
    lambdas = np.asarray(lambda_w, float)
    if lambdas.ndim == 0:
        lambdas = np.full(depth, float(lambdas))
    if lambdas.shape != (depth,):
        raise ConfigurationError(
            f"lambda_w has {lambdas.size} entries for depth {depth}; give one number or one a layer"
        )
    if not (np.all(lambdas > 0) and lambda_h > 0):
        raise InputError(
            f"lambda_w = {lambda_w} and lambda_h = {lambda_h}: the closed form needs positive decay"
        )
    return lambdas
