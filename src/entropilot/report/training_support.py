"""Which problems training keeps in reach, loses and finds, against its own start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval
from entropilot.information import (
    cluster_bootstrap,
    cluster_bootstrap_of,
    expected_support,
    pass_at_k,
    sign_test,
    support_category,
    support_metrics,
)
from entropilot.information.support import EXPANDED, PRESERVED, SHRUNK
from entropilot.policy.training.results import Arm

Floats = NDArray[np.float64]

N_RESAMPLES: Final = 2000


@dataclass(frozen=True)
class SupportNumbers:
    """Support after training against the start, at one budget of answers.

    All are means over seeds, each seed against its own start: seeds share the draws of the start,
    so that counts added up over them would compare few draws with many. ``kept``, ``lost`` and
    ``found`` are expected numbers of problems at ``budget`` answers; the ratios and the test are of
    what was observed with all answers of an evaluation.

    Args:
        budget: answers a problem.
        n_problems: in all.
        kept: in reach before and after.
        lost: in reach before, not after.
        found: in reach after, not before.
        by_chance: lost (and found) that the start would show against itself.
        retained: observed P / (P + S).
        net: observed (E - S) / (P + E + S).
        sign_p: of the sign test of problems found against problems lost, the largest over seeds.
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
    category = np.stack([support_category(b, n, a, n) for b, a in zip(before, after, strict=True)])
    seen = np.stack([(category == kind).mean(0) for kind in (PRESERVED, EXPANDED, SHRUNK)], axis=-1)
    return SupportNumbers(
        budget=budget,
        n_problems=q,
        kept=kept,
        lost=lost,
        found=found,
        by_chance=float(null),
        retained=_ratio(seen, "SRR"),
        net=_ratio(seen, "NSCR"),
        sign_p=max(
            sign_test(int((seed == EXPANDED).sum()), int((seed == SHRUNK).sum()))
            for seed in category
        ),
    )


def _ratio(seen: Floats, name: str) -> Interval:
    """A ratio of the categories [Q, 3] with its bootstrap interval over problems."""
    found = cluster_bootstrap_of(
        lambda weights: support_metrics(*(weights @ seen).T)[name],
        len(seen),
        rng=np.random.default_rng(0),
        n_resamples=N_RESAMPLES,
    )
    return Interval(float(found.value), float(found.low), float(found.high))
