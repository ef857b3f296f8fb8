"""The text of a token as bytes: a token may be a piece of a UTF-8 character."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def token_bytes(tokenizer: Any) -> Callable[[int], bytes]:
    r"""Function from a token id to its bytes, for byte-level BPE and for SentencePiece.

    Joined, the bytes of a text's tokens are the text, without the decoder's cleaning of spaces.

    Args:
        tokenizer: a fast tokenizer of transformers.

    Examples:
        >>> from entropilot.models.tiny import tiny_parts
        >>> token_bytes(tiny_parts()[1])(195)
        b'\xc3'
    """
    special = set(tokenizer.all_special_ids)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    is_byte_level = "ByteLevel" in json.dumps(
        [backend.get("decoder"), backend.get("pre_tokenizer")]
    )
    table = {character: bytes([byte]) for byte, character in enumerate(byte_alphabet())}
    known: dict[int, bytes] = {}

    def read(token: int) -> bytes:
        piece: str = tokenizer.convert_ids_to_tokens(int(token)) or ""
        if token in special:
            return piece.encode()
        if is_byte_level:  # tokens that were added by hand keep their own characters
            return b"".join(table.get(c) or c.encode() for c in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode()

    def text(token: int) -> bytes:
        if token not in known:
            known[token] = read(token)
        return known[token]

    return text


def byte_alphabet() -> list[str]:
    """The printable stand-ins of the 256 bytes in byte-level BPE, in byte order.

    Examples:
        >>> byte_alphabet()[32:34]
        ['Ġ', '!']

    Source: the encoder of GPT-2 (bytes_to_unicode).
    """
    plain = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(rest)) for byte in range(256)]
