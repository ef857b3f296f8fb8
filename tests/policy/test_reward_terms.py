"""What every term that shapes rewards, advantages or values owes, in one battery."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.objective import Objective, Prepared
from entropilot.policy.offline import oreo_policy_loss, oreo_value_loss
from entropilot.policy.phase_entropy_reward import phase_entropy_reward
from entropilot.policy.phases import phase_masks
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.soft_bellman import suffix_log_ratio
from entropilot.policy.soft_bellman_terms import (
    soft_bellman_advantage,
    soft_bellman_surrogate,
    soft_bellman_value_loss,
)
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.step_potential_advantage import step_potential_advantage
from entropilot.policy.surrogates import logprob_surrogate
from entropilot.policy.term import Applied, Term

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "phase entropy": lambda: {"rewards": (phase_entropy_reward(),)},
    "step potential": lambda: {"advantages": (step_potential_advantage(),)},
    "both": lambda: {
        "rewards": (phase_entropy_reward(),),
        "advantages": (step_potential_advantage(summary="decay"),),
    },
    "soft Bellman advantage": lambda: {"advantages": (soft_bellman_advantage(0.1),)},
    "soft Bellman": lambda: {
        "surrogate": soft_bellman_surrogate(0.1),
        "regularisers": (soft_bellman_value_loss(0.5, 0.1),),
        "aggregation": Aggregation("seq-mean-token-mean"),
    },
}


@dataclass(frozen=True)
class Batch:
    """Rollouts of 2 prompts with 3 answers each, and current statistics."""

    rollouts: Rollouts
    logprob: Tensor
    value: Tensor

    def now(self) -> PolicyStatistics:
        return PolicyStatistics(logprob=self.logprob, value=self.value).leaves()

    def select(self, rows: Tensor) -> Batch:
        return Batch(self.rollouts.select(rows), self.logprob[rows], self.value[rows])


def batch(extra: int = 0, dirt: float = math.nan) -> Batch:
    """The batch, with ``extra`` columns of padding that hold ``dirt``."""
    draw = torch.Generator().manual_seed(0)
    n, length = 6, 8
    tokens = torch.randint(0, 6, (n, length), generator=draw)
    tokens[:, 4] = 9
    lengths = torch.tensor([8, 6, 7, 8, 5, 8])
    mask = torch.arange(length) < lengths[:, None]

    def noise() -> Tensor:
        return torch.rand(n, length, generator=draw, dtype=torch.float64)

    step_id = torch.tensor([0, 0, 1, 1, -1, -1, -1, -1]).repeat(n, 1)
    floats = {"old": -noise(), "entropy": noise(), "ref": -noise(), "now": -noise(), "v": noise()}
    phi = 2 * torch.rand(n, 2, generator=draw, dtype=torch.float64) - 1
    phi[0] = 0.95

    def wide(x: Tensor, fill: Any) -> Tensor:
        return torch.nn.functional.pad(x, (0, extra), value=fill)

    mask = wide(mask, False)
    made = {k: torch.where(mask, wide(x, 0.0), dirt) for k, x in floats.items()}
    phases = phase_masks(wide(tokens, 9), 9, mask)
    right = torch.tensor([True, False, True, False, True, True])
    rollouts = Rollouts(
        wide(tokens, 9), mask, made["old"], right.double(), torch.tensor([0, 0, 0, 1, 1, 1]),
        entropy=made["entropy"], reference_logprob=made["ref"], correct=right,
        step_id=torch.where(mask, wide(step_id, 0), -2), step_potential=phi,
        step_valid=torch.ones(n, 2, dtype=torch.bool), think=phases.think, answer=phases.answer,
    )  # fmt: skip
    return Batch(rollouts, made["now"], made["v"])


def run(objective: Objective, b: Batch) -> tuple[Prepared, float, list[Tensor]]:
    """Prepared batch, loss, and the gradients in the statistics."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared = objective.prepare(b.rollouts)
    now = b.now()
    out = objective.loss(prepared, now)
    out.loss.backward()
    assert now.value is not None
    grads = [x.grad for x in (now.logprob, now.value)]
    return prepared, out.loss.item(), [torch.zeros(1) if g is None else g for g in grads]


@pytest.mark.parametrize("name", PARTS)
def test_what_is_masked_may_be_anything_and_padding_changes_nothing(name: str) -> None:
    objective = Objective(**PARTS[name]())
    mask = batch().rollouts.mask
    _, loss, grads = run(objective, batch())
    for grad in grads:
        assert bool(torch.isfinite(grad).all())
    for other in (batch(dirt=-0.5), batch(extra=3)):
        _, again, wide = run(objective, other)
        assert again == pytest.approx(loss, abs=1e-12)
        for a, b in zip(grads, wide, strict=True):
            if a.ndim == 2:
                assert torch.allclose(a[mask], b[:, : mask.shape[1]][mask], rtol=0, atol=1e-12)
                assert b[:, mask.shape[1] :].abs().sum() == 0


@pytest.mark.parametrize("name", PARTS)
def test_permuting_the_answers_permutes_rewards_advantages_and_gradients(name: str) -> None:
    objective, order = Objective(**PARTS[name]()), torch.tensor([3, 1, 5, 0, 2, 4])
    prepared, loss, grads = run(objective, batch())
    again, other, permuted = run(objective, batch().select(order))
    assert other == pytest.approx(loss, abs=1e-12)
    assert torch.allclose(again.reward, prepared.reward[order])
    assert torch.allclose(again.advantages, prepared.advantages[order], atol=1e-12)
    for a, b in zip(grads, permuted, strict=True):
        assert torch.allclose(b, a[order] if a.ndim == 2 else a, atol=1e-12)


