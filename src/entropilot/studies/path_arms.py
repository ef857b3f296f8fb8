"""What the studies on modular paths share: arms side by side and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from entropilot.information import pass_at_k
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.training.bound_task import bind_token_task
from entropilot.policy.training.meters import Meter
from entropilot.policy.training.settings import TrainSettings
from entropilot.studies.study import Measurement, Progress, Scale
from entropilot.studies.training_arms import (
    PATHS,
    part,
    paths_start,
    run_arm,
    start_measurement,
)

TASK: Final = bind_token_task(PATHS)


@dataclass(frozen=True)
class Sizes:
    """What a scale runs."""

    warm_up: float  # share of the warm-up steps that an arm asks for
    n_prompts: int
    n_eval: int


SIZES: Final[dict[Scale, Sizes]] = {
    "smoke": Sizes(0.02, 4, 8),
    "quick": Sizes(1.0, 32, 200),
    "full": Sizes(1.0, 128, 1000),
}


@dataclass(frozen=True)
class PathArm:
    """One arm on modular paths.

    Args:
        objective: what is minimised.
        start: warm-up steps of the policy it begins with.
        steps: rollout batches.
        n_updates: updates on each.
        n_prompts: prompts a batch as a multiple of the scale's.
        learning_rate: of Adam.
        meters: besides those that every arm has.
        keep: metrics to store besides those of every arm.
    """

    objective: Objective
    start: int = 800
    steps: int = 160
    n_updates: int = 2
    n_prompts: int = 1
    learning_rate: float = 5e-4
    meters: tuple[Meter, ...] = ()
    keep: tuple[str, ...] = field(default=())

    def settings(self, scale: Scale, seed: int) -> TrainSettings:
        """Training settings at a scale."""
        size = SIZES[scale]
        return TrainSettings(
            steps=2 if scale == "smoke" else self.steps,
            n_prompts=size.n_prompts * self.n_prompts,
            n_answers=8,
            n_updates=self.n_updates,
            learning_rate=self.learning_rate,
            evaluate_every=0 if scale == "smoke" else 40,
            n_eval_problems=size.n_eval,
            n_eval_answers=16,
            seed=seed,
        )


def start_of(arm_start: int, scale: Scale, seed: int) -> SmallPolicy:
    """The start policy of an arm at a scale."""
    return paths_start(max(1, round(arm_start * SIZES[scale].warm_up)), seed)


def measure_paths(
    scale: Scale,
    seed: int,
    progress: Progress,
    arms: Mapping[str, PathArm],
    *,
    starts: Mapping[str, SmallPolicy] | None = None,
) -> Measurement:
    """Train every arm from its start policy; the same prompts and draws for all of a seed.

    Args:
        scale: of the study.
        seed: of warm-up, prompts and draws.
        progress: called as arms go on.
        arms: by name.
        starts: other start policies than the usual ones, by name of the arm.

    Returns:
        ``{"starts": {steps: evaluation}, "arms": {name: {"start", ...}}}``
    """
    evaluated: dict[str, Measurement] = {}
    measured: dict[str, Any] = {}
    for number, (name, arm) in enumerate(arms.items()):
        tell = part(progress, number, len(arms), f"training '{name}'")
        tell(0.0)
        settings = arm.settings(scale, seed)
        policy = (starts or {}).get(name) or start_of(arm.start, scale, seed)
        key = name if name in (starts or {}) else str(arm.start)
        if key not in evaluated:
            evaluated[key] = start_measurement(policy, TASK, settings)
        row, _ = run_arm(
            policy,
            TASK,
            arm.objective,
            settings,
            meters=arm.meters,
            keep=arm.keep,
            progress=tell,
        )
        measured[name] = {"start": key, "steps": settings.steps, **row}
    return {"starts": evaluated, "arms": measured}


def end(measurement: Measurement, arm: str, name: str) -> float:
    """A number of the evaluation after training: "entropy", "distinct", "pass@k", "length"."""
    return _number(measurement["arms"][arm]["end"], name)


def start(measurement: Measurement, arm: str, name: str) -> float:
    """The same before training."""
    return _number(measurement["starts"][measurement["arms"][arm]["start"]], name)


def ends(measurements: Sequence[Measurement], arm: str, name: str) -> list[float]:
    """``end`` of every seed."""
    return [end(m, arm, name) for m in measurements]


def starts(measurements: Sequence[Measurement], arm: str, name: str) -> list[float]:
    """``start`` of every seed."""
    return [start(m, arm, name) for m in measurements]


def mean_of(values: Sequence[float]) -> float:
    """Mean over seeds."""
    return float(np.mean(values))


def outcome_table(measurements: Sequence[Measurement]) -> str:
    """Every arm's end in one sentence: entropy, distinct right answers, pass@1, pass@16."""
    rows = []
    for arm in measurements[0]["arms"]:
        cells = [
            f"{title} {mean_of(ends(measurements, arm, name)):{form}}"
            for title, name, form in (
                ("H", "entropy", ".3f"),
                ("distinct", "distinct", ".1f"),
                ("pass@1", "pass@1", ".3f"),
                ("pass@16", "pass@16", ".3f"),
            )
        ]
        rows.append(f"{arm}: {', '.join(cells)}")
    return "; ".join(rows)


def _number(evaluation: Mapping[str, Any], name: str) -> float:
    if name == "distinct":
        return float(np.mean(evaluation["n_distinct"]))
    if name.startswith("pass@"):
        counts = np.asarray(evaluation["n_correct"])
        return float(np.mean(pass_at_k(evaluation["n"], counts, int(name[5:]))))
    if name == "answer_entropy":
        return float(np.mean(evaluation["answer_entropy"]))
    return float(evaluation[name])
