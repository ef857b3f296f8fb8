"""Lines and documents become records: decoding, the choice of dialect, what to do with errors."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from entropilot.errors import EntropilotError, InputError, LimitError
from entropilot.traces.reading.builder import Record, Scanned, TraceBuilder
from entropilot.traces.reading.decoding import decode, is_complete, items
from entropilot.traces.reading.dialects.detect import read_object
from entropilot.traces.reading.dialects.stream import OpenStream, Stream, is_event, stream_of
from entropilot.traces.reading.line_scanner import LineScanner
from entropilot.traces.reading.lines import BOM, SLACK, Block
from entropilot.traces.reading.options import Batch, ReadOptions, Skipped

MAX_STREAMS = 1000  # streamed answers that may be open at once; beyond it the oldest is closed
MIN_FAST = 256  # bytes; a shorter line has nothing to scan
FAST_AFTER = (
    4 << 20
)  # bytes of input; less is read sooner than the scanner is compiled the first time
EVENT_FIELDS = (b"event:", b"retry:", b"id:", b": ")  # of server-sent events, beside data
_BLANK = b" \t\r\n"


class DocumentReader:
    """Takes blocks of lines, whole documents or values, and collects their traces."""

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.builder = TraceBuilder(find_answers=options.part == "completion")
        self._scanner = LineScanner(self.builder)
        self._seen = 0  # bytes of text so far
        self._streams: dict[str, OpenStream] = {}
        self.first_skipped: Skipped | None = None
        self.pending = False  # something was read or skipped since the last batch

    def take(self) -> Batch:
        """What was collected since the last call."""
        self.pending = False
        return Batch(*self.builder.take())

    def is_full(self) -> bool:
        """Whether enough was read for a batch."""
        return self.builder.bytes_read >= self.options.batch_bytes // 2

    def _part(self, part: Any, stream: Stream, key: str, file: str, line: int) -> None:
        """Keep a part of a streamed answer until its last one, or until the file ends."""
        if key not in self._streams and len(self._streams) >= MAX_STREAMS:
            self._close_stream(next(iter(self._streams)))
        opened = self._streams.setdefault(key, OpenStream(stream, file, line))
        opened.parts.append(part)
        if stream.is_last(part):
            self._close_stream(key)

    def _close_stream(self, key: str) -> None:
        opened = self._streams.pop(key)
        whole = opened.stream.join(opened.parts)
        if whole.get("choices") == []:
            return
        try:
            _, records = read_object(whole, self.options, {})
            self.add(records, opened.stream.name, opened.file, opened.line)
        except InputError as error:
            self.skip(opened.file, opened.line, error)

    def end_file(self) -> None:
        """A file ends here: answers that were streamed into it are whole."""
        for name in list(self._streams):
            self._close_stream(name)

    def is_document(self, block: Block) -> bool:
        """Whether a file that begins with this block is one JSON value over many lines."""
        start = _text_start(block)
        first = block.buffer.find(b"\n", start, block.stop)
        if first < 0 or not block.buffer.startswith((b"{", b"["), start):
            return False
        if is_complete(bytes(block.buffer[start:first])):
            return False
        second = bytes(block.buffer[first + 1 : block.buffer.find(b"\n", first + 1, block.stop)])
        return not (second.startswith(b"{") and second.endswith(b"}") and is_complete(second))

    def whole(self, file: str, first: Block, rest: Iterable[Block]) -> None:
        """Read all blocks as one JSON document."""
        text = bytearray(first.buffer[_text_start(first) : first.stop])
        for block in rest:
            text += block.buffer[block.start : block.stop]
            self._check_length(file, 1, len(text))
        self._seen += len(text)
        self.builder.count("lines", text.count(b"\n") + (not text.endswith(b"\n")))
        self.text(bytes(text), file, 1, " (JSON)")

    def block(self, file: str, block: Block, line: int) -> int:
        """Read each line; returns the number of the line that comes next."""
        buffer = block.buffer
        self._seen += block.stop - block.start
        address = np.frombuffer(buffer, np.uint8).ctypes.data
        at = _text_start(block) if line == 1 else block.start
        while at < block.stop:
            end = buffer.find(b"\n", at, block.stop)
            end = block.stop if end < 0 else end
            self._check_length(file, line, end - at)
            fast = end - at >= MIN_FAST and self._seen >= FAST_AFTER
            if not fast or not self.scan(address + at, address + end, file, line, " (JSONL)"):
                text = bytes(buffer[at:end]).strip(_BLANK)
                if text:
                    self.text(text, file, line, " (JSONL)")
            self.builder.count("lines")
            at, line = end + 1, line + 1
        return line

    def scan(self, start: int, stop: int, file: str, line: int, suffix: str) -> bool:
        """Read the line between two addresses the fast way; False: it must go the ordinary way."""
        columns = self.builder.columns
        row, counts = columns.n, columns.counts.copy()
        scanned = self._scanner.scan(start, stop)
        if scanned is None:
            return False
        value, lists = scanned
        try:
            if stream_of(value, self._streams) is not None:
                raise InputError("parts are joined the ordinary way")
            name, records = read_object(value, self.options, lists)
            if [r.tokens for r in records if isinstance(r.tokens, Scanned)] == [*lists.values()]:
                self.add(records, name + suffix, file, line)
                return True
        except InputError:
            pass  # the ordinary way joins parts, and says what is wrong
        columns.n = row
        columns.counts[:] = counts
        return False

    def add(self, records: list[Record], name: str, file: str, line: int) -> None:
        """Append the traces of one log object, with where they come from."""
        for i, record in enumerate(records):
            record.row["source"], record.row["line"] = file, line
            if record.row.get("id") is None:
                place = f"{Path(file).name}:{line}"
                record.row["id"] = place if len(records) == 1 else f"{place}/{i}"
        self.builder.add(records, name)
        self.pending = True

    def _check_length(self, file: str, line: int, length: int) -> None:
        if length > self.options.max_line_bytes:
            raise LimitError(
                f"{file}, line {line}: {length} bytes, more than {self.options.max_line_bytes}. If "
                "the line is right, raise max_line_bytes; write a large JSON array as JSONL"
            )

    def text(self, text: bytes, file: str, line: int, suffix: str) -> None:
        """Read the text of a line, or of a document."""
        if text[:5] == b"data:":  # server-sent events
            text = text[5:].strip(_BLANK)
            if text == b"[DONE]":
                return
        elif text.startswith(EVENT_FIELDS):
            return
        if text[:1] == b"[" and (parts := items(text)) is not None:
            for part in parts:
                padded = np.frombuffer(part + bytes(SLACK), np.uint8)
                address = padded.ctypes.data
                fast = self._seen >= FAST_AFTER
                if not fast or not self.scan(address, address + len(part), file, line, suffix):
                    self.text(part, file, line, suffix)
            return
        try:
            value, replaced = decode(text)
        except InputError as error:
            self.skip(file, line, error)
            return
        self.builder.count("invalid_utf8", replaced)
        self.value(value, file, line, suffix)

    def value(self, value: Any, file: str, line: int, suffix: str) -> None:
        """Read one decoded record."""
        self.pending = True
        if isinstance(value, list):
            for part in value:
                self.value(part, file, line, suffix)
            return
        if (found := stream_of(value, self._streams)) is not None:
            self._part(value, *found, file, line)
            return
        if is_event(value):
            return
        try:
            name, records = read_object(value, self.options, {})
            self.add(records, name + suffix, file, line)
        except InputError as error:
            self.skip(file, line, error)

    def skip(self, file: str, line: int, error: EntropilotError) -> None:
        """Count a line that can't be used; raise it when reading is strict."""
        self.pending = True
        if self.options.strict:
            raise type(error)(str(Skipped(file, line, str(error)))) from error
        self.builder.skip(file, line, str(error))
        if self.first_skipped is None:
            self.first_skipped = Skipped(file, line, str(error))


def _text_start(block: Block) -> int:
    """Where the text begins, past a byte-order mark."""
    return block.start + len(BOM) * block.buffer.startswith(BOM, block.start, block.stop)
