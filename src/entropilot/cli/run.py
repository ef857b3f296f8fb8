"""``entropilot run``: one experiment, start to finish, into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entropilot.cli.console import (
    FOUND,
    TableFormat,
    err,
    out,
    print_bytes,
    print_json,
    printable,
    progress_bar,
)
from entropilot.cli.reports import report_meta
from entropilot.cli.training import training_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from entropilot.diagnosis.assessment import Assessment
    from entropilot.experiments import ExperimentConfig
    from entropilot.experiments.arms import ArmPlan
    from entropilot.policy.training.results import Comparison
    from entropilot.traces.summary import Summary
    from entropilot.traces.table import Traces


def run(
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML); an embedded one without.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="reasoner, smollm2, tiny, a folder, a GGUF file or a Hugging Face id. Without a "
            "file, a language model is diagnosed and the reasoner is trained."
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(help="Recipe to train in place of the file's; may be given several times."),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="Of training; 0 diagnoses.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds a recipe.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes side by side.")] = None,
    problems: Annotated[int | None, typer.Option(min=1, help="Problems of a diagnosis.")] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Answers to each, in a diagnosis.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the folder of the results.")] = None,
    folder: Annotated[str | None, typer.Option(help="Where folders of results lie.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done, and what it costs.")
    ] = False,
    output: Annotated[TableFormat, typer.Option("--format", help="text, json or md.")] = (
        TableFormat.TEXT
    ),
) -> None:
    """Train a policy under each recipe, or sample and measure a model, and write one report.

    The same command again goes on where it was stopped, and ends with the same results. It exits
    with 1 where an arm failed, or stopped at numbers that are not finite.
    """
    from entropilot.experiments import DIAGNOSIS_FILE, load_config

    speaks = model is not None and model != "reasoner"
    chosen = DIAGNOSIS_FILE if experiment is None and speaks and not steps else experiment
    config = load_config(
        chosen,
        overrides={
            "model.name": model,
            "task.n_problems": problems,
            "sampling.n_samples": samples,
            "train.steps": steps,
            "train.workers": workers,
            "run.name": name,
            "run.folder": folder,
            "run.seed": seed,
            "run.n_seeds": seeds,
        },
        recipes=recipe,
    )
    if config.train.steps:
        _train(config, dry_run=dry_run, output=output)
    else:
        _diagnose(config, dry_run=dry_run, output=output)


def _train(config: ExperimentConfig, *, dry_run: bool, output: TableFormat) -> None:
    from entropilot.experiments import plan_training, run_training

    planned = plan_training(config)
    if dry_run and output is TableFormat.JSON:
        print_json(
            {
                "folder": str(planned.folder),
                "arms": planned.n_arms,
                "arms_done": planned.n_arms_done,
                "tokens": planned.n_tokens,
                "seconds": planned.seconds,
                "sentences": planned.sentences,
            }
        )
        return
    _say(planned.sentences, dry_run=dry_run)
    if dry_run:
        return

    def render(config: ExperimentConfig, comparison: Comparison, folder: Path) -> Sequence[Path]:
        from entropilot.report.training import write_training_report

        title = config.report.title or f"Recipes on {config.task.name}"
        meta = report_meta(title, [config.model.name, config.task.name])
        return write_training_report(folder / "report.html", comparison, meta=meta)

    with training_table(config.train.steps, planned.n_arms - planned.n_arms_done) as update:

        def heard(arm: ArmPlan, row: Mapping[str, Any]) -> None:
            update(arm.section.title, arm.seed, row)

        def warn(sentence: str) -> None:
            err().print(printable(sentence), style="yellow", markup=False, soft_wrap=True)

        result = run_training(config, heard=heard, warn=warn, render=render)
    for arm, reason in result.comparison.unfinished.items():
        said = printable(f"{arm} did not end: {reason}")
        err().print(said, style="red", markup=False, soft_wrap=True)
    if output is TableFormat.JSON:
        print_json(
            {
                "folder": str(result.folder),
                "files": [str(file) for file in result.files],
                "failed": dict(result.failed),
                "stopped": dict(result.stopped),
            }
        )
    elif output is TableFormat.MD:
        from entropilot.report.training_forms import training_markdown

        print_bytes(training_markdown(result.comparison).encode())
    else:
        _print_comparison(result.comparison)
    _written(result.files)
    if result.failed or result.stopped:
        raise SystemExit(FOUND)


def _print_comparison(comparison: Comparison) -> None:
    from rich.table import Table

    from entropilot.report.training_numbers import recipe_numbers
    from entropilot.report.training_tables import summary_table
    from entropilot.report.training_verdict import verdict_sentences

    for i, sentence in enumerate(verdict_sentences(comparison)):
        out().print(printable(sentence), style="bold" if i == 0 else "", markup=False)
    head, rows = summary_table(recipe_numbers(comparison))
    shown = Table(box=None, pad_edge=False)
    for name in head:
        shown.add_column(name)
    for row in rows:  # an interval stands under its value, or the table would not fit a terminal
        shown.add_row(*(printable(cell).replace(" [", "\n[") for cell in row))
    out().print()
    out().print(shown)


def _diagnose(config: ExperimentConfig, *, dry_run: bool, output: TableFormat) -> None:
    from entropilot.experiments import plan_diagnosis, run_diagnosis

    planned = plan_diagnosis(config)
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
    _say(planned.sentences, dry_run=dry_run)
    if dry_run:
        return
    assessments: list[Assessment] = []

    def render(
        config: ExperimentConfig, _traces: Traces, summary: Summary, folder: Path
    ) -> Sequence[Path]:
        from entropilot.diagnosis.assess import assess
        from entropilot.files import write_atomically
        from entropilot.report import render_markdown, write_html, write_json

        assessment = assess(summary, rate=config.report.rate, seed=config.run.seed)
        assessments.append(assessment)
        title = config.report.title or "Which answers look failing?"
        meta = report_meta(title, [config.model.name, config.task.name])
        page = write_html(folder / "report.html", assessment, reading=None, meta=meta)
        text = folder / "report.md"
        write_atomically(text, render_markdown(assessment, meta=meta))
        return [page, text, write_json(folder / "report.json", assessment, meta=meta)]

    with progress_bar(config.run.name) as update:
        result = run_diagnosis(config, progress=update, render=render)
    if output is TableFormat.JSON:
        print_json({"folder": str(result.folder), "files": [str(file) for file in result.files]})
        return
    from entropilot.report import print_assessment, render_markdown

    if output is TableFormat.MD:
        print_bytes(render_markdown(assessments[0]).encode())
    else:
        print_assessment(assessments[0], out())
    _written(result.files)


def _say(sentences: Sequence[str], *, dry_run: bool) -> None:
    for sentence in sentences:
        (out() if dry_run else err()).print(printable(sentence), markup=False, soft_wrap=True)


def _written(files: Sequence[Path]) -> None:
    for file in files:
        err().print(printable(f"written: {file}"), markup=False, soft_wrap=True)
