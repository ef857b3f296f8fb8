"""The study of process free energies: the same twice, and judgements that can fail."""

from __future__ import annotations

from typing import Any

import pytest

from entropilot.studies.registry import load_study
from entropilot.studies.runner import plain

STUDY = load_study("statmech")


def test_a_seed_measures_the_same_twice() -> None:
    one, two = (plain(STUDY.measure("smoke", 0, lambda *_: None)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("change", "statement"),
    [
        (lambda m: m["ladder"].update(error=1e-9), "Each piece of information"),
        (lambda m: m["forces"][3].update(mean=0.5), "The first derivative"),
        (lambda m: m["forces"][0].update(var_rate=0.1), "The second derivative"),
        (lambda m: m["forces"][3].update(response=0.1), "Response equals"),
        (lambda m: m.update(symmetry=1e-11), "symmetric about"),
        (lambda m: m["channel"].update(smallest_loss=-1e-3), "Information is lost"),
        (lambda m: m["alike"].update(difference=0.0), "Indistinguishability"),
    ],
)
def test_a_number_that_is_off_is_judged_so(change: Any, statement: str, recorded: Any) -> None:
    measurements = recorded("statmech")
    for m in measurements:
        change(m)
    found = {f.statement: f.holds for f in STUDY.judge(measurements)}
    assert [holds for s, holds in found.items() if statement in s] == [False]
