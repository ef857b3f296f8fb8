"""Smoke run of the study of process free energies, and what it recorded."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

import pytest

from entropilot.studies.registry import load_study
from entropilot.studies.runner import plain
from entropilot.studies.study import verdict

STUDY = load_study("statmech")


def recorded() -> list[dict[str, Any]]:
    path = resources.files("entropilot.studies") / "recorded" / "statmech.quick.json"
    found = json.loads(path.read_text())
    assert [run["seed"] for run in found["seeds"]] == [0, 1, 2]
    return [run["measurement"] for run in found["seeds"]]


def test_smoke_run_is_judged_and_drawn() -> None:
    shares: list[float] = []
    measurement = plain(STUDY.measure("smoke", 0, lambda share, _doing: shares.append(share)))
    assert shares == sorted(shares)
    assert json.loads(json.dumps(measurement)) == measurement
    assert verdict(STUDY.judge([measurement])) in ("holds", "in part")
    assert len(STUDY.draw([measurement]).axes) == 4
    assert plain(STUDY.measure("smoke", 0, lambda *_: None)) == measurement


def test_the_recorded_run_meets_the_acceptance_numbers() -> None:
    measurements = recorded()
    assert verdict(STUDY.judge(measurements)) == "holds"
    assert len(STUDY.draw(measurements).axes) == 4


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
def test_a_number_that_is_off_is_judged_so(change: Any, statement: str) -> None:
    measurements = copy.deepcopy(recorded())
    for m in measurements:
        change(m)
    found = {f.statement: f.holds for f in STUDY.judge(measurements)}
    assert [holds for s, holds in found.items() if statement in s] == [False]
