"""One experiment, start to finish: its file, its plan, and a run that stops and goes on."""

from entropilot.experiments.config import (
    DEFAULT_FILE,
    ExperimentConfig,
    load_config,
    parse_config,
)
from entropilot.experiments.run import Plan, RunResult, plan, run_experiment

__all__ = [
    "DEFAULT_FILE",
    "ExperimentConfig",
    "Plan",
    "RunResult",
    "load_config",
    "parse_config",
    "plan",
    "run_experiment",
]
