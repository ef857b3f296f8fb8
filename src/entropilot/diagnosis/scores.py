"""Columns of the frame as arrays: scores, labels, groups, folds; and what may be ranked at all."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]
N_FOLDS: Final = 5
FEWEST: Final = 10  # right and wrong labels, each, below which nothing is fitted to them
MOST_CLUSTERS: Final = 4000  # more groups than this are drawn in bundles


def score_of(frame: pl.DataFrame, name: str) -> Floats:
    """One signal as numbers [n]; nan where a trace has none, or the frame has no such column.

    Args:
        frame: one row a trace.
        name: column.

    Returns:
        float64 [n].

    Examples:
        >>> score_of(pl.DataFrame({"entropy_mean": [0.5, None]}), "entropy_mean").tolist()
        [0.5, nan]
    """
    if name not in frame.columns:
        return np.full(frame.height, np.nan)
    values = frame[name].cast(pl.Float64, strict=False).fill_null(np.nan)
    score: Floats = values.to_numpy().astype(np.float64)
    return np.where(np.isfinite(score), score, np.nan)


def labels_of(frame: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which traces have a label [n], and which of them are wrong [n].

    Args:
        frame: one row a trace, with the column correct.

    Returns:
        Two masks; the second is False where the first is.

    Examples:
        >>> known, wrong = labels_of(pl.DataFrame({"correct": [True, None, False]}))
        >>> known.tolist(), wrong.tolist()
        ([True, False, True], [False, False, True])
    """
    if "correct" not in frame.columns:
        none = np.zeros(frame.height, dtype=np.bool_)
        return none, none.copy()
    correct = frame["correct"].cast(pl.Boolean)
    known: NDArray[np.bool_] = correct.is_not_null().to_numpy()
    right: NDArray[np.bool_] = correct.fill_null(True).to_numpy()
    return known, ~right


def groups_of(frame: pl.DataFrame) -> NDArray[np.int64]:
    """Group of each trace as a number; a trace without a group is a group of its own.

    Args:
        frame: one row a trace, with the column group.

    Returns:
        int64 [n], 0 .. G-1 in order of first sight.

    Examples:
        >>> groups_of(pl.DataFrame({"group": ["q1", "q2", None, "q1", None]})).tolist()
        [0, 1, 2, 0, 3]
    """
    n = frame.height
    if "group" not in frame.columns or frame["group"].null_count() == n:
        return np.arange(n)
    name = frame["group"].cast(pl.String)
    own = np.where(name.is_null().to_numpy(), np.arange(n), -1)
    start = (
        pl.DataFrame({"group": name, "own": own, "at": np.arange(n)})
        .select(pl.col("at").min().over(["group", "own"]))
        .to_series()
        .to_numpy()
    )
    _, index = np.unique(start, return_inverse=True)
    return np.asarray(index, dtype=np.int64)


def check_comparable(frame: pl.DataFrame, force: bool = False) -> str | None:
    """Refuse to rank traces that were logged with different k.

    Args:
        frame: one row a trace, with the column k (alternatives a token).
        force: go on, and say so in a note.

    Returns:
        A note when it was forced, otherwise None.

    Raises:
        InputError: several k, and not forced.

    Examples:
        >>> check_comparable(pl.DataFrame({"k": [20, 20]})) is None
        True

    Source: the renormalised entropy of k alternatives is at most ln k, so its scale depends on k.
    """
    if "k" not in frame.columns:
        return None
    counts = frame.filter(pl.col("k") > 0).group_by("k").len().sort("len", descending=True).rows()
    if len(counts) < 2:
        return None
    listed = ", ".join(f"k = {k}: {n} traces" for k, n in counts[:5])
    found = f"the traces list different numbers of alternatives ({listed})"
    if force:
        return (
            f"{found}; entropies are bounded by ln k, so the ranking favours traces with larger k. "
            "It was forced."
        )
    smallest = min(k for k, _ in counts)
    raise InputError(
        f"{found}; entropies are bounded by ln k, so these can't be ranked together. Cut all to "
        f"the smallest with --top-k {smallest}, in Python truncate_top_k(traces, {smallest}); "
        "assess each k alone; or rank them all the same with --force, in Python force=True"
    )


def folds_of(groups: NDArray[np.int64], seed: int, n_folds: int = N_FOLDS) -> NDArray[np.int64]:
    """Fold of each trace; all traces of a group share one.

    Args:
        groups: [n] numbers from ``groups_of``.
        seed: of the shuffle.
        n_folds: at most this many; fewer when there are fewer groups.

    Returns:
        int64 [n].

    Examples:
        >>> sorted(set(folds_of(np.array([0, 1, 2, 3]), seed=0, n_folds=2).tolist()))
        [0, 1]
    """
    names, index = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % max(1, min(n_folds, len(names))))[index], dtype=np.int64)


def clusters_of(
    groups: NDArray[np.int64], seed: int, most: int = MOST_CLUSTERS
) -> tuple[NDArray[np.int64], int]:
    """Units of a bootstrap over groups: the groups, or bundles of them where there are many.

    Bundles of independent groups are independent too, so a bootstrap over bundles stays honest, and
    a million problems cost what some thousands cost.

    Args:
        groups: [n] numbers from ``groups_of``.
        seed: of the bundling.
        most: at most this many units.

    Returns:
        Unit of each trace [n], and how many units there are.

    Examples:
        >>> clusters_of(np.array([7, 3, 7]), seed=0)
        (array([1, 0, 1]), 2)
    """
    names, index = np.unique(groups, return_inverse=True)
    if len(names) <= most:
        return np.asarray(index, dtype=np.int64), len(names)
    bundle = np.random.default_rng(seed).permutation(len(names)) % most
    return np.asarray(bundle[index], dtype=np.int64), most
