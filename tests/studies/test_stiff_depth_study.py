from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from entropilot.studies.stiff_depth import STUDY, Arm, gates_of, stage, states_of
from entropilot.studies.stiff_trajectories import GAP, MU, integrate, van_der_pol


def test_what_the_recorded_run_says(recorded: Any, by_statement: Any) -> None:
    findings = STUDY.judge(recorded("stepnet"))
    assert by_statement(findings, "ImageNet").holds is None
    assert by_statement(findings, "phenomenon is in the data").holds is True


def test_worse_numbers_fail_the_claims(recorded: Any, by_statement: Any) -> None:
    changed = recorded("stepnet")
    changed[0]["trajectories"]["step"]["rmse"] = 9.0
    changed[1]["trajectories"]["sam"]["rates"]["correlation"] = 0.1
    changed[2]["digits"]["plain"]["rate"].reverse()
    findings = STUDY.judge(changed)
    for words in ("as well as more parameters", "show the stiffness", "first blocks"):
        assert by_statement(findings, words).holds is False


def test_the_oscillator_is_that_of_its_equation() -> None:
    start = np.array([[2.0, 0.0], [0.5, -1.0]])
    path = integrate(start, 0, 2)
    assert np.array_equal(path[:, 0], start)
    x, v = start.T.copy()
    n = 20_000  # explicit Euler with a tiny step
    for _ in range(n):
        x, v = x + GAP / n * v, v + GAP / n * (MU * (1 - x * x) * v - x)
    np.testing.assert_allclose(path[:, 1], np.stack([x, v], 1), rtol=3e-3)
    assert np.concatenate(van_der_pol(20, 5, 1)).reshape(-1, 2).std(0) == pytest.approx(1, rel=1e-4)


def test_states_and_gates_of_a_stage() -> None:
    network, x = stage(2, 3, Arm(4, "step")), torch.randn(5, 2)
    states = states_of(network, x)
    assert states.shape == (5, 4, 2)
    assert torch.equal(states[:, -1], network(x))
    assert torch.equal(gates_of(network, x), torch.ones(5, 3))
