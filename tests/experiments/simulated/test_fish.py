"""``entropilot simulate fish``: the reference's files, resumed runs, findings, bad settings."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from entropilot.cli.app import app
from entropilot.errors import ConfigurationError
from entropilot.experiments.simulated.fish import SIMULATION, FishKnobs, process, reads
from entropilot.experiments.simulations import chosen_knobs, simulate
from entropilot.physics.fish_school import PRESET_STEPS, PRESETS
from entropilot.physics.fish_school_metrics import METRICS, all_metrics
from entropilot.physics.recording import record
from entropilot.physics.trajectory_file import read_trajectory

SHORT = {"n_steps": "20", "n_fish": "30"}


def test_the_command_leaves_the_files_that_users_know(tmp_path: Path) -> None:
    command = ["simulate", "fish", "--preset", "torus", "-o", str(tmp_path), "--set", "n_steps=20"]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    assert {file.name for file in tmp_path.iterdir()} >= {
        "trajectory.nc", "order_parameters.csv", "entropy_metrics.csv", "entropy_summary.csv",
        "final_state.csv", "picture.png", "film.html", "summary.json",
    }  # fmt: skip
    with (tmp_path / "entropy_summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Metric"] for row in rows] == list(METRICS)
    assert set(rows[0]) == {"Metric", "Mean_2nd_Half", "Std_2nd_Half", "Final_Value", "Min", "Max"}
    assert len(rows[0]["Final_Value"].partition(".")[2].partition("e")[0]) == 8
    found = json.loads((tmp_path / "summary.json").read_text())["found"]
    assert "polarization P" in found[0]
    assert not any("Published" in sentence for sentence in found)  # fewer steps: not that run


def test_the_trajectory_has_the_references_variables_and_attributes(tmp_path: Path) -> None:
    knobs = chosen_knobs(SIMULATION, "swarm", SHORT)
    data = read_trajectory(record(process(knobs), tmp_path))
    assert dict(data.sizes) == {"time": 21, "fish": 30, "spatial": 3}
    assert data["positions"].dims == ("time", "fish", "spatial")
    assert data["fish"].dtype == data["spatial"].dtype == np.int32
    assert np.array_equal(data["vy"], data["velocities"][:, :, 1])
    for name in METRICS:
        assert data[name].dims == ("time",)
        assert {"units", "long_name"} <= set(data[name].attrs)
        if name != "spread":
            assert list(data[name].attrs["valid_range"]) == [0.0, 1.0]
    attributes = data.attrs
    assert attributes["Conventions"] == "CF-1.8"
    assert attributes["scenario_name"] == "swarm"
    assert attributes["source"].startswith("entropilot ")
    assert attributes["r_attraction"] == 15.0
    assert attributes["save_interval"] == 1
    assert attributes["history"]
    for name in ("polarization", "rotation", "order_index", "oceanic_schooling_index"):
        assert attributes[f"final_{name}"] == float(data[name][-1])
        assert attributes[f"mean_{name}"] == pytest.approx(float(data[name][10:].mean()))
    last = all_metrics(data["positions"][-1], data["velocities"][-1], knobs.box_size)
    assert float(data["oceanic_schooling_index"][-1]) == last["oceanic_schooling_index"]


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole_run = process(chosen_knobs(SIMULATION, "swarm", SHORT))
    whole = read_trajectory(record(whole_run, tmp_path / "whole"))

    class CutError(Exception):
        pass

    def cut(share: float, _doing: str) -> None:
        if share > 0.5:
            raise CutError

    with pytest.raises(CutError):
        record(whole_run, tmp_path / "cut", progress=cut, block_bytes=20_000)
    assert not (tmp_path / "cut" / "trajectory.nc").exists()
    resumed = read_trajectory(record(whole_run, tmp_path / "cut", block_bytes=20_000))
    assert whole.identical(resumed)


def test_threads_and_components_change_nothing_else(tmp_path: Path) -> None:
    knobs = chosen_knobs(SIMULATION, "torus", SHORT | {"save_every": 10})
    one = read_trajectory(record(process(knobs), tmp_path / "1"))
    other = process(replace(knobs, threads=3, components=False))
    two = read_trajectory(record(other, tmp_path / "2"))
    assert np.array_equal(one["positions"], two["positions"])
    assert "vx" not in two


def test_a_folder_with_other_variables_is_refused(tmp_path: Path) -> None:
    knobs = FishKnobs(n_fish=8, n_steps=2)
    record(process(knobs), tmp_path)
    with pytest.raises(ConfigurationError, match=r"another simulation .*variables"):
        record(process(replace(knobs, components=False)), tmp_path)


def test_presets_are_the_published_configurations() -> None:
    for name, params in PRESETS.items():
        knobs = SIMULATION.presets[name]
        assert knobs.n_steps == PRESET_STEPS[name]
        assert all(getattr(knobs, k) == v for k, v in vars(params).items())
    assert set(SIMULATION.about) == set(vars(FishKnobs()))


def test_findings_name_published_values_and_the_mill_that_decays(tmp_path: Path) -> None:
    knobs = replace(SIMULATION.presets["torus"], save_every=20)
    data = read_trajectory(record(process(knobs), tmp_path))
    said = " ".join(SIMULATION.findings(data, knobs))
    assert "does not stay one" in said
    assert "P = 0.743" in said


def test_a_text_configuration_of_the_reference_is_read(tmp_path: Path) -> None:
    file = tmp_path / "case2.txt"
    file.write_text(
        "# a mill\nscenario_name = Torus\nn_fish = 20  # few\nbox_size = 25.0\nmax_turn = 2e-1\n"
        "r_repulsion = 1.0\nr_orientation = 3.0\nr_attraction = 10\ntorus_init = true\n"
        "torus_radius = 6.0\nn_steps = 10\nsave_interval = 5\nseed = 42\nuse_numba = true\n"
        "save_gif = false\nanimation_fps = 30\n"
    )
    knobs = reads(file)
    assert (knobs.n_fish, knobs.start, knobs.ring_radius) == (20, "ring", 6.0)
    assert (knobs.seed, knobs.legacy_seed, knobs.save_every) == (42, 42, 5)
    command = ["simulate", "fish", "--config", str(file), "-o", str(tmp_path / "out")]
    ended = CliRunner().invoke(app, [*command, "--film", "none"])
    assert ended.exit_code == 0, ended.output
    assert read_trajectory(tmp_path / "out" / "trajectory.nc").sizes["time"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_fsh = 20", "unknown key 'n_fsh'; did you mean 'n_fish'"),
        ("n_fish = many", "n_fish = 'many', expected a whole number"),
        ("just words", "line 1: 'just words', expected key = value"),
        ("noise = -1", "noise = -1.0"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "wrong.txt"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        reads(file)


def test_frames_that_can_not_be_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="save_every = 50"):
        simulate(SIMULATION, FishKnobs(n_steps=10, save_every=50), tmp_path)
    with pytest.raises(ConfigurationError, match="threads = 0"):
        process(FishKnobs(threads=0))
