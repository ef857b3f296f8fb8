"""Tables of labels as they lie in files: CSV, JSON, JSONL and Parquet."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Final

import polars as pl

from entropilot.errors import FormatError, InputError, LimitError

LARGEST_FILE: Final = 1 << 30  # bytes, after decompression


def read_label_table(path: str | Path) -> pl.DataFrame:
    r"""Read a table of labels from CSV, JSON, JSONL or Parquet, by the file's name.

    Args:
        path: ends in .csv, .tsv, .json, .jsonl, .ndjson (each may end in .gz) or .parquet.

    Returns:
        The table as it stands in the file.

    Raises:
        InputError: no such file, or no rows.
        FormatError: an unknown ending, or a broken line (it is named).
        LimitError: more than ``LARGEST_FILE`` bytes.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "labels.csv")
        ...     _ = file.write_text("id,correct\na,1\n")
        ...     read_label_table(file).columns
        ['id', 'correct']
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no file of labels at {path}; give the path of a CSV, JSONL or Parquet")
    name = path.name.lower().removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            table = pl.read_parquet(path)
        elif name.endswith((".csv", ".tsv")):
            separator = "\t" if name.endswith(".tsv") else ","
            table = pl.read_csv(_read(path), separator=separator, infer_schema=False)
        elif name.endswith((".jsonl", ".ndjson")):
            table = _objects(_json_lines(_read(path), path), path)
        elif name.endswith(".json"):
            table = _json_table(_read(path), path)
        else:
            raise FormatError(
                f"{path.name} ends in no format that labels can have; use .csv, .tsv, .json, "
                ".jsonl or .parquet"
            )
    except (pl.exceptions.PolarsError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        said = str(error).partition("\n")[0]  # more lines advise on polars
        raise FormatError(f"{path.name} can't be read as labels: {said}") from error
    if table.height == 0:
        raise InputError(f"{path.name} has no rows; expected one label a row")
    return table


def _read(path: Path) -> bytes:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise LimitError(f"{path.name} has more than {LARGEST_FILE >> 20} MiB of labels; split it")
    return content


def _json_lines(content: bytes, path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise FormatError(f"{path.name}, line {number}: not JSON ({error})") from error
    return rows


def _json_table(content: bytes, path: Path) -> pl.DataFrame:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise FormatError(f"{path.name}: not JSON ({error})") from error
    if isinstance(value, dict):
        return pl.DataFrame(
            {"id": list(value), "correct": [_plain(label) for label in value.values()]},
            schema={"id": pl.String, "correct": pl.String},
        )
    return _objects(value, path)


def _objects(rows: Any, path: Path) -> pl.DataFrame:
    if not isinstance(rows, list):
        raise FormatError(f"{path.name}: expected a list of objects, found {type(rows).__name__}")
    if rows and all(not isinstance(row, dict | list) for row in rows):
        return pl.DataFrame({"correct": pl.Series([_plain(row) for row in rows], dtype=pl.String)})
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise FormatError(
                f"{path.name}, row {number}: expected an object, found {type(row).__name__}"
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(
        {
            name: pl.Series(name, [_plain(row.get(name)) for row in rows], dtype=pl.String)
            for name in names
        }
    )


def _plain(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else json.dumps(value)
