"""How much one step of noise changes the law of the data: KL(p_{t-1} || p_t), nats.

The relative entropy of consecutive marginals is one measure of how hard a denoising step is: of
Gaussians and their mixtures in closed form, by quadrature or by sampling, of samples by the
Gaussian that has their moments.

Source: Denoising task difficulty (arXiv 2403.10348); the estimators are ours. Departs from it: by
sampling, the mean of q/p - 1 - ln(q/p) is taken, whose terms are never negative, in place of the
mean of ln(p/q); both have the same expectation, and at KL = 1e-8 the second has a standard error a
thousand times its value.

Legend: T steps, K components, D dimensions, N samples.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError, unknown_name
from entropilot.information.noise_schedule import checked_schedule

Floats = NDArray[np.float64]
Method = Literal["quadrature", "monte_carlo"]

REACH = 12.0  # of the quadrature, standard deviations: the tail beyond is below 1e-32
PER_DEVIATION = 16  # points of the quadrature in the smallest standard deviation


class StepKL(NamedTuple):
    """KL(p_{t-1} || p_t), and its standard error: 0 by quadrature."""

    value: Floats
    stderr: Floats


def gaussian_step_kl(mean: float, std: float, alpha_bar: ArrayLike, dim: int = 1) -> Floats:
    """KL of consecutive marginals of N(m, s^2 I), t = 1 .. T - 1.

    D/2 (ln(v_t / v_{t-1}) + v_{t-1} / v_t - 1) + |m|^2 (sqrt abar_{t-1} - sqrt abar_t)^2 / (2 v_t),
    v_t = abar_t s^2 + 1 - abar_t.

    Args:
        mean: the length of the mean.
        std: s, of every dimension.
        alpha_bar: [T] schedule.
        dim: D.

    Returns:
        [T - 1]; entry i is KL(p_i || p_{i+1}).

    Raises:
        InputError: a bad schedule, a negative deviation, or dim below 1.

    Examples:
        >>> gaussian_step_kl(0.0, 1.0, [0.9, 0.5, 0.1]).tolist()
        [0.0, 0.0]
    """
    a = checked_schedule(alpha_bar)
    if not std >= 0 or dim < 1:
        raise InputError(f"std is {std} and dim {dim}; expected std >= 0 and dim >= 1")
    square = float(std) ** 2
    shift = np.sqrt(a[:-1]) - np.sqrt(a[1:])
    moved = mean**2 * shift**2 / (2 * (1 + a[1:] * (square - 1)))
    return dim * _variance_term(a, square - 1) + moved


def mixture_step_kl(
    weights: ArrayLike,
    means: ArrayLike,
    stds: ArrayLike,
    alpha_bar: ArrayLike,
    t: ArrayLike,
    method: Method = "quadrature",
    n: int = 10_000,
    seed: int = 0,
) -> StepKL:
    """KL of consecutive marginals of a mixture of round Gaussians.

    Args:
        weights: [K], sum 1.
        means: [K] in one dimension, or [K, D].
        stds: one number, or [K].
        alpha_bar: [T] schedule.
        t: steps, 1 <= t < T; a number or an array. The same draws serve all of them.
        method: ``"quadrature"`` (one dimension, exact to 1e-9) or ``"monte_carlo"``.
        n: draws from p_{t-1}.
        seed: of the draws.

    Returns:
        Values and standard errors in the shape of t.

    Raises:
        InputError: shapes that do not fit, weights that do not sum to 1, t outside 1 .. T - 1.
        ConfigurationError: no such method, quadrature in more than one dimension, fewer than two
            draws.

    Examples:
        >>> found = mixture_step_kl([0.5, 0.5], [-1.0, 1.0], 0.1, [0.99, 0.9, 0.5], [1, 2])
        >>> found.value.round(3).tolist()
        [0.451, 0.341]
    """
    if method not in get_args(Method):
        raise ConfigurationError(unknown_name("method", method, get_args(Method)))
    a = checked_schedule(alpha_bar)
    w, m, s = _mixture(weights, means, stds)
    steps = np.asarray(t)
    if steps.dtype.kind not in "iu" or not ((steps >= 1) & (steps < len(a))).all():
        raise InputError(
            f"t must hold whole numbers from 1 to {len(a) - 1} (KL(p_{{t-1}} || p_t) of a schedule "
            f"of {len(a)}), found {t!r}"
        )
    flat = np.atleast_1d(steps).ravel()
    if method == "quadrature":
        if m.shape[1] != 1:
            raise ConfigurationError(
                f"quadrature is for one dimension and the means have {m.shape[1]}; "
                "use method='monte_carlo'"
            )
        value = np.array([_quadrature(w, m[:, 0], s, a[i - 1], a[i]) for i in flat])
        error = np.zeros(len(flat))
    else:
        if n < 2:
            raise ConfigurationError(f"n is {n}; an error needs at least 2 draws")
        value, error = _monte_carlo(w, m, s, a, flat, n, seed)
    return StepKL(value.reshape(steps.shape), error.reshape(steps.shape))


def sample_step_kl(
    x0: ArrayLike, alpha_bar: ArrayLike, t: ArrayLike | None = None, dims: int | None = 16
) -> Floats:
    """KL of consecutive marginals of the Gaussian that has the samples' moments.

    Args:
        x0: [N, D] data. Take its mean away first to leave the mean's own term out.
        alpha_bar: [T] schedule.
        t: steps, 1 <= t < T; None is all of them.
        dims: principal directions that are kept, those of largest variance; None is all.

    Returns:
        In the shape of t, or [T - 1].

    Raises:
        InputError: fewer than two samples, a bad schedule, or t outside 1 .. T - 1.
        BrokenNumbersError: nan or infinite data.

    Examples:
        >>> x0 = np.random.default_rng(0).normal(size=(500, 3)) * [2.0, 1.0, 0.1]
        >>> sample_step_kl(x0, [0.99, 0.9, 0.5]).shape
        (2,)
    """
    x, a = np.asarray(x0, dtype=np.float64), checked_schedule(alpha_bar)
    if x.ndim != 2 or len(x) < 2:
        raise InputError(f"x0 has shape {x.shape}; expected [N, D] with at least 2 samples")
    if not np.isfinite(x).all():
        row = int(np.argmin(np.isfinite(x).all(1)))
        raise BrokenNumbersError(f"sample {row} of x0 holds nan or infinite numbers")
    if dims is not None and dims < 1:
        raise InputError(f"dims is {dims}; keep at least 1 direction, or None for all")
    mean = x.mean(0)
    values, directions = np.linalg.eigh(np.atleast_2d(np.cov(x, rowvar=False)))
    kept = slice(None, None, -1) if dims is None else slice(None, -1 - min(dims, len(values)), -1)
    variance = np.maximum(values[kept], 0.0)
    along = (mean @ directions)[kept]
    v = 1 + a[1:, None] * (variance - 1)  # [T - 1, D]
    shift = np.sqrt(a[:-1]) - np.sqrt(a[1:])
    moved = (along**2 / (2 * v)).sum(1) * shift**2
    found: Floats = _variance_term(a[:, None], variance - 1).sum(1) + moved
    if t is None:
        return found
    steps = np.asarray(t)
    if steps.dtype.kind not in "iu" or not ((steps >= 1) & (steps < len(a))).all():
        raise InputError(f"t must hold whole numbers from 1 to {len(a) - 1}, found {t!r}")
    return np.asarray(found[steps - 1])


def _variance_term(a: Floats, excess: Floats | float) -> Floats:
    """(ln(v_t / v_{t-1}) + v_{t-1} / v_t - 1) / 2 of v = 1 + a excess, without cancellation.

    With y = v_{t-1} / v_t - 1 it is (y - ln(1 + y)) / 2, a series where y is small.
    """
    y = (a[:-1] - a[1:]) * excess / (1 + a[1:] * excess)
    near = y * y * (1 / 2 - y * (1 / 3 - y * (1 / 4 - y * (1 / 5 - y / 6))))
    return np.asarray(np.where(abs(y) < 1e-3, near, y - np.log1p(y)) / 2)


def _mixture(
    weights: ArrayLike, means: ArrayLike, stds: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    w, m = np.asarray(weights, dtype=np.float64), np.asarray(means, dtype=np.float64)
    m = m[:, None] if m.ndim == 1 else m
    if w.ndim != 1 or m.ndim != 2 or len(m) != len(w) or not len(w):
        raise InputError(
            f"weights have shape {w.shape} and means {np.shape(means)}; expected [K] and [K] or "
            "[K, D]"
        )
    if (w < 0).any() or not abs(w.sum() - 1) <= 1e-6:
        raise InputError(f"weights must be >= 0 and sum to 1; they sum to {w.sum():g}")
    s = np.asarray(stds, dtype=np.float64)
    if s.shape not in ((), (len(w),)) or not (s > 0).all():
        raise InputError(f"stds are {stds!r}; expected one number above 0, or {len(w)} of them")
    kept = w > 0
    return w[kept], m[kept], np.broadcast_to(s, (len(w),))[kept].copy()


def _quadrature(w: Floats, m: Floats, s: Floats, before: float, after: float) -> float:
    variances = [a * s**2 + 1 - a for a in (before, after)]
    widest = float(np.sqrt(max(v.max() for v in variances)))
    finest = float(np.sqrt(min(v.min() for v in variances)))
    low = float(np.sqrt(before) * m.min()) - REACH * widest
    high = float(np.sqrt(before) * m.max()) + REACH * widest
    x = np.linspace(low, high, int((high - low) / finest * PER_DEVIATION) + 1)
    p, q = (
        _log_density(x, w, np.sqrt(a) * m, v)
        for a, v in zip((before, after), variances, strict=True)
    )
    ratio = q - p
    # p (q/p - 1 - ln(q/p)) has the integral of p ln(p/q) and does not cancel. The trapezoid rule
    # converges exponentially for Gaussians
    return float(np.sum(np.exp(p) * (np.expm1(ratio) - ratio)) * (x[1] - x[0]))


def _log_density(x: Floats, w: Floats, m: Floats, v: Floats) -> Floats:
    terms = np.log(w / np.sqrt(2 * np.pi * v)) - (x[:, None] - m) ** 2 / (2 * v)
    top = terms.max(1)
    found: Floats = top + np.log(np.exp(terms - top[:, None]).sum(1))
    return found


def _monte_carlo(
    w: Floats, m: Floats, s: Floats, a: Floats, steps: NDArray[np.int64], n: int, seed: int
) -> tuple[Floats, Floats]:
    from entropilot.information._mixture_kernels import step_kl_moments

    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(w), n, p=w / w.sum())
    data = m[chosen] + s[chosen, None] * rng.normal(size=(n, m.shape[1]))
    noise = rng.normal(size=data.shape)
    log_w = np.log(w)
    moments = step_kl_moments(
        np.ascontiguousarray(data.T),
        np.ascontiguousarray(noise.T),
        log_w,
        m,
        s,
        a[steps - 1],
        a[steps],
    )
    mean = moments[:, 0] / n
    variance = np.maximum(moments[:, 1] / n - mean**2, 0.0) * n / (n - 1)
    return mean, np.sqrt(variance / n)
