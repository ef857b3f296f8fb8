"""The objective: order of its slots, states, masks, metrics and what it says of bad numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.advantages import group_normalised, group_shares, leave_one_out, whitened
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.objective import NonFiniteError, Objective
from entropilot.policy.reference_kl import reference_penalty
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits
from entropilot.policy.surrogates import (
    clipped_ratio,
    logprob_surrogate,
    sequence_ratio,
    stop_gradient_clip,
)
from entropilot.policy.term import Applied, State, Term, View

V = 7


def batch(seed: int = 0, n: int = 8, t: int = 6, **fields: Any) -> tuple[Rollouts, Tensor]:
    """Rollouts of two groups and logits [B, T, V] of a policy near the one that sampled."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, t, V, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, V, (n, t), generator=g)
    mask = torch.arange(t) < torch.randint(1, t + 1, (n, 1), generator=g)
    now = statistics_from_logits(logits, tokens)
    noise = 0.1 * torch.randn(n, t, generator=g, dtype=torch.float64)
    reward = torch.randint(0, 2, (n,), generator=g).double()
    reward[0], reward[1] = 0.0, 1.0
    rollouts = Rollouts(
        tokens,
        mask,
        (now.logprob + noise).clamp(max=0),
        reward,
        torch.arange(n) // (n // 2),
        entropy=now.entropy,
        correct=reward > 0,
        **fields,
    )
    return rollouts, logits


def loss_and_gradient(
    objective: Objective, rollouts: Rollouts, logits: Tensor
) -> tuple[Tensor, Tensor]:
    z = logits.clone().requires_grad_()
    now = statistics_from_logits(z, rollouts.tokens, wants=objective.needs)
    output = objective.loss(objective.prepare(rollouts), now)
    output.loss.backward()
    assert z.grad is not None
    return output.loss.detach(), z.grad


SURROGATES = (clipped_ratio(), sequence_ratio(), stop_gradient_clip(), logprob_surrogate())


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda term: term.name)
def test_padding_and_order_of_answers_change_nothing(surrogate: Term) -> None:
    rollouts, logits = batch()
    objective = Objective(surrogate=surrogate)
    loss, gradient = loss_and_gradient(objective, rollouts, logits)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    moved, moved_gradient = loss_and_gradient(objective, rollouts.select(order), logits[order])
    torch.testing.assert_close(moved, loss)
    torch.testing.assert_close(moved_gradient, gradient[order])

    def padded(value: Tensor, fill: float) -> Tensor:
        return torch.cat([value, torch.full_like(value[:, :2], fill)], 1)

    wide = Rollouts(
        padded(rollouts.tokens, 0),
        padded(rollouts.mask, False),
        padded(rollouts.old_logprob, torch.nan),
        rollouts.reward,
        rollouts.group,
    )
    padded_loss, padded_gradient = loss_and_gradient(objective, wide, padded(logits, 0.0))
    torch.testing.assert_close(padded_loss, loss)
    torch.testing.assert_close(padded_gradient[:, :6], gradient)
    assert not padded_gradient[:, 6:].any()


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda term: term.name)
def test_gradient_is_that_of_finite_differences(surrogate: Term) -> None:
    rollouts, logits = batch(3)
    objective = Objective(surrogate=surrogate)
    prepared = objective.prepare(rollouts)
    now = statistics_from_logits(logits, rollouts.tokens, wants=objective.needs)
    leaf = now.leaves()
    objective.loss(prepared, leaf).loss.backward()
    assert leaf.logprob.grad is not None
    if surrogate.name in ("sequence-ratio", "stop-gradient-clip"):
        return  # a stopped gradient is not the slope of the value; the golden values hold it
    for row, token in rollouts.mask.nonzero()[::3].tolist():
        step = torch.zeros_like(now.logprob)
        step[row, token] = 1e-6
        up, down = (
            objective.loss(prepared, PolicyStatistics(now.logprob + s)).loss for s in (step, -step)
        )
        slope = (up - down) / 2e-6
        torch.testing.assert_close(slope, leaf.logprob.grad[row, token], rtol=1e-5, atol=1e-7)


def test_plain_objective_has_no_entropy_gradient() -> None:
    rollouts, logits = batch()
    now = statistics_from_logits(logits, rollouts.tokens).leaves()
    Objective().loss(Objective().prepare(rollouts), now).loss.backward()
    assert now.entropy is not None
    assert now.entropy.grad is None or not now.entropy.grad.any()
    assert Objective().needs == {"logprob"}


