from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
import zstandard

from entropilot.errors import FormatError, InputError
from entropilot.learning.symbol_files import N_WINDOWS, read_symbols, shortened


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_any_file_is_bytes_and_text_may_be_characters(tmp_path):
    path = put(tmp_path / "a.bin", bytes(range(256)))
    found = read_symbols(path)
    assert (found.symbols == np.arange(256)).all()
    assert (found.kind, found.part) == ("bytes", "all")
    text = put(tmp_path / "a.txt", "añ€😀" * 50)
    assert read_symbols(text, unit="characters").symbols.tolist() == [97, 241, 8364, 128512] * 50
    with pytest.raises(FormatError, match="not UTF-8"):
        read_symbols(path, unit="characters")


def test_a_large_file_is_read_in_windows_from_end_to_end(tmp_path):
    path = put(tmp_path / "big", np.arange(100_000, dtype="<u2").tobytes())
    found = read_symbols(path, most=12_800)
    assert len(found.symbols) == 12_800
    assert "64 windows spread over 200,000 bytes" in found.part
    assert found.symbols[0] == 0
    assert found.symbols[-1] == (99_999 >> 8) & 255
    text = put(tmp_path / "big.txt", "x€é" * 40_000)
    characters = read_symbols(text, most=1000, unit="characters")
    assert set(characters.symbols.tolist()) == {120, 8364, 233}
    assert len(characters.symbols) == 1000


def test_token_arrays_are_mapped_and_checked(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(60_000, dtype=np.uint16).reshape(2, -1))
    found = read_symbols(tmp_path / "a.npy", most=640)
    assert found.kind == "tokens"
    assert found.symbols[[0, -1]].tolist() == [0, 59_999]
    assert "rows are joined" in found.notes[0]
    for values, message in (
        (np.array([1, -100]), "negative token id -100"),
        (np.array([0.5]), "holds float64"),
        (np.array([1 << 50]), "below 2"),
    ):
        np.save(tmp_path / "b.npy", values)
        with pytest.raises(InputError, match=message):
            read_symbols(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="NumPy array of token ids"):
        read_symbols(tmp_path / "c.npy")
    assert read_symbols(tmp_path / "c.npy", raw=True).kind == "bytes"


def test_records_of_text_or_ids(tmp_path):
    rows = [{"text": f"line {i}", "ids": [i, i + 1]} for i in range(500)]
    lines = "\n".join(map(json.dumps, rows))
    path = put(tmp_path / "a.jsonl", lines + "\n{broken\n\n[1]\n")
    found = read_symbols(path)
    assert found.symbols[:7].tobytes() == b"line 0\n"
    assert "1 lines are no JSON" in found.notes[0]
    assert "1 records have no text" in found.notes[1]
    assert read_symbols(path, field="ids").symbols[:4].tolist() == [0, 1, 1, 2]
    assert read_symbols(path, unit="characters").kind == "characters"
    assert read_symbols(path, raw=True).symbols[:8].tobytes() == b'{"text":'
    with pytest.raises(FormatError, match=r"name the field.*Fields: text, ids"):
        read_symbols(path, field="prompt")
    with pytest.raises(FormatError, match="no JSON records"):
        read_symbols(put(tmp_path / "b.jsonl", "nothing\n"))
    with pytest.raises(InputError, match="texts in some records"):
        read_symbols(put(tmp_path / "c.jsonl", '{"text": "a"}\n{"text": [1]}\n'))


def test_many_records_are_sampled_over_the_file(tmp_path):
    rows = [{"text": f"{i:05d}"} for i in range(40_000)]
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    found = read_symbols(path, most=6400)
    text = found.symbols.tobytes().decode().split()
    assert "spread over" in found.part
    assert text[0] == "00000"
    assert int(text[-2]) > 39_000 * (N_WINDOWS - 1) / N_WINDOWS
    whole = read_symbols(path, most=100_000)
    assert "windows spread over 240,000 bytes" in whole.part


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_packed_files_are_unfolded(tmp_path, pack):
    text = put(tmp_path / "a.txt.packed", pack(b"hello world " * 900))
    assert read_symbols(text).symbols[:5].tobytes() == b"hello"
    found = read_symbols(text, most=100)
    assert (len(found.symbols), found.part) == (100, "the first")
    ending = "gz" if pack is gzip.compress else "zst"
    records = put(tmp_path / f"a.jsonl.{ending}", pack(b'{"text": "abc"}\n' * 300))
    assert read_symbols(records).symbols[:4].tobytes() == b"abc\n"
    assert len(read_symbols(records, most=90).symbols) == 90
    damaged = put(tmp_path / "d.gz", pack(b"hello world " * 900)[:-9])
    with pytest.raises(FormatError, match=r"damaged|cut off"):
        read_symbols(damaged)


def test_archives_are_warned_of(tmp_path):
    assert (
        "compressed bytes look like noise"
        in read_symbols(put(tmp_path / "a.zip", b"PK\x03\x04" + bytes(99))).notes[0]
    )


def test_what_can_not_be_read(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_symbols(tmp_path / "none")
    with pytest.raises(InputError, match="is a folder"):
        read_symbols(tmp_path)
    for name in ("a.txt", "a.bin", "a.jsonl"):
        with pytest.raises(InputError, match=r"empty|no JSON records"):
            read_symbols(put(tmp_path / name, b""))


def test_shortening_keeps_both_ends(tmp_path):
    found = read_symbols(put(tmp_path / "a", bytes(range(200))))
    assert shortened(found, 500) is found
    assert shortened(found, 10).symbols[[0, -1]].tolist() == [0, 199]
