"""What is trained, on what, for what; and the answers of one of its steps.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from entropilot.policy.models import PolicyModel
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.tasks.task import Problem
from entropilot.policy.training.bound_task import BoundTask, Graded
from entropilot.policy.training.meters import (
    Meter,
    covariance_meter,
    covariance_table_meter,
    entropy_change_meter,
    sampler_gap_meter,
)
from entropilot.policy.training.settings import TrainSettings

#: Fills in what an objective needs beyond the answers, such as probes of intermediate steps.
Annotate = Callable[["Batch"], Rollouts]
#: Called with each row of metrics before it is written; may add numbers to it.
Listener = Callable[[dict[str, Any]], None]


class Batch(NamedTuple):
    """The answers of one step with where they come from."""

    policy: PolicyModel
    problems: Sequence[Problem]  # one an answer
    prompts: Sequence[tuple[int, ...]]  # one an answer
    rollouts: Rollouts
    graded: Graded


#: Called after a batch was drawn; what it returns is called after the updates, for metrics.
Probe = Callable[[Batch, TrainSettings], Callable[[], Mapping[str, float]]]


class Memory(NamedTuple):
    """How something with a memory is checkpointed."""

    save: Callable[[], Any]
    load: Callable[[Any], None]


@dataclass(frozen=True)
class Trainee:
    """What is trained, on what, for what.

    Args:
        policy: the network; changed in place.
        task: problems and verifier.
        objective: (step) -> what is minimised in it; the same object for most recipes, another one
            where a schedule or a controller moves a knob.
        settings: sizes and seeds.
        annotate: fills in fields of the rollouts before rewards are shaped.
        reference: frozen network, for exact KL; its log-probs go into the rollouts.
        meters: diagnostics.
        listeners: see each row of metrics, in order, before it is written. One that adds numbers,
            such as a controller, comes before those that pass rows on.
        memory: state of schedules and controllers: ``(save, load)`` of plain JSON.
        temperature: (step) -> of sampling in it, and of every log-prob of its updates; None keeps
            that of the settings, at which evaluations are always made.
        probes: measure a step as a whole, before its updates and after them.
    """

    policy: PolicyModel
    task: BoundTask
    objective: Callable[[int], Objective]
    settings: TrainSettings
    annotate: Annotate | None = None
    reference: PolicyModel | None = None
    meters: tuple[Meter, ...] = field(
        default_factory=lambda: (
            covariance_meter(),
            covariance_table_meter(),
            sampler_gap_meter(),
            entropy_change_meter(),
        )
    )
    listeners: tuple[Listener, ...] = ()
    memory: Memory | None = None
    temperature: Callable[[int], float] | None = None
    probes: tuple[Probe, ...] = ()
