"""Cutting files into ranges of whole lines, so that many processes can read one file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.reading.compressed import GZIP, ZSTD
from entropilot.traces.reading.decoding import decode
from entropilot.traces.reading.dialects.stream import stream_of
from entropilot.traces.reading.options import Shard

_BLOCK: Final = 1 << 20


def plan_shards(paths: str | Path | Iterable[str | Path], n_bytes: int) -> list[Shard]:
    r"""Shards of about ``n_bytes``, each of whole lines; the same for the same files.

    Read one after another they give the traces of the whole. Compressed files, JSON documents,
    Parquet, safetensors and streamed answers are one shard each, whatever their size. Ids are
    compared within a shard only.

    Args:
        paths: files.
        n_bytes: > 0; a shard ends at the first line end at or after so many bytes.

    Raises:
        InputError: a file can't be opened.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "log.jsonl")
        ...     _ = path.write_bytes(b'{"a": 1}\n{"a": 2}\n')
        ...     [(s.start, s.stop, s.first_line) for s in plan_shards(path, 5)]
        [(0, 9, 1), (9, 18, 2)]
    """
    if n_bytes <= 0:
        raise ConfigurationError(f"n_bytes is {n_bytes}; a shard needs at least one byte")
    listed = [paths] if isinstance(paths, str | Path) else paths
    return [shard for path in listed for shard in _cut(Path(path), n_bytes)]


def _cut(path: Path, n_bytes: int) -> list[Shard]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_BLOCK)
            if not _is_lines(path, head):
                return [Shard(path)]
            file.seek(0)
            shards = []
            start, line = 0, 1
            while start < size:
                stop, lines = start, 0
                while True:
                    want = max(1, start + n_bytes - stop)
                    block = file.read(min(want, _BLOCK)) if stop < start + n_bytes else b""
                    block = block or file.readline()
                    if not block:
                        break
                    stop += len(block)
                    lines += block.count(b"\n")
                    if stop >= start + n_bytes and block.endswith(b"\n"):
                        break
                shards.append(Shard(path, start, stop, line))
                start, line = stop, line + lines
            return shards
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from error


def _is_lines(path: Path, head: bytes) -> bool:
    """Whether a file that begins so is JSON, one whole answer a line."""
    if path.suffix in (".parquet", ".safetensors") or head.startswith((GZIP, ZSTD, b"PAR1")):
        return False
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    first, found, _ = text.partition(b"\n")
    if not text.startswith(b"{") or (found and not first.rstrip().endswith(b"}")):
        return False
    try:
        value, _ = decode(first)
    except InputError:
        return True
    return stream_of(value, ()) is None
