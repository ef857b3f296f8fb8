"""What studies of training share: the testbeds' start policies and one arm of a comparison.

Every arm of a study starts from the same weights, sees the same prompts and draws from the same
streams as the others of its seed; only the objective differs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.tasks.digit_sums import DigitSums
from entropilot.policy.tasks.modular_paths import ModularPaths
from entropilot.policy.training.bound_task import BoundTask
from entropilot.policy.training.evaluation import evaluate, plain
from entropilot.policy.training.meters import Meter, covariance_meter, sampler_gap_meter
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.threads import one_thread
from entropilot.policy.training.trainee import Annotate, Trainee
from entropilot.policy.training.trainer import train
from entropilot.policy.training.warm_up import Loss, WarmUp, cached_start, cross_entropy
from entropilot.studies.study import Measurement, Progress

PATHS: Final = ModularPaths()
SUMS: Final = DigitSums()
PATHS_NETWORK: Final = {"head_bias": True}  # 105,958 parameters

#: Metrics that studies keep from every step.
KEPT: Final = (
    *("reward", "entropy", "length", "covariance", "kept_fraction", "predicted_entropy_change"),
)


def paths_start(
    steps: int, seed: int, *, loss: Loss = cross_entropy, loss_name: str = "cross-entropy"
) -> SmallPolicy:
    """The modular-paths policy after ``steps`` of supervised warm-up; cached."""
    settings = WarmUp(steps=steps, seed=seed, network=PATHS_NETWORK)
    with one_thread():
        return SmallPolicy(cached_start(PATHS, settings, loss=loss, loss_name=loss_name))


def sums_start(seed: int, *, steps: int = 900) -> SmallPolicy:
    """The digit-sums policy after ``steps`` of supervised warm-up; cached."""
    settings = WarmUp(steps=steps, batch_size=128, seed=seed)
    with one_thread():
        return SmallPolicy(cached_start(SUMS, settings))


def run_arm(
    start: SmallPolicy,
    task: BoundTask,
    objective: Objective,
    settings: TrainSettings,
    *,
    annotate: Annotate | None = None,
    meters: Sequence[Meter] = (),
    keep: Sequence[str] = (),
    watch: Callable[[int, SmallPolicy], None] = lambda _step, _policy: None,
    progress: Callable[[float], None] = lambda _share: None,
) -> tuple[Measurement, SmallPolicy]:
    """Train a copy of a start policy, and return plain numbers and the trained policy.

    Args:
        start: left as it is.
        task: problems and verifier.
        objective: what is minimised.
        settings: the same for all arms of a study.
        annotate: see ``Trainee``.
        meters: besides covariance and sampler gap.
        keep: metrics to keep besides ``KEPT``.
        watch: called after each step with its number and the policy as it is then.
        progress: called with the share done.

    Returns:
        ``{"objective", "curves": {metric: [value a step]}, "evals": [{"step", ...}], "end":
        evaluation, "cpu_seconds"}`` and the policy.
    """
    with one_thread():
        return _run_arm(start, task, objective, settings, annotate, meters, keep, watch, progress)


def _run_arm(
    start: SmallPolicy,
    task: BoundTask,
    objective: Objective,
    settings: TrainSettings,
    annotate: Annotate | None,
    meters: Sequence[Meter],
    keep: Sequence[str],
    watch: Callable[[int, SmallPolicy], None],
    progress: Callable[[float], None],
) -> tuple[Measurement, SmallPolicy]:
    policy = copy.deepcopy(start)
    began = time.process_time()
    meters = (covariance_meter(), sampler_gap_meter(), *meters)
    trainee = Trainee(
        policy, task, lambda _step: objective, settings, annotate=annotate, meters=meters
    )

    def after(row: Mapping[str, Any]) -> None:
        watch(int(row["step"]), policy)
        progress(row["step"] / max(1, settings.steps))

    rows = train(trainee, progress=after).rows
    curves: dict[str, list[Any]] = {}
    for name in (*KEPT, *keep):
        if any(name in row for row in rows[1:]):
            curves[name] = [_rounded(row.get(name)) for row in rows[1:]]
    evals = [
        {k: _rounded(v) for k, v in row.items() if k == "step" or k.startswith("eval/")}
        for row in rows
        if "eval/pass@1" in row
    ]
    end = plain(evaluate(policy, task, settings, seed=1_000_003).evaluation)
    measured: Measurement = {
        "objective": objective.describe(),
        "curves": curves,
        "evals": evals,
        "end": {name: _rounded(value) for name, value in end.items()},
        "cpu_seconds": round(time.process_time() - began, 2),
    }
    return measured, policy


def start_measurement(start: SmallPolicy, task: BoundTask, settings: TrainSettings) -> Measurement:
    """The evaluation of a start policy on the same fixed problems as ``run_arm``'s end."""
    found = plain(evaluate(start, task, settings, seed=1_000_003).evaluation)
    return {name: _rounded(value) for name, value in found.items()}


def part(progress: Progress, number: int, of: int, name: str) -> Callable[[float], None]:
    """Progress of one of several equal parts."""
    return lambda share: progress((number + share) / of, name)


def _rounded(value: Any) -> Any:
    """Four significant digits; noise between seeds is a hundred times larger."""
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
