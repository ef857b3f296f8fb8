"""How well a score tells wrong from right: area under the ROC curve, and buckets.

A higher score means "wrong". Scores that are nan are left out, and the results say how many.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError
from entropilot.information.auc_kernels import resampled_auc, sorted_ties, weighted_auc
from entropilot.information.counts import reject
from entropilot.information.intervals import (
    Floats,
    group_index,
    normal_quantile,
    percentile_interval,
    wilson,
)

BOOTSTRAP_LIMIT = 200_000  # scores; above it a bootstrap takes seconds and DeLong agrees with it


@dataclass(frozen=True)
class AucInterval:
    """An area under the ROC curve with its interval; nan, and a reason, where it is undefined."""

    value: float
    low: float
    high: float
    n_wrong: int
    n_right: int
    n_groups: int
    n_dropped: int  # scores that were nan
    method: str  # "bootstrap" | "delong"
    reason: str = ""


@dataclass(frozen=True)
class RocCurve:
    """Points of an ROC curve, from (0, 0) to (1, 1)."""

    false_alarm: Floats  # [P] share of right ones with score >= threshold
    detection: Floats  # [P] share of wrong ones with score >= threshold
    threshold: Floats  # [P] falling; the first is +inf
    n_dropped: int


@dataclass(frozen=True)
class Buckets:
    """Accuracy in equal-count buckets of a score, lowest scores first."""

    n: NDArray[np.int64]  # [B]
    n_right: NDArray[np.int64]  # [B]
    accuracy: Floats  # [B]
    low: Floats  # [B] Wilson 95 %
    high: Floats  # [B]
    score_low: Floats  # [B] smallest and largest score in the bucket
    score_high: Floats  # [B]
    is_monotone: bool  # accuracy never rises from one bucket to the next
    spearman: float  # rank correlation of bucket number with accuracy; nan when all are equal
    n_dropped: int


def auc(score: ArrayLike, wrong: ArrayLike) -> float:
    """Area under the ROC curve: how often a wrong one scores above a right one, ties half.

        AUC = P(score_wrong > score_right) + 1/2 P(equal)

    Args:
        score: [n]; higher means wrong. Nan scores are left out, with a warning that counts them.
        wrong: [n] bool or 0/1.

    Returns:
        In [0, 1]; nan, with a warning that says why, when all labels are equal.

    Raises:
        InputError: for lengths that differ, or labels other than 0 and 1.

    Examples:
        >>> auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
        0.875

    Source: Mann and Whitney, Ann. Math. Stat. 18 (1947), 50.
    """
    s, w, n_dropped = _labelled_scores(score, wrong)
    if n_dropped:
        warnings.warn(f"{n_dropped} scores were nan and are left out of the AUC", stacklevel=2)
    if reason := _undefined(w):
        warnings.warn(f"AUC is undefined: {reason}", stacklevel=2)
        return float("nan")
    order, tie_end = sorted_ties(s)
    return float(weighted_auc(w[order], tie_end, np.ones(len(s)), np.arange(len(s))))


def auc_interval(
    score: ArrayLike,
    wrong: ArrayLike,
    groups: ArrayLike | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    *,
    confidence: float = 0.95,
    method: str = "auto",
) -> AucInterval:
    """AUC with an interval that knows of groups: all answers to one question are drawn together.

    Args:
        score: [n]; higher means wrong. Nan scores are left out and counted.
        wrong: [n] bool or 0/1.
        groups: [n] the question of each answer; None treats answers as independent.
        n_resamples: bootstrap resamples.
        seed: of the bootstrap.
        confidence: in (0, 1).
        method: "bootstrap" (percentile), "delong" (normal on the logit scale), or "auto", which
            is the bootstrap up to 200,000 scores.

    Returns:
        Value, ends and counts. Resamples with labels all equal are left out.

    Raises:
        InputError: for lengths that differ, labels other than 0 and 1, an unknown method.

    Examples:
        >>> found = auc_interval([0.1, 0.4, 0.35, 0.8, 0.7, 0.2], [0, 0, 1, 1, 1, 0])
        >>> round(found.value, 3), round(found.high, 3), found.n_wrong, found.method
        (0.889, 1.0, 3, 'bootstrap')

    Source: instability paper (arXiv 2602.02863), evaluation; DeLong for large n.
    """
    if method not in ("auto", "bootstrap", "delong"):
        raise InputError(
            f"method is {method!r}; expected 'auto', 'bootstrap' or 'delong'; choose one of these"
        )
    z = normal_quantile(confidence)
    s, w, n_dropped = _labelled_scores(score, wrong)
    index, n_groups = _kept_groups(groups, score, len(s))
    n_wrong = int(w.sum())
    if method == "auto":
        method = "bootstrap" if len(s) <= BOOTSTRAP_LIMIT else "delong"
    if reason := _undefined(w):
        nan = float("nan")
        return AucInterval(
            nan, nan, nan, n_wrong, len(s) - n_wrong, n_groups, n_dropped, method, reason
        )
    order, tie_end = sorted_ties(s)
    if method == "delong":
        value, variance = delong(s, w, index)
        low, high = _logit_interval(value, variance, z)
    else:
        value = float(weighted_auc(w[order], tie_end, np.ones(n_groups), index[order]))
        resamples = resampled_auc(
            w[order], tie_end, index[order], n_groups, n_resamples, rng=np.random.default_rng(seed)
        )
        ends = percentile_interval(resamples, confidence)
        low, high = float(ends[0]), float(ends[1])
    return AucInterval(value, low, high, n_wrong, len(s) - n_wrong, n_groups, n_dropped, method)


def delong(
    score: ArrayLike, wrong: ArrayLike, groups: ArrayLike | None = None
) -> tuple[float, float]:
    """AUC and its variance in closed form, for independent or grouped answers.

        V10_i = P(score_right < s_i) + 1/2 P(=)   for wrong i,   V01_j likewise for right j
        var   = S10/m + S01/n + 2 S11/(m n)       with sums over groups; S11 = 0 without groups

    Args:
        score: [n]; higher means wrong. Nan scores are left out.
        wrong: [n] bool or 0/1.
        groups: [n] groups of dependent answers; None makes each its own group.

    Returns:
        AUC and variance; both nan when labels are all equal, variance nan when all wrong or all
        right ones sit in one group.

    Examples:
        >>> value, variance = delong([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        >>> value, variance
        (0.75, 0.125)

    Source: DeLong et al., Biometrics 44 (1988), 837; groups: Obuchowski, Biometrics 53 (1997), 567.
    """
    s, w, _ = _labelled_scores(score, wrong)
    index, n_groups = _kept_groups(groups, score, len(s))
    if _undefined(w):
        return float("nan"), float("nan")
    below = _placements(s[w], np.sort(s[~w]))  # wrong ones among the right
    above = 1 - _placements(s[~w], np.sort(s[w]))
    m, n = len(below), len(above)
    value = float(below.mean())
    # Sums over a group of the departures; a group without that kind has 0.
    x = np.bincount(index[w], below - value, n_groups)
    y = np.bincount(index[~w], above - value, n_groups)
    groups_x, groups_y = len(np.unique(index[w])), len(np.unique(index[~w]))
    if groups_x < 2 or groups_y < 2:
        return value, float("nan")
    s10 = groups_x / ((groups_x - 1) * m) * float(x @ x)
    s01 = groups_y / ((groups_y - 1) * n) * float(y @ y)
    s11 = n_groups / (n_groups - 1) * float(x @ y)
    return value, max(s10 / m + s01 / n + 2 * s11 / (m * n), 0.0)


def roc_curve(score: ArrayLike, wrong: ArrayLike, max_points: int = 200) -> RocCurve:
    """ROC curve with a point at every distinct score, thinned evenly along the curve.

    Args:
        score: [n]; higher means wrong. Nan scores are left out and counted.
        wrong: [n] bool or 0/1; both kinds must occur.
        max_points: >= 2; how many points to keep, ends included.

    Returns:
        False alarm and detection rates, and the threshold (score >= threshold raises the alarm).

    Raises:
        InputError: when labels are all equal, so that there is no curve.

    Examples:
        >>> curve = roc_curve([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        >>> curve.detection.tolist()
        [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    s, w, n_dropped = _labelled_scores(score, wrong)
    if reason := _undefined(w):
        raise InputError(f"there is no ROC curve: {reason}")
    if max_points < 2:
        raise InputError(f"max_points is {max_points}; a curve has 2 ends, so ask for at least 2")
    order = np.argsort(-s, kind="stable")
    last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)  # last of each tie
    detection = np.append(0.0, np.cumsum(w[order])[last] / w.sum())
    false_alarm = np.append(0.0, np.cumsum(~w[order])[last] / (~w).sum())
    threshold = np.append(np.inf, s[order][last])
    if len(threshold) > max_points:
        along = detection + false_alarm  # rises from 0 to 2
        kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], max_points)))
        detection, false_alarm, threshold = detection[kept], false_alarm[kept], threshold[kept]
    return RocCurve(false_alarm, detection, threshold, n_dropped)


