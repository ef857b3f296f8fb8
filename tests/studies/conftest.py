"""What the tests of studies share: the recorded runs, and a finding by its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from entropilot.studies.store import RECORDED, Store
from entropilot.studies.study import Finding, Measurement

Recorded = Callable[[str], list[Measurement]]
FindingOf = Callable[[Sequence[Finding], str], Finding]


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    """Measurements of a study's recorded quick run, read anew and so free to be changed."""
    return lambda name: Store(RECORDED).own(name, "quick").measurements


@pytest.fixture(scope="session")
def by_statement() -> FindingOf:
    """The one finding whose statement has these words."""

    def found(findings: Sequence[Finding], words: str) -> Finding:
        (one,) = [finding for finding in findings if words in finding.statement]
        return one

    return found
