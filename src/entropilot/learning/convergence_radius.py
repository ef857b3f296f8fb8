"""Convergence radius of the softmax along a step: how far a loss can be trusted.

Source: Ghosts of Softmax: Complex Singularities That Limit Safe Step Sizes in Cross-Entropy (arXiv
2603.13552). Along a unit direction v with logit slopes a = J v the linearised loss is

    l(t) = -a_y t + log F(t) + const,    F(t) = sum_k exp(z_k + a_k t)

Its Taylor series converges up to the nearest complex zero of F, at modulus rho* >= pi / Delta with
Delta = max_k a_k - min_k a_k. A step of length tau is r = tau / rho radii long.

What r < 1 is not: a promise that the true loss falls. It says that the series of the loss with
*linearised logits* converges: one step, and for networks with kinks (ReLU) an empirical rule only.

Departs from the paper: ``exact_radius`` brackets the nearest zero by counting zeros in growing
circles before it calls Newton's method, instead of starting Newton's method on a fixed grid. Every
answer is proven by a count just inside and just outside.

Legend: K logits of a sample, [...] samples. Radii are lengths in parameter space.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information._backend import Array, as_float, first_row, namespace
from entropilot.learning import _zero_kernels as kernels

Floats = NDArray[np.float64]


def slope_spread(slopes: Array, mask: Array | None = None) -> Array:
    """Largest minus smallest slope of each sample: Delta.

    Args:
        slopes: [..., K] logit slopes along a direction, K >= 2.
        mask: [...] bool, True where a sample counts; the others get a spread of 0, so that they
            limit nothing.

    Returns:
        [...] >= 0, of the kind of ``slopes``.

    Raises:
        InputError: K < 2, a slope that counts is not finite, or no sample counts.

    Examples:
        >>> slope_spread(np.array([[0.0, 1.0, -2.0], [5.0, 5.0, 5.0]])).tolist()
        [3.0, 0.0]
    """
    a = as_float(slopes)
    _check_outcomes(a, "slopes")
    xp = namespace(a)
    spread = xp.amax(a, -1) - xp.amin(a, -1)
    if mask is not None:
        if tuple(mask.shape) != tuple(spread.shape):
            raise InputError(
                f"mask has shape {tuple(mask.shape)}, the samples {tuple(spread.shape)}; "
                "give one flag a sample"
            )
        if not bool(mask.any()):
            raise InputError("the mask leaves no sample; a radius needs at least one")
        spread = xp.where(mask, spread, xp.zeros_like(spread))
    bad = ~xp.isfinite(spread)
    if bool(bad.any()):
        raise InputError(f"slopes, {first_row(bad)}, are not finite; find what made them overflow")
    return spread


def radius_bound(spread: Array) -> Array:
    """The radius that is always safe: pi / Delta, inf where Delta is 0.

    Below it all phases a_k Im t lie in an open half circle, so that F can't vanish. It is reached
    for two equal logits.

    Args:
        spread: [...] >= 0.

    Returns:
        [...] radii, of the kind of ``spread``.

    Examples:
        >>> radius_bound(np.array([math.pi, 0.0])).tolist()
        [1.0, inf]
    """
    spread = as_float(spread)
    xp = namespace(spread)
    positive = spread > 0
    return xp.where(
        positive,
        math.pi / xp.where(positive, spread, xp.ones_like(spread)),
        xp.full_like(spread, math.inf),
    )


def binary_radius(delta: Array, spread: Array) -> Array:
    """Exact radius for two logits: sqrt(delta^2 + pi^2) / Delta.

    Args:
        delta: [...] difference of the two logits, nats.
        spread: [...] difference of their slopes; 0 gives inf.

    Returns:
        [...] radii.

    Examples:
        >>> round(float(binary_radius(2.0, 4.5)), 6)
        0.827598
    """
    d, s = as_float(delta), as_float(spread)
    xp = namespace(d, s)
    if xp is not np:
        d, s = xp.as_tensor(d), xp.as_tensor(s)
    return xp.sqrt(d * d + math.pi**2) * radius_bound(abs(s)) / math.pi


def normalized_step(step_slopes: Array, mask: Array | None = None) -> float:
    """Length of a step in radii: r = max over samples of spread(J p) / pi.

    The slopes are taken along the step p itself, so that nothing is divided by its length and a
    step of zero has r = 0.

    Args:
        step_slopes: [..., K] = J p, the first-order change of the logits by the whole step.
        mask: [...] bool, True where a sample counts.

    Raises:
        InputError: as ``slope_spread``.

    Examples:
        >>> normalized_step(np.array([[0.0, math.pi], [0.0, 0.1]]))
        1.0
    """
    return float(slope_spread(step_slopes, mask).max()) / math.pi


def exact_radius(logits: ArrayLike, slopes: ArrayLike, *, certify: bool = True) -> Floats:
    """Modulus of the zero of F nearest to 0: the exact radius of the linearised loss.

    Two logits (or two different slopes) have a closed form. Else circles grow from the bound until
    the argument principle counts a zero, a bisection narrows the ring, and Newton's method starts
    at the ring's dips of |F|. Multiple zeros are found by a contour integral.

    Args:
        logits: [..., K] nats, K >= 2.
        slopes: [..., K] along a direction.
        certify: count the zeros just inside and just outside of each answer; a zero nearer to 0
            starts the search again. False saves about half of the time.

    Returns:
        [...] float64 radii, >= pi / Delta; inf where all slopes are equal.

    Raises:
        InputError: shapes differ, K < 2, a value is not finite, or an answer can't be proven.

    Examples:
        >>> h, n = 0.7, 5  # equal logits and slopes 0, h, .., (n-1) h: 2 pi / (n h)
        >>> float(exact_radius(np.zeros(n), h * np.arange(n)) * n * h / (2 * math.pi)).__round__(9)
        1.0
    """
    z, a = checked_samples(logits, slopes)
    lead = z.shape[:-1]
    z, a = z.reshape(-1, z.shape[-1]), a.reshape(-1, a.shape[-1])
    low, high = a.min(-1), a.max(-1)
    spread = high - low
    rho = np.full(len(z), math.inf)
    # slopes of a sample that are the lowest or the highest: two groups of logits, two terms of F
    two = ((a == low[:, None]) | (a == high[:, None])).all(-1) & (spread > 0)
    if two.any():
        delta = _grouped(z, a == high[:, None])[two] - _grouped(z, a == low[:, None])[two]
        rho[two] = binary_radius(delta, spread[two])
    rest = ~two & (spread > 0)
    if rest.any():
        unit = (a[rest] - a[rest].mean(-1, keepdims=True)) * (math.pi / spread[rest])[:, None]
        ratio, proven = kernels.nearest_zeros(
            np.ascontiguousarray(z[rest] - z[rest].max(-1, keepdims=True)),
            np.ascontiguousarray(unit),
            certify,
        )
        if certify and not proven.all():
            first = int(np.flatnonzero(rest)[np.argmin(proven)])
            raise InputError(
                f"sample {first}: the nearest zero could not be proven (logits span "
                f"{np.ptp(z[first]):.3g} nats); use radius_bound, which needs no search"
            )
        rho[rest] = np.maximum(ratio, 1.0) * math.pi / spread[rest]
    return rho.reshape(lead)


def zeros_within(logits: ArrayLike, slopes: ArrayLike, radius: ArrayLike) -> NDArray[np.int64]:
    """Zeros of F with a modulus below ``radius``, counted by the argument principle.

    Args:
        logits: [..., K] nats.
        slopes: [..., K].
        radius: [...] > 0 and finite, broadcast against the samples.

    Returns:
        [...] even counts (zeros come in conjugate pairs); -1 where a zero lies on the circle, as
        far as float64 can tell.

    Raises:
        InputError: as ``exact_radius``; a radius that is not positive and finite.

    Examples:
        >>> zeros_within(np.zeros(2), np.array([0.0, 1.0]), [3.1, 3.2, 9.5]).tolist()
        [0, 2, 4]
    """
    z, a = checked_samples(logits, slopes)
    r = np.asarray(radius, dtype=np.float64)
    if not (np.isfinite(r) & (r > 0)).all():
        raise InputError("radius must be positive and finite")
    shape = np.broadcast_shapes(z.shape[:-1], r.shape)
    z = np.broadcast_to(z, (*shape, z.shape[-1])).reshape(-1, z.shape[-1])
    a = np.broadcast_to(a, (*shape, a.shape[-1])).reshape(-1, a.shape[-1])
    r = np.broadcast_to(r, shape).ravel()
    centred = a - a.mean(-1, keepdims=True)
    counts = [
        kernels.zeros_inside(float(r[i]), z[i] - z[i].max(), centred[i]) for i in range(len(z))
    ]
    return np.array(counts, dtype=np.int64).reshape(shape)


def ghosts_top2(logits: Array, slopes: Array, labels: Array) -> NDArray[np.complex128]:
    """Where the nearest singularity would lie if only the label and its best rival existed.

        t = (delta + i pi) / (a_c - a_y),    delta = z_y - z_c,  c = best class but y

    A diagnostic to plot over training; exact for K = 2, an approximation for more.

    Args:
        logits: [..., K] nats.
        slopes: [..., K].
        labels: [...] class of each sample, 0 <= y < K.

    Returns:
        [...] complex; inf where |a_c - a_y| < 1e-12.

    Raises:
        InputError: shapes differ, K < 2, a label is out of range or a value is not finite.

    Examples:
        >>> complex(ghosts_top2(np.array([1.0, 0.0]), np.array([0.0, 2.0]), np.array(0)))
        (0.5+1.5707963267948966j)
    """
    z, a = checked_samples(logits, slopes)
    y = np.asarray(on_cpu(labels), dtype=np.int64)
    if y.shape != z.shape[:-1]:
        raise InputError(f"labels have shape {y.shape}, the samples {z.shape[:-1]}")
    if y.size and (y.min() < 0 or y.max() >= z.shape[-1]):
        raise InputError(
            f"labels run from {y.min()} to {y.max()}; they must be in [0, {z.shape[-1]})"
        )
    at = y[..., None]
    rivals = z.copy()
    np.put_along_axis(rivals, at, -np.inf, -1)
    c = rivals.argmax(-1)[..., None]
    delta = (np.take_along_axis(z, at, -1) - np.take_along_axis(z, c, -1))[..., 0]
    slope = (np.take_along_axis(a, c, -1) - np.take_along_axis(a, at, -1))[..., 0]
    flat = abs(slope) < 1e-12
    ghosts = (delta + 1j * math.pi) / np.where(flat, 1.0, slope)
    return np.where(flat, np.inf + 0j, ghosts)


def _grouped(z: Floats, member: NDArray[np.bool_]) -> Floats:
    kept = np.where(member, z, -np.inf)
    top = kept.max(-1, keepdims=True)
    total: Floats = top[:, 0] + np.log(np.exp(kept - top).sum(-1))
    return total


def on_cpu(value: Any) -> Any:
    """The value, and a tensor as an array or tensor that numpy can read."""
    if namespace(value) is np:
        return value
    return value.detach().cpu().double().numpy() if value.is_floating_point() else value.cpu()


def checked_samples(logits: Any, slopes: Any) -> tuple[Floats, Floats]:
    """Both as float64 arrays of one shape [..., K], K >= 2, all finite; else ``InputError``."""
    z = np.array(on_cpu(logits), dtype=np.float64)
    a = np.array(on_cpu(slopes), dtype=np.float64)
    if z.shape != a.shape:
        raise InputError(f"logits have shape {z.shape}, slopes {a.shape}; they must agree")
    _check_outcomes(z, "logits")
    for name, values in (("logits", z), ("slopes", a)):
        bad = ~np.isfinite(values).all(-1)
        if bad.any():
            raise InputError(f"{name}, {first_row(bad)}, are not finite; leave such a sample out")
    return z, a


def _check_outcomes(values: Any, name: str) -> None:
    if values.ndim == 0 or values.shape[-1] < 2:
        raise InputError(
            f"{name} have shape {tuple(values.shape)}: a softmax needs at least two logits"
        )
