"""Schools that others recorded: tracks of real fish, and settings of the reference's program.

A recording is a CSV file of places, an array, or a trajectory in NetCDF; its metrics need nothing
of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, FormatError, InputError, unknown_name
from entropilot.physics.fish_school_metrics import metrics_timeseries

Floats = NDArray[np.float64]

TIMES: Final = ("t", "time", "frame")
FISH: Final = ("fish_id", "fish", "id")
SWITCHES: Final = ("use_numba", "compute_entropy", "verbose", "n_cores", "output_dir")


@dataclass(frozen=True)
class Tracks:
    """Places of the same fish in every frame.

    Attributes:
        positions: [T, N, 3].
        times: [T], ascending.
        velocities: [T, N, 3], or None where they were not recorded.
        box_size: of a periodic cube, or None.
    """

    positions: Floats
    times: Floats
    velocities: Floats | None = None
    box_size: float | None = None


def track_metrics(
    tracks: Tracks | str | Path | NDArray[Any],
    *,
    box_size: float | None = None,
    unwrap: bool = False,
) -> dict[str, Any]:
    """Order parameters, entropies and OSI of a recording; see ``metrics_timeseries``.

    Args:
        tracks: a file for ``read_tracks``, an array [T, N, 3] of places, or tracks.
        box_size: of a periodic cube; None takes the recording's own, and without one there is
            no box.
        unwrap: see ``all_metrics``.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(5, 20, 3)).cumsum(axis=0)
        >>> track_metrics(x)["polarization"].shape
        (5,)
    """
    if isinstance(tracks, str | Path):
        tracks = read_tracks(tracks)
    elif not isinstance(tracks, Tracks):
        held = np.asarray(tracks, dtype=float)
        tracks = Tracks(held, np.arange(len(held), dtype=float))
    box = box_size if box_size is not None else tracks.box_size
    v = tracks.velocities
    if v is None:
        v = velocities_of(tracks.positions, tracks.times, box)
    return metrics_timeseries(tracks.positions, v, tracks.times, box, unwrap=unwrap)


def velocities_of(positions: Floats, times: Floats, box_size: float | None = None) -> Floats:
    """Velocities [T, N, 3] from places: central differences, one-sided at the ends.

    Args:
        positions: [T, N, 3], at least two frames.
        times: [T], ascending.
        box_size: of a periodic cube: the shorter way counts.

    Examples:
        >>> x = np.array([[[0.0, 0, 9.0]], [[1.0, 0, 1.0]], [[2.0, 0, 3.0]]])
        >>> velocities_of(x, np.arange(3.0), 10.0)[:, 0].tolist()
        [[1.0, 0.0, 2.0], [1.0, 0.0, 2.0], [1.0, 0.0, 2.0]]
    """
    if positions.ndim != 3 or positions.shape[2] != 3 or len(positions) < 2:
        raise InputError(
            f"positions have shape {positions.shape}, expected [frames, fish, 3] with at least 2 "
            "frames: headings are taken from the motion"
        )
    if len(times) != len(positions) or not (np.diff(times) > 0).all():
        raise InputError("times are not ascending, or there is not one for each frame")
    step = np.diff(positions, axis=0)
    if box_size is not None:
        step -= box_size * np.round(step / box_size)
    path = np.concatenate([np.zeros_like(step[:1]), np.cumsum(step, axis=0)])
    made: Floats = np.gradient(path, times, axis=0)
    return made


def read_tracks(path: str | Path) -> Tracks:
    """Read a recording.

    Args:
        path: ``.csv`` with columns fish_id, t, x, y, z and perhaps vx, vy, vz, one row for a fish
            and a frame; ``.npy`` with [T, N, 3]; ``.nc`` or ``.zarr`` with ``positions``, as this
            package and dewi-kadita write it.

    Raises:
        FormatError: another kind of file, or columns that are missing.
        InputError: a fish that is missing in a frame or twice in it, or a value that is no number.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no recording at {path}")
    if path.suffix in (".nc", ".zarr"):
        return _from_trajectory(path)
    if path.suffix == ".npy":
        try:
            held = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise FormatError(f"{path} is not an array that can be read ({error})") from error
        return Tracks(np.asarray(held, dtype=float), np.arange(len(held), dtype=float))
    if path.suffix == ".csv":
        return _from_csv(path)
    raise FormatError(f"{path.name}: expected .csv, .npy, .nc or .zarr")


