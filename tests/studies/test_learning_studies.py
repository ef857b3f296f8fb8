"""Smoke runs of the studies of representations, and what they recorded."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
import pytest

from entropilot.studies.registry import load_study
from entropilot.studies.study import verdict

pytest.importorskip("torch")
NAMES = ("dse", "lr-perceptron", "neural-collapse", "ska")


def recorded(name: str) -> dict[str, Any]:
    path = resources.files("entropilot.studies") / "recorded" / f"{name}.quick.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_smoke_run_is_judged_and_drawn(name: str) -> None:
    from entropilot.studies.runner import plain

    study, shares = load_study(name), []
    measurement = plain(study.measure("smoke", 0, lambda share, _doing: shares.append(share)))
    assert shares == sorted(shares)
    assert json.loads(json.dumps(measurement)) == measurement
    assert verdict(study.judge([measurement])) in ("holds", "in part", "not here")
    assert len(study.draw([measurement]).axes) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_recorded_runs_are_of_three_seeds_and_drawn(name: str) -> None:
    study, found = load_study(name), recorded(name)
    assert [run["seed"] for run in found["seeds"]] == [0, 1, 2]
    measurements = [run["measurement"] for run in found["seeds"]]
    assert verdict(study.judge(measurements)) == "in part"
    assert len(study.draw(measurements).axes) >= 6


def test_recorded_collapse_is_the_closed_form() -> None:
    for run in recorded("neural-collapse")["seeds"]:
        for depth in ("1", "3"):
            one = run["measurement"]["synthetic"][depth]
            np.testing.assert_allclose(one["w_sq"], one["w_sq_closed"], rtol=1e-3)
            for row in run["measurement"]["sweep"][depth]:  # no start goes below the minimum
                assert row["objective"] >= row["objective_closed"] - 1e-9


def test_the_rise_of_dse_is_said_to_be_scale() -> None:
    measurements = [run["measurement"] for run in recorded("dse")["seeds"]]
    findings = {f.statement: f.holds for f in load_study("dse").judge(measurements)}
    assert findings["DSE of the features rises in training (width 10, as published)"]
    assert findings["The rise is more than the growth of scale"] is False
