"""STEER: the released code's weights and losses, the exact estimator, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.entropy_change_weights import (
    entropy_change_score,
    entropy_change_weights,
    steer_weights,
)
from entropilot.policy.statistics import statistics_from_logits
from entropilot.policy.surrogates import clipped_ratio_loss

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def array(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def case(golden: Callable[[str], Any]) -> Any:
    return golden("steer")


def inputs(case: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x = case["inputs"]
    fields = (array(x[name]) for name in ("logp", "old_logp", "entropy", "advantages"))
    logp, old, entropy, advantages = fields
    return logp, old, entropy, advantages, array(x["mask"]).bool()


@pytest.mark.parametrize("name", ["exp_min0.8", "exp_min0.7", "linear_0.8_1.2"])
def test_weights_loss_and_gradient_of_the_code(case: Any, name: str) -> None:
    expected = case["cases"][name]
    logp, old, entropy, advantages, mask = inputs(case)
    score = entropy_change_score(logp, old, entropy, advantages, mask)
    weight = steer_weights(
        score,
        mask,
        mapping="linear" if expected["linear"] else "exp",
        w_min=expected["token_weight_min"],
        w_max=expected["token_weight_max"],
    )
    wanted = torch.where(mask, array(expected["weights"]), 0)
    torch.testing.assert_close(weight, wanted, **TIGHT)
    leaf = logp.clone().requires_grad_()
    loss, _ = clipped_ratio_loss(
        leaf, old, advantages, mask, eps_low=0.2, eps_high=0.28, dual_clip=10.0
    )
    total = Aggregation()(loss * weight, mask)
    total.backward()
    # the code adds 1e-8 to the number of tokens
    near = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(total.detach(), array(expected["loss"]), **near)
    torch.testing.assert_close(leaf.grad, array(expected["grad_logp"]), **near)


def test_floor_and_zero_advantages(case: Any) -> None:
    logp, old, entropy, advantages, mask = inputs(case)
    small = case["cases"]["exp_min0.8_small_adv"]
    score = entropy_change_score(logp, old, entropy, advantages * small["advantage_scale"], mask)
    wanted = torch.where(mask, array(small["weights"]), 0)
    torch.testing.assert_close(steer_weights(score, mask), wanted, **TIGHT)
    zero = entropy_change_score(logp, old, entropy, advantages * 0, mask)
    none = case["cases"]["zero_adv"]
    assert torch.equal(steer_weights(zero, mask), torch.where(mask, array(none["exp"]), 0))
    middle = steer_weights(zero, mask, mapping="linear", w_max=1.2)
    torch.testing.assert_close(middle, torch.where(mask, array(none["linear"]), 0), **TIGHT)


def test_estimators(case: Any) -> None:
    logp, old, entropy, advantages, mask = inputs(case)
    for estimator, key in (("reference", "omega_code"), ("squared", "omega_squared")):
        found = entropy_change_score(logp, old, entropy, advantages, mask, estimator=estimator)  # type: ignore[arg-type]
        torch.testing.assert_close(found[mask], array(case[key])[mask], **TIGHT)
    logits, tokens = array(case["inputs"]["new_logits"]), torch.tensor(case["inputs"]["tokens"])
    now = statistics_from_logits(logits, tokens, wants=("entropy", "sum_p2", "sum_p2_logp"))
    exact = entropy_change_score(
        logp,
        old,
        entropy,
        advantages,
        mask,
        estimator="exact",
        vocab_mean=now.vocab_mean,
        eps_low=1.0,
        eps_high=1e9,
    )
    wanted = array(case["exact_first_order_dH_per_unit_lr"])
    torch.testing.assert_close(-exact[mask], wanted[mask], **TIGHT)


def test_clip_mapping_limits_the_product(case: Any) -> None:
    logp, old, entropy, advantages, mask = inputs(case)
    score = entropy_change_score(logp, old, entropy, advantages, mask)
    weight = steer_weights(score, mask, mapping="clip", w_min=0.5)
    assert ((weight >= 0.5) & (weight <= 1.0))[mask].all()
    largest = (score.abs() * weight)[mask].max()
    assert float(largest) <= 0.5 * float(score.abs()[mask].max()) + 1e-12


def test_what_is_refused(case: Any) -> None:
    logp, old, entropy, advantages, mask = inputs(case)
    with pytest.raises(ConfigurationError, match="0 < w_min <= w_max"):
        entropy_change_weights(0.0)
    with pytest.raises(ConfigurationError, match="tops out at 1"):
        entropy_change_weights(0.8, 1.2)
    with pytest.raises(InputError, match='"exact" needs vocab_mean'):
        entropy_change_score(logp, old, entropy, advantages, mask, estimator="exact")
    broken = entropy.clone()
    row, token = mask.nonzero()[2].tolist()
    broken[row, token] = torch.nan
    with pytest.raises(
        InputError, match=rf"entropy has 1 values .* the first at \[{row}, {token}\]"
    ):
        entropy_change_score(logp, old, broken, advantages, mask)
    with pytest.raises(InputError, match="no token counts"):
        steer_weights(logp, mask & False)
