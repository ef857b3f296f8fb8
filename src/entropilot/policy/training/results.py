"""What a comparison of recipes left behind: the one shape that reports and studies read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from entropilot.policy.training.evaluation import Evaluation


@dataclass(frozen=True)
class Arm:
    """One recipe trained with one seed.

    Args:
        label: of the recipe with its knobs, unique in a comparison.
        recipe: its name.
        objective: in words, as ``Objective.describe`` gives it.
        seed: of the run.
        rows: of the metrics file, step 0 first.
        start: evaluation before training.
        end: evaluation after it.
        stopped: why training ended early, "" where it did not.
        knobs: of the recipe that were given; the others have their defaults.
        control: of a knob: "knob", "quantity", "set_point", "low", "high", "scale", "relative",
            "slope" and more; empty where none was turned.
    """

    label: str
    recipe: str
    objective: str
    seed: int
    rows: Sequence[dict[str, Any]]
    start: Evaluation
    end: Evaluation
    stopped: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    control: Mapping[str, Any] = field(default_factory=dict)

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric, where it was logged."""
        found = [(row["step"], row[name]) for row in self.rows if row.get(name) is not None]
        return [step for step, _ in found], [float(value) for _, value in found]


@dataclass(frozen=True)
class Comparison:
    """Recipes side by side on the same task, from the same start, with the same seeds.

    Args:
        task: its name.
        model: its name.
        arms: every recipe with every seed.
        settings: of the training, plain values.
        examples: a few problems with an answer before and after, for each recipe:
            {"label", "seed", "prompt", "reference", "before": {...}, "after": {...}} where before
            and after hold "tokens" (list of strings), "entropy" (list of nats), "correct".
        unfinished: arms that failed, by name, with why and how to go on with them.
    """

    task: str
    model: str
    arms: Sequence[Arm]
    settings: dict[str, Any] = field(default_factory=dict)
    examples: Sequence[dict[str, Any]] = ()
    unfinished: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Recipes in the order they were asked for."""
        return list(dict.fromkeys(arm.label for arm in self.arms))

    def of(self, label: str) -> list[Arm]:
        """The arms of a recipe, one a seed."""
        return [arm for arm in self.arms if arm.label == label]
