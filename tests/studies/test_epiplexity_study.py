from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from entropilot.information import eca_pairs
from entropilot.studies.epiplexity import STUDY

torch = pytest.importorskip("torch")

from entropilot.studies.automaton_observer import (  # noqa: E402
    CircularObserver,
    ObserverSettings,
    learn_as_student,
    learn_online,
)

SMALL = ObserverSettings(channels=8, kernel=3, layers=1, rate=0.01, n_steps=150)


def one_step(rule):
    return lambda n, rng: eca_pairs(n, rule=rule, steps=1, width=16, burn_in=0, rng=rng)


def test_the_observer_sees_a_ring():
    torch.manual_seed(0)
    net = CircularObserver(replace(SMALL, kernel=5, layers=2))
    x = torch.randint(0, 2, (3, 20)).float()
    assert torch.allclose(net(x.roll(7, 1)), net(x).roll(7, 1), atol=1e-6)


def test_what_is_within_reach_is_learnt_by_both_estimates():
    online = learn_online(one_step(54), SMALL, 0)
    taught = learn_as_student(one_step(54), SMALL, 0)
    assert online["H"] < 0.2
    assert 0 < taught["S"] < online["S"]
    assert len(online["curve"]) == len(taught["curve"]) == 60
    assert learn_online(one_step(54), SMALL, 0) == online


def test_noise_is_not_learnt():
    def noise(n, rng):
        return tuple(rng.integers(0, 2, (2, n, 16), dtype=np.uint8))

    found = learn_online(noise, replace(SMALL, rate=0.003), 0)
    assert found["H"] == pytest.approx(1, abs=0.02)
    assert abs(found["S"]) < 0.03 * found["cells"]


def test_every_check_of_the_recorded_run_passes(recorded):
    findings = STUDY.judge(recorded("epiplexity"))
    assert len(findings) == 14
    checks = [f for f in findings if f.check]
    assert checks
    assert all(f.holds for f in checks)
