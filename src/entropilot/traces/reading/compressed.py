"""Opening plain, gzip and zstd files as one stream of bytes, with a limit on what may come out."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from pathlib import Path
from typing import IO, Any, Final

from entropilot.errors import FormatError, InputError, LimitError
from entropilot.traces.reading.options import ReadOptions

GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
REFUSED: Final = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip (or a PyTorch file)",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x93NUMPY": "NumPy",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
ZSTD_PIECE: Final = 2048  # compressed bytes at once: even a bomb unfolds them to 64 MiB at most
RATIO_GRACE: Final = 64 << 20  # bytes that may come out before the ratio is looked at


class ByteStream:
    """Reads into a buffer; counts what goes in and what comes out."""

    def __init__(self, raw: IO[bytes], name: str, options: ReadOptions) -> None:
        self.name = name
        self.produced = 0
        self._options = options
        self._counted = _Counted(raw)
        head = self._counted.peek(8)
        for magic, kind in REFUSED.items():
            if head.startswith(magic):
                raise FormatError(
                    f"{name} is {kind}; JSON, JSONL (plain, gzip or zstd), Parquet and safetensors "
                    "are read. Convert it first, for example to JSONL"
                )
        self.compressed = head.startswith((GZIP, ZSTD))
        self._stream: Any = self._counted
        if head.startswith(GZIP):
            self._stream = gzip.GzipFile(fileobj=self._counted)
        elif head.startswith(ZSTD):
            self._stream = _Zstd(self._counted)

    def readinto(self, target: memoryview) -> int:
        """Fill the target as far as one read goes; 0 at the end.

        Raises:
            FormatError: the compressed stream is damaged or ends early.
            LimitError: more came out than the options allow.
        """
        try:
            n = int(self._stream.readinto(target))
        except (EOFError, OSError, zlib.error) as error:
            if not self.compressed:
                raise InputError(f"{self.name} can't be read: {error}") from error
            raise self._damaged(error) from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            raise self._damaged(error) from error
        self.produced += n
        if self.compressed:
            self._check()
        return n

    def _damaged(self, error: Exception) -> FormatError:
        return FormatError(
            f"{self.name} is damaged or cut off: the compressed stream breaks after "
            f"{self.produced} bytes ({error}). Copy or write the file again"
        )

    def _check(self) -> None:
        limit, ratio = self._options.max_decompressed_bytes, self._options.max_ratio
        if self.produced > limit:
            raise LimitError(
                f"{self.name} unfolds to more than {limit} bytes. If you trust it, raise "
                "--max-decompressed, in Python max_decompressed_bytes"
            )
        if self.produced > RATIO_GRACE and self.produced > ratio * max(self._counted.consumed, 1):
            raise LimitError(
                f"{self.name} unfolds to {self.produced} bytes from {self._counted.consumed}, more "
                f"than {ratio:g} to 1, as a decompression bomb. If you trust it, unpack it "
                "first, or raise max_ratio"
            )

    def close(self) -> None:
        """Close the file, unless it is standard input."""
        self._counted.close()


class _Counted(io.RawIOBase):
    """A raw stream that counts and can give its first bytes twice."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._head = b""
        self.consumed = 0

    def peek(self, n: int) -> bytes:
        while len(self._head) < n and (more := self._raw.read(n - len(self._head))):
            self._head += more
        return self._head

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        if self._head:
            n = min(len(self._head), len(view))
            view[:n], self._head = self._head[:n], self._head[n:]
        else:
            n = self._raw.readinto(view) or 0  # type: ignore[attr-defined]
        self.consumed += n
        return n

    def close(self) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()
        super().close()


class _Zstd(io.RawIOBase):
    """Frames of zstd, one after another; an end within a frame is an error."""

    def __init__(self, raw: _Counted) -> None:
        import zstandard

        self._raw = raw
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame = self._decompressor.decompressobj()
        self._inside = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        while not self._ready:
            packed = self._raw.read(ZSTD_PIECE) or b""
            if not packed:
                if self._inside:
                    raise EOFError("it ends within a frame")
                return 0
            self._ready = memoryview(self._unfold(packed))
        n = min(len(view), len(self._ready))
        view[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def _unfold(self, packed: bytes) -> bytes:
        found = []
        while packed:
            self._inside = True
            found.append(self._frame.decompress(packed))
            packed = b""
            if self._frame.eof:
                packed = self._frame.unused_data
                self._frame = self._decompressor.decompressobj()
                self._inside = False
        return b"".join(found)


def open_stream(source: Path | IO[bytes], options: ReadOptions, start: int = 0) -> ByteStream:
    """Open a path, or take an open binary stream; ``start`` skips bytes of an uncompressed file."""
    if not isinstance(source, Path):
        return ByteStream(source, "standard input", options)
    try:
        raw = source.open("rb", buffering=0)
    except OSError as error:
        raise InputError(f"{source} can't be opened: {error.strerror}") from error
    try:
        raw.seek(start)
        return ByteStream(raw, str(source), options)
    except BaseException:
        raw.close()
        raise
