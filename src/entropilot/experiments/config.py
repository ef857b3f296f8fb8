"""The experiment file: its fields, their ranges, and what a reader is told when one is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.training.settings import TrainSettings

if TYPE_CHECKING:
    from entropilot.policy.training.knob_control import Controlled

DEFAULT_FILE: Final = Path(__file__).parent / "default.toml"  # trains the tiny reasoner
DIAGNOSIS_FILE: Final = Path(__file__).parent / "diagnosis.toml"  # samples a language model


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSection(_Section):
    """Which model answers, and what of it is trained."""

    name: str = Field(default="reasoner", min_length=1)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    lora_rank: int = Field(default=0, ge=0, le=1024)
    lora_alpha: float = Field(default=16.0, gt=0)


class TaskSection(_Section):
    """What it is asked, and how answers are checked."""

    name: str = Field(default="addition", min_length=1)
    n_problems: int = Field(default=48, ge=1, le=5000)
    operations: tuple[Literal["add", "sub", "mul"], ...] = Field(
        default=("add", "sub", "mul"), min_length=1, strict=False
    )
    prompt_column: str | None = Field(default=None, min_length=1)
    answer_column: str | None = Field(default=None, min_length=1)
    template: str = Field(default="{prompt}", min_length=1)
    chat: bool = False
    verifier: str = Field(default="number", min_length=1)
    time_limit: float = Field(default=5.0, gt=0, le=600)


class SamplingSection(_Section):
    """How its answers are drawn."""

    n_samples: int = Field(default=4, ge=1, le=1024)
    temperature: float = Field(default=0.7, ge=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=64, ge=1)
    stop: tuple[str, ...] = Field(default=("\n",), strict=False)
    top_k_logprobs: int = Field(default=20, ge=2, le=1000)
    rows_per_batch: int = Field(default=64, ge=1)


class TrainSection(_Section):
    """How it is trained; 0 steps are a pure diagnosis. See ``TrainSettings``."""

    steps: int = Field(default=80, ge=0)
    n_prompts: int = Field(default=32, ge=1)
    n_answers: int = Field(default=8, ge=2)
    n_updates: int = Field(default=2, ge=1)
    n_epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: int = Field(default=10, ge=0)
    clip_norm: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=1.0, gt=0, le=10)
    max_tokens: int | None = Field(default=None, ge=1)
    micro_tokens: int = Field(default=16384, ge=1)
    evaluate_every: int = Field(default=20, ge=0)
    n_eval_problems: int = Field(default=128, ge=1)
    n_eval_answers: int = Field(default=16, ge=1)
    checkpoint_every: int = Field(default=20, ge=0)
    workers: int = Field(default=2, ge=1, le=1024)

    def settings(self, seed: int) -> TrainSettings:
        """What the trainer takes, for one seed."""
        values = self.model_dump(exclude={"workers"})
        return TrainSettings(**values, seed=seed)


class ControlSection(_Section):
    """A controller that turns one knob of a recipe, or the temperature; see ``KnobControl``."""

    knob: str = Field(min_length=1)
    set_point: float
    low: float
    high: float
    quantity: str = Field(default="entropy", min_length=1)
    gain: float | None = None
    integral_gain: float | None = None
    smoothing: float = Field(default=0.5, ge=0, lt=1)
    largest_move: float = Field(default=0.5, gt=0)
    scale: Literal["linear", "log"] = "log"
    relative: bool = True
    start: float | None = None
    slope: bool = False


class RecipeSection(_Section):
    """A recipe with its knobs; ``label`` tells two settings of one recipe apart."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str = Field(min_length=1)
    label: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._,=+-]*$")
    control: ControlSection | None = None

    @property
    def knobs(self) -> dict[str, Any]:
        """Knobs as they were given."""
        return dict(self.model_extra or {})

    @property
    def title(self) -> str:
        """Label, or the name with the knobs that were given."""
        if self.label is not None:
            return self.label
        given = ", ".join(f"{k}={v}" for k, v in self.knobs.items())
        held = "" if self.control is None else f"held by {self.control.knob}"
        return f"{self.name} {given} {held}".strip().replace("  ", " ")


class LogSection(_Section):
    """Where metrics also go, through the trackers' own libraries; metrics.jsonl is always there."""

    tensorboard: bool = False
    wandb: bool = False
    mlflow: bool = False
    project: str = Field(default="entropilot", min_length=1)


class ReportSection(_Section):
    """What the report says."""

    title: str | None = None
    rate: float = Field(default=0.1, gt=0, lt=1)


