"""Times at which a forward-only layer settles: least entropy, fastest knowledge, net of zero.

Source: arXiv 2504.03214, Section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from entropilot.learning.forward_only import SKATrace
from entropilot.learning.knowledge_flow import zero_crossings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CharacteristicTimes:
    """Times of a trace, in the units of eta times steps.

    Args:
        entropy_minimum: [L] of the least step entropy.
        flow_peak: [L] of the largest knowledge flow.
        net_crossings: [L] times at which the tensor net (the code's sign) crosses 0.
        net_crossings_paper: [L] the same with the paper's sign.
    """

    entropy_minimum: Floats
    flow_peak: Floats
    net_crossings: tuple[Floats, ...]
    net_crossings_paper: tuple[Floats, ...]


def characteristic_times(trace: SKATrace) -> CharacteristicTimes:
    """Characteristic times of every layer of a fit.

    Examples:
        >>> from entropilot.learning.forward_only import SKANet
        >>> trace = SKANet([4], 2).fit(np.ones((3, 2)), eta=0.1, steps=40)
        >>> characteristic_times(trace).entropy_minimum.shape
        (1,)
    """
    t, m = trace.time, trace.metrics

    def crossings(name: str) -> tuple[Floats, ...]:
        return tuple(zero_crossings(t, row) for row in m[name])

    return CharacteristicTimes(
        entropy_minimum=t[m["entropy"].argmin(1)],
        flow_peak=t[m["flow_norm"].argmax(1)],
        net_crossings=crossings("tensor_net"),
        net_crossings_paper=crossings("tensor_net_paper"),
    )
