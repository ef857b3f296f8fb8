"""How hard a denoising step is to learn, and groups of steps of like difficulty.

Source: Denoising task difficulty (arXiv 2403.10348); clusters by SNR as in ANT (arXiv 2306.00354).
Departs from the second: its dynamic programme refuses splits that cost nothing, and what it returns
as left bounds are last steps of the cluster before; here the minimum is exact.

Legend: T timesteps, counted from 0 (little noise) to T - 1 (pure noise); M models.
"""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError, unknown_name

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
ClusterKind = Literal["log_snr", "uniform", "snr_interval", "log_snr_interval"]


def convergence_steps(loss_curves: ArrayLike, q: float = 0.1, window: int = 1) -> Floats:
    """First step at which a loss has made all but a share q of its way down.

    n_q = min {n : (l(n) - l_end) / (l(0) - l_end) <= q}, l_end the mean of the last tenth. The
    scale of a loss does not matter: curves of easy and hard tasks compare.

    Args:
        loss_curves: [M, steps], or [steps] of one model.
        q: share that may be left, in (0, 1).
        window: moving average over so many steps first; a step is then the first of its window.

    Returns:
        [M] steps, counted from 0; nan, with a warning, where a loss ends no lower than it began.

    Raises:
        InputError: q outside (0, 1), a window that does not fit, fewer than two steps.
        BrokenNumbersError: nan or infinite losses.

    Examples:
        >>> convergence_steps(np.exp(-np.arange(1000) / 50)).tolist()
        [116.0]
    """
    curves = np.atleast_2d(np.asarray(loss_curves, dtype=np.float64))
    if curves.ndim != 2 or curves.shape[1] < 2:
        raise InputError(
            f"loss curves have shape {np.shape(loss_curves)}; expected [M, steps], steps >= 2"
        )
    if not 0 < q < 1:
        raise InputError(f"q is {q}; the share of the way that may be left lies between 0 and 1")
    if not 1 <= window < curves.shape[1]:
        raise InputError(
            f"window is {window}; it must be from 1 to {curves.shape[1] - 1} for curves of "
            f"{curves.shape[1]} steps"
        )
    if not np.isfinite(curves).all():
        row, step = np.argwhere(~np.isfinite(curves))[0]
        raise BrokenNumbersError(f"loss {step} of curve {row} is {curves[row, step]}")
    smooth = np.lib.stride_tricks.sliding_window_view(curves, window, 1).mean(-1)
    tail = max(1, round(0.1 * smooth.shape[1]))
    end = smooth[:, -tail:].mean(1, keepdims=True)
    way = smooth[:, :1] - end
    falls = way[:, 0] > 0
    if not falls.all():
        warnings.warn(
            f"loss of curve {int(np.argmin(falls))} ends no lower than it began: it has no step of "
            "convergence",
            stacklevel=2,
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        first = np.argmax((smooth - end) / way <= q, 1).astype(np.float64)
    return np.where(falls, first, np.nan)


def cluster_timesteps(snr: ArrayLike, n: int = 20, kind: ClusterKind = "log_snr") -> list[Steps]:
    """Contiguous groups of timesteps, the hardest (least noise) first.

    Args:
        snr: [T] signal to noise, falling; see ``information.noise_schedule.signal_to_noise``.
        n: number of clusters N.
        kind: ``"log_snr"``, bins of equal width in ln SNR (a bin without a timestep is merged with
            its neighbour); ``"uniform"``, equal numbers of timesteps; ``"snr_interval"`` and
            ``"log_snr_interval"``, the split with the least sum of |z - z of the centre|, z = SNR
            or ln SNR. With plain SNR nearly all bounds fall at the first few timesteps.

    Returns:
        N index arrays that partition 0 .. T - 1; fewer, with a warning, where bins were merged.

    Raises:
        ConfigurationError: no such kind, or n outside 1 .. T.
        InputError: SNR is not positive and falling.

    Examples:
        >>> snr = np.exp(-np.arange(6.0))
        >>> [c.tolist() for c in cluster_timesteps(snr, 3)]
        [[0, 1], [2, 3], [4, 5]]
    """
    if kind not in get_args(ClusterKind):
        raise ConfigurationError(unknown_name("kind of cluster", kind, get_args(ClusterKind)))
    found = _checked_snr(snr)
    if not 1 <= n <= len(found):
        raise ConfigurationError(
            f"n is {n} clusters; there must be 1 to {len(found)}, one timestep each at most"
        )
    if kind == "uniform":
        bounds = [i * len(found) // n for i in range(1, n)]
    elif kind == "log_snr":
        bounds = _equal_bins(np.log(found), n)
    else:
        bounds = _least_spread(np.log(found) if kind == "log_snr_interval" else found, n)
    clusters: list[Steps] = np.split(np.arange(len(found)), bounds)
    return clusters


def quantile_clusters(n: int = 20) -> list[tuple[float, float]]:
    """Clusters of a continuous noise level: equal quantiles of its training distribution.

    A curriculum over them draws u; a model of EDM's kind trains at ln sigma = the u-quantile, for
    instance sigma = exp(P_mean + P_std * ndtri(u)).

    Args:
        n: number of clusters.

    Returns:
        Intervals of u, the hardest (least noise) first.

    Raises:
        ConfigurationError: n below 1.

    Examples:
        >>> quantile_clusters(2)
        [(0.0, 0.5), (0.5, 1.0)]
    """
    if n < 1:
        raise ConfigurationError(f"n is {n} clusters; there must be at least 1")
    return [(i / n, (i + 1) / n) for i in range(n)]


def _checked_snr(snr: ArrayLike) -> Floats:
    found = np.asarray(snr, dtype=np.float64)
    if found.ndim != 1 or not found.size:
        raise InputError(f"snr has shape {found.shape}; expected [T], one number a timestep")
    bad = ~(np.isfinite(found) & (found > 0))
    if bad.any():
        t = int(np.argmax(bad))
        raise InputError(f"snr is {found[t]} at t = {t}; it must be a number above 0")
    rises = np.diff(found) >= 0
    if rises.any():
        t = int(np.argmax(rises)) + 1
        raise InputError(
            f"snr does not fall at t = {t} ({found[t - 1]:g}, then {found[t]:g}); timesteps run "
            "from little noise to much"
        )
    return found


def _equal_bins(z: Floats, n: int) -> list[int]:
    place = np.minimum((n * (z[0] - z) / max(z[0] - z[-1], 1e-300)).astype(int), n - 1)
    bounds = np.flatnonzero(np.diff(place)) + 1
    if len(bounds) < n - 1:
        warnings.warn(
            f"{n - 1 - len(bounds)} of {n} bins of ln SNR hold no timestep and were merged with a "
            f"neighbour: {len(bounds) + 1} clusters are left",
            stacklevel=3,
        )
    return [int(b) for b in bounds]


def _least_spread(z: Floats, n: int) -> list[int]:
    """Left bounds but the first, by dynamic programming over the end of each cluster."""
    T = len(z)
    sums = np.concatenate([[0.0], np.cumsum(z)])
    left, right = np.arange(T)[:, None], np.arange(T)[None, :]
    centre = np.minimum(np.rint((left + right + 1) / 2).astype(int), np.maximum(right, left))
    middle = z[centre]
    # z falls: what is left of the centre is above it, what is right below
    cost = (sums[centre + 1] - sums[left]) - (centre + 1 - left) * middle
    cost += (right - centre) * middle - (sums[right + 1] - sums[centre + 1])
    # a rounding error must not make one cluster cheaper than two
    cost = np.where(right >= left, np.maximum(cost, 0.0), np.inf)
    best, choices = cost[0], []
    by_end = np.ascontiguousarray(cost[1:].T)  # the last cluster begins at 1 .. T - 1
    for _ in range(n - 1):
        total = by_end + best[:-1]
        choices.append(total.argmin(1))
        best = total[np.arange(T), choices[-1]]
    bounds, end = [], T - 1
    for choice in reversed(choices):
        bounds.append(int(choice[end]) + 1)
        end = bounds[-1] - 1
    return bounds[::-1]
