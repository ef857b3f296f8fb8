"""A training experiment: recipes by seeds, side by side, into one folder and one comparison."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from entropilot import __version__
from entropilot.errors import InputError
from entropilot.experiments.arms import (
    ArmPlan,
    check_settings,
    hopeless,
    plan_arms,
    read_answers,
    read_arm,
)
from entropilot.experiments.config import ExperimentConfig
from entropilot.experiments.kept_traces import write_traces
from entropilot.experiments.run_folder import CONFIG_FILE, check_folder, only_run, snapshot
from entropilot.experiments.subjects import TOKEN_TASKS, check_subject
from entropilot.experiments.training_cost import (
    arm_seconds,
    n_evaluations,
    prompt_length,
    workload,
)
from entropilot.experiments.workers import Heard, run_arms
from entropilot.files import write_atomically
from entropilot.models.model_size import model_size
from entropilot.policy.recipe_table import find_recipe
from entropilot.policy.training.metrics_log import METRICS_NAME
from entropilot.policy.training.results import Comparison
from entropilot.policy.training.settings import TrainSettings
from entropilot.report.wording import duration, plural

#: Renders a report into the folder of the run and returns the files it wrote.
Render = Callable[[ExperimentConfig, Comparison, Path], Sequence[Path]]

SUMMARY_FILE: Final = "summary.json"
RESUME: Final = "The same command again goes on with it from its last checkpoint"
TOKENS_PER_SECOND: Final = 30_000  # of the reasoner on one server core, rollout and updates
EVAL_TOKENS_PER_SECOND: Final = 60_000


@dataclass(frozen=True)
class TrainingPlan:
    """What a run will do, before it does it."""

    folder: Path
    n_arms: int
    n_arms_done: int
    n_tokens: int  # answer tokens of all arms, at most
    seconds: float | None  # of the arms that are left, estimated; None where it can't be
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class TrainingResult:
    """What a run left behind."""

    folder: Path
    comparison: Comparison
    failed: Mapping[str, str]
    files: tuple[Path, ...]

    @property
    def stopped(self) -> dict[str, str]:
        """Why arms ended early at numbers that are not finite, by their name."""
        arms = self.comparison.arms
        return {f"{arm.label}, seed {arm.seed}": arm.stopped for arm in arms if arm.stopped}


def plan_training(config: ExperimentConfig) -> TrainingPlan:
    """What ``run_training`` would do and cost, without doing it.

    Raises:
        ConfigurationError: the folder holds another experiment, or model, task and recipes do not
            go together.

    Examples:
        >>> from entropilot.experiments.config_file import load_config
        >>> plan_training(load_config(overrides={"run.folder": "/nowhere"})).n_arms
        12
    """
    settings = check_settings(config)
    check_subject(config)
    check_folder(config, config.folder)
    arms = plan_arms(config)
    done = sum(arm.is_done(config.folder) for arm in arms)
    left = len(arms) - done
    at_once = min(config.train.workers, max(1, left))
    cost = _cost(config, settings)
    seconds = None if cost.seconds is None else left * cost.seconds / at_once
    labels = ", ".join(section.title for section in config.recipes)
    sentences = [
        f"Train {config.model.name} on {config.task.name} under "
        f"{plural(len(config.recipes), 'recipe')} ({labels}), {plural(len(config.seeds), 'seed')} "
        f"each: {plural(len(arms), 'arm')}, {config.train.workers} side by side"
        + (f"; {done} are done already." if done else "."),
        f"An arm is {plural(settings.steps, 'step')} of "
        f"{plural(settings.n_prompts, 'prompt')} x {plural(settings.n_answers, 'answer')} and "
        f"{plural(settings.n_updates * settings.n_epochs, 'update')}, at most "
        f"{plural(cost.longest, 'token')} an answer; it is looked at on "
        f"{plural(settings.n_eval_problems, 'fixed problem')} x "
        f"{plural(settings.n_eval_answers, 'answer')}.",
        f"Write metrics, checkpoints, traces and the report to {config.folder}.",
        *_idle(config),
        f"That is {cost.how} {_million(cost.tokens * len(arms))} answer tokens"
        + (
            f"; {cost.unknown}"
            if seconds is None
            else f", some {_roughly(seconds)} on {plural(at_once, 'core')} {cost.where}."
        ),
    ]
    return TrainingPlan(
        config.folder, len(arms), done, round(cost.tokens * len(arms)), seconds, tuple(sentences)
    )


class _Cost(NamedTuple):
    """Of one arm."""

    longest: int  # tokens of an answer
    tokens: float  # drawn
    seconds: float | None  # None where nothing is known of the model
    how: str
    where: str
    unknown: str = ""


def _cost(config: ExperimentConfig, settings: TrainSettings) -> _Cost:
    task = TOKEN_TASKS.get(config.task.name)
    n_evals = n_evaluations(settings)
    if task is not None:
        longest = settings.max_tokens or task.max_tokens
        length = 0.6 * longest  # answers of these tasks end before the limit
        trained = settings.steps * settings.answers_per_step * length
        looked_at = n_evals * settings.n_eval_problems * settings.n_eval_answers * length
        seconds = trained / TOKENS_PER_SECOND + looked_at / EVAL_TOKENS_PER_SECOND
        return _Cost(longest, trained + looked_at, seconds, "about", "of a server")
    from entropilot.experiments.text_subjects import MAX_TOKENS, text_task

    longest = settings.max_tokens or MAX_TOKENS
    prompts = [problem.prompt for problem in text_task(config).problems(1)]
    work = workload(
        settings,
        prompt_tokens=prompt_length(prompts),
        answer_tokens=longest,
        adapter=config.model.lora_rank > 0,
    )
    size = model_size(config.model.name)
    if size is None:
        unknown = f"how long that takes is known when {config.model.name} is there."
        return _Cost(longest, work.decoded, None, "at most", "", unknown)
    where = (
        f"of this machine, estimated from {size.n_parameters / 1e6:,.3g} million parameters and "
        "the speed of its matrix products; loading, attention and verifiers come on top"
    )
    return _Cost(longest, work.decoded, arm_seconds(work, size), "at most", where)


def _idle(config: ExperimentConfig) -> list[str]:
    """Recipes that these settings leave nothing to do."""
    n = config.train.n_updates * config.train.n_epochs
    return [
        f"{section.title} acts on later updates of a batch only, and there is one a batch: it will "
        "be the run without it. Set train.n_updates to 2 or more."
        for section in config.recipes
        if find_recipe(section.name).updates > n
    ]


def run_training(
    config: ExperimentConfig,
    *,
    heard: Heard = lambda _arm, _row: None,
    warn: Callable[[str], None] = lambda _sentence: None,
    render: Render | None = None,
) -> TrainingResult:
    """Run all arms of an experiment, or go on with those that were stopped.

    Each arm is a function of the experiment and its seed alone: killed at any moment and run again,
    it ends with the same weights and numbers, bit for bit, on the same machine.

    Args:
        config: the experiment.
        heard: called after each step of each arm.
        warn: called with a sentence where an arm can't learn, once an arm.
        render: makes the report.

    Returns:
        Folder, comparison, why arms failed, and the files that were written.

    Raises:
        ConfigurationError: see ``plan_training``; or the same run is under way.
        InputError: the folder can't be written, or no arm came to its end.
    """
    plan_training(config)
    folder = config.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONFIG_FILE, snapshot(config))
    except OSError as error:
        raise InputError(
            f"the folder {folder} can't be written: {error.strerror}. Name another one in "
            "run.folder."
        ) from error
    arms = plan_arms(config)
    seen: dict[str, list[dict[str, Any]]] = {}
    warned: set[str] = set()

    def warned_by(arm: ArmPlan, sentence: str) -> None:
        warn(f"{arm.name}: {sentence}")

    def listen(arm: ArmPlan, row: Mapping[str, Any]) -> None:
        rows = seen.setdefault(arm.name, [])
        rows.append(dict(row))
        reason = hopeless(rows)
        if reason and arm.name not in warned:
            warned.add(arm.name)
            warn(f"{arm.name}: {reason}")
        heard(arm, row)

    left = [arm for arm in arms if not arm.is_done(folder)]
    with only_run(folder):
        failed = run_arms(config, left, listen, warned_by)
    comparison = collect(config, failed)
    if not comparison.arms:
        reasons = [f"  {name}: {reason}" for name, reason in comparison.unfinished.items()]
        raise InputError("\n".join(["no arm came to its end:", *(reasons or ["  all stopped"])]))
    files = [*_write_tables(config, comparison), write_traces(config, folder)]
    if render is not None:
        files += render(config, comparison, folder)
    return TrainingResult(folder, comparison, failed, tuple(files))


def collect(config: ExperimentConfig, failed: Mapping[str, str] | None = None) -> Comparison:
    """The arms of a run that have ended, side by side; ``failed`` says why others have not."""
    found = [arm for plan in plan_arms(config) if (arm := read_arm(config, plan)) is not None]
    settings = {
        **config.train.model_dump(),
        "entropilot": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return Comparison(
        task=config.task.name,
        model=config.model.name,
        arms=found,
        settings=settings,
        examples=_examples(config),
        unfinished={name: _with_mend(reason) for name, reason in (failed or {}).items()},
    )


def _with_mend(reason: str) -> str:
    if "run again" in reason:
        return reason
    end = "" if reason.endswith((".", "!", "?")) else "."
    return f"{reason}{end} {RESUME}"


def _examples(config: ExperimentConfig) -> list[dict[str, Any]]:
    """For each recipe the first seed's first answers to the same problems, before and after."""
    examples: list[dict[str, Any]] = []
    for plan in plan_arms(config)[: len(config.recipes)]:
        kept = read_answers(config, plan)
        if set(kept) != {"start", "end"}:
            continue
        first = {a["id"]: a for a in reversed(kept["start"])}
        last = {a["id"]: a for a in reversed(kept["end"])}
        for name in [n for n in dict.fromkeys(a["id"] for a in kept["start"]) if n in last][:2]:
            examples.append(
                {
                    "label": plan.section.title,
                    "seed": plan.seed,
                    "prompt": first[name]["prompt"],
                    "reference": first[name]["reference"],
                    "before": first[name],
                    "after": last[name],
                }
            )
    return examples


