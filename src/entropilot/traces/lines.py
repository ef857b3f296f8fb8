"""Lines of a byte stream, a block at a time, in one buffer that is used again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from entropilot.errors import LimitError
from entropilot.traces.compressed import ByteStream
from entropilot.traces.reading import ReadOptions

SLACK = 16  # bytes after the text, so that kernels may load whole words
FIRST = 1 << 18  # bytes of the buffer at first; a small file needs no large one
BOM = b"\xef\xbb\xbf"


@dataclass
class Block:
    """Whole lines: buffer[start:stop] ends with a newline, or is the last line of the stream.

    ``is_last``: the stream ends here. The buffer is valid until the next block is asked for.
    """

    buffer: bytearray
    start: int
    stop: int
    is_last: bool


def blocks(stream: ByteStream, options: ReadOptions, limit: int | None = None) -> Iterator[Block]:
    """Whole lines of the stream, about ``options.batch_bytes`` at a time; up to ``limit`` bytes.

    Raises:
        LimitError: a line is longer than ``options.max_line_bytes``.
    """
    size = min(options.batch_bytes, FIRST)
    buffer = bytearray(size + SLACK)
    filled, left = 0, limit
    while True:
        at_end = False
        while filled < size:
            want = size - filled if left is None else min(size - filled, left)
            view = memoryview(buffer)
            n = stream.readinto(view[filled : filled + want]) if want else 0
            view.release()
            if n == 0:
                at_end = True
                break
            filled += n
            left = None if left is None else left - n
        if filled == size < options.batch_bytes:
            size = min(8 * size, options.batch_bytes)
            buffer = _longer(buffer, filled, size)
            continue
        cut = filled if at_end else buffer.rfind(b"\n", 0, filled) + 1
        if cut or at_end:
            buffer[filled : filled + SLACK] = bytes(SLACK)
            yield Block(buffer, 0, cut, at_end)
            if at_end:
                return
            rest = bytes(buffer[cut:filled])
            buffer[: len(rest)] = rest
            filled = len(rest)
        else:
            if size >= options.max_line_bytes:
                raise LimitError(
                    f"{stream.name} has a line, or a JSON document, of more than "
                    f"{options.max_line_bytes} bytes. If it is right, raise max_line_bytes; if the "
                    "file is one large JSON array, write it as JSONL, one object a line"
                )
            size = min(2 * size, options.max_line_bytes)
            buffer = _longer(buffer, filled, size)


def _longer(buffer: bytearray, filled: int, size: int) -> bytearray:
    """A copy with more room; the old one may still be looked at, so that it can't be extended."""
    longer = bytearray(size + SLACK)
    longer[:filled] = buffer[:filled]
    return longer
