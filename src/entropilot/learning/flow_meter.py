"""Knowledge and entropy flow as a meter: how a layer's pre-activations move from step to step.

Source: arXiv 2504.03214, in monitor mode: label-free, for any network and any optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from entropilot.errors import InputError
from entropilot.learning.knowledge_flow import flow_metrics
from entropilot.learning.meters import LayerPass, Rows, feature_rows


@dataclass(frozen=True)
class KnowledgeFlowMeter:
    """SKA's metrics of a layer between two recorded steps.

    Needs a probe: the same examples must pass at every recorded step. The first ``max_rows`` rows
    are held from one step to the next. Choose layers whose output goes *into* an activation. Sums
    over rows and neurons are divided by their number, so that layers of different width compare:
    ``entropy`` is bits a neuron and example.

    Args:
        max_rows: rows that are held.
        rows: what a row is; see ``feature_rows``.
        name: first part of the metrics' names.

    Examples:
        >>> from torch import nn
        >>> from entropilot.learning.recorder import MeterRecorder
        >>> model = nn.Linear(3, 2)
        >>> probe = (torch.ones(4, 3), None)
        >>> with MeterRecorder(model, None, [KnowledgeFlowMeter()], [""], probe=probe) as recorder:
        ...     _ = recorder.step()
        ...     with torch.no_grad():
        ...         _ = model.weight.add_(0.1)
        ...     row = recorder.step()
        >>> round(row["flow/flow_norm@model"], 3)
        0.3
    """

    max_rows: int = 512
    rows: Rows = "auto"
    name: str = "flow"

    def init(self) -> dict[str, Any]:
        """Nothing seen."""
        return {"now": None, "before": None, "steps": []}

    def observe(self, state: dict[str, Any], seen: LayerPass) -> dict[str, Any]:
        """Hold the rows of this pass."""
        found, _ = feature_rows(seen.output, None, self.rows)
        held = state["now"]
        free = self.max_rows - (0 if held is None else len(held))
        rows = found[: max(0, free)].clone()
        now = rows if held is None else torch.cat([held, rows])
        steps = [*state["steps"], seen.step][-2:] if held is None else state["steps"]
        return {"now": now, "before": state["before"], "steps": steps}

    def read(self, state: dict[str, Any]) -> tuple[Mapping[str, float], dict[str, Any]]:
        """The metrics since the last recorded step; none at the first."""
        now, before, steps = state["now"], state["before"], state["steps"]
        if now is None:
            raise InputError("no pass was seen in this step")
        after = {"now": None, "before": now, "steps": steps}
        if before is None:
            return {}, after
        if now.shape != before.shape:
            raise InputError(
                f"the probe gave {tuple(now.shape)} numbers and {tuple(before.shape)} before; pass "
                "the same examples at every recorded step"
            )
        eta = float(steps[-1] - steps[-2]) if len(steps) > 1 else 1.0
        found = flow_metrics(now, before, eta=eta)
        n = now.numel()
        means = {name: found[name] / n for name in ("entropy", "tensor_net", "lagrangian")}
        root = n**0.5
        norms = {name: found[name] / root for name in ("z_norm", "flow_norm")}
        return means | norms | {"cosine": found["cosine"]}, after