def drop_last(view: View, state: State) -> Applied:
    return Applied(torch.arange(view.mask.shape[1]) < view.mask.shape[1] - 1, state)


def test_order_of_slots() -> None:
    seen: list[tuple[str, int, float]] = []

    def spy(name: str, value: Any) -> Term:
        def apply(view: View, state: State) -> Applied:
            seen.append((name, int(view.mask.sum()), float(view.reward.sum())))
            return Applied(value(view), state)

        return Term(name, apply)

    rollouts, logits = batch()
    objective = Objective(
        rewards=(spy("reward", lambda v: v.reward + 1),),
        advantages=(group_normalised(), spy("advantage", lambda v: v.advantages)),
        masks=(spy("mask", lambda v: drop_last(v, None).value),),
        weights=(spy("weight", lambda v: torch.full_like(v.advantages, 0.5)),),
        surrogate=spy("surrogate", lambda v: torch.where(v.mask, 1.0, 0.0)),
        regularisers=(spy("regulariser", lambda v: v.reward.sum() * 0),),
    )
    output = objective.loss(
        objective.prepare(rollouts), statistics_from_logits(logits, rollouts.tokens)
    )
    n, total = rollouts.n_tokens, float(rollouts.reward.sum())
    kept = int(output.kept_mask.sum())
    assert kept < n
    assert seen == [
        ("reward", n, total),
        ("advantage", n, total + 8),
        ("mask", n, total + 8),
        ("weight", kept, total + 8),
        ("surrogate", kept, total + 8),
        ("regulariser", n, total + 8),
    ]
    assert output.loss.item() == 0.5  # the mean over kept tokens of 1 times the weight


def test_state_is_kept_by_name_and_is_json() -> None:
    def apply(view: View, state: State) -> Applied:
        assert state is not None
        return Applied(view.reward.sum() * 0, {"calls": state["calls"] + 1})

    counter = Term("counter", apply, init=lambda _view: {"calls": 0})
    objective = Objective(regularisers=(counter,))
    rollouts, logits = batch()
    now = statistics_from_logits(logits, rollouts.tokens)
    prepared = objective.prepare(rollouts)
    first = objective.loss(prepared, now)
    kept = json.loads(json.dumps(first.state))
    assert objective.loss(prepared, now, kept).state["counter"] == {"calls": 2}
    assert prepared.state.get("counter") is None  # nothing was changed in place


def test_parts_of_the_batch_learn_from_the_advantages_of_the_whole() -> None:
    rollouts, _ = batch()
    whole = Objective().prepare(rollouts)
    part = whole.select(torch.tensor([1, 5]))
    assert part.rollouts.n_answers == 2
    torch.testing.assert_close(part.advantages, whole.advantages[[1, 5]])


def test_all_tokens_dropped_gives_a_zero_loss_with_a_graph() -> None:
    rollouts, logits = batch()
    nothing = Term("none", lambda view, state: Applied(torch.zeros_like(view.mask), state))
    objective = Objective(masks=(nothing,))
    now = statistics_from_logits(logits.requires_grad_(), rollouts.tokens)
    output = objective.loss(objective.prepare(rollouts), now)
    output.loss.backward()
    assert output.loss.item() == 0.0
    assert output.metrics["kept_fraction"] == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_term_that_gives_nan_is_named() -> None:
    broken = Term("broken", lambda view, state: Applied(view.reward.sum() * torch.nan, state))
    rollouts, logits = batch()
    objective = Objective(regularisers=(broken,))
    now = statistics_from_logits(logits, rollouts.tokens)
    with pytest.raises(NonFiniteError, match="'broken'") as caught:
        objective.loss(objective.prepare(rollouts), now)
    assert caught.value.term == "broken"


def test_network_that_gives_nan_is_named() -> None:
    rollouts, logits = batch()
    row, token = rollouts.mask.nonzero()[3].tolist()
    now = statistics_from_logits(logits, rollouts.tokens)
    now.logprob[row, token] = torch.nan
    with pytest.raises(NonFiniteError, match=f"answer {row}, token {token}: the network"):
        Objective().loss(Objective().prepare(rollouts), now)


