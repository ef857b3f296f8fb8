"""A hard-disc gas as a process that is recorded: box, start and cells of choice."""

from __future__ import annotations

import csv
import hashlib
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError, FormatError, InputError
from entropilot.physics.gas_expansion import PhaseCells, entropy_of, expanding_gas
from entropilot.physics.gas_start import checked_box
from entropilot.physics.hard_discs import EventCounts, HardDiscGas
from entropilot.physics.ideal_gas import free_flight
from entropilot.physics.phase_space import SparseCellsWarning, diameter_for
from entropilot.physics.process import Frame, Process, State, Variable

COLUMNS: Final = ("x", "y", "vx", "vy")
BEAM_SPEED: Final = math.sqrt(2.0)  # kinetic energy kT a disc
HOT_TO_COLD: Final = 3.0  # ratio of temperatures


@dataclass(frozen=True)
class GasKnobs:
    """What can be set of a gas.

    Examples:
        >>> GasKnobs(n=100).diameter == diameter_for(0.2, 100)
        True
    """

    n: int = 8000
    kn: float | None = 0.2
    sigma: float | None = None
    box: tuple[float, float] = (1.0, 1.0)
    fill: float = 0.5
    start: Literal["equilibrium", "beams", "hot-cold", "file"] = "equilibrium"
    file: str = ""
    walls_y: Literal["hard", "periodic"] = "hard"
    duration: float = 3.0
    frames: int = 150
    n_x: int = 20
    widths: tuple[float, ...] = (0.5, 1.0, 2.0)
    reverse_at: float | None = None
    seed: int = 0

    @property
    def diameter(self) -> float:
        """Of a disc: ``sigma``, or what the mean free path at the final density asks for."""
        if (self.sigma is None) == (self.kn is None):
            raise ConfigurationError(
                f"sigma = {self.sigma} and kn = {self.kn}: give one of them and none for the other "
                "(--set kn=none --set sigma=0.001)"
            )
        if self.sigma is not None:
            return self.sigma
        assert self.kn is not None
        area = checked_box(self.box)[0] * self.box[1]
        return diameter_for(self.kn, max(self.n, 1), area, self.box[0])


def gas_process(knobs: GasKnobs) -> Process:
    """The gas of some knobs, to be recorded.

    Raises:
        ConfigurationError: knobs out of range or at odds.
        InputError: a gas that can't be, such as discs that overlap in the file (names the pair).

    Examples:
        >>> made = gas_process(GasKnobs(n=50, frames=3))
        >>> made.observe(made.start())["entropy"].shape
        (3,)
    """
    _check(knobs)
    cells = [PhaseCells(knobs.n_x, width) for width in knobs.widths]
    dt = knobs.duration / knobs.frames
    turn = -1 if knobs.reverse_at is None else max(1, round(knobs.reverse_at / dt))
    walls = ("hard", knobs.walls_y)
    starting = _start(knobs)
    sigma = float(starting.sigma[0])

    def entropies(x: NDArray[Any], v: NDArray[Any]) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SparseCellsWarning)  # said once, in the findings
            return np.array([entropy_of(cut.of(x, v, knobs.box)) for cut in cells])

    def start() -> State:
        x, v = starting.positions, starting.velocities
        none = np.full(len(cells), np.nan)
        return {
            "x": x, "v": v, "frame": np.array(0), "counts": np.zeros(4, dtype=np.int64),
            "virial": np.array(0.0), "recent": np.array(0.0),
            "entropy": entropies(x, v), "free": none, "collisional": none,
        }  # fmt: skip

    def advance(state: State) -> State:
        counts = _counts(state)
        gas = HardDiscGas(len(state["x"]), sigma, knobs.box, walls, state["x"], state["v"])
        gas.resume(float(state["frame"]) * dt, counts)
        flown = free_flight(state["x"], state["v"], dt, knobs.box, walls, sigma / 2)
        free = (entropies(*flown) - state["entropy"]) / dt
        gas.advance(dt)
        frame = int(state["frame"]) + 1
        then = entropies(gas.positions, gas.velocities)
        if frame == turn:
            gas.reverse()
            then = entropies(gas.positions, gas.velocities)
        now = gas.stats
        return {
            "x": gas.positions, "v": gas.velocities, "frame": np.array(frame),
            "counts": np.array([now.collisions, now.crossings, now.wall_hits, now.stale]),
            "virial": np.array(now.virial), "recent": np.array(now.virial - counts.virial),
            "entropy": then, "free": free,
            "collisional": (then - state["entropy"]) / dt - free,
        }  # fmt: skip

    def observe(state: State) -> Frame:
        v, area = state["v"], knobs.box[0] * knobs.box[1]
        energy = 0.5 * float((v**2).sum())
        return {
            "time": state["frame"] * dt,
            "positions": state["x"],
            "velocities": v,
            "entropy": state["entropy"],
            "entropy_production_free": state["free"],
            "entropy_production_collisional": state["collisional"],
            "right_half": np.array((state["x"][:, 0] > knobs.box[0] / 2).mean()),
            "kinetic_energy": np.array(energy / len(v)),
            "pressure": np.array((energy + float(state["recent"]) / (2 * dt)) / area),
            "collisions": state["counts"][0],
            "events": state["counts"].sum(),
        }

    a_cell, a_disc = ("width",), ("disc", "spatial")
    return Process(
        f"Hard-disc gas: {starting.n:,} discs",
        knobs.frames + 1,
        {"disc": starting.n, "spatial": 2, "width": len(cells)},
        (
            Variable("positions", a_disc, "1", "place of each disc", "f4"),
            Variable("velocities", a_disc, "1", "velocity of each disc, thermal speeds", "f4"),
            Variable("entropy", a_cell, "1", "Boltzmann entropy per disc, nats"),
            Variable("entropy_production_free", a_cell, "1", "rate by free motion, nats"),
            Variable("entropy_production_collisional", a_cell, "1", "rate by collisions, nats"),
            Variable("right_half", (), "1", "share of the discs in the right half", "f8", (0, 1)),
            Variable("kinetic_energy", (), "1", "kinetic energy per disc, kT"),
            Variable("pressure", (), "1", "kinetic part and virial of the last frame"),
            Variable("collisions", (), "1", "collisions so far", "i8"),
            Variable("events", (), "1", "collisions, crossings, wall hits, stale events", "i8"),
        ),
        start,
        advance,
        observe,
        parameters=_parameters(knobs, starting),
        work=(_events_a_frame(starting, dt), "events"),
        coordinates={"width": np.array(knobs.widths)},
    )


