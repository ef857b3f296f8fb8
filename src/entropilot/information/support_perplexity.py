"""How surprising traces of others are to a model, apart for what it kept, won and lost.

Source: The Invisible Leash (arXiv 2507.14843), perplexity against external traces; the intervals
are ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from entropilot.errors import InputError
from entropilot.information.counts import reject, whole_numbers
from entropilot.information.intervals import BootstrapInterval, cluster_bootstrap

NAMES = ("preserved", "expanded", "shrunk", "out", "undecided")


def perplexity_by_category(
    surprisal_mean: ArrayLike,
    category: ArrayLike,
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, BootstrapInterval]:
    """Mean perplexity of reference traces in each category of their problems.

        perplexity = exp(mean over tokens of -log p)            one trace a problem

    Args:
        surprisal_mean: [Q] mean -log p of the reference trace's tokens under the model, nats, >= 0.
        category: [Q] from ``support_category``.
        confidence: in (0, 1).
        n_resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        {name: mean perplexity with its interval} for the categories that occur.

    Raises:
        InputError: for lengths that differ, negative or missing values, or unknown categories.

    Examples:
        >>> found = perplexity_by_category([0.5, 0.6, 2.0], [0, 0, 3])
        >>> {name: round(float(x.value), 2) for name, x in found.items()}
        {'preserved': 1.74, 'out': 7.39}

    Source: arXiv 2507.14843, perplexity analysis.
    """
    nats = np.atleast_1d(np.asarray(surprisal_mean, dtype=np.float64))
    kinds = np.atleast_1d(whole_numbers(category, "category"))
    if nats.shape != kinds.shape or nats.ndim != 1:
        raise InputError(
            f"surprisal_mean has shape {nats.shape} and category {kinds.shape}; expected one of "
            f"each for every problem"
        )
    reject(
        ~(nats >= 0),
        nats,
        "surprisals are -log p and so 0 or more; negate log-probabilities, and leave out problems "
        "without a trace",
    )
    reject((kinds < 0) | (kinds >= len(NAMES)), kinds, "categories are 0..4; see support_category")
    return {
        NAMES[kind]: cluster_bootstrap(
            np.exp(nats[kinds == kind]),
            rng=np.random.default_rng(seed),
            n_resamples=n_resamples,
            confidence=confidence,
        )
        for kind in np.unique(kinds)
    }
