"""Reading traces from files, streams and objects, in batches of bounded size."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from entropilot.errors import FormatError, InputError
from entropilot.traces.parquet import is_own, open_parquet, read_parquet_batches
from entropilot.traces.reading.compressed import ByteStream, open_stream
from entropilot.traces.reading.dialects.huggingface import NAME as SAFETENSORS
from entropilot.traces.reading.dialects.huggingface import read_scores
from entropilot.traces.reading.documents import DocumentReader
from entropilot.traces.reading.lines import Block, blocks
from entropilot.traces.reading.options import Batch, ReadOptions, Shard
from entropilot.traces.reading.plain import to_plain
from entropilot.traces.table import Traces, concatenate

Source = str | Path | Shard | Sequence[str | Path | Shard]

PARQUET: Final = b"PAR1"
MAX_SCORED: Final = 20_000  # tokens of full distributions a batch
SUFFIXES: Final = (
    ".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz", ".jsonl.zst", ".json.zst",
    ".ndjson.zst", ".parquet", ".safetensors",
)  # fmt: skip


def read_traces(source: Source, *, options: ReadOptions = ReadOptions()) -> Iterator[Batch]:  # noqa: B008
    r"""Batches of traces, one after another; memory does not grow with the input.

    Each record's shape decides its dialect, so one file may mix them. Lines that can't be read are
    counted and named in the batch's report, or raised with ``options.strict``.

    Args:
        source: a file, a folder, several of them, a ``Shard``, or ``"-"`` for standard input.
            Plain, gzip and zstd text is told by its content.
        options: limits, strictness and the names of label fields.

    Raises:
        InputError: a file can't be opened, or (``strict``) a line can't be used.
        FormatError: no line of the source is in a known format.
        LimitError: a line or a decompressed file is larger than the options allow.

    Examples:
        >>> import json, tempfile
        >>> best = {"token": "Hi", "logprob": -0.5}
        >>> token = {**best, "top_logprobs": [best]}
        >>> answer = {"message": {"content": "Hi"}, "logprobs": {"content": [token]}}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "log.jsonl")
        ...     _ = path.write_text(json.dumps({"id": "a", "choices": [answer]}))
        ...     batch, = read_traces(path)
        >>> batch.traces.rows["text"][0], batch.report.tokens
        ('Hi', 1)
    """
    reader = DocumentReader(options)
    total = 0
    for shard in shards_of(source):
        for batch in _read_shard(shard, reader, options):
            total += len(batch.traces)
            yield batch
    if len(reader.builder) or reader.pending:
        batch = reader.take()
        total += len(batch.traces)
        yield batch
    if total == 0 and reader.first_skipped is not None:
        raise FormatError(f"nothing could be read. {reader.first_skipped}")


def load_traces(source: Any, *, options: ReadOptions = ReadOptions(strict=True)) -> Traces:  # noqa: B008
    """All traces of a source at once; the first line that can't be read is an error.

    Args:
        source: what ``read_traces`` takes, or JSON text (str that begins with a brace or bracket,
            or bytes), or the objects themselves: a dict, a response of an SDK, or a list of them.
        options: as for ``read_traces``; strict unless you say otherwise.

    Raises:
        InputError, FormatError, LimitError: as ``read_traces``.

    Examples:
        >>> best = {"token": "Hi", "logprob": -0.5}
        >>> token = {**best, "top_logprobs": [best]}
        >>> answer = {"message": {"content": "Hi"}, "logprobs": {"content": [token]}}
        >>> load_traces({"id": "a", "choices": [answer]}).token_pieces(0)
        [b'Hi']
    """
    return concatenate([batch.traces for batch in _load(source, options)])


def _load(source: Any, options: ReadOptions) -> Iterator[Batch]:
    if isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        source = source.encode()
    if isinstance(source, bytes | bytearray):
        reader = DocumentReader(options)
        stream = ByteStream(io.BytesIO(source), "the text", options)
        yield from _read_stream(stream, reader, options, 1, None)
        yield reader.take()
    elif isinstance(source, str | Path | Shard) or (
        isinstance(source, list | tuple)
        and source
        and all(isinstance(part, str | Path | Shard) for part in source)
    ):
        yield from read_traces(source, options=options)
    else:
        reader = DocumentReader(options)
        many = source if isinstance(source, list | tuple) else [source]
        for number, item in enumerate(many, 1):
            reader.value(to_plain(item), "the objects", number, "")
        reader.end_file()
        yield reader.take()


def shards_of(source: Source) -> Iterator[Shard]:
    """Whole files, in order, of a source; folders are searched for known endings."""
    if isinstance(source, Shard):
        yield source
    elif isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            found = sorted(
                child
                for child in path.rglob("*")
                if child.name.endswith(SUFFIXES)
                and not child.name.startswith(".")
                and child.is_file()
            )
            if not found:
                raise InputError(
                    f"the folder {path} holds no trace files; known endings: {', '.join(SUFFIXES)}"
                )
            yield from map(Shard, found)
        else:
            yield Shard(path)
    else:
        for part in source:
            yield from shards_of(part)


def _read_shard(shard: Shard, reader: DocumentReader, options: ReadOptions) -> Iterator[Batch]:
    """Full batches of one shard; what is left over stays in the reader."""
    is_stdin = str(shard.path) == "-"
    source: Path | IO[bytes] = sys.stdin.buffer if is_stdin else shard.path
    if isinstance(source, Path):
        if _begins_with(source, PARQUET):
            yield from _read_parquet(source, reader)
            return
        if source.suffix == ".safetensors":
            yield from _read_safetensors(source, reader, options)
            return
    reader.builder.count("files")
    stream = open_stream(source, options, shard.start)
    try:
        limit = None if shard.stop is None else shard.stop - shard.start
        yield from _read_stream(stream, reader, options, shard.first_line, limit)
    finally:
        stream.close()


def _read_stream(
    stream: ByteStream,
    reader: DocumentReader,
    options: ReadOptions,
    line: int,
    limit: int | None,
) -> Iterator[Batch]:
    parts = blocks(stream, options, limit)
    first = next(parts)
    if limit is None and line == 1 and reader.is_document(first):
        reader.whole(stream.name, first, parts)
        reader.builder.count("bytes_read", stream.produced)
        reader.end_file()
        if reader.is_full():
            yield reader.take()
        return
    counted = 0
    for block in _chain(first, parts):
        line = reader.block(stream.name, block, line)
        reader.builder.count("bytes_read", stream.produced - counted)
        counted = stream.produced
        if block.is_last:
            reader.end_file()
        if reader.is_full():
            yield reader.take()


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except IsADirectoryError:
        raise InputError(f"{path} is a folder where a file is expected") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{str(path)!r} can't be opened: {reason}") from error


def _read_parquet(path: Path, reader: DocumentReader) -> Iterator[Batch]:
    """Our own Parquet as it is; any other a row at a time, by the shape of its rows."""
    file = open_parquet(path)
    if is_own(file):
        if reader.pending:
            yield reader.take()
        yield from read_parquet_batches(path)
        return
    reader.builder.count("files")
    line = 0
    for rows in file.iter_batches(batch_size=256):
        for row in rows.to_pylist():
            line += 1
            reader.value(to_plain(row), str(path), line, " (Parquet)")
        reader.builder.count("lines", len(rows))
        reader.builder.count("bytes_read", rows.nbytes)
        if reader.is_full():
            yield reader.take()


def _read_safetensors(path: Path, reader: DocumentReader, options: ReadOptions) -> Iterator[Batch]:
    reader.builder.count("files")
    try:
        for record in read_scores(path, options):
            reader.add([record], SAFETENSORS, str(path), 1)
            if reader.builder.columns.n > MAX_SCORED:
                yield reader.take()
    except InputError as error:
        reader.skip(str(path), 0, error)


def _chain(first: Block, rest: Iterable[Block]) -> Iterator[Block]:
    yield first
    yield from rest
