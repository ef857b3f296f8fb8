"""STEER's scores and weights: the reference code's values, the exact estimator, the settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import entropy_change_policy_gradient
from entropilot.policy.entropy_change_weights import (
    entropy_change_score,
    entropy_change_weights,
    steer_weights,
)
from entropilot.policy.idle_warning import IDLE_UPDATES
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits
from entropilot.policy.surrogates import clipped_ratio
from entropilot.policy.term import Applied, Term

Golden = dict[str, Any]
WANTS = ("logprob", "entropy", "sum_p2", "sum_p2_logp")


def array(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def case(golden: Callable[[str], Any]) -> Golden:
    found: Golden = golden("steer")
    return found


def inputs(case: Golden) -> tuple[Tensor, ...]:
    given = case["inputs"]
    names = ("logp", "old_logp", "entropy", "advantages")
    return (*(array(given[name]) for name in names), array(given["mask"]).bool())


def close(found: Tensor, expected: Any) -> None:
    torch.testing.assert_close(found, array(expected), rtol=1e-12, atol=1e-12)


def test_golden_scores(case: Golden) -> None:
    given, mask = inputs(case), inputs(case)[-1]
    for estimator, key in (("reference", "omega_code"), ("squared", "omega_squared")):
        found = entropy_change_score(*given, estimator=estimator)  # type: ignore[arg-type, misc]
        close(found, (torch.where(mask, array(case[key]), 0)).tolist())
    logits = array(case["inputs"]["new_logits"])
    now = statistics_from_logits(logits, torch.tensor(case["inputs"]["tokens"]), wants=WANTS)
    exact = entropy_change_score(
        *given,  # type: ignore[misc]
        estimator="exact",
        vocab_mean=now.vocab_mean,
        eps_low=1.0,
        eps_high=torch.inf,
    )
    close(-exact, torch.where(mask, array(case["exact_first_order_dH_per_unit_lr"]), 0).tolist())


@pytest.mark.parametrize("name", ["exp_min0.8", "exp_min0.7", "linear_0.8_1.2"])
def test_golden_weights_loss_and_gradient(case: Golden, name: str) -> None:
    logprob, old, entropy, advantages, mask = inputs(case)
    expected = case["cases"][name]
    term = entropy_change_weights(
        token_weight_min=expected["token_weight_min"],
        token_weight_max=expected["token_weight_max"],
        linear=expected["linear"],
    )
    tokens = torch.tensor(case["inputs"]["tokens"])
    rollouts = Rollouts(tokens, mask, old, advantages[:, 0], torch.arange(6))
    objective = Objective(
        advantages=(Term("given", lambda view, state: Applied(advantages, state)),),
        weights=(term,),
        surrogate=clipped_ratio(0.2, 0.28, dual_clip=10.0),
    )
    now = PolicyStatistics(logprob, entropy).leaves()
    output = objective.loss(objective.prepare(rollouts), now)
    output.loss.backward()
    share = mask.sum().item() / (mask.sum().item() + 1e-8)  # the reference's mean adds 1e-8 to n
    assert output.loss.item() * share == pytest.approx(expected["loss"], rel=1e-12)
    assert now.logprob.grad is not None
    close(now.logprob.grad * share, expected["grad_logp"])
    assert output.metrics["surrogate/clip_fraction"] == pytest.approx(
        expected["clipfrac"], abs=1e-7
    )
    settings = {k: term.settings[k] for k in ("mapping", "w_min", "w_max")}
    score = entropy_change_score(logprob, old, entropy, advantages, mask)
    weights = steer_weights(score, mask, **settings)
    close(weights, expected["weights"])
    counted = weights[mask]
    assert output.metrics["steer/weight_std"] == pytest.approx(counted.std(correction=0).item())
    assert output.metrics["steer/weight_min"] == counted.min().item()
    below = (counted < 0.95).double().mean().item()
    assert output.metrics["steer/frac_below_0.95"] == pytest.approx(below, abs=1e-7)
    assert output.metrics["steer/predicted_change"] == pytest.approx(
        -(score * weights)[mask].mean().item()
    )


def test_golden_small_and_zero_advantages(case: Golden) -> None:
    logprob, old, entropy, advantages, mask = inputs(case)
    small = case["cases"]["exp_min0.8_small_adv"]
    score = entropy_change_score(logprob, old, entropy, small["advantage_scale"] * advantages, mask)
    close(steer_weights(score, mask), small["weights"])
    nothing = entropy_change_score(logprob, old, entropy, 0 * advantages, mask)
    close(steer_weights(nothing, mask), case["cases"]["zero_adv"]["exp"])
    close(
        steer_weights(nothing, mask, mapping="linear", w_max=1.2),
        case["cases"]["zero_adv"]["linear"],
    )


def draws(n: int = 4000, V: int = 50) -> tuple[Tensor, Tensor, PolicyStatistics, Tensor]:
    g = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(n, V, generator=g, dtype=torch.float64)
    tokens = torch.multinomial(logits.softmax(-1), 1, generator=g)[:, 0]
    sign = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0).double()
    return logits, tokens, statistics_from_logits(logits, tokens, wants=WANTS), sign


def test_exact_score_is_the_change_and_the_reference_less_so() -> None:
    logits, tokens, now, sign = draws()
    change = entropy_change_policy_gradient(logits, tokens, 0.05 * sign).exact
    assert now.entropy is not None
    correlation = {}
    for estimator in ("exact", "reference", "squared"):
        score = entropy_change_score(
            *(x[None] for x in (now.logprob, now.logprob, now.entropy, sign)),
            torch.ones(1, len(sign)).bool(),
            estimator=estimator,
            vocab_mean=now.vocab_mean[None],
        )
        correlation[estimator] = torch.corrcoef(torch.stack([-score[0], change]))[0, 1].item()
    assert correlation["exact"] > 0.999
    assert 0.999 > correlation["reference"] > correlation["squared"] > 0.3


def test_exact_score_leaves_out_tokens_that_the_clip_has_stopped() -> None:
    one = torch.ones(1, 4).double()
    old = (0.1 * one).log()
    new = old + array([[0.3, 0.3, -0.3, -0.3]])
    sign = array([[1.0, -1.0, 1.0, -1.0]])
    score = entropy_change_score(
        new, old, one, sign, one.bool(), estimator="exact", vocab_mean=0.1 * one
    )
    assert (score == 0).tolist() == [[True, False, False, True]]


def test_quantile_keeps_an_outlier_from_crowding_the_rest_at_one() -> None:
    score = torch.cat([torch.linspace(0.1, 1, 199), torch.tensor([100.0])])[None]
    mask = torch.ones_like(score).bool()
    crowded = steer_weights(score, mask)
    spread = steer_weights(score, mask, scale_quantile=0.99)
    assert crowded.std() < 0.02 < spread.std()
    assert spread.min() == pytest.approx(0.8)  # the outlier gets no less
    linear = steer_weights(score, mask, mapping="linear", w_max=1.2, scale_quantile=0.99)
    assert linear.min() == pytest.approx(0.8)
    assert linear.max() == pytest.approx(1.2)


def test_clip_mapping_bounds_the_change_that_goes_through() -> None:
    score = torch.tensor([[0.0, -0.5, 2.0, 4.0, torch.nan]])
    mask = ~score.isnan()
    weights = steer_weights(score, mask, mapping="clip", cap=1.0)
    assert weights.tolist() == [[1.0, 1.0, 0.5, 0.25, 0.0]]


def test_floor_zero_is_the_papers_weight() -> None:
    score = torch.tensor([[0.0, 1e-6, -2e-6]]).double()
    weights = steer_weights(score, score < 1, w_min=0.49, floor=0.0)
    torch.testing.assert_close(weights, array([[1.0, 0.7, 0.49]]))
    assert (steer_weights(0 * score, score < 1, floor=0.0) == 1).all()


def test_weights_of_one_are_the_plain_loss_bit_for_bit(case: Golden) -> None:
    logprob, old, entropy, advantages, mask = inputs(case)
    tokens = torch.tensor(case["inputs"]["tokens"])
    rollouts = Rollouts(tokens, mask, old, advantages[:, 0], torch.arange(6) // 3)
    found = []
    for weights in ((), (entropy_change_weights(1.0),)):
        objective = Objective(weights=weights)
        now = PolicyStatistics(logprob, entropy).leaves()
        output = objective.loss(objective.prepare(rollouts), now)
        output.loss.backward()
        found.append((output.loss.detach(), now.logprob.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] is not None
    assert found[1][1] is not None
    assert torch.equal(found[0][1], found[1][1])


def test_crowded_weights_warn_once(case: Golden) -> None:
    logprob, old, entropy, advantages, mask = inputs(case)
    tokens = torch.tensor(case["inputs"]["tokens"])
    rollouts = Rollouts(tokens, mask, old, 0 * advantages[:, 0], torch.arange(6) // 3)
    objective = Objective(weights=(entropy_change_weights(),))
    prepared, now = objective.prepare(rollouts), PolicyStatistics(logprob, entropy)
    with pytest.warns(UserWarning, match=r"'steer' has changed next to nothing.*scale_quantile"):
        state = objective.loss(prepared, now, {"steer": {"idle": IDLE_UPDATES - 1}}).state
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert objective.loss(prepared, now, state).state["steer"] == {"idle": IDLE_UPDATES + 1}


ONE = torch.ones(1, 2)
TRUE = ONE.bool()
Build = Callable[[], Any]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: entropy_change_weights(0.0), ConfigurationError, "expected 0 < w_min <= w_max"),
        (
            lambda: entropy_change_weights(1.1, mapping="linear", w_max=1.0),
            ConfigurationError,
            "w_min is 1.1 and w_max 1.0",
        ),
        (
            lambda: entropy_change_weights(0.8, 1.2),
            ConfigurationError,
            "the exponential mapping tops out at 1",
        ),
        (
            lambda: entropy_change_weights(0.8, token_weight_min=0.7),
            ConfigurationError,
            "w_min is 0.8 and token_weight_min is 0.7; give one",
        ),
        (
            lambda: entropy_change_weights(mapping="exp", linear=True),
            ConfigurationError,
            "mapping is exp and linear is linear",
        ),
        (
            lambda: entropy_change_weights(estimator="exakt"),  # type: ignore[arg-type]
            ConfigurationError,
            "did you mean 'exact'",
        ),
        (lambda: entropy_change_weights(mapping="clip"), ConfigurationError, "cap is None"),
        (lambda: entropy_change_weights(scale_quantile=0.0), ConfigurationError, "scale_quantile"),
        (lambda: entropy_change_weights(floor=-1.0), ConfigurationError, "floor >= 0"),
        (
            lambda: entropy_change_score(-ONE, -ONE, ONE, ONE, TRUE, estimator="exact"),
            InputError,
            "needs vocab_mean.*statistics_from_logits",
        ),
        (
            lambda: entropy_change_score(-ONE, -ONE, torch.tensor([[1.0, torch.nan]]), ONE, TRUE),
            InputError,
            r"entropy has 1 values that are nan.*first at \[0, 1\]",
        ),
        (lambda: entropy_change_score(ONE, -ONE, ONE, ONE, TRUE), InputError, "take log first"),
        (lambda: steer_weights(ONE, ~TRUE), InputError, "no token counts"),
        (lambda: steer_weights(ONE, TRUE[:, :1]), InputError, "mask has shape"),
    ],
)
def test_bad_input_is_refused(call: Build, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
