"""Judge a log of traces: which look failing, where, how sure, and what could be done about it.

Source: instability paper (arXiv 2602.02863) for the signal, its buckets and its timing; everything
else here is there to hold that signal against plain baselines and against chance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Assessment, GroupView, Interval, Replay
from entropilot.diagnosis.buckets import bucket_table
from entropilot.diagnosis.calibration import Calibration, calibrate
from entropilot.diagnosis.correctness import answer_keys
from entropilot.diagnosis.flags import flag_table
from entropilot.diagnosis.groups import agreement, group_view
from entropilot.diagnosis.headline import Facts, headline, next_steps
from entropilot.diagnosis.labels import correct_from_reward
from entropilot.diagnosis.notes import assessment_notes
from entropilot.diagnosis.replay import replay_drop, replay_route
from entropilot.diagnosis.replay_points import threshold_interval, thresholds_at
from entropilot.diagnosis.replay_stop import replay_prefix_stop
from entropilot.diagnosis.replay_vote import replay_vote
from entropilot.diagnosis.scores import (
    FEWEST,
    check_comparable,
    clusters_of,
    groups_of,
    labels_of,
    score_of,
)
from entropilot.diagnosis.signals import (
    PREFIX_WINDOWS,
    choose_signal,
    prefix_table,
    signal_label,
    signal_table,
)
from entropilot.diagnosis.timing import timing_table
from entropilot.errors import InputError
from entropilot.information.intervals import cluster_bootstrap, normal_quantile, wilson
from entropilot.traces.summary import HISTOGRAM_BINS, Summary
from entropilot.traces.table import Traces, empty_traces


def assess(
    summary: Summary | pl.DataFrame,
    *,
    signal: str = "auto",
    rate: float = 0.1,
    confidence: float = 0.95,
    seed: int = 0,
    force: bool = False,
    larger_accuracy: float = 0.9,
    cost_ratio: float = 10.0,
) -> Assessment:
    """Say which traces look failing, where in each, and how sure that is.

    With labels: how well each signal tells wrong from right, a probability of being wrong a trace,
    and what policies would have gained. With labels on a part, the rest is predicted from it.
    Without labels: an order of suspicion only. Without log-probabilities: what the answers say.

    Args:
        summary: of the traces, or their frame alone (then no trace is shown in full).
        signal: column that flags traces, or "auto" (see ``choose_signal``).
        rate: share of the traces to flag, and to act on in replays, in (0, 1).
        confidence: of all intervals, in (0, 1).
        seed: of folds and bootstraps; equal seeds give equal assessments.
        force: rank traces together though they list different numbers of alternatives.
        larger_accuracy: assumed accuracy of a larger model, for the routing replay.
        cost_ratio: cost of its token in tokens of this model.

    Returns:
        ``Assessment``; what could not be computed is None, and a note says why.

    Raises:
        InputError: a rate or confidence outside (0, 1), an unknown signal, several k without force.

    Examples:
        >>> frame = pl.DataFrame({"id": ["a", "b"], "group": ["q", "r"], "correct": [None, None],
        ...     "entropy_mean": [0.2, 1.4], "n_tokens": [10, 12], "k": [20, 20]})
        >>> assess(frame).headline[0]
        '1 of 2 traces look suspicious, by mean entropy.'
    """
    if not 0 < rate < 1:
        raise InputError(f"rate is {rate}; expected a share between 0 and 1, such as 0.1")
    normal_quantile(confidence)
    given = summary if isinstance(summary, pl.DataFrame) else summary.frame
    frame, notes = _labelled(given)
    notes += _reader_notes(summary)
    forced = check_comparable(frame, force)
    choice = choose_signal(frame, signal, seed=seed) if frame.height else None
    known, wrong = labels_of(frame)
    name = None if choice is None else choice.name
    score = np.full(frame.height, np.nan) if name is None else score_of(frame, name)
    groups = groups_of(frame)
    threshold = None if name is None else float(thresholds_at(score, (rate,))[0])
    if threshold is not None and np.sum(score == threshold) > max(1, len(score) // 2):
        threshold = None  # a flag on most of the traces tells nothing
        notes.append(
            f"Most traces have the same {signal_label(str(name))}, so it flags none of them; "
            "choose another signal."
        )
    calibration = calibrate(score, known, wrong, groups, confidence=confidence, seed=seed)
    agreed = agreement(frame)
    flagged = flag_table(
        frame,
        agreed,
        signal=name,
        threshold=threshold,
        calibration=calibration,
        by_majority=not known.any(),
    )
    has_labels = bool(known.any())
    table = signal_table(frame, confidence=confidence, seed=seed) if has_labels else ()
    timing = timing_table(frame, confidence) if has_labels else None
    view = group_view(frame, confidence=confidence, seed=seed)
    replays = _replays(
        frame,
        name,
        rate=rate,
        larger_accuracy=larger_accuracy,
        cost_ratio=cost_ratio,
        options={"confidence": confidence, "seed": seed},
    )
    facts = Facts(
        n_traces=frame.height,
        n_labelled=int(known.sum()),
        n_wrong=int(wrong.sum()),
        wrong_share=_wrong_share(wrong[known], groups[known], confidence, seed),
        choice=choice,
        threshold=threshold,
        flagged=flagged,
        signal=next((s for s in table if s.name == name), None),
        calibration=calibration,
        expected_wrong=_expected(calibration, known),
        groups=view,
        group_tokens=_dead_tokens(frame, view),
        rate=rate,
        confidence=confidence,
        lengths=_lengths(frame),
    )
    buckets = bucket_table(frame, name) if name is not None else ()
    notes += [forced] if forced else []
    if threshold is not None:
        found = threshold_interval(score, groups, rate, confidence, seed)
        notes.append(
            f"The threshold of {found.value:.3f} flags {rate:.0%} of these traces; on as many "
            f"others from the same source it would lie in [{found.low:.3f}, {found.high:.3f}]."
        )
    notes += assessment_notes(frame, facts, timing, table, buckets)
    return Assessment(
        headline=headline(facts),
        n_traces=frame.height,
        n_tokens=int(np.nansum(score_of(frame, "n_tokens"))),
        n_labelled=facts.n_labelled,
        n_wrong=facts.n_wrong,
        signal=name or "",
        threshold=threshold,
        flagged=flagged,
        signals=table,
        prefix=prefix_table(frame, confidence=confidence, seed=seed) if has_labels else (),
        buckets=buckets,
        timing=timing,
        groups=view,
        replays=replays,
        next_steps=next_steps(facts, replays, timing),
        notes=tuple(notes),
        exemplars=_exemplars(summary, frame, score),
        histograms=_histograms(summary),
    )


def _labelled(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Labels from rewards, where there are no labels and rewards say plainly what is right."""
    if "correct" not in frame.columns:
        frame = frame.with_columns(correct=pl.lit(None, dtype=pl.Boolean))
    if "reward" not in frame.columns or frame["correct"].count() or not frame["reward"].count():
        return frame, []
    try:
        labelled = correct_from_reward(frame)
    except InputError as error:
        return frame, [f"Rewards were not used as labels: {error}"]
    return labelled, ["There were no labels; the larger of the two reward values counts as right."]


