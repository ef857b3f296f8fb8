"""The fast way into a line of JSON: one pass of a compiled scanner, no objects.

It walks a line, and where it meets ``"logprobs": {"content": [`` it writes the tokens of that list
straight into the columns (``token_scan``). What remains of the line, with a number in place of each
list, is small and goes the ordinary way. At anything unexpected it gives up: the ordinary way then
reads the whole line, or says what is wrong with it. So the scanner may refuse too much, but must
never accept what the other would not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from numba import njit

from entropilot.traces import columns, interning, json_scan, memory, token_scan
from entropilot.traces.json_scan import (
    BEGIN,
    CLOSE,
    COLON,
    END,
    OPEN,
    QUOTE,
    ZERO,
    skip_blanks,
    string_end,
)
from entropilot.traces.memory import (
    as_word,
    byte_at,
    copy_bytes,
    int64_at,
    put_byte,
    put_int64,
    word_at,
)
from entropilot.traces.token_scan import (
    DONE,
    MAX_LISTS,
    ODD,
    S_LISTS,
    S_N_LISTS,
    S_N_REST,
    S_REST,
    S_ROW,
    S_SOURCES,
    S_STATISTICS,
    scan_tokens,
)

_CONTENT: Final = as_word(b'content"')
_LOGPROBS: Final = as_word(b"logprobs")


@njit(cache=True, nogil=True)
def _put_decimal(value: int, target: int) -> int:
    """Write a number as text; returns where it ends."""
    digits = 1
    power = 10
    while digits < 18 and value >= power:
        power *= 10
        digits += 1
    for j in range(digits):
        put_byte(target + digits - 1 - j, ZERO + value % 10)
        value //= 10
    return target + digits


def _sources() -> int:
    """A number for the text of the modules whose code is compiled into the scanner."""
    digest = hashlib.blake2b(digest_size=7)
    for module in (memory, json_scan, interning, columns, token_scan):
        try:
            digest.update(Path(str(module.__file__)).read_bytes())
        except OSError:  # a package without sources does not change under its cache
            continue
    return int.from_bytes(digest.digest(), "little")


def _scanner(sources: int) -> Callable[[int, int, int, int, int, int], int]:
    """The compiled scanner.

    numba caches it by the date of this file, which a change in a module that it calls leaves as it
    is; a variable of the closure belongs to the key as well.
    """

    @njit(cache=True, nogil=True)
    def scan_line(start: int, stop: int, mark: int, s: int, c: int, v: int) -> int:
        """Scan the line start:stop: results are in s, rows in columns c, texts in vocabulary v.

        mark: number below 10^18 that stands for the first token list in what remains of the line;
            the next one gets mark + 1, and so on.
        """
        put_int64(s + S_SOURCES, sources)
        put_int64(s + S_N_LISTS, 0)
        put_int64(s + S_STATISTICS, 0)
        rest = int64_at(s + S_REST)
        copied, i = start, start
        depth, inside = 0, -1  # inside: depth of the logprobs object that we are in
        while i < stop:
            character = byte_at(i)
            if character in (BEGIN, OPEN):
                depth += 1
            elif character in (END, CLOSE):
                if depth == inside:
                    inside = -1
                depth -= 1
            elif character == QUOTE:
                begin = i + 1
                end, _ = string_end(begin)
                if end < 0 or end >= stop:
                    return ODD
                i = skip_blanks(end + 1)
                if byte_at(i) != COLON:
                    continue
                i = skip_blanks(i + 1)
                if end - begin == 8 and word_at(begin) == _LOGPROBS and byte_at(i) == BEGIN:
                    inside = depth + 1
                elif inside == depth and word_at(begin) == _CONTENT and byte_at(i) == OPEN:
                    index = int64_at(s + S_N_LISTS)
                    if index >= MAX_LISTS:
                        return ODD
                    row = int64_at(s + S_ROW)
                    copy_bytes(copied, rest, i - copied)
                    rest = _put_decimal(mark + index, rest + i - copied)
                    i, status = scan_tokens(i, s, c, v)
                    if status != DONE:
                        return int(status)
                    if i > stop:
                        return ODD
                    copied = i
                    put_int64(int64_at(s + S_LISTS) + 16 * index, row)
                    put_int64(int64_at(s + S_LISTS) + 16 * index + 8, int64_at(s + S_ROW))
                    put_int64(s + S_N_LISTS, index + 1)
                continue
            i += 1
        copy_bytes(copied, rest, stop - copied)
        put_int64(s + S_N_REST, rest + stop - copied - int64_at(s + S_REST))
        return DONE

    return scan_line  # type: ignore[no-any-return]


scan_line: Final = _scanner(_sources())
