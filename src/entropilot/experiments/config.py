"""The fields of an experiment, and their ranges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.policy.training.settings import TrainSettings

if TYPE_CHECKING:
    from entropilot.policy.training.knob_control import Controlled, KnobControl


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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

    engine: Literal["local", "trl", "verl"] = "local"
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
        values = self.model_dump(exclude={"workers", "engine"})
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

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

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


def controlled_knob(section: RecipeSection) -> str:
    """Name of the knob that the controller of a recipe turns; the temperature is one of any recipe.

    Raises:
        ConfigurationError: the recipe has no controller, or no such knob.
    """
    from entropilot.policy.recipe_table import find_recipe
    from entropilot.policy.training.knob_control import TEMPERATURE

    if section.control is None:
        raise ConfigurationError(f"the recipe {section.title} has no control")
    known = [*(knob.name for knob in find_recipe(section.name).knobs), TEMPERATURE]
    if section.control.knob not in known:
        said = unknown_name("knob to control", section.control.knob, known)
        raise ConfigurationError(f"recipe {section.name}: {said}")
    return section.control.knob


def control_settings(section: RecipeSection, temperature: float = 1.0) -> KnobControl:
    """Settings of a recipe's controller, whose knob is not looked at.

    Of the two gains, the one that is not given follows from the other as in ``GAINS``: of the level
    for the temperature, of the drift for all other knobs.

    Args:
        section: of the recipe.
        temperature: of sampling; a control of the temperature begins there.

    Raises:
        ConfigurationError: the recipe has no controller, or a setting is out of range.
    """
    from entropilot.policy.training.knob_control import GAINS, TEMPERATURE, KnobControl

    control = section.control
    if control is None:
        raise ConfigurationError(f"the recipe {section.title} has no control")
    usual = GAINS["level" if control.knob == TEMPERATURE else "drift"]
    gain, integral_gain = control.gain, control.integral_gain
    if gain is None:
        share = 1.0 if integral_gain is None else integral_gain / usual.integral_gain
        gain = usual.gain * share
    if integral_gain is None:
        integral_gain = usual.integral_gain * gain / usual.gain
    values = control.model_dump() | {"gain": gain, "integral_gain": integral_gain}
    if control.knob == TEMPERATURE and control.start is None:
        values["start"] = temperature
    return KnobControl(**values)


def control_of(section: RecipeSection, temperature: float = 1.0) -> Controlled:
    """The controller of a recipe, ready for a run.

    Args:
        section: of the recipe.
        temperature: of sampling; a control of the temperature begins there.

    Raises:
        ConfigurationError: the recipe has no such knob, or refuses a limit of it.
    """
    from entropilot.policy.recipe_table import find_recipe
    from entropilot.policy.training.knob_control import TEMPERATURE, controlled

    knob, recipe = controlled_knob(section), find_recipe(section.name)
    settings = control_settings(section, temperature)
    if knob == TEMPERATURE:
        held = recipe.objective(section.knobs)
        return controlled(lambda _value: held, settings)
    return controlled(lambda value: recipe.objective(section.knobs | {knob: value}), settings)
