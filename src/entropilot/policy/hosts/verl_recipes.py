"""Recipes by name inside verl, with no code of one's own.

    export VERL_USE_EXTERNAL_MODULES=entropilot.policy.hosts.verl_recipes
    export ENTROPILOT_RECIPES=recipes.toml      # only where knobs are not at their defaults
    python -m verl.trainer.main_ppo algorithm.adv_estimator=entropilot-kl-cov \
        actor_rollout_ref.actor.policy_loss.loss_mode=entropilot-kl-cov ...

verl imports this module in the driver and in every worker. On import every recipe that verl can run
is registered as ``entropilot-NAME`` at its defaults, and every ``[[recipes]]`` block of the file as
``entropilot-LABEL`` (the recipe's name, where it has no label).
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from entropilot.errors import ConfigurationError
from entropilot.policy.hosts.verl import check_verl, register
from entropilot.policy.objective import Objective
from entropilot.policy.recipe_table import RECIPES, find_recipe
from entropilot.policy.recipes import Recipe

FILE_VARIABLE: Final = "ENTROPILOT_RECIPES"
MODULE: Final = __name__
PREFIX: Final = "entropilot-"

#: Recipes whose reward or advantage terms read what verl gives no estimator, and why.
_WITHOUT_INPUT: Final = {
    "pear": "it reads entropies and phases of the answers",
    "spae": "it reads potentials of the steps",
}


def why_not(recipe: Recipe, knobs: Mapping[str, Any] | None = None) -> str:
    """Why verl can't run a recipe; "" where it can.

    Examples:
        >>> why_not(find_recipe("kl-cov")), why_not(find_recipe("siren")).partition(",")[0]
        ('', 'siren needs nucleus_entropy')
    """
    if recipe.name in _WITHOUT_INPUT:
        return (
            f"the recipe {recipe.name} can't run in verl: {_WITHOUT_INPUT[recipe.name]}, which "
            "verl gives no advantage estimator. Use the built-in trainer"
        )
    try:
        check_verl(recipe.objective(knobs))
    except ConfigurationError as error:
        return str(error)
    return ""


def verl_block(recipe: Recipe, knobs: Mapping[str, Any] | None = None) -> str:
    r"""How a recipe is chosen in verl: environment and overrides of its configuration.

    Args:
        recipe: to be run.
        knobs: those that are not at their defaults.

    Raises:
        ConfigurationError: verl can't run it; the message says why.

    Examples:
        >>> print(verl_block(find_recipe("grpo")), end="")
        export VERL_USE_EXTERNAL_MODULES=entropilot.policy.hosts.verl_recipes
        python -m verl.trainer.main_ppo \
            algorithm.adv_estimator=entropilot-grpo \
            actor_rollout_ref.actor.policy_loss.loss_mode=entropilot-grpo \
            ...
    """
    reason = why_not(recipe, knobs)
    if reason:
        raise ConfigurationError(reason)
    objective = recipe.objective(knobs)
    lines = [f"export VERL_USE_EXTERNAL_MODULES={MODULE}"]
    if knobs:
        lines.append(f"export {FILE_VARIABLE}=recipes.toml  # holds the [[recipes]] block")
    overrides = [
        f"algorithm.adv_estimator={PREFIX}{recipe.name}",
        f"actor_rollout_ref.actor.policy_loss.loss_mode={PREFIX}{recipe.name}",
    ]
    if "entropy" in objective.needs:
        overrides.append("actor_rollout_ref.actor.calculate_entropy=true")
    if recipe.updates > 1:
        lines.append(
            f"# acts only with {recipe.updates} or more updates a rollout: set "
            "actor.ppo_mini_batch_size below data.train_batch_size"
        )
    command = ["python -m verl.trainer.main_ppo", *(f"    {o}" for o in overrides), "    ..."]
    return "\n".join(lines) + "\n" + " \\\n".join(command) + "\n"


def recipes_of(path: Path) -> dict[str, Objective]:
    """Objectives of the ``[[recipes]]`` blocks of a file, by the name they have in verl.

    Raises:
        ConfigurationError: the file can't be read, two blocks have one name, or verl can't run one.
    """
    try:
        blocks = tomllib.loads(path.read_text(encoding="utf-8"))["recipes"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(
            f"{FILE_VARIABLE} names {path}, which can't be read: {error!r}. It is a TOML file with "
            "[[recipes]] blocks, as entropilot recipes show NAME --toml prints them"
        ) from error
    found: dict[str, Objective] = {}
    for block in blocks:
        knobs = {k: v for k, v in block.items() if k not in ("name", "label", "control")}
        if "control" in block:
            raise ConfigurationError(
                f"{path}: the recipe {block.get('name')} has a control, which verl can't run; "
                "leave it out, or use the built-in trainer"
            )
        recipe = find_recipe(str(block.get("name")))
        reason = why_not(recipe, knobs)
        if reason:
            raise ConfigurationError(f"{path}: {reason}")
        name = PREFIX + str(block.get("label", recipe.name)).replace(" ", "-")
        if name in found:
            raise ConfigurationError(f"{path}: two recipes are {name!r}; give one a label")
        found[name] = recipe.objective(knobs)
    return found


def register_recipes(path: Path | None = None) -> tuple[str, ...]:
    """Register every recipe that verl can run, those of a file in the place of the defaults.

    Args:
        path: of a file with ``[[recipes]]`` blocks.

    Returns:
        The names in verl.

    Raises:
        MissingExtraError: verl is not installed.
        ConfigurationError: see ``recipes_of``.
    """
    objectives = {
        PREFIX + name: recipe.objective() for name, recipe in RECIPES.items() if not why_not(recipe)
    }
    if path is not None:
        objectives |= recipes_of(path)
    for name, objective in objectives.items():
        register(objective, name)
    return tuple(objectives)


if "verl" in sys.modules:  # verl itself imports this module; the command line only reads it
    register_recipes(Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None)
