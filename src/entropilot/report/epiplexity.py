"""A comparison of data sets by learnable structure: plain JSON, Markdown and the terminal.

Keys of the JSON are stable within one ``schema`` number; new ones may be added. An interval is
``{"value", "low", "high"}``, a quantity that could not be computed is null. Bits throughout.

    schema      "entropilot/epiplexity/1"
    headline    sentences: the answer first
    symbols     D, symbols of each data set that were coded
    observer    {kind, longest_context, memory_slots, readings, block}
    is_ranked   whether the data sets have the same kind of symbols
    data        list, most structure first, of {name, kind, part, alphabet, order, S_bits, H_bits,
                H_bits_per_symbol, structure_share, orders: [{order, S_bits, H_bits}],
                learnt: [{symbols, S_bits}]}
    differences list of {more, less, S_bits}: neighbours in the ranking
    notes       sentences
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entropilot.information import SpreadMean
from entropilot.learning.data_comparison import DataComparison, MeasuredData
from entropilot.report.json import finite
from entropilot.report.markdown import escaped, own_sentence, table
from entropilot.report.visible import prose, visible
from entropilot.report.wording import ABSENT, count, decimal, percent

SCHEMA: Final = "entropilot/epiplexity/1"
LEARNT_POINTS: Final = 40
ONE: Final = {"bytes": "byte", "characters": "character", "tokens": "token"}


def epiplexity_document(comparison: DataComparison) -> dict[str, Any]:
    """Plain values of a comparison; the keys stand at the top of this module.

    Args:
        comparison: of ``compare_data``.

    Examples:
        >>> from entropilot.learning.data_comparison import compare_data
        >>> from entropilot.learning.symbol_files import SymbolStream
        >>> rng = np.random.default_rng(0)
        >>> noise = SymbolStream("noise.bin", rng.integers(0, 256, 9000), "bytes", "all")
        >>> found = epiplexity_document(compare_data([noise], order=2, readings=2))
        >>> found["headline"][0]
        'noise.bin: nothing that this observer can learn; uniform noise describes it best.'
    """
    first = comparison.data[0].structure
    names = [m.stream.name for m in comparison.data]
    document = {
        "schema": SCHEMA,
        "symbols": first.n_symbols,
        "observer": {
            "kind": "context models with back-off",
            "longest_context": int(first.orders[-1]),
            "memory_slots": comparison.slots,
            "readings": comparison.readings,
            "block": first.block,
        },
        "is_ranked": comparison.is_ranked,
        "data": [_data(m) for m in comparison.data],
        "differences": [
            {"more": a, "less": b, "S_bits": _interval(d)}
            for a, b, d in zip(names[:-1], names[1:], comparison.differences, strict=False)
        ],
        "notes": list(comparison.notes),
    }
    plain: dict[str, Any] = finite(document)
    return {"schema": SCHEMA, "headline": headline(plain), **plain}


def headline(document: Mapping[str, Any]) -> list[str]:
    """The answer in sentences, from the document.

    Examples:
        >>> one = {"name": "a", "kind": "bytes", "order": 2, "alphabet": 256,
        ...        "S_bits": {"value": 5e3, "low": 4e3, "high": 6e3},
        ...        "H_bits_per_symbol": {"value": 1.5, "low": 1.4, "high": 1.6}}
        >>> headline({"data": [one], "is_ranked": True, "differences": [], "symbols": 9000})[0]
        'a holds 5.0 kbit [4.0, 6.0] of learnable structure in 9,000 bytes.'
    """
    data = document["data"]
    if len(data) == 1 or not document["is_ranked"]:
        return [sentence for one in data for sentence in _alone(one, document["symbols"])]
    return [*_ranking(document), *_most_noise(data)]


def epiplexity_markdown(document: Mapping[str, Any]) -> str:
    """The comparison as Markdown, answer first.

    Args:
        document: of ``epiplexity_document``.
    """
    parts = [f"# {own_sentence(document['headline'][0])}"]
    parts += [own_sentence(s) for s in document["headline"][1:]]
    head, sides, rows = _table(document)
    safe = [tuple(escaped(cell, limit=120) for cell in row) for row in rows]
    parts += [own_sentence(setting(document)), table(head, sides, safe)]
    parts.append(own_sentence(_read(document)))
    if document["notes"]:
        parts += ["## What to know", "\n".join(f"- {own_sentence(x)}" for x in document["notes"])]
    return "\n\n".join(parts) + "\n"


def print_epiplexity(document: Mapping[str, Any], console: Console) -> None:
    """Print the answer, the table, and what to know.

    Args:
        document: of ``epiplexity_document``.
        console: where to.
    """
    for i, sentence in enumerate(document["headline"]):
        console.print(Text(prose(sentence), "bold" if i == 0 else ""))
    console.print(Text(prose(setting(document)), "dim"))
    console.print()
    head, sides, rows = _table(document)
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for title, side in zip(head, sides, strict=True):
        shown.add_column(
            title, justify="right" if side == "r" else "left", overflow="fold", no_wrap=side == "r"
        )
    for row in rows:
        shown.add_row(*(Text(visible(cell, limit=80)) for cell in row))
    console.print(shown)
    console.print()
    console.print(Text(prose(_read(document)), "dim"))
    for sentence in document["notes"]:
        console.print(Text(f"\n{prose(sentence)}", "yellow"))


def setting(document: Mapping[str, Any]) -> str:
    """What was measured, on how much, by which observer.

    Examples:
        >>> setting({"symbols": 9000, "observer": {"longest_context": 6, "readings": 5}})
        'D = 9,000 symbols of each; observer: context models of up to 6 symbols with back-off, the \
best order by S + H; 95 % intervals over 5 orders of reading and over blocks of the data.'
    """
    seen = document["observer"]
    return (
        f"D = {count(document['symbols'])} symbols of each; observer: context models of up to "
        f"{seen['longest_context']} symbols with back-off, the best order by S + H; 95 % intervals "
        f"over {seen['readings']} orders of reading and over blocks of the data."
    )


def bits(value: float | None, digits: int = 1) -> str:
    """Bits in a unit that is read easily.

    Examples:
        >>> bits(812.0), bits(204_600.0), bits(3.2e6), bits(0.0)
        ('812 bit', '204.6 kbit', '3.2 Mbit', '0 bit')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    scale, name = _scale(value)
    return f"{decimal(value / scale, 0 if scale == 1 else digits)} {name}"


