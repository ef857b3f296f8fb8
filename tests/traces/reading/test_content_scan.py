"""The compiled scanner against the ordinary way: the same traces, or the same refusal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from entropilot.errors import EntropilotError
from entropilot.traces import ReadOptions, Traces
from entropilot.traces.reading import content_scan
from entropilot.traces.reading.documents import DocumentReader
from entropilot.traces.reading.json_scan import byte_list, integer, number, string_end, unescape
from entropilot.traces.reading.token_scan import S_SOURCES

QUIET = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read(text: bytes, *, fast: bool) -> tuple[Traces, bool] | str:
    """Traces of the lines and whether the scanner took the first; or the kind of error."""
    reader = DocumentReader(ReadOptions(strict=True))
    padded = np.frombuffer(text + bytes(16), np.uint8)
    try:
        taken = fast and reader.scan(padded.ctypes.data, padded.ctypes.data + len(text), "f", 1, "")
        if not taken:
            reader.text(text, "f", 1, "")
    except EntropilotError as error:
        return type(error).__name__
    return reader.take().traces, bool(taken)


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["", '"', "\\", "\n", "é", "🙂", "\ufffd", "<0xF0>", "bytes:\\xf0", "token_id:7", " the", "\0"]
)
logprobs = (
    st.floats(-30, 0)
    | st.sampled_from([0, -0.0, -1, -100, -9999.0, 1e-4, -1e-12, -1.5e-3, -2e2, -123456789.125])
    | st.none()
    | st.sampled_from([0.5, 1.0, float("nan"), float("-inf")])
)
byte_values = st.none() | st.lists(st.integers(0, 255), max_size=6) | st.just([240, 159])
ids = st.none() | st.integers(0, 2**31 - 1)


@st.composite
def entries(draw: st.DrawFn, wild: bool = True) -> dict[str, Any]:
    text = draw(texts)
    item: dict[str, Any] = {"token": text, "logprob": draw(logprobs if wild else st.floats(-30, 0))}
    kind = draw(st.integers(0, 3))
    if kind == 0:
        item["bytes"] = draw(byte_values)
    elif kind == 1:
        item["bytes"] = list(text.encode())
    if draw(st.integers(0, 4)) == 0:
        item[draw(st.sampled_from(["id", "token_id"]))] = draw(ids)
    return dict(draw(st.permutations(list(item.items()))))


@st.composite
def tokens(draw: st.DrawFn) -> dict[str, Any]:
    wild = draw(st.integers(0, 5)) == 0
    item = draw(entries(wild))
    item["top_logprobs"] = draw(st.lists(entries(wild), max_size=5) | st.just([]))
    n = len(item["top_logprobs"])
    if draw(st.booleans()):
        item["x_token_id"] = draw(ids)
        item["x_top_ids"] = draw(st.lists(st.integers(0, 99), min_size=n, max_size=n) | st.none())
        item["x_entropy_full"] = draw(st.floats(0, 10) | st.none())
        item["x_jsd_full"] = draw(st.floats(0, 0.69) | st.none())
    if draw(st.booleans()):
        item = dict(draw(st.permutations(list(item.items()))))
    return item


@pytest.mark.slow
@QUIET
@given(
    st.lists(st.lists(tokens(), max_size=4), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)
def test_both_ways_agree(
    assert_same: Any, contents: list[Any], ascii_only: bool, compact: bool, indent: Any
) -> None:
    choices = [{"message": {"content": "x"}, "logprobs": {"content": c}} for c in contents]
    text = json.dumps(
        {"id": "a", "choices": choices, "x_correct": True},
        ensure_ascii=ascii_only,
        separators=(",", ":") if compact else None,
        indent=indent,
    ).encode()
    fast, slow = read(text, fast=True), read(text, fast=False)
    if isinstance(slow, str) or isinstance(fast, str):
        assert fast == slow
    else:
        assert_same(fast[0], slow[0])


@pytest.mark.slow
@QUIET
@given(st.lists(tokens(), min_size=1, max_size=3), st.data())
def test_a_spoilt_line_is_never_read_otherwise(
    assert_same: Any, content: list[Any], data: st.DataObject
) -> None:
    text = json.dumps({"choices": [{"message": {}, "logprobs": {"content": content}}]}).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    how = data.draw(st.sampled_from(["cut", "drop", "change", "twice"]))
    if how == "cut":
        text = text[:at]
    elif how == "drop":
        text = text[:at] + text[at + 1 :]
    elif how == "change":
        other = data.draw(st.sampled_from(list(b'"\\{}[],:0-.eE \n\x00\xffnua')))
        text = text[:at] + bytes([other]) + text[at + 1 :]
    else:
        text = text[:at] + text[max(0, at - 9) : at] + text[at:]
    fast, slow = read(text, fast=True), read(text, fast=False)
    if isinstance(slow, str) or isinstance(fast, str):
        assert fast == slow
    else:
        assert_same(fast[0], slow[0])


def test_an_ordinary_line_goes_the_fast_way(chat: Any, token: Any) -> None:
    line = chat([token(" a", -0.5, [(" a", -0.5), ('"\n🙂', -1.5)])] * 3)
    for text in (json.dumps(line), json.dumps(line, separators=(",", ":"), ensure_ascii=False)):
        result = read(text.encode(), fast=True)
        assert not isinstance(result, str)
        assert result[1]
        assert result[0].vocabulary.pieces() == [b" a", '"\n🙂'.encode()]


def test_two_token_lists_of_one_choice_are_left_to_the_ordinary_way(chat: Any, token: Any) -> None:
    text = json.dumps(chat([token("a", -1)]))
    text = text.replace('"finish_reason"', '"logprobs": {"content": []}, "finish_reason"')
    result = read(text.encode(), fast=True)
    assert not isinstance(result, str)
    assert not result[1]
    assert len(result[0].tokens) == 0  # the last of two equal keys counts, as in any JSON reader


def test_a_number_in_place_of_a_list_is_no_marker(chat: Any, token: Any) -> None:
    text = json.dumps(chat([token("a", -1)])).replace(
        '"choices": [', '"choices": [{"message": {}, "logprobs": {"content": 100000000000000000}}, '
    )
    assert read(text.encode(), fast=True) == "FormatError"


def test_wide_rows_and_many_texts_make_the_tables_grow(
    assert_same: Any, chat: Any, token: Any
) -> None:
    wide = token("a", -1.0, [(f"word {i} of many, long enough", -1.0 - i / 100) for i in range(90)])
    many = [token(f"t{i}", -1.0, [(f"{i}/{j}", -1.0 - j) for j in range(3)]) for i in range(1200)]
    text = json.dumps(chat([wide, *many])).encode()
    fast, slow = read(text, fast=True), read(text, fast=False)
    assert not isinstance(fast, str)
    assert not isinstance(slow, str)
    assert fast[1]
    assert fast[0].tokens.top_piece.shape == (1201, 90)
    assert_same(fast[0], slow[0])


def address(text: bytes) -> tuple[Any, int]:
    array = np.frombuffer(text + bytes(16), np.uint8)
    return array, array.ctypes.data


@QUIET
@given(st.floats(-1e6, -1e-280) | st.integers(-(10**9), 10**9).map(float))
@example(-1e-7)
@example(-0.1)
@example(-123456.789e-3)
@example(-0.0032298990932043145)
@example(-0.00012345678901234567)
def test_numbers(value: float) -> None:
    array, at = address(repr(value).encode())
    end, found = number(at)
    assert end == at + len(array) - 16
    assert found == pytest.approx(value, rel=1e-15, abs=1e-290)


@pytest.mark.parametrize("text", [b"-", b"01", b".5", b"1.", b"1e", b"+1", b"-01.5", b"", b"nul"])
def test_what_is_no_number_is_refused(text: bytes) -> None:
    _, at = address(text)
    assert number(at)[0] == -1


@pytest.mark.parametrize("text", [b"[1,,2]", b"[01]", b"[256]", b"[1", b"[1,]", b"[-1]", b"{}"])
def test_what_is_no_list_of_bytes_is_refused(text: bytes) -> None:
    _, at = address(text)
    room = np.zeros(64, np.uint8)
    assert byte_list(at, room.ctypes.data, 8)[0] == -1
    assert integer(at)[0] == -1


@QUIET
@given(st.text(st.characters(exclude_categories=("Cs",))), st.booleans())
def test_strings_unescape(text: str, ascii_only: bool) -> None:
    array, at = address(json.dumps(text, ensure_ascii=ascii_only).encode())
    end, _ = string_end(at + 1)
    assert end == at + len(array) - 17
    room = np.zeros(len(array) + 16, np.uint8)
    stop = unescape(at + 1, end, room.ctypes.data)
    assert room[: stop - room.ctypes.data].tobytes() == text.encode()


def test_the_compiled_scanner_is_of_these_sources() -> None:
    reader = DocumentReader(ReadOptions())
    text = np.frombuffer(b'{"a": 1}' + bytes(16), np.uint8)
    reader.scan(text.ctypes.data, text.ctypes.data + 8, "f", 1, "")
    state = reader._scanner._state
    assert state[S_SOURCES // 8] == content_scan._sources()


def test_a_line_that_comes_when_the_columns_are_just_full(token: Any, chat: Any) -> None:
    reader = DocumentReader(ReadOptions(strict=True))
    columns = reader.builder.columns
    full = columns.capacity
    text = json.dumps(chat([token("a", -0.1, [("a", -0.1), ("b", -3.0)])] * 64)).encode()
    padded = np.frombuffer(text + bytes(16), np.uint8)
    for line in range(1, full // 64 + 1):
        assert reader.scan(padded.ctypes.data, padded.ctypes.data + len(text), "f", line, "")
    assert columns.n == columns.capacity == full
    assert reader.scan(padded.ctypes.data, padded.ctypes.data + len(text), "f", line + 1, "")
    assert len(reader.take().traces.tokens) == full + 64
