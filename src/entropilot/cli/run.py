"""``entropilot run``: one experiment, start to finish, into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropilot.cli.console import (
    TableFormat,
    err,
    out,
    print_bytes,
    print_json,
    printable,
    progress_bar,
)
from entropilot.cli.reports import report_meta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entropilot.diagnosis.assessment import Assessment
    from entropilot.experiments import ExperimentConfig
    from entropilot.traces.summary import Summary
    from entropilot.traces.table import Traces


def run(
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML); the embedded default without.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="smollm2, tiny, a folder, a GGUF file or a Hugging Face id.")
    ] = None,
    problems: Annotated[int | None, typer.Option(min=1, help="How many problems.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Answers to each.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the folder of the results.")] = None,
    folder: Annotated[str | None, typer.Option(help="Where folders of results lie.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of problems and draws.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    output: Annotated[TableFormat, typer.Option("--format", help="text, json or md.")] = (
        TableFormat.TEXT
    ),
) -> None:
    """Sample answers, measure every token and step, and write a report.

    The same command again goes on where it was stopped, and ends with the same files.
    """
    from entropilot.experiments import load_config, plan, run_experiment

    config = load_config(
        experiment,
        overrides={
            "model.name": model,
            "task.n_problems": problems,
            "sampling.n_samples": samples,
            "run.name": name,
            "run.folder": folder,
            "run.seed": seed,
        },
    )
    planned = plan(config)
    if dry_run and output is TableFormat.JSON:
        print_json(
            {
                "folder": str(planned.folder),
                "problems": planned.n_problems,
                "answers": planned.n_answers,
                "chunks": planned.n_chunks,
                "chunks_done": planned.n_chunks_done,
                "sentences": planned.sentences,
            }
        )
        return
    for sentence in planned.sentences:
        (out() if dry_run else err()).print(sentence, markup=False)
    if dry_run:
        return
    assessments: list[Assessment] = []

    def render(
        config: ExperimentConfig, _traces: Traces, summary: Summary, folder: Path
    ) -> Sequence[Path]:
        from entropilot.diagnosis.assess import assess
        from entropilot.report import write_html

        assessment = assess(summary, rate=config.report.rate, seed=config.run.seed)
        assessments.append(assessment)
        meta = report_meta(config.report.title, [config.model.name, config.task.name])
        return [write_html(folder / "report.html", assessment, reading=None, meta=meta)]

    with progress_bar(config.run.name) as update:
        result = run_experiment(config, progress=update, render=render)
    if output is TableFormat.JSON:
        print_json({"folder": str(result.folder), "files": [str(file) for file in result.files]})
        return
    from entropilot.report import print_assessment, render_markdown

    if output is TableFormat.MD:
        print_bytes(render_markdown(assessments[0]).encode())
    else:
        print_assessment(assessments[0], out())
    for file in result.files:
        err().print(printable(f"written: {file}"), markup=False, soft_wrap=True)
