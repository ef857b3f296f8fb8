"""A school as a process that is recorded: the reference's variables, attributes and tables.

Files have the names that users of dewi-kadita 0.0.4 read (arXiv 2602.07948). Departs from it: units
are written as UDUNITS reads them, and ``source`` names the program that wrote the file.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import ConfigurationError
from entropilot.physics.fish_school import Couzin, initial_state, swum
from entropilot.physics.fish_school_metrics import METRICS, all_metrics, sampled_pairs, summary
from entropilot.physics.process import (
    Attributes,
    Frame,
    Process,
    State,
    Variable,
    generator_state,
    restored_generator,
)

if TYPE_CHECKING:
    import xarray as xr

LENGTH: Final = "simulation_length_units"
VELOCITY: Final = "simulation_velocity_units"
LONG_NAMES: Final[Mapping[str, str]] = {
    "polarization": "school_polarization_order_parameter",
    "rotation": "school_rotation_order_parameter",
    "spread": "school_spread_rms",
}
TITLES: Final[Mapping[str, str]] = {name: name.title() for name in METRICS}


def school_process(
    params: Couzin,
    n_steps: int,
    save_every: int = 1,
    *,
    name: str = "school",
    unwrap: bool = False,
    components: bool = True,
    threads: int = 1,
) -> Process:
    """A school with its metrics, to be recorded.

    Args:
        params: of the model.
        n_steps: to run.
        save_every: steps between frames.
        name: of the scenario, for the file.
        unwrap: take the centre of the school in one piece; see ``all_metrics``.
        components: write x, y, z, vx, vy, vz beside positions and velocities, as the reference
            does; False halves the file.
        threads: used where they pay.

    Raises:
        ConfigurationError: no whole number of frames, or no thread.

    Examples:
        >>> process = school_process(Couzin(n_fish=10), 100, 10)
        >>> process.n_frames, len(process.variables)
        (11, 20)
    """
    if n_steps < 0 or not 1 <= save_every <= max(n_steps, 1):
        raise ConfigurationError(
            f"n_steps = {n_steps}, save_every = {save_every}, expected 1 <= save_every <= n_steps"
        )

    if threads < 1:
        raise ConfigurationError(f"threads = {threads}, expected at least 1")

    def start() -> State:
        rng = np.random.default_rng(params.seed)
        x, u = initial_state(params, rng)
        return {"x": x, "u": u, "step": np.zeros((), np.int64), "rng": generator_state(rng)}

    def advance(state: State) -> State:
        rng = restored_generator(state["rng"])
        x, u = swum(state["x"], state["u"], params, save_every, rng, threads)
        return {"x": x, "u": u, "step": state["step"] + save_every, "rng": generator_state(rng)}

    def observe(state: State) -> Frame:
        x, v = state["x"], params.speed * state["u"]
        found: dict[str, Any] = all_metrics(x, v, params.box_size, unwrap=unwrap)
        if components:
            found |= dict(zip(("x", "y", "z"), x.T, strict=True))
            found |= dict(zip(("vx", "vy", "vz"), v.T, strict=True))
        return found | {"time": state["step"] * params.dt, "positions": x, "velocities": v}

    return Process(
        title=f"Couzin school of {params.n_fish:,} fish: {name}",
        n_frames=n_steps // save_every + 1,
        sizes={"fish": params.n_fish, "spatial": 3},
        variables=_variables(components),
        start=start,
        advance=advance,
        observe=observe,
        parameters=_parameters(params, n_steps, save_every, name, unwrap),
        work=(float(save_every * params.n_fish), "fish steps"),
        time_units="simulation_time_units",
        coordinates={
            "fish": np.arange(params.n_fish, dtype=np.int32),
            "spatial": np.arange(3, dtype=np.int32),
        },
        summarise=_summary,
    )


def school_tables(data: xr.Dataset) -> dict[str, str]:
    """The reference's four CSV files of a recorded school, by file name; eight decimals.

    Args:
        data: a trajectory of ``school_process``.
    """
    time = np.asarray(data["time"])
    series = {name: np.asarray(data[name]) for name in METRICS}
    sums = summary(series)
    x, v = np.asarray(data["positions"][-1]), np.asarray(data["velocities"][-1])
    order = {name.title(): series[name] for name in ("polarization", "rotation")}
    kinds = ("mean", "std", "final", "min", "max")
    return {
        "order_parameters.csv": _csv({"Time": time} | order),
        "entropy_metrics.csv": _csv(
            {"Time": time} | {TITLES[name]: values for name, values in series.items()}
        ),
        "entropy_summary.csv": _csv(
            {"Metric": list(METRICS)}
            | {
                title: [sums[f"{name}_{kind}"] for name in METRICS]
                for kind, title in zip(
                    kinds,
                    ("Mean_2nd_Half", "Std_2nd_Half", "Final_Value", "Min", "Max"),
                    strict=True,
                )
            }
        ),
        "final_state.csv": _csv(
            {"Fish_ID": np.arange(len(x))}
            | dict(zip(("x", "y", "z"), x.T, strict=True))
            | dict(zip(("vx", "vy", "vz"), v.T, strict=True))
        ),
    }


def _variables(components: bool) -> tuple[Variable, ...]:
    made = [
        Variable("positions", ("fish", "spatial"), LENGTH, "fish_positions"),
        Variable("velocities", ("fish", "spatial"), VELOCITY, "fish_velocities"),
    ]
    for axis in "xyz" if components else "":
        made.append(Variable(axis, ("fish",), LENGTH, f"fish_{axis}_position"))
        made.append(Variable(f"v{axis}", ("fish",), VELOCITY, f"fish_{axis}_velocity"))
    for name in METRICS:
        is_length = name == "spread"
        made.append(
            Variable(
                name,
                (),
                LENGTH if is_length else "1",
                LONG_NAMES.get(name, name),
                valid_range=None if is_length else (0.0, 1.0),
            )
        )
    return tuple(made)


def _parameters(
    params: Couzin, n_steps: int, save_every: int, name: str, unwrap: bool
) -> dict[str, str | int | float]:
    values = {field.name: getattr(params, field.name) for field in dataclasses.fields(Couzin)}
    held = {name: "none" if value is None else value for name, value in values.items()}
    return {
        **held,
        "scenario_name": name,
        "history": "simulated by entropilot simulate fish",
        "n_steps": n_steps,
        "save_interval": save_every,
        "centre": "unwrapped" if unwrap else "mean of wrapped positions",
        "velocity_correlation_pairs": sampled_pairs(params.n_fish) or "all",
    }


def _summary(series: Mapping[str, NDArray[Any]]) -> Attributes:
    names = ("polarization", "rotation", "order_index", "oceanic_schooling_index")
    sums = summary({name: series[name] for name in names})
    return {
        f"{kind}_{name}": sums[f"{name}_{kind}"] for name in names for kind in ("final", "mean")
    }


def _csv(columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{v:.8e}" if isinstance(v, float) else v for v in row])
    return text.getvalue()
