"""Accuracy in equal-count buckets of a signal.

Source: instability paper (arXiv 2602.02863), evaluation: accuracy over buckets of the peak.
"""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl

from entropilot.diagnosis.assessment import Bucket, Interval
from entropilot.diagnosis.scores import labels_of, score_of
from entropilot.information.ranking import equal_count_buckets

N_BUCKETS = 5  # the paper's number


def bucket_table(frame: pl.DataFrame, name: str, n: int = N_BUCKETS) -> tuple[Bucket, ...]:
    """Accuracy of the labelled traces in ``n`` equal-count buckets, smallest signal first.

    Args:
        frame: one row a trace: correct and the signal.
        name: column of the signal.
        n: number of buckets, >= 1; with fewer scored labels there are no buckets.

    Returns:
        Buckets with Wilson intervals; ties keep the order of the traces.

    Examples:
        >>> frame = pl.DataFrame({"correct": [True, True, False, False], "x": [1.0, 2, 3, 4]})
        >>> [bucket.accuracy.value for bucket in bucket_table(frame, "x", 2)]
        [1.0, 0.0]
    """
    known, wrong = labels_of(frame)
    score = score_of(frame, name)
    usable = known & ~np.isnan(score)
    if usable.sum() < max(n, 1):
        return ()
    found = equal_count_buckets(score[usable], ~wrong[usable], n)
    return tuple(
        Bucket(
            float(found.score_low[b]),
            float(found.score_high[b]),
            int(found.n[b]),
            int(found.n_right[b]),
            Interval(float(found.accuracy[b]), float(found.low[b]), float(found.high[b])),
        )
        for b in range(n)
    )


def is_falling(buckets: tuple[Bucket, ...]) -> bool:
    """Does accuracy never rise from one bucket to the next?

    Args:
        buckets: smallest signal first.

    Returns:
        True also for fewer than two buckets.

    Examples:
        >>> is_falling(())
        True
    """
    values = [bucket.accuracy.value for bucket in buckets]
    return all(after <= before for before, after in itertools.pairwise(values))
