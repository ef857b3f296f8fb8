"""Colours of the things that a report compares, and their names at the ends of lines.

Colours are classes ``own c0`` .. ``own c6``, one a thing throughout the page; from the eighth on
they come again, dashed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup

from entropilot.report.svg import WIDTH, Plot, element, text

N_COLOURS: Final = 7
LABEL_SIZE: Final = 14  # characters of a label at the end of a line
CHARACTER: Final = 7.0  # width of one, in picture units, on the wide side
LABEL_GAP: Final = 12.5  # between two labels


class Label(NamedTuple):
    """What stands at the end of a line.

    Examples:
        >>> Label("grpo", 0.5, "c0").name
        'grpo'
    """

    name: str
    value: float  # on the y scale
    kind: str


def colour(index: int) -> str:
    """Classes of the recipe at that place.

    Examples:
        >>> colour(1), colour(8)
        ('own c1', 'own c1 again')
    """
    return f"own c{index % N_COLOURS}" + (" again" if index >= N_COLOURS else "")


def short_names(labels: Sequence[str]) -> dict[str, str]:
    """A short name of each recipe, for the ends of lines; different labels have different names.

    Examples:
        >>> short_names(["grpo", "clip-higher eps_high=0.28"])
        {'grpo': 'grpo', 'clip-higher eps_high=0.28': 'clip-higher'}
        >>> list(short_names(["kl-cov ratio=0.2", "kl-cov ratio=0.02"]).values())
        ['kl-cov 0.2', 'kl-cov 0.02']
    """
    tries = (
        [label.partition(" ")[0] for label in labels],
        [re.sub(r"[\w.-]+=", "", label).replace(",", "") for label in labels],
        list(labels),
    )
    numbered = [f"{i}. {label}" for i, label in enumerate(labels, 1)]
    cut = ([_cut(name) for name in names] for names in (*tries, numbered))
    names = next((found for found in cut if len(set(found)) == len(labels)), numbered)
    return dict(zip(labels, names, strict=True))


def end_labels(plot: Plot, labels: Sequence[Label]) -> Markup:
    """Names at the right ends of lines, moved apart where they would cover each other."""
    x = WIDTH - plot.right + 6
    wanted = [plot.y(label.value) for label in labels]
    places = apart(wanted, plot.top - 6, plot.height - plot.bottom, LABEL_GAP)
    parts = []
    for label, want, place in zip(labels, wanted, places, strict=True):
        if abs(place - want) > 2:  # a thin line leads from the curve to its name
            ends = {"x1": x - 6, "y1": want, "x2": x - 1, "y2": place}
            parts.append(element("line", class_=f"leader {label.kind}", **ends))
        parts.append(text(label.name, x, place + 3.8, f"note {label.kind}"))
    return Markup("").join(parts)


def apart(wanted: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Places near the wanted ones, in their order, at least a gap apart and inside where they fit.

    Examples:
        >>> apart([10.0, 11.0, 50.0], 0.0, 100.0, 10.0)
        [5.5, 15.5, 50.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[int]] = []
    starts: list[float] = []
    for i in order:
        block = [i]
        start = wanted[i]
        while starts and start < starts[-1] + gap * len(blocks[-1]):
            block = blocks.pop() + block
            starts.pop()
            centre = sum(wanted[j] - gap * place for place, j in enumerate(block)) / len(block)
            start = min(max(centre, low), high - gap * (len(block) - 1))
        blocks.append(block)
        starts.append(start)
    places = [0.0] * len(wanted)
    for block, start in zip(blocks, starts, strict=True):
        for place, i in enumerate(block):
            places[i] = start + gap * place
    return places


def margin(names: Iterable[str]) -> float:
    """Room at the right for names at the ends of lines."""
    return 12.0 + CHARACTER * max(len(name) for name in names)


def _cut(name: str) -> str:
    return name if len(name) <= LABEL_SIZE else f"{name[: LABEL_SIZE - 1].rstrip('-_ ')}…"
