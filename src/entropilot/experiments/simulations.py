"""Simulations by name: presets, knobs, and the folder with trajectory, picture and film."""

from __future__ import annotations

import dataclasses
import importlib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from entropilot.errors import ConfigurationError, MissingExtraError, unknown_name
from entropilot.files import replacing, write_atomically
from entropilot.physics.process import Process
from entropilot.physics.recording import Progress, record
from entropilot.physics.trajectory_file import read_trajectory

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from entropilot.report.scene import Scene

Film = Literal["html", "mp4", "gif", "both", "none"]

#: Name, module and one line; the module holds ``SIMULATION``.
SIMULATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "fish": (
        "entropilot.experiments.simulated.fish",
        "a school of fish that repel, align and attract, with seven entropies",
    ),
    "gas": (
        "entropilot.experiments.simulated.gas",
        "hard discs, exactly: free expansion and others, with their Boltzmann entropy",
    ),
    "ionchannel": (
        "entropilot.experiments.simulated.ion_channel",
        "an ion channel under a voltage step: gating, current, entropy production",
    ),
    "threebody": (
        "entropilot.experiments.simulated.three_body",
        "three gravitating bodies whose time step a policy chooses",
    ),
}


@dataclass(frozen=True)
class Simulation:
    """What the command line needs of a simulation.

    Attributes:
        name: as on the command line.
        presets: frozen dataclasses of one kind; their fields are the knobs, ``seed`` among them.
        process: from knobs to a process; rejects what is out of range.
        picture: of a trajectory, as a matplotlib figure.
        scene: of a trajectory, to be played.
        findings: of a trajectory, sentences with numbers.
        about: what each knob means, by field.
        reads: reads knobs from a file of a kind of its own, where there is one.
        tables: of a trajectory, texts (CSV) by file name, where users expect such files.
    """

    name: str
    presets: Mapping[str, Any]
    process: Callable[[Any], Process]
    picture: Callable[[xr.Dataset, Any], Figure]
    scene: Callable[[xr.Dataset, Any], Scene]
    findings: Callable[[xr.Dataset, Any], Sequence[str]]
    about: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reads: Callable[[Path], Any] | None = None
    tables: Callable[[xr.Dataset, Any], Mapping[str, str]] | None = None


@dataclass(frozen=True)
class Simulated:
    """What a simulation left in its folder."""

    folder: Path
    files: tuple[Path, ...]
    findings: tuple[str, ...]
    remarks: tuple[str, ...]  # what could not be made, and the mend


def load_simulation(name: str) -> Simulation:
    """A simulation by name.

    Raises:
        ConfigurationError: no such simulation; names the nearest.
    """
    if name not in SIMULATIONS:
        raise ConfigurationError(unknown_name("simulation", name, SIMULATIONS))
    return importlib.import_module(SIMULATIONS[name][0]).SIMULATION  # type: ignore[no-any-return]


def chosen_knobs(
    simulation: Simulation, preset: str | None, changes: Mapping[str, Any], base: Any = None
) -> Any:
    """Knobs of a preset with some of them changed.

    Args:
        simulation: whose knobs.
        preset: its name; the first by default.
        changes: knob to value; text is read as the knob's type.
        base: knobs to start from, in place of a preset.

    Raises:
        ConfigurationError: unknown preset or knob (names the nearest), a value of another type, or
            a seed below 0.

    Examples:
        >>> @dataclass(frozen=True)
        ... class Knobs:
        ...     n: int = 3
        ...     seed: int = 0
        >>> walk = Simulation("walk", {"short": Knobs()}, None, None, None, None)
        >>> chosen_knobs(walk, None, {"n": "5"})
        Knobs(n=5, seed=0)
    """
    if base is None:
        name = preset if preset is not None else next(iter(simulation.presets))
        if name not in simulation.presets:
            raise ConfigurationError(
                unknown_name(f"preset of {simulation.name}", name, simulation.presets)
            )
        base = simulation.presets[name]
    known = typing.get_type_hints(type(base))
    wrong = [
        unknown_name(f"knob of {simulation.name}", key, known)
        for key in changes
        if key not in known
    ]
    made = {}
    for key, value in changes.items():
        if key in known:
            try:
                made[key] = _value(value, known[key])
            except (ValueError, TypeError, OverflowError):
                wrong.append(f"{key} = {value!r}, expected {_type_name(known[key])}")
    if made.get("seed", 0) < 0:
        wrong.append(f"seed = {made['seed']}, expected a whole number from 0")
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return dataclasses.replace(base, **made)


