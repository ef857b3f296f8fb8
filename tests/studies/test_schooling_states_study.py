"""The fish study: the recorded numbers, and verdicts that follow from them."""

from __future__ import annotations

from typing import Any

import pytest

from entropilot.studies.schooling_states import STUDY
from entropilot.studies.schooling_states_judge import PUBLISHED, STATES


def test_a_seed_measures_the_same_twice() -> None:
    one, two = (STUDY.measure("smoke", 3, lambda *_: None) for _ in range(2))
    assert one == two
    other = STUDY.measure("smoke", 4, lambda *_: None)
    assert other["states"]["swarm"]["mean"] != one["states"]["swarm"]["mean"]
    for state in STATES:  # the start is the published one, the noise is not
        assert other["states"][state]["rotation_start"] == one["states"][state]["rotation_start"]


def test_the_recorded_runs_start_where_the_published_ones_did(recorded: Any) -> None:
    for measured in recorded("fish-school"):
        states = measured["states"]
        assert states["torus"]["rotation_start"] == pytest.approx(0.951923, abs=5e-7)
        assert states["dynamic_parallel"]["rotation_start"] == pytest.approx(0.078127, abs=5e-7)


def test_the_recorded_verdict_says_that_the_mill_decays(recorded: Any) -> None:
    found = {finding.statement: finding for finding in STUDY.judge(recorded("fish-school"))}
    mill = found["The torus configuration is a mill in the second half of its run"]
    assert mill.holds is False
    beside = [f for statement, f in found.items() if statement.startswith("Beside")]
    assert len(beside) == len(PUBLISHED)
    assert all(finding.holds is None for finding in beside)


def test_other_numbers_have_other_verdicts(recorded: Any) -> None:
    milling = recorded("fish-school")
    for measured in milling:
        measured["states"]["torus"]["mean"]["rotation"] = 0.9
        measured["states"]["swarm"]["mean"]["polarization"] = 0.5
        measured["states"]["torus"]["mean"] |= {
            name: measured["states"]["dynamic_parallel"]["mean"][name]
            for name in measured["states"]["torus"]["mean"]
            if name.endswith("entropy")
        }
    holds = {finding.statement: finding.holds for finding in STUDY.judge(milling)}
    assert holds["The torus configuration is a mill in the second half of its run"] is True
    assert holds["The swarm has no common heading and a high index"] is False
    assert holds["Seven entropies tell the torus configuration from dynamic parallel"] is False
