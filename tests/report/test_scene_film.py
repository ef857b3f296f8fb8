"""Discs in a film are as large as they are said to be, and their colours have a key."""

from __future__ import annotations

import numpy as np

from entropilot.report.scene import Scene
from entropilot.report.scene_film import scene_frames


def test_a_disc_covers_its_share_of_the_box_in_a_film() -> None:
    def lit(radius: float) -> int:
        one = Scene("a disc", np.zeros(1), np.full((1, 1, 2), 0.5), np.zeros(2), np.ones(2),
                    radii=np.array([radius]))  # fmt: skip
        frame = next(scene_frames(one, width=640, height=360)).astype(int)
        return int((frame[60:300, 200:440].max(axis=2) > 140).sum())

    small, large = lit(0.1), lit(0.2)
    edge = 360 / 1.06  # pixels of the box
    assert abs(large / (np.pi * (0.2 * edge) ** 2) - 1) < 0.1
    assert abs(large / small - 4) < 0.5


def test_discs_of_several_sizes_are_drawn() -> None:
    places = np.array([[[0.2, 0.5], [0.7, 0.5]]])
    two = Scene("discs", np.zeros(1), places, np.zeros(2), np.ones(2), radii=np.array([0.02, 0.2]))
    frame = next(scene_frames(two, width=640, height=360)).astype(int)
    lit = frame[60:300].max(axis=2) > 140
    assert 0 < lit[:, :270].sum() < lit[:, 270:].sum() / 20


def test_the_film_has_a_key_of_its_colours() -> None:
    def corner(name: str) -> np.ndarray:
        one = Scene("", np.zeros(1), np.full((1, 2, 2), 0.5), np.zeros(2), np.ones(2),
                    colours=np.array([0.0, 2.0]), colour_name=name)  # fmt: skip
        return next(scene_frames(one, width=640, height=360))[30:45, 545:640].astype(int)

    blue_to_gold = corner("speed")
    assert (blue_to_gold.max(axis=2) > 180).any()
    assert (blue_to_gold[:, :30, 2] > blue_to_gold[:, :30, 0]).any()
    assert (corner("").max(axis=2) < 60).all()