def _from_trajectory(path: Path) -> Tracks:
    from entropilot.physics.trajectory_file import read_trajectory

    data = read_trajectory(path)
    if "positions" not in data or data["positions"].ndim != 3:
        raise FormatError(f"{path} has no variable positions with (time, fish, spatial)")
    v = np.asarray(data["velocities"], dtype=float) if "velocities" in data else None
    box = data.attrs.get("box_size")
    return Tracks(
        np.asarray(data["positions"], dtype=float),
        np.asarray(data["time"], dtype=float),
        v,
        float(box) if box is not None else None,
    )


def _from_csv(path: Path) -> Tracks:
    import polars as pl

    try:
        table = pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is not a CSV table ({error})") from error
    names = {name.strip().lower(): name for name in table.columns}
    fish, time = (next((names[k] for k in kinds if k in names), None) for kinds in (FISH, TIMES))
    missing = [k for k, found in (("fish_id", fish), ("t", time)) if found is None]
    missing += [axis for axis in "xyz" if axis not in names]
    if missing or fish is None or time is None:
        raise FormatError(
            f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    ways = ("vx", "vy", "vz") if all(k in names for k in ("vx", "vy", "vz")) else ()
    columns = [names[k] for k in ("x", "y", "z", *ways)]
    for column in (time, *columns):
        number = table[column].cast(pl.Float64, strict=False)
        bad = (number.is_null() | ~number.is_finite()).arg_true()
        if len(bad):
            row = int(bad[0])
            raise InputError(
                f"{path}, row {row + 2}: {column} is {table[column][row]!r}, expected a number"
            )
    table = table.with_columns(pl.col(time, *columns).cast(pl.Float64)).sort(time, fish)
    times, ids = table[time].unique().sort().to_numpy(), table[fish].unique().sort()
    twice = table.group_by(time, fish).len().filter(pl.col("len") > 1).sort(time, fish)
    if len(twice):
        raise InputError(
            f"{path}: fish {twice[fish][0]} is {twice['len'][0]} times in the frame at "
            f"t = {twice[time][0]:g}"
        )
    if len(table) != len(times) * len(ids):
        frame = table.group_by(time).agg(pl.col(fish)).sort(time)
        frame = frame.filter(pl.col(fish).list.len() < len(ids))
        absent = sorted(set(ids.to_list()) - set(frame[fish][0].to_list()), key=str)
        raise InputError(
            f"{path}: fish {absent[0]} is missing in the frame at t = {frame[time][0]:g}; every "
            "fish is needed in every frame: keep those that are always seen, or cut the recording"
        )
    values = table.select(columns).to_numpy().reshape(len(times), len(ids), -1)
    v = np.ascontiguousarray(values[..., 3:]) if ways else None
    return Tracks(np.ascontiguousarray(values[..., :3]), times, v)


def read_settings(path: str | Path) -> dict[str, Any]:
    """Settings of the reference's program: lines ``key = value``, # for comments.

    Returns:
        Values by the names of ``Couzin``, with ``n_steps`` and ``save_every`` where they are given.
        Switches for what the reference writes are left out. Both seeds are its ``seed``.

    Raises:
        ConfigurationError: a line without ``=``, or an unknown key (names the nearest).
    """
    path, held = Path(path), dict[str, Any]()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} can't be read as text ({error})") from error
    for number, line in enumerate(lines, 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        key, sign, value = content.partition("=")
        if not sign:
            raise ConfigurationError(f"{path}, line {number}: {content!r}, expected key = value")
        held[key.strip()] = _value(value.strip())
    return _as_couzin(held, path)


def _as_couzin(held: dict[str, Any], path: Path) -> dict[str, Any]:
    import dataclasses

    from entropilot.physics.fish_school import Couzin

    made: dict[str, Any] = {}
    known = {field.name for field in dataclasses.fields(Couzin)} | {"n_steps", "save_every"}
    known -= {"start", "ring_radius", "legacy_seed"}
    theirs = {"torus_init", "torus_radius", "save_interval", "scenario_name"}
    wrong = []
    for key, value in held.items():
        if key == "torus_init":
            made["start"] = "ring" if value is True else "random"
        elif key == "torus_radius":
            made["ring_radius"] = value
        elif key == "save_interval":
            made["save_every"] = value
        elif key == "seed":
            if value is not None:
                made |= {"seed": value, "legacy_seed": value}
        elif key in known:
            made[key] = value
        elif key not in (*SWITCHES, "scenario_name") and not key.startswith(
            ("save_", "animation_", "plot_")
        ):
            wrong.append(unknown_name("key", key, known | theirs))
    if wrong:
        raise ConfigurationError(f"{path}: {'; '.join(wrong)}")
    return made


def _value(text: str) -> Any:
    """A value as the reference reads it.

    Examples:
        >>> [_value(t) for t in ("true", "none", "3", "1e-2", "ring")]
        [True, None, 3, 0.01, 'ring']
    """
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