@pytest.mark.parametrize("name", PARTS)
def test_states_survive_json_and_settings_are_plain(name: str) -> None:
    objective = Objective(**PARTS[name]())
    b = batch()
    prepared = objective.prepare(b.rollouts)
    state = json.loads(json.dumps(prepared.state))
    assert state == prepared.state
    first = objective.loss(prepared, b.now())
    second = objective.loss(prepared, b.now(), json.loads(json.dumps(prepared.state)))
    assert first.loss.item() == second.loss.item()
    for term in objective.terms:
        assert json.loads(json.dumps(dict(term.settings))) == dict(term.settings)


@pytest.mark.parametrize("name", PARTS)
def test_metrics_bear_the_name_of_their_method(name: str) -> None:
    objective = Objective(**PARTS[name]())
    prepared = objective.prepare(batch().rollouts)
    out = objective.loss(prepared, batch().now())
    for key, value in (prepared.metrics | out.metrics).items():  # type: ignore[operator]
        assert math.isfinite(value), key


def test_certain_policies_pay_no_phase_penalty() -> None:
    b = batch()
    assert b.rollouts.entropy is not None
    calm = b.rollouts.replace(entropy=torch.zeros_like(b.rollouts.entropy))
    plain = Objective().prepare(calm)
    shaped = Objective(rewards=(phase_entropy_reward(),)).prepare(calm)
    assert torch.equal(plain.reward, shaped.reward)
    assert torch.equal(plain.advantages, shaped.advantages)


def test_the_soft_bellman_objective_is_the_offline_losses() -> None:
    b = batch()
    rollouts = b.rollouts
    objective = Objective(**PARTS["soft Bellman"]())
    _, loss, (by_logprob, by_value) = run(objective, b)
    logprob, value = (x.clone().requires_grad_() for x in (b.logprob, b.value))
    assert rollouts.reference_logprob is not None
    args = (logprob, rollouts.reference_logprob)
    policy = oreo_policy_loss(*args, value, rollouts.reward, rollouts.mask, beta=0.1)
    suffix = suffix_log_ratio(*args, rollouts.mask)
    of_value = oreo_value_loss(value, suffix, rollouts.reward, rollouts.mask, beta=0.1)
    whole = policy + 0.5 * of_value
    whole.backward()
    assert loss == pytest.approx(whole.item(), abs=1e-12)
    assert torch.allclose(by_logprob, logprob.grad, atol=1e-12)
    assert torch.allclose(by_value, value.grad, atol=1e-12)
    weighted = Objective(
        **PARTS["soft Bellman"](),
        weights=(Term("half", lambda view, state: Applied(0.5 * view.mask.double(), state)),),
    )
    _, _, (half, _) = run(weighted, b)
    assert torch.allclose(half, by_logprob / 2, atol=1e-12)


def test_process_rewards_count_from_each_token_on() -> None:
    b = batch()
    last = torch.zeros_like(b.logprob)
    place = b.rollouts.lengths - 1
    last[torch.arange(6), place] = b.rollouts.reward
    objective = Objective(**PARTS["soft Bellman"]())
    _, loss, _ = run(objective, b)
    process = b.rollouts.replace(reward=torch.where(b.rollouts.mask, last, math.nan))
    _, again, _ = run(objective, Batch(process, b.logprob, b.value))
    assert again == pytest.approx(loss, abs=1e-12)
    first = torch.zeros_like(last)
    first[:, 0] = b.rollouts.reward
    _, other, _ = run(objective, Batch(b.rollouts.replace(reward=first), b.logprob, b.value))
    assert other != pytest.approx(loss, abs=1e-3)


def test_a_small_beta_gives_the_group_advantage_without_deviation() -> None:
    prepared = Objective(
        advantages=(soft_bellman_advantage(1e-9),), surrogate=logprob_surrogate()
    ).prepare(batch().rollouts)
    expected = torch.tensor([1 / 3, -2 / 3, 1 / 3, -2 / 3, 1 / 3, 1 / 3], dtype=torch.float64)
    mask = batch().rollouts.mask
    assert torch.allclose(prepared.advantages[mask], expected[:, None].expand_as(mask)[mask])


def test_a_reward_that_is_equal_for_a_group_is_warned_of() -> None:
    rollouts = batch().rollouts

    def adding(bonus: Callable[[Tensor], Tensor]) -> Objective:
        term = Term("bonus", lambda view, state: Applied(view.reward + bonus(view.reward), state))
        return Objective(rewards=(term,))

    constant = adding(lambda reward: 0.25 + rollouts.group.double())
    with pytest.warns(UserWarning, match="'bonus'.*this term cannot change the gradient"):
        prepared = constant.prepare(rollouts)
    assert torch.allclose(prepared.advantages, Objective().prepare(rollouts).advantages)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adding(lambda reward: 0.1 * rollouts.lengths.double()).prepare(rollouts)
        adding(lambda reward: 0 * reward).prepare(rollouts)  # idle is no fault
        alone = rollouts.replace(group=torch.arange(6))
        term = Term("bonus", lambda view, state: Applied(view.reward + 1, state))
        Objective(rewards=(term,), advantages=(soft_bellman_advantage(),)).prepare(alone)


def test_bad_input_is_named() -> None:
    bare = batch().rollouts.replace(reference_logprob=None)
    with pytest.raises(InputError, match=r"need rollouts\.reference_logprob"):
        Objective(advantages=(soft_bellman_advantage(),)).prepare(bare)
    for make in (soft_bellman_advantage, soft_bellman_surrogate):
        with pytest.raises(ConfigurationError, match="beta is 0"):
            make(0.0)
    with pytest.raises(ConfigurationError, match="beta is -1"):
        soft_bellman_value_loss(1.0, -1.0)
