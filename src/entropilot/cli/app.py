"""The command ``entropilot`` and how it starts."""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated

import typer

from entropilot import __version__
from entropilot.cli import (
    diagnose,
    epiplexity,
    metrics,
    models,
    recipes,
    run,
    score,
    simulate,
    study,
    support,
    utility,
)
from entropilot.cli.endings import Ending

app = typer.Typer(
    name="entropilot",
    cls=Ending,
    help="Measure entropy at every step, and steer by it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"entropilot {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Measure entropy at every step, and steer by it."""


app.command("run")(run.run)
app.command("diagnose")(diagnose.diagnose)
app.command("score")(score.score)
app.command("support")(support.support)
app.command("utility")(utility.utility)
app.command("epiplexity")(epiplexity.epiplexity)
app.command("simulate")(simulate.simulate)
app.command("report")(metrics.report)
app.add_typer(study.app, name="study")
app.add_typer(recipes.app, name="recipes")
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a narrow encoding must not end a command
    app()
