"""Information measures and statistics of samples: arrays in, arrays of the same kind out."""

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

__all__ = [
    "AucInterval",
    "BootstrapInterval",
    "Buckets",
    "MantelHaenszel",
    "RocCurve",
    "auc",
    "auc_interval",
    "clopper_pearson",
    "cluster_bootstrap",
    "cluster_bootstrap_of",
    "delong",
    "equal_count_buckets",
    "mantel_haenszel",
    "roc_curve",
    "spearman",
    "wilson",
]
