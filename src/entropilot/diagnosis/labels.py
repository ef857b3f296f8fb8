"""Which traces were right: labels from a file, joined by id or by line, or taken from rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from entropilot.diagnosis.label_files import read_label_table
from entropilot.errors import InputError

#: Column names that are known, the first that is there wins.
ID_NAMES: Final = ("id", "trace_id", "sample_id", "custom_id", "request_id", "uid")
RIGHT_NAMES: Final = ("correct", "is_correct", "x_correct", "label", "passed", "right")
WRONG_NAMES: Final = ("wrong", "is_wrong", "incorrect", "failed")
REWARD_NAMES: Final = ("reward", "score", "acc", "accuracy")

_TRUE = frozenset(("true", "t", "yes", "y", "1", "1.0", "right", "correct", "pass", "passed"))
_FALSE = frozenset(("false", "f", "no", "n", "0", "0.0", "wrong", "incorrect", "fail", "failed"))
_EMPTY = frozenset(("", "null", "none", "nan", "na"))


class JoinedLabels(NamedTuple):
    """Traces with their labels, and what did not match."""

    frame: pl.DataFrame  # as given, with ``correct`` (and ``reward``, where the file has it) filled
    n_labelled: int
    n_missing: int  # traces that the file does not label
    n_extra: int  # labels that belong to no trace


def join_labels(
    frame: pl.DataFrame,
    source: str | Path | pl.DataFrame,
    *,
    id_column: str | None = None,
    label_column: str | None = None,
    reward_threshold: float | None = None,
    by: str = "auto",
    partial: bool = False,
) -> JoinedLabels:
    """Fill ``correct`` from a table of labels.

    Args:
        frame: one row a trace, with the column id: a summary's frame or the rows of ``Traces``.
        source: CSV, JSON, JSONL (plain or .gz) or Parquet file, or a frame. A JSON file holds a
            list of objects, or one object {id: label}.
        id_column: column that names the trace; found among ``ID_NAMES`` when None.
        label_column: column that holds the label; found when None: ``RIGHT_NAMES``, then
            ``WRONG_NAMES`` (turned round), then ``REWARD_NAMES``.
        reward_threshold: a reward at or above it is right; not needed for rewards of two values.
        by: "id", "order" (line i labels trace i), or "auto": by id where there is an id column.
        partial: allow traces without a label and labels without a trace; both are counted.

    Returns:
        The frame with its labels, and the counts of what matched.

    Raises:
        InputError: ids that do not match (they are listed), repeated ids, unequal lengths by order,
            or a value that is no label.
        FormatError: the file is none of the formats above.

    Examples:
        >>> traces = pl.DataFrame({"id": ["a", "b"]})
        >>> table = pl.DataFrame({"id": ["b", "a"], "wrong": [1, 0]})
        >>> join_labels(traces, table).frame["correct"].to_list()
        [True, False]
    """
    table = source if isinstance(source, pl.DataFrame) else read_label_table(source)
    found_id = id_column or _first(table, ID_NAMES)
    if id_column is not None and id_column not in table.columns:
        raise InputError(f"the labels have no column {id_column!r}; {_columns(table)}")
    labels = _label_columns(table, label_column, reward_threshold)
    if by not in {"auto", "id", "order"}:
        raise InputError(f"by={by!r} is unknown; use 'auto', 'id' or 'order'")
    if by == "order" or (by == "auto" and found_id is None):
        return _join_by_order(frame, labels)
    if found_id is None:
        raise InputError(
            f"the labels have no id column ({', '.join(ID_NAMES)}); {_columns(table)}. Name it "
            "with id_column=, or use by='order' when line i labels trace i"
        )
    return _join_by_id(frame, labels.insert_column(0, _as_text(table[found_id])), partial)


def correct_from_reward(frame: pl.DataFrame, threshold: float | None = None) -> pl.DataFrame:
    """Fill ``correct`` where it is missing and a reward is there: right = reward >= threshold.

    Args:
        frame: one row a trace, with the columns reward and correct.
        threshold: in the reward's own unit. None is allowed where rewards take two values: the
            larger one is then right.

    Returns:
        The frame with ``correct`` filled.

    Raises:
        InputError: rewards of more than two values, and no threshold.

    Examples:
        >>> correct_from_reward(pl.DataFrame({"reward": [-1.0, 1.0], "correct": [None, None]})
        ...     )["correct"].to_list()
        [False, True]
    """
    labels = _from_reward(frame["reward"].cast(pl.Float64), threshold)
    known = frame["correct"].cast(pl.Boolean)
    return frame.with_columns(pl.select(pl.coalesce(known, labels).alias("correct")).to_series())


def _first(table: pl.DataFrame, names: Sequence[str]) -> str | None:
    lower = {column.lower(): column for column in reversed(table.columns)}
    return next((lower[name] for name in names if name in lower), None)


def _columns(table: pl.DataFrame) -> str:
    return f"its columns are {', '.join(table.columns)}"


def _as_text(values: pl.Series) -> pl.Series:
    return values.cast(pl.String).alias("id")


def _label_columns(
    table: pl.DataFrame, column: str | None, threshold: float | None
) -> pl.DataFrame:
    """Columns correct, and reward where the labels are rewards."""
    if column is not None and column not in table.columns:
        raise InputError(f"the labels have no column {column!r}; {_columns(table)}")
    found = column or _first(table, (*RIGHT_NAMES, *WRONG_NAMES, *REWARD_NAMES))
    if found is None:
        raise InputError(
            f"no label column found; {_columns(table)}; expected one of "
            f"{', '.join((*RIGHT_NAMES, *WRONG_NAMES, *REWARD_NAMES))}. Name it with label_column="
        )
    if found.lower() in REWARD_NAMES or threshold is not None:
        text = table[found].cast(pl.String)
        reward = text.cast(pl.Float64, strict=False).alias("reward")
        empty = text.is_null() | text.str.strip_chars().str.to_lowercase().is_in(list(_EMPTY))
        odd = text.filter(reward.is_null() & ~empty)
        if odd.len():
            raise InputError(f"the reward {odd[0]!r} in column {found!r} is no number")
        return pl.DataFrame([_from_reward(reward, threshold), reward])
    correct = _truth(table[found], found)
    return pl.DataFrame([~correct if found.lower() in WRONG_NAMES else correct])


def _truth(values: pl.Series, column: str) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values.alias("correct")
    text = values.cast(pl.String).str.strip_chars().str.to_lowercase()
    truth = pl.select(
        pl.when(text.is_in(list(_TRUE)))
        .then(True)
        .when(text.is_in(list(_FALSE)))
        .then(False)
        .otherwise(None)
        .alias("correct")
    ).to_series()
    odd = (truth.is_null() & text.is_not_null() & ~text.is_in(list(_EMPTY))).arg_true()
    if odd.len():
        row = int(odd[0])
        raise InputError(
            f"row {row + 1} of the labels has {values[row]!r} in column {column!r}; expected true "
            "or false, 1 or 0, right or wrong. For graded rewards give reward_threshold="
        )
    return truth


def _from_reward(reward: pl.Series, threshold: float | None) -> pl.Series:
    known = reward.drop_nulls().drop_nans()
    if threshold is None:
        values = known.unique().sort()
        if values.len() > 2:
            raise InputError(
                f"rewards take {values.len()} values from {values[0]:g} to {values[-1]:g}; say "
                "from which reward on an answer is right: reward_threshold="
            )
        if values.len() == 1 and values[0] not in (0.0, 1.0, -1.0):
            raise InputError(
                f"every reward is {values[0]:g}; say from which reward on an answer is right: "
                "reward_threshold="
            )
        threshold = float(values[1]) if values.len() == 2 else 0.5
    right = reward >= threshold
    return pl.select(
        pl.when(reward.is_null() | reward.is_nan()).then(None).otherwise(right).alias("correct")
    ).to_series()


def _filled(frame: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    columns = [labels["correct"]] + ([labels["reward"]] if "reward" in labels.columns else [])
    return frame.with_columns(columns)


def _join_by_order(frame: pl.DataFrame, labels: pl.DataFrame) -> JoinedLabels:
    if labels.height != frame.height:
        raise InputError(
            f"{labels.height} labels for {frame.height} traces; labels without ids are matched by "
            "line, so both need the same count. Add an id column to the labels"
        )
    missing = labels["correct"].null_count()
    return JoinedLabels(_filled(frame, labels), labels.height - missing, missing, 0)


def _join_by_id(frame: pl.DataFrame, labels: pl.DataFrame, partial: bool) -> JoinedLabels:
    ids = frame["id"].cast(pl.String)
    for what, column in (("labels", labels["id"]), ("traces", ids)):
        repeated = column.filter(column.is_duplicated()).unique(maintain_order=True)
        if repeated.len():
            raise InputError(
                f"the {what} repeat {repeated.len()} ids ({_some(repeated)}); "
                "each id must occur once"
            )
    missing = ids.filter(~ids.is_in(labels["id"].implode()))
    extra = labels["id"].filter(~labels["id"].is_in(ids.implode()))
    if missing.len() == ids.len() and ids.len():
        raise InputError(
            f"no label belongs to a trace: traces have ids such as {_some(ids)}, labels have ids "
            f"such as {_some(labels['id'])}. Name the column with id_column=, or use by='order'"
        )
    if (missing.len() or extra.len()) and not partial:
        parts = (
            [f"{missing.len()} traces have no label ({_some(missing)})"] if missing.len() else []
        )
        if extra.len():
            parts.append(f"{extra.len()} labels have no trace ({_some(extra)})")
        raise InputError(f"{'; '.join(parts)}. Mend the ids, or pass partial=True to go on")
    joined = pl.DataFrame([ids.alias("id")]).join(
        labels, on="id", how="left", maintain_order="left"
    )
    n_labelled = joined.height - joined["correct"].null_count()
    return JoinedLabels(_filled(frame, joined), n_labelled, missing.len(), extra.len())


def _some(values: pl.Series, n: int = 5) -> str:
    shown = ", ".join(repr(value) for value in values.head(n).to_list())
    return shown + (", ..." if values.len() > n else "")
