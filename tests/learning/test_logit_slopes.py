"""Slopes along a direction: three ways agree, and nothing of the model changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from entropilot.errors import ConfigurationError, InputError, ModelError
from entropilot.learning.logit_slopes import METHODS, ModelInputs, logit_slopes, model_logits
from entropilot.models.transformer import SmallTransformer, TransformerConfig

Values = dict[str, Tensor]


def direction(model: nn.Module, seed: int = 0) -> tuple[Values, Values]:
    generator = torch.Generator().manual_seed(seed)
    params = dict(model.named_parameters())
    return params, {
        n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in params.items()
    }


def networks() -> list[tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    convolutional = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )
    small = SmallTransformer(TransformerConfig(9, width=8, heads=2, context=6))
    return [
        (nn.Linear(4, 3), torch.randn(5, 4)),
        (nn.Sequential(encoder, nn.Linear(8, 3)), torch.randn(2, 4, 8)),
        (convolutional, torch.randn(5, 2, 6)),
        (small, torch.randint(0, 9, (3, 6))),
    ]


@pytest.mark.parametrize("number", range(4))
def test_three_ways_agree_in_float64(number: int) -> None:
    model, x = networks()[number]
    model = model.double()
    x = x.double() if x.is_floating_point() else x
    params, v = direction(model)
    logits, slopes = logit_slopes(model, params, v, x)
    for method in METHODS:
        z, a = logit_slopes(model, params, v, x, method=method)
        # central differences err with the square of their step; ReLU and norms bend
        torch.testing.assert_close(a, slopes, rtol=1e-5, atol=1e-5 * float(slopes.abs().max()))
        torch.testing.assert_close(z, logits, rtol=1e-5, atol=1e-5)
        assert not a.requires_grad


def test_slopes_are_those_of_an_exact_linear_model(golden: Callable[[str], Any]) -> None:
    case = golden("ghosts")["linear_classifier"]
    layer = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(case["W"], dtype=torch.float64))
    v = torch.tensor(case["V"], dtype=torch.float64)
    x = torch.tensor(case["X"], dtype=torch.float64)
    _, a = logit_slopes(layer, dict(layer.named_parameters()), {"weight": v / v.norm()}, x)
    np.testing.assert_allclose(a.numpy(), case["slopes_along_V_unit"], rtol=1e-12)


def test_nothing_of_the_model_changes() -> None:
    model, x = networks()[2]
    model.add_module("dropout", nn.Dropout(0.5))
    model.train()
    model[1].eval()  # a frozen BatchNorm in a training model stays so
    before = {n: t.clone() for n, t in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    drawn = torch.get_rng_state()
    logit_slopes(model, *direction(model), x)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())


def test_train_mode_warns_with_batch_norm_and_keeps_statistics() -> None:
    model, x = networks()[2]
    kept = model[1].running_mean.clone()
    with pytest.warns(UserWarning, match="batch's statistics"):
        function = model_logits(model, mode="train")
    logit_slopes(function, *direction(model), x)
    assert torch.equal(model[1].running_mean, kept)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model_logits(nn.Linear(2, 2), mode="train")


def test_a_parameter_without_a_tangent_stays() -> None:
    layer = nn.Linear(2, 2)
    params = dict(layer.named_parameters())
    _, a = logit_slopes(layer, params, {"bias": torch.tensor([1.0, 0.0])}, torch.randn(3, 2))
    assert torch.equal(a, torch.tensor([[1.0, 0.0]]).expand(3, 2))


def test_inputs_come_in_the_callers_form() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
            return {"logits": self.layer(x) * scale}

    model, x = Two(), torch.randn(3, 2)
    params, v = direction(model)
    given = [(x, 2.0), {"x": x, "scale": 2.0}, ModelInputs((x,), {"scale": 2.0})]
    slopes = [logit_slopes(model, params, v, inputs)[1] for inputs in given]
    assert torch.equal(slopes[0], slopes[1])
    assert torch.equal(slopes[0], slopes[2])


class Distances(nn.Module):
    """cdist has no derivative in forward mode."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(x, self.centres)


def test_no_forward_mode_says_what_to_pass() -> None:
    model, x = Distances(), torch.randn(5, 4)
    with pytest.raises(ModelError, match="method='fd'"):
        logit_slopes(model, *direction(model), x)
    with pytest.raises(ModelError, match="method='fd'"):
        logit_slopes(model, *direction(model), x, method="double_backward")
    params, v = direction(model)
    _, fd = logit_slopes(model, params, v, x, method="fd")
    away = x[:, None] - model.centres.detach()
    exact = (away * v["centres"]).sum(-1) / away.norm(dim=-1)
    torch.testing.assert_close(fd, exact, rtol=1e-2, atol=1e-2)


def test_bfloat16_comes_out_as_float32() -> None:
    layer = nn.Linear(4, 3).bfloat16()
    z, a = logit_slopes(layer, *direction(layer), torch.randn(2, 4).bfloat16())
    assert z.dtype == a.dtype == torch.float32


def test_bad_input() -> None:
    layer = nn.Linear(2, 2)
    params, v = direction(layer)
    with pytest.raises(ConfigurationError, match="method"):
        logit_slopes(layer, params, v, torch.ones(1, 2), method="exact")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="mode"):
        model_logits(layer, mode="test")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no parameters"):
        logit_slopes(layer, params, {"gain": torch.ones(1)}, torch.ones(1, 2))

    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "logits"

    with pytest.raises(InputError, match="no logits"):
        model_logits(Nothing())({}, torch.ones(1))
