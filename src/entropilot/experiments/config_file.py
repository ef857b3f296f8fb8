"""The experiment file: how it is read, and what a reader is told of all that is wrong in it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from entropilot.errors import ConfigurationError
from entropilot.experiments.config import ExperimentConfig
from entropilot.experiments.config_problems import field_problems, meaning_problems

DEFAULT_FILE: Final = Path(__file__).parent / "default.toml"  # trains the tiny reasoner
DIAGNOSIS_FILE: Final = Path(__file__).parent / "diagnosis.toml"  # samples a language model


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
        ConfigurationError: every wrong field, recipe and knob at once, each with what was expected.

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
            if isinstance(part, dict):  # anything else is said below, with all that is wrong
                part[key] = value
    if recipes:
        values["recipes"] = [{"name": recipe} for recipe in recipes]
    problems: list[str] = []
    config = None
    try:
        config = ExperimentConfig.model_validate(values)
    except ValidationError as error:
        problems += field_problems(error)
    problems += meaning_problems(values)
    if config is None or problems:
        listed = "\n".join(f"  {problem}" for problem in dict.fromkeys(problems))
        raise ConfigurationError(f"{name} is not valid:\n{listed}")
    return config
