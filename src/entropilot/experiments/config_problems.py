"""All that is wrong in an experiment file, a sentence each, so that it is mended in one go.

Fields are held against their types and ranges; recipes, their knobs and their controllers, the task
and the verifier against what there is. The second is done for whatever the first left readable.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.experiments.config import (
    ControlSection,
    ExperimentConfig,
    RecipeSection,
    TaskSection,
    TrainSection,
    control_of,
    control_settings,
    controlled_knob,
)

Section = TypeVar("Section", bound=BaseModel)


def field_problems(error: ValidationError) -> list[str]:
    """Each wrong field in words.

    Examples:
        >>> try:
        ...     _ = ExperimentConfig.model_validate({"sampling": {"temprature": 1.0}})
        ... except ValidationError as error:
        ...     field_problems(error)[0].partition(" Known")[0]
        "sampling.temprature: unknown key; did you mean 'temperature'?"
    """
    return [_sentence(dict(e)) for e in error.errors()]


def meaning_problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong beyond types and ranges of single fields.

    Args:
        values: of the file; parts that are not readable are left to ``field_problems``.

    Examples:
        >>> meaning_problems({"recipes": [{"name": "siren", "coef": -1}]})
        ['recipes.0: recipe siren: coef is -1; expected 0 to 1e+06']
    """
    found: list[str] = []
    train = _readable(TrainSection, values.get("train", {}))
    if train is None or train.steps:
        temperature = 1.0 if train is None else train.temperature
        found += _recipes(values.get("recipes"), temperature)
    if train is not None and train.steps:
        found += [f"train.{said}" for said in _said(lambda: train.settings(0))]
    return found + _task(values.get("task", {}))


def _recipes(entries: Any, temperature: float) -> list[str]:
    if not isinstance(entries, list | tuple):
        return []
    found, titles = [], []
    for number, entry in enumerate(entries):
        at = f"recipes.{number}: "
        section = _readable(RecipeSection, entry)
        if section is not None:
            titles.append(section.title)
            found += [at + said for said in _recipe(section, temperature)]
            continue
        # its knobs can be held against their ranges even where label or control is not readable
        bare = entry if isinstance(entry, Mapping) else {}
        rest = {key: value for key, value in bare.items() if key not in ("label", "control")}
        section = _readable(RecipeSection, rest)
        if section is not None:
            found += [at + said for said in _recipe(section, temperature)]
            found += [at + said for said in _knob(section, bare.get("control"))]
    return found + [
        f"two recipes have the label {title!r}; give one of them another label"
        for title in sorted({t for t in titles if titles.count(t) > 1})
    ]


def _recipe(section: RecipeSection, temperature: float) -> list[str]:
    from entropilot.policy.recipe_table import find_recipe

    try:
        recipe = find_recipe(section.name)
    except ConfigurationError as error:
        return [str(error)]
    found = recipe.problems(section.knobs)
    if not found:
        found = _said(lambda: recipe.objective(section.knobs))
    if section.control is not None:
        own = _control(section, section.control, temperature)
        found += [said for said in own if said not in found]  # it tries the knobs as well
    return found


def _knob(section: RecipeSection, control: Any) -> list[str]:
    """Whether the recipe has the knob of a control whose other fields are not readable."""
    named = control.get("knob") if isinstance(control, Mapping) else None
    if not isinstance(named, str):
        return []
    only_knob = ControlSection.model_construct(knob=named)
    return _said(lambda: controlled_knob(section.model_copy(update={"control": only_knob})))


def _control(section: RecipeSection, control: ControlSection, temperature: float) -> list[str]:
    own = _said(lambda: control_settings(section, temperature))
    tried = _said(lambda: controlled_knob(section))
    if not own and not tried:
        tried = _said(lambda: control_of(section, temperature))
    return [f"recipe {section.name}: {said}" for said in own] + tried + _quantity(control.quantity)


def _quantity(name: str) -> list[str]:
    from entropilot.policy.training.metrics_log import MEANINGS

    if name in MEANINGS or "/" in name:  # a term's own metrics have a slash
        return []
    return [unknown_name("quantity to hold", name, [n for n in MEANINGS if "/" not in n])]


def _task(entry: Any) -> list[str]:
    from entropilot.experiments.task_names import is_text_task

    task = _readable(TaskSection, entry)
    if task is None:
        return []
    from entropilot.policy.verifiers.registry import named_verifier

    found = _said(lambda: is_text_task(task.name))
    found += [f"task.verifier: {said}" for said in _said(lambda: named_verifier(task.verifier))]
    if "{prompt}" not in task.template:
        found.append(
            f"task.template: {task.template[:60]!r} has no {{prompt}} in it; every prompt would be "
            "the same"
        )
    return found


def _said(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except ConfigurationError as error:
        return str(error).split("\n")
    return []


def _readable(kind: type[Section], entry: Any) -> Section | None:
    try:
        return kind.model_validate(entry)
    except ValidationError:
        return None


def _sentence(error: dict[str, Any]) -> str:
    """One wrong field in words."""
    at = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{at}: unknown {'key' if '.' in at else 'section'}{_near(error['loc'])}"
    if error["type"] == "missing":
        return f"{at}: it is missing"
    if error["type"] == "model_type":
        return f"{at}: it is {error['input']!r}, expected a table [{at}]"
    said = str(error["msg"])
    return f"{at}: it is {error['input']!r}. {said}"


def _near(location: tuple[Any, ...]) -> str:
    """The nearest known key, wherever in the file the table is."""
    kind: Any = ExperimentConfig
    for part in location[:-1]:
        if isinstance(part, int):  # an entry of a list of tables; its kind was found before
            continue
        fields = getattr(kind, "model_fields", {})
        if part not in fields:
            return "."
        kind = next(iter(_models(fields[part].annotation)), None)
    known = sorted(getattr(kind, "model_fields", {}))
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return f"{hint} Known: {', '.join(known)}"


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    """The tables in an annotation such as ``tuple[RecipeSection, ...]`` or ``X | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (tuple, list, Union, types.UnionType):
        for part in get_args(annotation):
            yield from _models(part)
