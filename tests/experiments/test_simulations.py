"""Simulations by name: knobs, files, and what a user gets wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from matplotlib.figure import Figure

from entropilot.errors import ConfigurationError, MissingExtraError
from entropilot.experiments.simulations import Simulation, chosen_knobs, simulate
from entropilot.physics.process import Process, Variable
from entropilot.report import film
from entropilot.report.scene import Scene


@dataclass(frozen=True)
class Knobs:
    n: int = 4
    speed: float = 1.0
    walls: Literal["hard", "periodic"] = "hard"
    box: tuple[float, float] = (1.0, 2.0)
    cap: float | None = None
    loud: bool = False
    seed: int = 0


def process(knobs: Knobs) -> Process:
    return Process(
        "drift", 5, {"point": knobs.n, "spatial": 2},
        (Variable("x", ("point", "spatial"), "m", "place"),),
        lambda: {"x": np.zeros((knobs.n, 2)), "t": np.zeros(())},
        lambda s: {"x": s["x"] + 0.1 * knobs.speed, "t": s["t"] + 1},
        lambda s: {"time": s["t"], "x": s["x"]},
        parameters={"n": knobs.n, "speed": knobs.speed},
    )  # fmt: skip


def picture(data: Any, knobs: Knobs) -> Figure:
    figure = Figure()
    figure.subplots().plot(data["time"], data["x"][:, 0, 0])
    return figure


def scene(data: Any, knobs: Knobs) -> Scene:
    return Scene("drift", data["time"].values, data["x"].values, np.zeros(2), np.ones(2))


DRIFT = Simulation(
    "drift", {"slow": Knobs(), "fast": Knobs(speed=2.0)}, process, picture, scene,
    lambda data, knobs: [f"{data.sizes['point']} points drifted."],
)  # fmt: skip


def test_text_is_read_as_the_type_of_its_knob() -> None:
    changes = {"n": "1e3", "walls": "periodic", "box": "3,4", "cap": "none", "loud": "true"}
    made = chosen_knobs(DRIFT, "fast", changes)
    assert made == Knobs(n=1000, speed=2.0, walls="periodic", box=(3.0, 4.0), loud=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": "2.5"}, "n = '2.5', expected a whole number"),
        ({"n": "inf"}, "n = 'inf', expected a whole number"),
        ({"n": "1e400"}, "n = '1e400', expected a whole number"),
        ({"seed": -1}, "seed = -1, expected a whole number from 0"),
        ({"wals": "hard"}, "did you mean 'walls'"),
        ({"walls": "soft"}, "expected one of hard, periodic"),
        ({"box": "1"}, "expected numbers with commas between"),
        ({"loud": "maybe"}, "expected true or false"),
        ({"speed": "fast", "n": "x"}, r"speed = .*\nn = "),
    ],
)
def test_a_wrong_knob_is_named_with_the_mend(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        chosen_knobs(DRIFT, None, changes)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'fast'"):
        chosen_knobs(DRIFT, "fats", {})


def test_a_folder_holds_trajectory_picture_page_and_summary(tmp_path: Path) -> None:
    done = simulate(DRIFT, Knobs(), tmp_path)
    assert [file.name for file in done.files] == [
        "trajectory.nc", "picture.png", "film.html", "summary.json",
    ]  # fmt: skip
    assert all(file.stat().st_size for file in done.files)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["knobs"]["n"] == 4
    assert summary["found"] == ["4 points drifted."]


def test_without_ffmpeg_the_page_takes_the_films_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise MissingExtraError(film.INSTALL)

    monkeypatch.setattr(film, "find_ffmpeg", missing)
    done = simulate(DRIFT, Knobs(), tmp_path, film="mp4")
    assert "apt-get install ffmpeg" in done.remarks[0]
    assert (tmp_path / "film.html").exists()
    assert not (tmp_path / "film.mp4").exists()
