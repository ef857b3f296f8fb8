"""What the studies of representations and of safe steps recorded."""

from __future__ import annotations

from typing import Any

import numpy as np

from entropilot.studies.registry import load_study


def test_recorded_collapse_is_the_closed_form(recorded: Any) -> None:
    for m in recorded("neural-collapse"):
        for depth in ("1", "3"):
            one = m["synthetic"][depth]
            np.testing.assert_allclose(one["w_sq"], one["w_sq_closed"], rtol=1e-3)
            for row in m["sweep"][depth]:  # no start goes below the minimum
                assert row["objective"] >= row["objective_closed"] - 1e-9


def test_the_rise_of_dse_is_said_to_be_scale(recorded: Any) -> None:
    measurements = recorded("dse")
    findings = {f.statement: f.holds for f in load_study("dse").judge(measurements)}
    assert findings["DSE of the features rises in training (width 10, as published)"]
    assert findings["The rise is more than the growth of scale"] is False


def test_recorded_exploration_never_violated_and_descent_counts_are_the_papers(
    recorded: Any,
) -> None:
    for m in recorded("stepmix"):
        for row in (*m["practical"], *m["theory"]):
            for arm in ("stepmix", "epsmix"):
                assert row[arm]["violations"] == 0
                assert row[arm]["worst"] >= row["gamma"] - 1e-9


def test_recorded_descent_counts_are_the_papers(recorded: Any) -> None:
    for m in recorded("lr-perceptron"):
        one = next(r for r in m["lower"] if r["n"] == 1000)
        assert one["plain_100"] == 308
        assert list(one["normalized"].values()) == [157, 16, 2, 2]
