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
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits
from entropilot.policy.surrogates import clipped_ratio_loss
from entropilot.policy.term import Term

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


def test_least_weight_of_one_is_plain_bit_for_bit(case: Any) -> None:
    logp, old, entropy, _, mask = inputs(case)
    group = torch.arange(len(logp)) // 2
    rollouts = Rollouts(mask.long(), mask, old, torch.arange(len(logp)) % 2 * 1.0, group)

    def loss_and_slope(*weights: Term) -> tuple[Tensor, Tensor | None]:
        objective = Objective(weights=weights)
        now = PolicyStatistics(logp, entropy).leaves()
        loss = objective.loss(objective.prepare(rollouts), now).loss
        loss.backward()
        return loss.detach(), now.logprob.grad

    plain, slope = loss_and_slope()
    assert slope is not None
    for mapping in ("exp", "clip", "linear"):
        weighed, weighed_slope = loss_and_slope(entropy_change_weights(1.0, mapping=mapping))
        assert torch.equal(weighed, plain)
        assert weighed_slope is not None
        assert torch.equal(weighed_slope, slope)
    assert not torch.equal(loss_and_slope(entropy_change_weights(0.5))[0], plain)


def test_tokens_without_effect_keep_their_weight() -> None:
    mask = torch.ones(1, 3).bool()
    assert steer_weights(torch.zeros(1, 3), mask, mapping="clip", w_min=0.5).tolist() == [[1.0] * 3]
    assert steer_weights(torch.zeros(1, 3), mask, floor=0.0).tolist() == [[1.0] * 3]


def test_quantile_in_place_of_the_maximum_bears_an_outlier() -> None:
    score = torch.linspace(0.1, 0.5, 100)[None].clone()
    score[0, 0] = 1e3
    mask = torch.ones_like(score).bool()
    assert float((steer_weights(score, mask) < 0.95).float().mean()) == pytest.approx(0.01)
    assert float((steer_weights(score, mask, scale_quantile=0.98) < 0.95).float().mean()) > 0.9


def test_ratio_that_ran_away_stays_finite() -> None:
    logp = torch.tensor([[-1.0, -2.0]], dtype=torch.float64)
    old = torch.tensor([[-1.0, -900.0]], dtype=torch.float64)
    one, mask = torch.ones_like(logp), torch.ones(1, 2).bool()
    score = entropy_change_score(
        logp, old, -logp, -one, mask, estimator="exact", vocab_mean=0.1 * one
    )
    assert bool(torch.isfinite(score).all())


def test_names_of_the_released_settings() -> None:
    term = entropy_change_weights(token_weight_min=0.7, token_weight_max=1.2, linear=True)
    shown = {"w_min": 0.7, "w_max": 1.2, "mapping": "linear"}
    assert shown.items() <= term.settings.items()
    assert {"floor", "scale_quantile"} <= set(term.settings)
    assert entropy_change_weights(linear=False).settings["mapping"] == "exp"
    with pytest.raises(ConfigurationError, match=r"w_min is 0\.6 and token_weight_min is 0\.7"):
        entropy_change_weights(0.6, token_weight_min=0.7)
