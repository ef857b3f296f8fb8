"""Recipes by name in verl: the block that is printed, the file of knobs, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import entropilot
from entropilot.errors import ConfigurationError
from entropilot.policy.hosts.verl_recipes import recipes_of, verl_block, why_not
from entropilot.policy.recipe_table import RECIPES, find_recipe


def test_block_names_what_the_recipe_needs() -> None:
    block = verl_block(find_recipe("entropy-bonus"))
    assert "actor.calculate_entropy=true" in block
    assert "2 or more updates a rollout" in verl_block(find_recipe("kl-cov"))
    assert "ENTROPILOT_RECIPES=recipes.toml" in verl_block(find_recipe("grpo"), {"eps_high": 0.3})


@pytest.mark.parametrize("name", ["siren", "clip-v", "pear", "spae"])
def test_what_verl_cannot_run_is_said(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.*[Uu]se .*the built-in trainer"):
        verl_block(find_recipe(name))


def test_printed_toml_of_every_recipe_is_read_back(tmp_path: Path) -> None:
    runs = [recipe for recipe in RECIPES.values() if not why_not(recipe)]
    file = tmp_path / "recipes.toml"
    file.write_text("\n".join(recipe.to_toml() for recipe in runs))
    found = recipes_of(file)
    assert list(found) == [f"entropilot-{recipe.name}" for recipe in runs]
    for recipe in runs:
        said = found[f"entropilot-{recipe.name}"].describe()
        assert said == recipe.objective().describe()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[[recipes]", "can't be read"),
        ("x = 1", "can't be read.*recipes"),
        ('[[recipes]]\nname = "klcov"', "did you mean 'kl-cov'"),
        ('[[recipes]]\nname = "siren"', "nucleus_entropy"),
        ('[[recipes]]\nname = "grpo"\n[[recipes]]\nname = "grpo"', "two recipes"),
        ('[[recipes]]\nname = "entropy-bonus"\ncontrol = {knob = "coef"}', "has a control"),
    ],
)
def test_wrong_file_is_named(tmp_path: Path, text: str, match: str) -> None:
    file = tmp_path / "recipes.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=match):
        recipes_of(file)


@pytest.mark.slow
def test_verl_imports_the_module_and_finds_the_recipes(tmp_path: Path) -> None:
    pytest.importorskip("verl", reason="verl is not installed", exc_type=ImportError)
    file = tmp_path / "recipes.toml"
    file.write_text('[[recipes]]\nname = "kl-cov"\nlabel = "held"\nratio = 0.1\n')
    code = (
        "from verl.trainer.ppo import core_algos as c\n"
        "print(c.get_policy_loss_fn('entropilot-held'), c.get_adv_estimator_fn('entropilot-steer'))"
    )
    environment = os.environ | {
        "VERL_USE_EXTERNAL_MODULES": "entropilot.policy.hosts.verl_recipes",
        "ENTROPILOT_RECIPES": str(file),
        "PYTHONPATH": str(Path(entropilot.__file__).parent.parent),
    }
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "policy_loss.<locals>.loss" in run.stdout
