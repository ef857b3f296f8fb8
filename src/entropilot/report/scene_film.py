"""A scene as the pictures of a film: the motion on a dark stage, a curve beneath, a slow turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.report.film import figure_frames
from entropilot.report.scene import MOST_FRAMES, Scene, evenly_chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGE: Final = "#0b1020"
PALE: Final = "#dfe6f5"
COLOURS: Final = ("#4a5fd0", "#2f9fd6", "#3fd0b0", "#b8e26a", "#ffd25a")
TURN: Final = np.pi  # over the whole film
DOTS: Final = 3.0e5  # area of all dots together, in points squared, before they are held in bounds


def scene_frames(
    scene: Scene, *, width: int = 1280, height: int = 720
) -> Iterator[NDArray[np.uint8]]:
    """Pictures [height, width, 3] of a scene, one a frame; three dimensions turn slowly.

    Examples:
        >>> still = Scene("a point", np.zeros(1), np.zeros((1, 1, 2)), np.zeros(2), np.ones(2))
        >>> next(scene_frames(still, width=320, height=180)).shape
        (180, 320, 3)
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=STAGE)
    shown = scene.series[:3]
    share = 0.76 if shown else 1.0  # of the height; curves are beneath
    stage = figure.add_axes((0.0, 1.0 - share, 1.0, share))
    stage.set_axis_off()
    frames = evenly_chosen(len(scene.times), MOST_FRAMES)
    size = scene.high - scene.low
    flat = len(size) == 2
    _frame_stage(stage, size, flat, width / (height * share))
    palette = LinearSegmentedColormap.from_list("stage", COLOURS)
    values = scene.colours
    norm = Normalize(*_range(values)) if values is not None else None
    n_points = scene.positions.shape[1]
    area: Any = float(np.clip(DOTS / max(n_points, 1) / 60, 1.0, 40.0))
    if flat and scene.radii is not None:
        span = stage.get_ylim()
        point = 72 / 100 * height * share / (span[1] - span[0])
        area = np.maximum((2 * point * scene.radii) ** 2, 1.0)
    dots = stage.scatter([], [], linewidths=0, zorder=3)
    dots.set_sizes(np.broadcast_to(area, n_points))
    lines = LineCollection([], linewidths=1.1, zorder=2)
    stage.add_collection(lines)
    box = LineCollection([], colors="#a0b4dc55", linewidths=0.8, zorder=1)
    stage.add_collection(box)
    clock = figure.text(0.015, 0.955, "", color=PALE, family="monospace", fontsize=11)
    figure.text(0.985, 0.955, scene.title, color=PALE, ha="right", fontsize=11)
    if scene.colour_name and norm is not None:
        _key(figure, scene.colour_name, palette, norm)
    curves = [_curve(figure, scene, i, len(shown)) for i in range(len(shown))]
    edges = _edges(size)
    unit = f" {scene.time_unit}" if scene.time_unit else ""

    def update(number: int) -> None:
        frame = frames[number]
        turn = -0.9 + TURN * (number / max(1, len(frames) - 1) if not flat else 0.0)
        centred = scene.positions[frame] - scene.low - size / 2
        spots, depth = _project(centred, turn, size)
        order = np.argsort(-depth) if depth is not None else np.arange(n_points)
        dots.set_offsets(spots[order])
        if flat:
            dots.set_sizes(np.broadcast_to(area, n_points))
        if depth is not None:
            dots.set_sizes(area * np.clip(1.1 - 0.9 * depth[order], 0.35, 2.0))
        if values is None or norm is None:
            dots.set_facecolor("#3fb8d0")
        else:
            now = values[frame] if values.ndim == 2 else values
            dots.set_facecolor(palette(norm(now[order])))
        lines.set_segments(_strokes(scene, int(frame), turn, size))
        lines.set_color("#9fd8e888")
        if number == 0 or not flat:
            box.set_segments([_project(edge, turn, size)[0] for edge in edges])
        clock.set_text(f"t = {scene.times[frame]:.4g}{unit}")
        for point, past, series in curves:
            point.set_data([scene.times[frame]], [series.values[frame]])
            past.set_data(scene.times[: frame + 1], series.values[: frame + 1])

    return figure_frames(figure, update, len(frames))


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _frame_stage(stage: Axes, size: NDArray[np.float64], flat: bool, aspect: float) -> None:
    half = (size[1] / 2 if flat else 0.92 * size.max()) * 1.06
    if flat and size[0] / 2 * 1.04 > half * aspect:
        half = size[0] / 2 * 1.04 / aspect
    stage.set_ylim(-half, half)
    stage.set_xlim(-half * aspect, half * aspect)


