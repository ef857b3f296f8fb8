"""Filter samples before they vote: does dropping the suspicious ones improve the majority?

Source: DeepConf (arXiv 2508.15260) drops the least confident traces of a problem before the vote;
here any score of a trace may serve, and the vote is held against dropping as many at random.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
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

N_DRAWS: Final = 16  # random filters whose mean is the line to beat
FEW_DRAWS: Final = 4  # of them, where so many samples vote that the mean is sharp anyway
MANY: Final = 50_000


def replay_vote(
    score: Floats,
    answers: pl.Series,
    right: NDArray[np.bool_],
    groups: NDArray[np.int64],
    *,
    n_tokens: NDArray[np.int64] | None = None,
    window: int | None = None,
    rate: float = 0.1,
    signal: str = "score",
    confidence: float = 0.95,
    seed: int = 0,
) -> Replay:
    """Drop flagged samples of each problem, and let the rest vote.

    The most frequent answer wins, the first seen on ties. A problem all of whose samples are
    flagged keeps the one with the lowest score.

    Args:
        score: [n]; higher means wrong; a sample without a score (nan) is never dropped.
        answers: [n] answer keys (see ``answer_keys``); null samples have no vote.
        right: [n] bool.
        groups: [n] numbers of the problems.
        n_tokens: [n] lengths; with ``window`` they give the tokens saved.
        window: a dropped sample costs only its first ``window`` tokens; None: all of it.
        rate: share of samples to drop at the chosen threshold, in (0, 1).
        signal: name of the score, for reading.
        confidence: of all intervals, which draw problems.
        seed: of the bootstrap and of the random filter.

    Returns:
        Accuracy of the majority answer, a problem counted once.

    Raises:
        InputError: as ``replay_drop``; when no problem has two samples.

    Examples:
        >>> answers = pl.Series(["1", "2", "2", "5", "5", "5"])
        >>> right = np.array([True, False, False, True, True, True])
        >>> found = replay_vote(np.array([0.0, 8, 9, 1, 1, 1]), answers, right,
        ...     np.array([0, 0, 0, 1, 1, 1]), rate=0.3)
        >>> found.baseline.value, found.chosen.accuracy.value
        (0.5, 1.0)
    """
    score, right, groups = checked(score, right, groups, rate)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    if size.max() < 2:
        raise InputError(
            "no problem has two samples, so there is no vote; sample each several times"
        )
    ballot = _Ballot(answers, right, group)
    rng = np.random.default_rng(seed)
    length = np.ones(len(score)) if n_tokens is None else np.asarray(n_tokens, dtype=np.float64)
    saved = np.zeros(len(score)) if window is None else np.maximum(length - window, 0.0)
    total = max(float(length.sum()), 1.0)
    best = ballot.lowest(np.nan_to_num(score, nan=-np.inf))
    n_draws = N_DRAWS if len(score) <= MANY else FEW_DRAWS
    random = [rng.permutation(len(score)) / len(score) for _ in range(n_draws)]
    chance = [(u, ballot.lowest(u)) for u in random]
    one = np.ones(len(size))

    def outcome(threshold: float) -> Outcome:
        dropped = ballot.spare(score >= threshold, best)
        share = float((score >= threshold).mean())
        draws = [ballot.spare(u >= 1 - share, lowest) for u, lowest in chance]
        return Outcome(
            threshold,
            share,
            float(saved[dropped].sum() / total),
            float(np.mean([saved[d].sum() for d in draws]) / total),
            ballot.majority_right(~dropped),
            one,
            np.mean([ballot.majority_right(~d) for d in draws], axis=0),
            one,
        )

    def verdict(points: Points) -> str:
        chosen = points.curve[-1]
        return (
            f"Dropping the {chosen.share:.0%} of samples with the highest {signal} before the vote "
            f"moves the majority's accuracy from {points.baseline.value:.1%} to "
            f"{chosen.accuracy.value:.1%} and saves {chosen.tokens_saved:.1%} of the tokens: "
            f"{gain_words(points.gain)} over dropping as many at random"
        )

    # Score and threshold speak of samples; the accuracy speaks of problems.
    return run_replay(
        "vote",
        outcome,
        verdict,
        score=score,
        right=ballot.majority_right(np.ones(len(score), dtype=np.bool_)).astype(np.bool_),
        groups=group,
        units=np.arange(len(size)),
        setting=Setting(signal, rate, confidence, seed),
    )


class _Ballot:
    """Votes counted by (problem, answer), in the order in which answers were first seen."""

    def __init__(
        self, answers: pl.Series, right: NDArray[np.bool_], group: NDArray[np.int64]
    ) -> None:
        voters = answers.is_not_null().to_numpy()
        row = np.flatnonzero(voters)
        first = (
            pl.DataFrame({"g": group[row], "a": answers.drop_nulls(), "row": row})
            .select(pl.col("row").min().over(["g", "a"]))
            .to_series()
            .to_numpy()
        )
        # A cell is sorted by problem, then by first sight, so that a tie falls to the first.
        key, cell = np.unique(group[row] * len(group) + first, return_inverse=True)
        self.voter, self.cell = row, cell
        self.cell_group = key // len(group)
        self.n_groups = int(group.max()) + 1
        labels = np.bincount(cell, right[row], len(key)) / np.maximum(np.bincount(cell), 1)
        self.cell_right = labels >= 0.5
        self.group = group

    def majority_right(self, kept: NDArray[np.bool_]) -> Floats:
        """[G] 1 where the winner among the kept samples is right; no vote is wrong."""
        answer = np.zeros(self.n_groups)
        n_cells = len(self.cell_group)
        if n_cells == 0:
            return answer
        votes = np.bincount(self.cell, kept[self.voter].astype(np.float64), n_cells)
        most = np.zeros(self.n_groups)
        np.maximum.at(most, self.cell_group, votes)
        wins = np.flatnonzero((votes == most[self.cell_group]) & (votes > 0))[::-1]
        answer[self.cell_group[wins]] = self.cell_right[wins]  # the first seen is written last
        return answer

    def lowest(self, score: Floats) -> NDArray[np.bool_]:
        """True at the sample of each problem with the lowest score."""
        order = np.lexsort((score, self.group))
        first = np.append(0, np.cumsum(np.bincount(self.group, minlength=self.n_groups))[:-1])
        best = np.zeros(len(score), dtype=np.bool_)
        best[order[first]] = True
        return best

    def spare(self, dropped: NDArray[np.bool_], best: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The same filter, but a problem all of whose samples are dropped keeps its best one."""
        n_kept = np.bincount(self.group, ~dropped, self.n_groups)
        return np.asarray(dropped & ~((n_kept[self.group] == 0) & best), dtype=np.bool_)
