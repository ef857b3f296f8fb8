"""``entropilot simulate fish``: schools by zones, with the reference's presets, files and names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from entropilot.experiments.simulated.fish_picture import draw_school
from entropilot.experiments.simulations import Simulation, chosen_knobs
from entropilot.physics.fish_school import PRESET_STEPS, PRESETS, Couzin, cautions
from entropilot.physics.fish_school_files import read_settings
from entropilot.physics.fish_school_process import school_process, school_tables
from entropilot.physics.process import Process
from entropilot.report.scene import Scene, Series
from entropilot.studies.schooling_states_judge import PUBLISHED, SHORT

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class FishKnobs(Couzin):
    """What can be set of a school on the command line.

    Examples:
        >>> FishKnobs(n_fish=20).n_steps
        1000
    """

    n_steps: int = 1000
    save_every: int = 1
    unwrap: bool = False
    components: bool = True
    threads: int = 1
    scenario: str = "school"


ABOUT: Final[Mapping[str, str]] = {
    "n_fish": "fish, at least 2",
    "box_size": "edge of the periodic cube",
    "speed": "of every fish",
    "r_repulsion": "nearer fish are fled",
    "r_orientation": "nearer fish are aligned with",
    "r_attraction": "nearer fish are sought",
    "max_turn": "largest turn in a step before the noise, radians",
    "noise": "standard deviation added to each component of a heading in a step",
    "blind_angle": "half-angle of the blind cone behind a fish, degrees",
    "orientation_weight": "of alignment against attraction, 0 to 1",
    "dt": "time of a step",
    "start": "random or ring",
    "ring_radius": "of a ring; a quarter of the box by default",
    "seed": "of the noise, and of the start where legacy_seed is none",
    "legacy_seed": "start as dewi-kadita draws it from this seed; none for a start from seed",
    "n_steps": "steps",
    "save_every": "steps between frames",
    "unwrap": "metrics about the centre of the school in one piece",
    "components": "write x, y, z, vx, vy, vz beside positions and velocities",
    "threads": "used for large schools; the result does not depend on them",
    "scenario": "name in the file",
}


def process(knobs: FishKnobs) -> Process:
    """The school of some knobs, to be recorded."""
    return school_process(
        knobs,
        knobs.n_steps,
        knobs.save_every,
        name=knobs.scenario,
        unwrap=knobs.unwrap,
        components=knobs.components,
        threads=knobs.threads,
    )


def scene(data: xr.Dataset, knobs: FishKnobs) -> Scene:
    """Fish with their headings, coloured by depth, above OSI, polarization and rotation."""
    x = np.asarray(data["positions"])
    return Scene(
        title=f"{knobs.scenario.replace('_', ' ')}: {knobs.n_fish:,} fish",
        times=np.asarray(data["time"]),
        positions=x,
        low=np.zeros(3),
        high=np.full(3, knobs.box_size),
        directions=np.asarray(data["velocities"]) / knobs.speed,
        colours=x[:, :, 2],
        colour_name="depth z",
        periodic=True,
        series=(
            Series("oceanic schooling index", np.asarray(data["oceanic_schooling_index"])),
            Series("polarization P", np.asarray(data["polarization"])),
            Series("rotation M", np.asarray(data["rotation"])),
        ),
        sentences=tuple(findings(data, knobs)),
    )


def findings(data: xr.Dataset, knobs: FishKnobs) -> Sequence[str]:
    """What the school did, the published values beside it where there are some."""
    half = data.sizes["time"] // 2
    mean = {
        name: float(data[name][half:].mean())
        for name in ("polarization", "rotation", "oceanic_schooling_index", "spread")
    }
    m = np.asarray(data["rotation"])
    found = [
        f"Second half of the run: polarization P = {mean['polarization']:.3f}, rotation "
        f"M = {mean['rotation']:.3f}, oceanic schooling index OSI = "
        f"{mean['oceanic_schooling_index']:.3f} (0 order, 1 disorder).",
        f"Rotation began at {m[0]:.3f} and ended at {m[-1]:.3f}; the school spreads "
        f"{mean['spread']:.1f} about its centre.",
    ]
    if m[0] > 0.8 and mean["rotation"] < 0.5:
        found.append(
            "The school was started as a mill and does not stay one: what remains are drifting "
            "groups."
        )
    published = PUBLISHED.get(knobs.scenario)
    if published is not None and _is_preset(knobs):
        listed = ", ".join(f"{SHORT[name]} = {value:g}" for name, value in published.items())
        found.append(f"Published for this configuration: {listed} (one run; its noise unseeded).")
    return [*found, *cautions(knobs)]


def reads(path: Path) -> FishKnobs:
    """Knobs from a text configuration of dewi-kadita."""
    made: FishKnobs = chosen_knobs(
        SIMULATION, None, read_settings(path), FishKnobs(scenario=path.stem)
    )
    return made


def _is_preset(knobs: FishKnobs) -> bool:
    preset = dataclasses.asdict(SIMULATION.presets[knobs.scenario])
    free = ("seed", "legacy_seed", "save_every", "unwrap", "components", "threads")
    return all(value == getattr(knobs, k) for k, value in preset.items() if k not in free)


def _preset(name: str) -> FishKnobs:
    held: dict[str, Any] = dataclasses.asdict(PRESETS[name])
    return FishKnobs(**held, n_steps=PRESET_STEPS[name], scenario=name)


SIMULATION: Final = Simulation(
    name="fish",
    presets={name: _preset(name) for name in PRESETS},
    process=process,
    picture=draw_school,
    scene=scene,
    findings=findings,
    about=ABOUT,
    reads=reads,
    tables=lambda data, _knobs: school_tables(data),
)
