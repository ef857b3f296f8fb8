"""Calls the compiled scanner for one line after another, and grows what it finds too small."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import FormatError
from entropilot.traces import content_scan as cs
from entropilot.traces.builder import Scanned, TraceBuilder
from entropilot.traces.columns import MAX_ALTERNATIVES, N_SERIAL
from entropilot.traces.decoding import decode


class LineScanner:
    """Reads the token lists of a line into a builder's columns."""

    def __init__(self, builder: TraceBuilder) -> None:
        self._builder = builder
        self._scratch: cs.ScanArrays | None = None
        self._mark = 10**17 + secrets.randbelow(10**17)  # no number that a log would hold by chance

    def scan(
        self, buffer: NDArray[np.uint8], start: int, stop: int
    ) -> tuple[Any, dict[int, Scanned]] | None:
        """The line's value with a number for each token list, and those lists by number.

        None when the line has no such list or has to be read the ordinary way; the columns are then
        as before. Otherwise the rows are written and ``columns.n`` still stands before them.
        """
        columns = self._builder.columns
        counts = columns.arrays.counts[:N_SERIAL].copy()
        while True:
            scratch = self._room(stop - start)
            scratch.result[cs.R_ROW] = columns.n
            status = cs.scan_line(
                buffer,
                start,
                stop,
                self._mark,
                scratch,
                columns.arrays,
                self._builder.vocabulary.arrays,
            )
            if status == cs.DONE and scratch.result[cs.R_LISTS]:
                rest = scratch.rest[: scratch.result[cs.R_REST]].tobytes()
                try:
                    value, _ = decode(rest)
                except FormatError:
                    status = cs.ODD
                else:
                    return value, self._lists(scratch)
            columns.arrays.counts[:N_SERIAL] = counts
            if status == cs.MORE_ROWS:
                columns.reserve(2 * (len(columns.arrays.piece) - columns.n))
            elif status == cs.MORE_VOCABULARY:
                self._builder.vocabulary.grow(cs.TEXT_ROOM)
            elif status == cs.WIDER and len(scratch.piece) <= MAX_ALTERNATIVES // 2:
                columns.reserve(0, 2 * columns.arrays.top_piece.shape[1])
            else:
                return None

    def _room(self, line: int) -> cs.ScanArrays:
        width = self._builder.columns.arrays.top_piece.shape[1]
        scratch = self._scratch
        if scratch is None or len(scratch.piece) != width + 1 or len(scratch.rest) < line + 64:
            longest = 0 if scratch is None else len(scratch.rest)
            self._scratch = scratch = cs.scan_arrays(width, max(longest, 2 * line))
        return scratch

    def _lists(self, scratch: cs.ScanArrays) -> dict[int, Scanned]:
        n, has_statistics = int(scratch.result[cs.R_LISTS]), bool(scratch.result[cs.R_STATISTICS])
        return {
            self._mark + i: Scanned(int(start), int(stop), has_statistics)
            for i, (start, stop) in enumerate(scratch.lists[:n].tolist())
        }
