"""Recording: whole files, resumed runs, another simulation in the folder, a full disk."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entropilot.errors import ConfigurationError, EntropilotError, InputError
from entropilot.physics import recording
from entropilot.physics.process import (
    Process,
    State,
    Variable,
    generator_state,
    restored_generator,
)
from entropilot.physics.recording import record
from entropilot.physics.trajectory_file import read_trajectory


class KilledError(Exception):
    pass


def walk(n_frames: int = 20, seed: int = 0, die_at: int | None = None) -> Process:
    """Three walkers that need their random generator to go on as they would have."""

    def start() -> State:
        rng = np.random.default_rng(seed)
        return {"x": rng.normal(size=(3, 2)), "t": np.zeros(()), "rng": generator_state(rng)}

    def advance(state: State) -> State:
        rng = restored_generator(state["rng"])
        if die_at is not None and state["t"] >= die_at:
            raise KilledError
        moved = state["x"] + rng.normal(size=(3, 2)) + rng.integers(3, dtype=np.int32)
        return {"x": moved, "t": state["t"] + 1, "rng": generator_state(rng)}

    return Process(
        "walk",
        n_frames,
        {"walker": 3, "spatial": 2},
        (
            Variable("position", ("walker", "spatial"), "m", "place of a walker"),
            Variable("spread", (), "m", "spread", valid_range=(0.0, np.inf)),
        ),
        start,
        advance,
        lambda s: {"time": s["t"], "position": s["x"], "spread": s["x"].std()},
        parameters={"seed": seed},
        time_units="s",
    )


@pytest.mark.parametrize("form", [".nc", ".zarr"])
def test_a_trajectory_opens_with_names_units_and_parameters(tmp_path: Path, form: str) -> None:
    data = read_trajectory(record(walk(), tmp_path, form=form, block_bytes=500))
    assert dict(data.sizes) == {"time": 20, "walker": 3, "spatial": 2}
    assert data.attrs["Conventions"] == "CF-1.8"
    assert data.attrs["seed"] == 0
    assert data["position"].attrs["units"] == "m"
    assert data["time"].attrs["units"] == "s"
    np.testing.assert_array_equal(data["time"], np.arange(20.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["simulation.json", f"trajectory{form}"]


@pytest.mark.parametrize("die_at", [0, 1, 7, 13, 18])
def test_a_run_that_was_cut_off_ends_as_the_whole_one(tmp_path: Path, die_at: int) -> None:
    whole = read_trajectory(record(walk(), tmp_path / "whole"))
    with pytest.raises(KilledError):
        record(walk(die_at=die_at), tmp_path / "cut", block_bytes=400)
    again = read_trajectory(record(walk(), tmp_path / "cut", block_bytes=400))
    np.testing.assert_array_equal(again["position"], whole["position"])
    np.testing.assert_array_equal(again["spread"], whole["spread"])


def test_a_block_without_its_state_is_made_again(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        record(walk(die_at=13), tmp_path, block_bytes=400)
    stray = tmp_path / recording.BLOCKS / "000000019.npz"
    stray.write_bytes(b"written before the kill, its state was not")
    whole = read_trajectory(record(walk(), tmp_path.parent / "whole"))
    again = read_trajectory(record(walk(), tmp_path, block_bytes=400))
    np.testing.assert_array_equal(again["position"], whole["position"])


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    file = record(walk(), tmp_path)
    before = file.stat().st_mtime_ns
    assert record(walk(die_at=0), tmp_path) == file
    assert file.stat().st_mtime_ns == before


def test_another_simulation_in_the_folder_is_refused_by_what_differs(tmp_path: Path) -> None:
    record(walk(), tmp_path)
    with pytest.raises(ConfigurationError, match="differs in seed"):
        record(walk(seed=1), tmp_path)


def test_a_full_disk_keeps_what_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = recording._save, 0

    def full(path: Path, arrays: dict[str, np.ndarray]) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, arrays)

    monkeypatch.setattr(recording, "_save", full)
    with pytest.raises(EntropilotError, match="free some space"):
        record(walk(), tmp_path, block_bytes=400)
    monkeypatch.setattr(recording, "_save", real)
    again = read_trajectory(record(walk(), tmp_path))
    whole = read_trajectory(record(walk(), tmp_path / "whole"))
    np.testing.assert_array_equal(again["position"], whole["position"])


def test_a_frame_of_a_wrong_shape_is_named(tmp_path: Path) -> None:
    wrong = Process(
        "wrong", 2, {"walker": 3}, (Variable("x", ("walker",), "m", "place"),),
        dict, dict, lambda _: {"time": np.zeros(()), "x": np.zeros(2)},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"x of frame 0 has shape \(2,\), expected \(3,\)"):
        record(wrong, tmp_path)


def test_progress_carries_a_rate_and_ends_at_one(tmp_path: Path) -> None:
    seen: list[tuple[float, str]] = []
    record(walk(), tmp_path, progress=lambda share, doing: seen.append((share, doing)))
    assert seen[-1][0] == 1.0
    assert seen == sorted(seen, key=lambda one: one[0])
    assert "frames/s" in seen[0][1]


def test_a_file_that_is_no_trajectory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"not NetCDF")
    with pytest.raises(InputError, match="not a trajectory"):
        read_trajectory(tmp_path / "a.nc")
    with pytest.raises(InputError, match="no trajectory at"):
        read_trajectory(tmp_path / "b.nc")


@pytest.mark.parametrize("form", [".nc", ".zarr"])
def test_what_sums_a_run_up_is_in_the_files_attributes(tmp_path: Path, form: str) -> None:
    process = replace(walk(), summarise=lambda s: {"last": float(s["spread"][-1])})
    data = read_trajectory(record(process, tmp_path, form=form, block_bytes=500))
    assert data.attrs["last"] == float(data["spread"][-1])
