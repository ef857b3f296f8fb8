"""Recipes: each builds, says its knobs, survives its TOML form and refuses values out of range."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from entropilot.errors import ConfigurationError
from entropilot.policy.objective import Objective
from entropilot.policy.recipe_table import RECIPES, find_recipe
from entropilot.policy.recipes import Knob, Recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_toml_form_builds_the_same_objective(recipe: Recipe) -> None:
    block = tomllib.loads(recipe.to_toml())["recipes"][0]
    assert block.pop("name") == recipe.name
    assert set(block) == {knob.name for knob in recipe.knobs}
    assert recipe.objective(block).describe() == recipe.objective().describe()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_recipe_tells_when_it_helps(recipe: Recipe) -> None:
    assert isinstance(recipe.objective(), Objective)
    assert all((recipe.title, recipe.what, recipe.helps, recipe.idle, recipe.paper))
    assert all(knob.meaning for knob in recipe.knobs)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_every_bounded_knob_refuses_what_lies_outside(recipe: Recipe) -> None:
    for knob in recipe.knobs:
        for bound, outside in ((knob.low, -1e9), (knob.high, 1e9)):
            if bound is not None:
                with pytest.raises(ConfigurationError, match=f"recipe {recipe.name}: {knob.name}"):
                    recipe.objective({knob.name: outside})


@pytest.mark.parametrize("value", ["x", None, True, float("nan"), float("inf")])
def test_number_refuses_what_is_no_number(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"coef is .*; expected at least 0"):
        Knob("coef", 0.1, "", low=0).checked(value)


def test_words_and_optional_values() -> None:
    penalty = Knob("penalty", "abs", "", choices=("abs", "k2"))
    assert penalty.checked("k2") == "k2"
    with pytest.raises(ConfigurationError, match='expected "abs" or "k2"'):
        penalty.checked("k9")
    assert Knob("anchor", None, "", low=0, optional=True).checked("none") is None
    assert Knob("k", 3, "", low=1, whole=True).checked(4.0) == 4
    with pytest.raises(ConfigurationError, match="k is 4"):
        Knob("k", 3, "", low=1, whole=True).checked(4.5)


def test_unknown_names_get_the_near_ones() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'clip-higher'"):
        find_recipe("clip-highr")
    with pytest.raises(
        ConfigurationError, match="recipe siren: unknown knob 'coeff'; did you mean"
    ):
        find_recipe("siren").values({"coeff": 1})
