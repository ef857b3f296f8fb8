"""The command ``entropilot`` and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from entropilot import __version__
from entropilot.cli import diagnose, models, run, study, support
from entropilot.cli.console import INTERRUPTED, fail
from entropilot.errors import EntropilotError

app = typer.Typer(
    name="entropilot",
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
app.command("support")(support.support)
app.add_typer(study.app, name="study")
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line; an error that we know ends with its message and code 2."""
    try:
        app()
    except EntropilotError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail(
            "interrupted; what is finished is kept, the same command goes on from there",
            INTERRUPTED,
        )
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
