"""The experiment file: the default is what the fields default to, and wrong keys are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from entropilot.errors import ConfigurationError
from entropilot.experiments import (
    DIAGNOSIS_FILE,
    ExperimentConfig,
    load_config,
    parse_config,
)
from entropilot.experiments.config import control_of
from entropilot.experiments.subjects import TOKEN_TASKS
from entropilot.experiments.task_names import TOKEN_TASK_NAMES
from entropilot.policy.training.knob_control import GAINS, KnobControl


def test_the_documented_file_is_the_default() -> None:
    assert load_config() == ExperimentConfig() == parse_config("")


def test_overrides_win_and_none_is_left_out() -> None:
    config = load_config(overrides={"model.name": "tiny", "task.n_problems": 3, "run.seed": None})
    assert (config.model.name, config.task.n_problems, config.run.seed) == ("tiny", 3, 0)


def test_folder_joins_folder_and_name() -> None:
    assert parse_config('[run]\nfolder = "out"\nname = "a"').folder == Path("out/a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sampling]\ntemprature = 1.0", "sampling.temprature: unknown key; did you mean 'temper"),
        ("[sampel]\nn = 1", "sampel: unknown section; did you mean 'sampling'"),
        ("[sampling]\ntemperature = -1.0", "sampling.temperature: it is -1.0. Input should be gr"),
        ('[sampling]\nn_samples = "4"', "sampling.n_samples: it is '4'. Input should be a valid i"),
        ('[run]\nname = "../up"', "run.name: it is '../up'"),
        ("model = 3", r"model: it is 3, expected a table \[model\]"),
        ("[train]\nstep = 3", "train.step: unknown key; did you mean 'steps'"),
        ("[train]\nlearning_rate = 0.0", "train.learning_rate: it is 0.0. Input should be greater"),
        ('[[recipes]]\nname = "siern"', "unknown recipe 'siern'; did you mean 'siren'"),
        ('[[recipes]]\nname = "siren"\ncoeff = 1', "unknown knob 'coeff'; did you mean 'coef'"),
        ('[[recipes]]\nname = "siren"\ncoef = -1', "recipe siren: coef is -1; expected 0 to 1e"),
        ('[[recipes]]\nname = "grpo"\n' * 2, "two recipes have the label 'grpo'"),
        ('[recipes]\nname = "grpo"', "recipes: it is"),
        ("[run", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_config(text)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_config("[sampling]\ntop_p = 2.0\nmax_tokens = 0\n")
    assert "sampling.top_p" in str(caught.value)
    assert "sampling.max_tokens" in str(caught.value)


EVERYTHING_WRONG = """
[run]
n_seed = 3
[train]
step = 3
learning_rate = inf
[task]
name = "adition"
verifier = "numbr"
template = "no place"
[[recipes]]
name = "siren"
coef = -1
coeff = 2
control = { knob = "coeff", set_point = 0.7, gain = 4.0, integral_gain = 0.2, low = 0.0, high = 1.0, relativ = true }
[[recipes]]
name = "entropy-bonus"
control = { knob = "coef", quantity = "entropie", set_point = 0.7, gain = 4.0, integral_gain = -0.2, low = 3.0, high = 0.2 }
[[recipes]]
name = "klcov"
label = "§"
[[recipes]]
name = "clip-cov"
ratio = "x"
"""  # noqa: E501 - an inline table of TOML is one line


def test_all_that_is_wrong_in_tables_of_tables_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_config(EVERYTHING_WRONG, name="mine.toml")
    said = str(caught.value).split("\n")
    assert said[0] == "mine.toml is not valid:"
    for expected in (
        "run.n_seed: unknown key; did you mean 'n_seeds'",
        "train.step: unknown key; did you mean 'steps'",
        "train.learning_rate: it is inf",
        "task.name: unknown task 'adition'; did you mean 'addition'",
        "task.verifier: unknown verifier 'numbr'; did you mean 'number'",
        "task.template: 'no place' has no {prompt} in it",
        "recipes.0.control.relativ: unknown key; did you mean 'relative'",
        "recipes.0: recipe siren: coef is -1; expected 0 to",
        "recipes.0: recipe siren: unknown knob 'coeff'; did you mean 'coef'",
        "recipes.0: recipe siren: unknown knob to control 'coeff'; did you mean 'coef'",
        "recipes.1: recipe entropy-bonus: the limits of coef are low=3.0 and high=0.2",
        "recipes.1: recipe entropy-bonus: gain is 4.0 and integral_gain -0.2",
        "recipes.1: unknown quantity to hold 'entropie'; did you mean 'entropy'",
        "recipes.2.label: it is '§'",
        "recipes.2: unknown recipe 'klcov'; did you mean 'kl-cov'",
        "recipes.3: recipe clip-cov: ratio is 'x'; expected",
    ):
        assert sum(expected in line for line in said) == 1, expected
    assert len(said) == 17  # nothing is said twice


def test_names_of_tasks_are_those_there_are() -> None:
    assert set(TOKEN_TASK_NAMES) == set(TOKEN_TASKS)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.toml can't be read"):
        load_config(tmp_path / "none.toml")


def test_diagnosis_preset_trains_nothing() -> None:
    config = load_config(DIAGNOSIS_FILE)
    assert (config.train.steps, config.model.name, config.task.name) == (
        0,
        "smollm2",
        "word-problems",
    )


def test_recipes_by_name_take_the_place_of_the_file() -> None:
    config = load_config(recipes=["gspo", "steer"])
    assert [section.title for section in config.recipes] == ["gspo", "steer"]


def test_label_and_knobs_name_an_arm() -> None:
    text = '[[recipes]]\nname = "siren"\ncoef = 0.5\n[[recipes]]\nname = "siren"\nlabel = "mine"'
    assert [r.title for r in parse_config(text).recipes] == ["siren coef=0.5", "mine"]


def controlled_by(control: str, recipe: str = "entropy-bonus", train: str = "") -> KnobControl:
    text = f'{train}\n[[recipes]]\nname = "{recipe}"\ncontrol = {{ {control} }}'
    config = parse_config(text)
    return control_of(config.recipes[0], config.train.temperature).control


def test_gains_of_a_control_follow_from_its_knob_and_from_each_other() -> None:
    usual = controlled_by('knob = "coef", set_point = 0.7, low = 0.001, high = 0.1')
    assert (usual.gain, usual.integral_gain) == GAINS["drift"]
    half = controlled_by('knob = "coef", set_point = 0.7, low = 0.001, high = 0.1, gain = -8.0')
    assert (half.gain, half.integral_gain) == (-8.0, -0.4)
    other = controlled_by(
        'knob = "coef", set_point = 0.7, low = 0.001, high = 0.1, integral_gain = 0.4'
    )
    assert (other.gain, other.integral_gain) == (8.0, 0.4)


def test_temperature_is_a_knob_of_every_recipe_and_begins_at_its_own() -> None:
    held = 'knob = "temperature", set_point = 0.7, low = 0.5, high = 2.0'
    found = controlled_by(held, "grpo", "[train]\ntemperature = 1.2")
    assert (found.gain, found.integral_gain) == GAINS["level"]
    assert found.first_value == 1.2
    with pytest.raises(ConfigurationError, match=r"start is 3.0; it must lie between"):
        controlled_by(held, "grpo", "[train]\ntemperature = 3.0")
    with pytest.raises(ConfigurationError, match="did you mean 'temperature'"):
        controlled_by('knob = "temprature", set_point = 0.7, low = 0.5, high = 2.0', "grpo")