def _project(
    centred: NDArray[np.float64], turn: float, size: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Places on the stage, and the depth of three dimensions in units of the box."""
    if centred.shape[-1] == 2:
        return centred, None
    reach, tilt = size.max(), 0.42
    x, y, z = centred.T
    u, v = np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y
    depth = np.cos(tilt) * v - np.sin(tilt) * z
    up = np.sin(tilt) * v + np.cos(tilt) * z
    near = 2.6 * reach / (2.6 * reach + depth)
    return np.stack([u * near, up * near], axis=-1), depth / reach


def _strokes(
    scene: Scene, frame: int, turn: float, size: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Headings behind the points, or the paths that they left."""
    here = scene.positions[frame] - scene.low - size / 2
    if scene.directions is not None:
        tail = here - 0.035 * size.max() * scene.directions[frame]
        a, b = _project(tail, turn, size)[0], _project(here, turn, size)[0]
        return list(np.stack([a, b], axis=1))
    if not scene.trail or frame == 0:
        return []
    past = scene.positions[max(0, frame - scene.trail) : frame + 1] - scene.low - size / 2
    flown = [_project(part, turn, size)[0] for part in np.swapaxes(past, 0, 1)]
    if scene.periodic:  # a path that leaves through a side is cut there
        for path, line in zip(np.swapaxes(past, 0, 1), flown, strict=True):
            line[1:][(np.abs(np.diff(path, axis=0)) > size / 2).any(axis=1)] = np.nan
    return flown


def _edges(size: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    corners = np.array(np.meshgrid(*[(-s / 2, s / 2) for s in size], indexing="ij"))
    spots = corners.reshape(len(size), -1).T
    return [
        np.stack([a, b])
        for i, a in enumerate(spots)
        for b in spots[i + 1 :]
        if np.count_nonzero(a != b) == 1
    ]


def _key(figure: Any, name: str, palette: Any, norm: Any) -> None:
    """The colours from their least to their largest value, under the title."""
    digits = 2 - int(np.floor(np.log10(norm.vmax - norm.vmin)))
    ends = " to ".join(f"{round(end, digits):g}" for end in (norm.vmin, norm.vmax))
    figure.text(0.985, 0.917, f"{name}, {ends}", color=PALE, ha="right", fontsize=9)
    bar = figure.add_axes((0.865, 0.892, 0.12, 0.012))
    bar.imshow(np.linspace(0, 1, 64)[None], aspect="auto", cmap=palette)
    bar.set_axis_off()


def _curve(figure: Any, scene: Scene, index: int, count: int) -> tuple[Any, Any, Any]:
    series = scene.series[index]
    wide = 0.96 / count
    axes = figure.add_axes((0.02 + index * wide + 0.05, 0.065, wide - 0.075, 0.135))
    axes.set_facecolor(STAGE)
    axes.plot(scene.times, series.values, color="#5b6b96", linewidth=1.0)
    (past,) = axes.plot([], [], color="#ffd25a", linewidth=1.6)
    (point,) = axes.plot([], [], "o", color="#ffd25a", markersize=4)
    axes.set_title(
        f"{series.name}{f', {series.unit}' if series.unit else ''}",
        color=PALE,
        fontsize=9,
        loc="left",
        pad=3,
    )
    axes.tick_params(colors="#9aa6c4", labelsize=8, length=2)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.grid(color="#ffffff18", linewidth=0.6)
    return point, past, series
