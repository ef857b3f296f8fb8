"""The numbers of a comparison of recipes that its report speaks of.

The first recipe is the baseline. A number of a problem is its mean over seeds; intervals are 95 %
bootstraps over problems, and differences are paired: the same problems, the same seeds. How a curve
went is read from the mean over seeds.

Legend: Q problems, K budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.diagnosis.assessment import Interval
from entropilot.information import cluster_bootstrap, pass_at_k_curve
from entropilot.policy.training.evaluation import Evaluation
from entropilot.policy.training.results import Arm, Comparison
from entropilot.report.training_courses import NO_COURSE, Course, DeadStretch, course, dead_stretch
from entropilot.report.training_held import HeldNumbers, held_numbers
from entropilot.report.training_support import SupportNumbers, support_numbers

Floats = NDArray[np.float64]

N_RESAMPLES: Final = 2000
UNVERIFIED: Final = ("raised", "timed_out", "died")  # kinds of answers without a verdict

#: Numbers of a problem [Q], by name: what outcomes are stated of.
QUANTITIES: Final[dict[str, Callable[[Evaluation], Floats]]] = {
    "pass_1": lambda e: solved(e, [1])[:, 0],
    "reach": lambda e: solved(e, [e.n])[:, 0],
    "distinct": lambda e: np.asarray(e.n_distinct, float),
    "answer_entropy": lambda e: np.asarray(e.answer_entropy, float),
}


@dataclass(frozen=True)
class Outcome:
    """One quantity before and after training, and beside the baseline.

    Args:
        before: mean over problems before training.
        after: and after it.
        change: paired difference of the two.
        against: paired difference to the baseline after training; None for the baseline, and where
            no seed ended under both.
        by_seed: that difference seed by seed.
    """

    before: Interval
    after: Interval
    change: Interval
    against: Interval | None
    by_seed: tuple[float, ...] = ()

    @property
    def seeds_disagree(self) -> bool:
        """Whether the difference has another sign under another seed."""
        return min(self.by_seed, default=0.0) < 0 < max(self.by_seed, default=0.0)


@dataclass(frozen=True)
class RecipeNumbers:
    """What one recipe did, seeds together.

    Args:
        label: of the recipe with its knobs.
        recipe: its name.
        objective: in words.
        knobs: those that were given.
        seeds: that were run.
        n: answers a problem in an evaluation.
        entropy: how it went, nats.
        entropy_ends: its mean over the last steps, a seed each.
        reward, length, truncated: how they went.
        outcomes: by the names of ``QUANTITIES``; empty where no seed came to its end.
        support: kept, lost and found; None where no seed came to its end.
        dead: longest stretch of steps that taught nothing, a seed each that had one.
        all_wrong, all_right: share of such groups, mean over steps; nan where not logged.
        tokens_all_wrong, tokens_all_right: answer tokens spent on them; 0 where not logged.
        n_answers: of all steps; 0 where not logged.
        unverified: answers on which the verifier raised, took too long or died.
        dead_tokens: spent on groups that teach nothing.
        n_tokens, seconds, rollout_seconds: of all steps.
        stopped: (seed, last step, why) of arms that ended early.
        held: what a controller did; None where no knob was turned.
    """

    label: str
    recipe: str
    objective: str
    knobs: Mapping[str, Any]
    seeds: tuple[int, ...]
    n: int
    entropy: Course
    entropy_ends: tuple[float, ...]
    reward: Course
    length: Course
    truncated: Course
    outcomes: Mapping[str, Outcome]
    support: SupportNumbers | None
    dead: tuple[DeadStretch, ...]
    all_wrong: float
    all_right: float
    tokens_all_wrong: int
    tokens_all_right: int
    n_answers: int
    unverified: int
    dead_tokens: float
    n_tokens: int
    seconds: float
    rollout_seconds: float
    stopped: tuple[tuple[int, int, str], ...]
    held: HeldNumbers | None = None

    @property
    def n_seeds(self) -> int:
        """How many seeds were run."""
        return len(self.seeds)

    @property
    def tokens_per_second(self) -> float:
        """Answer tokens by the seconds of their steps; nan where no time was logged."""
        return self.n_tokens / self.seconds if self.seconds > 0 else float("nan")

    @property
    def dead_share(self) -> float:
        """Share of the tokens in groups that teach nothing."""
        return self.dead_tokens / self.n_tokens if self.n_tokens else float("nan")


def recipe_numbers(comparison: Comparison) -> list[RecipeNumbers]:
    """Numbers of every recipe, the baseline first; none where there is no arm.

    Examples:
        >>> recipe_numbers(Comparison("addition", "reasoner", ()))
        []
    """
    if not comparison.arms:
        return []
    baseline = comparison.of(comparison.labels[0])
    return [_numbers(comparison.of(label), baseline) for label in comparison.labels]


def ended(arms: Sequence[Arm]) -> list[Arm]:
    """Arms that were trained to their end."""
    return [arm for arm in arms if not arm.stopped]


def solved(evaluation: Evaluation, points: Sequence[int]) -> Floats:
    """pass@k [Q, K] of each problem."""
    counts = np.asarray(evaluation.n_correct)
    return pass_at_k_curve(evaluation.n, counts, points).per_problem


def pass_curve(arms: Sequence[Arm], when: str, points: Sequence[int]) -> Floats:
    """pass@k [Q, K] of each problem "start" or "end" of training, averaged over seeds."""
    found = [solved(arm.start if when == "start" else arm.end, points) for arm in arms]
    return np.asarray(np.mean(found, axis=0))


def intervals(values: Floats) -> list[Interval]:
    """Mean over problems of [Q, K] with its bootstrap interval, for each column.

    Examples:
        >>> intervals(np.array([[0.0, 1.0], [1.0, 1.0]]))[1]
        Interval(value=1.0, low=1.0, high=1.0)
    """
    found = cluster_bootstrap(values, rng=np.random.default_rng(0), n_resamples=N_RESAMPLES)
    rows = zip(found.value.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    return [Interval(*row) for row in rows]


def budgets(n: int) -> list[int]:
    """Powers of two up to n.

    Examples:
        >>> budgets(12)
        [1, 2, 4, 8]
    """
    return [2**i for i in range(n.bit_length()) if 2**i <= n]


def mean_curve(arms: Sequence[Arm], name: str) -> list[tuple[int, list[float]]]:
    """(step, values of the arms that logged the metric there), in the order of steps."""
    found: dict[int, list[float]] = {}
    for arm in arms:
        for step, value in zip(*arm.curve(name), strict=True):
            if np.isfinite(value):
                found.setdefault(step, []).append(value)
    return sorted(found.items())


def _numbers(arms: Sequence[Arm], baseline: Sequence[Arm]) -> RecipeNumbers:
    first = arms[0]
    done = ended(arms)
    own = baseline[0].label == first.label
    courses = {name: _course(arms, name) for name in ("entropy", "reward", "length", "truncated")}
    ends = tuple(_course([arm], "entropy").end for arm in arms)
    stretches = [dead_stretch(arm) for arm in arms]
    return RecipeNumbers(
        label=first.label,
        recipe=first.recipe,
        objective=first.objective,
        knobs=first.knobs,
        seeds=tuple(arm.seed for arm in arms),
        n=first.end.n,
        entropy_ends=tuple(end for end in ends if np.isfinite(end)),
        outcomes=_outcomes(done, [] if own else ended(baseline)) if done else {},
        support=support_numbers(done) if done else None,
        dead=tuple(stretch for stretch in stretches if stretch is not None),
        all_wrong=_mean(arms, "frac_all_wrong_groups"),
        all_right=_mean(arms, "frac_all_right_groups"),
        tokens_all_wrong=round(_total(arms, "tokens_all_wrong")),
        tokens_all_right=round(_total(arms, "tokens_all_right")),
        n_answers=round(_total(arms, "n_answers")),
        unverified=round(sum(_total(arms, f"verifier/{kind}") for kind in UNVERIFIED)),
        dead_tokens=float(
            sum(r.get("n_tokens", 0) * (r.get("dead_tokens") or 0) for a in arms for r in a.rows)
        ),
        n_tokens=round(_total(arms, "n_tokens")),
        seconds=_total(arms, "seconds"),
        rollout_seconds=_total(arms, "seconds_rollout"),
        stopped=tuple(
            (arm.seed, max((int(row["step"]) for row in arm.rows), default=0), arm.stopped)
            for arm in arms
            if arm.stopped
        ),
        held=held_numbers(arms),
        **courses,
    )


def _outcomes(arms: Sequence[Arm], baseline: Sequence[Arm]) -> dict[str, Outcome]:
    rival = {arm.seed: arm for arm in baseline}
    paired = [(arm, rival[arm.seed]) for arm in arms if arm.seed in rival]
    found = {}
    for name, of in QUANTITIES.items():
        before = np.mean([of(arm.start) for arm in arms], axis=0)
        after = np.mean([of(arm.end) for arm in arms], axis=0)
        columns = [before, after, after - before]
        gaps = [of(arm.end) - of(other.end) for arm, other in paired]
        if gaps:
            columns.append(np.mean(gaps, axis=0))
        made = intervals(np.stack(columns, axis=1))
        by_seed = tuple(float(gap.mean()) for gap in gaps)
        against = made[3] if gaps else None
        found[name] = Outcome(made[0], made[1], made[2], against, by_seed)
    return found


def _course(arms: Sequence[Arm], name: str) -> Course:
    points = mean_curve(arms, name)
    return course([s for s, _ in points], [float(np.mean(v)) for _, v in points]) or NO_COURSE


def _mean(arms: Sequence[Arm], name: str) -> float:
    values = [value for arm in arms for value in arm.curve(name)[1]]
    return float(np.mean(values)) if values else float("nan")


def _total(arms: Sequence[Arm], name: str) -> float:
    return sum(sum(arm.curve(name)[1]) for arm in arms)
