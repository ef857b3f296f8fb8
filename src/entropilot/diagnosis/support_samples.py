"""Samples of one model on a set of problems, from a log of traces or a plain table of verdicts.

Two models are compared on these; see ``support_compare.py``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from entropilot.diagnosis.correctness import answer_keys, check_answers
from entropilot.diagnosis.label_files import read_label_table
from entropilot.diagnosis.labels import correct_from_reward, join_labels
from entropilot.errors import InputError
from entropilot.traces.frame import trace_frame
from entropilot.traces.measures import token_measures
from entropilot.traces.reading.options import ReadOptions
from entropilot.traces.reading.sources import read_traces

#: Columns of a table of verdicts that say how it was sampled.
SETTINGS: Final = (
    "temperature", "top_p", "top_k", "min_p", "max_tokens", "prompt_format", "system_prompt",
    "chat_template",
)  # fmt: skip
#: Keys that only a log of traces has; a record with one of them is not a plain verdict.
_LOG_KEYS: Final = frozenset(
    ("choices", "messages", "completion", "completions", "output", "text", "logprobs", "tokens")
)
_PEEK: Final = 1 << 20  # bytes of a first line that are looked at


@dataclass(frozen=True)
class SupportSamples:
    """One row a labelled sample, and how the samples were drawn."""

    frame: (
        pl.DataFrame
    )  # problem, sample, answer (a key; null = none), correct, token_entropy, prompt
    settings: Mapping[str, object]
    entropy_kind: str = ""  # of which distribution the token entropies are; "" without any
    zero_share: float = 0.0  # of token entropies that are exactly 0
    n_unlabelled: int = 0  # samples left out, because nothing says whether they are right
    notes: tuple[str, ...] = ()


def support_samples(
    source: str | Path | pl.DataFrame,
    *,
    labels: str | Path | None = None,
    reward_threshold: float | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008
) -> SupportSamples:
    """Read the samples of one model.

    Args:
        source: a log that ``read_traces`` takes, whose records name their problem; or a table
            (frame, or JSONL, CSV or Parquet file) with the columns problem and correct, and perhaps
            sample, answer, token_entropy (nats: a mean, or a list with one value a token) and
            settings such as temperature.
        labels: file of labels by trace id, for a log; its own labels, rewards, or answers beside
            references where None.
        reward_threshold: a reward at or above it is right.
        options: how a log is read: names of fields, strictness.

    Returns:
        ``SupportSamples``; unlabelled samples are left out and counted.

    Raises:
        InputError: no problem is named, no sample is labelled, or a sample occurs twice.
        FormatError: nothing could be read.

    Examples:
        >>> table = pl.DataFrame({"problem": ["a", "a"], "correct": [True, False]})
        >>> support_samples(table).frame["sample"].to_list()
        ['0', '1']
    """
    if isinstance(source, pl.DataFrame):
        found = _from_table(source, reward_threshold)
    elif labels is None and _is_table(Path(source)):
        found = _from_table(read_label_table(source), reward_threshold)
    else:
        found = _from_log(source, labels, reward_threshold, options)
    name = "the table" if isinstance(source, pl.DataFrame) else str(source)
    return _checked(found, name)


def _is_table(path: Path) -> bool:
    """Whether the file holds plain verdicts: its first record has problem and correct, no text."""
    name = path.name.lower().removesuffix(".gz")
    if not path.is_file():
        return False
    if name.endswith(".parquet"):
        keys = set(pl.read_parquet_schema(path))
    elif name.endswith((".csv", ".tsv")):
        keys = {x.strip('" ') for x in _first_line(path).replace("\t", ",").split(",")}
    else:
        try:
            record = json.loads(_first_line(path))
        except ValueError:
            return False
        keys = set(record) if isinstance(record, dict) else set()
    return {"problem", "correct"} <= keys and not keys & _LOG_KEYS


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if is_gzip else path.open("rb") as stream:
            return next(
                (x for x in iter(lambda: stream.readline(_PEEK), b"") if x.strip()), b""
            ).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return ""


def _from_table(table: pl.DataFrame, reward_threshold: float | None) -> SupportSamples:
    missing = {"problem", "correct"} - set(table.columns)
    if missing:
        raise InputError(
            f"the table has no column {' and no column '.join(sorted(missing))}; its columns are "
            f"{', '.join(table.columns)}; expected one row a sample with problem and correct"
        )
    height = table.height
    ids = pl.DataFrame({"id": [str(i) for i in range(height)]})
    verdicts = table.select(pl.col("correct")).insert_column(0, ids["id"])
    correct = join_labels(
        ids, verdicts, label_column="correct", reward_threshold=reward_threshold
    ).frame["correct"]
    entropy, zero_share = _given_entropy(table)
    frame = pl.DataFrame(
        [
            table["problem"].cast(pl.String).alias("problem"),
            _text(table, "sample"),
            _text(table, "answer"),
            correct.alias("correct"),
            entropy,
            pl.Series("prompt", [None] * height, dtype=pl.UInt64),
        ]
    )
    kind = "as given" if entropy.count() else ""
    return SupportSamples(frame, _settings(table, SETTINGS), kind, zero_share)


def _text(table: pl.DataFrame, name: str) -> pl.Series:
    if name in table.columns:
        return table[name].cast(pl.String).alias(name)
    return pl.Series(name, [None] * table.height, dtype=pl.String)


def _given_entropy(table: pl.DataFrame) -> tuple[pl.Series, float]:
    """Mean token entropy of each sample, and the share of values that are exactly 0."""
    name = "token_entropy"
    if name not in table.columns:
        return pl.Series(name, [None] * table.height, dtype=pl.Float64), 0.0
    values = _numbers(table[name])
    if values.dtype == pl.List:
        tokens = values.explode().cast(pl.Float64)
        values = values.list.eval(pl.element().cast(pl.Float64)).list.mean()
    else:
        tokens = values = values.cast(pl.Float64)
    known = tokens.drop_nulls().drop_nans()
    bad = known.filter(known < -1e-4)
    if bad.len():
        raise InputError(
            f"token_entropy has {bad.len()} values below 0 (first: {bad[0]:.4g}); entropies are 0 "
            "or more, so these are log-probabilities or padding"
        )
    share = float((known == 0).mean()) if known.len() else 0.0  # type: ignore[arg-type]
    return values.fill_nan(None).alias(name), share


def _numbers(values: pl.Series) -> pl.Series:
    """Numbers, or lists of them, that a text file brought as text."""
    if values.dtype != pl.String:
        return values
    try:
        if values.drop_nulls().str.starts_with("[").any():
            return values.str.json_decode(pl.List(pl.Float64))
        return values.cast(pl.Float64)
    except pl.exceptions.PolarsError as error:
        raise InputError(
            f"column {values.name!r} holds something that is neither a number nor a list of "
            f"numbers: {error}"
        ) from error


def _settings(table: pl.DataFrame, names: tuple[str, ...]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in names:
        if name in table.columns and table[name].count():
            column = table[name].drop_nulls()
            if column.dtype == pl.String:
                number = column.cast(pl.Float64, strict=False)
                column = column if number.null_count() else number
            values = column.unique().sort().to_list()
            values = [float(f"{x:.6g}") if isinstance(x, float) else x for x in values]
            found[name] = (
                values[0] if len(values) == 1 else f"mixed ({', '.join(map(str, values))})"
            )
    return found


def _from_log(
    source: Any, labels: str | Path | None, reward_threshold: float | None, options: ReadOptions
) -> SupportSamples:
    frames: list[pl.DataFrame] = []
    zeros, tokens = 0, 0
    report = None
    for batch in read_traces(source, options=options):
        traces = batch.traces
        measures = token_measures(traces)
        full = traces.tokens.entropy
        entropies = measures.entropy if full is None else full
        zeros += int((entropies == 0).sum())
        tokens += int((~np.isnan(entropies)).sum())
        frame = trace_frame(traces, measures)
        prompt = traces.rows["prompt"]
        frames.append(frame.with_columns(prompt=prompt.hash(seed=0).set(prompt.is_null(), None)))
        report = batch.report if report is None else report + batch.report
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame()
    if not frame.height:
        raise InputError(f"{source} holds no trace")
    frame = _labelled(frame, labels, reward_threshold)
    is_full = (
        "entropy_full_mean" in frame.columns and not frame["entropy_full_mean"].is_null().any()
    )
    column = "entropy_full_mean" if is_full else "entropy_mean"
    kind = "full vocabulary" if is_full else "listed tokens"
    settings = _settings(frame, ("temperature", "logprobs_kind", "k"))
    listed = settings.pop("k", None)
    if not is_full and listed is not None:
        settings["top_logprobs"] = listed  # entropies of the listed tokens depend on it
    return SupportSamples(
        frame.select(
            problem="group",
            sample="id",
            answer="answer",
            correct="correct",
            token_entropy=pl.col(column),
            prompt="prompt",
        ),
        settings,
        kind if frame[column].count() else "",
        zeros / tokens if tokens else 0.0,
        notes=() if report is None else report.sentences(),
    )


def _labelled(
    frame: pl.DataFrame, labels: str | Path | None, reward_threshold: float | None
) -> pl.DataFrame:
    if labels is not None:
        return join_labels(frame, labels, reward_threshold=reward_threshold, partial=True).frame
    if frame["correct"].null_count() and frame["reward"].count():
        frame = correct_from_reward(frame, reward_threshold)
    if (
        frame["correct"].is_null()
        & frame["answer"].is_not_null()
        & frame["reference"].is_not_null()
    ).any():
        frame = check_answers(frame)
    return frame


def _checked(found: SupportSamples, name: str) -> SupportSamples:
    frame = found.frame
    nameless = frame["problem"].null_count()
    if nameless:
        raise InputError(
            f"{nameless} of {frame.height} samples in {name} do not name their problem; samples of "
            "one problem must share an id (problem_id, group, or the field given by --group-field)"
        )
    labelled = frame.filter(pl.col("correct").is_not_null())
    if not labelled.height:
        raise InputError(
            f"none of the {frame.height} samples in {name} is labelled; give a field or a file of "
            "labels (--labels), a reward, or answers beside references"
        )
    order = pl.int_range(pl.len()).over("problem").cast(pl.String)
    labelled = labelled.with_columns(
        sample=pl.coalesce("sample", order), answer=answer_keys(labelled["answer"])
    )
    twice = labelled.filter(pl.struct("problem", "sample").is_duplicated())
    if twice.height:
        problem, sample = twice.row(0)[:2]
        raise InputError(
            f"sample {sample!r} of problem {problem!r} occurs twice in {name} ({twice.height} such "
            "rows); samples must be independent, so remove the copies"
        )
    return replace(found, frame=labelled, n_unlabelled=frame.height - labelled.height)