def equal_count_buckets(score: ArrayLike, right: ArrayLike, n: int = 5) -> Buckets:
    """Accuracy in ``n`` buckets of equal count by rank of the score; ties keep their order.

    Args:
        score: [items]. Nan scores are left out and counted.
        right: [items] bool or 0/1.
        n: number of buckets, >= 1; counts differ by at most 1.

    Returns:
        Accuracy with Wilson intervals, lowest scores first, and whether it falls all the way.

    Raises:
        InputError: with fewer scores than buckets.

    Examples:
        >>> found = equal_count_buckets([1, 2, 3, 4], [1, 1, 1, 0], n=2)
        >>> found.accuracy.tolist(), found.is_monotone
        ([1.0, 0.5], True)

    Source: instability paper (arXiv 2602.02863), evaluation.
    """
    s, r, n_dropped = _labelled_scores(score, right, name="right")
    if n < 1 or len(s) < n:
        raise InputError(
            f"{len(s)} scores can't fill {n} buckets; expected at least one score per bucket and "
            f"one bucket, so lower n"
        )
    order = np.argsort(s, kind="stable")
    parts = np.array_split(order, n)
    sizes = np.array([len(part) for part in parts])
    n_right = np.array([int(r[part].sum()) for part in parts])
    accuracy = n_right / sizes
    low, high = wilson(n_right, sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal accuracies: nan says it
        correlation = spearman(np.arange(n), accuracy)
    return Buckets(
        sizes,
        n_right,
        accuracy,
        low,
        high,
        np.array([s[part[0]] for part in parts]),
        np.array([s[part[-1]] for part in parts]),
        bool(np.all(np.diff(accuracy) <= 0)),
        correlation,
        n_dropped,
    )


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Rank correlation; equal values share their mean rank.

    Args:
        x: [n].
        y: [n]. Pairs in which either is nan are left out.

    Returns:
        In [-1, 1]; nan, with a warning, when either is constant or fewer than 2 pairs remain.

    Examples:
        >>> round(spearman([1, 2, 3, 4], [9, 7, 7, 1]), 4)
        -0.9487
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(f"x has shape {a.shape} and y {b.shape}; expected two lists of one length")
    kept = ~(np.isnan(a) | np.isnan(b))
    ranks = [_mean_ranks(v[kept]) for v in (a, b)]
    centred = [v - v.mean() if len(v) else v for v in ranks]
    scale = float(np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1])))
    if scale == 0:
        warnings.warn(
            "rank correlation is undefined: one side is constant, or fewer than 2 pairs remain",
            stacklevel=2,
        )
        return float("nan")
    return float(np.clip(centred[0] @ centred[1] / scale, -1, 1))


