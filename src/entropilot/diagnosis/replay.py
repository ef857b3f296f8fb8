"""What a policy would have done on recorded traces: before it is switched on, and against chance.

    drop        leave out flagged traces, or hand them to a person: accuracy of the rest
    route       hand flagged traces to a larger model: accuracy against cost

Stopping early, which saves tokens, is in ``replay_stop``; voting is in ``replay_vote``.
A trace is flagged when score >= threshold. The threshold is set by the share of traces that it
flags, never by their labels, so the labels judge it fairly. Each policy is held against the same
share chosen at random, and a gain whose interval includes zero is called no saving.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Replay
from entropilot.diagnosis.replay_points import (
    Outcome,
    Points,
    Setting,
    checked,
    gain_words,
    run_replay,
)
from entropilot.diagnosis.scores import Floats
from entropilot.errors import InputError


def replay_drop(
    score: Floats,
    right: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    *,
    rate: float = 0.1,
    signal: str = "score",
    confidence: float = 0.95,
    seed: int = 0,
) -> Replay:
    """Leave out the flagged traces: risk against coverage.

    Args:
        score: [n]; higher means wrong; a trace without a score (nan) is never flagged.
        right: [n] bool.
        groups: [n] numbers of the problems, over which the bootstrap draws; None: each its own.
        rate: share of traces to leave out at the chosen threshold, in (0, 1).
        signal: name of the score, for reading.
        confidence: of all intervals.
        seed: of the bootstrap.

    Returns:
        Accuracy of what is kept; tokens_saved is 0, since the traces were written to their end.

    Raises:
        InputError: for lengths that differ, fewer than two traces, a rate outside (0, 1), no score.

    Examples:
        >>> right = np.arange(100) < 50
        >>> found = replay_drop(np.where(right, 0.0, 1.0) + np.arange(100) / 1e4, right, rate=0.4)
        >>> round(found.chosen.accuracy.value, 2), found.baseline.value
        (0.83, 0.5)
    """
    score, right, groups = checked(score, right, groups, rate)
    ones = np.ones(len(score))

    def outcome(threshold: float) -> Outcome:
        kept = ~(score >= threshold)
        return Outcome(
            threshold,
            float(1 - kept.mean()),
            0.0,
            0.0,
            right & kept,
            kept,
            right,
            ones,
        )

    def verdict(points: Points) -> str:
        chosen = points.curve[-1]
        return (
            f"Leaving out the {chosen.share:.0%} with the highest {signal} moves accuracy from "
            f"{points.baseline.value:.1%} to {chosen.accuracy.value:.1%}: "
            f"{gain_words(points.gain)} over leaving out as many at random"
        )

    return run_replay(
        "drop",
        outcome,
        verdict,
        score=score,
        right=right,
        groups=groups,
        setting=Setting(signal, rate, confidence, seed),
    )


def replay_route(
    score: Floats,
    right: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    *,
    larger: float | Floats = 0.9,
    cost_ratio: float = 10.0,
    handover_cost: float = 0.0,
    n_tokens: NDArray[np.int64] | None = None,
    rate: float = 0.1,
    signal: str = "score",
    confidence: float = 0.95,
    seed: int = 0,
) -> Replay:
    """Hand the flagged traces to a larger model: accuracy against cost.

        cost = sum n_tokens + sum_handed (cost_ratio n_tokens + handover_cost)
        saved = 1 - cost / (cost_ratio sum n_tokens)         against asking only the larger model

    Args:
        score: [n]; higher means wrong.
        right: [n] bool, of the smaller model.
        groups: [n] numbers of the problems; None: each its own.
        larger: accuracy of the larger model: one number (assumed the same for every trace), or [n]
            whether it was right on each.
        cost_ratio: cost of a token of the larger model in tokens of the smaller one, > 0.
        handover_cost: added to each trace handed over, in tokens of the smaller model, >= 0.
        n_tokens: [n] length of the traces; None: all alike.
        rate: share of traces to hand over at the chosen threshold, in (0, 1).
        signal: name of the score, for reading.
        confidence: of all intervals.
        seed: of the bootstrap.

    Returns:
        ``tokens_saved`` is the share of cost saved against always asking the larger model; it is
        negative where the cascade costs more.

    Raises:
        InputError: as ``replay_drop``; for an accuracy outside [0, 1] or a cost below zero.

    Examples:
        >>> right = np.arange(100) < 50
        >>> found = replay_route(np.where(right, 0.0, 1.0) + np.arange(100) / 1e4, right, rate=0.5,
        ...     larger=0.8)
        >>> round(found.chosen.accuracy.value, 2), round(found.chosen.tokens_saved, 2)
        (0.9, 0.4)
    """
    score, right, groups = checked(score, right, groups, rate)
    assumed = np.ndim(larger) == 0
    better = np.broadcast_to(np.asarray(larger, dtype=np.float64), score.shape)
    if not ((better >= 0) & (better <= 1)).all():
        raise InputError(
            "the larger model's accuracy must lie in [0, 1]; give shares or True/False"
        )
    if not cost_ratio > 0 or not handover_cost >= 0:
        raise InputError(
            f"cost_ratio is {cost_ratio} and handover_cost {handover_cost}; expected a positive "
            "ratio and a cost of 0 or more"
        )
    tokens = np.ones(len(score)) if n_tokens is None else np.asarray(n_tokens, dtype=np.float64)
    ones = np.ones(len(score))

    def outcome(threshold: float) -> Outcome:
        handed = score >= threshold
        share = float(handed.mean())
        all_larger = cost_ratio * tokens.sum()
        own = tokens.sum() + handover_cost * handed.sum()
        saved = 1 - (own + cost_ratio * tokens[handed].sum()) / all_larger
        chance = 1 - (own + cost_ratio * share * tokens.sum()) / all_larger
        return Outcome(
            threshold,
            share,
            float(saved),
            float(chance),
            np.where(handed, better, right),
            ones,
            better,
            handed,
            mixes=True,
        )

    def verdict(points: Points) -> str:
        chosen = points.curve[-1]
        known = (
            f"assumed to be right {float(np.mean(better)):.0%} of the time"
            if assumed
            else "as recorded"
        )
        return (
            f"Handing the {chosen.share:.0%} with the highest {signal} to a larger model ({known}) "
            f"moves accuracy from {points.baseline.value:.1%} to {chosen.accuracy.value:.1%} and "
            f"saves {chosen.tokens_saved:.0%} of the cost of always asking it: "
            f"{gain_words(points.gain)} over handing over as many at random"
        )

    return run_replay(
        "route",
        outcome,
        verdict,
        score=score,
        right=right,
        groups=groups,
        setting=Setting(signal, rate, confidence, seed),
    )