def read_state(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places and velocities [N, 2] from a CSV file with the columns x, y, vx, vy.

    Raises:
        FormatError: no such columns, or a value that is no number (names the line).
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise FormatError(f"{path} has no column {missing}, expected {list(COLUMNS)}")
            made = []
            for row in rows:
                try:
                    made.append([float(row[name]) for name in COLUMNS])
                except (TypeError, ValueError) as error:
                    raise FormatError(f"{path}, line {rows.line_num}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} can't be read ({error})") from error
    if not made:
        raise FormatError(f"{path} holds no disc")
    table = np.array(made)
    return table[:, :2], table[:, 2:]


def _counts(state: State) -> EventCounts:
    collisions, crossings, wall_hits, stale = (int(count) for count in state["counts"])
    return EventCounts(collisions, crossings, wall_hits, stale, float(state["virial"]))


def _start(knobs: GasKnobs) -> HardDiscGas:
    walls = ("hard", knobs.walls_y)
    if knobs.start == "file":
        x, v = read_state(knobs.file)
        return HardDiscGas(len(x), knobs.diameter, knobs.box, walls, x, v)
    gas = expanding_gas(
        knobs.n, knobs.diameter, knobs.box, fill=knobs.fill, walls=walls, seed=knobs.seed
    )
    x, v = gas.positions, gas.velocities
    if knobs.start == "beams":
        direction = np.where(np.random.default_rng(knobs.seed).permutation(knobs.n) % 2, 1.0, -1.0)
        # a little warmth, so that cells see beams and not a single speed
        v = 0.1 * v + np.column_stack((BEAM_SPEED * direction, np.zeros(knobs.n)))
        v *= math.sqrt(2 * knobs.n / float((v**2).sum()))
    elif knobs.start == "hot-cold":
        hot = x[:, 0] < knobs.fill * knobs.box[0] / 2
        cold = math.sqrt(2 / (1 + HOT_TO_COLD))
        v *= np.where(hot, cold * math.sqrt(HOT_TO_COLD), cold)[:, None]
        v *= math.sqrt(2 * knobs.n / float((v**2).sum()))
    return HardDiscGas(knobs.n, knobs.diameter, knobs.box, walls, x, v)


def _check(knobs: GasKnobs) -> None:
    wrong = []
    if not (math.isfinite(knobs.duration) and knobs.duration > 0):
        wrong.append(f"duration = {knobs.duration}, expected a time > 0")
    if knobs.frames < 1:
        wrong.append(f"frames = {knobs.frames}, expected at least 1")
    if not knobs.widths:
        wrong.append("widths is empty, expected widths of velocity cells such as 0.5,1,2")
    if knobs.start == "file" and not knobs.file:
        wrong.append("start = file needs file = FILE.csv with the columns x, y, vx, vy")
    if knobs.file and knobs.start != "file":
        wrong.append(f"file = {knobs.file} is read with start = file only")
    if knobs.reverse_at is not None and not 0 < knobs.reverse_at < knobs.duration:
        wrong.append(f"reverse_at = {knobs.reverse_at}, expected a time within the run, or none")
    if wrong:
        raise ConfigurationError("; ".join(wrong))
    try:
        for width in knobs.widths:
            PhaseCells(knobs.n_x, width)
        checked_box(knobs.box)
    except InputError as error:
        raise ConfigurationError(str(error)) from error


def _parameters(knobs: GasKnobs, gas: HardDiscGas) -> dict[str, str | int | float]:
    held = gas.positions.tobytes() + gas.velocities.tobytes()
    return {
        "n": gas.n,
        "sigma": float(gas.sigma[0]),
        "packing_fraction": gas.packing_fraction,
        "box": ", ".join(map(repr, knobs.box)),
        "fill": knobs.fill,
        "start": knobs.start,
        "start_digest": hashlib.sha256(held).hexdigest()[:16],
        "walls_y": knobs.walls_y,
        "duration": knobs.duration,
        "n_x": knobs.n_x,
        "widths": ", ".join(map(repr, knobs.widths)),
        "reverse_at": "none" if knobs.reverse_at is None else knobs.reverse_at,
        "seed": knobs.seed,
    }


def _events_a_frame(gas: HardDiscGas, dt: float) -> float:
    """About how many events a frame takes; a probe on a copy, bounded by a small time."""
    probe = HardDiscGas(gas.n, gas.sigma, gas.box, gas.walls, gas.positions, gas.velocities)
    short = min(dt, 0.01)
    probe.advance(short)
    return max(1.0, probe.stats.events * dt / short)
