"""Diffusion spectral entropy and information of a layer's features, step by step, as a meter.

Source: arXiv 2312.04823; see ``information.spectral_entropy`` and ``spectral_information``.
Departs from the paper: the width of the kernel is a third of the median distance by default, since
with a fixed width the entropy follows the scale of the features, which grows in training.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.information.diffusion_spectrum import Sigma, as_points, kernel_width
from entropilot.information.spectral_entropy import dse
from entropilot.information.spectral_information import dsmi
from entropilot.learning.meters import LayerPass, Rows, feature_rows


@dataclass(frozen=True)
class RepresentationEntropyMeter:
    """DSE, DSMI with the labels, and the width of the kernel; bits.

    At most ``max_rows`` rows of features are held, a uniform sample of the passes of a recorded
    step, until the step is read. ``dse`` is at most log2 of ``rows``.

    Args:
        sigma: width of the kernel, a number or ``"median:c"``.
        t: power of the eigenvalues.
        max_rows: rows in the spectrum; 1,000 take about 0.06 s a layer.
        information: also measure DSMI where labels are given.
        rows: what a row of features is; see ``feature_rows``.
        name: first part of the metrics' names.

    Examples:
        >>> from torch import nn
        >>> from entropilot.learning.recorder import MeterRecorder
        >>> probe = (torch.randn(40, 4), torch.arange(40) % 2)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> meter = RepresentationEntropyMeter()
        >>> with MeterRecorder(model, None, [meter], ["1"], probe=probe) as recorder:
        ...     row = recorder.step()
        >>> sorted(row)[:2], 0 < row["representation/dse@1"] < 5.33
        (['representation/dse@1', 'representation/dsmi@1'], True)
    """

    sigma: Sigma = "median:1/3"
    t: float = 1
    max_rows: int = 1000
    information: bool = True
    rows: Rows = "auto"
    name: str = "representation"

    def init(self) -> dict[str, Any]:
        """Nothing seen."""
        return {}

    def observe(self, state: dict[str, Any], seen: LayerPass) -> dict[str, Any]:
        """Add the features of one pass to the sample."""
        features, labels = feature_rows(seen.output, seen.labels, self.rows)
        features = features.float().cpu()
        labels = None if labels is None else labels.cpu()
        if not state:
            state = {"features": features[:0], "labels": labels, "seen": 0}
            state["labels"] = None if labels is None else labels[:0]
        if (labels is None) != (state["labels"] is None):
            raise InputError("some passes of this step came with labels and some without")
        free = max(0, self.max_rows - state["seen"])
        kept = torch.cat([state["features"], features[:free]])
        told = None if labels is None else torch.cat([state["labels"], labels[:free]])
        self._replace(kept, told, features[free:], labels, free, state["seen"])
        return {"features": kept, "labels": told, "seen": state["seen"] + len(features)}

    def read(self, state: dict[str, Any]) -> tuple[Mapping[str, float], dict[str, Any]]:
        """The entropies of the sample, which is let go."""
        if not state:
            raise InputError("no pass was seen in this step")
        points = as_points(state["features"])
        with warnings.catch_warnings():  # a saturated layer is a finding, step after step
            warnings.simplefilter("ignore", UserWarning)
            width = kernel_width(points, self.sigma)
            found = {"dse": dse(points, width, self.t, max_n=None)}
            if state["labels"] is not None and self.information:
                groups = state["labels"].numpy()
                found["dsmi"] = dsmi(points, groups, width, self.t, discrete=True).value
        return found | {"sigma": width, "rows": float(len(points))}, self.init()

    def _replace(
        self,
        kept: Tensor,
        told: Tensor | None,
        features: Tensor,
        labels: Tensor | None,
        skipped: int,
        seen: int,
    ) -> None:
        """Reservoir: row number i of all takes the place of a random one with chance M / i."""
        if not len(features):
            return
        draw = torch.Generator().manual_seed(seen + skipped)
        number = torch.arange(len(features)) + seen + skipped + 1
        place = (torch.rand(len(features), generator=draw, dtype=torch.float64) * number).long()
        for row in torch.nonzero(place < self.max_rows)[:, 0].tolist():
            kept[place[row]] = features[row]
            if told is not None and labels is not None:
                told[place[row]] = labels[skipped + row]
