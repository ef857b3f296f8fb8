"""``entropilot study``: the papers' claims beside what is measured here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropilot.cli.checks import check_output
from entropilot.cli.console import (
    TableFormat,
    err,
    fail,
    out,
    print_json,
    printable,
    progress_bar,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from entropilot.studies.store import Store
    from entropilot.studies.study import Scale
    from entropilot.studies.table import StudyRow

app = typer.Typer(
    help="Re-run the papers' central claims: list, show, run, table.", no_args_is_help=True
)

FolderOption = Annotated[Path, typer.Option("--folder", help="Where measurements are kept.")]
FormatOption = Annotated[TableFormat, typer.Option("--format", help="text, json or md.")]
DEFAULT_FOLDER = Path("runs") / "studies"
STYLES = {"holds": "green", "in part": "yellow", "not here": "red", "not run": "dim"}


@app.command("list")
def list_studies(
    every: Annotated[bool, typer.Option("--all", help="Also papers without a study yet.")] = False,
    output: FormatOption = TableFormat.TEXT,
) -> None:
    """List the studies, and what each scale runs."""
    from entropilot.studies.catalogue import PAPERS
    from entropilot.studies.registry import load_study, study_names

    records = [
        {
            "slug": paper.slug,
            "title": paper.title,
            "paper": paper.paper,
            "field": paper.field,
            "role": paper.role,
            "idea": paper.idea,
            "built": paper.slug in study_names(),
            "scales": dict(load_study(paper.slug).scales) if paper.slug in study_names() else {},
        }
        for paper in PAPERS
        if every or paper.slug in study_names()
    ]
    if output is TableFormat.JSON:
        print_json(records)
    elif output is TableFormat.MD:
        print("| study | paper | field | idea |\n|---|---|---|---|")
        for r in records:
            print(f"| {r['slug']} | {r['paper']} | {r['field']} | {r['idea']} |")
    else:
        from rich.table import Table

        table = Table("study", "paper", "what it says", "quick scale", box=None, pad_edge=False)
        for r in records:
            scales = r["scales"]
            quick = scales.get("quick", "") if isinstance(scales, dict) else ""
            table.add_row(
                str(r["slug"]), str(r["paper"]), str(r["idea"]), quick or "[dim]no study yet"
            )
        out().print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Study by name.")],
    folder: FolderOption = DEFAULT_FOLDER,
    output: FormatOption = TableFormat.TEXT,
) -> None:
    """Show one study: the claim, what was measured, and the verdict."""
    from entropilot.studies.store import Store
    from entropilot.studies.table import as_markdown, as_records

    row = _row(name, Store(_folder(folder)))
    if output is TableFormat.JSON:
        print_json(as_records([row])[0])
    elif output is TableFormat.MD:
        print(as_markdown([row]))
    else:
        _print_row(row)


@app.command("run")
def run(
    names: Annotated[list[str], typer.Argument(help="Studies by name, or 'all'.")],
    scale: Annotated[str, typer.Option(help="smoke (seconds), quick (minutes) or full.")] = "quick",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds; the study's own by default.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure again what is stored.")] = False,
    folder: FolderOption = DEFAULT_FOLDER,
    output: FormatOption = TableFormat.TEXT,
) -> None:
    """Run studies; what is measured already is kept, so an interrupted run goes on."""
    from entropilot.studies.registry import load_study, study_names
    from entropilot.studies.runner import run_study
    from entropilot.studies.store import Store
    from entropilot.studies.table import as_records

    store, size = Store(_folder(folder)), _scale(scale)
    chosen = [load_study(name) for name in (study_names() if "all" in names else names)]
    rows = []
    for study in chosen:
        with progress_bar(study.slug) as update:
            stored = run_study(study, size, store, n_seeds=seeds, again=again, progress=update)
        _save_figure(study.draw(stored.measurements), folder / f"{study.slug}.{scale}.png")
        rows.append(_row(study.slug, store))
        if output is TableFormat.TEXT:
            _print_row(rows[-1])
            out().print(f"figure: {folder / f'{study.slug}.{scale}.png'}\n", style="dim")
    if output is not TableFormat.TEXT:
        print_json(as_records(rows)) if output is TableFormat.JSON else _print_markdown(rows)


@app.command("table")
def table(
    folder: FolderOption = DEFAULT_FOLDER,
    write: Annotated[
        Path | None, typer.Option(help="Write the page of results to this file.")
    ] = None,
    output: FormatOption = TableFormat.TEXT,
) -> None:
    """All 39 papers: claim beside measurement, from stored runs."""
    from entropilot.files import write_atomically
    from entropilot.studies.store import Store
    from entropilot.studies.table import as_markdown, as_records, study_rows

    rows = study_rows(Store(_folder(folder)))
    if write is not None:
        check_output(write, [], example="RESULTS.md")
        write_atomically(write, as_markdown(rows))
        err().print(printable(f"written: {write}"), markup=False, soft_wrap=True)
    if output is TableFormat.JSON:
        print_json(as_records(rows))
    elif output is TableFormat.MD:
        _print_markdown(rows)
    else:
        from rich.table import Table

        text = Table("study", "paper", "scale", "seeds", "verdict", box=None, pad_edge=False)
        for row in rows:
            text.add_row(
                row.slug,
                row.paper,
                row.scale or "-",
                str(len(row.seeds) or "-"),
                f"[{STYLES[row.verdict]}]{row.verdict}{'' if row.built else ' (no study yet)'}",
            )
        out().print(text)


def _row(name: str, store: Store) -> StudyRow:
    from entropilot.errors import ConfigurationError, unknown_name
    from entropilot.studies.catalogue import PAPERS
    from entropilot.studies.table import study_row

    papers = {paper.slug: paper for paper in PAPERS}
    if name not in papers:
        raise ConfigurationError(unknown_name("study", name, papers))
    return study_row(papers[name], store)


def _folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        fail(f"--folder {folder} is a file; measurements are kept in a folder")
    return folder


def _scale(name: str) -> Scale:
    scales: dict[str, Scale] = {"smoke": "smoke", "quick": "quick", "full": "full"}
    if name not in scales:
        fail(f"--scale {name!r}, expected smoke, quick or full")
    return scales[name]


def _print_markdown(rows: list[StudyRow]) -> None:
    from entropilot.studies.table import as_markdown

    print(as_markdown(rows))


def _print_row(row: StudyRow) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = out()
    console.print(f"[bold]{escape(row.title)}[/] ({row.slug}, arXiv {row.paper})")
    console.print(f"claim: {escape(row.claim)}")
    if row.scale is None:
        note = "not run" if row.built else "no study yet"
        hint = f": entropilot study run {row.slug}" if row.built else ""
        console.print(f"[dim]{note}{hint}")
        return
    table = Table("statement", "measured", "expected", "holds", pad_edge=False)
    for finding in row.findings:
        holds = {True: "[green]yes", False: "[red]no", None: "[dim]not tested"}[finding.holds]
        check = " [dim](regression check)" if finding.check else ""
        table.add_row(
            escape(finding.statement) + check,
            escape(finding.measured),
            escape(finding.expected),
            holds,
        )
    console.print(table)
    console.print(
        f"verdict: [{STYLES[row.verdict]}]{row.verdict}[/] "
        f"(scale {row.scale}, seeds {', '.join(map(str, row.seeds))}, {row.seconds:.0f} s)"
    )


def _save_figure(figure: Figure, path: Path) -> None:
    from entropilot.files import replacing

    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
