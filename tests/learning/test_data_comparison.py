from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.learning.data_comparison import compare_data
from entropilot.learning.symbol_files import SymbolStream


def stream(name, symbols, kind="bytes", *notes):
    return SymbolStream(name, np.asarray(symbols), kind, "all", notes)


def noise(n, most=256, seed=0):
    return np.random.default_rng(seed).integers(0, most, n)


def quick(*streams, **options):
    return compare_data(streams, order=2, readings=2, slots=1 << 16, **options)


def test_ranked_at_the_length_of_the_shortest():
    table = np.tile(noise(300, seed=1), 40)
    found = quick(stream("noise", noise(9000)), stream("table", table))
    assert [m.stream.name for m in found.data] == ["table", "noise"]
    assert found.differences[0].low > 0
    assert {m.structure.n_symbols for m in found.data} == {9000}
    assert "equal length: table cut to 9,000 symbols" in found.notes[0]


def test_the_same_data_twice_can_not_be_told_apart():
    text = stream("a", noise(8000, 4).cumsum() % 7)
    found = quick(text, stream("b", text.symbols))
    assert found.differences[0].value == 0
    assert found.differences[0].low <= 0 <= found.differences[0].high


def test_different_symbols_are_measured_and_not_ranked():
    found = quick(stream("a", noise(4000)), stream("b", noise(4000, 9000), "tokens"))
    assert not found.is_ranked
    assert found.differences == ()
    assert "not ranked" in found.notes[-1]


def test_tokens_share_the_largest_alphabet_and_large_gaps_are_said():
    small, large = stream("a", noise(4000, 50), "tokens"), stream("b", noise(4000, 90), "tokens")
    found = quick(small, large)
    assert {m.structure.alphabet for m in found.data} == {90}
    assert not found.notes
    far = quick(small, stream("c", noise(4000, 50_000), "tokens"))
    assert "two vocabularies" in far.notes[-1]
    fixed = quick(small, large, vocabulary=1000)
    assert {m.structure.alphabet for m in fixed.data} == {1000}
    with pytest.raises(InputError, match="the vocabulary is 10"):
        quick(small, vocabulary=10)


def test_characters_are_numbered_by_those_that_occur():
    found = quick(
        stream("a", np.array([97, 0x1F600, 8364] * 900), "characters"),
        stream("b", np.array([97, 98, 99] * 900), "characters"),
    )
    assert {m.structure.alphabet for m in found.data} == {5}


def test_names_are_told_apart():
    x = noise(3000)
    found = quick(stream("x/a.txt", x), stream("y/b.txt", x))
    assert {m.stream.name for m in found.data} == {"a.txt", "b.txt"}
    found = quick(stream("x/a.txt", x), stream("y/a.txt", x))
    assert {m.stream.name for m in found.data} == {"x/a.txt", "y/a.txt"}
    found = quick(stream("a.txt", x), stream("a.txt", x), stream("b.txt", x))
    assert {m.stream.name for m in found.data} == {"a.txt", "a.txt (2)", "b.txt"}


def test_what_is_too_short_or_missing():
    with pytest.raises(InputError, match="b has 30 bytes; at least 2,000"):
        quick(stream("a", noise(4000)), stream("b", noise(30)))
    with pytest.raises(InputError, match="at least one"):
        compare_data([])


def test_a_small_memory_is_said():
    found = compare_data([stream("a", noise(9000))], order=6, readings=1, slots=64)
    assert "found no room" in found.notes[0]
