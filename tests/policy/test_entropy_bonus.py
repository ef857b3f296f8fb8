"""Entropy bonus: value, gradient, schedules kept in the state, TRL's adaptive rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError
from entropilot.policy.aggregation import Aggregation
from entropilot.policy.entropy_bonus import adaptive_entropy_bonus, entropy_bonus
from entropilot.policy.objective import Objective, ObjectiveState
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.schedules import constant, cosine, join, linear
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.term import Term

ONE = torch.ones(2, 3, dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, False, False]])
ROLLOUTS = Rollouts(ONE.long(), MASK, -ONE, torch.tensor([1.0, 0.0]), torch.zeros(2).long())


def run(term: Term, entropies: list[float]) -> list[tuple[float, float]]:
    """(loss of the term, coefficient applied) at each update of a run."""
    objective = Objective(regularisers=(term,))
    prepared = objective.prepare(ROLLOUTS)
    state: ObjectiveState | None = None
    found = []
    for entropy in entropies:
        output = objective.loss(prepared, PolicyStatistics(-ONE, entropy * ONE), state)
        state = json.loads(json.dumps(output.state))
        found.append((output.metrics["entropy-bonus/loss"], output.metrics["entropy-bonus/coef"]))
    return found


def test_value_and_gradient_by_hand() -> None:
    entropy = torch.tensor([[1.0, 2.0, 3.0], [6.0, torch.nan, torch.nan]], dtype=torch.float64)
    objective = Objective(regularisers=(entropy_bonus(0.1),))
    prepared = objective.prepare(ROLLOUTS)
    now = PolicyStatistics(-ONE, entropy).leaves()
    plain = Objective().loss(prepared, now).loss
    loss = objective.loss(prepared, now).loss
    loss.backward()
    assert (loss - plain).item() == pytest.approx(-0.1 * 3.0)
    assert now.entropy is not None
    torch.testing.assert_close(now.entropy.grad, MASK.double() * (-0.1 / 4))
    by_answer = Objective(
        regularisers=(entropy_bonus(0.1, aggregation=Aggregation("seq-mean-token-mean")),)
    )
    assert (by_answer.loss(prepared, now).loss - plain).item() == pytest.approx(-0.1 * 4.0)


def test_schedule_follows_the_update_in_the_state() -> None:
    found = run(entropy_bonus(linear(0.4, 0.0, 4)), [2.0] * 6)
    assert [coef for _, coef in found] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0, 0.0])
    assert [loss for loss, _ in found] == pytest.approx([-0.8, -0.6, -0.4, -0.2, 0.0, 0.0])


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(1, 50), st.integers(0, 200))
@settings(max_examples=50, deadline=None)
def test_schedules_start_end_and_stay_between(
    start: float, end: float, updates: int, update: int
) -> None:
    for schedule in (linear(start, end, updates), cosine(start, end, updates)):
        assert schedule.at(0) == pytest.approx(start, abs=1e-12)
        assert schedule.at(updates + update) == pytest.approx(end, abs=1e-12)
        low, high = sorted((start, end))
        assert low - 1e-12 <= schedule.at(update) <= high + 1e-12
    joined = join(linear(start, end, updates), updates, constant(end))
    assert joined.at(update) == pytest.approx(linear(start, end, updates).at(update))


class TrlRule:
    """The controller of TRL 1.16's GRPOTrainer, statement by statement, for one process."""

    def __init__(self, coef: float, target: float, delta: float, low: float, high: float) -> None:
        self.entropy_coef, self.target, self.delta = coef, target, delta
        self.low, self.high, self.last = low, high, float("inf")

    def step(self, entropy: float) -> float:
        applied = self.entropy_coef if self.last <= self.target else 0.0
        if entropy <= self.target:
            self.entropy_coef = min(self.entropy_coef + self.delta, self.high)
        else:
            self.entropy_coef = max(self.entropy_coef - self.delta, self.low)
        self.last = entropy
        return applied


@given(
    st.lists(st.sampled_from([0.05, 0.2, 0.21, 1.0]), min_size=1, max_size=20),
    st.sampled_from([0.0, 0.01, 0.02]),
)
@settings(max_examples=50, deadline=None)
def test_adaptive_rule_is_trls(entropies: list[float], start: float) -> None:
    rule = TrlRule(start, 0.2, 0.005, 0.0, 0.02)
    expected = [rule.step(entropy) for entropy in entropies]
    found = run(adaptive_entropy_bonus(0.2, start, high=0.02), entropies)
    assert [coef for _, coef in found] == pytest.approx(expected, abs=1e-15)
    losses = [-c * h for c, h in zip(expected, entropies, strict=True)]
    assert [loss for loss, _ in found] == pytest.approx(losses, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy_bonus(float("nan")), "holds the value nan"),
        (lambda: linear(0.0, 1.0, 0), "over 0 updates"),
        (lambda: join(constant(1.0), 0, constant(0.0)), "over 0 updates"),
        (lambda: adaptive_entropy_bonus(0.0), "target > 0"),
        (lambda: adaptive_entropy_bonus(start=2.0), "low <= start <= high"),
        (lambda: adaptive_entropy_bonus(step=0.0), "step > 0"),
        (lambda: adaptive_entropy_bonus(high=float("inf")), "high=inf"),
    ],
)
def test_bad_settings_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()
