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
from entropilot.information.masked import (
    check_entropy,
    check_logprob,
    masked_mean,
    masked_quantile,
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
    "Estimate",
    "SequenceBounds",
    "SequenceMeasures",
    "SequenceSignal",
    "TokenStatistics",
    "TopK",
    "check_entropy",
    "check_logprob",
    "cross_entropy",
    "entropy",
    "entropy_from_logits",
    "entropy_topk",
    "js_divergence",
    "js_divergence_from_logits",
    "js_share",
    "jsd_topk",
    "kl_divergence",
    "kl_estimate",
    "masked_mean",
    "masked_quantile",
    "mutual_information",
    "sequence_bounds",
    "sequence_measures",
    "sequence_signal",
    "surprisal",
    "token_statistics",
    "varentropy",
    "varentropy_from_logits",
    "with_gradient",
]
