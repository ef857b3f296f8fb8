"""``entropilot recipes``: what can be trained, what each is for, and its block for a file."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from entropilot.cli.console import TableFormat, out, print_bytes, print_json
from entropilot.errors import ConfigurationError

app = typer.Typer(help="List recipes: objectives with a name and knobs.")
FormatOption = Annotated[TableFormat, typer.Option("--format", help="text, json or md.")]


@app.callback(invoke_without_command=True)
def list_recipes(context: typer.Context, output: FormatOption = TableFormat.TEXT) -> None:
    """List every recipe: what it does, when it helps, its paper and its knobs."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    from entropilot.policy.recipe_table import RECIPES

    recipes = list(RECIPES.values())
    if output is TableFormat.JSON:
        print_json([_plain(recipe) for recipe in recipes])
        return
    head = ("recipe", "what it is", "when it helps", "paper", "knobs")
    rows = [
        (r.name, r.title, r.helps, r.paper, ", ".join(knob.name for knob in r.knobs))
        for r in recipes
    ]
    if output is TableFormat.MD:
        from entropilot.report.markdown import table

        print_bytes((table(head, "lllll", rows) + "\n").encode())
        return
    shown = Table(box=None, pad_edge=False)
    for name in head:
        shown.add_column(name)
    for row in rows:
        shown.add_row(*row)
    out().print(shown)
    out().print("\nentropilot recipes show NAME says more, with --toml the block for a file.")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Of the recipe.")],
    toml: Annotated[
        bool, typer.Option("--toml", help="Only the block for an experiment file.")
    ] = False,
    verl: Annotated[
        bool, typer.Option("--verl", help="Only how it is chosen in verl: environment, overrides.")
    ] = False,
    output: FormatOption = TableFormat.TEXT,
) -> None:
    """Show one recipe: its objective in full, its knobs with their ranges, when it does nothing."""
    from rich.table import Table

    from entropilot.policy.recipe_table import find_recipe

    recipe = find_recipe(name)
    if toml and verl:
        raise ConfigurationError("--toml and --verl print a block each; give one of them")
    if toml:
        print_bytes(recipe.to_toml().encode())
        return
    if verl:
        from entropilot.policy.hosts.verl_recipes import verl_block

        print_bytes(verl_block(recipe).encode())
        return
    if output is TableFormat.JSON:
        print_json(_plain(recipe))
        return
    facts = (
        (recipe.name, recipe.title),
        ("what it does", recipe.what),
        ("when it helps", recipe.helps),
        ("when it does nothing", recipe.idle),
        ("objective", recipe.objective().describe()),
        ("updates a rollout", f"at least {recipe.updates}"),
        ("paper", recipe.paper),
    )
    knobs = [(k.name, str(k.default), k.range, k.meaning) for k in recipe.knobs]
    head = ("knob", "default", "range", "meaning")
    if output is TableFormat.MD:
        from entropilot.report.markdown import table

        said = "\n".join(f"- **{key}**: {value}" for key, value in facts)
        print_bytes(f"{said}\n\n{table(head, 'llll', knobs)}\n".encode())
        return
    shown = Table(box=None, pad_edge=False, show_header=False)
    for key, value in facts:
        shown.add_row(key, value)
    out().print(shown)
    if knobs:
        knob_table = Table(box=None, pad_edge=False)
        for title in head:
            knob_table.add_column(title)
        for row in knobs:
            knob_table.add_row(*row)
        out().print()
        out().print(knob_table)


def _plain(recipe: Any) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "title": recipe.title,
        "what": recipe.what,
        "helps": recipe.helps,
        "idle": recipe.idle,
        "paper": recipe.paper,
        "updates": recipe.updates,
        "objective": recipe.objective().describe(),
        "knobs": [
            {"name": k.name, "default": k.default, "range": k.range, "meaning": k.meaning}
            for k in recipe.knobs
        ],
    }
