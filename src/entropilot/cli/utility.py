"""``entropilot utility``: which steps of a chain settle the answer, and which chain to trust."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entropilot.cli.console import (
    INTERRUPTED,
    TableFormat,
    err,
    fail,
    out,
    print_json,
    progress_bar,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from entropilot.traces.utility_run import UtilityProgress


class Mode(StrEnum):
    """Whose answer is forced on the inspector."""

    GOLD = "gold"
    OWN = "own"


class Estimate(StrEnum):
    """How the entropy of a server's truncated lists is taken."""

    LUMP = "lump"
    BOUNDS = "bounds"
    RENORMALISE = "renormalise"


class Unit(StrEnum):
    """Of the entropies in the report."""

    NATS = "nats"
    BITS = "bits"


class DeviceName(StrEnum):
    """Where a local inspector runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def utility(
    chains: Annotated[
        Path,
        typer.Argument(
            help="JSONL, one chain a line: question, steps (or chain), reference or answer, and "
            "optionally correct, id, group, category; - reads standard input."
        ),
    ],
    inspector: Annotated[
        str,
        typer.Option(
            help="smollm2, a folder, a .gguf file, a Hugging Face id, or http://host/v1 of a "
            "server that shows log-probabilities of prompts (vLLM)."
        ),
    ] = "smollm2",
    mode: Annotated[
        Mode, typer.Option(help="gold: the reference answer; own: the chain's own answer.")
    ] = Mode.GOLD,
    connector: Annotated[
        str | None, typer.Option(help=r"Text before the answer. [\nThe answer is ]")
    ] = None,
    steps: Annotated[str, typer.Option(help="How chains in one text are cut, or auto.")] = "auto",
    form: Annotated[TableFormat, typer.Option("--format", help="text, json or md.")] = (
        TableFormat.TEXT
    ),
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; - is standard output.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder that keeps each chain's result.")
    ] = None,
    skip_long: Annotated[
        bool, typer.Option("--skip-long", help="Leave out chains that do not fit the context.")
    ] = False,
    unit: Annotated[Unit, typer.Option(help="Of the entropies in the report.")] = Unit.NATS,
    dtype: Annotated[str, typer.Option(help="Of a local inspector's weights.")] = "float32",
    device: Annotated[
        DeviceName, typer.Option(help="Of a local inspector; auto takes a GPU where there is one.")
    ] = DeviceName.AUTO,
    server_model: Annotated[
        str | None, typer.Option(help="The model to ask, where a server has several.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Tokens that a server is asked to list.")] = 20,
    vocab_size: Annotated[int, typer.Option(help="Of the server's model; gives upper bounds.")] = 0,
    estimate: Annotated[Estimate, typer.Option(help="Of a server's lists.")] = Estimate.LUMP,
    timeout: Annotated[float, typer.Option(help="Seconds for one reply of a server.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Say which steps of a chain settle the answer, which are idle, and which chain to trust.

    An inspector model reads the question and the first k steps; h_k is the entropy of the answer
    that is then forced on it.
    """
    from entropilot import __version__
    from entropilot.models.open_inspector import open_inspector
    from entropilot.report.utility_json import utility_json
    from entropilot.traces.chains import read_chains
    from entropilot.traces.inspection import CONNECTOR
    from entropilot.traces.utility_run import measure_chains

    source = sys.stdin.buffer if str(chains) == "-" else chains
    found = read_chains(source, which=mode.value, rule=steps)
    try:
        with progress_bar("inspecting") as update:
            opened = open_inspector(
                inspector,
                dtype=dtype,
                device=device.value,
                server_model=server_model,
                listed=top_k,
                vocab_size=vocab_size,
                timeout=timeout,
                progress=lambda doing: update(0.0, doing),
            )
            measured = measure_chains(
                found,
                opened.inspector,
                identity=opened.identity,
                connector=CONNECTOR if connector is None else connector.replace("\\n", "\n"),
                estimate=estimate.value,
                skip_long=skip_long,
                resume=resume,
                progress=_rate(update),
            )
    except KeyboardInterrupt:
        kept = "nothing is kept; --resume FOLDER keeps each chain's result"
        if resume is not None:
            kept = "what is finished is kept, the same command goes on from there"
        fail(f"interrupted; {kept}", INTERRUPTED)
    document = utility_json(
        measured,
        inspector=opened.name,
        source="standard input" if str(chains) == "-" else chains.name,
        version=__version__,
        estimate=estimate.value if opened.listed else None,
        unit=unit.value,
        seed=seed,
    )
    _write(form, output, document)


def _rate(update: Callable[[float, str], None]) -> Callable[[UtilityProgress], None]:
    def report(progress: UtilityProgress) -> None:
        seconds = max(progress.seconds, 1e-9)
        fresh = progress.done - progress.reused
        doing = f"{progress.done:,}/{progress.total:,} chains"
        if fresh:
            doing += f", {fresh / seconds:,.1f} chains/s, {progress.tokens / seconds:,.0f} tokens/s"
        if progress.reused:
            doing += f", {progress.reused:,} kept from before"
        update(progress.done / progress.total, doing)

    return report


def _write(form: TableFormat, output: Path | None, document: dict[str, Any]) -> None:
    from entropilot.report.utility import print_utility, utility_markdown

    if output is None or str(output) == "-":
        if form is TableFormat.JSON:
            print_json(document)
        elif form is TableFormat.MD:
            sys.stdout.write(utility_markdown(document))
        else:
            print_utility(document, out())
        return
    from entropilot.files import write_atomically

    write_atomically(output, _text(form, document))
    err().print(f"written: {output}", markup=False, soft_wrap=True)


def _text(form: TableFormat, document: dict[str, Any]) -> str:
    from entropilot.report.utility import print_utility, utility_markdown

    if form is TableFormat.JSON:
        import json

        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form is TableFormat.MD:
        return utility_markdown(document)
    import io

    from rich.console import Console

    written = io.StringIO()
    print_utility(document, Console(file=written, width=160, highlight=False))
    return written.getvalue()
