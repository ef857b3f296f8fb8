"""Ground floor: pure functions on arrays. Nothing here knows what a token or a fish is.

Arrays are numpy or torch and come back as the same kind; the last axis is the outcome axis unless
named; natural logarithms unless ``base=`` is given.
"""

from entropilot.information._topk_kernels import IMPOSSIBLE, MASS_SLACK
from entropilot.information.topk_sequence import (
    SequenceBounds,
    SequenceMeasures,
    SequenceSignal,
    sequence_bounds,
    sequence_measures,
    sequence_signal,
)

__all__ = [
    "IMPOSSIBLE",
    "MASS_SLACK",
    "SequenceBounds",
    "SequenceMeasures",
    "SequenceSignal",
    "sequence_bounds",
    "sequence_measures",
    "sequence_signal",
]
