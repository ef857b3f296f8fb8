"""From one line of text to one JSON value, with errors that a person can use."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from entropilot.errors import FormatError

_RAW: Final = msgspec.json.Decoder(msgspec.Raw)
_ANY: Final = msgspec.json.Decoder()
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def is_complete(text: bytes) -> bool:
    """False when the text is the beginning of a JSON value that goes on after it."""
    try:
        _RAW.decode(text)
    except msgspec.DecodeError as error:
        return "truncated" not in str(error)
    except RecursionError:
        pass
    return True


def decode(text: bytes) -> tuple[Any, bool]:
    """The JSON value, and whether bytes that are not UTF-8 had to be replaced.

    Python writes NaN and Infinity, which JSON does not have; they are read.

    Raises:
        FormatError: not JSON, cut off, or nested too deeply.
    """
    try:
        return _ANY.decode(text), False
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_again(text, error)
    except RecursionError:
        raise FormatError("nested too deeply; a log record has less than 100 levels") from None


def _decode_again(text: bytes, error: Exception) -> tuple[Any, bool]:
    try:
        clean, replaced = text.decode("utf-8"), False
    except UnicodeDecodeError:
        clean, replaced = text.decode("utf-8", "replace"), True
    if replaced or "NaN" in clean or "Infinity" in clean or "surrogate" in str(error).lower():
        try:
            return json.loads(clean), replaced
        except RecursionError:
            raise FormatError("nested too deeply; a log record has less than 100 levels") from None
        except ValueError as second:
            error = second
    if "truncated" in str(error):
        raise FormatError("the JSON value is cut off at its end") from None
    raise FormatError(f"not JSON: {error}") from None


def items(text: bytes) -> list[bytes] | None:
    """Texts of the items of a JSON array; None when the text is no valid array."""
    try:
        return [bytes(item) for item in _ITEMS.decode(text)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
