"""Spectral entropies as a meter: what is sampled, measured and refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from entropilot.errors import InputError
from entropilot.information.spectral_entropy import dse
from entropilot.information.spectral_information import dsmi
from entropilot.learning.meters import LayerPass
from entropilot.learning.recorder import MeterRecorder
from entropilot.learning.representation_meter import RepresentationEntropyMeter

X, Y = torch.randn(120, 5, generator=torch.Generator().manual_seed(0)), torch.arange(120) % 3


def seen(output: torch.Tensor, labels: torch.Tensor | None) -> LayerPass:
    layer = nn.Identity()
    return LayerPass("a", layer, layer, (), output, labels, 1)


def test_it_measures_what_the_functions_measure() -> None:
    probe = [(X[:50], Y[:50]), (X[50:], Y[50:])]
    meter = RepresentationEntropyMeter(sigma=2.0)
    row = MeterRecorder(nn.Identity(), None, [meter], [""], probe=probe).step()
    assert row["representation/dse@model"] == pytest.approx(dse(X, 2.0), abs=1e-6)
    assert row["representation/dsmi@model"] == pytest.approx(dsmi(X, Y, 2.0).value, abs=1e-6)
    assert row["representation/rows@model"] == 120


def test_it_holds_a_bounded_uniform_sample() -> None:
    meter, state = RepresentationEntropyMeter(max_rows=200), {}
    values = torch.arange(20_000.0)
    for part in values.split(700):
        state = meter.observe(state, seen(part[:, None], part.long()))
    assert len(state["features"]) == 200
    assert torch.equal(state["features"][:, 0].long(), state["labels"])
    assert state["features"].mean() == pytest.approx(10_000, rel=0.12)  # 3 sigma of the mean
    assert len(state["features"].unique()) > 190


def test_a_layer_of_zeros_has_no_entropy_and_one_with_nan_is_refused() -> None:
    meter = RepresentationEntropyMeter()
    found, _ = meter.read(meter.observe({}, seen(torch.zeros(30, 4), Y[:30])))
    assert found["dse"] == pytest.approx(0, abs=1e-9)
    assert found["dsmi"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError, match="not finite"):
        meter.read(meter.observe({}, seen(torch.full((30, 4), np.nan), None)))
    with pytest.raises(InputError, match="no pass was seen"):
        meter.read({})
