"""Early peaks against late peaks of comparable size, and the three classes of traces.

Source: instability paper (arXiv 2602.02863): early peaks are more often corrected, late ones fail.
The cut points are our choice: the paper names the classes, not the thresholds.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval, Timing, TimingCell
from entropilot.diagnosis.scores import Floats, labels_of, score_of
from entropilot.information.odds import mantel_haenszel

EARLY: Final = 0.25  # relative position below which a peak is early
LATE: Final = 0.5  # and from which on it is late
N_FIFTHS: Final = 5
TIMINGS: Final = ("early", "middle", "late")


def timing_of(position: Floats) -> NDArray[np.int64]:
    """Timing of peaks: 0 early (< 0.25), 1 middle, 2 late (>= 0.5), -1 where there is no peak.

    Args:
        position: [n] relative position of the peak in its trace, in [0, 1).

    Returns:
        int64 [n].

    Examples:
        >>> timing_of(np.array([0.1, 0.25, 0.5, np.nan])).tolist()
        [0, 1, 2, -1]
    """
    timing = np.where(position < EARLY, 0, np.where(position >= LATE, 2, 1))
    return np.where(np.isnan(position), -1, timing)


def timing_table(frame: pl.DataFrame, confidence: float = 0.95) -> Timing | None:
    """Accuracy by (fifth of the peak, timing), and the odds ratio stratified by fifth.

    Peaks of unequal size are never compared: the odds of a right answer given an early peak,
    against a late one, are pooled over fifths by Mantel and Haenszel.

    Args:
        frame: one row a trace: correct, instability_peak and peak_position.
        confidence: of the interval of the odds ratio.

    Returns:
        None with fewer than five labelled peaks.
        High means from the 75th percentile on, low up to the 25th.

    Examples:
        >>> frame = pl.DataFrame({"correct": [True, False] * 5, "peak_position": [0.1, 0.9] * 5,
        ...     "instability_peak": [float(i // 2) for i in range(10)]})
        >>> found = timing_table(frame)
        >>> found.n_corrective, found.n_destructive, len(found.cells)
        (2, 2, 10)

    Source: instability paper (arXiv 2602.02863), timing.
    """
    known, wrong = labels_of(frame)
    peak, position = score_of(frame, "instability_peak"), score_of(frame, "peak_position")
    usable = known & ~np.isnan(peak) & ~np.isnan(position)
    if usable.sum() < N_FIFTHS:
        return None
    peak, right = peak[usable], ~wrong[usable]
    timing = timing_of(position[usable])
    fifth = np.empty(len(peak), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.argsort(peak, kind="stable"), N_FIFTHS)):
        fifth[part] = number
    count = np.zeros((N_FIFTHS, 3, 2), dtype=np.int64)  # [fifth, timing, wrong or right]
    np.add.at(count, (fifth, timing, right.astype(np.int64)), 1)
    cells = tuple(
        TimingCell(f, TIMINGS[t], int(count[f, t].sum()), int(count[f, t, 1]))
        for f in range(N_FIFTHS)
        for t in range(3)
        if count[f, t].sum()
    )
    ratio, note = _odds_ratio(count, confidence)
    high, low = peak >= np.quantile(peak, 0.75), peak <= np.quantile(peak, 0.25)
    return Timing(
        cells,
        ratio,
        int((high & (timing == 0) & right).sum()),
        int((high & (timing == 2) & ~right).sum()),
        int((low & ~right).sum()),
        note,
    )


def _odds_ratio(count: NDArray[np.int64], confidence: float) -> tuple[Interval | None, str]:
    found = mantel_haenszel(count[:, [0, 2]][:, :, ::-1], confidence)
    if math.isnan(found.low):
        return None, f"no odds ratio: {found.reason}"
    few = int(min(count[:, 0].sum(), count[:, 2].sum()))
    note = f"only {few} traces in the smaller of early and late" if few < 20 else ""
    return Interval(float(found.odds_ratio), float(found.low), float(found.high)), note