def bits_interval(found: Mapping[str, float | None]) -> str:
    """Bits with their interval, in one unit.

    Examples:
        >>> bits_interval({"value": 5e3, "low": 4e3, "high": 6e3})
        '5.0 kbit [4.0, 6.0]'
    """
    value, low, high = found["value"], found["low"], found["high"]
    if value is None or low is None or high is None:
        return bits(value)
    if low == high:
        return bits(value)
    scale, _ = _scale(value)
    digits = 0 if scale == 1 else 1
    return f"{bits(value)} [{decimal(low / scale, digits)}, {decimal(high / scale, digits)}]"


def _scale(value: float) -> tuple[float, str]:
    for scale, name in ((1e9, "Gbit"), (1e6, "Mbit"), (1e3, "kbit")):
        if abs(value) >= scale:
            return scale, name
    return 1.0, "bit"


def _alone(one: Mapping[str, Any], n: int) -> list[str]:
    if one["order"] < 0:
        return [
            f"{one['name']}: nothing that this observer can learn; uniform noise describes it best."
        ]
    left = one["H_bits_per_symbol"]
    unit = ONE[one["kind"]]
    back = f"{one['order']} {unit if one['order'] == 1 else one['kind']} back"
    return [
        f"{one['name']} holds {bits_interval(one['S_bits'])} of learnable structure in {count(n)} "
        f"{one['kind']}.",
        f"After learning it, {_around(left)} bits a {unit} stay noise to an observer that looks "
        f"{back if one['order'] else 'at frequencies only'}, of {math.log2(one['alphabet']):.1f} "
        "for uniform noise.",
    ]


