"""One listed token in the shape {token, logprob, bytes}, which most servers have taken over."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from entropilot.errors import FormatError

MISSING: Final = float("nan")
ROUNDING: Final = 1e-3  # nats by which a log may miss a bound
MAX_ENTROPY: Final = 25.0  # nats; ln of more tokens than any vocabulary has
MAX_DIVERGENCE: Final = math.log(2) + ROUNDING
_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ESCAPED: Final = re.compile(r"bytes:((?:\\x[0-9A-Fa-f]{2})+)")
_ID: Final = re.compile(r"token_id:(\d{1,9})")


def text_bytes(text: str) -> bytes:
    r"""Bytes of a token string, also where it stands for a piece of a character.

    Examples:
        >>> text_bytes("é"), text_bytes("<0xF0>"), text_bytes(r"bytes:\xf0\x9f")
        (b'\xc3\xa9', b'\xf0', b'\xf0\x9f')
    """
    if text[:3] == "<0x" and (byte := _BYTE.fullmatch(text)):
        return bytes.fromhex(byte[1])
    if text[:6] == "bytes:" and (escaped := _ESCAPED.fullmatch(text)):
        return bytes.fromhex(escaped[1].replace("\\x", ""))
    return text.encode("utf-8", "surrogatepass")


def id_in_text(text: str) -> int:
    """Id in vLLM's ``token_id:123``, -1 in any other text."""
    found = _ID.fullmatch(text) if text[:9] == "token_id:" else None
    return int(found[1]) if found else -1


def number(value: Any, where: str) -> float:
    """A log-probability; null is nan."""
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{where} is {_shown(value)}; a number is expected")
    return float(value)


def statistic(value: Any, most: float, where: str) -> float:
    """An entropy or divergence, nats, between 0 and ``most``; null is nan."""
    x = number(value, where)
    if not math.isnan(x) and not -ROUNDING <= x <= most:
        raise FormatError(f"{where} is {x:.4g}; it lies between 0 and {most:.4g} nats")
    return x if math.isnan(x) else max(x, 0.0)


def token_id(value: Any, where: str) -> int:
    """A token id; null is -1."""
    if value is None:
        return -1
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < 1 << 31:
        raise FormatError(f"{where} is {_shown(value)}; a token id is expected")
    return value


def entry(item: Any, where: str) -> tuple[bytes, int, float]:
    """(bytes, id or -1, log-prob or nan) of {token, logprob, bytes, id}.

    The bytes are authoritative; the string stands in where they are missing, or empty beside it.
    """
    if not isinstance(item, Mapping):
        raise FormatError(
            f"{where} is {_shown(item)}; an object with token and logprob is expected"
        )
    text = item.get("token")
    raw = item.get("bytes")
    if text is not None and not isinstance(text, str):
        raise FormatError(f"{where}.token is {_shown(text)}; a string is expected")
    if raw is not None and not isinstance(raw, list):
        raise FormatError(f"{where}.bytes is {_shown(raw)}; a list of numbers or null is expected")
    name = "id" if item.get("id") is not None else "token_id"
    key = token_id(item.get(name), f"{where}.{name}")
    if key < 0 and text is not None:
        key = id_in_text(text)
    if raw or (raw is not None and not text):
        try:
            piece = bytes(raw)
        except (TypeError, ValueError):
            raise FormatError(f"{where}.bytes holds something other than 0 to 255") from None
    elif text is not None:
        piece = text_bytes(text)
    else:
        raise FormatError(
            f"{where} has neither token nor bytes (keys: {', '.join(map(str, item))})"
        )
    return piece, key, number(item.get("logprob"), f"{where}.logprob")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
