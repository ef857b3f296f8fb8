"""Compiled scanners of JSON's strings, numbers and lists of bytes.

Positions are addresses. A text must be followed by 16 readable bytes that are zeros: every loop
stops at a zero byte at the latest. A scanner gives the position after what it read, or -1 where
that is not exactly what JSON allows, or is rare enough to be left to an ordinary decoder.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from entropilot.traces.reading.memory import as_word, byte_at, first_bytes, put_byte, word_at

QUOTE: Final = 34
BACKSLASH: Final = 92
MINUS: Final = 45
PLUS: Final = 43
POINT: Final = 46
COMMA: Final = 44
COLON: Final = 58
OPEN: Final = 91
CLOSE: Final = 93
BEGIN: Final = 123
END: Final = 125
ZERO: Final = 48
NINE: Final = 57
SMALL_N: Final = 110
SMALL_U: Final = 117

_NULL: Final = as_word(b"null")
_INFINITY: Final = as_word(b"Infinity")
_POWERS: Final = 10.0 ** np.arange(23)
_ONES: Final = np.uint64(0x0101010101010101)
_HIGH: Final = np.uint64(0x8080808080808080)
_FULL: Final = np.uint64(10**17)  # a mantissa with room for one more digit is below it
_EIGHT_ZEROS: Final = np.uint64(0x3030303030303030)


@njit(cache=True, nogil=True)
def skip_blanks(i: int) -> int:
    """Where the next character that is not blank stands."""
    c = byte_at(i)
    while c in (32, 10, 13, 9):
        i += 1
        c = byte_at(i)
    return i


@njit(cache=True, nogil=True)
def null_end(i: int) -> int:
    """After ``null``, or -1."""
    return i + 4 if first_bytes(word_at(i), 4) == _NULL else -1


@njit(cache=True, nogil=True)
def string_end(i: int) -> tuple[int, bool]:
    """Closing quote of a string whose text begins at i, and if it is plain ASCII, no escapes.

    -1 when a control character (a newline, or the end of the buffer) comes first.
    """
    plain = True
    while True:
        word = word_at(i)
        # A byte of ``marks`` has its high bit set where the word has a quote, a backslash, a
        # control character or a byte above 127; exact up to the first such byte.
        quote = word ^ (_ONES * np.uint64(QUOTE))
        slash = word ^ (_ONES * np.uint64(BACKSLASH))
        marks = (
            ((quote - _ONES) & ~quote)
            | ((slash - _ONES) & ~slash)
            | ((word - _ONES * np.uint64(32)) & ~word)
            | word
        ) & _HIGH
        if marks == 0:
            i += 8
            continue
        while True:
            c = byte_at(i)
            if c == QUOTE:
                return i, plain
            if c == BACKSLASH:
                plain = False
                i += 2
                break
            if c < 32:
                return -1, plain
            i += 1
            if c > 127:
                plain = False
                break


@njit(cache=True, nogil=True)
def _hex4(i: int) -> int:
    code = 0
    for j in range(i, i + 4):
        c = byte_at(j)
        if ZERO <= c <= NINE:
            code = code * 16 + c - 48
        elif 97 <= c <= 102:
            code = code * 16 + c - 87
        elif 65 <= c <= 70:
            code = code * 16 + c - 55
        else:
            return -1
    return code


@njit(cache=True, nogil=True)
def character_length(i: int) -> int:
    """Bytes of the UTF-8 character at i, 0 when it is not valid; a quote ends the string."""
    c = byte_at(i)
    if c < 0x80:
        return 1
    if c < 0xC2 or c > 0xF4:
        return 0
    second = byte_at(i + 1)
    if second & 0xC0 != 0x80:
        return 0
    if c < 0xE0:
        return 2
    if byte_at(i + 2) & 0xC0 != 0x80:
        return 0
    if c < 0xF0:
        too_long, surrogate = c == 0xE0 and second < 0xA0, c == 0xED and second > 0x9F
        return 0 if too_long or surrogate else 3
    too_long, too_large = c == 0xF0 and second < 0x90, c == 0xF4 and second > 0x8F
    return 0 if too_long or too_large or byte_at(i + 3) & 0xC0 != 0x80 else 4


@njit(cache=True, nogil=True)
def put_code(target: int, code: int) -> int:
    """Write a code point as UTF-8; returns where it ends."""
    if code < 0x80:
        put_byte(target, code)
        return target + 1
    if code < 0x800:
        put_byte(target, 0xC0 | (code >> 6))
        put_byte(target + 1, 0x80 | (code & 63))
        return target + 2
    if code < 0x10000:
        put_byte(target, 0xE0 | (code >> 12))
        put_byte(target + 1, 0x80 | ((code >> 6) & 63))
        put_byte(target + 2, 0x80 | (code & 63))
        return target + 3
    put_byte(target, 0xF0 | (code >> 18))
    put_byte(target + 1, 0x80 | ((code >> 12) & 63))
    put_byte(target + 2, 0x80 | ((code >> 6) & 63))
    put_byte(target + 3, 0x80 | (code & 63))
    return target + 4


@njit(cache=True, nogil=True)
def _simple_escape(c: int) -> int:
    """The character that a backslash and c stand for, or -1."""
    if c in (QUOTE, BACKSLASH, 47):
        return c
    if c == SMALL_N:
        return 10
    if c == 116:
        return 9
    if c == 114:
        return 13
    if c == 98:
        return 8
    return 12 if c == 102 else -1


@njit(cache=True, nogil=True)
def unescape(i: int, stop: int, target: int) -> int:
    """Write the string i:stop, as UTF-8, to target; it is never longer. Where it ends, or -1."""
    while i < stop:
        c = byte_at(i)
        if c != BACKSLASH:
            length = character_length(i)
            if length == 0:
                return -1
            for j in range(length):
                put_byte(target + j, byte_at(i + j))
            i += length
            target += length
        elif byte_at(i + 1) == SMALL_U:
            code = _hex4(i + 2)
            i += 6
            if code < 0 or 0xDC00 <= code <= 0xDFFF:
                return -1
            if 0xD800 <= code <= 0xDBFF:  # half of a pair
                if byte_at(i) != BACKSLASH or byte_at(i + 1) != SMALL_U:
                    return -1
                low = _hex4(i + 2)
                if low < 0xDC00 or low > 0xDFFF:
                    return -1
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                i += 6
            target = put_code(target, code)
        else:
            c = _simple_escape(byte_at(i + 1))
            if c < 0:
                return -1
            put_byte(target, c)
            target += 1
            i += 2
    return target


@njit(cache=True, nogil=True)
def _eight_digits(word: np.uint64) -> np.uint64:
    """Value of eight ASCII digits: neighbours are added in pairs, then pairs, then fours."""
    low = word - _EIGHT_ZEROS
    low = low * np.uint64(10) + (low >> np.uint64(8))
    pairs = np.uint64(0x000000FF000000FF)
    return (
        (low & pairs) * np.uint64(0x000F424000000064)
        + ((low >> np.uint64(16)) & pairs) * np.uint64(0x0000271000000001)
    ) >> np.uint64(32)


@njit(cache=True, nogil=True)
def number(i: int) -> tuple[int, float]:
    """Read a number, also Python's -Infinity; 18 digits are heeded, zeros in front not counted."""
    negative = byte_at(i) == MINUS
    if negative:
        i += 1
        if word_at(i) == _INFINITY:
            return i + 8, -np.inf
    mantissa = np.uint64(0)
    begin = i
    c = byte_at(i)
    while ZERO <= c <= NINE:
        mantissa = mantissa * np.uint64(10) + np.uint64(c - ZERO)
        i += 1
        c = byte_at(i)
    digits = i - begin
    if digits == 0 or digits > 18 or (digits > 1 and byte_at(begin) == ZERO):
        return -1, 0.0
    exponent = 0
    if c == POINT:
        i += 1
        begin = i
        if digits <= 2:
            while i - begin < 16:
                word = word_at(i)
                if ((word - _EIGHT_ZEROS) | (word + np.uint64(0x4646464646464646))) & _HIGH:
                    break
                mantissa = mantissa * np.uint64(100000000) + _eight_digits(word)
                i += 8
        c = byte_at(i)
        while ZERO <= c <= NINE:
            if mantissa < _FULL:  # zeros in front take no room
                mantissa = mantissa * np.uint64(10) + np.uint64(c - ZERO)
            else:
                exponent += 1
            i += 1
            c = byte_at(i)
        if i == begin:
            return -1, 0.0
        exponent -= i - begin
    if c in (101, 69):
        i += 1
        sign = 1
        if byte_at(i) == MINUS:
            sign = -1
            i += 1
        elif byte_at(i) == PLUS:
            i += 1
        begin = i
        power = 0
        while ZERO <= byte_at(i) <= NINE:
            power = min(power * 10 + byte_at(i) - ZERO, 100000)
            i += 1
        if i == begin:
            return -1, 0.0
        exponent += sign * power
    x = np.float64(mantissa)
    if mantissa != 0:
        if exponent > 22 or exponent < -300:
            return -1, 0.0
        while exponent < -22:
            x /= 1e22
            exponent += 22
        if exponent >= 0:
            x *= _POWERS[exponent]
        else:
            x /= _POWERS[-exponent]
    return i, -x if negative else x


