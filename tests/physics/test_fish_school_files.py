"""Recordings of others: CSV, arrays and trajectories, and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import FormatError, InputError
from entropilot.physics.fish_school import Couzin, frames
from entropilot.physics.fish_school_files import (
    Tracks,
    read_tracks,
    track_metrics,
    velocities_of,
)
from entropilot.physics.fish_school_metrics import METRICS
from entropilot.physics.fish_school_process import school_process
from entropilot.physics.recording import record


def rows(x: np.ndarray, *, header: str = "fish_id,t,x,y,z") -> str:
    lines = [
        f"{fish},{0.5 * frame},{','.join(map(repr, place.tolist()))}"
        for frame, places in enumerate(x)
        for fish, place in enumerate(places)
    ]
    return "\n".join([header, *reversed(lines)])  # in any order


def test_a_table_of_places_has_metrics(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 12, 3)).cumsum(axis=0)
    (tmp_path / "real.csv").write_text(rows(x))
    tracks = read_tracks(tmp_path / "real.csv")
    assert np.array_equal(tracks.positions, x)
    assert tracks.times.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    np.save(tmp_path / "real.npy", x)
    found = [track_metrics(what) for what in (tmp_path / "real.csv", tmp_path / "real.npy", x)]
    for name in METRICS:
        assert np.allclose(found[0][name], found[1][name], atol=1e-12)
        assert np.array_equal(found[1][name], found[2][name])


def test_a_recorded_school_gives_its_own_metrics_again(tmp_path: Path) -> None:
    process = school_process(Couzin(n_fish=20), 6, 2)
    file = record(process, tmp_path)
    tracks = read_tracks(file)
    assert tracks.box_size == 25.0
    found = track_metrics(file)
    from entropilot.physics.trajectory_file import read_trajectory

    data = read_trajectory(file)
    assert all(np.array_equal(found[name], data[name]) for name in METRICS)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), box=st.floats(2.0, 50.0))
def test_velocities_of_straight_swimmers_are_found_through_the_box(seed: int, box: float) -> None:
    rng = np.random.default_rng(seed)
    v = rng.uniform(-1, 1, (8, 3)) * box / 4
    times = np.cumsum(rng.uniform(0.5, 1.0, 6))
    x = np.mod(rng.random((8, 3)) * box + times[:, None, None] * v, box)
    assert np.allclose(velocities_of(x, times, box), v, atol=1e-9 * box)


def test_headings_from_the_motion_are_near_those_of_the_model() -> None:
    run = list(frames(Couzin(n_fish=30, noise=0.0, max_turn=0.05, dt=0.05), 60))[40:]
    x, u = np.stack([f.x for f in run]), np.stack([f.u for f in run])
    v = velocities_of(x, np.array([f.t for f in run]), 25.0)
    assert np.median(np.einsum("tns,tns->tn", v, u)) > 0.99


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("fish_id,t,x,y\n0,0,1,1\n", FormatError, "lacks the columns z"),
        ("a,b\n1,2\n", FormatError, "lacks the columns fish_id, t, x, y, z; it has a, b"),
        ("fish_id,t,x,y,z\n0,0,1,1,1\n0,1,1,nan,1\n", InputError, "row 3: y is"),
        ("fish_id,t,x,y,z\n0,0,1,1,wet\n", InputError, "row 2: z is 'wet', expected a number"),
        ("fish_id,t,x,y,z\n0,0,1,1,1\n1,0,1,1,1\n0,1,1,1,1\n", InputError, "fish 1 is missing"),
        ("fish_id,t,x,y,z\n0,0,1,1,1\n0,0,1,1,1\n", InputError, "fish 0 is 2 times in the frame"),
        ("fish_id,t,x,y,z\n0,0,1,1,1\n", InputError, "at least 2 frames"),
    ],
)
def test_a_table_that_is_no_recording_is_named(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(error, match=message):
        track_metrics(tmp_path / "bad.csv")


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recording at"):
        read_tracks(tmp_path / "none.csv")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FormatError, match=r"expected .csv, .npy, .nc or .zarr"):
        read_tracks(tmp_path / "a.txt")
    (tmp_path / "a.npy").write_bytes(b"\x80\x04]q\x00.")  # a pickle is never opened
    with pytest.raises(FormatError, match="is not an array"):
        read_tracks(tmp_path / "a.npy")


def test_places_outside_the_box_are_named() -> None:
    x = np.full((3, 4, 3), 11.0)
    with pytest.raises(InputError, match="outside"):
        track_metrics(Tracks(x, np.arange(3.0)), box_size=10.0)
