from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, InputError
from entropilot.experiments.simulations import chosen_knobs, load_simulation, simulate
from entropilot.physics.recording import record
from entropilot.physics.trajectory_file import read_trajectory

CHANNEL = load_simulation("ionchannel")
SHORT = chosen_knobs(CHANNEL, None, {"channels": 50, "duration": 4.0, "frames": 40, "step_off": 3})


def test_every_knob_is_explained() -> None:
    assert set(CHANNEL.about) == {f.name for f in dataclasses.fields(SHORT)}


def test_a_run_leaves_trajectory_picture_and_page(tmp_path: Path) -> None:
    done = simulate(CHANNEL, SHORT, tmp_path)
    assert {f.name for f in done.files} == {
        "trajectory.nc", "picture.png", "film.html", "summary.json",
    }  # fmt: skip
    data = read_trajectory(tmp_path / "trajectory.nc")
    assert data.sizes["channel"] == 50
    assert (data["entropy_production"] >= 0).all()
    during = data["relative_entropy"].values[(data["voltage"] == SHORT.step_voltage).values]
    assert (np.diff(during) <= 1e-12).all()
    assert json.loads((tmp_path / "summary.json").read_text())["knobs"]["channels"] == 50


def test_at_rest_nothing_is_produced(tmp_path: Path) -> None:
    knobs = chosen_knobs(CHANNEL, "rest", {"frames": 5, "duration": 0.5})
    data = read_trajectory(record(CHANNEL.process(knobs), tmp_path))
    assert float(data["entropy_production"].max()) < 1e-9
    assert float(np.abs(data["mean_current"]).max()) < 1e-9


def test_a_run_that_was_cut_off_ends_the_same(tmp_path: Path) -> None:
    whole = read_trajectory(record(CHANNEL.process(SHORT), tmp_path / "whole"))

    class StopError(Exception):
        pass

    def stop(share: float, doing: str) -> None:
        if share > 0.5:
            raise StopError

    with pytest.raises(StopError):
        record(CHANNEL.process(SHORT), tmp_path / "cut", progress=stop, block_bytes=1)
    again = read_trajectory(record(CHANNEL.process(SHORT), tmp_path / "cut"))
    assert whole.equals(again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels >= 1"),
        ({"frames": 1}, "frames >= 2"),
        ({"duration": 0.0}, "duration > 0"),
        ({"duration": "inf"}, "duration = inf"),
        ({"step_on": "nan"}, "step_on = nan"),
        ({"seed": -1}, "seed = -1"),
        ({"inside": -1.0}, "inside = -1"),
        ({"dt": 1.0}, "use dt <="),
    ],
)
def test_knobs_out_of_range_are_named(changes: dict[str, float | str], message: str) -> None:
    with pytest.raises((ConfigurationError, InputError), match=message):
        CHANNEL.process(chosen_knobs(CHANNEL, None, changes))
