"""Two-class samples as signed rows z_i = y_i a_i, checked at the door.

A linear separator classifies sample i rightly when z_i . theta > 0 (strictly).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import BrokenNumbersError, InputError

Floats = NDArray[Any]


def signed_samples(X: ArrayLike, y: ArrayLike, *, bias: bool = False) -> Floats:
    """Rows y_i a_i [n, d], or [n, d + 1] with a constant feature 1 last.

    Args:
        X: [n, d]; float32 stays float32, all else becomes float64.
        y: [n] of -1 and 1, or of 0 (taken as -1) and 1. One class only is allowed, with a warning.
        bias: append a constant feature; it counts in the largest norm R.

    Raises:
        InputError: no samples, wrong shapes, or labels that are not -1 and 1 (or 0 and 1).
        BrokenNumbersError: nan or infinite features.

    Examples:
        >>> signed_samples([[1, 2], [3, 4]], [1, 0], bias=True).tolist()
        [[1.0, 2.0, 1.0], [-3.0, -4.0, -1.0]]
    """
    a = np.asarray(X)
    if a.dtype != np.float32:
        try:
            a = a.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"X has dtype {a.dtype}; expected numbers [n, d]") from error
    if a.ndim != 2:
        raise InputError(f"X has shape {a.shape}; expected [n samples, d features]")
    if a.shape[0] == 0 or a.shape[1] == 0:
        raise InputError(f"X has shape {a.shape}; expected at least one sample and one feature")
    if not np.isfinite(a).all():
        i, j = np.argwhere(~np.isfinite(a))[0]
        raise BrokenNumbersError(
            f"X[{i}, {j}] is {a[i, j]}; features must be finite: drop or fill such samples"
        )
    signs = _signs(y, len(a)).astype(a.dtype)
    if bias:
        a = np.concatenate([a, np.ones((len(a), 1), a.dtype)], axis=1)
    return np.ascontiguousarray(a * signs[:, None])


def _signs(y: ArrayLike, n: int) -> Floats:
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise InputError(f"y has shape {labels.shape}; expected one label for each of {n} samples")
    seen = np.unique(labels)
    try:
        values = {float(v) for v in seen}
    except (TypeError, ValueError):
        values = {np.nan}
    if not (values <= {-1.0, 1.0} or values <= {0.0, 1.0}):
        shown = ", ".join(str(v) for v in seen[:5]) + (", ..." if len(seen) > 5 else "")
        raise InputError(
            f"y has the values {shown}; expected the two values -1 and 1, or 0 and 1. For other "
            "names use LinearSeparator, or np.where(y == name, 1, -1)"
        )
    if len(seen) == 1:
        warnings.warn(
            f"all labels are {seen[0]}: one class is separated by a direction that all its samples "
            "share, and says nothing about the other class",
            stacklevel=3,
        )
    return np.where(labels.astype(np.float64) > 0, 1.0, -1.0)


def why_inseparable(z: Floats) -> str | None:
    """A plain reason why no separator exists, or None; ``is_separable`` decides in general.

    Args:
        z: signed rows [n, d].

    Examples:
        >>> why_inseparable(np.array([[1.0, 2.0], [-1.0, -2.0]]))
        'samples 0 and 1 are equal but have opposite labels, so that nothing separates them'
    """
    empty = np.flatnonzero(~z.any(axis=1))
    if len(empty):
        return (
            f"sample {empty[0]} is all zeros, so that its margin can never be positive; "
            "drop it or use bias=True"
        )
    signs = np.sign(z[np.arange(len(z)), (z != 0).argmax(axis=1)])
    rows = np.ascontiguousarray(z * signs[:, None] + 0.0)  # equal up to sign: equal rows
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, group = np.unique(keys, return_inverse=True)
    low, high = np.full(len(z), np.inf), np.full(len(z), -np.inf)
    np.minimum.at(low, group, signs)
    np.maximum.at(high, group, signs)
    both = np.flatnonzero(low[group] != high[group])
    if not len(both):
        return None
    i = int(both[0])
    j = int(next(k for k in both[1:] if group[k] == group[i] and signs[k] != signs[i]))
    if rows.shape[1] and _mirrored(z, i, j):
        return (
            f"samples {i} and {j} are equal but have opposite labels, so that nothing separates "
            "them"
        )
    return None


def _mirrored(z: Floats, i: int, j: int) -> bool:
    return bool(np.array_equal(z[i], -z[j]))


def radius(z: Floats) -> float:
    """R, the largest norm of a sample.

    Examples:
        >>> radius(np.array([[3.0, 4.0], [1.0, 0.0]]))
        5.0
    """
    return float(np.sqrt((z.astype(np.float64) ** 2).sum(axis=1).max()))
