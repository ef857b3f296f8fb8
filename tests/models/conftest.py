"""A real language model, for the tests that need one."""

from __future__ import annotations

import os

import pytest

from entropilot.models import smollm2
from entropilot.models.loaders import LanguageModel, load_model


@pytest.fixture(scope="session")
def real_model() -> LanguageModel:
    """SmolLM2; downloaded only where ENTROPILOT_FETCH_MODELS=1 allows it."""
    if not (smollm2.is_at_hand() or os.environ.get("ENTROPILOT_FETCH_MODELS") == "1"):
        pytest.skip(
            "SmolLM2 is not at hand: run `entropilot models fetch smollm2`, or set "
            "ENTROPILOT_FETCH_MODELS=1 to let the tests download 93 MB"
        )
    return load_model("smollm2")
