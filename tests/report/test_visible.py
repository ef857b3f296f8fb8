"""Hidden characters become symbols, and characters stay whole."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.report.visible import characters, prose, spans, visible

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(st.text())
def test_nothing_hidden_is_left(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(character) for character in shown} & HIDDEN
    assert all(c == " " or unicodedata.category(c) != "Zs" for c in shown)


@given(st.text())
def test_prose_leaves_only_our_spaces(text: str) -> None:
    assert prose(text).replace("\u00a0", "").replace("\u202f", "").isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "␛[2J"),
        ("\u202etxt.exe", "⟨RLO⟩txt.exe"),
        ("a\tb\r\n", "a⇥b␍⏎"),
        ("\x7f\x9b31m", "␡⟨U+009B⟩31m"),
        ("zero\u200bwidth", "zero⟨ZWSP⟩width"),
        ("\U000e0041", "⟨U+E0041⟩"),
    ],
)
def test_known_attacks(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 3000, limit=10) == "xxxxxxxxxx … (2,990 more characters)"


@given(st.binary())
def test_characters_cover_each_byte_once(text: bytes) -> None:
    found = list(characters(text))
    assert [start for start, _, _ in found] == [0, *(stop for _, stop, _ in found)][: len(found)]
    assert sum(stop - start for start, stop, _ in found) == len(text)


@given(st.text(), st.data())
def test_whole_characters_however_the_bytes_are_cut(text: str, data: st.DataObject) -> None:
    joined = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(joined)), max_size=12)))
    pieces = [joined[a:b] for a, b in zip([0, *cuts], [*cuts, len(joined)], strict=True)]
    found = spans(pieces, limit=10**6)
    bare = "".join(span.text for span in found).replace("∅", "").replace("⏎\n", "⏎")
    expected = visible(text).replace("∅", "")
    assert bare.replace("·", " ") == expected.replace("·", " ")
    writers = {t for span in found for t in range(span.first, span.last + 1)}
    assert writers == set(range(len(pieces)))
    assert [span.first for span in found] == sorted(span.first for span in found)


def test_an_empty_token_inside_a_character() -> None:
    found = spans([b"\xf0\x9f", b"", b"\x98\x80", b"", b"!"])
    assert [tuple(span) for span in found] == [("😀", 0, 2), ("∅", 3, 3), ("!", 4, 4)]


def test_an_emoji_in_four_tokens_is_one_span() -> None:
    pieces = [b"a", *(bytes([byte]) for byte in "😀".encode()), b"b"]
    assert [tuple(span) for span in spans(pieces)] == [("a", 0, 0), ("😀", 1, 4), ("b", 5, 5)]


def test_half_a_character_is_shown_in_hexadecimal() -> None:
    assert [span.text for span in spans([b"\xf0\x9f", b"ok"])] == ["⟨0xF0⟩⟨0x9F⟩", "ok"]
