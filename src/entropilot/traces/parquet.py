"""Traces as Parquet: one row a trace, one list a column of the token table.

    id, group, prompt, ...      the row columns
    piece, logprob, n_top       lists, one value a token
    top_piece, top_logprob      lists of lists, the used slots of each token
    entropy, jsd                lists, null where the source knew none
    step_start, step_stop, step_phase   lists, one value a step, tokens counted within the trace

``piece`` and ``top_piece`` number the entries of a vocabulary, which lies once in the file's
metadata as a compressed Arrow table (text, token_id), in base64 because readers expect text.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from entropilot.errors import FormatError, InputError, LimitError
from entropilot.traces.reading.options import Batch, ReadReport
from entropilot.traces.table import (
    ROW_SCHEMA,
    Steps,
    Tokens,
    Traces,
    Vocabulary,
    concatenate,
    empty_traces,
    ragged_offsets,
)

NAME: Final = "entropilot traces (Parquet)"
VERSION: Final = b"1"
_VERSION: Final = b"entropilot.version"
_VOCABULARY: Final = b"entropilot.vocabulary"
_WIDTH: Final = b"entropilot.width"
MAX_VOCABULARY_BYTES: Final = 1 << 30

_LISTS: Final[dict[str, Any]] = {
    "piece": pa.list_(pa.int32()),
    "logprob": pa.list_(pa.float32()),
    "n_top": pa.list_(pa.int16()),
    "top_piece": pa.list_(pa.list_(pa.int32())),
    "top_logprob": pa.list_(pa.list_(pa.float32())),
    "entropy": pa.list_(pa.float32()),
    "jsd": pa.list_(pa.float32()),
    "step_start": pa.list_(pa.int64()),
    "step_stop": pa.list_(pa.int64()),
    "step_phase": pa.list_(pa.int8()),
}
_PLAIN: Final[dict[Any, Any]] = {
    pl.String: pa.large_string(),
    pl.Boolean: pa.bool_(),
    pl.Float64: pa.float64(),
}
SCHEMA: Final = pa.schema(
    [(name, _PLAIN.get(kind, pa.int64())) for name, kind in ROW_SCHEMA.items()]
    + list(_LISTS.items())
)


def write_parquet(traces: Traces | Iterable[Traces | Batch], path: str | Path) -> int:
    """Write traces, all at once or batch by batch; a row group each. Returns how many.

    The file appears under its name only when it is whole.

    Raises:
        InputError: the folder does not exist or can't be written.

    Examples:
        >>> import tempfile
        >>> from entropilot.traces import load_traces
        >>> traces = load_traces({"choices": [{"message": {"content": "Hi"}}]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_parquet(traces, f"{folder}/traces.parquet")
        ...     read_parquet(f"{folder}/traces.parquet").rows["text"][0]
        'Hi'
    """
    path = Path(path)
    parts = [traces] if isinstance(traces, Traces) else traces
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        written = _write(parts, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _write(parts: Iterable[Traces | Batch], path: Path) -> int:
    merged = _MergedVocabulary()
    written, width = 0, 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", write_statistics=False) as writer:
        for part in parts:
            traces = part.traces if isinstance(part, Batch) else part
            width = max(width, traces.tokens.top_piece.shape[1])
            written += len(traces)
            writer.write_table(_table(traces, merged.entries(traces.vocabulary)))
        metadata: Any = {
            _VERSION: VERSION,
            _WIDTH: str(width).encode(),
            _VOCABULARY: merged.packed(),
        }
        writer.add_key_value_metadata(metadata)
    return written


class _MergedVocabulary:
    """Entries of all batches; a vocabulary that goes on from the last costs only what is new."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], int] = {}
        self._last = Vocabulary.from_pieces([])
        self._map: NDArray[np.int32] = np.zeros(0, np.int32)

    def entries(self, vocabulary: Vocabulary) -> NDArray[np.int32]:
        """Entry in the file of each entry of the vocabulary, and -1 last."""
        n, last = len(self._last), self._last
        goes_on = (
            len(vocabulary) >= n
            and np.array_equal(vocabulary.offsets[: n + 1], last.offsets)
            and np.array_equal(vocabulary.token_id[:n], last.token_id)
            and np.array_equal(vocabulary.text[: len(last.text)], last.text)
        )
        start = n if goes_on else 0
        fresh = [
            self._number(int(vocabulary.token_id[i]), vocabulary.piece(i))
            for i in range(start, len(vocabulary))
        ]
        self._map = np.concatenate([self._map[:start], np.array(fresh, np.int32)])
        self._last = vocabulary
        return np.append(self._map, np.int32(-1))

    def _number(self, token_id: int, text: bytes) -> int:
        return self._known.setdefault((token_id, text), len(self._known))

    def packed(self) -> bytes:
        """The vocabulary as an Arrow stream."""
        table = pa.table(
            {
                "text": pa.array([text for _, text in self._known], pa.large_binary()),
                "token_id": pa.array([token_id for token_id, _ in self._known], pa.int64()),
            }
        )
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
            stream.write_table(table)
        return base64.b64encode(sink.getvalue())


def _table(traces: Traces, entries: NDArray[np.int32]) -> pa.Table:
    tokens, n = traces.tokens, len(traces)
    columns: dict[str, Any] = {
        name: traces.rows[name].to_arrow().cast(SCHEMA.field(name).type) for name in ROW_SCHEMA
    }
    used = tokens.top_piece >= 0
    inner = ragged_offsets(used.sum(axis=1))

    def lists(offsets: NDArray[np.int64], values: Any, kind: Any) -> Any:
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind)

    def nested(values: NDArray[Any], kind: Any) -> Any:
        inside = lists(inner, pa.array(values[used]), kind.value_type)
        return lists(tokens.offsets, inside, kind)

    columns["piece"] = lists(tokens.offsets, pa.array(entries[tokens.piece]), _LISTS["piece"])
    columns["logprob"] = lists(tokens.offsets, pa.array(tokens.logprob), _LISTS["logprob"])
    columns["n_top"] = lists(tokens.offsets, pa.array(tokens.n_top), _LISTS["n_top"])
    columns["top_piece"] = nested(entries[tokens.top_piece], _LISTS["top_piece"])
    columns["top_logprob"] = nested(tokens.top_logprob, _LISTS["top_logprob"])
    for name in ("entropy", "jsd"):
        values = getattr(tokens, name)
        columns[name] = (
            pa.nulls(n, _LISTS[name])
            if values is None
            else lists(tokens.offsets, pa.array(values), _LISTS[name])
        )
    steps = traces.steps
    if steps is None:
        columns |= {k: pa.nulls(n, _LISTS[k]) for k in ("step_start", "step_stop", "step_phase")}
    else:
        base = np.repeat(tokens.offsets[:-1], steps.lengths)
        for name, values in (
            ("step_start", steps.start - base),
            ("step_stop", steps.stop - base),
            ("step_phase", steps.phase),
        ):
            columns[name] = lists(steps.offsets, pa.array(values), _LISTS[name])
    return pa.table(columns, schema=SCHEMA)


def read_parquet(path: str | Path) -> Traces:
    """All traces of a file that ``write_parquet`` wrote.

    Raises:
        FormatError: the file is damaged or of another kind.

    Example: see ``write_parquet``.
    """
    return concatenate([batch.traces for batch in read_parquet_batches(Path(path))])


def open_parquet(path: Path) -> Any:
    """The open Parquet file.

    Raises:
        FormatError: it is damaged or no Parquet file.
    """
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path} can't be read as Parquet: {error}") from error


