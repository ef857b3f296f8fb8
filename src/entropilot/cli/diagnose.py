"""``entropilot diagnose``: from a log of token log-probabilities to a report."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entropilot.cli.console import FINE, FOUND, err, out, progress_bar
from entropilot.cli.labels import label_source
from entropilot.cli.reports import report_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entropilot.diagnosis.assessment import Assessment
    from entropilot.traces.engines import Progress
    from entropilot.traces.reading.options import ReadOptions
    from entropilot.traces.summary import Summary

SHARD_BYTES = 64 << 20  # of a log file between two signs of progress
ONE_PROCESS_BYTES = 64 << 20  # starting processes costs more than it saves below this


class ReportFormat(StrEnum):
    """Form of the report."""

    HTML = "html"
    JSON = "json"
    MD = "md"
    PARQUET = "parquet"
    TEXT = "text"


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


class Space(StrEnum):
    """Of which distribution the log-probabilities are."""

    RAW = "raw"
    SAMPLING = "sampling"


def diagnose(
    sources: Annotated[
        list[Path], typer.Argument(help="Log files or folders; - reads standard input.")
    ],
    labels: Annotated[
        str | None,
        typer.Option(
            help="Right or wrong: a CSV, JSON, JSONL or Parquet file, or a field of the log."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; - is standard output. [report.html]"),
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format", help="Form of the report.")] = (
        ReportFormat.HTML
    ),
    signal: Annotated[str, typer.Option(help="Column that flags traces, or auto.")] = "auto",
    rate: Annotated[
        float, typer.Option(help="Share of traces to flag, and to act on in replays.")
    ] = 0.1,
    steps: Annotated[str, typer.Option(help="How traces are cut into steps, or auto.")] = "auto",
    vocab_size: Annotated[int, typer.Option(help="Of the model; gives upper entropy bounds.")] = 0,
    logprob_space: Annotated[
        Space | None, typer.Option(help="raw (the model's own) or sampling (after temperature).")
    ] = None,
    group_field: Annotated[str | None, typer.Option(help="Field that names the problem.")] = None,
    reward_threshold: Annotated[
        float | None, typer.Option(help="A reward at or above it is right.")
    ] = None,
    partial_labels: Annotated[
        bool, typer.Option(help="Allow traces without a label and labels without a trace.")
    ] = False,
    strict: Annotated[
        bool, typer.Option(help="Fail at the first line that can't be read.")
    ] = False,
    force: Annotated[
        bool, typer.Option(help="Compare traces that list different numbers of alternatives.")
    ] = False,
    fail_above: Annotated[
        float | None, typer.Option(help="End with code 1 when a larger share is wrong or flagged.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="local processes, or Ray.")] = Engine.LOCAL,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores by default.")] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder that keeps finished parts of a long run.")
    ] = None,
    max_decompressed: Annotated[
        float, typer.Option(help="GiB to which one compressed file may unfold.")
    ] = 256.0,
    seed: Annotated[int, typer.Option(help="Of bootstraps and folds.")] = 0,
) -> None:
    """Say which traces look failing, where in each, and how sure that is.

    Reads OpenAI, vLLM, llama.cpp, Hugging Face, TRL and verl logs and Parquet, plain or
    compressed; the format is detected.
    """
    from entropilot.diagnosis.assess import assess
    from entropilot.traces.reading.options import ReadOptions

    label_field, label_file = label_source(labels)
    options = ReadOptions(
        strict=strict,
        max_decompressed_bytes=int(max_decompressed * (1 << 30)),
        logprob_space=None if logprob_space is None else logprob_space.value,
        label_field=label_field,
        group_field=group_field,
    )
    summary = _summarise(sources, options, steps, vocab_size, engine, workers, resume)
    summary = _labelled(summary, label_file, label_field, reward_threshold, partial_labels)
    assessment = assess(summary, signal=signal, rate=rate, seed=seed, force=force)
    if form is not ReportFormat.TEXT and output is None:
        output = Path(f"report.{form.value}")
    _write(form, output, assessment, summary, sources)
    raise typer.Exit(FOUND if _is_above(assessment, fail_above) else FINE)


def _summarise(
    sources: Sequence[Path],
    options: ReadOptions,
    steps: str,
    vocab_size: int,
    engine: Engine,
    workers: int | None,
    resume: Path | None,
) -> Summary:
    from entropilot.traces.engines import summarise_logs
    from entropilot.traces.log_summary import LogSettings
    from entropilot.traces.reading.sources import shards_of
    from entropilot.traces.summary import SummarySettings

    files = [shard.path for shard in shards_of(sources) if shard.path.is_file()]
    if workers is None and engine is Engine.LOCAL:
        small = sum(file.stat().st_size for file in files) < ONE_PROCESS_BYTES
        workers = 1 if small else None
    with progress_bar("reading") as update:
        return summarise_logs(
            sources,
            engine=engine.value,
            n_workers=workers,
            settings=LogSettings(
                rule=steps, options=options, summary=SummarySettings(vocab_size=vocab_size)
            ),
            progress=_rate(update),
            resume=resume,
            shard_bytes=SHARD_BYTES,
        )


def _rate(update: Callable[[float, str], None]) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        seconds = max(progress.seconds, 1e-9)
        update(
            progress.done / progress.total,
            f"{progress.traces:,} traces, {progress.tokens / seconds:,.0f} tokens/s, "
            f"{progress.bytes_read / seconds / 1e6:,.0f} MB/s",
        )

    return report


def _labelled(
    summary: Summary,
    label_file: Path | None,
    label_field: str | None,
    reward_threshold: float | None,
    partial: bool,
) -> Summary:
    from dataclasses import replace

    from entropilot.diagnosis.labels import correct_from_reward, join_labels
    from entropilot.errors import InputError

    frame = summary.frame
    if label_file is not None:
        joined = join_labels(frame, label_file, reward_threshold=reward_threshold, partial=partial)
        frame = joined.frame
    elif reward_threshold is not None:
        frame = correct_from_reward(frame, reward_threshold)
    elif label_field is not None and frame["correct"].null_count() == frame.height:
        raise InputError(
            f"--labels {label_field}: no trace has such a field. Name a field of the log with a "
            "dotted path, for example x_correct or evaluation.passed, or a file with the columns "
            "id and correct"
        )
    return replace(summary, frame=frame)


def _write(
    form: ReportFormat,
    output: Path | None,
    assessment: Assessment,
    summary: Summary,
    sources: Sequence[Path],
) -> None:
    from entropilot import report

    names = [str(source) for source in sources]
    title = f"Trace report: {Path(names[0]).name}" if len(names) == 1 else "Trace report"
    meta = report_meta(title, names)
    reading = summary.report
    to_terminal = output is None or str(output) == "-"
    if form is ReportFormat.TEXT:
        report.print_assessment(assessment, out())
        return
    if to_terminal:
        texts: dict[ReportFormat, Callable[..., Any]] = {
            ReportFormat.HTML: report.render_html,
            ReportFormat.MD: report.render_markdown,
        }
        if form is ReportFormat.JSON:
            from entropilot.cli.console import print_json

            print_json(report.assessment_json(assessment, reading=reading, meta=meta))
        elif form is ReportFormat.PARQUET:
            summary.frame.write_parquet(sys.stdout.buffer)
        else:
            sys.stdout.write(texts[form](assessment, reading=reading, meta=meta))
        return
    assert output is not None
    if form is ReportFormat.PARQUET:
        from entropilot.files import replacing

        with replacing(output) as temporary:
            summary.frame.write_parquet(temporary)
    else:
        writers = {
            ReportFormat.HTML: report.write_html,
            ReportFormat.JSON: report.write_json,
            ReportFormat.MD: report.write_markdown,
        }
        writers[form](output, assessment, reading=reading, meta=meta)
    report.print_assessment(assessment, err())
    for sentence in reading.sentences():
        err().print(sentence, style="yellow", markup=False)
    err().print(f"written: {output}", markup=False, soft_wrap=True)


def _is_above(assessment: Assessment, limit: float | None) -> bool:
    """Whether the share of wrong traces, or of flagged ones without labels, is above the limit."""
    if limit is None or not assessment.n_traces:
        return False
    if assessment.n_labelled:
        return assessment.n_wrong / assessment.n_labelled > limit
    return assessment.flagged.height / assessment.n_traces > limit
