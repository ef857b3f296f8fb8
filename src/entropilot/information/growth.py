"""Emergence as a shape: is log(-log PU) against log N straight, convex or concave?

    straight  the scaling law
    convex    sub-scaling; steps that must all succeed, F = log sum_i exp(log c_i - alpha_i x)
    concave   accelerated; the best of rival circuits wins, F = min_i (log c_i - alpha_i x)

Source: PassUntil (arXiv 2310.03262), Definition 1, Theorems 2 and 3, two-circuit fit. The test for
curvature and the AICc are ours; the softmax weights of the soft vote are inferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.counts import reject
from entropilot.information.intervals import (
    Floats,
    bootstrap_weights,
    percentile_interval,
)
from entropilot.information.pass_until import PassUntilResult, stack_results
from entropilot.information.scaling import checked_sizes, log_minus_log
from entropilot.information.task_rate import instance_rates


@dataclass(frozen=True)
class GrowthShape:
    """Verdict on the shape of a task's growth."""

    verdict: str  # "accelerated" | "sub-scaling" | "consistent with the law" | "undetermined"
    q2: float  # curvature of F in log N; nan with 2 sizes
    q2_ci: tuple[float, float]  # 95 %
    aicc: dict[str, float | None]  # "line", "quadratic", "two-circuit"; None: too few sizes
    circuit_params: tuple[float, float, float, float] | None  # log c_1, alpha_1, log c_2, alpha_2
    n_used: int
    dropped: tuple[float, ...]  # sizes with PU 0 or 1
    n_undefined: int  # bootstrap resamples with a PU of 0 or 1, left out
    reason: str = ""


def circuits(N: ArrayLike, log_c: ArrayLike, alpha: ArrayLike, vote: str = "soft") -> Floats:
    """F = log(-log PU) of several laws together.

        product: PU = prod_i p_i     (steps that must all succeed)
        max:     PU = max_i p_i      (the best circuit wins)
        soft:    PU = sum_i p_i^2 / sum_j p_j      (weights are the softmax of log p_i)

    Args:
        N: [n] sizes.
        log_c: [m] of each law.
        alpha: [m].
        vote: "product", "max" or "soft".

    Returns:
        [n] F.

    Raises:
        InputError: for an unknown vote.

    Examples:
        >>> circuits([1e6, 1e8], [6.0, 1.0], [0.4, 0.05], vote="max").round(3).tolist()
        [0.309, -1.368]
    """
    x = np.log(np.asarray(N, dtype=np.float64))
    f = np.asarray(log_c, dtype=np.float64)[:, None] - np.asarray(alpha)[:, None] * x
    if vote == "max":
        return np.asarray(f.min(axis=0))
    if vote == "product":
        return np.asarray(np.logaddexp.reduce(f, axis=0))
    if vote != "soft":
        raise InputError(f"vote is {vote!r}; expected 'product', 'max' or 'soft'")
    log_p = -np.exp(np.minimum(f, 690.0))
    log_pu = np.logaddexp.reduce(2 * log_p, axis=0) - np.logaddexp.reduce(log_p, axis=0)
    return np.asarray(np.log(np.maximum(-log_pu, 1e-300)))


