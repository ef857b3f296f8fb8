"""The report of a comparison in a real browser: quiet, offline, and no wider than its window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from entropilot.policy.training.results import Comparison
from entropilot.report.training import write_training_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_overflows_and_nothing_complains(
    browser: Any, comparison: Comparison, tmp_path: Path, width: int
) -> None:
    path, *_ = write_training_report(tmp_path / "report.html", comparison)
    page = browser.new_page(viewport={"width": width, "height": 900})
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("request", lambda request: trouble.append(request.url))
    page.goto(path.as_uri())
    trouble.remove(path.as_uri())
    assert trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    over = page.evaluate(
        "[...document.querySelectorAll('svg.figure text')].filter(t => {"
        " const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect();"
        " return a.left < b.left - 1 || a.right > b.right + 1; }).map(t => t.textContent)"
    )
    assert over == []
    page.close()
