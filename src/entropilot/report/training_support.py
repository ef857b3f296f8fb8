"""Which problems training keeps in reach, loses and finds, against its own start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from entropilot.diagnosis.assessment import Interval
from entropilot.information import (
    cluster_bootstrap,
    expected_support,
    pass_at_k,
    support_category,
    support_dynamics,
)
from entropilot.policy.training.results import Arm

N_RESAMPLES: Final = 2000


@dataclass(frozen=True)
class SupportNumbers:
    """Support after training against the start, at one budget of answers.

    ``kept``, ``lost``, ``found`` are expected numbers of problems at ``budget`` answers, means over
    seeds. The ratios and the test are of what was observed with the answers of all seeds together.

    Args:
        budget: answers a problem.
        n_problems: in all.
        kept: in reach before and after.
        lost: in reach before, not after.
        found: in reach after, not before.
        by_chance: lost (and found) that the start would show against itself.
        retained: observed P / (P + S).
        net: observed (E - S) / (P + E + S).
        sign_p: of the sign test of E against S.
    """

    budget: int
    n_problems: int
    kept: Interval
    lost: Interval
    found: Interval
    by_chance: float
    retained: Interval
    net: Interval
    sign_p: float

    @property
    def shrank(self) -> bool:
        """Whether more was lost than chance and than what was found, beyond the interval."""
        return self.lost.low > self.by_chance and self.lost.value > self.found.high

    @property
    def grew(self) -> bool:
        """The other way round."""
        return self.found.low > self.by_chance and self.found.value > self.lost.high


def support_numbers(arms: Sequence[Arm]) -> SupportNumbers:
    """Support of some arms of one recipe, each against its own start.

    Args:
        arms: at least one, on the same problems.
    """
    n = arms[0].end.n
    budget = max(1, n // 2)
    before = np.array([arm.start.n_correct for arm in arms])
    after = np.array([arm.end.n_correct for arm in arms])
    u, v = pass_at_k(n, before, budget), pass_at_k(n, after, budget)
    parts = np.stack([u * v, u * (1 - v), (1 - u) * v], axis=-1).mean(axis=0)
    q = len(parts)
    ends = cluster_bootstrap(parts * q, rng=np.random.default_rng(0), n_resamples=N_RESAMPLES)
    kept, lost, found = (
        Interval(float(ends.value[i]), float(ends.low[i]), float(ends.high[i])) for i in range(3)
    )
    null = np.mean([float(expected_support(c, c, n, budget)["E"]) for c in before])
    total = n * len(arms)
    category = support_category(before.sum(0), total, after.sum(0), total)
    dynamics = support_dynamics(category, n_resamples=N_RESAMPLES)
    return SupportNumbers(
        budget=budget,
        n_problems=q,
        kept=kept,
        lost=lost,
        found=found,
        by_chance=float(null),
        retained=Interval(dynamics["SRR"], *dynamics["ci"]["SRR"]),
        net=Interval(dynamics["NSCR"], *dynamics["ci"]["NSCR"]),
        sign_p=float(dynamics["sign_p"]),
    )
