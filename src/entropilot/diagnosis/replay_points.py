"""From what a policy does to each trace to points of a curve, their intervals, and a verdict.

All columns share the resamples of groups, so the gain over chance is a paired difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval, Replay, ReplayPoint
from entropilot.diagnosis.scores import Floats, clusters_of
from entropilot.errors import InputError
from entropilot.information.intervals import cluster_bootstrap_of

N_RESAMPLES: Final = 1000
MANY: Final = 50_000  # traces above which fewer resamples do
NO_SAVING: Final = "no saving to be had"
SHARES: Final = tuple(round(0.05 * i, 2) for i in range(1, 19))  # 5 % to 90 % of the traces


@dataclass(frozen=True)
class Setting:
    """What every replay is told."""

    signal: str  # name of the score, for reading
    rate: float  # share of traces to act on at the chosen threshold
    confidence: float
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What one threshold does: per trace [n], right answers and answers counted, in both worlds."""

    threshold: float
    share: float
    saved: float  # share of tokens (or of cost) saved
    random_saved: float  # by the same share chosen at random
    right: NDArray[Any]  # [n] right answers under the policy
    counted: NDArray[Any]  # [n] answers that count under it
    random_right: NDArray[Any]  # [n] expected when chosen at random
    random_counted: NDArray[Any]  # [n]
    mixes: bool = False  # chance mixes random_right into what was, as often as random_counted says


@dataclass(frozen=True)
class Points:
    """Curves of the policy and of chance, and the gains at the last outcome."""

    baseline: Interval
    curve: tuple[ReplayPoint, ...]
    random: tuple[ReplayPoint, ...]
    gain: Interval  # of the last outcome: accuracy under the policy minus chance at the same share


