"""``entropilot simulate gas``: presets, a box and a start of one's own, kill and resume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from entropilot.errors import ConfigurationError, EntropilotError, FormatError
from entropilot.experiments.simulated.gas import SIMULATION
from entropilot.experiments.simulations import chosen_knobs, load_simulation, simulate
from entropilot.physics.gas_process import GasKnobs, gas_process
from entropilot.physics.recording import record

SMALL = {"n": 300, "frames": 8, "duration": 1.0}


@pytest.mark.parametrize("preset", list(SIMULATION.presets))
def test_every_preset_runs_and_keeps_its_energy(preset: str, tmp_path: Path) -> None:
    changes = SMALL | ({} if SIMULATION.presets[preset].reverse_at else {"duration": 0.5})
    if preset == "sound":
        changes["kn"] = 0.2  # 300 discs of the preset's free path would fill the box
    knobs = chosen_knobs(load_simulation("gas"), preset, changes)
    done = simulate(SIMULATION, knobs, tmp_path)
    assert {file.name for file in done.files} == {
        "trajectory.nc", "picture.png", "film.html", "summary.json",
    }  # fmt: skip
    assert "collisions a disc" in " ".join(done.findings)
    with xr.open_dataset(tmp_path / "trajectory.nc") as data:
        energy = np.asarray(data["kinetic_energy"])
        assert np.abs(energy / energy[0] - 1).max() < 1e-12
        assert data["width"].values.tolist() == list(knobs.widths)
        x = np.asarray(data["positions"])
        assert x.min() >= 0
        assert x.max() <= 1


def test_a_killed_run_goes_on_to_the_same_trajectory(tmp_path: Path) -> None:
    knobs = GasKnobs(n=300, frames=8, duration=0.8, kn=0.05, reverse_at=0.5)
    whole = record(gas_process(knobs), tmp_path / "whole")

    def stop(share: float, doing: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(gas_process(knobs), tmp_path / "cut", progress=stop, block_bytes=1)
    resumed = record(gas_process(knobs), tmp_path / "cut")
    with xr.open_dataset(whole) as a, xr.open_dataset(resumed) as b:
        for name in a.variables:
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


def test_a_reversed_gas_gives_its_entropy_back(tmp_path: Path) -> None:
    knobs = GasKnobs(n=2000, kn=5.0, frames=8, duration=0.8, reverse_at=0.4, widths=(1.0,))
    with xr.open_dataset(record(gas_process(knobs), tmp_path)) as data:
        gain = np.asarray(data["entropy"])[:, 0] - float(data["entropy"][0, 0])
    assert gain[4] > 0.15
    assert abs(gain[8]) < 0.05 * gain[4]


def test_a_box_and_discs_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "discs.csv"
    file.write_text("x,y,vx,vy\n0.5,0.5,1,0\n1.5,0.5,-1,0\n")
    knobs = chosen_knobs(
        SIMULATION, None,
        {"box": "2,1", "kn": "none", "sigma": 0.2, "frames": 2, "duration": 0.8, "n_x": 1},
        SIMULATION.reads(file),  # type: ignore[misc]
    )  # fmt: skip
    with xr.open_dataset(record(gas_process(knobs), tmp_path / "run")) as data:
        np.testing.assert_allclose(data["velocities"][-1], [[-1, 0], [1, 0]])
        assert int(data["collisions"][-1]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y\n1,1\n", "no column"),
        ("x,y,vx,vy\n0.5,0.5,fast,0\n", "line 2"),
        ("x,y,vx,vy\n", "holds no disc"),
        ("x,y,vx,vy\n0.5,0.5,1,0\n0.51,0.5,1,0\n", "discs 0 and 1 overlap"),
        ("x,y,vx,vy\nnan,0.5,1,0\n", "positions of disc 0"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "discs.csv").write_text(text)
    knobs = GasKnobs(start="file", file=str(tmp_path / "discs.csv"), kn=None, sigma=0.1)
    with pytest.raises(EntropilotError, match=message):
        gas_process(knobs)
    with pytest.raises(FormatError, match="can't be read"):
        gas_process(GasKnobs(start="file", file=str(tmp_path / "none.csv")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.1}, "give one of them"),
        ({"kn": None}, "give one of them"),
        ({"duration": 0.0}, "duration = 0"),
        ({"frames": 0}, "frames = 0"),
        ({"widths": (6.0,)}, "width = 6"),
        ({"widths": ()}, "widths is empty"),
        ({"box": (0.0, 1.0)}, "two lengths > 0"),
        ({"n_x": 0}, "n_x = 0"),
        ({"start": "file"}, "needs file"),
        ({"file": "a.csv"}, "start = file only"),
        ({"reverse_at": 9.0}, "reverse_at = 9"),
    ],
)
def test_knobs_out_of_range_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        gas_process(GasKnobs(**changes))  # type: ignore[arg-type]
