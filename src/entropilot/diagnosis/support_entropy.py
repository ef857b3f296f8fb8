"""Entropies of two models on the same problems: of their tokens, and of their final answers.

Source: The Invisible Leash (arXiv 2507.14843): local uncertainty may rise while answers converge.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from entropilot.diagnosis.assessment import Interval
from entropilot.diagnosis.support_report import Pair
from entropilot.information.answers import answer_entropy_of_groups
from entropilot.information.intervals import Floats, cluster_bootstrap_of


def token_entropies(
    base: pl.DataFrame, new: pl.DataFrame, *, confidence: float, n_resamples: int, seed: int
) -> Pair | None:
    """Mean over samples of each sample's mean token entropy, of both models.

    Args:
        base: problem and token_entropy (nats), one row a sample.
        new: likewise, with the same problems.
        confidence: of the intervals.
        n_resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        Nats; None where a model has no token entropies.

    Examples:
        >>> frame = pl.DataFrame({"problem": ["a", "b"], "token_entropy": [0.4, 0.6]})
        >>> token_entropies(frame, frame, confidence=0.95, n_resamples=9, seed=0).difference.value
        0.0
    """
    tables = []
    for frame in (base, new):
        known = pl.col("token_entropy").drop_nulls().drop_nans()
        tables.append(frame.group_by("problem").agg(known.sum().alias("sum"), n=known.len()))
    both = tables[0].join(tables[1], on="problem", suffix="_new").sort("problem")
    if not both["n"].sum() or not both["n_new"].sum():
        return None
    columns = both.select("sum", "n", "sum_new", "n_new").to_numpy().astype(np.float64)
    return _pair(columns, confidence, n_resamples, seed)


def answer_entropies(
    base: pl.DataFrame, new: pl.DataFrame, *, confidence: float, n_resamples: int, seed: int
) -> Pair | None:
    """Mean over problems of the entropy over their distinct final answers, of both models.

    Both give the same number of samples of a problem, the first ones, because the plug-in entropy
    grows with their number. A sample without an answer counts as the answer "none".

    Args:
        base: problem and answer, one row a sample.
        new: likewise, with the same problems.
        confidence: of the intervals.
        n_resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        Nats; None where a model gives no answers at all.

    Examples:
        >>> one = pl.DataFrame({"problem": ["a", "a"], "answer": ["1", "1"]})
        >>> two = pl.DataFrame({"problem": ["a", "a"], "answer": ["1", "2"]})
        >>> found = answer_entropies(one, two, confidence=0.95, n_resamples=9, seed=0)
        >>> round(found.difference.value, 4)
        0.6931
    """
    if not base["answer"].count() or not new["answer"].count():
        return None
    sizes = base.group_by("problem").len("b").join(new.group_by("problem").len("n"), on="problem")
    order = sizes.sort("problem").select(
        "problem",
        m=pl.min_horizontal("b", "n"),
        group=pl.int_range(pl.len(), dtype=pl.Int64),
    )
    found = []
    for frame in (base, new):
        first = frame.join(order, on="problem", maintain_order="left").filter(
            pl.int_range(pl.len()).over("problem") < pl.col("m")
        )
        ids = first["answer"].fill_null("\0").rank("dense").cast(pl.Int64)  # no answer has a NUL
        found.append(answer_entropy_of_groups(first["group"].to_numpy(), ids.to_numpy()))
    ones = np.ones(order.height)
    return _pair(np.stack([found[0], ones, found[1], ones], 1), confidence, n_resamples, seed)


def _pair(columns: Floats, confidence: float, n_resamples: int, seed: int) -> Pair:
    """Ratios of sums [Q, (sum, n) of base, (sum, n) of new]."""

    def statistic(weights: Floats) -> Floats:
        sums = weights @ columns
        with np.errstate(invalid="ignore", divide="ignore"):
            base, new = sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]
        return np.stack([base, new, new - base], 1)

    found = cluster_bootstrap_of(
        statistic,
        len(columns),
        rng=np.random.default_rng(seed),
        n_resamples=n_resamples,
        confidence=confidence,
    )
    return Pair(
        *(
            Interval(float(v), float(low), float(high))
            for v, low, high in zip(found.value, found.low, found.high, strict=True)
        )
    )
