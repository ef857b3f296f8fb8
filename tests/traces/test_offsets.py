"""Bytes, characters and tokens name the same places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.traces.offsets import (
    bytes_to_characters,
    character_starts,
    characters_to_bytes,
    step_spans,
    step_texts,
    token_text,
)

BYTES = st.one_of(st.binary(max_size=20), st.text(max_size=12).map(str.encode))


@given(BYTES)
def test_characters_are_those_of_decoding_without_loss(text: bytes) -> None:
    decoded = text.decode("utf-8", "surrogateescape")
    starts = character_starts(text)
    assert len(starts) == len(decoded) + 1
    for i, character in enumerate(decoded):
        piece = text[starts[i] : starts[i + 1]]
        assert piece == character.encode("utf-8", "surrogateescape")


@given(BYTES)
def test_there_and_back(text: bytes) -> None:
    places = np.arange(len(character_starts(text)))
    assert (bytes_to_characters(text, characters_to_bytes(text, places)) == places).all()


def test_token_text_joins_the_pieces(make_traces) -> None:
    traces = make_traces([[b"a", b"", b"\xff"], [], [b"bc"]])
    joined = token_text(traces)
    assert joined.text.tobytes() == b"a\xffbc"
    assert joined.token.tolist() == [0, 1, 1, 2, 4]
    assert [joined.of(i) for i in range(3)] == [b"a\xff", b"", b"bc"]


def test_what_is_outside_or_unsplit_is_an_error(make_traces) -> None:
    with pytest.raises(InputError, match="byte positions run from 0 to 9"):
        bytes_to_characters(b"abc", [0, 9])
    with pytest.raises(InputError, match="call split_steps"):
        step_spans(make_traces([[b"a"]]))
    with pytest.raises(InputError, match="call split_steps"):
        step_texts(make_traces([[b"a"]]), 0)
    with pytest.raises(ConfigurationError, match="unknown unit"):
        step_spans(make_traces([[b"a"]]), "words")
