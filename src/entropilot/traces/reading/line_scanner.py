"""Calls the compiled scanner for one line after another, and grows what it finds too small."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from entropilot.errors import FormatError
from entropilot.traces.reading import token_scan as scan
from entropilot.traces.reading.builder import Scanned, TraceBuilder
from entropilot.traces.reading.columns import MAX_ALTERNATIVES
from entropilot.traces.reading.content_scan import scan_line
from entropilot.traces.reading.decoding import decode


class LineScanner:
    """Reads the token lists of a line into a builder's columns."""

    def __init__(self, builder: TraceBuilder) -> None:
        self._builder = builder
        self._mark = 10**17 + secrets.randbelow(10**17)  # no number that a log holds by chance
        self._text = np.zeros(scan.TEXT_ROOM + 64, np.uint8)
        self._lists = np.zeros((scan.MAX_LISTS, 2), np.int64)
        self._state = np.zeros(scan.S_FIELDS, np.int64)
        self._state[scan.S_TEXT // 8] = self._text.ctypes.data
        self._state[scan.S_LISTS // 8] = self._lists.ctypes.data
        self._slots = np.zeros((0, scan.SLOT_BYTES), np.uint8)
        self._rest = np.zeros(0, np.uint8)

    def scan(self, start: int, stop: int) -> tuple[Any, dict[int, Scanned]] | None:
        """Scan the line between two addresses; 16 zero bytes must follow, if not directly.

        Returns:
            The line's value with a number for each token list, and those lists by number; the rows
            are written, but ``columns.n`` still stands before them. None when the line has no such
            list or has to be read the ordinary way.
        """
        columns, vocabulary = self._builder.columns, self._builder.vocabulary
        counts = columns.counts.copy()
        state = self._state
        while True:
            self._make_room(stop - start)
            state[scan.S_ROW // 8] = columns.n
            status = scan_line(
                start, stop, self._mark, state.ctypes.data, columns.address, vocabulary.address
            )
            if status == scan.DONE and state[scan.S_N_LISTS // 8]:
                try:
                    rest = self._rest[: state[scan.S_N_REST // 8]].tobytes()
                    value, replaced = decode(rest)
                    if not replaced:
                        return value, self._found()
                    status = scan.ODD
                except FormatError:
                    status = scan.ODD
            columns.counts[:] = counts
            if status == scan.MORE_ROWS:
                columns.reserve(2 * (columns.capacity - columns.n) + 1)  # also when none is left
            elif status == scan.MORE_VOCABULARY:
                vocabulary.grow(scan.TEXT_ROOM)
            elif status == scan.WIDER and columns.width < MAX_ALTERNATIVES:
                columns.reserve(0, min(2 * columns.width, MAX_ALTERNATIVES))
            else:
                return None

    def _make_room(self, line: int) -> None:
        slots = self._builder.columns.width + 1
        if len(self._slots) != slots:
            self._slots = np.zeros((slots, scan.SLOT_BYTES), np.uint8)
            self._state[scan.S_SLOTS // 8] = self._slots.ctypes.data
            self._state[scan.S_N_SLOTS // 8] = slots
        most = line + 20 * scan.MAX_LISTS  # a number may be longer than an empty list
        if len(self._rest) < most:
            self._rest = np.zeros(2 * most, np.uint8)
            self._state[scan.S_REST // 8] = self._rest.ctypes.data

    def _found(self) -> dict[int, Scanned]:
        n = int(self._state[scan.S_N_LISTS // 8])
        has_statistics = bool(self._state[scan.S_STATISTICS // 8])
        return {
            self._mark + i: Scanned(int(start), int(stop), has_statistics)
            for i, (start, stop) in enumerate(self._lists[:n].tolist())
        }