def growth_shape(
    N: ArrayLike,
    rates: ArrayLike | Sequence[PassUntilResult],
    n_boot: int = 1000,
    seed: int = 0,
    *,
    estimator: str = "mvue",
) -> GrowthShape:
    """Fit F = q0 + q1 x + q2 x^2 with x = log N, and say whether q2 differs from 0.

    Args:
        N: [n] sizes.
        rates: PassUntil results for each size (one with arrays [S]), or rates [n, S] of instances,
            or [n] of the task. Only the last has no instances to draw; its interval comes from
            the scatter about the curve.
        n_boot: resamples of the instances, the same ones at every size.
        seed: of the bootstrap.
        estimator: of the rates of results, "mvue" or "mle".

    Returns:
        "accelerated" if the 95 % interval of q2 lies below 0, "sub-scaling" if above, else
        "consistent with the law"; "undetermined" for 3 sizes or fewer. AICc of the line, the
        quadratic and the two-circuit soft vote (2, 3 and 4 parameters, and the noise variance).

    Raises:
        InputError: for fewer than 2 usable sizes, or shapes that do not fit.

    Examples:
        >>> sizes = np.array([1e6, 1e7, 1e8, 1e9, 1e10])
        >>> shape = growth_shape(sizes, np.exp(-np.exp(circuits(sizes, [6.0], [0.4]))))
        >>> shape.verdict, abs(shape.q2) < 1e-9
        ('consistent with the law', True)

    Source: arXiv 2310.03262, Definition 1.
    """
    sizes = checked_sizes(N)
    table = _instance_table(rates, estimator, len(sizes))
    task = table.mean(axis=1)
    inside = (task > 0) & (task < 1)
    if inside.sum() < 2:
        raise InputError(
            f"{int(inside.sum())} sizes have 0 < PU < 1; a shape needs at least 2, so add sizes"
        )
    x, f = np.log(sizes[inside]), log_minus_log(task[inside])
    n = len(x)
    dropped = tuple(sizes[~inside].tolist())
    aicc, params = _aicc(x, f)
    if n <= 3:
        q2 = float(_curvature_row(x) @ f) if n == 3 else float("nan")
        return GrowthShape(
            "undetermined",
            q2,
            (float("nan"), float("nan")),
            aicc,
            params,
            n,
            dropped,
            0,
            f"{n} sizes; the curvature needs at least 4",
        )
    row = _curvature_row(x)
    q2 = float(row @ f)
    if table.shape[1] > 1:
        low, high, n_undefined = _bootstrap_curvature(row, table[inside], n_boot, seed)
    else:
        low, high = _scatter_interval(x, f, q2, row)
        n_undefined = 0
    verdict = "consistent with the law"
    if high < 0:
        verdict = "accelerated"
    elif low > 0:
        verdict = "sub-scaling"
    return GrowthShape(verdict, q2, (low, high), aicc, params, n, dropped, n_undefined)


def _instance_table(
    rates: ArrayLike | Sequence[PassUntilResult], estimator: str, n: int
) -> NDArray[np.float64]:
    """Rates [n, S]."""
    if isinstance(rates, Sequence) and all(isinstance(x, PassUntilResult) for x in rates):
        columns = [instance_rates(stack_results(x), estimator) for x in rates]  # type: ignore[arg-type]
        if len({len(c) for c in columns}) != 1:
            raise InputError("sizes have different numbers of instances; measure the same ones")
        table = np.stack(columns)
    else:
        table = np.asarray(rates, dtype=np.float64)
        table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != n:
        raise InputError(f"rates has shape {table.shape}; expected [{n} sizes, instances]")
    reject(~((table >= 0) & (table <= 1)), table, "pass rates lie in [0, 1]")
    return table


def _curvature_row(x: Floats) -> Floats:
    """Row that maps F [n] to the quadratic coefficient of its least-squares parabola."""
    centred = x - x.mean()  # the coefficient of x^2 does not depend on the origin
    return np.asarray(np.linalg.pinv(np.stack([np.ones_like(x), centred, centred**2], 1))[2])


def _bootstrap_curvature(
    row: Floats, table: Floats, n_boot: int, seed: int
) -> tuple[float, float, int]:
    s = table.shape[1]
    parts = []
    for weights in bootstrap_weights(s, n_boot, np.random.default_rng(seed)):
        task = weights @ table.T / s
        f = log_minus_log(task)
        q2 = f @ row
        parts.append(np.where(np.isfinite(f).all(axis=1), q2, np.nan))
    low, high, n_undefined = percentile_interval(np.concatenate(parts), 0.95)
    return float(low), float(high), n_undefined


