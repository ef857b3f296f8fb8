from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from entropilot.learning.data_comparison import compare_data
from entropilot.learning.symbol_files import SymbolStream
from entropilot.report.epiplexity import (
    epiplexity_document,
    epiplexity_markdown,
    print_epiplexity,
)
from entropilot.report.epiplexity_html import render_epiplexity


def document(*named, readings=2, kind="bytes"):
    streams = [SymbolStream(name, np.asarray(x), kind, "all") for name, x in named]
    return epiplexity_document(compare_data(streams, order=2, readings=readings, slots=1 << 16))


def noise(n=4000, most=256):
    return np.random.default_rng(0).integers(0, most, n)


HOSTILE = "<script>alert(1)<script>\x1b[31m.txt"
TABLE = np.tile(noise(200), 20)


def test_the_document_is_plain_and_its_keys_stand():
    found = document(("table", TABLE), ("noise", noise()))
    json.dumps(found, allow_nan=False)
    assert set(found) == {
        "schema", "headline", "symbols", "observer", "is_ranked", "data", "differences", "notes",
    }  # fmt: skip
    assert found["headline"][0].startswith("table holds the most learnable structure")
    one = found["data"][0]
    assert one["S_bits"]["low"] <= one["S_bits"]["value"] <= one["S_bits"]["high"]
    assert one["learnt"][-1]["S_bits"] == pytest.approx(one["S_bits"]["value"])
    assert found["differences"][0]["more"] == "table"


@pytest.mark.parametrize(
    ("named", "readings", "said"),
    [
        ([("a", TABLE), ("b", TABLE)], 2, "a and b can't be told apart"),
        ([("a", noise()), ("b", noise())], 2, "None of the data sets holds structure"),
        ([("a", TABLE), ("b", noise())], 1, "one reading gives no interval"),
        ([("a", TABLE)], 1, "a holds"),
    ],
)
def test_the_answer_in_words(named, readings, said):
    assert said in document(*named, readings=readings)["headline"][0]


def test_three_are_put_in_order():
    found = document(("n", noise()), ("t", TABLE), ("again", noise()))
    assert "By structure: t > n ≈ again." in found["headline"]


def test_every_form_is_safe_from_names(tmp_path):
    found = document((HOSTILE, TABLE), ("noise", noise()))
    page = render_epiplexity(found)
    assert "<script" not in page
    assert "\x1b" not in page
    assert page.count("<svg") == 4
    text = epiplexity_markdown(found)
    assert r"\<script\>" in text
    assert "\x1b" not in text
    console = Console(color_system=None, width=80)
    with console.capture() as said:
        print_epiplexity(found, console)
    assert "\x1b" not in said.get()
    assert "S, structure" in said.get()


def test_unranked_data_and_pure_noise_still_make_a_page():
    streams = [
        SymbolStream("a", noise(), "bytes", "all"),
        SymbolStream("b", noise(most=9000), "tokens", "all"),
    ]
    found = epiplexity_document(compare_data(streams, order=1, readings=2, slots=1 << 16))
    assert not found["is_ranked"]
    assert "nothing that this observer can learn" in render_epiplexity(found)
