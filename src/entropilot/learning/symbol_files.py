"""Streams of symbols from files: text, any bytes, token arrays, and a field of JSONL records.

Of a file with more symbols than asked for, windows spread evenly over it are read, so that memory
is bounded and the whole file is represented. Nothing is unpickled.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from entropilot.errors import FormatError, InputError
from entropilot.traces.reading.compressed import GZIP, ZSTD, open_stream
from entropilot.traces.reading.options import ReadOptions

Unit = Literal["auto", "bytes", "characters"]
Kind = Literal["bytes", "characters", "tokens"]
Symbols = NDArray[Any]

N_WINDOWS: Final = 64
LONGEST_LINE: Final = 64 << 20  # bytes
NUMPY: Final = b"\x93NUMPY"
JSON_LINES: Final = (".jsonl", ".ndjson")
#: First bytes of formats whose content is compressed: as plain bytes they look like noise.
PACKED: Final = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"PAR1": "Parquet",
    b"%PDF": "PDF",
    b"7z\xbc\xaf": "a 7z archive",
}


@dataclass(frozen=True)
class SymbolStream:
    """Symbols of one data set.

    ``symbols`` [n] integers >= 0; ``kind`` says what they are; ``part`` says which of the file's
    symbols they are; ``notes`` are sentences that a reader must know.
    """

    name: str
    symbols: Symbols
    kind: Kind
    part: str
    notes: tuple[str, ...] = ()


def read_symbols(
    source: Path,
    *,
    most: int = 2_000_000,
    unit: Unit = "auto",
    field: str = "text",
    raw: bool = False,
) -> SymbolStream:
    """Symbols of a file, at most ``most`` of them.

    ``.npy`` holds token ids; ``.jsonl`` and ``.ndjson`` hold records whose ``field`` is a text or a
    list of token ids; every other file is bytes. gzip and zstd are unfolded, and of those the first
    symbols are taken.

    Args:
        source: file; ``-`` is standard input.
        most: symbols to read.
        unit: of text: ``"bytes"`` of UTF-8 (``"auto"``) or ``"characters"``.
        field: of JSONL records.
        raw: read any file as plain bytes, whatever it holds.

    Raises:
        InputError: no such file, a folder, no permission, an empty file, ids that are negative or
            not integers.
        FormatError: a damaged file, text that is not UTF-8, a field that no record has.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = path.write_text("naïve")
        >>> read_symbols(path).symbols.tolist()
        [110, 97, 195, 175, 118, 101]
        >>> read_symbols(path, unit="characters").symbols.tolist()
        [110, 97, 239, 118, 101]
    """
    if str(source) == "-":
        content = sys.stdin.buffer.read(most * (4 if unit == "characters" else 1))
        found = SymbolStream("standard input", _as_bytes(content), "bytes", "the first")
        return _checked(_in_unit(found, unit, most), source)
    if source.is_dir():
        raise InputError(f"{source} is a folder; name the files in it, such as {source}/*")
    try:
        with source.open("rb") as file:
            head = file.read(8)
            packed = head.startswith((GZIP, ZSTD)) and not raw
            if _is_json_lines(source) and not raw:
                found = _json_lines(source, file, packed, most, unit, field)
            elif head.startswith(NUMPY) and not raw:
                found = _token_array(source, most)
            else:
                found = _plain(source, file, packed, most, unit, head)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise InputError(f"{source} can't be read: {said}") from error
    return _checked(found, source)


def shortened(stream: SymbolStream, n: int) -> SymbolStream:
    """The stream cut to ``n`` symbols: windows spread evenly over it.

    Examples:
        >>> stream = SymbolStream("a", np.arange(6400), "tokens", "all")
        >>> shortened(stream, 640).symbols[[0, 9, 10, -1]].tolist()
        [0, 9, 101, 6399]
    """
    if n >= len(stream.symbols):
        return stream
    pieces = [stream.symbols[a:b] for a, b in _windows(len(stream.symbols), n)]
    return replace(stream, symbols=np.concatenate(pieces))


def _windows(total: int, n: int) -> Iterator[tuple[int, int]]:
    """About ``N_WINDOWS`` stretches of n symbols in all, from the first to the last symbol."""
    count = min(N_WINDOWS, n)
    sizes = np.diff(np.linspace(0, n, count + 1).astype(np.int64))
    for i, size in enumerate(sizes.tolist()):
        start = round(i * (total - size) / max(1, count - 1))
        yield start, start + size


def _checked(stream: SymbolStream, source: Path) -> SymbolStream:
    if len(stream.symbols) == 0:
        raise InputError(f"{source} is empty; there is nothing to learn from")
    return stream


def _is_json_lines(source: Path) -> bool:
    suffixes = [s.lower() for s in source.suffixes]
    return any(s in JSON_LINES for s in suffixes[-2:])


def _as_bytes(content: bytes) -> Symbols:
    return np.frombuffer(content, np.uint8)


def _plain(
    source: Path, file: IO[bytes], packed: bool, most: int, unit: Unit, head: bytes
) -> SymbolStream:
    notes = tuple(
        f"{source} is {kind}: its content is compressed, and compressed bytes look like noise. "
        "Unpack it first"
        for magic, kind in PACKED.items()
        if head.startswith(magic)
    )
    room = most * (4 if unit == "characters" else 1)
    if packed:
        content = _unfolded(source, room)
        part = "the first" if len(content) == room else "all"
        return _in_unit(SymbolStream(str(source), _as_bytes(content), "bytes", part), unit, most)
    size = file.seek(0, 2)
    if size <= most or (unit == "characters" and size <= room):
        file.seek(0)
        found = SymbolStream(str(source), _as_bytes(file.read()), "bytes", "all", notes)
        return _in_unit(found, unit, most)
    pieces = []
    for start, stop in _windows(size, room):
        file.seek(start)
        piece = file.read(stop - start)
        pieces.append(_whole_characters(piece) if unit == "characters" else piece)
    part = f"{N_WINDOWS} windows spread over {size:,} bytes"
    found = SymbolStream(str(source), _as_bytes(b"".join(pieces)), "bytes", part, notes)
    return _in_unit(found, unit, most)


def _whole_characters(piece: bytes) -> bytes:
    """A window without the halves of characters at its ends."""
    start = 0
    while start < min(3, len(piece)) and piece[start] & 0xC0 == 0x80:
        start += 1
    stop = len(piece)
    for back in range(1, min(4, len(piece)) + 1):
        lead = piece[-back]
        if lead & 0xC0 != 0x80:
            length = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            stop = len(piece) - back if length > back else len(piece)
            break
    return piece[start:stop]


def _in_unit(stream: SymbolStream, unit: Unit, most: int) -> SymbolStream:
    if unit != "characters":
        return stream
    content = stream.symbols.tobytes()
    if stream.part == "the first":
        content = _whole_characters(content)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{stream.name} is not UTF-8 text: byte 0x{content[error.start]:02x} at position "
            f"{error.start}. Choose the unit bytes (--unit bytes)"
        ) from error
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    found = replace(stream, symbols=codes, kind="characters")
    return shortened(found, most) if stream.part != "the first" else _first(found, most)


def _first(stream: SymbolStream, most: int) -> SymbolStream:
    return replace(stream, symbols=stream.symbols[:most])


def _unfolded(source: Path, room: int) -> bytes:
    """The first bytes of a gzip or zstd file."""
    stream = open_stream(source, ReadOptions())
    buffer, filled = bytearray(room), 0
    while filled < room:
        n = stream.readinto(memoryview(buffer)[filled:])
        if n == 0:
            break
        filled += n
    return bytes(buffer[:filled])


def _token_array(source: Path, most: int) -> SymbolStream:
    try:
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FormatError(
            f"{source} can't be read as a NumPy array of token ids: {error}. Save integers with "
            "numpy.save"
        ) from error
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != np.bool_:
        raise InputError(
            f"{source} holds {array.dtype}; token ids are integers. Read it with raw (--raw) to"
            f" compare its bytes"
        )
    flat = array.reshape(-1)
    part = "all"
    if len(flat) > most:
        part = f"{N_WINDOWS} windows spread over {len(flat):,} tokens"
        flat = np.concatenate([flat[a:b] for a, b in _windows(len(flat), most)])
    notes = () if array.ndim == 1 else (f"{source} has shape {array.shape}; rows are joined.",)
    return SymbolStream(str(source), _ids(flat, source), "tokens", part, notes)


def _ids(values: Any, source: Path) -> Symbols:
    ids = np.array(values)
    if ids.dtype == np.bool_:
        ids = ids.astype(np.uint8)
    if len(ids) and int(ids.min()) < 0:
        raise InputError(
            f"{source} has the negative token id {int(ids.min())}; leave padding such as -100 out"
        )
    if len(ids) and int(ids.max()) >= 1 << 40:
        raise InputError(f"{source} has the id {int(ids.max())}; token ids are below 2^40")
    return ids


def _json_lines(
    source: Path, file: IO[bytes], packed: bool, most: int, unit: Unit, field: str
) -> SymbolStream:
    if packed:
        content = _unfolded(source, most * 8)
        reader = _Records(source, field, unit)
        for line in content.split(b"\n"):
            if reader.n >= most:
                break
            reader.add(line, is_last=len(content) == most * 8)
        return reader.stream("the first" if reader.n >= most else "all", most)
    size = file.seek(0, 2)
    reader = _Records(source, field, unit)
    if size <= 8 * most:
        file.seek(0)
        for line in _lines(file, source):
            reader.add(line)
        found = reader.stream("all", len(reader))
        if len(found.symbols) <= most:
            return found
        part = f"{N_WINDOWS} windows spread over {len(found.symbols):,} {found.kind}"
        return replace(shortened(found, most), part=part)
    for i in range(N_WINDOWS):
        file.seek(round(i * size / N_WINDOWS))
        if i:
            file.readline(LONGEST_LINE)  # the rest of a record that began before
        for line in _lines(file, source):
            reader.add(line)
            if reader.n >= (i + 1) * most // N_WINDOWS:
                break
    return reader.stream(f"records at {N_WINDOWS} places spread over {size:,} bytes", most)


def _lines(file: IO[bytes], source: Path) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"{source} has a line longer than {LONGEST_LINE >> 20} MiB; JSONL has one record a "
                "line. Read it with raw (--raw) to compare its bytes"
            )
        yield line


class _Records:
    """Texts or token ids of one field, as far as they are read."""

    def __init__(self, source: Path, field: str, unit: Unit) -> None:
        self.source, self.field, self.unit = source, field, unit
        self.n = 0
        self.bad = self.lacking = self.read = 0
        self.texts: list[Symbols] = []
        self.ids: list[Symbols] = []
        self.keys: Sequence[str] = ()

    def __len__(self) -> int:
        return self.n

    def add(self, line: bytes, *, is_last: bool = False) -> None:
        """Take one line; what is no record, or lacks the field, is counted."""
        if not line.strip():
            return
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.bad += not is_last
            return
        value = record.get(self.field) if isinstance(record, dict) else None
        if isinstance(record, dict) and not self.keys:
            self.keys = [str(key)[:40] for key in list(record)[:12]]
        if isinstance(value, str):
            self._keep(self.texts, self._symbols(value + "\n"))
        elif isinstance(value, list) and value and all(type(x) is int for x in value):
            self._keep(self.ids, _ids(value, self.source))
        else:
            self.lacking += 1
            return
        self.read += 1

    def stream(self, part: str, most: int) -> SymbolStream:
        """What was read."""
        if not self.read:
            if self.keys:
                raise FormatError(
                    f"no record of {self.source} has a text or token ids in {self.field!r}; name "
                    f"the field (--field). Fields: {', '.join(self.keys)}"
                )
            raise FormatError(
                f"{self.source} has no JSON records, one a line; read it with raw (--raw) to "
                "compare its bytes"
            )
        if self.texts and self.ids:
            raise InputError(
                f"{self.source} has texts in some records and token ids in others in "
                f"{self.field!r}; split the file"
            )
        kind: Kind = "tokens" if self.ids else ("characters" if self._by_character else "bytes")
        notes = []
        if self.bad:
            notes.append(f"{self.source}: {self.bad:,} lines are no JSON and were left out.")
        if self.lacking:
            notes.append(
                f"{self.source}: {self.lacking:,} records have no text or token ids in "
                f"{self.field!r} and were left out."
            )
        symbols = np.concatenate(self.ids or self.texts)[:most]
        return SymbolStream(str(self.source), symbols, kind, part, tuple(notes))

    @property
    def _by_character(self) -> bool:
        return self.unit == "characters"

    def _keep(self, kept: list[Symbols], symbols: Symbols) -> None:
        kept.append(symbols)
        self.n += len(symbols)

    def _symbols(self, text: str) -> Symbols:
        if self._by_character:
            return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return _as_bytes(text.encode(errors="replace"))
