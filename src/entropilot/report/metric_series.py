"""The rows of any metrics file as curves: a quantity, at a layer or of the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from entropilot.learning.meanings import meaning_of
from entropilot.learning.meters import split_metric_name
from entropilot.policy.training.metrics_log import MEANINGS, canonical_name

WHOLE = ""  # the layer of what was measured of the whole run
LARGEST = 1e300  # beyond it an axis has no length that a float can hold


@dataclass(frozen=True)
class Series:
    """One quantity over steps.

    Args:
        quantity: its logged name, without the layer.
        meaning: with the unit; "" where nobody said.
        points: (step, value) by layer, in the model's order; finite values below 1e300 only.
    """

    quantity: str
    meaning: str
    points: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def group(self) -> str:
        """Meter or term it belongs to; "" of the run itself."""
        return self.quantity.partition("/")[0] if "/" in self.quantity else ""

    @property
    def short(self) -> str:
        """The name within its group."""
        return self.quantity.partition("/")[2] or self.quantity

    @property
    def values(self) -> list[float]:
        """Of all layers."""
        return [value for points in self.points.values() for _, value in points]

    @property
    def is_constant(self) -> bool:
        """Whether it never changes."""
        return len(set(self.values)) <= 1


def metric_series(rows: Sequence[Mapping[str, Any]]) -> list[Series]:
    """Every numeric quantity, in the order of its first appearance.

    Args:
        rows: of a metrics file; rows of one step are taken together.

    Examples:
        >>> found = metric_series([{"step": 1, "loss": 2.0, "a/b@fc": 0.5}, {"step": 2, "loss": 1}])
        >>> [(s.quantity, dict(s.points)) for s in found]
        [('loss', {'': [(1.0, 2.0), (2.0, 1.0)]}), ('a/b', {'fc': [(1.0, 0.5)]})]
    """
    table: dict[str, dict[str, dict[float, float]]] = {}
    for row in rows:
        step = float(row["step"])
        for name, value in row.items():
            if name == "step" or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            quantity, layer = split_metric_name(name)
            places = table.setdefault(quantity, {}).setdefault(layer or WHOLE, {})
            if abs(value) < LARGEST:  # false for NaN
                places[step] = float(value)
    return [
        Series(
            quantity=quantity,
            meaning=MEANINGS.get(canonical_name(quantity)) or meaning_of(quantity),
            points={layer: sorted(places.items()) for layer, places in layers.items()},
        )
        for quantity, layers in table.items()
    ]


def layers_of(series: Sequence[Series]) -> list[str]:
    """All layers, in the order of their first appearance.

    Examples:
        >>> layers_of([Series("a/b", "", {"fc": [], "head": []}), Series("loss", "", {"": []})])
        ['fc', 'head']
    """
    return list(dict.fromkeys(layer for s in series for layer in s.points if layer != WHOLE))
