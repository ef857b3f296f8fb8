"""Neural collapse as a meter: geometry of class features, layer by layer, while a network trains.

Source: arXiv 2301.00437; see ``collapse_metrics`` for the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from entropilot.errors import InputError
from entropilot.learning.collapse_metrics import Target
from entropilot.learning.collapse_stream import StreamingNC
from entropilot.learning.meters import LayerPass, Rows, feature_rows


@dataclass(frozen=True)
class CollapseMeter:
    """NC1 to NC3 of a layer's features, in one pass over whatever passes the layer.

    At a layer of ``heads`` the features are what goes *into* it and its weights are the classifier,
    so that the alignment of both is measured too; at any other layer they are what comes out.

    Args:
        n_classes: K.
        heads: dotted names of linear classifiers.
        targets: ``"etf"`` where the classifier has a bias, ``"of"`` where it has none, or the
            closed form of an imbalanced problem.
        rows: what a row of features is; see ``feature_rows``.
        only_present: leave out classes without samples, as among the words of a vocabulary.
        name: first part of the metrics' names.

    Examples:
        >>> import torch
        >>> from entropilot.learning.recorder import MeterRecorder
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> probe = (torch.randn(30, 4), torch.arange(30) % 3)
        >>> meter = CollapseMeter(3, heads=("2",))
        >>> with MeterRecorder(model, None, [meter], ["1", "2"], probe=probe) as recorder:
        ...     row = recorder.step()
        >>> sorted(name for name in row if name.startswith("collapse/nc"))
        ['collapse/nc1@1', 'collapse/nc1@2', 'collapse/nc2_h@1', 'collapse/nc2_h@2', \
'collapse/nc2_w@2', 'collapse/nc3@2']
    """

    n_classes: int
    heads: tuple[str, ...] = ()
    targets: Target = "etf"
    rows: Rows = "auto"
    only_present: bool = False
    name: str = "collapse"

    def init(self) -> dict[str, Any]:
        """Nothing seen."""
        return {}

    def observe(self, state: dict[str, Any], seen: LayerPass) -> dict[str, Any]:
        """Add the features of one pass."""
        if seen.labels is None:
            raise InputError(
                "collapse needs labels; give them with the probe, or tell(labels=...) before a pass"
            )
        is_head = seen.layer in self.heads
        weight = None
        if is_head:
            if not isinstance(seen.module, nn.Linear):
                raise InputError(f"the head is {type(seen.module).__name__}; it must be a Linear")
            weight = seen.module.weight.detach()
        made = seen.inputs[0] if is_head else seen.output
        features, labels = feature_rows(made, seen.labels, self.rows)
        if state:
            stream = StreamingNC.from_state(state["sums"])
        else:
            stream = StreamingNC(self.n_classes, features.shape[1], features.device)
        stream.update(features, labels)
        return {"sums": stream.state_dict(), "weight": weight}

    def read(self, state: dict[str, Any]) -> tuple[Mapping[str, float], dict[str, Any]]:
        """The metrics of all passes since the last reading; the sums begin anew."""
        if not state:
            raise InputError("no pass was seen in this step")
        stream = StreamingNC.from_state(state["sums"])
        found = stream.metrics(state["weight"], self.targets, only_present=self.only_present)
        if self.only_present:
            found["n_classes"] = float((stream.counts > 0).sum())
        return found, self.init()
