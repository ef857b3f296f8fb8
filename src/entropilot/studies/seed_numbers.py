"""Numbers of several seeds, for judges and figures: ranges in words, intervals, running means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from entropilot.information.learnable_structure import SpreadMean, spread_mean


def spread(values: Sequence[float] | NDArray[np.float64], form: str = ".3f") -> str:
    """Mean and range over seeds, in words.

    Examples:
        >>> spread([0.1, 0.3], ".1f")
        '0.2 [0.1, 0.3]'
    """
    mean = format(float(np.mean(values)), form)
    if len(values) < 2:
        return mean
    return f"{mean} [{format(min(values), form)}, {format(max(values), form)}]"


def mean_interval(values: Sequence[float]) -> SpreadMean:
    """Mean with Student's 95 % interval over seeds.

    Examples:
        >>> mean_interval([1.0, 2.0, 3.0]).value
        2.0
    """
    x = np.asarray(values, np.float64)
    if len(x) < 2:
        return SpreadMean(float(x.mean()), math.nan, math.nan, math.nan, 0)
    return spread_mean(float(x.mean()), [(float(x.var(ddof=1)) / len(x), len(x) - 1)])


def smooth(values: Sequence[float], window: int = 8) -> list[float]:
    """Means of consecutive windows; the last may be shorter.

    Examples:
        >>> smooth([1.0, 3.0, 5.0], 2)
        [2.0, 5.0]
    """
    x = np.asarray(values, float)
    return [float(x[i : i + window].mean()) for i in range(0, len(x), window)]