def _labelled_scores(
    score: ArrayLike, label: ArrayLike, name: str = "wrong"
) -> tuple[Floats, NDArray[np.bool_], int]:
    s, w = np.asarray(score, dtype=np.float64), np.asarray(label)
    if s.ndim != 1 or s.shape != w.shape:
        raise InputError(
            f"score has shape {s.shape} and {name} {w.shape}; expected two lists of one length"
        )
    if w.dtype != np.bool_:
        if w.dtype.kind not in "iuf":
            raise InputError(
                f"{name} holds {w.dtype} values; expected True/False or 0/1, so drop unlabelled "
                f"ones first"
            )
        reject(
            (w != 0) & (w != 1), w, f"{name} must be True/False or 0/1; drop unlabelled ones first"
        )
        w = w.astype(np.bool_)
    kept = ~np.isnan(s)
    return s[kept], w[kept], int(len(s) - kept.sum())


def _kept_groups(
    groups: ArrayLike | None, score: ArrayLike, n_kept: int
) -> tuple[NDArray[np.int64], int]:
    """Group numbers of the scores that are not nan."""
    if n_kept == 0:
        return np.zeros(0, dtype=np.int64), 0
    if groups is None:
        return group_index(None, n_kept)
    kept = ~np.isnan(np.asarray(score, dtype=np.float64))
    names = np.asarray(groups)
    if names.shape != kept.shape:
        raise InputError(
            f"groups has shape {names.shape}, but there are {kept.size} scores; "
            f"give one group to each score"
        )
    return group_index(names[kept], n_kept)


def _undefined(wrong: NDArray[np.bool_]) -> str:
    if len(wrong) == 0:
        return "there are no scored and labelled items"
    if wrong.all() or not wrong.any():
        return f"all {len(wrong)} labels are equal; it takes right and wrong ones to compare"
    return ""


def _logit_interval(value: float, variance: float, z: float) -> tuple[float, float]:
    """Normal interval on the logit scale, which stays inside (0, 1)."""
    if np.isnan(variance) or not 0 < value < 1:
        return (value, value) if variance == 0 else (float("nan"), float("nan"))
    centre = np.log(value / (1 - value))
    half = z * np.sqrt(variance) / (value * (1 - value))
    return float(1 / (1 + np.exp(half - centre))), float(1 / (1 + np.exp(-half - centre)))


def _placements(s: Floats, others: Floats) -> Floats:
    """Share of sorted ``others`` below each of ``s``, ties half."""
    left, right = np.searchsorted(others, s, "left"), np.searchsorted(others, s, "right")
    return np.asarray((left + right) / (2 * len(others)))


def _mean_ranks(v: Floats) -> Floats:
    _, index, counts = np.unique(v, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[index], dtype=np.float64)
