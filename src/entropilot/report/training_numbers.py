"""The numbers of a comparison of recipes that its report speaks of.

The first recipe is the baseline. pass@k of a problem is its mean over seeds; intervals are paired
bootstraps over problems, 95 %. Entropies are compared by their range over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval
from entropilot.information import cluster_bootstrap, expected_support, pass_at_k_curve
from entropilot.policy.training.results import Arm, Comparison

Floats = NDArray[np.float64]

WINDOW = 8  # steps of the means at the start and the end of a curve
N_RESAMPLES = 2000


@dataclass(frozen=True)
class RecipeNumbers:
    """What one recipe did, seeds pooled.

    ``gain`` is against the start, ``over_plain`` against the baseline; both are pass@1, and
    ``reach_*`` are pass@n with n the answers of an evaluation.
    """

    label: str
    objective: str
    n_seeds: int
    entropy_start: float
    entropy_end: float
    entropy_range: tuple[float, float]  # of the end, over seeds
    reward_start: float
    reward_end: float
    truncated_start: float
    truncated_end: float
    pass_1: float
    reach: float
    n: int
    gain: Interval
    over_plain: Interval | None
    reach_over_plain: Interval | None
    reach_gain: Interval
    distinct: float
    distinct_start: float
    answer_entropy: float
    answer_entropy_start: float
    length: float
    length_start: float
    kept: float  # problems that are in the support before and after, expected
    lost: float
    found: float
    by_chance: float  # expected E = S of the start against itself
    budget: int
    all_wrong: float  # share of groups, mean over the last steps
    all_right: float
    dead_tokens: float  # mean over all steps
    n_tokens: int
    seconds: float
    stopped: tuple[str, ...]

    @property
    def entropy_ratio(self) -> float:
        """Entropy at the end over that at the start."""
        return self.entropy_end / self.entropy_start if self.entropy_start > 0 else float("nan")


def recipe_numbers(comparison: Comparison) -> list[RecipeNumbers]:
    """Numbers of every recipe, the baseline first."""
    labels = comparison.labels
    baseline = comparison.of(labels[0])
    return [_numbers(comparison.of(label), baseline) for label in labels]


def window_means(arm: Arm, name: str) -> tuple[float, float]:
    """Means over the first and the last steps; nan where the metric was not logged."""
    _, values = arm.curve(name)
    if not values:
        return float("nan"), float("nan")
    return float(np.mean(values[:WINDOW])), float(np.mean(values[-WINDOW:]))


def counts(arms: Sequence[Arm], when: str) -> NDArray[np.int64]:
    """Right answers of each problem, arms pooled."""
    found = [arm.start if when == "start" else arm.end for arm in arms]
    return np.concatenate([np.asarray(e.n_correct) for e in found])


def solved(arms: Sequence[Arm], when: str, points: Sequence[int]) -> Floats:
    """pass@k [Q, K] of each problem, averaged over seeds."""
    found = [arm.start if when == "start" else arm.end for arm in arms]
    curves = [pass_at_k_curve(e.n, np.asarray(e.n_correct), points).per_problem for e in found]
    return np.asarray(np.mean(curves, axis=0))


def intervals(values: Floats) -> list[Interval]:
    """Mean over problems [Q, K] with its bootstrap interval, for each k."""
    found = cluster_bootstrap(values, rng=np.random.default_rng(0), n_resamples=N_RESAMPLES)
    rows = zip(found.value.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    return [Interval(*row) for row in rows]


def ks(n: int) -> list[int]:
    """Powers of two up to n."""
    return [2**i for i in range(n.bit_length()) if 2**i <= n]


def _numbers(arms: Sequence[Arm], baseline: Sequence[Arm]) -> RecipeNumbers:
    n = arms[0].end.n
    before, after = counts(arms, "start"), counts(arms, "end")
    budget = max(1, n // 2)
    ends = solved(arms, "end", [1, n])
    gain = intervals(ends - solved(arms, "start", [1, n]))
    paired = [arm.seed for arm in arms] == [arm.seed for arm in baseline]
    against = None
    if arms[0] is not baseline[0] and paired:
        against = intervals(ends - solved(baseline, "end", [1, n]))
    support = expected_support(before, after, n, budget)
    null = expected_support(before, before, n, budget)
    entropy = [window_means(arm, "entropy") for arm in arms]
    last = {name: _mean([window_means(a, name)[1] for a in arms]) for name in _DEAD}
    return RecipeNumbers(
        label=arms[0].label,
        objective=arms[0].objective,
        n_seeds=len(arms),
        entropy_start=_mean([first for first, _ in entropy]),
        entropy_end=_mean([end for _, end in entropy]),
        entropy_range=(min(end for _, end in entropy), max(end for _, end in entropy)),
        reward_start=_mean([window_means(a, "reward")[0] for a in arms]),
        reward_end=_mean([window_means(a, "reward")[1] for a in arms]),
        truncated_start=_mean([window_means(a, "truncated")[0] for a in arms]),
        truncated_end=_mean([window_means(a, "truncated")[1] for a in arms]),
        pass_1=float(ends[:, 0].mean()),
        reach=float(ends[:, 1].mean()),
        n=n,
        gain=gain[0],
        reach_gain=gain[1],
        over_plain=None if against is None else against[0],
        reach_over_plain=None if against is None else against[1],
        distinct=_mean([float(np.mean(a.end.n_distinct)) for a in arms]),
        distinct_start=_mean([float(np.mean(a.start.n_distinct)) for a in arms]),
        answer_entropy=_mean([float(np.mean(a.end.answer_entropy)) for a in arms]),
        answer_entropy_start=_mean([float(np.mean(a.start.answer_entropy)) for a in arms]),
        length=_mean([a.end.length for a in arms]),
        length_start=_mean([a.start.length for a in arms]),
        kept=float(support["P"]),
        lost=float(support["S"]),
        found=float(support["E"]),
        by_chance=float(null["E"]),
        budget=budget,
        all_wrong=last["frac_all_wrong_groups"],
        all_right=last["frac_all_right_groups"],
        dead_tokens=_mean([_mean(a.curve("dead_tokens")[1]) for a in arms]),
        n_tokens=int(sum(sum(a.curve("n_tokens")[1]) for a in arms)),
        seconds=sum(sum(a.curve("seconds")[1]) for a in arms),
        stopped=tuple(a.stopped for a in arms if a.stopped),
    )


_DEAD = ("frac_all_wrong_groups", "frac_all_right_groups")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
