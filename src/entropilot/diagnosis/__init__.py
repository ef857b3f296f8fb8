"""Which traces look failing, where, how sure; and what acting on it would have saved."""

from entropilot.diagnosis.assess import (
    assess,
)
from entropilot.diagnosis.assessment import (
    Assessment,
    Bucket,
    GroupView,
    Interval,
    Replay,
    ReplayPoint,
    Signal,
    Timing,
)
from entropilot.diagnosis.correctness import (
    check_answers,
    same_answer,
)
from entropilot.diagnosis.diagnose import (
    Diagnosis,
    diagnose,
)
from entropilot.diagnosis.labels import (
    JoinedLabels,
    correct_from_reward,
    join_labels,
)
from entropilot.diagnosis.replay import (
    replay_drop,
    replay_route,
)
from entropilot.diagnosis.replay_stop import (
    replay_early_stop,
    replay_prefix_stop,
)
from entropilot.diagnosis.replay_vote import (
    replay_vote,
)
from entropilot.diagnosis.support_compare import (
    compare_support,
)
from entropilot.diagnosis.support_report import (
    CurvePoint,
    Pair,
    SupportReport,
)
from entropilot.diagnosis.support_samples import (
    SupportSamples,
    support_samples,
)

__all__ = [
    "Assessment",
    "Bucket",
    "CurvePoint",
    "Diagnosis",
    "GroupView",
    "Interval",
    "JoinedLabels",
    "Pair",
    "Replay",
    "ReplayPoint",
    "Signal",
    "SupportReport",
    "SupportSamples",
    "Timing",
    "assess",
    "check_answers",
    "compare_support",
    "correct_from_reward",
    "diagnose",
    "join_labels",
    "replay_drop",
    "replay_early_stop",
    "replay_prefix_stop",
    "replay_route",
    "replay_vote",
    "same_answer",
    "support_samples",
]
