"""One experiment, start to finish: its file, its plan, and a run that stops and goes on."""

from entropilot.experiments.config import ExperimentConfig
from entropilot.experiments.config_file import (
    DEFAULT_FILE,
    DIAGNOSIS_FILE,
    load_config,
    parse_config,
)
from entropilot.experiments.diagnosis_run import (
    DiagnosisPlan,
    DiagnosisResult,
    plan_diagnosis,
    run_diagnosis,
)
from entropilot.experiments.training_run import (
    TrainingPlan,
    TrainingResult,
    plan_training,
    run_training,
)

__all__ = [
    "DEFAULT_FILE",
    "DIAGNOSIS_FILE",
    "DiagnosisPlan",
    "DiagnosisResult",
    "ExperimentConfig",
    "TrainingPlan",
    "TrainingResult",
    "load_config",
    "parse_config",
    "plan_diagnosis",
    "plan_training",
    "run_diagnosis",
    "run_training",
]
