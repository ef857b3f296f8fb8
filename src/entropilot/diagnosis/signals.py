"""Signals of a trace and how well each tells wrong from right; none is turned round.

Source: instability paper (arXiv 2602.02863), evaluation; baselines stand beside its signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval, Signal
from entropilot.diagnosis.scores import FEWEST, Floats, folds_of, groups_of, labels_of, score_of
from entropilot.errors import InputError, unknown_name
from entropilot.information.ranking import auc_interval, roc_curve

#: Columns of the frame that are compared, in the order in which they are shown. All are read as
#: "higher means wrong"; for the minimal probability the lower is the more suspicious, and its AUC
#: is printed as it comes out.
SIGNAL_LABELS: Final[dict[str, str]] = {
    "instability_peak": "peak instability",
    "instability_peak_lambda_0": "peak instability, lambda 0",
    "instability_peak_lambda_05": "peak instability, lambda 0.5",
    "instability_peak_lambda_2": "peak instability, lambda 2",
    "instability_peak_full": "peak instability, full distribution",
    "entropy_mean": "mean entropy",
    "entropy_max": "largest entropy",
    "entropy_last": "entropy of the last token",
    "entropy_first": "entropy of the first token",
    "entropy_full_mean": "mean entropy, full distribution",
    "surprisal_mean": "mean surprisal",
    "probability_min": "smallest token probability",
    "jsd_mean": "mean divergence",
    "n_tokens": "length",
}
PREFIX_WINDOWS: Final = (10, 20, 50, 100)
CANDIDATES: Final = ("entropy_mean", "instability_peak", "surprisal_mean")
N_RESAMPLES: Final = 2000
MOST_RESAMPLED: Final = 20_000  # traces; above, the closed form agrees and takes no time


@dataclass(frozen=True)
class Choice:
    """Which signal flags traces, and how that was settled."""

    name: str
    reason: str  # a sentence
    auc_held_out: (
        float | None
    )  # on traces that had no say in the choice; None when nothing was chosen


def signal_label(name: str) -> str:
    """Name of a signal for reading.

    Args:
        name: column of the frame.

    Returns:
        The words of ``SIGNAL_LABELS``, or the column's name with blanks.

    Examples:
        >>> signal_label("entropy_mean")
        'mean entropy'
    """
    return SIGNAL_LABELS.get(name, name.replace("_", " "))


def signal_table(
    frame: pl.DataFrame,
    names: tuple[str, ...] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    roc_points: int = 60,
) -> tuple[Signal, ...]:
    """AUC of every signal on the labelled traces, with intervals by bootstrap over groups.

        AUC = P(score_wrong > score_right) + 1/2 P(equal)

    Args:
        frame: one row a trace: correct, group and the signals.
        names: columns; all of ``SIGNAL_LABELS`` that hold a number when None.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap.
        roc_points: at most this many points of each ROC curve; 0 leaves the curves out.

    Returns:
        One ``Signal`` a name; its ``auc`` is None, and its note says why, where labels are all
        equal or the signal is missing.

    Examples:
        >>> table = signal_table(pl.DataFrame({"correct": [True, True, False],
        ...     "entropy_mean": [0.1, 0.3, 0.2]}))
        >>> table[0].label, table[0].auc.value
        ('mean entropy', 0.5)
    """
    known, wrong = labels_of(frame)
    groups = groups_of(frame)[known]
    if names is None:
        names = tuple(n for n in SIGNAL_LABELS if not np.isnan(score_of(frame, n)).all())
    return tuple(
        _signal(
            name,
            score_of(frame, name)[known],
            wrong[known],
            groups,
            confidence=confidence,
            seed=seed,
            roc_points=roc_points,
        )
        for name in names
    )


def prefix_table(
    frame: pl.DataFrame, *, confidence: float = 0.95, seed: int = 0
) -> tuple[tuple[int, Signal], ...]:
    """AUC of the peak within the first w tokens; 1 stands for the first token's entropy alone.

    Args:
        frame: one row a trace, with the columns instability_peak_10 and so on.
        confidence: of the intervals.
        seed: of the bootstrap.

    Returns:
        (w, signal) pairs; windows that no trace has are left out.

    Examples:
        >>> prefix_table(pl.DataFrame({"correct": [True], "entropy_first": [None]}))
        ()
    """
    columns = {1: "entropy_first"} | {w: f"instability_peak_{w}" for w in PREFIX_WINDOWS}
    present = {w: c for w, c in columns.items() if not np.isnan(score_of(frame, c)).all()}
    table = signal_table(
        frame, tuple(present.values()), confidence=confidence, seed=seed, roc_points=0
    )
    return tuple(zip(present, table, strict=True))


def choose_signal(frame: pl.DataFrame, signal: str = "auto", *, seed: int = 0) -> Choice | None:
    """The signal that flags traces.

    "auto" takes, of ``CANDIDATES``, the one with the best AUC when there are at least ``FEWEST``
    right and wrong traces, and says what AUC that rule reaches on groups that had no say in it.
    With fewer labels it takes the mean entropy, which did at least as well as peak instability in
    what was measured so far.

    Args:
        frame: one row a trace.
        signal: "auto", or a column of the frame.
        seed: of the split into folds.

    Returns:
        The choice; None when no signal has a number, as with logs without log-probabilities.

    Raises:
        InputError: an unknown signal, or one without any number.

    Examples:
        >>> choose_signal(pl.DataFrame({"correct": [None], "entropy_mean": [0.2]})).name
        'entropy_mean'
    """
    if signal != "auto":
        if signal not in frame.columns:
            known = [c for c in SIGNAL_LABELS if c in frame.columns]
            raise InputError(unknown_name("signal", signal, known))
        if np.isnan(score_of(frame, signal)).all():
            raise InputError(
                f"no trace has a value of {signal}; logs without log-probabilities have none. "
                "Choose signal='auto' or 'n_tokens'"
            )
        return Choice(signal, f"{_title(signal)} was asked for.", None)
    present = [n for n in CANDIDATES if not np.isnan(score_of(frame, n)).all()]
    if not present:
        return None
    has_label, is_wrong = labels_of(frame)
    wrong = is_wrong[has_label]
    n_wrong = int(wrong.sum())
    n_right = len(wrong) - n_wrong
    if min(n_wrong, n_right) < FEWEST or len(present) == 1:
        return Choice(
            present[0],
            f"{_title(present[0])} ranks the traces: with {n_right} right and {n_wrong} "
            f"wrong labels (at least {FEWEST} of each are needed) no signal can be chosen by how "
            "well it does.",
            None,
        )
    scores = {n: score_of(frame, n)[has_label] for n in present}
    best = _best(scores, wrong)
    held_out = _held_out_auc(scores, wrong, groups_of(frame)[has_label], seed)
    return Choice(
        best,
        f"{_title(best)} ranks the traces: best AUC of {len(present)} candidates.",
        held_out,
    )


def _signal(
    name: str,
    score: Floats,
    wrong: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    confidence: float,
    seed: int,
    roc_points: int,
) -> Signal:
    found = auc_interval(
        score,
        wrong,
        groups,
        n_resamples=N_RESAMPLES,
        seed=seed,
        confidence=confidence,
        method="bootstrap" if len(score) <= MOST_RESAMPLED else "delong",
    )
    notes = []
    if found.n_dropped:
        notes.append(f"{found.n_dropped} labelled traces have no value")
    if name == "probability_min":
        notes.append("lower is more suspicious: read the distance below 0.5")
    auc: Interval | None = None
    roc: tuple[tuple[float, float], ...] = ()
    if found.reason:
        notes.insert(0, f"no AUC: {found.reason}")
    else:
        auc = Interval(found.value, float(found.low), float(found.high))
        if roc_points:
            curve = roc_curve(score, wrong, max_points=roc_points)
            roc = tuple(zip(curve.false_alarm.tolist(), curve.detection.tolist(), strict=True))
    return Signal(
        name, signal_label(name), auc, found.n_right, found.n_wrong, roc, "; ".join(notes)
    )


def _title(name: str) -> str:
    label = signal_label(name)
    return label[:1].upper() + label[1:]


def _plain_auc(score: Floats, wrong: NDArray[np.bool_]) -> float:
    """AUC by ranks; nan when labels are all equal. A missing score counts as the lowest."""
    n_wrong = int(wrong.sum())
    n_right = len(wrong) - n_wrong
    if n_wrong == 0 or n_right == 0:
        return float("nan")
    filled = np.nan_to_num(score, nan=-np.inf)
    _, index, counts = np.unique(filled, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[index]
    return float((rank[wrong].sum() - n_wrong * (n_wrong + 1) / 2) / (n_wrong * n_right))


def _best(scores: dict[str, Floats], wrong: NDArray[np.bool_]) -> str:
    return max(scores, key=lambda name: np.nan_to_num(_plain_auc(scores[name], wrong), nan=-1.0))


def _held_out_auc(
    scores: dict[str, Floats], wrong: NDArray[np.bool_], groups: NDArray[np.int64], seed: int
) -> float | None:
    """Mean over folds of the AUC of the signal that was best on the other folds, by pairs."""
    folds = folds_of(groups, seed)
    total, weight = 0.0, 0.0
    for fold in np.unique(folds):
        held = folds == fold
        if held.all():
            return None
        best = _best({name: score[~held] for name, score in scores.items()}, wrong[~held])
        value = _plain_auc(scores[best][held], wrong[held])
        pairs = float(wrong[held].sum()) * float((~wrong[held]).sum())
        if pairs:
            total, weight = total + pairs * value, weight + pairs
    return total / weight if weight else None
