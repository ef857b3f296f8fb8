"""Stop a trace early when its running signal is too high: tokens saved against answers kept.

As in ``replay``: thresholds are set by the share of traces they stop; chance is the line to beat.
"""

from __future__ import annotations

from collections.abc import Callable

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


def replay_prefix_stop(
    score: Floats,
    right: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    *,
    window: int,
    n_tokens: NDArray[np.int64],
    rate: float = 0.1,
    signal: str = "score",
    confidence: float = 0.95,
    seed: int = 0,
) -> Replay:
    """Stop a trace after its first ``window`` tokens when its signal up to there is too high.

    Args:
        score: [n] signal of the first ``window`` tokens, such as instability_peak_20.
        right: [n] bool.
        groups: [n] numbers of the problems; None: each its own.
        window: tokens that are written before the decision, >= 1.
        n_tokens: [n] length of the traces. A trace no longer than ``window`` can't be stopped.
        rate: share of traces to stop at the chosen threshold, in (0, 1).
        signal: name of the score, for reading.
        confidence: of all intervals.
        seed: of the bootstrap.

    Returns:
        Accuracy of the traces that were let run, and the share of tokens that stopping saves.

    Raises:
        InputError: as ``replay_drop``; for a window below 1.

    Examples:
        >>> right = np.arange(100) < 50
        >>> found = replay_prefix_stop(np.where(right, 0.0, 1.0) + np.arange(100) / 1e4, right,
        ...     rate=0.5, window=10, n_tokens=np.full(100, 40))
        >>> found.chosen.accuracy.value, found.chosen.tokens_saved
        (1.0, 0.375)
    """
    if window < 1:
        raise InputError(f"window is {window}; expected at least 1 token")
    length = np.asarray(n_tokens, dtype=np.float64)
    values = np.where(length > window, np.asarray(score, dtype=np.float64), np.nan)
    if np.isnan(values).all():
        raise InputError(
            f"no trace with a score is longer than {window} tokens, so none can be stopped there; "
            "choose a shorter window"
        )
    return _stop(
        values,
        lambda threshold: np.where(values >= threshold, float(window), length),
        length,
        right,
        groups,
        what=f"{signal} of the first {window} tokens",
        signal=signal,
        rate=rate,
        confidence=confidence,
        seed=seed,
    )


def replay_early_stop(
    token_values: Floats,
    offsets: NDArray[np.int64],
    right: NDArray[np.bool_],
    groups: NDArray[np.int64] | None = None,
    *,
    window: int = 16,
    rate: float = 0.1,
    signal: str = "score",
    confidence: float = 0.95,
    seed: int = 0,
) -> Replay:
    """Stop a trace at the token where the running mean of a token signal gets too high.

        running_t = mean of the values at t - window + 1 .. t        once a whole window was written

    Args:
        token_values: [N] signal of each token (entropy, or instability; nan is left out of means).
        offsets: [n+1] trace i owns tokens offsets[i]:offsets[i+1].
        right: [n] bool.
        groups: [n] numbers of the problems; None: each its own.
        window: tokens of the running mean, >= 1. A trace shorter than that is never stopped.
        rate: share of traces to stop at the chosen threshold, in (0, 1).
        signal: name of the signal, for reading.
        confidence: of all intervals.
        seed: of the bootstrap.

    Returns:
        Accuracy of the traces that were let run, and the share of tokens that stopping saves.

    Raises:
        InputError: as ``replay_drop``; for a window below 1, or offsets that don't fit the tokens.

    Examples:
        >>> values = np.tile([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], 20)
        >>> values[:100] = 0
        >>> found = replay_early_stop(values, np.arange(0, 201, 10), np.arange(20) < 10, window=2,
        ...     rate=0.5)
        >>> found.chosen.threshold, found.chosen.accuracy.value, found.chosen.tokens_saved
        (1.0, 1.0, 0.3)

    Source: early stop on a sliding window of token confidence, as DeepConf (arXiv 2508.15260) does.
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    if window < 1:
        raise InputError(f"window is {window}; expected at least 1 token")
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(token_values):
        raise InputError(
            f"offsets end at {offsets[-1] if len(offsets) else 'nothing'}, but there are "
            f"{len(token_values)} token values; expected 0 .. N, one more than there are traces"
        )
    length = np.diff(offsets)
    running = _running_mean(np.asarray(token_values, dtype=np.float64), offsets, window)
    trace = np.repeat(np.arange(len(length)), length)
    highest = np.full(len(length), -np.inf)
    known = ~np.isnan(running)
    np.maximum.at(highest, trace[known], running[known])
    position = np.arange(len(running)) - offsets[trace]

    def spent(threshold: float) -> Floats:
        tokens = length.astype(np.float64)
        over = np.flatnonzero(running >= threshold)
        np.minimum.at(tokens, trace[over], position[over] + 1.0)
        return tokens

    return _stop(
        np.where(np.isinf(highest), np.nan, highest),
        spent,
        length.astype(np.float64),
        right,
        groups,
        what=f"running {signal} over {window} tokens",
        signal=signal,
        rate=rate,
        confidence=confidence,
        seed=seed,
    )


def _stop(
    score: Floats,
    spent: Callable[[float], Floats],
    length: Floats,
    right: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
    *,
    what: str,
    signal: str,
    rate: float,
    confidence: float,
    seed: int,
) -> Replay:
    score, right, groups = checked(score, right, groups, rate)
    ones, total = np.ones(len(score)), length.sum()

    def outcome(threshold: float) -> Outcome:
        stopped = score >= threshold
        saved = (length - spent(threshold)).sum() / total if total else 0.0
        return Outcome(
            threshold,
            float(stopped.mean()),
            float(saved),
            float(saved),
            right & ~stopped,
            ~stopped,
            right,
            ones,
        )

    def verdict(points: Points) -> str:
        chosen = points.curve[-1]
        kept = chosen.accuracy.value * (1 - chosen.share) * len(score)
        lost = 1 - kept / max(int(right.sum()), 1)
        return (
            f"Stopping the {chosen.share:.0%} with the highest {what} saves "
            f"{chosen.tokens_saved:.1%} of the tokens and loses {lost:.0%} of the right answers; "
            f"the rest is right {chosen.accuracy.value:.1%} of the time, all are "
            f"{points.baseline.value:.1%}: "
            f"{gain_words(points.gain)} over stopping as many at random"
        )

    return run_replay(
        "early stop",
        outcome,
        verdict,
        score=score,
        right=right,
        groups=groups,
        setting=Setting(signal, rate, confidence, seed),
    )


def _running_mean(values: Floats, offsets: NDArray[np.int64], window: int) -> Floats:
    """Mean over the last ``window`` tokens of the same trace; nan before a whole window."""
    known = ~np.isnan(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(stop - window, 0)
    first = np.repeat(offsets[:-1], np.diff(offsets))
    whole = stop - window >= first
    n = count[stop] - count[start]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (total[stop] - total[start]) / n
    return np.where(whole & (n > 0), mean, np.nan)
