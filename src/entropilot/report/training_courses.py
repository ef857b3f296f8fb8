"""How a curve of training went: from where to where, and whether that is more than its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from entropilot.policy.training.results import Arm

WINDOW: Final = 8  # steps of the mean at the end, for runs of usual length
LEAST_STEPS: Final = 6  # below it nothing is said of a curve
DEAD: Final = 0.95  # share of groups that teach nothing, from which a step is lost
STRETCH: Final = 10  # lost steps in a row that are worth a word


@dataclass(frozen=True)
class Course:
    """Where a metric began and where it ended.

    Args:
        start: at the first step, since curves are steep there.
        end: mean over the last steps.
        noise: standard error of their difference, from the scatter of neighbours at both ends.
        lowest: smallest mean over as many steps as at the end, anywhere.
        lowest_step: the last of those.
        n_steps: that were logged.
    """

    start: float
    end: float
    noise: float
    lowest: float
    lowest_step: int
    n_steps: int

    @property
    def ratio(self) -> float:
        """End by start; nan where the start is not above 0."""
        return self.end / self.start if self.start > 0 else float("nan")

    @property
    def rose(self) -> bool:
        """Whether it rose by more than two standard errors."""
        return self.end - self.start > max(2 * self.noise, 1e-12)

    @property
    def fell(self) -> bool:
        """Whether it fell by more than two standard errors."""
        return self.start - self.end > max(2 * self.noise, 1e-12)

    @property
    def is_known(self) -> bool:
        """Whether there are steps enough to speak of it."""
        return self.n_steps >= LEAST_STEPS


#: Of a metric that was not logged, or not for long enough.
NO_COURSE: Final = Course(math.nan, math.nan, math.nan, math.nan, 0, 0)


def course(steps: Sequence[int], values: Sequence[float]) -> Course | None:
    """How a metric went; None where it was not logged.

    Examples:
        >>> found = course(range(60), np.linspace(0.6, 0.3, 60))
        >>> round(found.start, 2), round(found.end, 2), found.fell, found.rose
        (0.6, 0.32, True, False)
    """
    y = np.asarray(values, float)
    n = len(y)
    if not n:
        return None
    size = window(n)
    first, last = y[:size], y[-size:]
    # scatter about the trend: differences of neighbours, so that a steep curve isn't called noisy
    scatter = [np.mean(np.diff(part) ** 2) / 2 if len(part) > 1 else 0.0 for part in (first, last)]
    means = np.convolve(y, np.ones(size) / size, "valid")
    low = int(means.argmin())
    return Course(
        start=float(y[0]),
        end=float(last.mean()),
        noise=float(np.sqrt(scatter[0] + scatter[1] / size)),
        lowest=float(means[low]),
        lowest_step=int(steps[low + size - 1]),
        n_steps=n,
    )


def window(n_steps: int) -> int:
    """Steps of the mean at the end: a twentieth of a long run, a third of a short one.

    Examples:
        >>> window(3), window(12), window(60), window(1000)
        (1, 4, 8, 50)
    """
    return max(1, min(max(WINDOW, n_steps // 20), n_steps // 3))


@dataclass(frozen=True)
class DeadStretch:
    """Steps in a row in which (nearly) every group had one and the same reward.

    Args:
        seed: of the arm.
        first, last: steps.
        kind: "all wrong", "all right", or "one reward" where neither explains it.
        n_tokens: answer tokens spent in groups that teach nothing.
        share: of the arm's tokens.
        to_the_end: whether the arm ended so.
    """

    seed: int
    first: int
    last: int
    kind: str
    n_tokens: int
    share: float
    to_the_end: bool

    @property
    def n_steps(self) -> int:
        """How many steps."""
        return self.last - self.first + 1


def dead_stretch(arm: Arm) -> DeadStretch | None:
    """The longest such stretch of an arm; None where it has fewer than ``STRETCH`` steps."""
    rows = [row for row in arm.rows if row.get("frac_zero_std_groups") is not None]
    best: list[int] = []
    run: list[int] = []
    for i, row in enumerate(rows):
        run = [*run, i] if row["frac_zero_std_groups"] >= DEAD else []
        best = run if len(run) > len(best) else best
    if len(best) < STRETCH:
        return None
    chosen = [rows[i] for i in best]
    shares = {
        kind: float(np.mean([row.get(name) or 0.0 for row in chosen]))
        for kind, name in (
            ("all wrong", "frac_all_wrong_groups"),
            ("all right", "frac_all_right_groups"),
        )
    }
    kind = max(shares, key=lambda name: shares[name])
    spent = sum(row.get("n_tokens", 0) * (row.get("dead_tokens") or 0.0) for row in chosen)
    whole = sum(row.get("n_tokens", 0) for row in rows)
    return DeadStretch(
        seed=arm.seed,
        first=int(chosen[0]["step"]),
        last=int(chosen[-1]["step"]),
        kind=kind if shares[kind] > 0.5 else "one reward",
        n_tokens=round(spent),
        share=spent / whole if whole else float("nan"),
        to_the_end=best[-1] == len(rows) - 1,
    )
