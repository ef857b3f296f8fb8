"""Stiffness along depth: hooks against stored states, the meter, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from entropilot.errors import BrokenNumbersError, ConfigurationError, InputError
from entropilot.information.stiffness import lipschitz_index, rate_index
from entropilot.learning.recorder import MeterRecorder
from entropilot.learning.step_gate import ResidualBlock, ResidualStage, StepGate
from entropilot.learning.stiffness_profile import StiffnessMeter, stiffness_profile


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 6),
        ResidualStage(*[ResidualBlock(nn.Linear(6, 6), StepGate(6)) for _ in range(4)]),
        nn.Linear(6, 2),
    )


def states_of(model: nn.Sequential, x: Tensor) -> Tensor:
    state, previous = model[0](x), None
    found = [state]
    for block in model[1]:
        state, previous = block(state, previous)
        found.append(state)
    return torch.stack(found, 1).detach()


def test_hooks_give_what_stored_states_give() -> None:
    model, x = network(), torch.randn(11, 3)
    states = states_of(model, x)
    found = stiffness_profile(model, [(x[:4], None), (x[4:], None)], ["1.*"], dt=0.5)
    rate = rate_index(states, 0.5).double()
    assert found["blocks"] == ["1.0", "1.1", "1.2", "1.3"]
    np.testing.assert_allclose(found["rate_mean"], rate.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["rate_std"], rate.std(0, correction=0), rtol=1e-4)
    change = lipschitz_index(states, 0.5).mean(0)
    np.testing.assert_allclose(found["lipschitz_mean"], change, rtol=1e-5)
    means = rate.mean(0)
    assert found["total"] == pytest.approx(float(means.sum()), rel=1e-5)
    assert found["peak_to_median"] == pytest.approx(
        float(means.max() / np.median(means.numpy())), rel=1e-5
    )
    assert model.training


def test_stage_borders_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 6))
    found = stiffness_profile(model, (torch.randn(5, 4), None), ["*"])
    assert [math.isnan(v) for v in found["rate_mean"]] == [False, True, False, False]
    assert [math.isnan(v) for v in found["lipschitz_mean"]] == [True, True, False]
    assert math.isfinite(found["total"])


def test_profiles_of_nothing_or_of_broken_features() -> None:
    model, batch = network(), (torch.randn(5, 3), None)
    with pytest.raises(InputError, match="same shape"):
        stiffness_profile(model, batch, ["0"])
    with pytest.raises(InputError, match="at least one batch"):
        stiffness_profile(model, [], ["1.*"])
    with pytest.raises(ConfigurationError, match="unknown layer"):
        stiffness_profile(model, batch, ["layer9"])
    with pytest.raises(ConfigurationError, match="at least one block"):
        stiffness_profile(model, batch, [])
    with pytest.raises(ConfigurationError, match="dt is"):
        stiffness_profile(model, batch, ["1.*"], dt=0)
    with torch.no_grad():
        model[1][2].f.bias[0] = float("nan")
    with pytest.raises(BrokenNumbersError, match=r"'1\.2'"):
        stiffness_profile(model, batch, ["1.*"])
    assert not model[1][0]._forward_hooks


def test_the_meter_measures_the_same_and_counts_all_passes() -> None:
    model, x = network(), torch.randn(9, 3)
    want = stiffness_profile(model, (x, None), ["1.*"])
    probe = [(x[:2], None), (x[2:], None)]
    with MeterRecorder(model, None, [StiffnessMeter()], ["1.*"], probe=probe) as recorder:
        row = recorder.step()
    for name, mean, std in zip(want["blocks"], want["rate_mean"], want["rate_std"], strict=True):
        assert row[f"stiffness/rate@{name}"] == pytest.approx(mean, rel=1e-5)
        assert row[f"stiffness/rate_std@{name}"] == pytest.approx(std, rel=1e-3)


def test_a_block_that_changes_the_shape_is_named() -> None:
    recorder = MeterRecorder(
        network(), None, [StiffnessMeter()], ["0"], probe=(torch.randn(4, 3), None)
    )
    with recorder, pytest.warns(UserWarning, match="keeps the shape"):
        recorder.step()


def test_half_precision_is_measured_in_single() -> None:
    model = nn.Sequential(nn.Linear(4, 4)).bfloat16()
    x = torch.randn(5, 4).bfloat16()
    found = stiffness_profile(model, (x, None), ["0"])
    want = rate_index(torch.stack([x, model(x).detach()], 1)).mean()
    assert found["total"] == pytest.approx(float(want), rel=1e-5)
