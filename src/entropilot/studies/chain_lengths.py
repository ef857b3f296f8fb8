"""How long right and wrong chains are: one row of plain numbers, for every scale of a study."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from entropilot.information import auc_interval

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


def length_row(source: str, words: ArrayLike, steps: ArrayLike, wrong: ArrayLike) -> dict[str, Any]:
    """Lengths of the chains of one source, and how well words tell wrong from right.

    Args:
        source: where the chains come from.
        words: [n] words a chain.
        steps: [n] steps a chain.
        wrong: [n] bool; both kinds must be there.

    Examples:
        >>> length_row("a", [10, 30], [1, 3], [False, True])["words"]
        [10.0, 30.0]
    """
    words, steps = np.asarray(words), np.asarray(steps)
    wrong = np.asarray(wrong, dtype=np.bool_)
    area = auc_interval(words, wrong)
    return {
        "source": source,
        "auc": [area.value, area.low, area.high],
        "n_right": area.n_right,
        "n_wrong": area.n_wrong,
        "words": [float(words[~wrong].mean()), float(words[wrong].mean())],
        "steps": [float(steps[~wrong].mean()), float(steps[wrong].mean())],
        "quantiles": [
            np.quantile(words[~wrong], QUANTILES).tolist(),
            np.quantile(words[wrong], QUANTILES).tolist(),
        ],
    }
