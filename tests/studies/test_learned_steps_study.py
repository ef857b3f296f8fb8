"""Smoke run of the three-body study, and what it recorded."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from entropilot.studies.registry import load_study
from entropilot.studies.study import verdict

pytest.importorskip("stable_baselines3", reason="learning needs stable-baselines3")


@pytest.mark.slow
def test_smoke_run_is_judged_and_drawn() -> None:
    from entropilot.studies.runner import plain

    study, shares = load_study("three-body"), []
    measurement = plain(study.measure("smoke", 0, lambda share, _doing: shares.append(share)))
    assert shares == sorted(shares)
    assert json.loads(json.dumps(measurement)) == measurement
    assert verdict(study.judge([measurement])) in ("holds", "in part", "not here")
    assert len(study.draw([measurement]).axes) == 5


def test_recorded_runs_are_of_three_seeds_and_say_both_sides() -> None:
    study = load_study("three-body")
    path = resources.files("entropilot.studies") / "recorded" / "three-body.quick.json"
    found = json.loads(path.read_text())
    assert [run["seed"] for run in found["seeds"]] == [0, 1, 2]
    measurements = [run["measurement"] for run in found["seeds"]]
    findings = study.judge(measurements)
    assert verdict(findings) == "in part"
    assert any(f.holds for f in findings)
    assert any(f.holds is False for f in findings)
    for m in measurements:
        errors = [m["fixed"][f"{a}"]["mean"] for a in range(4, 10)]
        assert errors == sorted(errors)
