"""``entropilot report``: the curves of any metrics file as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entropilot.cli.console import err


def report(
    metrics: Annotated[
        Path, typer.Argument(help="metrics.jsonl of a run, or of meters in your own loop.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="HTML file. [beside the metrics]")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Metrics",
) -> None:
    """Draw every quantity of a metrics file against steps, layer by layer."""
    from entropilot.cli.reports import report_meta
    from entropilot.report.metrics import write_metrics_report

    target = output or metrics.with_suffix(".html")
    write_metrics_report(metrics, target, meta=report_meta(title, [str(metrics)]))
    err().print(f"report: {target}", highlight=False)
