"""The experiment file: its fields, their ranges, and what a reader is told when one is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from entropilot.errors import ConfigurationError

DEFAULT_FILE: Final = Path(__file__).parent / "default.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSection(_Section):
    """Which model answers."""

    name: str = Field(default="smollm2", min_length=1)
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class TaskSection(_Section):
    """What it is asked."""

    name: Literal["word-problems"] = "word-problems"
    n_problems: int = Field(default=48, ge=1, le=5000)
    operations: tuple[Literal["add", "sub", "mul"], ...] = Field(
        default=("add", "sub", "mul"), min_length=1, strict=False
    )


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
    """How it is trained; 0 steps are a pure diagnosis."""

    steps: int = Field(default=0, ge=0)


class ReportSection(_Section):
    """What the report says."""

    title: str = "Which answers look failing?"
    rate: float = Field(default=0.1, gt=0, lt=1)


class RunSection(_Section):
    """Where the results go, and the seed of everything."""

    name: str = Field(default="diagnosis", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    folder: str = Field(default="runs", min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**63)


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
    report: ReportSection = ReportSection()

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.run.folder) / self.run.name


def load_config(
    path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> ExperimentConfig:
    """The experiment of a TOML file, or the embedded default.

    Args:
        path: of the file; None means the default experiment.
        overrides: values by dotted name, for example ``{"model.name": "tiny"}``; None values are
            left out.

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
    return parse_config(text, name=name, overrides=overrides)


def parse_config(
    text: str, *, name: str = "the experiment", overrides: Mapping[str, Any] | None = None
) -> ExperimentConfig:
    r"""The experiment of a TOML text.

    Args:
        text: TOML.
        name: of the file, for messages.
        overrides: values by dotted name.

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
    try:
        config = ExperimentConfig.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_sentence(dict(e))}" for e in error.errors())
        raise ConfigurationError(f"{name} is not valid:\n{problems}") from error
    if config.train.steps:
        raise ConfigurationError(
            f"{name}: train.steps is {config.train.steps}; training comes with a later version. "
            "Set it to 0 for a diagnosis."
        )
    return config


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
        kind = kind.model_fields[part].annotation
    known = sorted(kind.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} Known: {', '.join(known)}"
