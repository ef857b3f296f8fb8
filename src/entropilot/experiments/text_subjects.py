"""Language models and tasks in words, as subjects of training."""

from __future__ import annotations

from entropilot.errors import ConfigurationError
from entropilot.experiments.config import ExperimentConfig
from entropilot.policy.models import PolicyModel
from entropilot.policy.training.bound_task import BoundTask


def load_text_subject(config: ExperimentConfig) -> tuple[PolicyModel, BoundTask]:
    """The language model as a policy, and its problems with their verifier."""
    raise ConfigurationError(f"{config.model.name} can't be trained yet")
