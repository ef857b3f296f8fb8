"""Problems with several samples: answers that agree, pass@k, groups that are dead for training."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import GroupView, Interval
from entropilot.diagnosis.correctness import answer_keys
from entropilot.information.intervals import cluster_bootstrap
from entropilot.information.pass_at_k import pass_at_k
from entropilot.information.ranking import auc_interval

N_RESAMPLES: Final = 2000


def agreement(frame: pl.DataFrame) -> pl.DataFrame:
    """The answer of each trace beside the majority answer of its group.

    Weak evidence where there are no labels: a trace that departs from a clear majority of its
    group is more often wrong, and a clear majority may be wrong too.

    Args:
        frame: one row a trace, with the columns group and answer.

    Returns:
        Rows as in ``frame``: answer_key, majority_answer (most frequent, the first seen on ties),
        majority_share (of the group's traces, those without an answer included), n_samples, agrees
        (null without an answer, or without a group of at least two).

    Examples:
        >>> agreement(pl.DataFrame({"group": ["q"] * 3, "answer": ["8", "8.0", "9"]}))["agrees"
        ...     ].to_list()
        [True, True, False]
    """
    table = _keyed(frame)
    votes = _votes(table)
    sizes = table.group_by("group").agg(n_samples=pl.len())
    joined = table.join(votes, on="group", how="left", maintain_order="left").join(
        sizes, on="group", how="left", maintain_order="left"
    )
    several = (pl.col("n_samples") > 1) & pl.col("group").is_not_null()
    return joined.select(
        "answer_key",
        majority_answer=pl.when(several).then("majority_answer"),
        majority_share=pl.when(several).then(pl.col("n_majority") / pl.col("n_samples")),
        n_samples=pl.when(pl.col("group").is_null()).then(1).otherwise("n_samples"),
        agrees=pl.when(several).then(pl.col("answer_key") == pl.col("majority_answer")),
    )


def group_view(frame: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0) -> GroupView | None:
    """What samples of one problem say together: answer entropy, pass@k, majority, dead groups.

        answer entropy = -sum_a p_a ln p_a    over the distinct answers of a group, nats
        pass@k         = mean over groups of 1 - C(n - c, k) / C(n, k)

    Args:
        frame: one row a trace: group, answer and correct.
        confidence: of the intervals, which draw groups.
        seed: of the bootstrap.

    Returns:
        None when no group has two samples. pass@k goes up to the smallest labelled group, so that
        all k speak of the same groups.

    Examples:
        >>> frame = pl.DataFrame({"group": ["q", "q", "r", "r"], "answer": ["1", "2", "3", "3"],
        ...     "correct": [True, False, False, False]})
        >>> found = group_view(frame)
        >>> found.n_all_wrong, found.frame["majority_right"].to_list()
        (1, [True, False])
    """
    table = _keyed(frame).filter(pl.col("group").is_not_null())
    counts = table.group_by("group", maintain_order=True).agg(
        n=pl.len(),
        n_labelled=pl.col("correct").count(),
        n_right=pl.col("correct").sum(),
    )
    counts = counts.filter(pl.col("n") > 1)
    if counts.height == 0:
        return None
    whole = counts.join(_votes(table), on="group", how="left", maintain_order="left")
    labelled = whole.filter(pl.col("n_labelled") > 1)
    view = whole.select(
        "group",
        "n",
        n_right=pl.when(pl.col("n_labelled") > 0).then("n_right"),
        answer_entropy="answer_entropy",
        majority_answer="majority_answer",
        majority_share=pl.col("n_majority") / pl.col("n"),
        majority_right="majority_right",
    )
    judged = view.filter(pl.col("majority_right").is_not_null())
    return GroupView(
        view,
        _pass_curve(labelled, confidence, seed),
        _majority_accuracy(judged, confidence, seed),
        _entropy_auc(judged, confidence, seed),
        labelled.filter(pl.col("n_right") == pl.col("n_labelled")).height,
        labelled.filter(pl.col("n_right") == 0).height,
    )


def _keyed(frame: pl.DataFrame) -> pl.DataFrame:
    def column(name: str, kind: type[pl.DataType]) -> pl.Series:
        if name in frame.columns:
            return frame[name].cast(kind).alias(name)
        return pl.Series(name, [None] * frame.height, dtype=kind)

    return pl.DataFrame(
        [
            column("group", pl.String),
            answer_keys(column("answer", pl.String)),
            column("correct", pl.Boolean),
            pl.Series("row", np.arange(frame.height)),
        ]
    )


def _votes(table: pl.DataFrame) -> pl.DataFrame:
    """One row a group with an answer: majority, its count, its label, and the answers' entropy."""
    answers = (
        table.filter(pl.col("answer_key").is_not_null() & pl.col("group").is_not_null())
        .group_by("group", "answer_key")
        .agg(
            n_votes=pl.len(),
            first=pl.col("row").min(),
            label=pl.col("correct").cast(pl.Float64).mean(),
        )
        .sort("n_votes", "first", descending=[True, False])
    )
    share = pl.col("n_votes") / pl.col("n_votes").sum()
    return answers.group_by("group", maintain_order=True).agg(
        majority_answer=pl.col("answer_key").first(),
        n_majority=pl.col("n_votes").first(),
        majority_right=pl.col("label").first() >= 0.5,
        answer_entropy=pl.max_horizontal(-(share * share.log()).sum(), 0.0),
    )


def _pass_curve(
    labelled: pl.DataFrame, confidence: float, seed: int
) -> tuple[tuple[int, Interval], ...]:
    if labelled.height == 0:
        return ()
    n = labelled["n_labelled"].to_numpy().astype(np.int64)
    c = labelled["n_right"].to_numpy().astype(np.int64)
    smallest = int(n.min())
    powers = [1 << i for i in range(smallest.bit_length()) if 1 << i <= smallest]
    ks = [*powers, *([smallest] if powers[-1] != smallest else [])]
    values = np.stack([pass_at_k(n, c, k) for k in ks], axis=1)
    found = _interval(values, confidence, seed)
    return tuple(zip(ks, found, strict=True))


def _majority_accuracy(judged: pl.DataFrame, confidence: float, seed: int) -> Interval | None:
    if judged.height == 0:
        return None
    right = judged["majority_right"].to_numpy().astype(np.float64)
    return _interval(right[:, None], confidence, seed)[0]


def _entropy_auc(judged: pl.DataFrame, confidence: float, seed: int) -> Interval | None:
    known = judged.filter(pl.col("answer_entropy").is_not_null())
    if known.height < 2:
        return None
    wrong = ~known["majority_right"].to_numpy().astype(np.bool_)
    found = auc_interval(
        known["answer_entropy"].to_numpy(),
        wrong,
        n_resamples=N_RESAMPLES,
        seed=seed,
        confidence=confidence,
    )
    if found.reason:
        return None
    return Interval(found.value, float(found.low), float(found.high))


def _interval(values: NDArray[np.float64], confidence: float, seed: int) -> list[Interval]:
    """Means of the columns of [G, k], with intervals that draw rows."""
    found = cluster_bootstrap(
        values,
        rng=np.random.default_rng(seed),
        n_resamples=N_RESAMPLES if len(values) <= 20_000 else 200,
        confidence=confidence,
    )
    ends = zip(found.value, found.low, found.high, strict=True)
    return [Interval(float(v), float(low), float(high)) for v, low, high in ends]
