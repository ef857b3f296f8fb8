"""A recorded motion as one HTML file: points that play, turn and zoom, beside their curves.

It loads nothing, works offline, and a Content-Security-Policy allows one style sheet and one
script, by hash. Positions are kept in 16 bits of the box, colours in 8.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from entropilot.errors import InputError
from entropilot.files import write_atomically
from entropilot.report.html import Meta
from entropilot.report.visible import prose, visible

MOST_BYTES: Final = 12_000_000  # of packed motion; a page of at most about 16 MB
MOST_FRAMES: Final = 600


@dataclass(frozen=True)
class Series:
    """A number a frame, drawn as a curve under the motion.

    Examples:
        >>> Series("entropy", np.zeros(3), "nats").unit
        'nats'
    """

    name: str
    values: NDArray[np.float64]
    unit: str = ""


@dataclass(frozen=True)
class Scene:
    """A motion to be looked at.

    Attributes:
        title: what moves.
        times: [T].
        positions: [T, N, 2] or [T, N, 3]; two dimensions are looked at from above.
        low, high: corners of the box that is drawn, as long as a position.
        directions: [T, N, 2 or 3] headings, drawn as short strokes; None for none.
        colours: [T, N] or [N] numbers; None for one colour.
        colour_name: what the colour says.
        radii: [N] in units of the box; None for a size that fits.
        trail: frames of path behind each point.
        periodic: whether paths may leave through one side and come back at the other.
        series: curves under the motion.
        sentences: what was found, in words.
        time_unit: unit of time.
        fps: frames a second when it plays.
    """

    title: str
    times: NDArray[np.float64]
    positions: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    directions: NDArray[np.float64] | None = None
    colours: NDArray[np.float64] | None = None
    colour_name: str = ""
    radii: NDArray[np.float64] | None = None
    trail: int = 0
    periodic: bool = False
    series: tuple[Series, ...] = ()
    sentences: tuple[str, ...] = field(default_factory=tuple)
    time_unit: str = ""
    fps: float = 25.0


def write_scene(path: str | Path, scene: Scene, *, meta: Meta | None = None) -> Path:
    """Write the page; the file appears whole or not at all.

    Raises:
        InputError: shapes that do not fit, or positions that are not finite.
    """
    write_atomically(Path(path), render_scene(scene, meta=meta))
    return Path(path)


def render_scene(scene: Scene, *, meta: Meta | None = None) -> str:
    """The page as one HTML text.

    Examples:
        >>> still = Scene("a point", np.zeros(1), np.zeros((1, 1, 2)), np.zeros(2), np.ones(2))
        >>> "a point" in render_scene(still)
        True
    """
    data, notes = packed(scene)
    style, script = _asset("report.css") + _asset("scene.css"), _asset("scene.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    environment = Environment(
        loader=PackageLoader("entropilot.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(prose=prose, visible=visible)
    return environment.get_template("scene.html.j2").render(
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        scene=scene,
        meta=meta or Meta(scene.title),
        flat=scene.positions.shape[2] == 2,
        notes=notes,
        data=Markup(json.dumps(data).replace("<", "\\u003c")),
    )


def packed(scene: Scene) -> tuple[dict[str, Any], list[str]]:
    """What the page's script reads, and what had to be left out of it.

    Raises:
        InputError: shapes that do not fit, or positions that are not finite.
    """
    _check(scene)
    n_frames, n_points, n_dims = scene.positions.shape
    a_point = 2 * n_dims + (n_dims if scene.directions is not None else 0)
    a_point += 1 if scene.colours is not None and scene.colours.ndim == 2 else 0
    frames = evenly_chosen(n_frames, MOST_FRAMES)
    points = evenly_chosen(n_points, max(1, MOST_BYTES // (a_point * len(frames))))
    notes = []
    if len(points) < n_points:
        notes.append(f"{len(points):,} of the {n_points:,} points are drawn.")
    if len(frames) < n_frames:
        notes.append(f"{len(frames):,} of the {n_frames:,} frames are shown.")
    seen = scene.positions[frames][:, points]
    size = np.where(scene.high > scene.low, scene.high - scene.low, 1.0)
    data: dict[str, Any] = {
        "frames": len(frames),
        "points": len(points),
        "dims": n_dims,
        "size": (scene.high - scene.low).tolist(),
        "times": [float(f"{t:.6g}") for t in scene.times[frames]],
        "positions": _base64(
            np.clip(np.rint((seen - scene.low) / size * 65535), 0, 65535).astype("<u2")
        ),
        "trail": scene.trail,
        "periodic": scene.periodic,
        "fps": scene.fps,
        "timeUnit": scene.time_unit,
        "series": [
            {
                "name": s.name,
                "unit": s.unit,
                "values": [
                    float(f"{v:.6g}") if np.isfinite(v) else None
                    for v in np.asarray(s.values, dtype=float)[frames]
                ],
            }
            for s in scene.series
        ],
    }
    if scene.directions is not None:
        way = scene.directions[frames][:, points]
        norm = np.linalg.norm(way, axis=-1, keepdims=True)
        data["directions"] = _base64(
            np.rint(way / np.where(norm > 0, norm, 1.0) * 127).astype(np.int8)
        )
    if scene.colours is not None:
        moving = scene.colours.ndim == 2
        value = scene.colours[frames][:, points] if moving else scene.colours[points]
        finite = value[np.isfinite(value)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        span = high - low or 1.0
        data["colours"] = _base64(
            np.rint(np.nan_to_num((value - low) / span) * 255).clip(0, 255).astype(np.uint8)
        )
        data |= {"moving": moving, "colourLow": low, "colourHigh": high}
    if scene.radii is not None:
        data["radii"] = [float(f"{r:.4g}") for r in scene.radii[points]]
    return data, notes


def _check(scene: Scene) -> None:
    shape = scene.positions.shape
    if len(shape) != 3 or shape[2] not in (2, 3) or 0 in shape:
        raise InputError(f"positions have shape {shape}, expected [frames, points, 2 or 3]")
    if not np.isfinite(scene.positions).all():
        frame, point, _ = np.argwhere(~np.isfinite(scene.positions))[0]
        raise InputError(f"the position of point {point} in frame {frame} is not finite")
    expected = {
        "times": (scene.times, (shape[0],)),
        "low": (scene.low, (shape[2],)),
        "high": (scene.high, (shape[2],)),
        "directions": (scene.directions, shape),
        "radii": (scene.radii, (shape[1],)),
    } | {f"series {s.name!r}": (s.values, (shape[0],)) for s in scene.series}
    for name, (value, wanted) in expected.items():
        if value is not None and np.shape(value) != wanted:
            raise InputError(f"{name} has shape {np.shape(value)}, expected {wanted}")
    if scene.colours is not None and scene.colours.shape not in (shape[:2], shape[1:2]):
        raise InputError(
            f"colours have shape {scene.colours.shape}, expected {shape[:2]} or {shape[1:2]}"
        )


def evenly_chosen(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``count`` indices, evenly, the first and the last among them.

    Examples:
        >>> evenly_chosen(9, 3).tolist(), evenly_chosen(2, 3).tolist()
        ([0, 4, 8], [0, 1])
    """
    if count <= most:
        return np.arange(count)
    return np.unique(np.rint(np.linspace(0, count - 1, most)).astype(np.int64))


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _asset(name: str) -> str:
    return (files("entropilot.report") / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