def _ranking(document: Mapping[str, Any]) -> list[str]:
    data = document["data"]
    top, second = data[0], data[1]
    gap = document["differences"][0]["S_bits"]
    if top["order"] < 0:
        return ["None of the data sets holds structure that this observer can learn."]
    clear = gap["low"] is not None and gap["low"] > 0
    if clear:
        said = [
            f"{top['name']} holds the most learnable structure: {bits_interval(top['S_bits'])}, "
            f"against {bits_interval(second['S_bits'])} in {second['name']}.",
            f"The difference is {bits_interval(gap)}.",
        ]
    elif gap["low"] is None:
        said = [
            f"{top['name']} holds the most learnable structure, {bits(top['S_bits']['value'])}, "
            f"against {bits(second['S_bits']['value'])} in {second['name']}; one reading gives no "
            "interval, so chance is not excluded."
        ]
    else:
        said = [
            f"{top['name']} and {second['name']} can't be told apart by structure: "
            f"{bits_interval(top['S_bits'])} against {bits_interval(second['S_bits'])}.",
            f"The interval of the difference, {bits_interval(gap)}, contains 0.",
        ]
    if len(data) > 2:
        order = [data[0]["name"]]
        for pair in document["differences"]:
            low = pair["S_bits"]["low"]
            order.append((" > " if low is not None and low > 0 else " ≈ ") + pair["less"])
        said.append(f"By structure: {''.join(order)}.")
    return said


def _most_noise(data: list[Mapping[str, Any]]) -> list[str]:
    worst = max(data, key=lambda one: one["H_bits_per_symbol"]["value"])
    least = min(data, key=lambda one: one["H_bits_per_symbol"]["value"])
    if worst["H_bits_per_symbol"]["value"] - least["H_bits_per_symbol"]["value"] < 0.005:
        return []
    unit = ONE[worst["kind"]]
    return [
        f"Most noise is left in {worst['name']}: {_around(worst['H_bits_per_symbol'])} bits a "
        f"{unit}; least in {least['name']}: {_around(least['H_bits_per_symbol'])}."
    ]


def _read(document: Mapping[str, Any]) -> str:
    return "Read: " + "; ".join(f"{o['name']} {o['kind']}, {o['part']}" for o in document["data"])


def _table(document: Mapping[str, Any]) -> tuple[list[str], str, list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (
            one["name"],
            bits_interval(one["S_bits"]),
            decimal(one["H_bits_per_symbol"]["value"], 3),
            percent(one["structure_share"], 1),
            "uniform" if one["order"] < 0 else str(one["order"]),
        )
        for one in document["data"]
    ]
    return ["data", "S, structure", "H, bits a symbol", "S of S + H", "order"], "lrrrr", rows


def _around(found: Mapping[str, float | None]) -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if low is None or high is None or low == high:
        return decimal(value, 3)
    return f"{decimal(value, 3)} [{decimal(low, 3)}, {decimal(high, 3)}]"


def _data(measured: MeasuredData) -> dict[str, Any]:
    found, stream = measured.structure, measured.stream
    s, h, n = found.structure_interval(), found.entropy_interval(), found.n_symbols
    learnt = found.learnt()
    at = np.unique(np.geomspace(1, len(learnt), LEARNT_POINTS).round().astype(int))
    return {
        "name": stream.name,
        "kind": stream.kind,
        "part": stream.part,
        "alphabet": found.alphabet,
        "order": found.order,
        "S_bits": _interval(s),
        "H_bits": _interval(h),
        "H_bits_per_symbol": _interval(SpreadMean(h.value / n, h.low / n, h.high / n, 0, 0)),
        "structure_share": s.value / (s.value + h.value) if s.value + h.value > 0 else 0.0,
        "orders": [
            {
                "order": int(order),
                "S_bits": _interval(found.structure_interval(j)),
                "H_bits": _interval(found.entropy_interval(j)),
            }
            for j, order in enumerate(found.orders)
        ],
        "learnt": [{"symbols": int(i) * found.block, "S_bits": float(learnt[i - 1])} for i in at],
    }


def _interval(found: SpreadMean) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}
