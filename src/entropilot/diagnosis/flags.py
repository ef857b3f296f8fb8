"""The flagged traces: which, where to look in each, and why."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.diagnosis.calibration import Calibration
from entropilot.diagnosis.scores import Floats, score_of
from entropilot.diagnosis.signals import signal_label

FLAG_SCHEMA: Final[dict[str, Any]] = {
    "id": pl.String,
    "group": pl.String,
    "correct": pl.Boolean,
    "score": pl.Float64,
    "p_wrong": pl.Float64,
    "p_wrong_low": pl.Float64,
    "p_wrong_high": pl.Float64,
    "peak_token": pl.Int64,
    "peak_step": pl.Int64,
    "peak_position": pl.Float64,
    "timing": pl.String,
    "reason": pl.String,
}
CLEAR_MAJORITY: Final = 0.5  # share of a group above which departing from its answer is noted
LONGEST_ANSWER: Final = 40  # characters of an answer in a reason


def flag_table(
    frame: pl.DataFrame,
    agreed: pl.DataFrame,
    *,
    signal: str | None,
    threshold: float | None,
    calibration: Calibration | None = None,
    by_majority: bool = False,
) -> pl.DataFrame:
    """Traces at or above the threshold, most suspicious first, with a reason for each.

    Args:
        frame: one row a trace.
        agreed: from ``agreement``, the same rows.
        signal: column of the score; None where the log gives none.
        threshold: score from which on a trace is flagged; None: no trace is flagged by score.
        calibration: probabilities of being wrong, where labels allow them.
        by_majority: flag also traces that depart from a clear majority of their group.

    Returns:
        Frame of ``FLAG_SCHEMA``. Those flagged by score come first, by falling score.

    Examples:
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": [None, None], "answer": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "peak_token": [3, 7], "timing": ["early", "late"],
        ...     "instability_peak": [1.0, 2.5]})
        >>> from entropilot.diagnosis.groups import agreement
        >>> found = flag_table(frame, agreement(frame), signal="entropy_mean", threshold=1.0)
        >>> found["reason"].to_list()
        ['mean entropy 1.40, above 50% of traces; peak 2.50 at token 7 (late)']
    """
    n = frame.height
    score = np.full(n, np.nan) if signal is None else score_of(frame, signal)
    by_score = np.zeros(n, dtype=np.bool_) if threshold is None else score >= threshold
    departs = departs_from_majority(agreed)
    chosen = by_score | departs if by_majority else by_score
    rank = np.nan_to_num(score, nan=-np.inf)
    order = np.lexsort((-rank, ~by_score))
    order = order[chosen[order]]
    reason = _reasons(frame, agreed, score=score, by_score=by_score, departs=departs, signal=signal)
    columns = {
        name: frame[name].cast(kind, strict=False)
        if name in frame.columns
        else pl.Series(name, [None] * n, dtype=kind)
        for name, kind in FLAG_SCHEMA.items()
    }
    columns["score"] = pl.Series("score", score, nan_to_null=True)
    if calibration is not None:
        for name, values in (
            ("p_wrong", calibration.p_wrong),
            ("p_wrong_low", calibration.low),
            ("p_wrong_high", calibration.high),
        ):
            columns[name] = pl.Series(name, values, nan_to_null=True)
    columns["reason"] = reason
    table = pl.DataFrame([columns[name].alias(name) for name in FLAG_SCHEMA])
    return table[order]


def departs_from_majority(agreed: pl.DataFrame) -> NDArray[np.bool_]:
    """True where a trace has another answer than a clear majority of its group.

    Args:
        agreed: from ``agreement``.

    Returns:
        [n] bool.

    Examples:
        >>> from entropilot.diagnosis.groups import agreement
        >>> frame = pl.DataFrame({"group": ["q"] * 3, "answer": ["1", "1", "2"]})
        >>> departs_from_majority(agreement(frame)).tolist()
        [False, False, True]
    """
    clear = (~pl.col("agrees") & (pl.col("majority_share") > CLEAR_MAJORITY)).fill_null(False)
    return np.asarray(agreed.select(clear).to_series().to_numpy(), dtype=np.bool_)


def _reasons(
    frame: pl.DataFrame,
    agreed: pl.DataFrame,
    *,
    score: Floats,
    by_score: NDArray[np.bool_],
    departs: NDArray[np.bool_],
    signal: str | None,
) -> pl.Series:
    known = ~np.isnan(score)
    below = np.full(len(score), np.nan)
    if known.any():
        ordered = np.sort(score[known])
        below[known] = 100 * np.searchsorted(ordered, score[known], side="left") / known.sum()
    parts = pl.DataFrame(
        {
            "score": pl.Series(score, nan_to_null=True),
            "below": pl.Series(np.floor(below), nan_to_null=True).cast(pl.Int64),
            "by_score": by_score,
            "departs": departs,
            "peak": pl.Series(score_of(frame, "instability_peak"), nan_to_null=True),
            "token": pl.Series(score_of(frame, "peak_token"), nan_to_null=True).cast(pl.Int64),
            "timing": frame["timing"] if "timing" in frame.columns else [None] * frame.height,
            "answer": agreed["answer_key"].str.slice(0, LONGEST_ANSWER),
            "majority": agreed["majority_answer"].str.slice(0, LONGEST_ANSWER),
        },
        schema_overrides={"timing": pl.String},
    )
    label = signal_label(signal) if signal else "score"
    texts = [
        pl.when("by_score").then(
            pl.format(f"{label} {{}}, above {{}}% of traces", _two_places("score"), "below")
        ),
        pl.when(pl.col("peak").is_not_null() & pl.col("token").is_not_null()).then(
            pl.format("peak {} at token {} ({})", _two_places("peak"), "token", "timing")
        ),
        pl.when("departs").then(
            pl.format("answers {} where most of its group answer {}", "answer", "majority")
        ),
    ]
    return parts.select(reason=pl.concat_str(texts, separator="; ", ignore_nulls=True)).to_series()


def _two_places(name: str) -> pl.Expr:
    whole = (pl.col(name) * 100).round(0).cast(pl.Int64)
    sign = pl.when(whole < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    tail = (whole.abs() % 100).cast(pl.String).str.zfill(2)
    return pl.concat_str([sign, (whole.abs() // 100).cast(pl.String), pl.lit("."), tail])
