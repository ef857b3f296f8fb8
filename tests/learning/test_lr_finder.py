"""The finder's range is that of the radius, and the run goes on as if it had not been probed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from entropilot.errors import ConfigurationError, InputError
from entropilot.learning.lr_finder import lr_finder, lr_range_figure
from entropilot.learning.safe_step import SafeStep


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4)
    )


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    return list(zip(x.split(16), y.split(16), strict=True))


def loss(model: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize("lr", [1e-3, 10.0])
def test_the_first_step_at_its_rate_is_one_radius(lr: float) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    found = lr_finder(model, optimizer, loss, batches(), steps=6)
    assert len(found.by_step) == 6
    assert found.safe == min(found.by_step)
    fresh = network()
    safe = SafeStep(torch.optim.Adam(fresh.parameters(), lr=found.by_step[0]), fresh)
    loss(fresh, batches()[0]).backward()
    safe.step()
    assert safe.report is not None
    assert safe.report.r_raw == pytest.approx(1, rel=1e-3)
    # r is proportional to the rate, and the loss explodes far beyond the radius only
    ratio = np.array(found.r) / np.array(found.sweep)
    np.testing.assert_allclose(ratio, ratio[0], rtol=2e-2)
    assert found.loss_ratio[-1] > 10
    assert ("too long" in found.summary()) == (found.r_now > 1)


def test_everything_is_put_back() -> None:
    model = network()
    optimizer = torch.optim.Adam(
        [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[4].parameters()}], lr=0.01
    )
    loss(model, batches()[0]).backward()
    optimizer.step()
    kept = {n: t.clone() for n, t in model.state_dict().items()}
    moments = [t.clone() for s in optimizer.state.values() for t in s.values()]
    drawn = torch.get_rng_state()
    model[1].eval()
    lr_finder(model, optimizer, loss, batches(), steps=3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), name
    again = [t for s in optimizer.state.values() for t in s.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, again, strict=True))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    assert not model[1].training
    assert all(p.grad is None for p in model.parameters())


def test_a_model_that_raises_is_put_back() -> None:
    model = network()
    kept = {n: t.clone() for n, t in model.state_dict().items()}
    bad = [batches()[0], (torch.full((16, 6), math.inf), batches()[0][1])]
    with pytest.raises(InputError, match="not finite"):
        lr_finder(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, bad, steps=4)
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), name


def test_the_figure() -> None:
    model = network()
    found = lr_finder(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, batches(), steps=3)
    left, right = lr_range_figure(found).axes
    assert left.get_xlabel() == "learning rate"
    assert "learning rate at r" in right.get_ylabel()


def test_bad_input() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigurationError, match="steps"):
        lr_finder(model, optimizer, loss, batches(), steps=0)
    with pytest.raises(InputError, match="no batch"):
        lr_finder(model, optimizer, loss, [])
    with pytest.raises(InputError, match="used up"):
        lr_finder(model, optimizer, loss, iter(batches()), steps=9)
    optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(ConfigurationError, match="learning rate"):
        lr_finder(model, optimizer, loss, batches())
