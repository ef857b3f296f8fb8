"""``entropilot diagnose``: from a log of token log-probabilities to a report."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropilot.cli.checks import check_output, check_share, check_signal, check_workers, gib
from entropilot.cli.console import (
    FINE,
    FOUND,
    INTERRUPTED,
    close_streams,
    err,
    fail,
    progress_bar,
)
from entropilot.cli.labels import label_source
from entropilot.cli.reports import ReportFormat, format_of, names_of, write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from entropilot.diagnosis.assessment import Assessment
    from entropilot.traces.engines import Progress
    from entropilot.traces.log_summary import LogSettings
    from entropilot.traces.summary import Summary

N_EXEMPLARS = 12  # traces that a report holds in full, for each way of choosing them
ONE_PROCESS_BYTES = 512 << 20  # starting processes costs more than it saves below this


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


class Part(StrEnum):
    """Which tokens of an answer are measured."""

    COMPLETION = "completion"
    PROMPT = "prompt"


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
    form: Annotated[
        ReportFormat | None,
        typer.Option(
            "--format", help="Form of the report; by default the output's ending, else html."
        ),
    ] = None,
    show: Annotated[
        int,
        typer.Option(
            min=0, max=500, help="Print so many of the most suspicious traces, coloured by entropy."
        ),
    ] = 0,
    signal: Annotated[str, typer.Option(help="Column that flags traces, or auto.")] = "auto",
    rate: Annotated[
        float, typer.Option(help="Share of traces to flag, and to act on in replays.")
    ] = 0.1,
    steps: Annotated[str, typer.Option(help="How traces are cut into steps, or auto.")] = "auto",
    vocab_size: Annotated[
        int, typer.Option(min=0, help="Of the model; gives upper entropy bounds.")
    ] = 0,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=2, help="Cut every list of alternatives to so many; logs of several k compare then."
        ),
    ] = None,
    logprob_space: Annotated[
        Space | None, typer.Option(help="raw (the model's own) or sampling (after temperature).")
    ] = None,
    part: Annotated[
        Part, typer.Option(help="completion, or prompt where the log scores it (prompt_logprobs).")
    ] = Part.COMPLETION,
    group_field: Annotated[str | None, typer.Option(help="Field that names the problem.")] = None,
    reward_threshold: Annotated[
        float | None, typer.Option(help="A reward at or above it is right.")
    ] = None,
    partial_labels: Annotated[
        bool,
        typer.Option(
            "--partial-labels", help="Allow traces without a label and labels without a trace."
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail at the first line that can't be read.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Compare traces that list different numbers of alternatives."),
    ] = False,
    fail_above: Annotated[
        float | None, typer.Option(help="End with code 1 when a larger share is wrong or flagged.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="local processes, or Ray.")] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; all cores by default.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Folder that keeps finished parts of a long run.")
    ] = None,
    max_decompressed: Annotated[
        float, typer.Option(help="GiB to which one compressed file may unfold.")
    ] = 256.0,
    seed: Annotated[int, typer.Option(min=0, help="Of bootstraps and folds.")] = 0,
) -> None:
    """Say which traces look failing, where in each, and how sure that is.

    Reads OpenAI, vLLM, llama.cpp, Hugging Face, TRL and verl logs and Parquet, plain or
    compressed; the format is detected.
    """
    from entropilot.diagnosis.assess import assess
    from entropilot.errors import InputError
    from entropilot.traces.log_summary import LogSettings
    from entropilot.traces.reading.options import ReadOptions
    from entropilot.traces.summary import SummarySettings

    label_field, label_file = label_source(labels)
    form = format_of(output) if form is None else form
    if form is not ReportFormat.TEXT and output is None:
        output = Path(f"report.{form.value}")
    check_share("--rate", rate)
    check_share("--fail-above", fail_above, edges=True)
    check_signal(signal)
    if engine is Engine.LOCAL:
        check_workers(workers)
    check_output(output, sources, [] if label_file is None else [label_file])
    graded = label_field is not None and reward_threshold is not None
    settings = LogSettings(
        rule=steps,
        options=ReadOptions(
            strict=strict,
            part=part.value,
            max_decompressed_bytes=gib("--max-decompressed", max_decompressed),
            logprob_space=None if logprob_space is None else logprob_space.value,
            label_field=None if graded else label_field,
            reward_field=label_field if graded else None,
            group_field=group_field,
        ),
        summary=SummarySettings(vocab_size=vocab_size, n_exemplars=max(N_EXEMPLARS, show)),
        top_k=top_k,
    )
    with _saying_how_to_go_on(resume):
        summary = _summarise(sources, settings, engine, workers, resume)
        err().print(summary.report.found(), markup=False)
        if group_field is not None and not summary.frame["group"].count():
            raise InputError(f"--group-field {group_field}: no trace has such a field")
        summary = _labelled(summary, label_file, label_field, reward_threshold, partial_labels)
        assessment = assess(summary, signal=signal, rate=rate, seed=seed, force=force)
    code = FOUND if _is_above(assessment, fail_above) else FINE
    try:
        write_report(form, output, assessment, summary, sources, show=show)
    except BrokenPipeError:  # the answer to --fail-above stands, whoever reads the report
        close_streams()
    raise typer.Exit(code)


def _summarise(
    sources: Sequence[Path],
    settings: LogSettings,
    engine: Engine,
    workers: int | None,
    resume: Path | None,
) -> Summary:
    from entropilot.errors import InputError
    from entropilot.traces.engines import summarise_logs
    from entropilot.traces.reading.sources import shards_of

    files = [shard.path for shard in shards_of(sources) if shard.path.is_file()]
    if workers is None and engine is Engine.LOCAL:
        small = sum(file.stat().st_size for file in files) < ONE_PROCESS_BYTES
        workers = 1 if small else None
    with progress_bar("reading") as update:
        summary = summarise_logs(
            sources,
            engine=engine.value,
            n_workers=workers,
            settings=settings,
            progress=_rate(update),
            resume=resume,
        )
    if not len(summary):
        names = ", ".join(names_of(sources))
        raise InputError(
            f"{names} holds no traces ({summary.report.lines} lines read). Expected are answers "
            "of a language model, one JSON object a line; see that the program that writes the "
            "log has flushed it"
        )
    return summary


@contextmanager
def _saying_how_to_go_on(resume: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        how = (
            "With --resume FOLDER finished parts are kept, and the same command goes on"
            if resume is None
            else f"Finished parts are kept in {resume}; the same command goes on from there"
        )
        fail(f"interrupted, nothing is written. {how}", INTERRUPTED)


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

    import polars as pl

    from entropilot.diagnosis.labels import correct_from_reward, join_labels
    from entropilot.errors import InputError

    frame = summary.frame
    if label_file is not None:
        joined = join_labels(frame, label_file, reward_threshold=reward_threshold, partial=partial)
        frame = joined.frame
    elif reward_threshold is not None:
        if not frame["reward"].count():
            field = "has a reward" if label_field is None else f"has a number in {label_field}"
            raise InputError(
                f"--reward-threshold {reward_threshold:g}: no trace {field}. Name a field of the "
                "log that holds the reward, or a file with the columns id and reward: --labels"
            )
        if label_field is not None:  # what was asked for goes before what the log says elsewhere
            frame = frame.with_columns(correct=pl.lit(None, dtype=pl.Boolean))
        frame = correct_from_reward(frame, reward_threshold)
    elif label_field is not None and frame["correct"].null_count() == frame.height:
        raise InputError(
            f"--labels {label_field}: no trace has such a field. Name a field of the log with a "
            "dotted path, for example x_correct or evaluation.passed, or a file with the columns "
            "id and correct"
        )
    return replace(summary, frame=frame)


def _is_above(assessment: Assessment, limit: float | None) -> bool:
    """Whether the share of wrong traces, or of flagged ones without labels, is above the limit."""
    if limit is None or not assessment.n_traces:
        return False
    if assessment.n_labelled:
        return assessment.n_wrong / assessment.n_labelled > limit
    return assessment.flagged.height / assessment.n_traces > limit
