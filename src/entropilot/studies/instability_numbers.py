"""What the instability study measures on one set of traces: plain numbers, ready to be stored."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import polars as pl

from entropilot.diagnosis.assessment import Interval
from entropilot.diagnosis.buckets import bucket_table
from entropilot.diagnosis.scores import groups_of, labels_of, score_of
from entropilot.diagnosis.signals import prefix_table, signal_table
from entropilot.diagnosis.timing import timing_table
from entropilot.information.auc_kernels import resampled_auc, sorted_ties
from entropilot.information.intervals import percentile_interval
from entropilot.information.ranking import auc
from entropilot.information.topk_sequence import sequence_bounds
from entropilot.traces.frame import trace_frame
from entropilot.traces.measures import TokenMeasures, token_measures
from entropilot.traces.table import Traces

SLACK: Final = 2e-4  # nats; recorded log-probabilities are rounded to six decimals
N_RESAMPLES: Final = 2000


def measure_traces(traces: Traces, seed: int, vocab_size: int) -> dict[str, Any]:
    """All numbers of the study on one set of traces.

    Args:
        traces: with labels and top-k lists.
        seed: of the bootstraps.
        vocab_size: V, for the bounds.

    Returns:
        Plain values; an AUC is [value, low, high], or None where labels are all equal.

    Examples:
        >>> from entropilot.studies.instability_traces import N_STATES, planted_traces
        >>> found = measure_traces(planted_traces(20, 4, 0), 0, N_STATES)
        >>> found["bounds"]["entropy_inside"], found["n_problems"]
        (1.0, 20)
    """
    measures = token_measures(traces, vocab_size)
    frame = trace_frame(traces, measures)
    _, wrong = labels_of(frame)
    table = signal_table(frame, seed=seed, roc_points=40)
    timing = timing_table(frame)
    return {
        "n_traces": frame.height,
        "n_tokens": len(traces.tokens),
        "n_problems": int(groups_of(frame).max()) + 1,
        "n_right": int((~wrong).sum()),
        "auc": {s.name: _triple(s.auc) for s in table},
        "prefix": {str(w): _triple(s.auc) for w, s in prefix_table(frame, seed=seed)},
        "roc": {s.name: s.roc for s in table if s.name in ("instability_peak", "entropy_mean")},
        "mean_entropy_minus_peak": _difference(frame, "entropy_mean", "instability_peak", seed),
        "buckets": {
            name: [[b.low, b.high, b.n, b.n_right] for b in bucket_table(frame, name)]
            for name in ("instability_peak", "entropy_mean")
        },
        "timing": []
        if timing is None
        else [[c.fifth, c.timing, c.n, c.n_right] for c in timing.cells],
        "classes": None
        if timing is None
        else [timing.n_corrective, timing.n_destructive, timing.n_stable_wrong],
        "bounds": _bounds(traces, vocab_size),
        "examples": _examples(frame, measures),
    }


def _triple(found: Interval | None) -> list[float] | None:
    return None if found is None else [found.value, found.low, found.high]


def _difference(frame: pl.DataFrame, name: str, other: str, seed: int) -> list[float] | None:
    """AUC of one signal minus another's; both see the same resamples of problems."""
    known, wrong = labels_of(frame)
    scores = [score_of(frame, column) for column in (name, other)]
    usable = known & ~np.isnan(scores[0]) & ~np.isnan(scores[1])
    if not usable.any() or wrong[usable].all() or not wrong[usable].any():
        return None
    _, group = np.unique(groups_of(frame)[usable], return_inverse=True)
    n_groups = int(group.max()) + 1
    values, draws = [], []
    for score in scores:
        order, tie_end = sorted_ties(score[usable])
        w, g = wrong[usable][order], group[order]
        draws.append(
            resampled_auc(w, tie_end, g, n_groups, N_RESAMPLES, rng=np.random.default_rng(seed))
        )
        values.append(auc(score[usable], wrong[usable]))
    low, high, _ = percentile_interval(draws[0] - draws[1])
    return [values[0] - values[1], float(low), float(high)]


def _bounds(traces: Traces, vocab_size: int) -> dict[str, float]:
    tokens = traces.tokens
    if tokens.entropy is None or tokens.jsd is None:
        return {"n": 0, "entropy_inside": math.nan, "jsd_inside": math.nan}
    lists = (tokens.offsets, tokens.top_piece, tokens.top_logprob, tokens.n_top)
    found = sequence_bounds(*lists, vocab_size=vocab_size)
    entropy, jsd = tokens.entropy.astype(np.float64), tokens.jsd.astype(np.float64)
    has_before = ~np.isnan(jsd)
    above = (entropy >= found.entropy_lower - SLACK) & (entropy <= found.entropy_upper + SLACK)
    near = (jsd >= found.jsd_lower - SLACK) & (jsd <= found.jsd_upper + SLACK)
    return {
        "n": len(tokens),
        "entropy_inside": float(above.mean()),
        "jsd_inside": float(near[has_before].mean()),
    }


def _examples(frame: pl.DataFrame, measures: TokenMeasures) -> list[dict[str, Any]]:
    """Four traces to look at: one of each class, the clearest of its kind."""
    peak = pl.col("instability_peak")
    high, low = peak >= peak.quantile(0.75), peak <= peak.quantile(0.25)
    right, early, late = pl.col("correct"), pl.col("timing") == "early", pl.col("timing") == "late"
    kinds = (
        ("early peak, right", high & early & right, True),
        ("late peak, wrong", high & late & ~right, True),
        ("stable, right", low & right, False),
        ("stable, wrong", low & ~right, False),
    )
    found = []
    for label, rule, descending in kinds:
        rows = (
            frame.with_row_index("row")
            .filter(rule)
            .sort("instability_peak", "row", descending=[descending, False])
        )
        if rows.height:
            row = int(rows["row"][0])
            start, stop = measures.offsets[row], measures.offsets[row + 1]
            values = [
                None if math.isnan(v) else round(v, 3) for v in measures.instability[start:stop]
            ]
            found.append({"kind": label, "id": rows["id"][0], "instability": values})
    return found
