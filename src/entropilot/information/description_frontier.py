"""The shortest description at each compute: which run, at which point, and its two parts.

Every log point of every run is a way to describe the data: S bits of model, H bits of data given
the model, bought with C FLOP. The lower convex hull of (C, S + H) says which to take.

Paper: arXiv 2601.03220, Section 4; the rules of the hull follow ``compute_lower_convex_hull`` in
``notebooks/eca_3rules.ipynb`` of shikaiqiu/epiplexity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DescriptionRun:
    """Log points of one training run, each a valid end of it.

    ``compute`` [n] FLOP, ``S`` and ``H`` [n] in one unit (bits or nats); nan marks a point without
    a measurement.
    """

    compute: ArrayLike
    S: ArrayLike
    H: ArrayLike


@dataclass(frozen=True)
class Frontier:
    """Points of the hull, compute rising: FLOP, structure, entropy, and where each comes from."""

    C: Floats
    S: Floats
    H: Floats
    run: NDArray[np.int64]  # index of the run
    point: NDArray[np.int64]  # index of its log point


def training_flop(parameters: int, train_tokens: ArrayLike, test_tokens: float) -> Floats:
    """FLOP of learning and then coding: 6 P n_train + 2 P D.

    Args:
        parameters: P, embeddings included.
        train_tokens: [n] tokens learnt from at each log point (the student's, for requential).
        test_tokens: D, tokens to be coded.

    Examples:
        >>> training_flop(1000, [0, 10], 100).tolist()
        [200000.0, 260000.0]
    """
    return np.asarray(
        6.0 * parameters * np.asarray(train_tokens, np.float64) + 2.0 * parameters * test_tokens
    )


def mdl_frontier(
    runs: Sequence[DescriptionRun], tol: float = 1e-2, reduced: bool = False
) -> Frontier:
    """Lower convex hull of compute against S + H over all runs and log points.

    Args:
        runs: of all sizes and learning rates.
        tol: relative slack: a point stays only if it bends the hull by more, and a point above the
            smallest total so far by more is left out.
        reduced: keep one point a run, that of its median compute (the paper's choice).

    Returns:
        The points that are left, compute rising.

    Raises:
        InputError: no runs, no finite points, or lengths that differ.

    Examples:
        >>> run = DescriptionRun([1.0, 2.0, 4.0], [0.0, 1.0, 2.0], [10.0, 6.0, 4.0])
        >>> found = mdl_frontier([run])
        >>> found.C.tolist(), found.S.tolist()
        ([1.0, 2.0, 4.0], [0.0, 1.0, 2.0])
    """
    points = _points(runs)
    hull: list[tuple[float, float, int]] = []
    for i in np.argsort(points[:, 0], kind="stable"):
        x, y = float(points[i, 0]), float(points[i, 1] + points[i, 2])
        while len(hull) >= 2:
            (x0, y0, _), (x1, y1, _) = hull[-2], hull[-1]
            cross = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
            if cross > tol * abs(x1 - x0) * abs(y - y0):
                break
            hull.pop()
        lowest = min((p[1] for p in hull), default=y)
        if y - lowest <= tol * max(lowest, y):
            hull.append((x, y, int(i)))
    kept = np.array([i for _, _, i in hull])
    if reduced:
        kept = _one_a_run(points, kept)
    chosen = points[kept]
    return Frontier(
        chosen[:, 0],
        chosen[:, 1],
        chosen[:, 2],
        chosen[:, 3].astype(np.int64),
        chosen[:, 4].astype(np.int64),
    )


def epiplexity_at(frontier: Frontier, C: float) -> tuple[float, float]:
    """S and H of the last hull point that ``C`` FLOP pay for; between points the last one holds.

    Raises:
        InputError: C is below the cheapest point.

    Examples:
        >>> run = DescriptionRun([1.0, 2.0], [0.0, 1.0], [10.0, 6.0])
        >>> epiplexity_at(mdl_frontier([run]), 1.5)
        (0.0, 10.0)
    """
    if not frontier.C[0] <= C:
        raise InputError(
            f"C = {C:.4g} FLOP is below the cheapest point of the frontier, {frontier.C[0]:.4g}"
        )
    i = int(np.searchsorted(frontier.C, C, side="right")) - 1
    return float(frontier.S[i]), float(frontier.H[i])


def _points(runs: Sequence[DescriptionRun]) -> Floats:
    """[n, 5] compute, S, H, run and point, of finite points."""
    rows = []
    for r, run in enumerate(runs):
        columns = [np.asarray(x, np.float64).ravel() for x in (run.compute, run.S, run.H)]
        if len({len(c) for c in columns}) != 1:
            raise InputError(
                f"run {r} has {len(columns[0])} computes, {len(columns[1])} values of S and "
                f"{len(columns[2])} of H; expected one of each a log point"
            )
        n = len(columns[0])
        rows.append(np.stack([*columns, np.full(n, float(r)), np.arange(float(n))], axis=1))
    points = np.concatenate(rows) if rows else np.empty((0, 5))
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        raise InputError("no run has a finite point; a frontier needs at least one")
    return points


def _one_a_run(points: Floats, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    chosen = []
    for r in np.unique(points[kept, 3]):
        own = kept[points[kept, 3] == r]
        x = points[own, 0]
        chosen.append(own[int(np.argmin(np.abs(x - np.median(x))))])
    return np.array(sorted(chosen, key=lambda i: points[i, 0]))
