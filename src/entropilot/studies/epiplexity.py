"""Study of epiplexity: what a bounded observer can learn from automata of three kinds.

Prequential and requential estimates on cellular automata, both orders of the same pairs, observers
of different reach, and the scaling-law estimate for natural data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from entropilot.information import eca, eca_history, eca_pairs
from entropilot.studies.automaton_observer import (
    Cells,
    ObserverSettings,
    Source,
    learn_as_student,
    learn_online,
)
from entropilot.studies.epiplexity_figure import draw
from entropilot.studies.epiplexity_judge import judge
from entropilot.studies.study import Measurement, Progress, Scale, Study


@dataclass(frozen=True)
class Settings:
    """What a scale runs."""

    observer: ObserverSettings
    width: int
    steps: int
    burn_in: int
    rules: tuple[int, ...]
    rates: tuple[float, ...]
    order_steps: tuple[int, ...]
    layers: tuple[int, ...]
    test_cells: float  # D


_QUICK = Settings(
    ObserverSettings(),
    width=64,
    steps=16,
    burn_in=200,
    rules=(15, 30, 54, 110),
    rates=(0.001, 0.003, 0.01),
    order_steps=(1, 2, 3, 4),
    layers=(1, 2, 3),
    test_cells=1e7,
)
SETTINGS: dict[Scale, Settings] = {
    "smoke": replace(
        _QUICK,
        observer=ObserverSettings(channels=8, n_steps=60, batch=8),
        burn_in=50,
        rules=(15, 30, 54),
        rates=(0.003, 0.01),
        order_steps=(1, 4),
        layers=(1,),
    ),
    "quick": _QUICK,
    "full": replace(
        _QUICK,
        observer=ObserverSettings(channels=128, kernel=13, layers=10, n_steps=10_000, batch=1536),
        steps=48,
        burn_in=1000,
        layers=(1, 2, 4, 6, 8),
        test_cells=1e8,
    ),
}
RANDOM_TARGETS = "random targets"
EMERGENCE = ObserverSettings(kernel=7)  # of rule 30 after 8 steps; its reach is 15 cells
PICTURE_ROWS = 64


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """All runs of one seed; each is a line of the plan, in order."""
    s = SETTINGS[scale]
    found: dict[str, Any] = {
        "rules": {},
        "forward": [],
        "reverse": [],
        "layers": [],
        "requential": {},
    }
    plan = _plan(s)
    for i, (part, name, source, observer) in enumerate(plan):
        progress(i / len(plan), f"{part}: {name}")
        learn = learn_as_student if part == "requential" else learn_online
        run = {"name": name, "rate": observer.rate, **learn(source, observer, seed)}
        if part == "rules":
            found[part].setdefault(name, []).append(run)
        elif part == "requential":
            found[part][name] = run
        elif part == "emergence":
            found[part] = run
        else:
            found[part].append(run)
    start = np.random.default_rng(seed).integers(0, 2, s.width)
    return {
        **found,
        "steps": s.steps,
        "width": s.width,
        "test_cells": s.test_cells,
        "order_steps": list(s.order_steps),
        "layer_counts": [*s.layers, s.observer.layers],
        "pictures": {str(r): _rows(eca_history(start, PICTURE_ROWS - 1, r)) for r in s.rules[:3]},
    }


def _plan(s: Settings) -> list[tuple[str, str, Source, ObserverSettings]]:
    plan: list[tuple[str, str, Source, ObserverSettings]] = []
    for rate in s.rates:
        observer = replace(s.observer, rate=rate)
        for rule in s.rules:
            plan.append(("rules", f"rule {rule}", automaton_pairs(s, rule), observer))
        plan.append(("rules", RANDOM_TARGETS, _random_targets(s), observer))
    for steps in s.order_steps:
        plan.append(("forward", f"{steps} steps", _uniform(s, steps, turned=False), s.observer))
        plan.append(("reverse", f"{steps} steps", _uniform(s, steps, turned=True), s.observer))
    for layers in s.layers:
        observer = replace(s.observer, layers=layers)
        plan.append(("layers", f"{layers} layers", automaton_pairs(s, 54), observer))
    shorter = replace(s, steps=s.steps // 2)
    emergence = replace(EMERGENCE, n_steps=s.observer.n_steps, batch=s.observer.batch)
    plan.append(("emergence", "rule 30, half the steps", automaton_pairs(shorter, 30), emergence))
    for rule in s.rules[:3]:
        plan.append(("requential", f"rule {rule}", automaton_pairs(s, rule), s.observer))
    return plan


def automaton_pairs(s: Settings, rule: int) -> Source:
    """Pairs of a rule at the settings of a scale."""

    def pairs(n: int, rng: np.random.Generator) -> tuple[Cells, Cells]:
        return eca_pairs(n, rule=rule, steps=s.steps, width=s.width, burn_in=s.burn_in, rng=rng)

    return pairs


def _random_targets(s: Settings) -> Source:
    def pairs(n: int, rng: np.random.Generator) -> tuple[Cells, Cells]:
        x, _ = eca_pairs(n, rule=30, steps=0, width=s.width, burn_in=s.burn_in, rng=rng)
        return x, rng.integers(0, 2, x.shape, dtype=np.uint8)

    return pairs


def _uniform(s: Settings, steps: int, *, turned: bool) -> Source:
    """Pairs of rule 30 from a uniform start, in either order."""

    def pairs(n: int, rng: np.random.Generator) -> tuple[Cells, Cells]:
        x = rng.integers(0, 2, (n, s.width), dtype=np.uint8)
        y = eca(x, steps, 30)
        return (y, x) if turned else (x, y)

    return pairs


def _rows(history: Cells) -> list[str]:
    return ["".join(map(str, row)) for row in history.tolist()]


STUDY = Study(
    slug="epiplexity",
    title="Structure and randomness for a bounded observer",
    paper="2601.03220",
    claim=(
        "For an observer of bounded compute, deterministic rules can make structure as well as "
        "randomness, both depend on the order of the data, and what can be learnt is told apart "
        "from what is noise by two numbers that entropy alone mixes up."
    ),
    scales={
        "smoke": "an observer of 8 channels, 60 updates a run; seconds",
        "quick": "30 runs of a convolution with 22,000 weights, 600 updates each; 3 minutes a seed",
        "full": "48 steps, 128 channels, 10 layers, 10,000 updates of 1536 rows; GPU hours",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "The paper trains transformers of up to nine layers on 48 steps and takes the lower hull "
        "over sizes and learning rates at D = 1e8 cells. Here a circular convolution predicts all "
        "cells at once after 16 steps, the least S + D H over three learning rates is taken, and "
        "D = 1e7. Chess, text and images are not trained on: their bars come from published "
        "scaling laws. The drop of S when a looped model finds the rule itself is not tested."
    ),
)
