"""Make hidden characters visible: what a model wrote is shown, never obeyed.

Control codes, ANSI escapes, bidi controls, odd spaces and unassigned code points become symbols, so
that a browser, a terminal or a Markdown viewer has nothing left to act on. Joins are on bytes: a
character that a model wrote in several tokens stays one character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

_NAMES: Final = {
    0x85: "NEL",
    0xA0: "NBSP",
    0xAD: "SHY",
    0x061C: "ALM",
    0x200B: "ZWSP",
    0x200C: "ZWNJ",
    0x200D: "ZWJ",
    0x200E: "LRM",
    0x200F: "RLM",
    0x2028: "LS",
    0x2029: "PS",
    0x202A: "LRE",
    0x202B: "RLE",
    0x202C: "PDF",
    0x202D: "LRO",
    0x202E: "RLO",
    0x2060: "WJ",
    0x2066: "LRI",
    0x2067: "RLI",
    0x2068: "FSI",
    0x2069: "PDI",
    0xFEFF: "BOM",
}
_PROSE_SPACES: Final = "\u00a0\u202f"  # our own sentences may set units with them
_EMPTY: Final = "∅"


class Span(NamedTuple):
    """A run of whole characters that the same tokens wrote.

    Examples:
        >>> Span("é", 4, 5).last
        5
    """

    text: str  # as shown
    first: int  # first token, a position in the trace
    last: int  # last token; larger than ``first`` for a character in several tokens


def _symbol(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the control pictures: ␛ for escape
    if code == 0x7F:
        return "␡"
    return f"⟨{_NAMES.get(code, f'U+{code:04X}')}⟩"


def visible(text: str, *, newline: str = "⏎", space: str = " ", limit: int | None = None) -> str:
    r"""Text with every character that isn't printable shown as a symbol.

    Args:
        text: anything.
        newline: what stands for a line break; ``"⏎\n"`` also breaks the line.
        space: what stands for a space; ``"·"`` where its presence must be seen.
        limit: longest result in characters; the rest is counted, not shown.

    Examples:
        >>> visible("a\x1b[31m\u202eb")
        'a␛[31m⟨RLO⟩b'
    """
    hidden = 0
    if limit is not None and len(text) > limit:
        hidden, text = len(text) - limit, text[:limit]
    if not text.isprintable() or space != " ":
        known = {"\n": newline, "\t": "⇥", "\r": "␍", " ": space}
        text = "".join(
            known[c] if c in known else c if c.isprintable() else _symbol(c) for c in text
        )
    return f"{text} … ({hidden:,} more characters)" if hidden else text


def prose(text: str) -> str:
    r"""A sentence of the report, in which only names come from outside: no-break spaces stay.

    Examples:
        >>> prose("trace \x07 is 5\u202f% off") == "trace ␇ is 5\u202f% off"
        True
    """
    return "".join(c if c.isprintable() or c in _PROSE_SPACES else _symbol(c) for c in text)


def characters(text: bytes) -> Iterator[tuple[int, int, str | None]]:
    r"""Characters of UTF-8 bytes as (start, stop, text); text is None at a byte that fits nowhere.

    Examples:
        >>> list(characters(b"a\xc3\xa9\xff"))
        [(0, 1, 'a'), (1, 3, 'é'), (3, 4, None)]
    """
    at = 0
    while at < len(text):
        lead = text[at]
        length = 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        try:
            yield at, at + length, text[at : at + length].decode()
            at += length
        except UnicodeDecodeError:
            yield at, at + 1, None
            at += 1


def spans(pieces: Sequence[bytes], *, limit: int = 240) -> list[Span]:
    r"""Cut the joined text of tokens into runs of whole characters with the same writers.

    Args:
        pieces: the bytes of each token.
        limit: longest text of a span, in characters.

    Examples:
        >>> [tuple(span) for span in spans([b"ok ", b"\xf0\x9f", b"\x98\x80", b"!"])]
        [('ok ', 0, 0), ('😀', 1, 2), ('!', 3, 3)]
    """
    found: list[Span] = []
    run: list[bytes] = []  # tokens that are no whole characters by themselves

    def close(end: int) -> None:
        if run:
            found.extend(_joined(run, end - len(run), limit))
            run.clear()

    for token, piece in enumerate(pieces):
        try:
            text = piece.decode()
        except UnicodeDecodeError:
            run.append(piece)
            continue
        if run and not text:
            run.append(piece)  # an empty token may stand inside a character
            continue
        close(token)
        found.append(Span(_shown(text, limit) if text else _EMPTY, token, token))
    close(len(pieces))
    return found


def _joined(pieces: Sequence[bytes], first_token: int, limit: int) -> list[Span]:
    """The same for a run of tokens that share characters, or hold bytes that fit nowhere."""
    owner = [token for token, piece in enumerate(pieces) for _ in piece]
    joined = b"".join(pieces)
    runs: list[tuple[int, int, list[str]]] = []
    reached = 0  # tokens before this one are shown
    for start, stop, character in characters(joined):
        first, last = owner[start], owner[stop - 1]
        runs += [(token, token, [_EMPTY]) for token in range(reached, first)]  # of no bytes
        reached = max(reached, last + 1)
        shown = f"⟨0x{joined[start]:02X}⟩" if character is None else character
        if runs and runs[-1][:2] == (first, last):
            runs[-1][2].append(shown)
        else:
            runs.append((first, last, [shown]))
    runs += [(token, token, [_EMPTY]) for token in range(reached, len(pieces))]
    return [
        Span(_shown("".join(text), limit), first_token + first, first_token + last)
        for first, last, text in runs
    ]


def _shown(text: str, limit: int) -> str:
    blank = not text.strip(" ")  # a token of spaces alone would be lost between its neighbours
    return visible(text, newline="⏎\n", space="·" if blank else " ", limit=limit)