def checked(
    score: Floats, right: NDArray[np.bool_], groups: NDArray[np.int64] | None, rate: float
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Arrays of one length, and a rate that makes sense; groups default to one a trace.

    Args:
        score: [n]; higher means wrong.
        right: [n] bool.
        groups: [n] or None.
        rate: share of traces to act on, in (0, 1).

    Returns:
        The three arrays.

    Raises:
        InputError: for lengths that differ, fewer than two traces, a rate outside (0, 1), no score.

    Examples:
        >>> checked(np.array([0.1, 0.2]), np.array([True, False]), None, 0.1)[2].tolist()
        [0, 1]
    """
    values, labels = np.asarray(score, dtype=np.float64), np.asarray(right).astype(np.bool_)
    names = np.arange(len(values)) if groups is None else np.asarray(groups)
    if not len(values) == len(labels) == len(names):
        raise InputError(
            f"{len(values)} scores, {len(labels)} labels and {len(names)} groups; a replay needs "
            "one of each a trace"
        )
    if len(values) < 2:
        raise InputError(f"{len(values)} labelled traces; a replay needs at least 2")
    if not 0 < rate < 1:
        raise InputError(f"rate is {rate}; expected a share between 0 and 1, such as 0.1")
    if np.isnan(values).all():
        raise InputError("no trace has a score; a replay needs a signal, so choose another one")
    return values, labels, names


def thresholds_at(score: Floats, shares: tuple[float, ...]) -> Floats:
    """Thresholds that act on these shares of the traces (score >= threshold).

    Args:
        score: [n]; nan never counts.
        shares: in (0, 1).

    Returns:
        One threshold a share; where scores tie, the share that comes out may be larger.

    Examples:
        >>> thresholds_at(np.arange(10.0), (0.1, 0.5)).tolist()
        [9.0, 5.0]
    """
    order = np.sort(score[~np.isnan(score)])[::-1]
    rank = np.clip(np.ceil(np.array(shares) * len(score)).astype(int) - 1, 0, len(order) - 1)
    return np.asarray(order[rank], dtype=np.float64)


def threshold_interval(
    score: Floats, groups: NDArray[np.int64], rate: float, confidence: float, seed: int
) -> Interval:
    """The threshold that acts on ``rate`` of the traces, with its interval over groups.

    Args:
        score: [n]; higher means wrong.
        groups: [n] numbers.
        rate: in (0, 1).
        confidence: of the interval.
        seed: of the bootstrap.

    Returns:
        Threshold and ends, in the score's unit.

    Examples:
        >>> found = threshold_interval(np.arange(100.0), np.arange(100), 0.1, 0.95, 0)
        >>> found.value, found.low < 90 < found.high
        (90.0, True)
    """
    unit, n_units = clusters_of(groups, seed)
    size = np.bincount(unit, minlength=n_units).astype(np.float64)
    # Only the top is looked at: no resample moves the threshold to twice the rate.
    n_top = min(len(score), int(2 * rate * len(score)) + 100)
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")[:n_top]
    ranked, top = score[order], unit[order]

    def statistic(weights: Floats) -> Floats:
        mass = np.cumsum(weights[:, top], axis=1)
        target = np.ceil(rate * (weights @ size)) - 1e-9
        place = (mass < target[:, None]).sum(axis=1)
        return np.asarray(ranked[np.minimum(place, n_top - 1)])[:, None]

    rows = max(1, (1 << 22) // n_top)  # keep [rows, n_top] below 32 MB

    def by_rows(weights: Floats) -> Floats:
        parts = [statistic(weights[i : i + rows]) for i in range(0, len(weights), rows)]
        return np.concatenate(parts)

    found = cluster_bootstrap_of(
        by_rows,
        n_units,
        rng=np.random.default_rng(seed),
        n_resamples=N_RESAMPLES if len(score) <= MANY else 200,
        confidence=confidence,
    )
    value = float(thresholds_at(score, (rate,))[0])
    return Interval(value, float(found.low[0]), float(found.high[0]))


def measure_outcomes(
    outcomes: list[Outcome],
    right: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    confidence: float,
    seed: int,
) -> Points:
    """Accuracies with paired intervals.

        accuracy = sum right / sum counted,  gain = accuracy - accuracy of the random choice

    Args:
        outcomes: one a threshold; the gain is that of the last.
        right: [n] what the traces did without any policy.
        groups: [n] numbers.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        The curve has all outcomes but the last, sorted by share as they came.

    Examples:
        >>> right = np.array([True, False])
        >>> kept = Outcome(0.5, 0.5, 0.0, 0.0, np.array([1.0, 0]), np.array([1.0, 0]),
        ...     np.array([0.5, 0]), np.array([0.5, 0.5]))
        >>> measure_outcomes([kept], right, np.arange(2), confidence=0.9, seed=0).gain.value
        0.5
    """
    unit, n_units = clusters_of(groups, seed)
    p = len(outcomes)
    columns: list[NDArray[Any]] = [right, np.ones(len(right))]
    for name in ("right", "counted", "random_right", "random_counted"):
        columns += [getattr(outcome, name) for outcome in outcomes]
    table = np.stack(
        [np.bincount(unit, column.astype(np.float64), n_units) for column in columns], axis=1
    )

    mixes = np.array([outcome.mixes for outcome in outcomes])

    def statistic(weights: Floats) -> Floats:
        sums = weights @ table
        with np.errstate(invalid="ignore", divide="ignore"):
            base = sums[:, 0] / sums[:, 1]
            policy = sums[:, 2 : 2 + p] / sums[:, 2 + p : 2 + 2 * p]
            other, counted = sums[:, 2 + 2 * p : 2 + 3 * p], sums[:, 2 + 3 * p :]
            share = counted / sums[:, 1:2]
            mixed = share * other / sums[:, 1:2] + (1 - share) * base[:, None]
            chance = np.where(mixes, mixed, other / counted)
        return np.column_stack([base, policy, chance, policy[:, -1] - chance[:, -1]])

    found = cluster_bootstrap_of(
        statistic,
        n_units,
        rng=np.random.default_rng(seed),
        n_resamples=N_RESAMPLES,
        confidence=confidence,
    )
    ends = [
        Interval(float(v), float(low), float(high))
        for v, low, high in zip(found.value, found.low, found.high, strict=True)
    ]
    curve = tuple(
        ReplayPoint(o.threshold, o.share, o.saved, ends[1 + i]) for i, o in enumerate(outcomes)
    )
    random = tuple(
        ReplayPoint(o.threshold, o.share, o.random_saved, ends[1 + p + i])
        for i, o in enumerate(outcomes)
    )
    return Points(ends[0], curve, random, ends[-1])


def gain_words(gain: Interval) -> str:
    """A gain in accuracy as words: points of a per cent, with its interval.

    Args:
        gain: difference of two accuracies.

    Returns:
        A phrase for a sentence.

    Examples:
        >>> gain_words(Interval(0.031, -0.01, 0.07))
        '+3.1 points [-1.0, +7.0]'
    """
    return f"{100 * gain.value:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def run_replay(
    policy: str,
    outcome: Callable[[float], Outcome],
    verdict: Callable[[Points], str],
    *,
    score: Floats,
    right: NDArray[np.bool_],
    groups: NDArray[np.int64],
    setting: Setting,
    units: NDArray[np.int64] | None = None,
) -> Replay:
    """Replay one policy at many thresholds and at the chosen one.

    Args:
        policy: its name.
        outcome: what a threshold does.
        verdict: a sentence without its end, from the points; the last point is the chosen one.
        score: [n]; higher means wrong.
        right: [m] bool, of what the outcomes count: traces, or problems that vote.
        groups: [n] numbers.
        setting: signal, rate, confidence and seed.
        units: [m] groups of what the outcomes count, where that isn't the traces.

    Returns:
        The replay, its verdict ending in what the gain comes to.

    Examples:
        >>> right, ones = np.array([True, False]), np.ones(2)
        >>> found = run_replay("drop", lambda t: Outcome(t, 0.5, 0, 0, right, ones, right, ones),
        ...     lambda points: "Nothing is done", score=np.arange(2.0), right=right,
        ...     groups=np.arange(2), setting=Setting("x", 0.5, 0.95, 0))
        >>> found.verdict
        'Nothing is done: no saving to be had.'
    """
    confidence, seed = setting.confidence, setting.seed
    threshold = threshold_interval(score, groups, setting.rate, confidence, seed)
    grid = np.unique(thresholds_at(score, SHARES))[::-1]
    outcomes = [outcome(float(t)) for t in grid]
    outcomes = [o for o in outcomes if o.share < 1] + [outcome(threshold.value)]
    counted = groups if units is None else units
    points = measure_outcomes(outcomes, right, counted, confidence=confidence, seed=seed)
    return Replay(
        policy,
        setting.signal,
        points.baseline,
        points.random[:-1],
        points.curve[:-1],
        points.curve[-1],
        threshold,
        f"{verdict(points)}: {judged(points.gain)}.",
    )


def judged(gain: Interval) -> str:
    """What a gain over chance comes to.

    Args:
        gain: accuracy under the policy minus accuracy under the random choice.

    Returns:
        "no saving to be had" when the interval includes zero or lies below it.

    Examples:
        >>> judged(Interval(0.02, -0.01, 0.05))
        'no saving to be had'
    """
    if not gain.low > 0:
        return NO_SAVING
    return "better than chance"
