"""Advantages, aggregation, surrogates and KL against values of verl's and TRL's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from entropilot.information import masked_mean, masked_variance
from entropilot.policy.advantages import group_advantages, leave_one_out_advantages, whiten
from entropilot.policy.aggregation import Aggregation, aggregation
from entropilot.policy.reference_kl import reference_kl
from entropilot.policy.statistics import statistics_from_logits
from entropilot.policy.surrogates import (
    clipped_ratio_loss,
    sequence_ratio_loss,
    stop_gradient_clip_loss,
)

Golden = dict[str, Any]
TIGHT = {"rtol": 2e-8, "atol": 2e-8}
NUMBERS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def array(values: Any) -> torch.Tensor:
    def number(value: Any) -> Any:
        return [number(v) for v in value] if isinstance(value, list) else NUMBERS.get(value, value)

    return torch.tensor(number(values), dtype=torch.float64)


def close(found: torch.Tensor, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, array(expected), rtol=tolerance, atol=tolerance)


@pytest.fixture
def cases(golden: Callable[[str], Any]) -> Golden:
    found: Golden = golden("rl-objective-common")["cases"]
    return found


def test_verl_group_advantages(cases: Golden) -> None:
    case = cases["grpo_advantage"]
    mask = array(case["response_mask"])
    scores = array(case["token_level_rewards"]).sum(-1)
    names = {g: i for i, g in enumerate(sorted(set(case["group_index"])))}
    group = torch.tensor([names[g] for g in case["group_index"]])
    for scale, key in (("std", "verl_grpo_std"), ("none", "verl_grpo_nostd")):
        found = group_advantages(scores, group, scale=scale, singleton="raw")  # type: ignore[arg-type]
        if scale == "none":
            expected = array(case[key])
            torch.testing.assert_close(found[:, None] * mask, expected, rtol=1e-12, atol=1e-12)
        else:
            close(found[:, None] * mask, case[key])
    close(leave_one_out_advantages(scores, group)[:, None] * mask, case["verl_rloo"])


def test_trl_group_advantages(cases: Golden) -> None:
    case = cases["trl_advantage"]
    rewards = array(case["rewards"])
    flat = rewards.reshape(-1)
    group = torch.arange(len(flat)) // case["num_generations"]
    for key, scale in (("scale_group", "std"), ("scale_none", "none"), ("scale_batch", "batch")):
        found = group_advantages(flat, group, scale=scale, eps=1e-4)  # type: ignore[arg-type]
        close(found.reshape(array(case[key]).shape), case[key])


@pytest.mark.parametrize("which", ["mask", "mask_with_empty_row"])
def test_aggregation_modes(cases: Golden, which: str) -> None:
    case = cases["agg_loss"]
    loss, mask = array(case["loss_mat"]), array(case[which]).bool()
    for mode, values in case["modes"].items():
        expected = values["full" if which == "mask" else "with_empty_row"]
        norm = mode.endswith("norm")
        reduce = Aggregation(mode, loss.shape[1] if norm else None, per_row=False)
        # verl adds 1e-8 to the length of an answer; the division here is exact
        close(reduce(loss, mask), expected, 1e-8 if mode == "seq-mean-token-mean" else 1e-12)


def test_whitening(cases: Golden) -> None:
    case = cases["masked_stats"]
    values, mask = array(case["values"]), array(case["mask"]).bool()
    # verl adds 1e-8 to the count and to the variance
    close(masked_mean(values, mask), case["masked_mean"], 1e-8)
    close(masked_variance(values, mask), case["masked_var_unbiased"], 2e-8)
    found = whiten(values, mask, eps=0.0)
    torch.testing.assert_close(
        torch.where(mask, found, 0), torch.where(mask, array(case["masked_whiten"]), 0), **TIGHT
    )


def test_aggregation_scales(cases: Golden) -> None:
    case = cases["agg_loss"]
    loss, mask = array(case["loss_mat"]), array(case["mask"]).bool()
    fixed = Aggregation("seq-mean-token-sum-norm", 8, per_row=False)(loss, mask)
    close(fixed, case["seq_mean_token_sum_norm_scale_8"])
    close(Aggregation()(loss, mask, n_tokens=40), case["token_mean_batch_num_tokens_40"])


@pytest.mark.parametrize(
    ("key", "low", "high", "dual", "mode"),
    [
        ("eps0.2_c3_token-mean", 0.2, 0.2, 3.0, "token-mean"),
        ("low0.2_high0.28_c10_token-mean", 0.2, 0.28, 10.0, "token-mean"),
        ("eps0.2_c3_seq-mean-token-mean", 0.2, 0.2, 3.0, "seq-mean-token-mean"),
    ],
)
def test_verl_policy_loss(
    cases: Golden, key: str, low: float, high: float, dual: float, mode: Any
) -> None:
    case = cases["policy_loss"]
    logp = array(case["logp"]).requires_grad_()
    mask = array(case["mask"]).bool()
    loss, _ = clipped_ratio_loss(
        logp,
        array(case["old_logp"]),
        array(case["advantages"]),
        mask,
        eps_low=low,
        eps_high=high,
        dual_clip=dual,
    )
    total = Aggregation(mode)(loss, mask)
    total.backward()
    tolerance = 1e-12 if mode == "token-mean" else 1e-8  # verl adds 1e-8 to an answer's length
    close(total.detach(), case["verl"][key]["loss"], tolerance)
    assert logp.grad is not None
    close(logp.grad, case["verl"][key]["grad_logp"], tolerance)


def test_verl_sequence_and_stop_gradient(cases: Golden) -> None:
    case = cases["policy_loss"]
    mask = array(case["mask"]).bool()
    old, advantages = array(case["old_logp"]), array(case["advantages"])
    for key, mode in (
        ("gspo_low0.3_high0.4", "seq-mean-token-mean"),
        ("cispo_low0.2_high0.28", "token-mean"),
    ):
        logp = array(case["logp"]).requires_grad_()
        if key.startswith("gspo"):
            loss, _ = sequence_ratio_loss(logp, old, advantages, mask, eps_low=0.3, eps_high=0.4)
        else:
            loss, _ = stop_gradient_clip_loss(logp, old, advantages, mask, low=0.8, high=1.28)
        total = Aggregation(mode)(loss, mask)  # type: ignore[arg-type]
        total.backward()
        # verl adds 1e-8 to the length of an answer here, and to nothing in the token mean
        tolerance = 1e-12 if mode == "token-mean" else 1e-8
        close(total.detach(), case["verl"][key]["loss"], tolerance)
        assert logp.grad is not None
        close(logp.grad, case["verl"][key]["grad_logp"], tolerance)


@pytest.mark.parametrize(
    "key",
    [
        *("grpo", "bnpo", "dr_grpo", "dapo", "cispo"),
        *("dapo_beta0.04", "dapo_delta1.5", "grpo_sequence_level"),
    ],
)
def test_trl_losses(cases: Golden, key: str) -> None:
    case = cases["trl_loss"]
    mask = array(case["mask"]).bool()
    old = array(case["old_logp"])
    advantages = array(case["advantages_per_row"])[:, None].expand(mask.shape)
    logp = array(case["logp"]).requires_grad_()
    low, high = case["epsilon_low"], case["epsilon_high"]
    if key == "cispo":
        high = case["cispo_epsilon_high"]
        loss, _ = stop_gradient_clip_loss(logp, old, advantages, mask, low=None, high=high)
    elif key == "grpo_sequence_level":
        loss, _ = sequence_ratio_loss(
            logp, old, advantages, mask, eps_low=low, eps_high=high, gradient="mean"
        )
    else:
        dual = 1.5 if key == "dapo_delta1.5" else None
        loss, _ = clipped_ratio_loss(
            logp, old, advantages, mask, eps_low=low, eps_high=high, dual_clip=dual
        )
    if key == "dapo_beta0.04":
        loss = loss + 0.04 * reference_kl(logp, array(case["ref_logp"]), clamp=None)
    name = {"grpo_sequence_level": "grpo", "cispo": "dapo"}.get(key, key.partition("_beta")[0])
    name = name.partition("_delta")[0]
    norm = case["max_completion_length"] if name == "dr_grpo" else None
    total = aggregation(name, norm_length=norm)(loss, mask)
    total.backward()
    close(total.detach(), case["losses"][key]["loss"])
    assert logp.grad is not None
    close(logp.grad, case["losses"][key]["grad_logp"])


def test_kl_estimates(cases: Golden) -> None:
    case = cases["kl"]
    for kind, expected in case["forward"].items():
        close(reference_kl(array(case["logp"]), array(case["ref_logp"]), kind), expected)
    for kind, expected in case["grad_of_sum"].items():
        logp = array(case["logp"]).requires_grad_()
        reference_kl(logp, array(case["ref_logp"]), kind).sum().backward()
        assert logp.grad is not None
        close(logp.grad, expected)
    extreme = case["extreme"]
    close(reference_kl(array(extreme["logp"]), array(extreme["ref_logp"]), "k3"), extreme["k3"])


def test_k2_gradient_with_another_value() -> None:
    logp = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-1.5, -1.0], dtype=torch.float64)
    value = reference_kl(logp, reference, "k3", gradient="k2")
    torch.testing.assert_close(value, reference_kl(logp, reference, "k3"))
    value.sum().backward()
    torch.testing.assert_close(logp.grad, (logp - reference).detach())


def test_entropy_and_logprob(cases: Golden) -> None:
    case = cases["entropy_from_logits"]
    logits = array(case["logits"])
    tokens = array(case["trl_selective_log_softmax"]["index"]).long()
    now = statistics_from_logits(logits, tokens)
    assert now.entropy is not None
    close(now.entropy, case["trl"])
    close(now.logprob, case["trl_selective_log_softmax"]["value"])
    masked = logits[:2].clone()
    masked[:, 2] = -torch.inf
    now = statistics_from_logits(masked, torch.zeros(2).long())
    assert now.entropy is not None
    close(now.entropy, cases["entropy_minus_inf_logit"]["wanted"])
