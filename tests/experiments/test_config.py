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
