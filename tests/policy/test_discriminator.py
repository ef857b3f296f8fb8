"""Clip_B and Clip_V: the authors' masks, the two-sided form, the cap, and bad input."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.discriminator import clip_b, clip_b_mask, clip_v, clip_v_mask
from entropilot.policy.idle_warning import IDLE_UPDATES
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits

WANTS = ("logprob", "entropy", "sum_p2", "sum_p2_logp")
CASES = (
    *("clip_b_mu0.5", "clip_b_mu1", "clip_b_mu2.5", "clip_v_mu1_frac1"),
    *("clip_v_mu0.5_frac0.05", "clip_v_mu0.5_frac1", "clip_v_mu0.5_frac1e-4"),
)


@pytest.fixture
def case(golden: Callable[[str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = golden("entropy-dynamics")
    return found


def measured(case: dict[str, Any]) -> tuple[PolicyStatistics, Tensor]:
    inputs = case["inputs"]
    logits = torch.tensor(inputs["logits"], dtype=torch.float64)
    now = statistics_from_logits(logits, torch.tensor(inputs["tokens"]), wants=WANTS)
    return now, torch.tensor(inputs["mask"]).bool()


@pytest.mark.parametrize("name", CASES)
def test_golden_masks(case: dict[str, Any], name: str) -> None:
    now, mask = measured(case)
    expected = case["cases"][name]
    advantages = torch.tensor(expected["advantages"], dtype=torch.float64)
    assert now.entropy is not None
    if name.startswith("clip_b"):
        kept, found = clip_b_mask(now.logprob, now.entropy, advantages, mask, mu=expected["mu"])
        close = {"mean": found["mean"], "var": found["sd"] ** 2}
        wanted = {"mean": expected["metrics"]["ES"], "var": expected["metrics"]["varS"]}
    else:
        kept, found = clip_v_mask(
            *(now.logprob, now.entropy, now.vocab_mean, advantages, mask),
            mu=expected["mu"],
            max_frac=expected["max_frac"],
        )
        close, wanted = {"sd": found["sd"]}, {"sd": expected["metrics"]["stdD"]}
    assert torch.equal(kept, torch.tensor(expected["kept_mask"]).bool())
    # their code works in float32
    assert close == pytest.approx(wanted, abs=1e-6)
    for key in ("frac_clipped", "frac_clipped_pos", "frac_clipped_neg"):
        assert found[key] == pytest.approx(expected["metrics"][key], abs=1e-6)


def batch(n: int = 400) -> tuple[Rollouts, Tensor]:
    """Answers of a policy over 50 tokens, drawn from it, and its logits."""
    g = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(8, n // 8, 50, generator=g, dtype=torch.float64)
    p = logits.softmax(-1)
    tokens = torch.multinomial(p.reshape(-1, 50), 1, generator=g).reshape(8, -1)
    now = statistics_from_logits(logits, tokens)
    reward = torch.tensor([1.0, 0.0] * 4).double()
    mask = torch.ones_like(tokens).bool()
    return Rollouts(tokens, mask, now.logprob, reward, torch.arange(8) // 4), logits


def test_two_sided_drops_what_lowers_the_entropy_most() -> None:
    rollouts, logits = batch()
    now = statistics_from_logits(logits, rollouts.tokens, wants=WANTS)
    assert now.entropy is not None
    advantages = torch.where(rollouts.reward[:, None] > 0, 1.0, -1.0).expand_as(now.logprob)
    surplus = now.logprob.exp() * (now.entropy + now.logprob) - now.vocab_mean
    change = -advantages * surplus  # of the entropy, a unit of alpha
    for kept, _ in (
        clip_v_mask(
            *(now.logprob, now.entropy, now.vocab_mean, advantages, rollouts.mask),
            mu=1.5,
            mu_pos=1.5,
            max_frac=1.0,
        ),
        clip_v_mask(
            *(now.logprob, now.entropy, now.vocab_mean, advantages, rollouts.mask),
            mu=0.5,
            mu_pos=0.5,
            max_frac=0.02,
        ),
    ):
        dropped = ~kept
        assert 0 < dropped.sum() < 60
        assert change[dropped].max() < change[kept].min()
    capped = int(dropped.sum())
    assert capped == math.floor(0.02 * rollouts.n_tokens)
    one = clip_b_mask(now.logprob, now.entropy, advantages, rollouts.mask, mu=1.0)
    two = clip_b_mask(now.logprob, now.entropy, advantages, rollouts.mask, mu=1.0, mu_pos=1.0)
    assert two.metrics["frac_clipped_pos"] > 0 == one.metrics["frac_clipped_pos"]
    assert torch.equal(one.kept | (advantages > 0), one.kept)


def test_equal_discriminators_keep_every_token() -> None:
    one = torch.ones(2, 3)
    kept, metrics = clip_b_mask(-one, one, -one, one.bool(), mu=0.0)
    assert kept.all()
    assert metrics["sd"] == 0.0


def test_no_token_that_counts_gives_zeros() -> None:
    nan = torch.full((2, 3), torch.nan)
    none = torch.zeros(2, 3).bool()
    for kept, metrics in (
        clip_b_mask(nan, nan, nan, none),
        clip_v_mask(nan, nan, nan, nan, none),
    ):
        assert not kept.any()
        assert set(metrics.values()) == {0.0}


def test_half_precision_is_widened() -> None:
    rollouts, logits = batch()
    now = statistics_from_logits(logits, rollouts.tokens)
    assert now.entropy is not None
    found = clip_b_mask(
        *(now.logprob.half(), now.entropy.half()), -torch.ones_like(now.logprob), rollouts.mask
    )
    wide = clip_b_mask(now.logprob, now.entropy, -torch.ones_like(now.logprob), rollouts.mask)
    assert found.metrics["sd"] == pytest.approx(wide.metrics["sd"], rel=1e-3)


@pytest.mark.parametrize("term", [clip_b(0.5, 0.5), clip_v(0.5, 0.5, 1.0)], ids=lambda t: t.name)
def test_terms_shrink_the_mask_and_the_denominator(term: Any) -> None:
    rollouts, logits = batch()
    objective = Objective(masks=(term,))
    prepared = objective.prepare(rollouts)
    now = statistics_from_logits(logits, rollouts.tokens, wants=objective.needs)
    output = objective.loss(prepared, now)
    assert output.kept_mask.sum() == 400 - output.metrics[f"{term.name}/n_dropped"]
    assert 0 < output.metrics[f"{term.name}/frac_clipped"] < 1
    expected = output.per_token_loss.sum() / output.kept_mask.sum()
    torch.testing.assert_close(output.loss, expected)


def test_statistics_of_another_policy_warn_once() -> None:
    rollouts, logits = batch()
    objective = Objective(masks=(clip_b(),))
    other = statistics_from_logits(0.9 * logits, rollouts.tokens)  # another temperature
    prepared = objective.prepare(rollouts)
    with pytest.warns(UserWarning, match="not of the policy that drew the tokens"):
        first = objective.loss(prepared, other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # later updates move away from it, as they should
        objective.loss(prepared, other, first.state)
        objective.loss(prepared, statistics_from_logits(logits, rollouts.tokens))


def test_idle_run_warns() -> None:
    rollouts, logits = batch()
    objective = Objective(masks=(clip_b(20.0),))
    prepared = objective.prepare(rollouts)
    now = statistics_from_logits(logits, rollouts.tokens)
    state = objective.loss(prepared, now).state
    state["clip-b"] = {"updates": IDLE_UPDATES - 1, "idle": IDLE_UPDATES - 1}
    with pytest.warns(
        UserWarning, match=r"'clip-b' has changed next to nothing for 100 updates.*lower mu"
    ):
        state = objective.loss(prepared, now, state).state
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective.loss(prepared, now, state)


ONE = torch.ones(1, 2)
TRUE = ONE.bool()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: clip_b(-1.0), ConfigurationError, "mu is -1.0; it counts standard deviations"),
        (lambda: clip_v(1.0, -1.0), ConfigurationError, "mu_pos is -1.0"),
        (lambda: clip_v(max_frac=0.0), ConfigurationError, r"max_frac is 0.0.*\(0, 1\]"),
        (
            lambda: clip_v_mask(-ONE, ONE, ONE, ONE, TRUE, max_frac=1.5),
            ConfigurationError,
            "max_frac is 1.5",
        ),
        (lambda: clip_b_mask(ONE, ONE, ONE, TRUE), InputError, "must be log-probabilities"),
        (lambda: clip_b_mask(-ONE, -ONE, ONE, TRUE), InputError, "entropies are >= 0"),
        (lambda: clip_b_mask(-ONE, ONE[:, :1], ONE, TRUE), InputError, "entropy has shape"),
        (lambda: clip_b_mask(ONE * torch.nan, ONE, ONE, TRUE), InputError, "reaches nan"),
        (
            lambda: clip_v_mask(-ONE, ONE, None, ONE, TRUE),
            InputError,
            "needs vocab_mean.*statistics_from_logits",
        ),
    ],
)
def test_bad_input_is_refused(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
