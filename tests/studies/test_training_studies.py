"""Studies that train: judges that can say no."""

from __future__ import annotations

from typing import Any

import pytest

from entropilot.studies.registry import load_study

NAMES = (
    *("siren", "cov-clip", "entropy-dynamics", "steer"),
    *("diversity-precision", "pear", "spae", "oreo", "invisible-leash"),
)


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_run_decides_at_least_four_findings(name: str, recorded: Any) -> None:
    findings = load_study(name).judge(recorded(name))
    assert sum(f.holds is not None for f in findings) >= 4


def test_swapped_arms_turn_the_verdict_of_siren(recorded: Any) -> None:
    study = load_study("siren")
    measurements = recorded("siren")
    first = study.judge(measurements)[0]
    for m in measurements:
        arms = m["arms"]
        arms["SIREN"], arms["GRPO"] = arms["GRPO"], arms["SIREN"]
    assert study.judge(measurements)[0].holds is not first.holds


def test_swapped_sides_turn_the_verdict_of_entropy_dynamics(recorded: Any) -> None:
    study = load_study("entropy-dynamics")
    measurements = recorded("entropy-dynamics")
    before = study.judge(measurements)[0].holds
    for m in measurements:
        arms = m["arms"]
        arms["A > 0, S > 0"], arms["A > 0, S < 0"] = arms["A > 0, S < 0"], arms["A > 0, S > 0"]
    assert before is True
    assert study.judge(measurements)[0].holds is False
