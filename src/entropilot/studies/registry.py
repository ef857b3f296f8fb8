"""The one table from a study's name to its code.

A study is imported only when it is asked for, so that listing the names costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Final

from entropilot.errors import ConfigurationError, unknown_name
from entropilot.studies.study import Study

_MODULES: Final[dict[str, str]] = {
    "instability": "entropilot.studies.instability",
    "cov-clip": "entropilot.studies.covariance_control",
    "denoising-curriculum": "entropilot.studies.denoising_order",
    "diversity-precision": "entropilot.studies.shaped_pretraining",
    "dse": "entropilot.studies.representation_entropy",
    "entropy-dynamics": "entropilot.studies.entropy_dynamics",
    "epiplexity": "entropilot.studies.epiplexity",
    "fish-school": "entropilot.studies.schooling_states",
    "ghosts": "entropilot.studies.convergence_radius",
    "invisible-leash": "entropilot.studies.invisible_leash",
    "lr-perceptron": "entropilot.studies.step_size_perceptron",
    "neural-collapse": "entropilot.studies.neural_collapse",
    "oreo": "entropilot.studies.offline_reasoning",
    "boltzmann-gas": "entropilot.studies.boltzmann_gas",
    "passuntil": "entropilot.studies.passuntil",
    "pear": "entropilot.studies.phase_reward",
    "reasoning-utility": "entropilot.studies.reasoning_utility",
    "siren": "entropilot.studies.anchored_entropy",
    "ska": "entropilot.studies.knowledge_accumulation",
    "spae": "entropilot.studies.step_credit",
    "statmech": "entropilot.studies.process_free_energy",
    "three-body": "entropilot.studies.learned_steps",
    "steer": "entropilot.studies.entropy_steering",
    "stepmix": "entropilot.studies.conservative_exploration",
    "stepnet": "entropilot.studies.stiff_depth",
}


def study_names() -> tuple[str, ...]:
    """Names of the studies that can be run, sorted."""
    return tuple(sorted(_MODULES))


def load_study(name: str) -> Study:
    """The study of that name.

    Raises:
        ConfigurationError: no study has that name; the message lists the near ones.
    """
    if name not in _MODULES:
        raise ConfigurationError(unknown_name("study", name, _MODULES))
    study = importlib.import_module(_MODULES[name]).STUDY
    if not isinstance(study, Study):
        raise TypeError(f"{_MODULES[name]}.STUDY is not a Study")
    return study
