"""The shaped next-token loss against 50-digit values, cross-entropy, and bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.shaped_next_token import shaped_cross_entropy, shaped_ntp_loss
from entropilot.policy.shaped_rewards import (
    sampled_loss,
    shaped_ntp_grad,
    shaped_rewards,
    top_members,
)

KNOBS = ("beta", "lambda_head", "lambda_tail", "k")


def knobs(case: dict[str, Any]) -> dict[str, Any]:
    return {name: case[name] for name in KNOBS}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_cases_equal_fifty_digit_arithmetic(
    golden: Any, dtype: torch.dtype, tolerance: float
) -> None:
    g = golden("diversity-precision")
    assert len(g["cases"]) == 36
    for case in g["cases"]:
        z = torch.tensor([g["logits"]], dtype=dtype, requires_grad=True)
        x = torch.tensor([case["target"]])
        found = shaped_ntp_loss(z, x, **knobs(case))
        found.loss.backward()
        assert found.loss.item() == pytest.approx(case["loss"], abs=tolerance)
        assert z.grad is not None
        assert z.grad[0].tolist() == pytest.approx(case["grad_logits"], abs=tolerance)
        closed = shaped_ntp_grad(z, x, **knobs(case))
        assert closed[0].tolist() == pytest.approx(case["grad_logits"], abs=tolerance)
        rewards = shaped_rewards(z, x, **knobs(case))
        assert rewards[0].tolist() == pytest.approx(case["reward"], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_the_numpy_form_equals_fifty_digit_arithmetic(
    golden: Any, dtype: Any, tolerance: float
) -> None:
    g = golden("diversity-precision")
    z = np.array([g["logits"]], dtype)
    for case in g["cases"]:
        x = np.array([case["target"]])
        found = shaped_ntp_grad(z, x, **knobs(case))
        assert isinstance(found, np.ndarray)
        assert found.dtype == dtype
        assert found[0].tolist() == pytest.approx(case["grad_logits"], abs=tolerance)
        rewards = shaped_rewards(z, x, **knobs(case))
        assert rewards[0].tolist() == pytest.approx(case["reward"], rel=tolerance, abs=tolerance)


@given(
    st.floats(-0.9, 2),
    st.floats(-0.5, 0.5),
    st.integers(1, 14),
    st.integers(0, 99),
    st.booleans(),
)
def test_numpy_and_torch_forms_agree_where_logits_are_equal_or_impossible(
    beta: float, head: float, k: int, seed: int, ties: bool
) -> None:
    z = batch(seed=seed)[0].detach()
    x = z.argmax(-1)
    z = z.round() if ties else z
    z[0, :, 3:5] = -torch.inf
    z[0, 0, int(x[0, 0])] = 0.0  # the target is possible
    x[0] = z[0].argmax(-1)
    options: dict[str, Any] = {"beta": beta, "lambda_head": head, "lambda_tail": -0.2, "k": k}
    ours = shaped_ntp_grad(z.numpy(), x.numpy(), **options)
    theirs = shaped_ntp_grad(z, x, **options)
    assert np.abs(ours - theirs.numpy()).max() < 1e-9
    assert np.abs(ours.sum(-1)).max() < 1e-9  # a softmax does not see a shift of its logits


def test_the_numpy_form_names_bad_input() -> None:
    z = np.zeros((2, 3))
    with pytest.raises(InputError, match=r"token ids in \[0, 3\)"):
        shaped_ntp_grad(z, np.array([0, 3]))
    with pytest.raises(InputError, match=r"targets have shape \(1,\)"):
        shaped_ntp_grad(z, np.array([0]))
    with pytest.raises(InputError, match="token ids are integers"):
        shaped_ntp_grad(z, np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="nan or"):
        shaped_ntp_grad(np.full((2, 3), np.nan), np.array([0, 1]))
    with pytest.raises(ConfigurationError, match="k is 0"):
        shaped_ntp_grad(z, np.array([0, 1]), k=0)


def batch(dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(3, 5, 11, generator=draw, dtype=torch.float64) * 3
    x = torch.randint(0, 11, (3, 5), generator=draw)
    x[0, 2] = x[2, 4] = -100
    return z.to(dtype).requires_grad_(), x


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk_rows", [None, 4])
def test_plain_settings_are_cross_entropy(reduction: Any, chunk_rows: int | None) -> None:
    z, x = batch()
    outer = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = shaped_ntp_loss(z, x, reduction=reduction, chunk_rows=chunk_rows).loss
    theirs = cross_entropy(z.view(-1, 11), x.view(-1), reduction=reduction)
    assert torch.allclose(ours.view(-1), theirs.view(-1), rtol=0, atol=1e-12)
    weight = outer if reduction == "none" else 2.0
    (a,) = torch.autograd.grad((ours * weight).sum(), z, retain_graph=True)
    (b,) = torch.autograd.grad((theirs.view(ours.shape) * weight).sum(), z)
    assert torch.allclose(a, b, rtol=0, atol=1e-12)
    (again,) = torch.autograd.grad((ours * weight).sum(), z)
    assert torch.equal(a, again)


@settings(max_examples=25)
@given(
    st.floats(-0.9, 2),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0),
    st.integers(1, 14),
    st.integers(0, 99),
)
def test_gradient_is_that_of_the_objective_with_its_rewards_held(
    beta: float, head: float, tail: float, k: int, seed: int
) -> None:
    z, x = batch(seed=seed)
    options: dict[str, Any] = {"beta": beta, "lambda_head": head, "lambda_tail": tail, "k": k}
    loss = shaped_ntp_loss(z, x, reduction="sum", chunk_rows=4, **options).loss
    (found,) = torch.autograd.grad(loss, z)
    valid = x != -100
    closed = shaped_ntp_grad(z[valid], x[valid], **options)
    assert torch.allclose(found[valid], closed, rtol=1e-9, atol=1e-11)
    assert found[~valid].abs().sum() == 0


def test_finite_differences_of_the_head_and_tail_masses() -> None:
    z, x = batch()
    options: dict[str, Any] = {"lambda_head": 0.3, "lambda_tail": -0.2, "k": 4}
    assert torch.autograd.gradcheck(lambda y: shaped_ntp_loss(y, x, **options).loss, (z,))


def test_the_weight_is_held_unlike_in_the_focal_loss() -> None:
    z, x = batch()
    valid = x != -100
    (ours,) = torch.autograd.grad(shaped_ntp_loss(z, x, beta=0.5).loss, z)
    log_p = torch.log_softmax(z, -1)[valid].gather(-1, x[valid][:, None])
    focal = -((1 - log_p.exp()) ** 0.5 * log_p).mean()
    (theirs,) = torch.autograd.grad(focal, z)
    assert shaped_ntp_loss(z, x, beta=0.5).loss.item() == pytest.approx(focal.item(), abs=1e-12)
    assert (ours - theirs).abs().max() > 1e-3


def test_sampling_gives_the_exact_gradient_on_average() -> None:
    n, draw = 200_000, torch.Generator().manual_seed(0)
    z = torch.tensor([1.5, 0.2, -0.7, 2.1, 0.9, -2.0, -0.1, 0.4], dtype=torch.float64)
    options: dict[str, Any] = {"beta": -0.25, "lambda_head": 0.1, "lambda_tail": -0.1, "k": 3}
    many = z.expand(n, 8).clone().requires_grad_()
    x = torch.full((n,), 3)
    (each,) = torch.autograd.grad(sampled_loss(many, x, draw, **options).sum(), many)
    exact = shaped_ntp_grad(z, torch.tensor(3), **options)
    error = each.std(0) / math.sqrt(n)
    assert bool(((each.mean(0) - exact).abs() < 4 * error).all())


def test_ties_go_to_the_lowest_ids() -> None:
    z = torch.tensor([[0.0, 1, 1, 1, 2, 1], [3.0, 3, 3, 3, 3, 3], [5.0, 4, 3, 2, 1, 0]])
    found = top_members(z, 3).sort(-1).values
    assert found.tolist() == [[1, 2, 4], [0, 1, 2], [0, 1, 2]]
    assert top_members(z, 9).tolist() == [list(range(6))] * 3


def test_a_sure_target_keeps_a_finite_and_precise_gradient() -> None:
    wide = torch.tensor([[12.0, 0.0, -1.0]], dtype=torch.float64)
    for beta in (-0.25, 0.5):
        exact = shaped_ntp_grad(wide, torch.tensor([0]), beta=beta)
        z = wide.float().requires_grad_()
        shaped_ntp_loss(z, torch.tensor([0]), beta=beta).loss.backward()
        assert z.grad is not None
        assert torch.allclose(z.grad.double(), exact, rtol=1e-5, atol=0)
    sure = torch.tensor([[100.0, 0.0]], requires_grad=True)
    found = shaped_ntp_loss(sure, torch.tensor([0]), beta=-0.25)
    found.loss.backward()
    assert sure.grad is not None
    assert sure.grad.abs().max() < 1e-30
    assert 0 <= found.loss.item() < 1e-38


def test_masks_slices_and_half_precision() -> None:
    z, x = batch(torch.float32)
    options: dict[str, Any] = {"beta": 0.5, "lambda_head": 0.1, "k": 3}
    whole = shaped_ntp_loss(z, x, **options)
    mask = torch.ones_like(x).bool()
    mask[1, 1] = False
    masked_targets = x.clone()
    masked_targets[1, 1] = -100
    one = shaped_ntp_loss(z, x, mask, **options)
    two = shaped_ntp_loss(z, masked_targets, **options)
    assert one.loss.item() == two.loss.item()
    assert one.loss.item() != whole.loss.item()
    dirty = torch.where(mask[..., None], z, torch.nan)
    assert shaped_ntp_loss(dirty, x, mask, **options).loss.item() == one.loss.item()
    (a,) = torch.autograd.grad(shaped_ntp_loss(z[:, 1:], x[:, 1:], **options).loss, z)
    cut = z.detach()[:, 1:].contiguous().requires_grad_()
    (b,) = torch.autograd.grad(shaped_ntp_loss(cut, x[:, 1:], **options).loss, cut)
    assert torch.equal(a[:, 1:], b)
    assert a[:, 0].abs().sum() == 0
    half = z.detach().bfloat16().requires_grad_()
    found = shaped_ntp_loss(half, x, **options)
    assert found.loss.dtype == torch.float32
    found.loss.backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    assert found.loss.item() == pytest.approx(whole.loss.item(), rel=0.02)  # 8 bits of mantissa


def test_an_impossible_token_changes_nothing() -> None:
    z, x = batch()
    wider = torch.cat([z.detach(), torch.full((3, 5, 2), -torch.inf)], -1).requires_grad_()
    options: dict[str, Any] = {"beta": -0.25, "lambda_tail": -0.1, "k": 3}
    one, two = (shaped_ntp_loss(y, x, **options) for y in (z, wider))
    assert one.loss.item() == pytest.approx(two.loss.item(), abs=1e-12)
    assert one.metrics == pytest.approx(two.metrics, abs=1e-12)
    (grad,) = torch.autograd.grad(two.loss, wider)
    assert bool(torch.isfinite(grad).all())


def test_metrics_are_those_of_the_distribution() -> None:
    z = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).double().log()
    found = shaped_ntp_loss(z, torch.tensor([1]), lambda_tail=-0.1, k=2).metrics
    assert found["cross_entropy"] == pytest.approx(math.log(4))
    assert found["perplexity"] == pytest.approx(4)
    assert found["entropy"] == pytest.approx(-sum(p * math.log(p) for p in (0.5, 0.25, 0.15, 0.1)))
    assert found["target_rank_mean"] == 2
    assert found["head_mass"] == pytest.approx(0.5)
    assert found["tail_mass"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "gradient diverges at beta <= -1"),
        ({"k": 0}, "k is 0"),
        ({"min_gap": 0.0}, "min_gap is 0"),
        ({"lambda_head": math.nan}, "must be finite"),
        ({"reduction": "men"}, "did you mean 'mean'"),
    ],
)
def test_settings_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        shaped_ntp_loss(*batch(), **options)


def test_bad_input_is_named() -> None:
    z, x = batch()
    with pytest.raises(InputError, match=r"target at \[1, 3\] is 11.*\[0, 11\)"):
        shaped_ntp_loss(z, x.index_put((torch.tensor(1), torch.tensor(3)), torch.tensor(11)))
    with pytest.raises(InputError, match="no target counts"):
        shaped_ntp_loss(z, torch.full_like(x, -100))
    with pytest.raises(InputError, match="targets have shape"):
        shaped_ntp_loss(z, x[:2])
    with pytest.raises(InputError, match="expected bool"):
        shaped_ntp_loss(z, x, torch.ones(3, 5))
    broken = z.detach().clone()
    broken[1, 3] = broken[1, 3].scatter(-1, x[1, 3][None], -torch.inf)
    with pytest.raises(InputError, match=r"target at \[1, 3\] is -inf"):
        shaped_ntp_loss(broken, x)
    broken[1, 3] = math.nan
    with pytest.raises(InputError, match=r"logits at \[1, 3\] are nan"):
        shaped_ntp_loss(broken, x)
    with pytest.raises(InputError, match="token ids"):
        shaped_rewards(z, x)
    with pytest.warns(UserWarning, match="entropy may explode"):
        shaped_cross_entropy(z, x, lambda_tail=0.1)
