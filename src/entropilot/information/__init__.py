"""Ground floor: pure functions on arrays. Nothing here knows what a token or a fish is.

Arrays are numpy or torch and come back as the same kind; the last axis is the outcome axis unless
named; natural logarithms unless ``base=`` is given.
"""

from entropilot.information._backend import with_gradient
from entropilot.information._topk_kernels import IMPOSSIBLE, MASS_SLACK
from entropilot.information.divergence import (
    js_divergence,
    js_divergence_from_logits,
    js_share,
    kl_divergence,
    kl_estimate,
)
from entropilot.information.entropy import (
    cross_entropy,
    entropy,
    entropy_from_logits,
    mutual_information,
    surprisal,
    varentropy,
    varentropy_from_logits,
)
from entropilot.information.intervals import (
    BootstrapInterval,
    clopper_pearson,
    cluster_bootstrap,
    cluster_bootstrap_of,
    wilson,
)
from entropilot.information.masked import (
    check_entropy,
    check_logprob,
    masked_mean,
    masked_quantile,
)
from entropilot.information.odds import (
    MantelHaenszel,
    mantel_haenszel,
)
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
from entropilot.information.statistics import TokenStatistics, token_statistics
from entropilot.information.topk import Estimate, TopK, entropy_topk, jsd_topk
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
    "Estimate",
    "MantelHaenszel",
    "RocCurve",
    "SequenceBounds",
    "SequenceMeasures",
    "SequenceSignal",
    "TokenStatistics",
    "TopK",
    "auc",
    "auc_interval",
    "check_entropy",
    "check_logprob",
    "clopper_pearson",
    "cluster_bootstrap",
    "cluster_bootstrap_of",
    "cross_entropy",
    "delong",
    "entropy",
    "entropy_from_logits",
    "entropy_topk",
    "equal_count_buckets",
    "js_divergence",
    "js_divergence_from_logits",
    "js_share",
    "jsd_topk",
    "kl_divergence",
    "kl_estimate",
    "mantel_haenszel",
    "masked_mean",
    "masked_quantile",
    "mutual_information",
    "roc_curve",
    "sequence_bounds",
    "sequence_measures",
    "sequence_signal",
    "spearman",
    "surprisal",
    "token_statistics",
    "varentropy",
    "varentropy_from_logits",
    "wilson",
    "with_gradient",
]
