"""Which of these data sets holds more learnable structure? Compared at equal length.

Source: arXiv 2601.03220; the observer is that of ``learnable_structure``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from entropilot.errors import InputError
from entropilot.information import (
    LearnableStructure,
    SpreadMean,
    learnable_structure,
    structure_difference,
)
from entropilot.information.learnable_structure import SHORTEST
from entropilot.learning.symbol_files import SymbolStream, shortened

BYTES: Final = 256
VERY_DIFFERENT: Final = 4.0  # ratio of largest token ids that points at two vocabularies


@dataclass(frozen=True)
class MeasuredData:
    """One data set: what was read, and its two-part code."""

    stream: SymbolStream
    structure: LearnableStructure


@dataclass(frozen=True)
class DataComparison:
    """Data sets with their structure, most first where they can be ranked.

    ``differences`` holds S of each data set minus S of the next one, in bits; it is empty where
    the data sets have different kinds of symbols, which are not ranked.
    """

    data: tuple[MeasuredData, ...]
    is_ranked: bool
    differences: tuple[SpreadMean, ...]
    notes: tuple[str, ...]
    readings: int
    slots: int


def compare_data(
    streams: Sequence[SymbolStream],
    *,
    vocabulary: int | None = None,
    order: int = 6,
    readings: int = 5,
    slots: int = 1 << 23,
    progress: Callable[[float, str], None] = lambda _share, _doing: None,
) -> DataComparison:
    """Measure data sets at the length of the shortest, and rank them by structure.

    Args:
        streams: one or more; all cut to the same number of symbols, since S grows with it.
        vocabulary: size of the tokens' alphabet; the largest id of all plus 1 by default.
        order: longest context that the observer tries.
        readings: random orders of reading.
        slots: of the observer's memory, 16 bytes each.
        progress: called with the share done and what is being done.

    Raises:
        InputError: no streams, one that is too short, or ids outside the vocabulary.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> noise = SymbolStream("noise", rng.integers(0, 256, 9000), "bytes", "all")
        >>> text = SymbolStream("text", np.tile(rng.integers(97, 123, 300), 30), "bytes", "all")
        >>> found = compare_data([noise, text], order=3, readings=2)
        >>> [x.stream.name for x in found.data], found.differences[0].low > 0
        (['text', 'noise'], True)
    """
    if not streams:
        raise InputError("no data sets were given; name at least one")
    streams = _named_apart(streams)
    n = min(len(s.symbols) for s in streams)
    shortest = min(streams, key=lambda s: len(s.symbols))
    if n < SHORTEST:
        raise InputError(
            f"{shortest.name} has {n:,} {shortest.kind}; at least {SHORTEST:,} are needed to tell "
            "what can be learnt from what is noise"
        )
    notes = [note for s in streams for note in s.notes]
    longer = [s.name for s in streams if len(s.symbols) > n]
    if longer:
        notes.append(
            f"Compared at equal length: {', '.join(longer)} cut to {n:,} symbols, as many as "
            f"{shortest.name} has, since structure grows with length."
        )
    cut = _one_alphabet([shortened(s, n) for s in streams])
    alphabets = _alphabets(cut, vocabulary, notes)
    measured = []
    for i, (stream, alphabet) in enumerate(zip(cut, alphabets, strict=True)):

        def part(share: float, doing: str, i: int = i, name: str = stream.name) -> None:
            progress((i + share) / len(cut), f"{name}, {doing}")

        found = learnable_structure(
            stream.symbols, alphabet, order=order, readings=readings, slots=slots, progress=part
        )
        measured.append(MeasuredData(stream, found))
        if found.missed > 0.01:
            notes.append(
                f"{stream.name}: {found.missed:.0%} of what the observer met found no room in its "
                "memory; its long contexts know less than they could. Give it "
                "more (--memory)"
            )
    is_ranked = len({s.kind for s in cut}) == 1
    if not is_ranked:
        kinds = ", ".join(f"{s.name} {s.kind}" for s in cut)
        notes.append(
            f"The data sets have different symbols ({kinds}), so they are not ranked; read them "
            "raw (--raw) to compare the bytes of all."
        )
        return DataComparison(tuple(measured), False, (), tuple(notes), readings, slots)
    measured.sort(key=lambda m: -m.structure.structure_interval().value)
    pairs = itertools.pairwise(measured)
    differences = tuple(structure_difference(a.structure, b.structure) for a, b in pairs)
    return DataComparison(tuple(measured), True, differences, tuple(notes), readings, slots)


def _named_apart(streams: Sequence[SymbolStream]) -> list[SymbolStream]:
    """File names without folders where that tells them apart; a name given twice is numbered."""
    names = [Path(s.name).name or s.name for s in streams]
    if len(set(names)) < len(names):
        names = [s.name for s in streams]
    for i, name in enumerate(names):
        before = names[:i].count(name)
        names[i] = f"{name} ({before + 1})" if before else name
    return [replace(s, name=name) for s, name in zip(streams, names, strict=True)]


def _one_alphabet(streams: list[SymbolStream]) -> list[SymbolStream]:
    """Characters are numbered by those that occur in any of the data sets."""
    texts = [s.symbols for s in streams if s.kind == "characters"]
    if not texts:
        return streams
    known = np.unique(np.concatenate([np.unique(x) for x in texts]))
    return [
        replace(s, symbols=np.searchsorted(known, s.symbols)) if s.kind == "characters" else s
        for s in streams
    ]


def _alphabets(
    streams: Sequence[SymbolStream], vocabulary: int | None, notes: list[str]
) -> list[int]:
    largest = {s.name: int(s.symbols.max()) for s in streams}
    tokens = {s.name: largest[s.name] + 1 for s in streams if s.kind == "tokens"}
    of_tokens = max([2, *tokens.values()])
    if vocabulary is not None and tokens:
        if vocabulary < of_tokens:
            name = max(tokens, key=lambda name: tokens[name])
            raise InputError(
                f"{name} has the token id {tokens[name] - 1}, but the vocabulary is {vocabulary}; "
                f"expected at least {of_tokens}"
            )
        of_tokens = vocabulary
    if len(tokens) > 1 and max(tokens.values()) > VERY_DIFFERENT * min(tokens.values()):
        said = ", ".join(f"{name} {size - 1:,}" for name, size in tokens.items())
        notes.append(
            f"The largest token ids differ much ({said}): are these two vocabularies? Then the "
            "comparison says little."
        )
    characters = max([1, *(largest[s.name] for s in streams if s.kind == "characters")]) + 1
    of = {"bytes": BYTES, "characters": characters, "tokens": of_tokens}
    return [of[s.kind] for s in streams]
