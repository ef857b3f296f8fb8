"""SKA: golden runs, closed forms, order of convergence, monitor mode, bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.characteristic_times import characteristic_times
from entropilot.learning.flow_meter import KnowledgeFlowMeter
from entropilot.learning.forward_only import SKANet, SKAParams, init_ska, ska_step
from entropilot.learning.knowledge_flow import (
    action,
    binary_entropy_bits,
    entropy_step,
    flow_metrics,
    knowledge_flow,
    tensor_net,
    zero_crossings,
)
from entropilot.learning.recorder import MeterRecorder

X = np.random.default_rng(0).random((20, 5))


def test_runs_are_those_of_the_reference(golden: Callable[[str], Any]) -> None:
    case = golden("ska")
    x = np.array(case["X"])
    for run in case["runs"]:
        net = SKANet([4, 3], 5)
        weights = tuple(torch.tensor(w, dtype=torch.float64) for w in case["weights"])
        net.params = SKAParams(weights, net.params.biases)
        trace = net.fit(x, run["eta"], run["K"])
        for name, key in (
            ("entropy", "entropy"),
            ("cosine", "cosine"),
            ("tensor_net", "tensor_net_code"),
            ("tensor_net_paper", "tensor_net_paper"),
            ("flow_norm", "knowledge_flow"),
            ("lagrangian", "lagrangian"),
        ):
            np.testing.assert_allclose(trace.metrics[name][:, 1:], run[key], atol=1e-10)
        np.testing.assert_allclose(trace.metrics["z_norm"], run["z_frobenius"], atol=1e-10)
        np.testing.assert_allclose(trace.outputs, run["mean_output"], atol=1e-10)
        for found, expected in zip(net.params.weights, run["final_weights"], strict=True):
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)
        for found, expected in zip(net.params.biases, run["final_biases"], strict=True):
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_sums_along_a_path_are_the_closed_forms(golden: Callable[[str], Any]) -> None:
    for row in golden("ska")["closed_form"]:
        z = torch.linspace(row["z0"], row["z1"], 20_001, dtype=torch.float64)
        d = torch.sigmoid(z)
        step = [v[:, None] for v in (z[1:], z[:-1], d[1:], d[:-1])]
        mid = entropy_step(step[0], step[2], step[3], "mid", step[1])
        assert mid == pytest.approx(row["entropy_bits"], abs=1e-7)
        right = entropy_step(step[0], step[2], step[3])
        assert right == pytest.approx(row["entropy_bits"], abs=1e-3)  # first order in the step
        ends = np.diff(binary_entropy_bits([row["z0"], row["z1"]]))[0]
        assert ends == pytest.approx(row["binary_entropy_difference"], abs=1e-12)
        for sign in ("code", "paper"):
            net = tensor_net(step[0], step[1], step[2], sign)  # type: ignore[arg-type]
            assert net == pytest.approx(row[f"tensor_net_{sign}"], abs=1e-3)


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_action_knows_only_the_ends(start: float, end: float, seed: int) -> None:
    t = np.linspace(0, 1, 10_001)
    rng = np.random.default_rng(seed)
    straight = start + (end - start) * t
    detour = straight + rng.normal() * 3 * np.sin(np.pi * t) + rng.normal() * np.sin(4 * np.pi * t)
    expected = float(np.diff(binary_entropy_bits([start, end]))[0])
    assert action(straight) == pytest.approx(expected, abs=1e-6)
    assert action(detour) == pytest.approx(expected, abs=1e-6)


def test_steps_are_those_of_an_euler_scheme() -> None:
    gaps = []
    fine = SKANet([6, 4], 5).fit(X, 0.005, 402)
    for eta in (0.08, 0.04):
        trace = SKANet([6, 4], 5).fit(X, eta, round(2 / eta) + 2)
        rate, reference = trace.metrics["z_norm"][0][-1], fine.metrics["z_norm"][0][-1]
        gaps.append(abs(rate - reference))
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.6)


def test_the_rules_differ_by_the_step() -> None:
    gaps = []
    for eta in (0.02, 0.01):
        runs = [SKANet([6, 4], 5, 0.3, rule=r).fit(X, eta, 101) for r in ("code", "paper")]  # type: ignore[arg-type]
        gaps.append(np.abs(runs[0].metrics["z_norm"] - runs[1].metrics["z_norm"]).max())
    assert 0 < gaps[1] < gaps[0]


def test_the_first_step_changes_nothing_and_the_same_seed_gives_the_same() -> None:
    params = init_ska([4], 5, seed=3)
    after, state, metrics = ska_step(params, None, torch.tensor(X), 0.5)
    assert torch.equal(after.weights[0], params.weights[0])
    assert metrics["entropy"] == [0.0]
    assert state.decisions[0].shape == (20, 4)
    assert torch.equal(init_ska([4], 5, seed=3).weights[0], params.weights[0])


def test_it_stops_when_the_entropy_has_settled() -> None:
    trace = SKANet([4], 5).fit(X, 0.5, 2000, tolerance=0.05)
    assert trace.stopped is not None
    assert trace.stopped < 1999
    assert len(trace.time) == trace.stopped + 1
    assert SKANet([4], 5).fit(X, 0.5, 50).stopped is None


def test_times_of_a_known_course() -> None:
    trace = SKANet([6, 4], 5).fit(X, 0.05, 200)
    times = characteristic_times(trace)
    k = int(trace.metrics["entropy"][0].argmin())
    assert times.entropy_minimum[0] == pytest.approx(trace.time[k])
    assert len(times.flow_peak) == len(times.net_crossings) == 2
    assert zero_crossings([0, 1, 2, 3], [0, 1, -1, 1]).tolist() == [1.5, 2.5]


def test_the_monitor_is_the_trace_and_keeps_time() -> None:
    z, before = torch.randn(8, 3), torch.randn(8, 3)
    found = flow_metrics(z, before, eta=0.5)
    assert found["flow_norm"] == pytest.approx(knowledge_flow(z, before, 0.5))
    assert found["tensor_net"] == pytest.approx(tensor_net(z, before, torch.sigmoid(z)), rel=1e-5)
    same = flow_metrics(z, z)
    assert same["entropy"] == same["flow_norm"] == same["cosine"] == 0


def test_the_meter_compares_recorded_steps_of_one_probe() -> None:
    model = nn.Linear(5, 3)
    x = torch.tensor(X).float()
    probe = [(x[:10], None), (x[10:], None)]
    before = model(x).detach()
    with MeterRecorder(model, None, [KnowledgeFlowMeter()], [""], every=2, probe=probe) as r:
        assert list(r.step()) == ["step"]
        assert r.step() == {}
        with torch.no_grad():
            model.bias.add_(0.5)
        row = r.step()
    expected = flow_metrics(model(x).detach(), before, eta=2.0)
    assert row["flow/entropy@model"] == pytest.approx(expected["entropy"] / 60, rel=1e-5)
    assert row["flow/flow_norm@model"] == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((X, 0.0, 5), ConfigurationError, "eta is 0"),
        ((X, 0.1, 1), ConfigurationError, "first step has no shift"),
        ((X[0], 0.1, 5), InputError, r"expected \[B, 5\]"),
        ((X[:, :3], 0.1, 5), InputError, r"expected \[B, 5\]"),
        ((np.where(X > 0.9, np.nan, X), 0.1, 5), InputError, "not finite"),
        ((X, 0.1, 5, np.zeros(20)), TypeError, "label-free"),
        ((X * 1e200, 1e300, 9), InputError, "step 2: knowledge of layer 1"),
    ],
)
def test_bad_input_is_named(arguments: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        SKANet([4], 5).fit(*arguments)


def test_bad_shapes_and_rules_are_named() -> None:
    with pytest.raises(InputError, match="shapes differ between steps"):
        flow_metrics(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(InputError, match="not finite"):
        flow_metrics(torch.full((3, 2), float("nan")), torch.zeros(3, 2))
    with pytest.raises(ConfigurationError, match="sizes are"):
        SKANet([], 5)
    with pytest.raises(ConfigurationError, match="sign is"):
        tensor_net([[1.0]], [[0.0]], [[0.5]], "both")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs z_before"):
        entropy_step([[1.0]], [[0.5]], [[0.5]], "mid")
    with pytest.raises(ConfigurationError, match="eta is -1"):
        knowledge_flow([[1.0]], [[0.0]], -1)
    with pytest.raises(InputError, match="path has shape"):
        action([1.0])
    with pytest.raises(InputError, match="shapes"):
        zero_crossings([0, 1], [0])