def _replays(
    frame: pl.DataFrame,
    name: str | None,
    *,
    rate: float,
    larger_accuracy: float,
    cost_ratio: float,
    options: dict[str, Any],
) -> tuple[Replay, ...]:
    known, wrong = labels_of(frame)
    right = ~wrong[known]
    if name is None or min(int(right.sum()), int((~right).sum())) < FEWEST:
        return ()
    part = frame.filter(known)
    score, groups = score_of(part, name), groups_of(part)
    if np.isnan(score).all():
        return ()
    length = np.nan_to_num(score_of(part, "n_tokens"), nan=0.0).astype(np.int64)
    label = signal_label(name)
    options = options | {"rate": rate}
    found = [
        replay_drop(score, right, groups, signal=label, **options),
        replay_route(
            score,
            right,
            groups,
            larger=larger_accuracy,
            cost_ratio=cost_ratio,
            n_tokens=length,
            signal=label,
            **options,
        ),
    ]
    for window in PREFIX_WINDOWS:
        prefix = score_of(part, f"instability_peak_{window}")
        usable = ~np.isnan(prefix) & (length > window)
        if usable.sum() > len(prefix) / 2:
            found.append(
                replay_prefix_stop(
                    prefix,
                    right,
                    groups,
                    window=window,
                    n_tokens=length,
                    signal="peak instability",
                    **options,
                )
            )
    several = np.unique(groups, return_counts=True)[1].max() > 2
    if several and "answer" in part.columns and part["answer"].count():
        keys = answer_keys(part["answer"])
        found.append(
            replay_vote(score, keys, right, groups, n_tokens=length, signal=label, **options)
        )
    return tuple(found)


