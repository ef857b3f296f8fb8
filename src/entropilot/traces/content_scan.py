"""The fast way into a line of JSON: one pass of a compiled scanner, no objects.

It walks a line, and where it meets ``"logprobs": {"content": [`` it writes the tokens of that list
straight into the columns: keys in any order, strings unescaped, bytes preferred to strings, texts
interned. What remains of the line, with a number in place of each list, is small and goes the ordinary
way. At anything unexpected it gives up: the ordinary way then reads the whole line, or says what is
wrong with it. So the scanner may refuse too much, but must never accept what the other would not.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from entropilot.traces.columns import GOOD, put_row
from entropilot.traces.interning import first_bytes, intern, load_word

# How a scan ends
DONE: Final = 0
ODD: Final = 1  # read this line the ordinary way
MORE_ROWS: Final = 2  # grow the columns and scan the line again
WIDER: Final = 3  # grow the width of the columns
MORE_VOCABULARY: Final = 4

MAX_LISTS: Final = 4096  # token lists in one line
TEXT_ROOM: Final = 1 << 16  # bytes of the texts of one token and its alternatives

_QUOTE: Final = 34
_BACKSLASH: Final = 92
_COMMA: Final = 44
_COLON: Final = 58
_OPEN: Final = 91
_CLOSE: Final = 93
_BEGIN: Final = 123
_END: Final = 125
_MINUS: Final = 45
_ZERO: Final = 48
_NINE: Final = 57


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text.ljust(8, b"\0"), "little"))


_TOKEN: Final = _word(b'token"')
_LOGPROB: Final = _word(b"logprob")
_BYTES: Final = _word(b'bytes"')
_ID: Final = _word(b'id"')
_TOKEN_ID: Final = _word(b"token_id")
_TOP: Final = (_word(b"top_logp"), _word(b'robs"'))
_OWN_ID: Final = (_word(b"x_token_"), _word(b'id"'))
_TOP_IDS: Final = (_word(b"x_top_id"), _word(b's"'))
_ENTROPY: Final = (_word(b"x_entrop"), _word(b'y_full"'))
_JSD: Final = (_word(b"x_jsd_fu"), _word(b'll"'))
_NULL: Final = _word(b"null")
_CONTENT: Final = _word(b'content"')
_LOGPROBS: Final = (_word(b"logprobs"), _word(b'"'))
_FOUR: Final = np.uint64(0xFFFFFFFF)

# Kinds of a field
_UNKNOWN, _IS_TOKEN, _IS_LOGPROB, _IS_BYTES, _IS_ID = 0, 1, 2, 3, 4
_IS_TOP, _IS_OWN_ID, _IS_TOP_IDS, _IS_ENTROPY, _IS_JSD = 5, 6, 7, 8, 9

_POWERS: Final = 10.0 ** np.arange(23)


class ScanArrays(NamedTuple):
    """Room for one token and its alternatives (slot 0 and slots 1 to width), and for results."""

    text: NDArray[np.uint8]  # [TEXT_ROOM] texts from bytes lists and unescaped strings
    string_at: NDArray[np.int64]  # [width+1] string in the line; -1 = none
    string_length: NDArray[np.int64]
    string_odd: NDArray[np.int8]  # 1: has escapes or is not ASCII; its text is in ``text``
    bytes_at: NDArray[np.int64]  # list of bytes, in ``text``
    bytes_length: NDArray[np.int64]  # -1 = none
    logprob: NDArray[np.float64]
    token_id: NDArray[np.int64]
    piece: NDArray[np.int32]
    result: NDArray[np.int64]  # [8] see R_...
    value: NDArray[np.float64]  # [2]
    lists: NDArray[np.int64]  # [MAX_LISTS, 2] rows of each token list found
    rest: NDArray[np.uint8]  # the line without its token lists


R_TEXT: Final = 0  # bytes of ``text`` in use
R_ROW: Final = 1  # next row of the columns
R_LISTS: Final = 2
R_REST: Final = 3
R_STATISTICS: Final = 4  # 1: an entropy or divergence was given


def scan_arrays(width: int, line: int) -> ScanArrays:
    """Room for lists as wide as ``width`` and lines as long as ``line`` bytes."""
    slots = width + 1
    return ScanArrays(
        text=np.zeros(TEXT_ROOM + 64, np.uint8),
        string_at=np.zeros(slots, np.int64),
        string_length=np.zeros(slots, np.int64),
        string_odd=np.zeros(slots, np.int8),
        bytes_at=np.zeros(slots, np.int64),
        bytes_length=np.zeros(slots, np.int64),
        logprob=np.zeros(slots, np.float64),
        token_id=np.zeros(slots, np.int64),
        piece=np.zeros(slots, np.int32),
        result=np.zeros(8, np.int64),
        value=np.zeros(2, np.float64),
        lists=np.zeros((MAX_LISTS, 2), np.int64),
        rest=np.zeros(line + 64, np.uint8),
    )


@njit(cache=True, nogil=True, inline="always")
def _skip_blanks(b: Any, i: int) -> int:
    while b[i] == 32 or b[i] == 10 or b[i] == 13 or b[i] == 9:
        i += 1
    return i


@njit(cache=True, nogil=True)
def _string_end(b: Any, i: int) -> tuple[int, int]:
    """Position of the closing quote of a string whose text begins at i, and 1 if it is odd.

    -1 when a control character (a newline, the end of the buffer) comes first.
    """
    odd = 0
    while True:
        word = load_word(b, i)
        # A byte of ``marks`` has its high bit set where the word has a quote, a backslash, a control
        # character or a byte above 127 (exact up to the first such byte).
        ones = np.uint64(0x0101010101010101)
        high = np.uint64(0x8080808080808080)
        quote = word ^ (ones * np.uint64(_QUOTE))
        slash = word ^ (ones * np.uint64(_BACKSLASH))
        marks = (
            ((quote - ones) & ~quote)
            | ((slash - ones) & ~slash)
            | ((word - ones * np.uint64(32)) & ~word)
            | word
        ) & high
        if marks == 0:
            i += 8
            continue
        while True:
            c = b[i]
            if c == _QUOTE:
                return i, odd
            if c == _BACKSLASH:
                odd = 1
                i += 2
                break
            if c < 32:
                return -1, odd
            i += 1
            if c > 127:
                odd = 1
                break


@njit(cache=True, nogil=True)
def _hex4(b: Any, i: int) -> int:
    code = 0
    for j in range(i, i + 4):
        c = b[j]
        if 48 <= c <= 57:
            code = code * 16 + c - 48
        elif 97 <= c <= 102:
            code = code * 16 + c - 87
        elif 65 <= c <= 70:
            code = code * 16 + c - 55
        else:
            return -1
    return code


@njit(cache=True, nogil=True)
def _continuation(b: Any, i: int, stop: int, n: int) -> bool:
    if i + n > stop:
        return False
    for j in range(i, i + n):
        if b[j] & 0xC0 != 0x80:
            return False
    return True


@njit(cache=True, nogil=True)
def _character(b: Any, i: int, stop: int) -> int:
    """Bytes of the UTF-8 character at i; 0 when it is not valid."""
    c = b[i]
    if c < 0x80:
        return 1
    if 0xC2 <= c <= 0xDF:
        return 2 if _continuation(b, i + 1, stop, 1) else 0
    if 0xE0 <= c <= 0xEF:
        if not _continuation(b, i + 1, stop, 2):
            return 0
        too_long = c == 0xE0 and b[i + 1] < 0xA0
        surrogate = c == 0xED and b[i + 1] > 0x9F
        return 0 if too_long or surrogate else 3
    if 0xF0 <= c <= 0xF4:
        if not _continuation(b, i + 1, stop, 3):
            return 0
        too_long = c == 0xF0 and b[i + 1] < 0x90
        too_large = c == 0xF4 and b[i + 1] > 0x8F
        return 0 if too_long or too_large else 4
    return 0


@njit(cache=True, nogil=True)
def _put_code(text: Any, n: int, code: int) -> int:
    """Write a code point as UTF-8 at n; returns where it ends."""
    if code < 0x80:
        text[n] = code
        return n + 1
    if code < 0x800:
        text[n] = 0xC0 | (code >> 6)
        text[n + 1] = 0x80 | (code & 63)
        return n + 2
    if code < 0x10000:
        text[n] = 0xE0 | (code >> 12)
        text[n + 1] = 0x80 | ((code >> 6) & 63)
        text[n + 2] = 0x80 | (code & 63)
        return n + 3
    text[n] = 0xF0 | (code >> 18)
    text[n + 1] = 0x80 | ((code >> 12) & 63)
    text[n + 2] = 0x80 | ((code >> 6) & 63)
    text[n + 3] = 0x80 | (code & 63)
    return n + 4


@njit(cache=True, nogil=True)
def _unescape(b: Any, i: int, stop: int, text: Any, n: int) -> int:
    """Write the string b[i:stop] as UTF-8 into text from n on; returns its end, -1 if it is odd."""
    if n + (stop - i) > TEXT_ROOM:
        return -1
    while i < stop:
        c = b[i]
        if c != _BACKSLASH:
            length = _character(b, i, stop)
            if length == 0:
                return -1
            for j in range(length):
                text[n + j] = b[i + j]
            i += length
            n += length
            continue
        if i + 1 >= stop:
            return -1
        c = b[i + 1]
        i += 2
        if c == 117:  # u
            code = _hex4(b, i) if i + 4 <= stop else -1
            i += 4
            if code < 0 or 0xDC00 <= code <= 0xDFFF:
                return -1
            if code >= 0xD800:  # half of a pair
                if i + 6 > stop or b[i] != _BACKSLASH or b[i + 1] != 117:
                    return -1
                low = _hex4(b, i + 2)
                if low < 0xDC00 or low > 0xDFFF:
                    return -1
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                i += 6
            n = _put_code(text, n, code)
            continue
        if c == _QUOTE or c == _BACKSLASH or c == 47:
            text[n] = c
        elif c == 110:
            text[n] = 10
        elif c == 116:
            text[n] = 9
        elif c == 114:
            text[n] = 13
        elif c == 98:
            text[n] = 8
        elif c == 102:
            text[n] = 12
        else:
            return -1
        n += 1
    return n


@njit(cache=True, nogil=True)
def _number(b: Any, i: int, value: Any) -> int:
    """Read a JSON number at i into value[0]; returns where it ends, -1 if it is none."""
    negative = b[i] == _MINUS
    if negative:
        i += 1
        if b[i] == 73:  # -Infinity, as Python writes it
            if load_word(b, i) == _INFINITY:
                value[0] = -np.inf
                return i + 8
            return -1
    mantissa = np.uint64(0)
    exponent = 0
    begin = i
    while _ZERO <= b[i] <= _NINE:
        mantissa = mantissa * np.uint64(10) + np.uint64(b[i] - _ZERO)
        i += 1
    digits = i - begin
    if digits == 0 or digits > 18 or (digits > 1 and b[begin] == _ZERO):
        return -1
    if b[i] == 46:
        i += 1
        begin = i
        if digits == 1 and mantissa < 10:
            # Eight digits at once, while there are eight: multiply-add of neighbours.
            while i - begin < 16:
                word = load_word(b, i)
                low = word - np.uint64(0x3030303030303030)
                over = word + np.uint64(0x4646464646464646)
                if (low | over) & np.uint64(0x8080808080808080):
                    break
                low = low * np.uint64(10) + (low >> np.uint64(8))
                low = (
                    (low & np.uint64(0x000000FF000000FF)) * np.uint64(0x000F424000000064)
                    + ((low >> np.uint64(16)) & np.uint64(0x000000FF000000FF))
                    * np.uint64(0x0000271000000001)
                ) >> np.uint64(32)
                mantissa = mantissa * np.uint64(100000000) + low
                i += 8
        while _ZERO <= b[i] <= _NINE:
            if digits + (i - begin) < 18:
                mantissa = mantissa * np.uint64(10) + np.uint64(b[i] - _ZERO)
            else:
                exponent += 1  # digits beyond the eighteenth change nothing
            i += 1
        if i == begin:
            return -1
        exponent -= i - begin
    if b[i] == 101 or b[i] == 69:
        i += 1
        sign = 1
        if b[i] == _MINUS:
            sign = -1
            i += 1
        elif b[i] == 43:
            i += 1
        begin = i
        power = 0
        while _ZERO <= b[i] <= _NINE:
            power = min(power * 10 + b[i] - _ZERO, 100000)
            i += 1
        if i == begin:
            return -1
        exponent += sign * power
    x = np.float64(mantissa)
    if mantissa != 0:
        if exponent > 22 or exponent < -300:
            return -1
        if exponent >= 0:
            x *= _POWERS[exponent]
        else:
            while exponent < -22:
                x /= 1e22
                exponent += 22
            x /= _POWERS[-exponent]
    value[0] = -x if negative else x
    return i


_INFINITY: Final = _word(b"Infinity")


@njit(cache=True, nogil=True)
def _integer(b: Any, i: int, value: Any) -> int:
    """Read a non-negative integer below 2^31, or null (-1), into value[0]."""
    if b[i] == 110:
        value[0] = -1
        return i + 4 if load_word(b, i) & _FOUR == _NULL else -1
    begin = i
    x = 0
    while _ZERO <= b[i] <= _NINE and i - begin < 10:
        x = x * 10 + b[i] - _ZERO
        i += 1
    if i == begin or x >= 1 << 31 or (b[begin] == _ZERO and i - begin > 1):
        return -1
    value[0] = x
    return i


@njit(cache=True, nogil=True)
def _field(b: Any, i: int) -> int:
    """Which key begins at i (after its quote)."""
    word = load_word(b, i)
    if first_bytes(word, 6) == _TOKEN:
        return _IS_TOKEN
    if first_bytes(word, 7) == _LOGPROB and b[i + 7] == _QUOTE:
        return _IS_LOGPROB
    if first_bytes(word, 6) == _BYTES:
        return _IS_BYTES
    if first_bytes(word, 3) == _ID:
        return _IS_ID
    if word == _TOKEN_ID and b[i + 8] == _QUOTE:
        return _IS_ID
    following = load_word(b, i + 8)
    if word == _TOP[0] and first_bytes(following, 5) == _TOP[1]:
        return _IS_TOP
    if word == _OWN_ID[0] and first_bytes(following, 3) == _OWN_ID[1]:
        return _IS_OWN_ID
    if word == _TOP_IDS[0] and first_bytes(following, 2) == _TOP_IDS[1]:
        return _IS_TOP_IDS
    if word == _ENTROPY[0] and first_bytes(following, 7) == _ENTROPY[1]:
        return _IS_ENTROPY
    if word == _JSD[0] and first_bytes(following, 3) == _JSD[1]:
        return _IS_JSD
    return _UNKNOWN


@njit(cache=True, nogil=True)
def _byte_list(b: Any, i: int, slot: int, s: Any) -> int:
    """Read [1, 2, ...] or null at i; returns where it ends, -1 if it is odd."""
    if b[i] == 110:
        return i + 4 if load_word(b, i) & _FOUR == _NULL else -1
    if b[i] != _OPEN:
        return -1
    n = s.result[R_TEXT]
    s.bytes_at[slot] = n
    i = _skip_blanks(b, i + 1)
    if b[i] == _CLOSE:
        s.bytes_length[slot] = 0
        return i + 1
    while True:
        begin = i
        x = 0
        while _ZERO <= b[i] <= _NINE:
            x = (x * 10 + b[i] - _ZERO) & 0xFFFF
            i += 1
        if i == begin or i - begin > 3 or x > 255 or (b[begin] == _ZERO and i - begin > 1):
            return -1
        if n >= TEXT_ROOM:
            return -1
        s.text[n] = x
        n += 1
        if b[i] == _COMMA:
            i += 1
            if b[i] == 32:
                i += 1
            if _ZERO <= b[i] <= _NINE:
                continue
            i = _skip_blanks(b, i)
            continue
        i = _skip_blanks(b, i)
        if b[i] == _CLOSE:
            break
        if b[i] != _COMMA:
            return -1
        i = _skip_blanks(b, i + 1)
    s.bytes_length[slot] = n - s.bytes_at[slot]
    s.result[R_TEXT] = n
    return i + 1


@njit(cache=True, nogil=True)
def _common_field(b: Any, i: int, kind: int, slot: int, s: Any) -> int:
    """Read the value of token, logprob, bytes or id at i; returns where it ends, -1 if it is odd."""
    if kind == _IS_TOKEN:
        if b[i] != _QUOTE:
            return -1
        end, odd = _string_end(b, i + 1)
        if end < 0:
            return -1
        s.string_at[slot] = i + 1
        s.string_length[slot] = end - i - 1
        s.string_odd[slot] = odd
        if odd:
            n = s.result[R_TEXT]
            s.string_at[slot] = n
            n = _unescape(b, i + 1, end, s.text, n)
            if n < 0:
                return -1
            s.string_length[slot] = n - s.string_at[slot]
            s.result[R_TEXT] = n
        return end + 1
    if kind == _IS_LOGPROB:
        if b[i] == 110:
            s.logprob[slot] = np.nan
            return i + 4 if load_word(b, i) & _FOUR == _NULL else -1
        i = _number(b, i, s.value)
        s.logprob[slot] = s.value[0]
        return i
    if kind == _IS_BYTES:
        return _byte_list(b, i, slot, s)
    if kind == _IS_ID:
        i = _integer(b, i, s.value)
        s.token_id[slot] = np.int64(s.value[0])
        return i
    return -1


@njit(cache=True, nogil=True, inline="always")
def _reset(slot: int, s: Any) -> None:
    s.string_at[slot] = -1
    s.bytes_length[slot] = -1
    s.logprob[slot] = np.nan
    s.token_id[slot] = -1


@njit(cache=True, nogil=True)
def _alternatives(b: Any, i: int, s: Any) -> tuple[int, int]:
    """Read a list of {token, logprob, bytes} at i into slots 1 and up; where it ends, how many."""
    if b[i] == 110:
        return (i + 4 if load_word(b, i) & _FOUR == _NULL else -1), 0
    if b[i] != _OPEN:
        return -1, 0
    i = _skip_blanks(b, i + 1)
    if b[i] == _CLOSE:
        return i + 1, 0
    n = 0
    while True:
        if b[i] != _BEGIN:
            return -1, n
        n += 1
        if n >= len(s.piece):
            return -2, n
        _reset(n, s)
        i = _skip_blanks(b, i + 1)
        seen = 0
        while True:
            if b[i] != _QUOTE:
                return -1, n
            kind = _field(b, i + 1)
            if kind == _UNKNOWN or kind > _IS_ID or seen & (1 << kind):
                return -1, n
            seen |= 1 << kind
            i += 2  # the opening quote and at least one character
            while b[i] != _QUOTE:
                i += 1
            i = _skip_blanks(b, i + 1)
            if b[i] != _COLON:
                return -1, n
            i = _common_field(b, _skip_blanks(b, i + 1), kind, n, s)
            if i < 0:
                return -1, n
            i = _skip_blanks(b, i)
            if b[i] == _COMMA:
                i = _skip_blanks(b, i + 1)
                continue
            if b[i] == _END:
                break
            return -1, n
        if np.isnan(s.logprob[n]):
            return -1, n
        i = _skip_blanks(b, i + 1)
        if b[i] == _COMMA:
            i = _skip_blanks(b, i + 1)
            continue
        if b[i] == _CLOSE:
            return i + 1, n
        return -1, n


@njit(cache=True, nogil=True)
def _own_ids(b: Any, i: int, s: Any) -> tuple[int, int]:
    """Read x_top_ids at i into the ids of slots 1 and up; where it ends, and how many (-1: null)."""
    if b[i] == 110:
        return (i + 4 if load_word(b, i) & _FOUR == _NULL else -1), -1
    if b[i] != _OPEN:
        return -1, 0
    i = _skip_blanks(b, i + 1)
    if b[i] == _CLOSE:
        return i + 1, 0
    n = 0
    while True:
        n += 1
        if n >= len(s.piece):
            return -1, n
        i = _integer(b, i, s.value)
        if i < 0:
            return -1, n
        s.token_id[n] = np.int64(s.value[0])
        i = _skip_blanks(b, i)
        if b[i] == _COMMA:
            i = _skip_blanks(b, i + 1)
            continue
        if b[i] == _CLOSE:
            return i + 1, n
        return -1, n


@njit(cache=True, nogil=True)
def _intern_slot(b: Any, slot: int, s: Any, v: Any) -> int:
    """Entry of the text of a slot; -1: the vocabulary is full, -2: odd."""
    length = s.bytes_length[slot]
    string = s.string_at[slot]
    if length > 0 or (length == 0 and (string < 0 or s.string_length[slot] == 0)):
        return int(intern(s.text, s.bytes_at[slot], length, s.token_id[slot], v))
    if string < 0:
        return -2
    if s.string_odd[slot]:
        first, n = s.text[string], s.string_length[slot]
    else:
        first, n = b[string], s.string_length[slot]
    if n >= 6 and (first == 60 or first == 98 or first == 116):  # <0x, bytes:, token_id: stand for
        return -2  # something else
    if s.string_odd[slot]:
        return int(intern(s.text, string, n, s.token_id[slot], v))
    return int(intern(b, string, n, s.token_id[slot], v))


@njit(cache=True, nogil=True)
def _put_token(b: Any, n: int, s: Any, c: Any, v: Any) -> int:
    """Write slot 0 with its alternatives, slots 1 to n, as one row."""
    if n > 0:
        with_ids = True
        for slot in range(n + 1):
            with_ids &= s.token_id[slot] >= 0
        if not with_ids:
            for slot in range(n + 1):
                s.token_id[slot] = -1
    for slot in range(n + 1):
        entry = _intern_slot(b, slot, s, v)
        if entry < 0:
            return MORE_VOCABULARY if entry == -1 else ODD
        s.piece[slot] = entry
    row = s.result[R_ROW]
    c.piece[row] = s.piece[0]
    c.logprob[row] = s.logprob[0]
    if put_row(row, s.piece, s.logprob, 1, n, c, v.stamp) != GOOD:
        return ODD
    s.result[R_ROW] = row + 1
    return DONE


@njit(cache=True, nogil=True)
def _tokens(b: Any, i: int, s: Any, c: Any, v: Any) -> tuple[int, int]:
    """Read the list of tokens at i; where it ends and how the scan of it ended."""
    i = _skip_blanks(b, i + 1)
    if b[i] == _CLOSE:
        return i + 1, DONE
    while True:
        if b[i] != _BEGIN:
            return i, ODD
        if s.result[R_ROW] >= len(c.piece):
            return i, MORE_ROWS
        s.result[R_TEXT] = 0
        _reset(0, s)
        n, n_ids, own_id = 0, -1, -1
        ids_at = -1
        entropy, jsd = np.nan, np.nan
        i = _skip_blanks(b, i + 1)
        seen = 0
        while True:
            if b[i] != _QUOTE:
                return i, ODD
            kind = _field(b, i + 1)
            if kind == _UNKNOWN or seen & (1 << kind):
                return i, ODD
            seen |= 1 << kind
            i += 2
            while b[i] != _QUOTE:
                i += 1
            i = _skip_blanks(b, i + 1)
            if b[i] != _COLON:
                return i, ODD
            i = _skip_blanks(b, i + 1)
            if kind <= _IS_ID:
                i = _common_field(b, i, kind, 0, s)
            elif kind == _IS_TOP:
                i, n = _alternatives(b, i, s)
                if i == -2:
                    return i, WIDER
            elif kind == _IS_TOP_IDS:
                if not seen & (1 << _IS_TOP):
                    return i, ODD  # ids before their tokens: rare
                ids_at = i
                i, n_ids = _own_ids(b, i, s)
            elif kind == _IS_OWN_ID:
                i = _integer(b, i, s.value)
                own_id = np.int64(s.value[0])
            else:
                if b[i] == 110:
                    s.value[0] = np.nan
                    i = i + 4 if load_word(b, i) & _FOUR == _NULL else -1
                else:
                    i = _number(b, i, s.value)
                if kind == _IS_ENTROPY:
                    entropy = s.value[0]
                else:
                    jsd = s.value[0]
            if i < 0:
                return i, ODD
            i = _skip_blanks(b, i)
            if b[i] == _COMMA:
                i = _skip_blanks(b, i + 1)
                continue
            if b[i] == _END:
                break
            return i, ODD
        if ids_at >= 0 and n_ids >= 0 and n_ids != n:
            return i, ODD
        if own_id >= 0:
            s.token_id[0] = own_id
        row = s.result[R_ROW]
        c.entropy[row] = entropy
        c.jsd[row] = jsd
        if not (np.isnan(entropy) and np.isnan(jsd)):
            s.result[R_STATISTICS] = 1
        status = _put_token(b, n, s, c, v)
        if status != DONE:
            return i, status
        i = _skip_blanks(b, i + 1)
        if b[i] == _COMMA:
            i = _skip_blanks(b, i + 1)
            continue
        if b[i] == _CLOSE:
            return i + 1, DONE
        return i, ODD


@njit(cache=True, nogil=True)
def _copy(source: Any, start: int, stop: int, target: Any, at: int) -> int:
    target[at : at + stop - start] = source[start:stop]
    return int(at + stop - start)


@njit(cache=True, nogil=True)
def scan_line(b: Any, start: int, stop: int, mark: int, s: Any, c: Any, v: Any) -> int:
    """Scan the line b[start:stop]; results are in s, rows in c, texts in v.

    mark: number that stands for the first token list in what remains of the line; then mark + 1, ...
    b must go on for 16 bytes after ``stop``, and its last bytes must be zeros.
    """
    s.result[R_LISTS] = 0
    s.result[R_STATISTICS] = 0
    rest = 0
    copied = start
    depth, inside = 0, -1  # inside: depth of the logprobs object that we are in
    i = start
    while i < stop:
        character = b[i]
        if character == _BEGIN or character == _OPEN:
            depth += 1
        elif character == _END or character == _CLOSE:
            if depth == inside:
                inside = -1
            depth -= 1
        elif character == _QUOTE:
            begin = i + 1
            end, _ = _string_end(b, begin)
            if end < 0 or end >= stop:
                return ODD
            i = _skip_blanks(b, end + 1)
            if b[i] != _COLON:
                continue
            i = _skip_blanks(b, i + 1)
            if end - begin == 8 and load_word(b, begin) == _LOGPROBS[0] and b[i] == _BEGIN:
                inside = depth + 1
            elif (
                inside == depth
                and end - begin == 7
                and load_word(b, begin) == _CONTENT
                and b[i] == _OPEN
            ):
                index = s.result[R_LISTS]
                if index >= MAX_LISTS:
                    return ODD
                s.lists[index, 0] = s.result[R_ROW]
                rest = _copy(b, copied, i, s.rest, rest)
                i, status = _tokens(b, i, s, c, v)
                if status != DONE:
                    return status
                if i > stop:
                    return ODD
                s.lists[index, 1] = s.result[R_ROW]
                s.result[R_LISTS] = index + 1
                copied = i
                number, width = mark + index, 1
                while number // 10 >= 10 ** (width - 1) and width < 19:
                    width += 1
                for j in range(width):
                    s.rest[rest + width - 1 - j] = 48 + number % 10
                    number //= 10
                rest += width
            continue
        i += 1
    s.result[R_REST] = _copy(b, copied, stop, s.rest, rest)
    return DONE