def _write_tables(config: ExperimentConfig, comparison: Comparison) -> list[Path]:
    """All rows of all arms, and the numbers that a script wants without reading them."""
    folder = config.folder
    lines = [
        json.dumps({"recipe": arm.label, "seed": arm.seed, **row})
        for arm in comparison.arms
        for row in arm.rows
    ]
    write_atomically(folder / METRICS_NAME, "".join(f"{line}\n" for line in lines))
    summary = {
        "entropilot": __version__,
        "experiment": json.loads(snapshot(config)),
        "arms": [
            {
                "recipe": arm.label,
                "objective": arm.objective,
                "seed": arm.seed,
                "stopped": arm.stopped,
                "cannot_learn": hopeless(list(arm.rows)),
                "start": arm.start.metrics(),
                "end": arm.end.metrics(),
            }
            for arm in comparison.arms
        ],
        "unfinished": dict(comparison.unfinished),
    }
    write_atomically(folder / SUMMARY_FILE, json.dumps(summary, indent=1))
    return [folder / METRICS_NAME, folder / SUMMARY_FILE]


def _million(n: float) -> str:
    """In words.

    Examples:
        >>> _million(1440), _million(8_060_000)
        ('1,440', '8.1 million')
    """
    return f"{n:,.0f}" if n < 1e6 else f"{n / 1e6:,.1f} million"


def _roughly(seconds: float) -> str:
    """An estimate in words, 10 s at least.

    Examples:
        >>> _roughly(3), _roughly(42), _roughly(600)
        ('10 s', '40 s', '10 min')
    """
    return duration(max(10.0, round(seconds, -1) if seconds < 85 else seconds))
