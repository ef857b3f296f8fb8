"""``entropilot simulate``: gases, schools, active matter, three bodies, a channel."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from entropilot.cli.console import err, fail, out, printable, progress_bar

FORMS = {"nc": ".nc", "zarr": ".zarr"}
FILMS = ("html", "mp4", "gif", "both", "none")


def simulate(
    name: Annotated[
        str | None, typer.Argument(help="Which simulation; without one they are listed.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A named set of knobs.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder; runs/simulations/NAME-PRESET by default."),
    ] = None,
    knobs: Annotated[
        list[str] | None, typer.Option("--set", help="Change a knob: --set n=500; repeat it.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Knobs from a TOML file (and preset = ...).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    form: Annotated[str, typer.Option("--format", help="Trajectory as nc or zarr.")] = "nc",
    film: Annotated[
        str, typer.Option(help="html (3-D page), mp4, gif, both (html and mp4) or none.")
    ] = "html",
) -> None:
    """Simulate, and write a trajectory that xarray opens, a picture and a film.

    A run that was cut off goes on when the same command is given again.
    """
    if name is None:
        _list()
        return
    if form not in FORMS:
        fail(f"--format {form!r}: expected one of {', '.join(FORMS)}")
    if film not in FILMS:
        fail(f"--film {film!r}: expected one of {', '.join(FILMS)}")
    from entropilot.experiments.simulations import chosen_knobs, load_simulation
    from entropilot.experiments.simulations import simulate as run

    simulation = load_simulation(name)
    changes, base = _changes(knobs or [], seed), None
    if config is not None and simulation.reads is not None and config.suffix != ".toml":
        base = simulation.reads(config)
    elif config is not None:
        held = _toml(config)
        named = held.pop("preset", None)
        preset, changes = preset or named, held | changes
    chosen = chosen_knobs(simulation, preset, changes, base)
    label = config.stem if config else preset or next(iter(simulation.presets))
    folder = output or Path("runs") / "simulations" / f"{name}-{label}"
    with progress_bar(name) as update:
        done = run(
            simulation,
            chosen,
            folder,
            form=FORMS[form],
            film=film,  # type: ignore[arg-type]
            command=_command(name, preset, config, knobs or [], seed),
            progress=update,
        )
    for sentence in done.findings:
        out().print(printable(sentence), markup=False, soft_wrap=True)
    for remark in done.remarks:
        err().print(f"note: {printable(remark)}", markup=False, soft_wrap=True)
    out().print("\n".join(str(file) for file in done.files), markup=False, soft_wrap=True)


def _command(
    name: str, preset: str | None, config: Path | None, knobs: list[str], seed: int | None
) -> str:
    words = ["entropilot", "simulate", name]
    words += ["--preset", preset] if preset else []
    words += ["--config", str(config)] if config else []
    words += [part for knob in knobs for part in ("--set", knob)]
    return shlex.join([*words, *(["--seed", str(seed)] if seed is not None else [])])


def _list() -> None:
    from rich.table import Table

    from entropilot.experiments.simulations import SIMULATIONS, load_simulation

    table = Table("simulation", "what it is", "presets", box=None, pad_edge=False)
    for name, (_, about) in SIMULATIONS.items():
        table.add_row(name, about, ", ".join(load_simulation(name).presets))
    out().print(table)


def _changes(knobs: list[str], seed: int | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for knob in knobs:
        key, sign, value = knob.partition("=")
        if not sign or not key.strip():
            fail(f"--set {knob!r}: expected knob=value")
        made[key.strip()] = value.strip()
    return made | ({"seed": seed} if seed is not None else {})


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"--config: {path} can't be read ({error.strerror})")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        fail(f"--config: {path} is not TOML ({error})")
