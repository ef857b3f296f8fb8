"""One arm of an experiment: a recipe, a seed, a folder that survives a kill."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from entropilot.errors import ConfigurationError, InputError
from entropilot.experiments.config import ExperimentConfig, RecipeSection, control_of
from entropilot.experiments.subjects import Subject, annotate_for, load_subject
from entropilot.experiments.trackers import open_trackers
from entropilot.files import write_atomically
from entropilot.policy.objective import NonFiniteError, Objective
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.training.entropy_probe import entropy_probe
from entropilot.policy.training.evaluation import EvaluatedAnswers, Evaluation, evaluate, plain
from entropilot.policy.training.memory_limits import naming_the_knob
from entropilot.policy.training.metrics_log import METRICS_NAME, read_metrics
from entropilot.policy.training.results import Arm
from entropilot.policy.training.settings import TrainSettings
from entropilot.policy.training.trainee import Trainee
from entropilot.policy.training.trainer import train
from entropilot.policy.training.updating import NonFiniteLossError

ARMS_FOLDER: Final = "arms"
EVALUATION_FILE: Final = "evaluation.json"
STOPPED_FILE: Final = "stopped.json"
N_KEPT_PROBLEMS: Final = 6  # whose answers are kept with every token
N_KEPT_ANSWERS: Final = 4
HOPELESS_STEPS: Final = 10  # in a row in which every group has one reward

#: Called with the row of metrics after each step.
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class ArmPlan:
    """Which recipe, with which seed."""

    section: RecipeSection
    seed: int

    @property
    def name(self) -> str:
        """Title and seed."""
        return f"{self.section.title}, seed {self.seed}"

    def folder(self, run: Path) -> Path:
        """Below the folder of the run."""
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", self.section.title).strip("-")
        return run / ARMS_FOLDER / slug / f"seed-{self.seed}"

    def is_done(self, run: Path) -> bool:
        """Whether nothing is left to do."""
        folder = self.folder(run)
        return (folder / STOPPED_FILE).is_file() or "end" in _evaluations(folder)


def plan_arms(config: ExperimentConfig) -> list[ArmPlan]:
    """Every recipe with every seed, seeds first, so that an early look compares recipes."""
    return [ArmPlan(section, seed) for seed in config.seeds for section in config.recipes]


def run_arm(config: ExperimentConfig, plan: ArmPlan, tell: Tell) -> None:
    """Train one arm, or go on with it; what it leaves is in its folder.

    A number that is not finite stops the arm and is written down; the last good checkpoint stays.

    Raises:
        InputError: the folder can't be written.
        ModelError: the model can't be had.
        ConfigurationError: out of memory; names the knobs.
    """
    folder = plan.folder(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if plan.is_done(config.folder):
        return
    settings = config.train.settings(plan.seed)
    with naming_the_knob(settings):
        _run(config, plan, settings, tell)


def _run(config: ExperimentConfig, plan: ArmPlan, settings: TrainSettings, tell: Tell) -> None:
    folder, subject = plan.folder(config.folder), load_subject(config)
    if "start" not in _evaluations(folder):
        _keep(folder, "start", evaluate(subject.policy, subject.task, settings), subject)
    recipe = find_recipe(plan.section.name)
    objective = recipe.objective(plan.section.knobs)
    held = None
    if plan.section.control is not None:
        held = control_of(plan.section, settings.temperature)
    with open_trackers(config, plan.section.title, plan.seed, folder) as trackers:
        trainee = Trainee(
            subject.policy,
            subject.task,
            (lambda _step: objective) if held is None else held.objective,
            settings,
            annotate=annotate_for(subject, recipe.name),
            listeners=trackers if held is None else (held.listen, *trackers),
            memory=None if held is None else held.memory,
            temperature=None if held is None else held.temperature,
            probes=(entropy_probe(),),
        )
        try:
            if config.train.engine == "trl":
                _train_in_trl(subject, objective, settings, folder, (*trackers, tell))
            else:
                start = Evaluation(**_evaluations(folder)["start"]["evaluation"])
                train(trainee, folder, progress=tell, identity=_identity(config, plan), start=start)
        except (NonFiniteError, NonFiniteLossError) as error:
            write_atomically(folder / STOPPED_FILE, json.dumps({"reason": str(error)}))
            return
    end = evaluate(subject.policy, subject.task, settings, seed=settings.steps + 1)
    _keep(folder, "end", end, subject)


def _train_in_trl(
    subject: Subject,
    objective: Objective,
    settings: TrainSettings,
    folder: Path,
    listeners: tuple[Any, ...],
) -> None:
    from entropilot.experiments.trl_engine import train_in_trl
    from entropilot.policy.language_policy import LanguagePolicy

    if not isinstance(subject.policy, LanguagePolicy):
        raise ConfigurationError("train.engine is 'trl', which trains language models only")
    train_in_trl(
        subject.policy, subject.task, subject.tokenizer, objective, settings, folder, listeners
    )


def read_arm(config: ExperimentConfig, plan: ArmPlan) -> Arm | None:
    """What an arm left; None where it has not ended yet.

    Raises:
        InputError: a file of it can't be read.
    """
    folder = plan.folder(config.folder)
    found = _evaluations(folder)
    if not plan.is_done(config.folder) or "start" not in found:
        return None
    start = Evaluation(**found["start"]["evaluation"])
    end = Evaluation(**found.get("end", found["start"])["evaluation"])
    stopped = ""
    if (folder / STOPPED_FILE).is_file():
        stopped = str(json.loads((folder / STOPPED_FILE).read_text(encoding="utf-8"))["reason"])
    return Arm(
        label=plan.section.title,
        recipe=plan.section.name,
        objective=_described(plan.section),
        seed=plan.seed,
        rows=read_metrics(folder / METRICS_NAME),
        start=start,
        end=end,
        stopped=stopped,
        knobs=plan.section.knobs,
        control={} if plan.section.control is None else plan.section.control.model_dump(),
    )


def read_answers(config: ExperimentConfig, plan: ArmPlan) -> dict[str, list[dict[str, Any]]]:
    """Kept answers of an arm: ``{"start": [...], "end": [...]}``."""
    found = _evaluations(plan.folder(config.folder))
    return {when: found[when]["answers"] for when in ("start", "end") if when in found}


def hopeless(rows: list[dict[str, Any]]) -> str:
    """Why nothing can be learned from the last steps; "" where something can.

    Examples:
        >>> row = {"frac_zero_std_groups": 1.0, "frac_all_wrong_groups": 1.0}
        >>> hopeless([row] * 10).partition(",")[0], hopeless([row])
        ('every answer of the last 10 steps was wrong', '')
    """
    last = rows[-HOPELESS_STEPS:]
    if len(last) < HOPELESS_STEPS or any(r.get("frac_zero_std_groups", 0) < 1 for r in last):
        return ""
    if all(row.get("frac_all_wrong_groups", 0) == 1 for row in last):
        return (
            f"every answer of the last {HOPELESS_STEPS} steps was wrong, so there is nothing to "
            "prefer: easier prompts, more answers a prompt, or a start that is right now and then"
        )
    if all(row.get("frac_all_right_groups", 0) == 1 for row in last):
        return (
            f"every answer of the last {HOPELESS_STEPS} steps was right, so there is nothing left "
            "to learn: harder prompts, or fewer steps"
        )
    return (
        f"every group of the last {HOPELESS_STEPS} steps had one and the same reward, so no answer "
        "is preferred: more answers a prompt, or prompts nearer to half right"
    )


def _described(section: RecipeSection) -> str:
    said = find_recipe(section.name).objective(section.knobs).describe()
    if section.control is None:
        return said
    control = section.control
    unit = " x its first value" if control.relative else ""
    held = f"{control.quantity} at {control.set_point:g}{unit}"
    if control.slope:
        held = f"the slope of {control.quantity} at {control.set_point:g}{unit} a step"
    return (
        f"{said}; {control.knob} is turned between {control.low:g} and {control.high:g} to hold "
        f"{held}"
    )


def _identity(config: ExperimentConfig, plan: ArmPlan) -> dict[str, Any]:
    return {
        "recipe": plan.section.name,
        "knobs": plan.section.knobs,
        "control": None if plan.section.control is None else plan.section.control.model_dump(),
        "seed": plan.seed,
        "model": config.model.model_dump(),
        "task": config.task.model_dump(mode="json"),
        "train": config.train.model_dump(exclude={"workers"}),
    }


def _evaluations(folder: Path) -> dict[str, Any]:
    file = folder / EVALUATION_FILE
    if not file.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{file} can't be read: {error}. Delete it and run again; only the evaluation is lost"
        ) from error
    return found


def _keep(folder: Path, when: str, found: EvaluatedAnswers, subject: Subject) -> None:
    """Write an evaluation beside those that are there, with a few answers token by token."""
    kept = _evaluations(folder)
    kept[when] = {"evaluation": plain(found.evaluation), "answers": _answers(found, subject)}
    write_atomically(folder / EVALUATION_FILE, json.dumps(kept))


def _answers(found: EvaluatedAnswers, subject: Subject) -> list[dict[str, Any]]:
    n, samples = found.evaluation.n, found.samples
    rows = [
        q * n + i
        for q in range(min(N_KEPT_PROBLEMS, len(found.problems)))
        for i in range(min(N_KEPT_ANSWERS, n))
    ]
    kept = []
    for row in rows:
        problem, mask = found.problems[row // n], samples.mask[row]
        kept.append(
            {
                "id": problem.id,
                "prompt": problem.prompt,
                "reference": problem.answer,
                "tokens": [subject.task.render([t]) for t in samples.tokens[row][mask].tolist()],
                "logprob": [round(x, 5) for x in samples.logprob[row][mask].tolist()],
                "entropy": [round(x, 5) for x in samples.entropy[row][mask].tolist()],
                "correct": bool(found.graded.correct[row]),
                "answer": found.graded.answers[row],
                "truncated": bool(samples.truncated[row]),
            }
        )
    return kept


def check_settings(config: ExperimentConfig) -> TrainSettings:
    """Training settings of the first seed.

    Raises:
        ConfigurationError: nothing is trained.
    """
    if config.train.steps == 0:
        raise ConfigurationError("train.steps is 0, so there is nothing to train")
    return config.train.settings(config.run.seed)
