"""``entropilot epiplexity``: which of these data sets holds more learnable structure?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from entropilot.cli.checks import check_output
from entropilot.cli.console import err, out, print_bytes, print_json, printable, progress_bar
from entropilot.errors import ConfigurationError

SLOT_BYTES: Final = 16


class DataFormat(StrEnum):
    """Form of the comparison."""

    TEXT = "text"
    JSON = "json"
    MD = "md"
    HTML = "html"


class SymbolUnit(StrEnum):
    """What a symbol of a text is."""

    BYTES = "bytes"
    CHARACTERS = "characters"


ENDINGS: Final = {
    ".htm": DataFormat.HTML,
    ".html": DataFormat.HTML,
    ".json": DataFormat.JSON,
    ".markdown": DataFormat.MD,
    ".md": DataFormat.MD,
}


def epiplexity(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Text, any binary file, .npy of token ids, or .jsonl with a text field; gzip and "
            "zstd too. - is standard input."
        ),
    ],
    length: Annotated[
        int, typer.Option(help="Symbols read of each; all are cut to the shortest.")
    ] = 1_000_000,
    unit: Annotated[SymbolUnit, typer.Option(help="Symbols of a text.")] = SymbolUnit.BYTES,
    field: Annotated[str, typer.Option(help="Of JSONL records: a text or token ids.")] = "text",
    raw: Annotated[bool, typer.Option("--raw", help="Read every file as plain bytes.")] = False,
    vocabulary: Annotated[
        int | None, typer.Option(help="Size of the tokens' alphabet. [largest id + 1]")
    ] = None,
    order: Annotated[int, typer.Option(help="Longest context the observer tries.")] = 6,
    readings: Annotated[int, typer.Option(help="Random orders of reading, for intervals.")] = 5,
    memory: Annotated[int, typer.Option(help="Of the observer, MiB.")] = 128,
    form: Annotated[
        DataFormat | None, typer.Option("--format", help="text, json, md or html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; its ending chooses the form."),
    ] = None,
) -> None:
    """Say which data sets hold more learnable structure, and how much is noise.

    A bounded observer reads each data set. S is what it had to learn, in bits; H is what stays
    undecided. Compared at equal length, with intervals.
    """
    from entropilot.learning.data_comparison import compare_data
    from entropilot.learning.symbol_files import read_symbols
    from entropilot.report.epiplexity import epiplexity_document

    for option, value in (
        ("--length", length),
        ("--readings", readings),
        ("--memory", memory),
    ):
        if value < 1:
            raise ConfigurationError(f"{option} is {value}; expected at least 1")
    check_output(output, [path for path in data if str(path) != "-"], example="data.html")
    chosen = _chosen(form, as_json, output)
    with progress_bar("reading") as update:
        streams = []
        for path in data:
            update(0.0, str(path))
            streams.append(read_symbols(path, most=length, unit=unit.value, field=field, raw=raw))
        update(1.0, "read")
    with progress_bar("learning") as update:
        comparison = compare_data(
            streams,
            vocabulary=vocabulary,
            order=order,
            readings=readings,
            slots=(memory << 20) // SLOT_BYTES,
            progress=_with_rate(update, sum(len(s.symbols) for s in streams) * readings),
        )
    _write(epiplexity_document(comparison), chosen, output, data)


def _chosen(form: DataFormat | None, as_json: bool, output: Path | None) -> DataFormat:
    if as_json and form not in (None, DataFormat.JSON):
        raise ConfigurationError(f"--json and --format {form} ask for two forms; choose one")
    if as_json:
        return DataFormat.JSON
    if form is not None:
        return form
    ending = "" if output is None else output.suffix.lower()
    return ENDINGS.get(ending, DataFormat.TEXT)


def _write(
    document: dict[str, Any], form: DataFormat, output: Path | None, data: list[Path]
) -> None:
    """The comparison in its form; the answer on standard error where a file takes the rest."""
    from entropilot.report.epiplexity import epiplexity_markdown, print_epiplexity

    to_file = output is not None and str(output) != "-"
    if form is DataFormat.TEXT and not to_file:
        print_epiplexity(document, out())
        return
    if form is DataFormat.JSON and not to_file:
        print_json(document)
        return
    content = _content(document, form, data) if form is not DataFormat.MD else None
    content = epiplexity_markdown(document) if content is None else content
    if not to_file or output is None:
        print_bytes(content.encode(errors="replace"))
        return
    from entropilot.files import write_atomically

    write_atomically(output, content)
    print_epiplexity(document, err())
    err().print(printable(f"written: {output}"), markup=False, soft_wrap=True)


def _content(document: dict[str, Any], form: DataFormat, data: list[Path]) -> str:
    if form is DataFormat.JSON:
        import msgspec

        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
    if form is DataFormat.HTML:
        from entropilot.cli.reports import names_of, report_meta
        from entropilot.report.epiplexity_html import render_epiplexity

        return render_epiplexity(document, meta=report_meta("Data report", names_of(data)))
    import io

    from rich.console import Console

    from entropilot.cli.reports import TEXT_WIDTH
    from entropilot.report.epiplexity import print_epiplexity

    console = Console(file=io.StringIO(), width=TEXT_WIDTH, color_system=None)
    with console.capture() as written:
        print_epiplexity(document, console)
    return written.get()


def _with_rate(update: Any, symbols: int) -> Any:
    """Progress with symbols a second."""
    import time

    start = time.monotonic()

    def progress(share: float, doing: str) -> None:
        seconds = max(time.monotonic() - start, 1e-9)
        update(share, f"{doing}, {share * symbols / seconds / 1e6:.2f} M symbols/s")

    return progress