@njit(cache=True, nogil=True)
def integer(i: int) -> tuple[int, int]:
    """Read an integer from 0 to 2^31 - 1; null is -1."""
    if byte_at(i) == SMALL_N:
        return null_end(i), -1
    begin = i
    x = 0
    while ZERO <= byte_at(i) <= NINE and i - begin < 11:
        x = x * 10 + byte_at(i) - ZERO
        i += 1
    if i == begin or x >= 1 << 31 or (byte_at(begin) == ZERO and i - begin > 1):
        return -1, -1
    return i, x


@njit(cache=True, nogil=True)
def byte_list(i: int, target: int, room: int) -> tuple[int, int]:
    """Write [240, 159, ...] to target; position after it, and how many, -1 for null."""
    if byte_at(i) == SMALL_N:
        return null_end(i), -1
    if byte_at(i) != OPEN:
        return -1, -1
    i = skip_blanks(i + 1)
    if byte_at(i) == CLOSE:
        return i + 1, 0
    n = 0
    while True:
        c = byte_at(i)
        x = c - ZERO
        if x < 0 or x > 9:
            return -1, -1
        i += 1
        c = byte_at(i)
        if ZERO <= c <= NINE:
            if x == 0:
                return -1, -1
            x = x * 10 + c - ZERO
            i += 1
            c = byte_at(i)
            if ZERO <= c <= NINE:
                x = x * 10 + c - ZERO
                i += 1
                c = byte_at(i)
        if x > 255 or n >= room:
            return -1, -1
        put_byte(target + n, x)
        n += 1
        if c != COMMA:
            if c == CLOSE:
                return i + 1, n
            i = skip_blanks(i)
            if byte_at(i) == CLOSE:
                return i + 1, n
            if byte_at(i) != COMMA:
                return -1, -1
        i += 1
        if byte_at(i) == 32:
            i += 1
        if byte_at(i) <= 32:
            i = skip_blanks(i)
