"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from entropilot.studies.store import RECORDED, Store
from entropilot.studies.table import as_markdown, study_rows

ROOT = Path(__file__).parent.parent


def test_the_results_page_is_current() -> None:
    assert (ROOT / "RESULTS.md").read_text() == as_markdown(study_rows(Store(RECORDED)))


def test_the_readme_table_is_current() -> None:
    path = ROOT / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (ROOT / "README.md").read_text()
    assert script.updated(text) == text
