"""The page that plays a motion, and the film of it."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entropilot.errors import EntropilotError, InputError, MissingExtraError
from entropilot.report import film
from entropilot.report.film import find_ffmpeg, write_film
from entropilot.report.scene import MOST_BYTES, Scene, Series, packed, render_scene, write_scene
from entropilot.report.scene_film import scene_frames


def swarm(n_frames: int = 30, n: int = 40, dims: int = 3, title: str = "a swarm") -> Scene:
    rng = np.random.default_rng(0)
    way = rng.normal(size=(n, dims))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    time = np.linspace(0, 3, n_frames)
    places = (rng.random((n, dims)) * 10 + time[:, None, None] * way) % 10
    return Scene(
        title,
        time,
        places,
        np.zeros(dims),
        np.full(dims, 10.0),
        directions=np.broadcast_to(way, places.shape),
        colours=places[..., 0],
        colour_name="x <b>",
        periodic=True,
        series=(Series("entropy", np.sin(time), "nats"),),
        sentences=("It moves & turns.",),
    )


def test_a_page_is_escaped_and_needs_nothing_else() -> None:
    page = render_scene(swarm(title="</script><script>alert(1)</script>"))
    assert "<script>alert" not in page
    assert "x &lt;b&gt;" in page
    assert not re.search(r"(src|href)=", page)
    assert "default-src 'none'" in html.unescape(page)


def test_positions_survive_packing_to_a_share_of_the_box() -> None:
    import base64

    scene = swarm()
    data, notes = packed(scene)
    held = np.frombuffer(base64.b64decode(data["positions"]), "<u2").reshape(scene.positions.shape)
    assert np.abs(held / 65535 * 10 - scene.positions).max() < 10 / 65535
    assert not notes
    json.dumps(data, allow_nan=False)


def test_what_does_not_fit_is_left_out_and_said() -> None:
    n = 30_000
    big = Scene("many", np.arange(100.0), np.zeros((100, n, 3)), np.zeros(3), np.ones(3))
    data, notes = packed(big)
    assert data["points"] * data["frames"] * 6 <= MOST_BYTES
    assert f"of the {n:,} points" in notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((3, 4))}, "expected .frames, points, 2 or 3."),
        ({"times": np.zeros(2)}, "times has shape"),
        ({"colours": np.zeros(7)}, "colours have shape"),
        ({"low": np.zeros(2)}, "low has shape"),
        ({"series": (Series("h", np.zeros(1)),)}, "series 'h' has shape"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    import dataclasses

    with pytest.raises(InputError, match=message):
        packed(dataclasses.replace(swarm(), **change))


def test_a_position_that_is_not_finite_is_named() -> None:
    scene = swarm()
    scene.positions[4, 7, 1] = np.nan
    with pytest.raises(InputError, match="point 7 in frame 4"):
        packed(scene)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_film_of_a_scene_is_written(tmp_path: Path, dims: int) -> None:
    scene = swarm(6, dims=dims)
    made = write_film(tmp_path / "film.mp4", scene_frames(scene, width=320, height=180))
    content = made.read_bytes()
    assert content[4:8] == b"ftyp"
    assert list(tmp_path.iterdir()) == [made]


def test_a_gif_plays_all_its_pictures_in_a_loop(tmp_path: Path) -> None:
    from PIL import Image

    made = write_film(tmp_path / "film.gif", scene_frames(swarm(3), width=800, height=450), fps=20)
    with Image.open(made) as film:
        assert (film.size, film.n_frames) == ((640, 360), 3)
        assert (film.info["loop"], film.info["duration"]) == (0, 50)


def test_a_film_of_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"film.avi ends in '.avi', expected .mp4 or .gif"):
        write_film(tmp_path / "film.avi", scene_frames(swarm(2), width=320, height=180))


def test_without_ffmpeg_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtraError, match="apt-get install ffmpeg"):
        find_ffmpeg()


def test_an_ffmpeg_that_fails_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'No space left on device' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(film, "find_ffmpeg", lambda: str(program))
    with pytest.raises(EntropilotError, match="No space left"):
        write_film(tmp_path / "out" / "film.mp4", scene_frames(swarm(3), width=320, height=180))
    assert not list((tmp_path / "out").iterdir())


def test_frames_of_several_shapes_are_refused(tmp_path: Path) -> None:
    frames = [np.zeros((20, 20, 3), np.uint8), np.zeros((20, 22, 3), np.uint8)]
    with pytest.raises(InputError, match="like the first"):
        write_film(tmp_path / "film.mp4", frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.browser
def test_the_page_plays_turns_and_seeks(tmp_path: Path, browser: Any) -> None:
    page_file = write_scene(tmp_path / "scene.html", swarm())
    page = browser.new_page(reduced_motion="reduce")
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda m: troubles.append(m.text) if m.type == "error" else None)
    page.goto(page_file.as_uri())
    assert page.text_content("#clock") == "t = 0"
    before = page.evaluate("document.getElementById('view').toDataURL()")
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(500, 430)
    page.mouse.up()
    assert page.evaluate("document.getElementById('view').toDataURL()") != before
    page.keyboard.press("ArrowRight")
    assert page.input_value("#time") == "1"
    page.click("#play")
    page.wait_for_timeout(600)
    assert int(page.input_value("#time")) > 3
    page.close()
    assert not troubles
