"""Ground floor: pure functions on arrays. Nothing here knows what a token or a fish is.

Arrays are numpy or torch and come back as the same kind; the last axis is the outcome axis unless
named; natural logarithms unless ``base=`` is given.
"""

from entropilot.information._topk_kernels import IMPOSSIBLE, MASS_SLACK
from entropilot.information.intervals import (
    BootstrapInterval,
    clopper_pearson,
    cluster_bootstrap,
    cluster_bootstrap_of,
    wilson,
)
from entropilot.information.odds import MantelHaenszel, mantel_haenszel
from entropilot.information.ranking import (
    AucInterval,
    Buckets,
    RocCurve,
    auc,
    auc_interval,
    delong,
    equal_count_buckets,
    roc_curve,
    spearman,
)
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
    "AucInterval",
    "BootstrapInterval",
    "Buckets",
    "MantelHaenszel",
    "RocCurve",
    "SequenceBounds",
    "SequenceMeasures",
    "SequenceSignal",
    "auc",
    "auc_interval",
    "clopper_pearson",
    "cluster_bootstrap",
    "cluster_bootstrap_of",
    "delong",
    "equal_count_buckets",
    "mantel_haenszel",
    "roc_curve",
    "sequence_bounds",
    "sequence_measures",
    "sequence_signal",
    "spearman",
    "wilson",
]
