"""What is special to the study of three bodies."""

from __future__ import annotations

from typing import Any

import pytest

from entropilot.studies.registry import load_study

pytest.importorskip("stable_baselines3", reason="learning needs stable-baselines3")


def test_the_recorded_run_says_both_sides_and_errors_rise_with_the_step(recorded: Any) -> None:
    measurements = recorded("three-body")
    findings = load_study("three-body").judge(measurements)
    assert any(f.holds for f in findings)
    assert any(f.holds is False for f in findings)
    for m in measurements:
        errors = [m["fixed"][f"{a}"]["mean"] for a in range(4, 10)]
        assert errors == sorted(errors)
