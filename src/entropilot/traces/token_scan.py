"""Token objects of a log, scanned into rows: {token, logprob, bytes, top_logprobs, ...}.

Keys come in any order; strings are unescaped, bytes preferred to strings, texts interned. All
positions are addresses; see ``json_scan``. At anything unexpected a scan ends as ``ODD``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from entropilot.traces.columns import C_CAPACITY, C_ENTROPY, C_JSD, GOOD, put_row
from entropilot.traces.interning import intern
from entropilot.traces.json_scan import (
    BEGIN,
    CLOSE,
    COLON,
    COMMA,
    END,
    OPEN,
    QUOTE,
    SMALL_N,
    byte_list,
    integer,
    null_end,
    number,
    skip_blanks,
    string_end,
    unescape,
)
from entropilot.traces.memory import (
    as_word,
    byte_at,
    first_bytes,
    float64_at,
    int32_at,
    int64_at,
    put_float32,
    put_float64,
    put_int32,
    put_int64,
    word_at,
)

MAX_ENTROPY: Final = 25.0  # nats; what is beyond is left to the ordinary way
MAX_DIVERGENCE: Final = 0.7

# How a scan ends
DONE: Final = 0
ODD: Final = 1  # read this line the ordinary way
MORE_ROWS: Final = 2  # grow the columns and scan the line again
WIDER: Final = 3  # grow the width of the columns
MORE_VOCABULARY: Final = 4

MAX_LISTS: Final = 4096  # token lists in one line
TEXT_ROOM: Final = 1 << 16  # bytes of the texts of one token and its alternatives

# State of the scanner: 64-bit numbers, at these byte offsets from its address.
S_TEXT: Final = 0  # address of room for texts from bytes lists and unescaped strings
S_USED: Final = 8  # address up to which it is in use
S_SLOTS: Final = 16  # address of the slots: 0 is the token, 1 and up its alternatives
S_N_SLOTS: Final = 24
S_ROW: Final = 32  # next row of the columns
S_N_LISTS: Final = 40
S_LISTS: Final = 48  # address of the first row of each token list, and the row after its last
S_REST: Final = 56  # address of room for the line without its token lists
S_N_REST: Final = 64
S_STATISTICS: Final = 72  # 1: an entropy or a divergence was given
S_SOURCES: Final = 80  # from which sources the scanner was compiled
S_FIELDS: Final = 11

# A slot: what one {token, logprob, bytes, id} said.
L_STRING: Final = 0  # address of its text as a string; 0 = none
L_STRING_LENGTH: Final = 8
L_BYTES: Final = 16  # address of its text as a list of bytes
L_BYTES_LENGTH: Final = 24  # -1 = none
L_LOGPROB: Final = 32
L_ID: Final = 40
L_PIECE: Final = 48
SLOT_BYTES: Final = 64

_TOKEN: Final = as_word(b'token"')
_LOGPROB: Final = as_word(b"logprob")
_BYTES: Final = as_word(b'bytes"')
_ID: Final = as_word(b'id"')
_TOKEN_ID: Final = as_word(b"token_id")
_TOP, _TOP_END = as_word(b"top_logp"), as_word(b'robs"')
_OWN_ID, _OWN_ID_END = as_word(b"x_token_"), as_word(b'id"')
_TOP_IDS, _TOP_IDS_END = as_word(b"x_top_id"), as_word(b's"')
_ENTROPY, _ENTROPY_END = as_word(b"x_entrop"), as_word(b'y_full"')
_JSD, _JSD_END = as_word(b"x_jsd_fu"), as_word(b'll"')

_IS_TOKEN, _IS_LOGPROB, _IS_BYTES, _IS_ID, _IS_TOP = 0, 1, 2, 3, 4
_IS_OWN_ID, _IS_TOP_IDS, _IS_ENTROPY, _IS_JSD, _UNKNOWN = 5, 6, 7, 8, 9


@njit(cache=True, nogil=True)
def _key(i: int) -> tuple[int, int]:
    """Which key begins at i, after its quote, and where its closing quote is."""
    word = word_at(i)
    if first_bytes(word, 6) == _TOKEN:
        return _IS_TOKEN, i + 5
    if first_bytes(word, 7) == _LOGPROB and byte_at(i + 7) == QUOTE:
        return _IS_LOGPROB, i + 7
    if first_bytes(word, 6) == _BYTES:
        return _IS_BYTES, i + 5
    if first_bytes(word, 3) == _ID:
        return _IS_ID, i + 2
    following = word_at(i + 8)
    if word == _TOP and first_bytes(following, 5) == _TOP_END:
        return _IS_TOP, i + 12
    if word == _OWN_ID and first_bytes(following, 3) == _OWN_ID_END:
        return _IS_OWN_ID, i + 10
    if word == _TOP_IDS and first_bytes(following, 2) == _TOP_IDS_END:
        return _IS_TOP_IDS, i + 9
    if word == _ENTROPY and first_bytes(following, 7) == _ENTROPY_END:
        return _IS_ENTROPY, i + 14
    if word == _JSD and first_bytes(following, 3) == _JSD_END:
        return _IS_JSD, i + 10
    if word == _TOKEN_ID and byte_at(i + 8) == QUOTE:
        return _IS_ID, i + 8
    return _UNKNOWN, i


@njit(cache=True, nogil=True)
def _value(i: int, key: int, slot: int, s: int) -> int:
    """Read the value of token, logprob, bytes or id into a slot; where it ends, -1 if it is odd."""
    if key == _IS_TOKEN:
        if byte_at(i) != QUOTE:
            return -1
        end, plain = string_end(i + 1)
        if end < 0:
            return -1
        if plain:
            put_int64(slot + L_STRING, i + 1)
            put_int64(slot + L_STRING_LENGTH, end - i - 1)
            return int(end + 1)
        used = int64_at(s + S_USED)
        if used + (end - i) > int64_at(s + S_TEXT) + TEXT_ROOM:
            return -1
        stop = unescape(i + 1, end, used)
        if stop < 0:
            return -1
        put_int64(slot + L_STRING, used)
        put_int64(slot + L_STRING_LENGTH, stop - used)
        put_int64(s + S_USED, stop)
        return int(end + 1)
    if key == _IS_LOGPROB:
        if byte_at(i) == SMALL_N:  # null: as if it were not there
            return int(null_end(i))
        i, x = number(i)
        put_float64(slot + L_LOGPROB, x)
        return i
    if key == _IS_BYTES:
        used = int64_at(s + S_USED)
        i, n = byte_list(i, used, int64_at(s + S_TEXT) + TEXT_ROOM - used)
        put_int64(slot + L_BYTES, used)
        put_int64(slot + L_BYTES_LENGTH, n)
        put_int64(s + S_USED, used + max(n, 0))
        return i
    i, token_id = integer(i)
    put_int64(slot + L_ID, token_id)
    return i


@njit(cache=True, nogil=True)
def _reset(slot: int) -> None:
    put_int64(slot + L_STRING, 0)
    put_int64(slot + L_BYTES_LENGTH, -1)
    put_float64(slot + L_LOGPROB, np.nan)
    put_int64(slot + L_ID, -1)


@njit(cache=True, nogil=True)
def _alternatives(i: int, s: int) -> tuple[int, int, int]:
    """Read a list of {token, logprob, bytes} into slots 1 and up: its end, how many, status."""
    if byte_at(i) == SMALL_N:
        return null_end(i), 0, DONE
    if byte_at(i) != OPEN:
        return i, 0, ODD
    i = skip_blanks(i + 1)
    if byte_at(i) == CLOSE:
        return i + 1, 0, DONE
    n = 0
    slot = int64_at(s + S_SLOTS)
    last = slot + SLOT_BYTES * (int64_at(s + S_N_SLOTS) - 1)
    while True:
        if byte_at(i) != BEGIN:
            return i, n, ODD
        if slot == last:
            return i, n, WIDER
        n += 1
        slot += SLOT_BYTES
        _reset(slot)
        i = skip_blanks(i + 1)
        seen = 0
        while True:
            key, end = _key(i + 1)
            if byte_at(i) != QUOTE or key > _IS_ID or seen & (1 << key):
                return i, n, ODD
            seen |= 1 << key
            i = skip_blanks(end + 1)
            if byte_at(i) != COLON:
                return i, n, ODD
            i = _value(skip_blanks(i + 1), key, slot, s)
            if i < 0:
                return i, n, ODD
            i = skip_blanks(i)
            c = byte_at(i)
            if c == COMMA:
                i = skip_blanks(i + 1)
            elif c == END:
                break
            else:
                return i, n, ODD
        i = skip_blanks(i + 1)
        c = byte_at(i)
        if c == COMMA:
            i = skip_blanks(i + 1)
        elif c == CLOSE:
            return i + 1, n, DONE
        else:
            return i, n, ODD


@njit(cache=True, nogil=True)
def _top_ids(i: int, n: int, s: int) -> int:
    """Read x_top_ids, one for each of the n alternatives; where it ends, -1 if it is odd."""
    if byte_at(i) == SMALL_N:
        return int(null_end(i))
    if byte_at(i) != OPEN:
        return -1
    i = skip_blanks(i + 1)
    slot = int64_at(s + S_SLOTS)
    for k in range(n):
        slot += SLOT_BYTES
        i, token_id = integer(i)
        if i < 0:
            return -1
        put_int64(slot + L_ID, token_id)
        i = skip_blanks(i)
        if k < n - 1:
            if byte_at(i) != COMMA:
                return -1
            i = skip_blanks(i + 1)
    return i + 1 if byte_at(i) == CLOSE else -1


@njit(cache=True, nogil=True)
def _intern_slot(slot: int, v: int) -> int:
    """Entry of the text of a slot; -1: the vocabulary is full, -2: odd."""
    length, token_id = int64_at(slot + L_BYTES_LENGTH), int64_at(slot + L_ID)
    string, n = int64_at(slot + L_STRING), int64_at(slot + L_STRING_LENGTH)
    if string != 0 and n >= 10 and word_at(string) == _TOKEN_ID:
        return -2  # token_id:123 names an id
    if length > 0 or (length == 0 and (string == 0 or n == 0)):
        return int(intern(int64_at(slot + L_BYTES), length, token_id, v))
    if string == 0:
        return -2
    if n >= 6:
        first = byte_at(string)
        if first in (60, 98):
            return -2  # <0xF0> and bytes:.. stand for bytes; leave them to the ordinary way
    return int(intern(string, n, token_id, v))


@njit(cache=True, nogil=True)
def _put_token(n: int, s: int, c: int, v: int) -> int:
    """Write slot 0 with its alternatives, slots 1 to n, as one row."""
    first = int64_at(s + S_SLOTS)
    stop = first + SLOT_BYTES * (n + 1)
    if n > 0:
        with_ids = True
        for slot in range(first, stop, SLOT_BYTES):
            with_ids &= int64_at(slot + L_ID) >= 0
        if not with_ids:
            for slot in range(first, stop, SLOT_BYTES):
                put_int64(slot + L_ID, -1)
    for slot in range(first, stop, SLOT_BYTES):
        entry = _intern_slot(slot, v)
        if entry < 0:
            return MORE_VOCABULARY if entry == -1 else ODD
        put_int32(slot + L_PIECE, entry)
    row = int64_at(s + S_ROW)
    status = put_row(
        row,
        int32_at(first + L_PIECE),
        float64_at(first + L_LOGPROB),
        n,
        first + SLOT_BYTES + L_PIECE,
        SLOT_BYTES,
        first + SLOT_BYTES + L_LOGPROB,
        SLOT_BYTES,
        c,
        v,
    )
    if status != GOOD:
        return ODD
    put_int64(s + S_ROW, row + 1)
    return DONE


@njit(cache=True, nogil=True)
def _token(i: int, s: int, c: int, v: int) -> tuple[int, int]:
    """Read the token object at i into the next row; where it ends and the status."""
    if byte_at(i) != BEGIN:
        return i, ODD
    row = int64_at(s + S_ROW)
    if row >= int64_at(c + C_CAPACITY):
        return i, MORE_ROWS
    put_int64(s + S_USED, int64_at(s + S_TEXT))
    own = int64_at(s + S_SLOTS)
    _reset(own)
    n, own_id, seen = 0, -1, 0
    entropy, jsd = np.nan, np.nan
    i = skip_blanks(i + 1)
    while True:
        key, end = _key(i + 1)
        if byte_at(i) != QUOTE or key == _UNKNOWN or seen & (1 << key):
            return i, ODD
        seen |= 1 << key
        i = skip_blanks(end + 1)
        if byte_at(i) != COLON:
            return i, ODD
        i = skip_blanks(i + 1)
        if key <= _IS_ID:
            i = _value(i, key, own, s)
        elif key == _IS_TOP:
            i, n, status = _alternatives(i, s)
            if status != DONE:
                return i, status
        elif key == _IS_TOP_IDS:
            if not seen & (1 << _IS_TOP):
                return i, ODD  # ids before their tokens: rare
            i = _top_ids(i, n, s)
        elif key == _IS_OWN_ID:
            i, own_id = integer(i)
        elif byte_at(i) == SMALL_N:
            i = null_end(i)
        elif key == _IS_ENTROPY:
            i, entropy = number(i)
        else:
            i, jsd = number(i)
        if i < 0:
            return i, ODD
        i = skip_blanks(i)
        if byte_at(i) == COMMA:
            i = skip_blanks(i + 1)
        elif byte_at(i) == END:
            break
        else:
            return i, ODD
    if own_id >= 0:
        put_int64(own + L_ID, own_id)
    if entropy < 0 or entropy > MAX_ENTROPY or jsd < 0 or jsd > MAX_DIVERGENCE:
        return i, ODD
    put_float32(int64_at(c + C_ENTROPY) + 4 * row, entropy)
    put_float32(int64_at(c + C_JSD) + 4 * row, jsd)
    if not (np.isnan(entropy) and np.isnan(jsd)):
        put_int64(s + S_STATISTICS, 1)
    return i + 1, int(_put_token(n, s, c, v))


@njit(cache=True, nogil=True)
def scan_tokens(i: int, s: int, c: int, v: int) -> tuple[int, int]:
    """Read the list of tokens at i; where it ends and the status."""
    i = skip_blanks(i + 1)
    if byte_at(i) == CLOSE:
        return i + 1, DONE
    while True:
        i, status = _token(i, s, c, v)
        if status != DONE:
            return i, status
        i = skip_blanks(i)
        if byte_at(i) == COMMA:
            i = skip_blanks(i + 1)
        elif byte_at(i) == CLOSE:
            return i + 1, DONE
        else:
            return i, ODD
