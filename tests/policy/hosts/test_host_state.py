"""States of terms survive in a host's checkpoint, and a wrong file is named."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from entropilot.errors import InputError
from entropilot.policy.hosts.host_state import STATE_FILE, load_state, save_state
from entropilot.policy.objective import Objective
from entropilot.policy.recipe_table import find_recipe


def test_round_trip_is_exact(tmp_path: Path) -> None:
    state = {"siren": {"anchor": 0.1 + 0.2, "p": 0.8}, "kl-cov": None}
    save_state(tmp_path / "checkpoint-3", Objective(), state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_state(tmp_path / "checkpoint-3", Objective()) == state


def test_checkpoint_of_another_trainer_begins_anew_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="holds no entropilot_objective.json"):
        assert load_state(tmp_path, Objective()) == {}


def test_another_objective_is_warned_of(tmp_path: Path) -> None:
    save_state(tmp_path, find_recipe("siren").objective(), {"siren": {"anchor": 1.0}})
    other = find_recipe("siren").objective({"coef": 2.0})
    with pytest.warns(UserWarning, match="coef=0.005.*it goes on with.*coef=2.0"):
        assert load_state(tmp_path, other) == {"siren": {"anchor": 1.0}}


@pytest.mark.parametrize("text", ["{", "[]", '{"state": 3, "objective": ""}', '{"objective": ""}'])
def test_broken_file_is_an_error_with_the_mend(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    with pytest.raises(InputError, match=r"can't be read.*begin anew"):
        load_state(tmp_path, Objective())
