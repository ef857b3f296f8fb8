"""The 1,797 images of handwritten digits that scikit-learn ships, for studies of networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import require


class Digits(NamedTuple):
    """Images in a random order."""

    images: NDArray[np.float64]  # [N, 64] in [0, 1]
    labels: NDArray[np.int64]  # [N]


def digits(seed: int | None = None) -> Digits:
    """All digits; in a seeded order, or as they come.

    Args:
        seed: None keeps the order.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    datasets = require("sklearn.datasets", extra="learn", purpose="the digits")
    found = datasets.load_digits()
    x, y = found.data / 16.0, found.target.astype(np.int64)
    if seed is None:
        return Digits(x, y)
    order = np.random.default_rng(seed).permutation(len(x))
    return Digits(x[order], y[order])


def with_counts(found: Digits, counts: Sequence[int]) -> Digits:
    """The first so many images of every digit."""
    rows = np.concatenate([np.flatnonzero(found.labels == k)[:n] for k, n in enumerate(counts)])
    return Digits(found.images[rows], found.labels[rows])