class RunSection(_Section):
    """Where the results go, and the seed of everything."""

    name: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    folder: str = Field(default="runs", min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    n_seeds: int = Field(default=2, ge=1, le=1000)


class ExperimentConfig(_Section):
    """A whole experiment; every field has a default.

    Examples:
        >>> ExperimentConfig().sampling.n_samples
        4
    """

    run: RunSection = RunSection()
    model: ModelSection = ModelSection()
    task: TaskSection = TaskSection()
    sampling: SamplingSection = SamplingSection()
    train: TrainSection = TrainSection()
    recipes: tuple[RecipeSection, ...] = Field(
        default=(
            RecipeSection(name="grpo"),
            RecipeSection(name="clip-higher"),
            RecipeSection.model_validate({"name": "kl-cov", "ratio": 0.2}),
            RecipeSection.model_validate({"name": "siren", "coef": 1.0}),
            RecipeSection.model_validate({"name": "entropy-bonus", "coef": 0.01}),
            RecipeSection(
                name="entropy-bonus",
                label="bonus held at 0.7",
                control=ControlSection(knob="coef", set_point=0.7, low=0.001, high=0.1),
            ),
        ),
        min_length=1,
        strict=False,
    )
    log: LogSection = LogSection()
    report: ReportSection = ReportSection()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the arms: ``run.seed`` and those after it."""
        return tuple(range(self.run.seed, self.run.seed + self.run.n_seeds))

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.run.folder) / self.run.name


def load_config(
    path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    recipes: Sequence[str] | None = None,
) -> ExperimentConfig:
    """The experiment of a TOML file, or the embedded default.

    Args:
        path: of the file; None means the default experiment.
        overrides: values by dotted name, for example ``{"model.name": "tiny"}``; None values are
            left out.
        recipes: names that take the place of the file's recipes, each at its defaults.

    Raises:
        ConfigurationError: no such file, not TOML, an unknown key or a value out of range.

    Examples:
        >>> load_config(overrides={"model.name": "tiny"}).model.name
        'tiny'
    """
    file = DEFAULT_FILE if path is None else Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"the experiment file {file} can't be read: {said}. Give the path of a TOML file, or "
            "none for the default experiment."
        ) from error
    name = "the experiment" if path is None else str(file)
    return parse_config(text, name=name, overrides=overrides, recipes=recipes)


def parse_config(
    text: str,
    *,
    name: str = "the experiment",
    overrides: Mapping[str, Any] | None = None,
    recipes: Sequence[str] | None = None,
) -> ExperimentConfig:
    r"""The experiment of a TOML text.

    Args:
        text: TOML.
        name: of the file, for messages.
        overrides: values by dotted name.
        recipes: names that take the place of the recipes in the text.

    Raises:
        ConfigurationError: every wrong field at once, each with what was expected.

    Examples:
        >>> parse_config('[sampling]\ntemperature = 0.2').sampling.temperature
        0.2
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{name} is not TOML: {error}") from error
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        if value is not None:
            part = values.setdefault(section, {})
            if not isinstance(part, dict):
                raise ConfigurationError(f"{name}: {section} is {part!r}; it must be a table")
            part[key] = value
    if recipes:
        values["recipes"] = [{"name": recipe} for recipe in recipes]
    try:
        config = ExperimentConfig.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_sentence(dict(e))}" for e in error.errors())
        raise ConfigurationError(f"{name} is not valid:\n{problems}") from error
    try:
        if config.train.steps:
            check_recipes(config.recipes, config.train.temperature)
            config.train.settings(config.run.seed)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} is not valid: {error}") from error
    return config


def check_recipes(recipes: Sequence[RecipeSection], temperature: float = 1.0) -> None:
    """Every recipe is known, its knobs are in range, and no two have one label.

    Args:
        recipes: of the experiment.
        temperature: of sampling, where a control of it begins.

    Raises:
        ConfigurationError: all that is wrong, a line each.
    """
    from entropilot.policy.recipe_table import find_recipe

    problems = []
    for section in recipes:
        try:
            recipe = find_recipe(section.name)
            recipe.objective(section.knobs)
            if section.control is not None:
                control_of(section, temperature)
        except ConfigurationError as error:
            problems.append(str(error))
    titles = [section.title for section in recipes]
    problems += [
        f"two recipes have the label {title!r}; give one of them another label"
        for title in sorted({t for t in titles if titles.count(t) > 1})
    ]
    if problems:
        raise ConfigurationError("\n  ".join(problems))


def control_of(section: RecipeSection, temperature: float = 1.0) -> Controlled:
    """The controller of a recipe, ready for a run.

    Of the two gains, the one that is not given follows from the other as in ``GAINS``: of the level
    for the temperature, of the drift for all other knobs.

    Args:
        section: of the recipe.
        temperature: of sampling; a control of the temperature begins there.

    Raises:
        ConfigurationError: the recipe has no such knob, or refuses a limit of it.
    """
    from entropilot.policy.recipe_table import find_recipe
    from entropilot.policy.training.knob_control import (
        GAINS,
        TEMPERATURE,
        KnobControl,
        controlled,
    )

    if section.control is None:
        raise ConfigurationError(f"the recipe {section.title} has no control")
    recipe, settings = find_recipe(section.name), section.control
    known = [*(knob.name for knob in recipe.knobs), TEMPERATURE]
    if settings.knob not in known:
        raise ConfigurationError(
            f"recipe {section.name}: {unknown_name('knob to control', settings.knob, known)}"
        )
    is_temperature = settings.knob == TEMPERATURE
    usual = GAINS["level" if is_temperature else "drift"]
    gain, integral_gain = settings.gain, settings.integral_gain
    if gain is None:
        share = 1.0 if integral_gain is None else integral_gain / usual.integral_gain
        gain = usual.gain * share
    if integral_gain is None:
        integral_gain = usual.integral_gain * gain / usual.gain
    values = settings.model_dump() | {"gain": gain, "integral_gain": integral_gain}
    if is_temperature:
        values["start"] = temperature if settings.start is None else settings.start
        held = recipe.objective(section.knobs)
        return controlled(lambda _value: held, KnobControl(**values))
    return controlled(
        lambda value: recipe.objective(section.knobs | {settings.knob: value}),
        KnobControl(**values),
    )


def _sentence(error: dict[str, Any]) -> str:
    """One wrong field in words."""
    at = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{at}: unknown {'key' if '.' in at else 'section'}{_near(error['loc'])}"
    if error["type"] == "model_type":
        return f"{at}: it is {error['input']!r}, expected a table [{at}]"
    said = str(error["msg"])
    return f"{at}: it is {error['input']!r}. {said}"


def _near(location: tuple[Any, ...]) -> str:
    kind: Any = ExperimentConfig
    for part in location[:-1]:
        if not isinstance(part, str) or part not in kind.model_fields:
            return "."
        kind = kind.model_fields[part].annotation
    known = sorted(kind.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} Known: {', '.join(known)}"