def _wrong_share(
    wrong: NDArray[np.bool_], groups: NDArray[np.int64], confidence: float, seed: int
) -> Interval | None:
    """Share of wrong traces; its interval is the wider of the bootstrap's and Wilson's."""
    if not len(wrong):
        return None
    unit, _ = clusters_of(groups, seed)
    found = cluster_bootstrap(
        wrong, groups=unit, rng=np.random.default_rng(seed), confidence=confidence
    )
    low, high = wilson(int(wrong.sum()), len(wrong), confidence)
    return Interval(
        float(found.value), min(float(found.low), float(low)), max(float(found.high), float(high))
    )


def _expected(calibration: Calibration | None, known: NDArray[np.bool_]) -> float | None:
    if calibration is None or known.all():
        return None
    return float(np.nansum(calibration.p_wrong[~known]))


def _dead_tokens(frame: pl.DataFrame, view: GroupView | None) -> tuple[int, int]:
    """Tokens of groups whose labelled samples are all right, and all wrong."""
    if view is None or "n_tokens" not in frame.columns:
        return 0, 0
    sums = (
        frame.filter(pl.col("group").is_not_null() & pl.col("correct").is_not_null())
        .group_by("group")
        .agg(n=pl.len(), right=pl.col("correct").sum(), tokens=pl.col("n_tokens").sum())
        .filter(pl.col("n") > 1)
    )
    all_right = sums.filter(pl.col("right") == pl.col("n"))["tokens"].sum()
    all_wrong = sums.filter(pl.col("right") == 0)["tokens"].sum()
    return int(all_right or 0), int(all_wrong or 0)


def _lengths(frame: pl.DataFrame) -> tuple[int, int, int] | None:
    """Least, median and most characters of a text."""
    if "n_characters" not in frame.columns or not frame["n_characters"].sum():
        return None
    n = frame["n_characters"].drop_nulls().to_numpy()
    return int(n.min()), int(np.median(n)), int(n.max())


def _reader_notes(summary: Summary | pl.DataFrame) -> list[str]:
    return [] if isinstance(summary, pl.DataFrame) else list(summary.report.sentences())


def _exemplars(
    summary: Summary | pl.DataFrame, frame: pl.DataFrame, score: NDArray[np.float64]
) -> Traces:
    """Traces kept in full, most suspicious first."""
    if isinstance(summary, pl.DataFrame):
        return empty_traces()
    traces = summary.exemplars.traces
    key = ["source", "line", "id"]
    places = frame.select(*key, "correct").with_columns(score=pl.Series(score, nan_to_null=True))
    found = traces.rows.select(key).join(
        places.unique(key), on=key, how="left", maintain_order="left", nulls_equal=True
    )
    # labels may have come after the traces were read
    labelled = replace(traces, rows=traces.rows.with_columns(found["correct"].cast(pl.Boolean)))
    rank = found["score"].fill_null(-np.inf).to_numpy()
    return labelled.take(np.argsort(-rank, kind="stable"))


def _histograms(
    summary: Summary | pl.DataFrame,
) -> dict[str, tuple[tuple[float, ...], tuple[int, ...]]]:
    """Edges and counts of the token histograms; empty ones are left out."""
    if isinstance(summary, pl.DataFrame):
        return {}
    found = {}
    for name, counts in summary.histograms.items():
        low, high, bins = HISTOGRAM_BINS[name]
        if counts.sum():
            edges = np.linspace(low, high, bins + 1)
            found[name] = (tuple(edges.tolist()), tuple(counts.tolist()))
    return found