def test_objectives_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="exactly one surrogate"):
        Objective(surrogate=(clipped_ratio(), clipped_ratio()))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="two terms named 'whitened'"):
        Objective(advantages=(whitened(), whitened()))
    with pytest.raises(ConfigurationError, match="without one the loss is 0"):
        Objective(advantages=())
    with pytest.raises(ConfigurationError, match="did you mean 'entropy'"):
        Objective(weights=(Term("x", drop_last, needs=frozenset({"entropi"})),))
    with pytest.raises(ConfigurationError, match="above 1"):
        clipped_ratio(dual_clip=0.5)
    with pytest.raises(ConfigurationError, match="norm_length"):
        Aggregation("seq-mean-token-sum-norm")


def test_missing_statistic_says_how_to_get_it() -> None:
    rollouts, logits = batch()
    needs = Term("x", lambda v, s: Applied(v.advantages, s), needs=frozenset({"sum_p2"}))
    objective = Objective(weights=(needs,))
    now = statistics_from_logits(logits, rollouts.tokens)
    with pytest.raises(InputError, match="'sum_p2' was not measured; ask for it"):
        objective.loss(objective.prepare(rollouts), now)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old_logprob": torch.ones(8, 6).double()}, "above 0 .* take log first"),
        ({"reward": torch.full((8,), torch.nan)}, "reward has 8 values that are nan"),
        ({"reward": torch.zeros(3)}, "one number an answer"),
        ({"mask": torch.zeros(8, 6).bool()}, "no token counts"),
        ({"mask": torch.ones(8, 6)}, r"expected \[B, T\] bool"),
        ({"group": torch.zeros(8)}, "expected integers"),
        ({"correct": torch.zeros(8)}, "correct has dtype"),
        ({"entropy": -torch.ones(8, 6)}, "entropies are >= 0"),
        ({"tokens": torch.zeros(8, 5).long()}, "tokens has shape"),
    ],
)
def test_bad_rollouts_are_refused_at_the_door(change: dict[str, Tensor], message: str) -> None:
    rollouts, _ = batch()
    with pytest.raises(InputError, match=message):
        rollouts.replace(**change)


def test_groups_that_teach_nothing_are_told_apart() -> None:
    reward = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    group = torch.tensor([4, 4, 7, 7, 9, 9])
    shares = group_shares(reward, group, reward > 0)
    third = pytest.approx(1 / 3)
    assert shares == {
        "frac_zero_std_groups": pytest.approx(2 / 3),
        "frac_all_right_groups": third,
        "frac_all_wrong_groups": third,
    }


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_group_of_equal_rewards_gets_exactly_zero(values: list[float], other: int) -> None:
    n = len(values)
    rewards = torch.cat([torch.full((n + 1,), values[0]), torch.tensor([0.0, float(other)])])
    group = torch.cat([torch.zeros(n + 1), torch.ones(2)]).long()
    for term in (group_normalised(), group_normalised("none"), group_normalised("batch")):
        rollouts = Rollouts(
            torch.zeros(n + 3, 1).long(),
            torch.ones(n + 3, 1).bool(),
            torch.zeros(n + 3, 1),
            rewards,
            group,
        )
        advantages = Objective(advantages=(term,)).prepare(rollouts).advantages
        assert not advantages[: n + 1].any()


def test_lone_answer_warns_and_gets_zero() -> None:
    rollouts, _ = batch()
    alone = rollouts.replace(group=torch.arange(8))
    with pytest.warns(UserWarning, match="alone in their group"):
        advantages = Objective().prepare(alone).advantages
    assert not advantages.any()
    raw = Objective(advantages=(leave_one_out(),)).prepare(alone).advantages
    torch.testing.assert_close(raw[:, 0], alone.reward)


def test_reference_penalty_uses_the_original_mask() -> None:
    rollouts, logits = batch()
    reference = (rollouts.old_logprob - 0.3).detach()
    with_reference = rollouts.replace(reference_logprob=reference)
    objective = Objective(
        masks=(Term("drop", drop_last),), regularisers=(reference_penalty(2.0, "k1"),)
    )
    now = statistics_from_logits(logits, rollouts.tokens)
    output = objective.loss(objective.prepare(with_reference), now)
    mean = (now.logprob - reference)[rollouts.mask].mean()
    assert output.metrics["reference-kl/loss"] == pytest.approx(2 * mean.item())
    with pytest.raises(InputError, match=r"needs rollouts\.reference_logprob"):
        objective.loss(objective.prepare(rollouts), now)
