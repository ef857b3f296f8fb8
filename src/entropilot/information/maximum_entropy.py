"""Maximum entropy under mean-value constraints, with a certified duality gap.

    maximise  S(p) = -sum_i p_i log(p_i / q_i)    subject to   sum_i p_i f_a(i) = m_a
    p_i = q_i exp(-sum_a lambda_a f_a(i)) / Z     lambda minimises Phi = log Z + lambda.m

Gibbs relations: <f_a> = -d log Z / d lambda_a, -d<f_a>/d lambda_b = Cov(f_a, f_b),
dS/dm_a = lambda_a. Every Phi(lambda) is an upper bound of the largest entropy. The lower bound
comes from p'_i = p_i (1 + (f(i) - <f>).c), Cov c = m - <f>, which meets the targets exactly; the
gap between the two is KL(p' || p), which is a sum of small numbers and so exact.

Source: Information Theory and Statistical Mechanics Revisited (arXiv 1105.5662); Jaynes, Phys. Rev.
106 (1957), 620. Departs from the usual order: the linear programme that tells why a target can't be
met runs only where Newton's method finds no certificate that it can.

Legend: n states, m features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information._entropy_dual import EntropyDual
from entropilot.information.constraint_hull import feasibility, sentence

Floats = NDArray[np.float64]

LONGEST: Final = 10.0  # nats


@dataclass(frozen=True)
class MaxEntResult:
    """The distribution of largest entropy.

    Attributes:
        p: [n] probabilities.
        lam: [m] multipliers; p ~ q exp(-f.lam).
        log_z: log of the partition sum; the free energy is its negative.
        entropy: -sum p log(p/q), nats, relative to the prior.
        mean: [m] of the features under p; the targets unless they are soft.
        cov: [m, m] covariance of the features under p.
        gap: certified distance to the largest value of the objective, nats.
        iterations: Newton steps.
        feasible: whether the targets can be met exactly; False only with soft ones.
        null_space: [m, k] combinations of features that are constant over the states; multipliers
            are free along them, and ``lam`` has none of it.
    """

    p: Floats
    lam: Floats
    log_z: float
    entropy: float
    mean: Floats
    cov: Floats
    gap: float
    iterations: int
    feasible: bool
    null_space: Floats


@dataclass(frozen=True)
class Ladder:
    """Entropies as constraints are added one after another.

    Attributes:
        rungs: solution with the first k constraints, k = 0 (the prior alone), 1, ...
        entropy: [K + 1] nats, never rising.
        information: [K] KL(p_k || p_{k-1}), nats: what constraint k told, measured on the
            distributions themselves; equals the drop of the entropy.
    """

    rungs: tuple[MaxEntResult, ...]
    entropy: Floats
    information: Floats


def maxent(
    features: ArrayLike,
    targets: ArrayLike,
    prior: ArrayLike | None = None,
    soft: ArrayLike | None = None,
    tol: float = 1e-12,
    *,
    names: Sequence[str] | None = None,
) -> MaxEntResult:
    """The distribution of largest entropy with these means.

    Args:
        features: [n, m], or [n] for one feature.
        targets: [m] means, or a number.
        prior: [n] weights >= 0, not necessarily normalised: counts, degeneracies, quadrature
            weights. None for 1 each.
        soft: [m] standard errors of the targets, 0 for exact ones; adds soft^2 lam^2 / 2 to Phi.
        tol: largest difference to a target, in units of the feature's largest deviation.
        names: of the features, for messages.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, targets that no
            distribution has (with the inequality that they violate), or targets on the boundary,
            where a multiplier diverges.

    Examples:
        >>> die = maxent([1, 2, 3, 4, 5, 6], 4.5)
        >>> round(float(die.lam[0]), 6), round(die.entropy, 6), die.gap < 1e-12
        (-0.371049, 1.613581, True)
    """
    f, m, q, sigma, labels = _checked(features, targets, prior, soft, names)
    if not 1e-14 <= tol < 1e-2:
        raise InputError(f"tol = {tol}, expected a number between 1e-14 and 0.01")
    held = q > 0
    problem = EntropyDual.of(f[held], m, q[held], sigma)
    # Full steps are best nearly everywhere; one that empties the states which a target near the
    # boundary needs can't be taken back, and short ones never do that.
    solved = problem.solve(tol, np.inf) or problem.solve(tol, LONGEST)
    if solved is None:
        _explain(f[held], m, sigma, labels)
        raise InputError(
            "the targets lie within rounding of the boundary of what the states can have, so "
            "that a multiplier can't be found; loosen them, or give them standard errors (soft)"
        )
    z, gap, iterations = solved
    lam = problem.multipliers(z)
    exponent = -f @ lam
    top = float((exponent + np.where(held, np.log(np.where(held, q, 1.0)), -np.inf)).max())
    weights = q * np.exp(np.where(held, exponent - top, -np.inf))
    total = float(weights.sum())
    p = weights / total
    log_z = top + float(np.log(total))
    mean = p @ f
    spread = f - mean
    can = True
    if np.any(sigma > 0):
        can = feasibility(f[held], m).place != "outside"
    return MaxEntResult(
        p=p,
        lam=lam,
        log_z=log_z,
        entropy=log_z + float(lam @ mean),
        mean=mean,
        cov=(spread * p[:, None]).T @ spread,
        gap=gap,
        iterations=iterations,
        feasible=can,
        null_space=problem.null_space,
    )


def maxent_ladder(
    features_list: Sequence[ArrayLike],
    targets_list: Sequence[ArrayLike],
    prior: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Ladder:
    """Add information step by step: each constraint lowers the entropy by what it tells.

        KL(p_k || p_{k-1}) = S_{k-1} - S_k

    Args:
        features_list: K arrays [n] or [n, m_k]; rung k keeps all before it.
        targets_list: K numbers or [m_k].
        prior: [n] weights, as in ``maxent``.
        names: [K], for messages.

    Raises:
        InputError: as ``maxent``; lists of different lengths, or none.

    Examples:
        >>> states = np.arange(4.0)
        >>> ladder = maxent_ladder([states, states**2], [1.0, 2.0])
        >>> bool(np.allclose(ladder.information, -np.diff(ladder.entropy)))
        True
    """
    if not features_list or len(features_list) != len(targets_list):
        raise InputError(
            f"{len(features_list)} features and {len(targets_list)} targets; expected as many of "
            "one as of the other, and at least one"
        )
    columns = [_columns(f) for f in features_list]
    means = [np.atleast_1d(np.asarray(t, dtype=np.float64)) for t in targets_list]
    labels = [
        name if c.shape[1] == 1 else f"{name}[{i}]"
        for name, c in zip(names or [f"feature {i}" for i in range(len(columns))], columns,
                           strict=True)
        for i in range(c.shape[1])
    ]  # fmt: skip
    n = len(columns[0])
    free = maxent(np.zeros((n, 1)), 0.0, prior)
    rungs = [replace(free, lam=free.lam[:0], mean=free.mean[:0], cov=free.cov[:0, :0],
                     null_space=np.zeros((0, 0)))]  # fmt: skip
    information = []
    for k in range(1, len(columns) + 1):
        f, m = np.concatenate(columns[:k], axis=1), np.concatenate(means[:k])
        rungs.append(maxent(f, m, prior, names=labels[: f.shape[1]]))
        information.append(relative_entropy(rungs[-1].p, rungs[-2].p))
    return Ladder(tuple(rungs), np.array([r.entropy for r in rungs]), np.array(information))


def temperature_for_entropy(logits: ArrayLike, target_nats: float) -> float:
    """The temperature at which softmax(logits / T) has a wanted entropy.

    The multiplier of a maximum-entropy problem whose feature is -logit: entropy rises with the
    temperature, from log of the number of largest logits to log of all that are possible.

    Args:
        logits: [V]; -inf marks an impossible outcome.
        target_nats: entropy wanted, strictly between those limits.

    Returns:
        T > 0.

    Raises:
        InputError: an entropy that no temperature gives, with the limits; logits that are nan.

    Examples:
        >>> round(temperature_for_entropy([2.0, 1.0, 0.0], 0.9), 4)
        1.1945
    """
    x = np.asarray(logits, dtype=np.float64)
    if x.ndim != 1 or np.isnan(x).any() or np.any(x == np.inf):
        raise InputError("logits must be one row [V] of finite numbers or -inf")
    x = x[np.isfinite(x)]
    if not len(x):
        raise InputError("every logit is -inf; expected at least one possible outcome")
    x = x - x.max()
    low, high = float(np.log((x == 0).sum())), float(np.log(len(x)))
    if not low < target_nats < high:
        raise InputError(
            f"target_nats = {target_nats}, expected strictly between {low:.6g} (temperature to 0) "
            f"and {high:.6g} (temperature to infinity)"
        )
    from scipy.optimize import brentq

    def excess(log_beta: float) -> float:
        logit = x * np.exp(log_beta)
        weights = np.exp(logit)
        total = weights.sum()
        return float(np.log(total) - (weights @ logit) / total) - target_nats

    span = -float(x.min())
    top = -float(x[x < 0].max())
    ends = -np.log(span) - 40.0, np.log(800.0 / top)
    try:
        return float(np.exp(-brentq(excess, *ends, xtol=1e-14, rtol=1e-14)))
    except ValueError:
        raise InputError(
            f"target_nats = {target_nats} is within rounding of its limits {low:.6g} and {high:.6g}"
        ) from None


def relative_entropy(p: Floats, q: Floats) -> float:
    """KL(p || q), nats, without cancellation: sum p log(p/q) - p + q. Both sum to 1.

    Examples:
        >>> round(relative_entropy(np.array([1.0, 0.0]), np.array([0.5, 0.5])), 6)
        0.693147
    """
    held = p > 0
    ratio = q[held] / p[held]
    with np.errstate(divide="ignore"):
        terms = p[held] * (ratio - 1 - np.log(ratio))
    return float(terms.sum() + q[~held].sum())


def gaussian_entropy(covariance: ArrayLike) -> float:
    """Largest entropy over the reals with this covariance, that of a Gaussian, nats.

        S = (d log(2 pi e) + log det C) / 2

    Args:
        covariance: [d, d], positive definite, or a variance.

    Raises:
        InputError: not positive definite.

    Examples:
        >>> round(gaussian_entropy(1.0), 6)
        1.418939
    """
    c = np.atleast_2d(np.asarray(covariance, dtype=np.float64))
    if c.ndim != 2 or c.shape[0] != c.shape[1] or not np.allclose(c, c.T):
        raise InputError(f"covariance has shape {c.shape}; expected a symmetric square matrix")
    try:
        half = np.log(np.diag(np.linalg.cholesky(c))).sum()
    except np.linalg.LinAlgError:
        raise InputError(
            "the covariance is not positive definite; a direction without spread has entropy -inf"
        ) from None
    return float(half + len(c) / 2 * np.log(2 * np.pi * np.e))


def _explain(f: Floats, m: Floats, sigma: Floats, labels: Sequence[str]) -> None:
    """Raise with the inequality that exact targets violate."""
    exact = sigma == 0
    if not exact.any():
        return
    found = feasibility(f[:, exact], m[exact])
    words = sentence(found, [label for label, e in zip(labels, exact, strict=True) if e])
    if found.place == "outside":
        names = [label for label, d in zip(np.array(labels)[exact], found.direction, strict=True)
                 if d != 0]  # fmt: skip
        what = f"the target of {names[0]}" if len(names) == 1 else (
            f"the targets of {', '.join(names[:-1])} and {names[-1]} together")  # fmt: skip
        raise InputError(
            f"no distribution has {what}: {words}. Change it, or give it a standard error (soft)"
        )
    if found.place == "boundary":
        raise InputError(
            f"the targets are on the boundary of what the states can have, so a multiplier "
            f"diverges: {words}. Drop the states that this rules out (prior 0), or move the target"
        )


def _columns(features: ArrayLike) -> Floats:
    f = np.asarray(features, dtype=np.float64)
    return f[:, None] if f.ndim == 1 else f


def _checked(
    features: ArrayLike,
    targets: ArrayLike,
    prior: ArrayLike | None,
    soft: ArrayLike | None,
    names: Sequence[str] | None,
) -> tuple[Floats, Floats, Floats, Floats, list[str]]:
    f, m = _columns(features), np.atleast_1d(np.asarray(targets, dtype=np.float64))
    if f.ndim != 2 or m.shape != f.shape[1:] or not f.size:
        raise InputError(
            f"features have shape {f.shape} and targets {m.shape}; expected [n, m] and [m]"
        )
    q = np.ones(len(f)) if prior is None else np.asarray(prior, dtype=np.float64)
    sigma = np.zeros(len(m)) if soft is None else np.asarray(soft, dtype=np.float64)
    sigma = np.broadcast_to(sigma, m.shape) if sigma.ndim == 0 else sigma
    labels = list(names) if names is not None else [f"feature {a}" for a in range(len(m))]
    for name, value, shape in (
        ("prior", q, (len(f),)),
        ("soft", sigma, m.shape),
        ("names", np.array(labels), m.shape),
    ):
        if value.shape != shape:
            raise InputError(f"{name} has shape {value.shape}, expected {shape}")
    for name, value in (("features", f), ("targets", m), ("prior", q), ("soft", sigma)):
        if not np.isfinite(value).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
            raise InputError(f"{name} holds {value[place]} at index {place}; expected a number")
    if (q < 0).any() or not q.any():
        raise InputError("prior weights must be 0 or more, and some above 0")
    if (sigma < 0).any():
        raise InputError("standard errors (soft) must be 0 or more")
    return f, m, q, sigma, labels