def simulate(
    simulation: Simulation,
    knobs: Any,
    folder: str | Path,
    *,
    form: str = ".nc",
    film: Film = "html",
    command: str = "",
    progress: Progress = lambda _share, _doing: None,
) -> Simulated:
    """Run a simulation into a folder: trajectory, picture, film, and what was found.

    A run that was cut off is continued. A film that can't be made (no ffmpeg) is a remark, and the
    page is written in its place.

    Raises:
        ConfigurationError: the folder holds another simulation, or a knob is out of range.
        EntropilotError: the disk is full.
    """
    from entropilot import __version__
    from entropilot.report.film import write_film
    from entropilot.report.html import Meta
    from entropilot.report.scene import write_scene
    from entropilot.report.scene_film import scene_frames

    folder = Path(folder)
    process = simulation.process(knobs)
    trajectory = record(
        process, folder, form=form, progress=lambda share, doing: progress(0.9 * share, doing)
    )
    data = read_trajectory(trajectory)
    found = tuple(simulation.findings(data, knobs))
    files, remarks = [trajectory], []
    for name, text in (simulation.tables(data, knobs) if simulation.tables else {}).items():
        write_atomically(folder / name, text)
        files.append(folder / name)
    progress(0.9, "picture")
    with replacing(folder / "picture.png") as temporary:
        simulation.picture(data, knobs).savefig(temporary, format="png", dpi=150)
    files.append(folder / "picture.png")
    scene = simulation.scene(data, knobs)
    if film in ("mp4", "gif", "both"):
        progress(0.92, "film")
        name = "film.gif" if film == "gif" else "film.mp4"
        try:
            files.append(write_film(folder / name, scene_frames(scene), fps=scene.fps))
        except MissingExtraError as error:
            remarks.append(f"No {name}: {error}. film.html holds the same motion.")
            film = "html"
    if film in ("html", "both"):
        progress(0.98, "page")
        meta = Meta(process.title, version=__version__, command=command)
        files.append(write_scene(folder / "film.html", scene, meta=meta))
    summary = {"simulation": simulation.name, "knobs": dataclasses.asdict(knobs), "found": found}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1, default=str))
    files.append(folder / "summary.json")
    progress(1.0, "done")
    return Simulated(folder, tuple(files), found, tuple(remarks))


def _value(value: Any, kind: Any) -> Any:
    """A value as a knob's type; text comes from the command line, the rest from a TOML file."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value not in options:
            raise ValueError(value)
        return value
    if options and type(None) in options:
        if value is None or value in ("none", ""):
            return None
        return _value(value, next(option for option in options if option is not type(None)))
    if kind is bool:
        if isinstance(value, bool):
            return value
        truths = {"true": True, "false": False}
        if str(value).lower() not in truths:
            raise ValueError(value)
        return truths[str(value).lower()]
    if kind is int:
        number = float(value)
        if isinstance(value, bool) or number != int(number):
            raise ValueError(value)
        return int(number)
    if kind is float:
        if isinstance(value, bool):
            raise ValueError(value)
        return float(value)
    if kind is str:
        return str(value)
    if typing.get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else list(value)
        kinds = (
            [options[0]] * len(parts) if len(options) == 2 and options[1] is Ellipsis else options
        )
        if len(parts) != len(kinds):
            raise ValueError(value)
        return tuple(_value(part, of) for part, of in zip(parts, kinds, strict=True))
    raise TypeError(kind)


def _type_name(kind: Any) -> str:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, options))}"
    if typing.get_origin(kind) is tuple:
        return "numbers with commas between"
    if options and type(None) in options:
        return f"{_type_name(next(o for o in options if o is not type(None)))}, or none"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