def _scatter_interval(x: Floats, f: Floats, q2: float, row: Floats) -> tuple[float, float]:
    from scipy.special import stdtrit  # costs 0.2 s to import

    rss = _rss(x, f, 2)
    half = float(stdtrit(len(x) - 3, 0.975)) * np.sqrt(rss / (len(x) - 3) * float(row @ row))
    # Below rounding the scatter says nothing: an exact law is consistent with itself.
    half = max(half, 1e-12 * float(np.abs(row).sum()) * max(1.0, float(np.abs(f).max())))
    return q2 - half, q2 + half


def _rss(x: Floats, f: Floats, degree: int) -> float:
    centred = (x - x.mean()) / max(float(x.std()), 1e-300)
    fitted = np.polynomial.polynomial.polyval(
        centred, np.polynomial.polynomial.polyfit(centred, f, degree)
    )
    return float(((f - fitted) ** 2).sum())


def _aicc(
    x: Floats, f: Floats
) -> tuple[dict[str, float | None], tuple[float, float, float, float] | None]:
    """AICc = n log(RSS/n) + 2m + 2m(m+1)/(n-m-1) with m = k + 1, for n > k + 2."""
    n = len(x)

    def value(rss: float, k: int) -> float:
        m = k + 1
        return n * float(np.log(max(rss, 1e-300) / n)) + 2 * m + 2 * m * (m + 1) / (n - m - 1)

    found: dict[str, float | None] = {"line": None, "quadratic": None, "two-circuit": None}
    if n > 4:
        found["line"] = value(_rss(x, f, 1), 2)
    if n > 5:
        found["quadratic"] = value(_rss(x, f, 2), 3)
    params = None
    if n > 6:
        params, rss = fit_two_circuits(np.exp(x), f)
        found["two-circuit"] = value(rss, 4)
    return found, params


def fit_two_circuits(N: ArrayLike, f: ArrayLike) -> tuple[tuple[float, float, float, float], float]:
    """Least squares of F under the soft vote of two laws, from several starts.

    Args:
        N: [n] sizes, n >= 4.
        f: [n] log(-log PU).

    Returns:
        (log c_1, alpha_1, log c_2, alpha_2), the flatter law first, and the residual sum of
        squares.

    Raises:
        InputError: for fewer than 4 sizes.

    Examples:
        >>> sizes = np.logspace(6, 10, 9)
        >>> params, rss = fit_two_circuits(sizes, circuits(sizes, [1.0, 9.0], [0.05, 0.55]))
        >>> rss < 1e-9
        True
    """
    from scipy.optimize import least_squares  # costs 0.3 s to import

    sizes, target = checked_sizes(N), np.asarray(f, dtype=np.float64)
    if len(sizes) < 4 or target.shape != sizes.shape:
        raise InputError(
            f"{len(sizes)} sizes came with F of shape {target.shape}; four parameters need 4 sizes"
        )
    x = np.log(sizes)
    centre = float(x.mean())

    def residual(p: Floats) -> Floats:
        log_c = p[[0, 2]] + p[[1, 3]] * centre  # intercepts at the centre: well conditioned
        return circuits(sizes, log_c, p[[1, 3]]) - target

    order = np.argsort(x)
    slope, level = np.polyfit(x - centre, target, 1)
    starts = [(level, -slope, level + 0.5, -2 * slope), (level, -slope, level + 3, -slope)]
    for j in range(2, len(x) - 1):  # one law for the small sizes, another for the large
        small, large = order[:j], order[j:]
        b1, a1 = np.polyfit(x[small] - centre, target[small], 1)
        b2, a2 = np.polyfit(x[large] - centre, target[large], 1)
        starts.append((a1, -b1, a2, -b2))
    fits = [least_squares(residual, np.array(s), method="lm", max_nfev=2000) for s in starts]
    best = min(fits, key=lambda fit: float(fit.cost))
    pairs = sorted(
        ((a + b * centre, b) for a, b in (best.x[:2], best.x[2:])), key=lambda pair: pair[1]
    )
    (c1, a1), (c2, a2) = pairs
    return (float(c1), float(a1), float(c2), float(a2)), 2 * float(best.cost)
