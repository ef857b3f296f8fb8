"""Local language models: fetching, loading, sampling and inspecting them."""

from entropilot.models.inspector import NaiveInspector, TreeInspector
from entropilot.models.loaders import LanguageModel, as_language_model, load_model
from entropilot.models.sampler import sample, sample_batches

__all__ = [
    "LanguageModel",
    "NaiveInspector",
    "TreeInspector",
    "as_language_model",
    "load_model",
    "sample",
    "sample_batches",
]
