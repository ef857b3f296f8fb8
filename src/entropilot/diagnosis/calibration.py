"""From a signal to a probability of being wrong, fitted on labelled traces.

The signal is cut into equal-count bins, and the share of wrong ones is made to rise with the signal
(pool adjacent violators). A labelled trace gets the probability of a fit that has seen none of its
group, so that its own label never speaks for it. Unlabelled ones get the fit on all labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.diagnosis.scores import FEWEST, Floats, clusters_of, folds_of
from entropilot.information.intervals import cluster_bootstrap_of, wilson

BIN_SIZE: Final = 20  # labelled traces a bin, at least
MOST_BINS: Final = 50
N_RESAMPLES: Final = 500
N_CHECK: Final = 5  # groups of predictions whose mean is compared with what came


@dataclass(frozen=True)
class Calibration:
    """Probabilities of being wrong, and how far they can be believed.

    The last four are measured on traces that the fit had not seen.
    """

    p_wrong: Floats  # [n] nan where the trace has no score
    low: Floats  # [n]
    high: Floats  # [n]
    brier: float  # mean squared error of the probability
    brier_base: float  # the same for the overall share of wrong ones
    gap: float  # mean |predicted - observed| over fifths of the predictions
    n_labelled: int


def calibrate(
    score: Floats,
    known: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Calibration | None:
    """Probability that a trace is wrong, given its score.

    Args:
        score: [n]; higher means wrong; nan where there is none.
        known: [n] True where the trace has a label.
        wrong: [n] True where it is wrong.
        groups: [n] traces of one group share a fold and a draw of the bootstrap.
        confidence: of the intervals; each is the wider of the bootstrap's and Wilson's.
        seed: of folds and bootstrap.

    Returns:
        None with fewer than ten right or ten wrong scored labels, or one group alone.

    Examples:
        >>> score = np.arange(200.0)
        >>> found = calibrate(score, score >= 0, score >= 100, np.arange(200))
        >>> bool(found.p_wrong[10] < 0.1), bool(found.p_wrong[190] > 0.9)
        (True, True)
    """
    fitted = known & ~np.isnan(score)
    n = int(fitted.sum())
    n_wrong = int(wrong[fitted].sum())
    if min(n_wrong, n - n_wrong) < FEWEST:
        return None
    x, y, g = score[fitted], wrong[fitted], groups[fitted]
    folds = folds_of(g, seed)
    if len(np.unique(folds)) < 2:
        return None
    p, low, high = _fit(x, y, g, score, confidence=confidence, seed=seed)
    held_out = np.empty((3, n))
    for fold in np.unique(folds):
        held = folds == fold
        held_out[:, held] = _fit(
            x[~held], y[~held], g[~held], x[held], confidence=confidence, seed=seed
        )
    p[fitted], low[fitted], high[fitted] = held_out
    predicted, base = p[fitted], float(y.mean())
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(N_CHECK, n))
    gap = sum(len(part) * abs(predicted[part].mean() - y[part].mean()) for part in parts) / n
    return Calibration(
        p,
        low,
        high,
        float(np.mean((predicted - y) ** 2)),
        float(np.mean((base - y) ** 2)),
        float(gap),
        n,
    )


def rising(share: Floats, weight: Floats) -> Floats:
    """The closest sequence that never falls (pool adjacent violators).

    Args:
        share: [b] values.
        weight: [b] >= 0.

    Returns:
        [b] weighted least squares fit among the sequences that never fall.

    Examples:
        >>> rising(np.array([0.1, 0.5, 0.3]), np.ones(3)).tolist()
        [0.1, 0.4, 0.4]
    """
    blocks: list[list[float]] = []  # sum, weight, length
    for value, w in zip(share.tolist(), weight.tolist(), strict=True):
        blocks.append([value * w, w, 1])
        while len(blocks) > 1 and (blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]):
            total, mass, length = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + mass, blocks[-1][2] + length]
    levels = [total / mass if mass else 0.0 for total, mass, _ in blocks]
    return np.repeat(levels, [int(length) for _, _, length in blocks])


def _fit(
    x: Floats,
    y: NDArray[np.bool_],
    groups: NDArray[np.int64],
    at: Floats,
    *,
    confidence: float,
    seed: int,
) -> NDArray[np.float64]:
    """Probability, low and high [3, len(at)]."""
    n_bins = int(np.clip(len(x) // BIN_SIZE, 1, MOST_BINS))
    edges = np.unique(np.quantile(x, np.linspace(0, 1, n_bins + 1)[1:-1]))
    bins = np.searchsorted(edges, x, side="right")
    n_bins = len(edges) + 1
    index, n_groups = clusters_of(groups, seed)
    cell = index * n_bins + bins
    shape = (n_groups, n_bins)
    total = np.bincount(cell, minlength=n_groups * n_bins).reshape(shape).astype(np.float64)
    n_wrong = np.bincount(cell, y, n_groups * n_bins).reshape(shape)

    def statistic(weights: Floats) -> Floats:
        mass, sums = weights @ total, weights @ n_wrong
        prior = sums.sum(axis=1, keepdims=True) / mass.sum(axis=1, keepdims=True)
        share = np.where(mass > 0, sums / np.maximum(mass, 1e-300), prior)
        rows = (rising(s, np.maximum(m, 1e-9)) for s, m in zip(share, mass, strict=True))
        return np.stack(list(rows))

    found = cluster_bootstrap_of(
        statistic,
        n_groups,
        rng=np.random.default_rng(seed),
        n_resamples=N_RESAMPLES,
        confidence=confidence,
    )
    level = np.asarray(found.value)
    _, block = np.unique(level, return_inverse=True)  # bins of one level are one block
    block_n = np.bincount(block, total.sum(axis=0)).round()
    block_wrong = np.bincount(block, n_wrong.sum(axis=0)).round()
    wilson_low, wilson_high = wilson(block_wrong, block_n, confidence)
    # Half a trace of each kind, so that a short run of one kind never reads as certainty.
    level = rising((block_wrong + 0.5) / (block_n + 1), block_n.astype(np.float64))[block]
    low = np.minimum(np.asarray(found.low), wilson_low[block])
    high = np.maximum(np.asarray(found.high), wilson_high[block])
    where = np.searchsorted(edges, at, side="right")
    answer = np.stack([level, low, high])[:, np.minimum(where, n_bins - 1)]
    answer[:, np.isnan(at)] = np.nan
    return answer
