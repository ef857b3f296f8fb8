"""Clip_B and Clip_V: the authors' masks, both sides, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import token_statistics
from entropilot.policy.discriminator import (
    clip_b,
    clip_b_mask,
    clip_v,
    clip_v_mask,
    entropy_discriminator,
    predict_entropy_step,
)
from entropilot.policy.objective import Objective
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import statistics_from_logits


def array(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def case(golden: Callable[[str], Any]) -> Any:
    return golden("entropy-dynamics")


def test_discriminator_and_vocabulary_mean(case: Any) -> None:
    inputs = case["inputs"]
    logits, tokens = array(inputs["logits"]), torch.tensor(inputs["tokens"])
    now = statistics_from_logits(
        logits, tokens, wants=("logprob", "entropy", "sum_p2", "sum_p2_logp")
    )
    assert now.entropy is not None
    score = entropy_discriminator(now.logprob, now.entropy)
    mask = array(inputs["mask"]).bool()
    expected = array(case["discriminator_sampled"])
    torch.testing.assert_close(score[mask], expected[mask], rtol=1e-12, atol=1e-12)
    means = array(case["vocab_mean_float64"])
    torch.testing.assert_close(now.vocab_mean[mask], means[mask], rtol=1e-12, atol=1e-12)
    kernel = token_statistics(logits, tokens, squares=True)
    found = kernel.entropy * kernel.sum_p2 + kernel.sum_p2_logp
    torch.testing.assert_close(found[mask], means[mask], rtol=1e-9, atol=1e-12)


def test_masks_of_the_authors_classes(case: Any) -> None:
    inputs = case["inputs"]
    mask = array(inputs["mask"]).bool()
    logp, entropy = array(inputs["logp"]), array(inputs["entropy"])
    mean = array(case["vocab_mean_float64"])
    for name, expected in case["cases"].items():
        advantages = array(expected["advantages"])
        if name.startswith("clip_b"):
            found = clip_b_mask(logp, entropy, advantages, mask, mu=expected["mu"])
        else:
            found = clip_v_mask(
                logp,
                entropy,
                mean,
                advantages,
                mask,
                mu=expected["mu"],
                max_frac=expected["max_frac"],
            )
        assert torch.equal(found.kept, array(expected["kept_mask"]).bool()), name
        for metric in ("frac_clipped", "frac_clipped_pos", "frac_clipped_neg"):
            value = float(found.metrics[metric])
            assert value == pytest.approx(expected["metrics"][metric], abs=1e-6), (name, metric)


def test_two_sided_forms_drop_rewarded_tokens_too(case: Any) -> None:
    inputs = case["inputs"]
    mask = array(inputs["mask"]).bool()
    logp, entropy = array(inputs["logp"]), array(inputs["entropy"])
    advantages = array(case["cases"]["clip_b_mu1"]["advantages"])
    one = clip_b_mask(logp, entropy, advantages, mask, mu=1.0)
    two = clip_b_mask(logp, entropy, advantages, mask, mu=1.0, mu_pos=1.0)
    more = one.kept & ~two.kept
    assert more.any()
    assert (advantages[more] > 0).all()
    mean = array(case["vocab_mean_float64"])
    two_v = clip_v_mask(logp, entropy, mean, advantages, mask, mu=1.0, mu_pos=1.0, max_frac=1.0)
    assert float(two_v.metrics["frac_clipped_pos"]) > 0


def test_prediction_is_the_exact_slope_of_a_table_of_softmaxes() -> None:
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 6, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, 6, (3, 4), generator=g)
    mask = torch.rand(3, 4, generator=g) > 0.2
    advantages = torch.randn(3, 4, generator=g, dtype=torch.float64)
    wants = ("logprob", "entropy", "sum_p2", "sum_p2_logp")
    leaf = logits.clone().requires_grad_()
    loss = -(advantages * statistics_from_logits(leaf, tokens).logprob)[mask].mean()
    (slope,) = torch.autograd.grad(loss, leaf)
    rate = 1e-6

    def mean_entropy(z: Tensor) -> float:
        found = statistics_from_logits(z, tokens).entropy
        assert found is not None
        return float(found[mask].mean())

    measured = mean_entropy(logits - rate * slope) - mean_entropy(logits)
    now = statistics_from_logits(logits, tokens, wants=wants)
    assert now.entropy is not None
    one = torch.ones_like(advantages)
    _, predicted = predict_entropy_step(
        now.logprob, now.entropy, now.vocab_mean, advantages, one, mask, learning_rate=rate
    )
    assert float(predicted) == pytest.approx(measured, rel=1e-3)


def test_terms_shrink_the_mask_and_warn_of_another_policy() -> None:
    g = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(8, 6, 9, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, 9, (8, 6), generator=g)
    now = statistics_from_logits(
        logits, tokens, wants=("logprob", "entropy", "sum_p2", "sum_p2_logp")
    )
    reward = (torch.arange(8) % 3 > 0).double()
    rollouts = Rollouts(tokens, torch.ones(8, 6).bool(), now.logprob, reward, torch.arange(8) // 4)
    for term in (clip_b(0.1, 0.1), clip_v(0.1, 0.1, max_frac=1.0)):
        objective = Objective(masks=(term,))
        output = objective.loss(objective.prepare(rollouts), now)
        assert 0 < output.metrics["kept_fraction"] < 1
    far = rollouts.replace(old_logprob=(now.logprob - 0.5))
    with pytest.warns(UserWarning, match=r"differ from the sampler's by 0\.5"):
        Objective(masks=(clip_b(),)).loss(Objective().prepare(far), now)


def test_what_is_refused(case: Any) -> None:
    inputs = case["inputs"]
    mask = array(inputs["mask"]).bool()
    logp, entropy = array(inputs["logp"]), array(inputs["entropy"])
    with pytest.raises(ConfigurationError, match="mu is -1"):
        clip_b(-1.0)
    with pytest.raises(ConfigurationError, match="max_frac is 0"):
        clip_v(max_frac=0.0)
    with pytest.raises(InputError, match="natural-log probabilities are <= 0"):
        clip_b_mask(-logp, entropy, logp, mask)
    with pytest.raises(InputError, match="entropies are >= 0"):
        clip_b_mask(logp, -entropy, logp, mask)
    with pytest.raises(InputError, match="of the same tokens"):
        clip_b_mask(logp, entropy[:, :3], logp, mask)


def test_equal_discriminators_drop_nothing() -> None:
    logits = torch.randn(64, 32, 1, generator=torch.Generator().manual_seed(0)).expand(64, 32, 7)
    tokens, mask = torch.zeros(64, 32).long(), torch.ones(64, 32).bool()
    wants = ("logprob", "entropy", "sum_p2", "sum_p2_logp")
    now = statistics_from_logits(logits, tokens, wants=wants)  # uniform, with rounding
    assert now.entropy is not None
    minus = -torch.ones(64, 32)
    assert clip_b_mask(now.logprob, now.entropy, minus, mask, mu=0.0).kept.all()
    found = clip_v_mask(now.logprob, now.entropy, now.vocab_mean, minus, mask, mu=0.0, max_frac=1.0)
    assert found.kept.all()


def test_of_equal_tokens_over_the_cap_the_first_are_dropped() -> None:
    logprob, one = torch.full((1, 40), -3.0), torch.ones(1, 40)
    mean = 0.1 + (torch.arange(40) > 19).float()[None]
    found = clip_v_mask(logprob, one, mean, -one, one.bool(), mu=0.5, max_frac=0.1)
    assert (~found.kept).nonzero()[:, 1].tolist() == [20, 21, 22, 23]


def test_values_off_the_mask_are_never_read(case: Any) -> None:
    inputs = case["inputs"]
    mask = array(inputs["mask"]).bool()
    mean = array(case["vocab_mean_float64"])
    advantages = array(case["cases"]["clip_b_mu1"]["advantages"])
    clean = [array(inputs["logp"]), array(inputs["entropy"]), mean, advantages]
    dirty = [torch.where(mask, x, torch.nan) for x in clean]
    found = clip_v_mask(*dirty, mask, mu=0.5, mu_pos=0.5, max_frac=1.0)
    expected = clip_v_mask(*clean, mask, mu=0.5, mu_pos=0.5, max_frac=1.0)
    assert torch.equal(found.kept, expected.kept)
    for name, value in found.metrics.items():
        assert float(value) == float(expected.metrics[name]), name
    ratio = torch.where(mask, 1.0, torch.nan)
    change, total = predict_entropy_step(*dirty, ratio, mask)
    assert not change[~mask].any()
    assert bool(torch.isfinite(total))


def test_what_is_missing_or_nan_is_named(case: Any) -> None:
    inputs = case["inputs"]
    mask = array(inputs["mask"]).bool()
    logp, entropy = array(inputs["logp"]), array(inputs["entropy"])
    with pytest.raises(InputError, match=r"measure sum_p2 and sum_p2_logp .*vocab_mean\(logits\)"):
        clip_v_mask(logp, entropy, None, logp, mask)
    row, token = mask.nonzero()[3].tolist()
    logp[row, token] = torch.nan
    with pytest.raises(InputError, match=rf"logprob has 1 values .* first at \[{row}, {token}\]"):
        clip_b_mask(logp, entropy, logp, mask)