def is_own(file: Any) -> bool:
    """Whether an open Parquet file is one of ours."""
    return _VERSION in (file.schema_arrow.metadata or file.metadata.metadata or {})


def read_parquet_batches(path: Path) -> Iterator[Batch]:
    """Batches of a file that ``write_parquet`` wrote, a row group each."""
    file = open_parquet(path)
    metadata = file.metadata.metadata or {}
    if metadata.get(_VERSION) != VERSION:
        raise FormatError(
            f"{path} is Parquet, but not traces of version {VERSION.decode()}; columns found: "
            f"{', '.join(file.schema_arrow.names[:20])}"
        )
    if not file.schema_arrow.remove_metadata().equals(SCHEMA):
        raise FormatError(
            f"{path} has other columns than version {VERSION.decode()} of this format"
        )
    try:
        vocabulary = _unpack(metadata[_VOCABULARY])
        width = int(metadata[_WIDTH])
        for i in range(file.num_row_groups):
            traces = _traces(file.read_row_group(i), vocabulary, width)
            report = ReadReport(
                formats={NAME: len(traces)},
                files=int(i == 0),
                lines=len(traces),
                traces=len(traces),
                tokens=len(traces.tokens),
            )
            yield Batch(traces, report)
        if file.num_row_groups == 0:
            yield Batch(empty_traces(), ReadReport(files=1))
    except (pa.ArrowException, OSError, KeyError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise FormatError(f"{path} is damaged: {error}") from error


def _unpack(packed: bytes) -> Vocabulary:
    with pa.ipc.open_stream(base64.b64decode(packed, validate=True)) as stream:
        table = stream.read_all()
    if table.nbytes > MAX_VOCABULARY_BYTES:
        raise LimitError(f"the vocabulary holds {table.nbytes} bytes, which is not plausible")
    texts: list[Any] = table["text"].to_pylist()
    return Vocabulary.from_pieces(texts, table["token_id"].to_numpy().astype(np.int64))


def _flat(column: Any) -> tuple[NDArray[np.int64], Any]:
    """Offsets, from 0, and values of a column of lists."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.flatten()
    if array.null_count or values.null_count:
        raise FormatError("a list that must be there is null, or holds null")
    return offsets - offsets[0], values


def _traces(table: Any, vocabulary: Vocabulary, width: int) -> Traces:
    offsets, piece = _flat(table["piece"])
    n_tokens = int(offsets[-1])

    def values(name: str, dtype: Any) -> NDArray[Any]:
        found, flat = _flat(table[name])
        if not np.array_equal(found, offsets):
            raise FormatError(f"column {name} has not one value for each token")
        array: NDArray[Any] = flat.to_numpy(zero_copy_only=False).astype(dtype)
        return array

    tops, top_logprob = {}, np.full((n_tokens, width), -np.inf, np.float32)
    top_piece = np.full((n_tokens, width), -1, np.int32)
    for name in ("top_piece", "top_logprob"):
        outer, lists = _flat(table[name])
        inner, flat = _flat(pa.chunked_array([lists]))
        tops[name] = flat.to_numpy(zero_copy_only=False)
        if not np.array_equal(outer, offsets) or len(inner) != n_tokens + 1:
            raise FormatError(f"column {name} has not one list for each token")
    lengths = np.diff(inner)
    if len(tops["top_piece"]) != len(tops["top_logprob"]) or lengths.max(initial=0) > width:
        raise FormatError("columns top_piece and top_logprob do not fit together")
    used = np.arange(width) < lengths[:, None]
    top_piece[used], top_logprob[used] = tops["top_piece"], tops["top_logprob"]
    own = piece.to_numpy(zero_copy_only=False).astype(np.int32)
    for entries in (own, tops["top_piece"]):
        if len(entries) and not 0 <= entries.min() <= entries.max() < len(vocabulary):
            raise FormatError("a token points outside the vocabulary")
    known = {
        name: None if table[name].null_count else values(name, np.float32)
        for name in ("entropy", "jsd")
    }
    tokens = Tokens(
        offsets,
        own,
        values("logprob", np.float32),
        top_piece,
        top_logprob,
        values("n_top", np.int16),
        known["entropy"],
        known["jsd"],
    )
    plain = table.select(list(ROW_SCHEMA)).replace_schema_metadata(None)
    rows = pl.DataFrame(pl.from_arrow(plain), schema=dict(ROW_SCHEMA))
    return Traces(rows, tokens, vocabulary, _steps(table, offsets))


def _steps(table: Any, token_offsets: NDArray[np.int64]) -> Steps | None:
    if table["step_start"].null_count or table.num_rows == 0:
        return None
    offsets, start = _flat(table["step_start"])
    base = np.repeat(token_offsets[:-1], np.diff(offsets))
    limit = np.repeat(np.diff(token_offsets), np.diff(offsets))
    ends = [_flat(table[name]) for name in ("step_stop", "step_phase")]
    if not all(np.array_equal(found, offsets) for found, _ in ends):
        raise FormatError("the step columns do not fit together")
    first, stop, phase = (v.to_numpy(zero_copy_only=False) for v in (start, ends[0][1], ends[1][1]))
    if not ((first >= 0) & (first <= stop) & (stop <= limit)).all():
        raise FormatError("a step reaches beyond the tokens of its trace")
    return Steps(offsets, first + base, stop + base, phase.astype(np.int8))
