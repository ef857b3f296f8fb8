"""What tests share: golden values and, where it is given, the folder of real traces."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """Loader of a method's golden values: ``golden("instability")["jsd"]``."""
    folder = Path(__file__).parent / "golden"
    return lambda name: json.loads((folder / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real problems and traces, named by ENTROPILOT_TEST_DATA."""
    folder = os.environ.get("ENTROPILOT_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ENTROPILOT_TEST_DATA does not name a folder of real traces")
    return Path(folder)


@pytest.fixture(scope="session")
def real_traces(test_data: Path) -> Path:
    """256 chat completions of SmolLM2-135M-Instruct with top-20 log-probabilities."""
    return test_data / "traces" / "smollm2_onestep.jsonl.gz"
