"""Entropy bonuses: values, schedules, and the rule with a target beside TRL's."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError
from entropilot.policy.entropy_bonus import (
    Schedule,
    adaptive_entropy_bonus,
    constant,
    cosine_decay,
    entropy_bonus,
    linear_decay,
)
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.term import Applied, State, Term, View


def view(entropy: Tensor, mask: Tensor | None = None) -> View:
    kept = torch.ones_like(entropy).bool() if mask is None else mask
    n = len(entropy)
    rollouts = Rollouts(
        torch.zeros(entropy.shape).long(),
        torch.ones_like(kept),
        torch.zeros(entropy.shape),
        torch.zeros(n),
        torch.zeros(n).long(),
    )
    now = PolicyStatistics(logprob=torch.zeros(entropy.shape), entropy=entropy)
    return View(rollouts, now, rollouts.reward, torch.zeros(entropy.shape), kept)


def run(term: Term, entropies: list[float]) -> list[tuple[float, Applied]]:
    """Slope of the value in the mean entropy, and what was applied, update by update."""
    state: State = None
    found = []
    for entropy in entropies:
        leaf = torch.full((1, 2), entropy, requires_grad=True)
        seen = view(leaf)
        state = term.init(seen) if state is None else json.loads(json.dumps(state))
        applied = term.apply(seen, state)
        state = applied.state
        (slope,) = torch.autograd.grad(applied.value, leaf)
        found.append((-float(slope.sum()), applied))
    return found


def test_value_and_gradient_are_those_of_the_mean_over_tokens_that_count() -> None:
    entropy = torch.tensor([[0.5, 1.5, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    value = entropy_bonus(0.1).apply(view(entropy, mask), None).value
    value.backward()
    assert float(value.detach()) == pytest.approx(-0.1)
    assert entropy.grad is not None
    assert entropy.grad.tolist() == [[pytest.approx(-0.05), pytest.approx(-0.05), 0.0]]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, [0.2, 0.2, 0.2, 0.2, 0.2]),
        (constant(), [0.2, 0.2, 0.2, 0.2, 0.2]),
        (linear_decay(2), [0.2, 0.1, 0.0, 0.0, 0.0]),
        (linear_decay(4, 0.5), [0.2, 0.175, 0.15, 0.125, 0.1]),
        (cosine_decay(2, 0.5), [0.2, 0.15, 0.1, 0.1, 0.1]),
    ],
)
def test_schedules_go_by_the_update_number(schedule: Schedule | None, expected: Any) -> None:
    found = run(entropy_bonus(0.2, schedule), [1.0] * 5)
    assert [coef for coef, _ in found] == pytest.approx(expected)
    assert found[-1][1].state == {"update": 5}


@given(st.sampled_from(["linear", "cosine"]), st.integers(1, 50), st.floats(0, 1))
def test_schedules_fall_from_one_to_their_end(shape: Any, updates: int, end: float) -> None:
    factors = [Schedule(shape, updates, end)(i) for i in range(updates + 3)]
    assert factors[0] == 1.0
    assert factors[updates:] == pytest.approx([end] * 3)
    assert all(later <= sooner + 1e-12 for sooner, later in pairwise(factors))


def rule_of_trl(entropies: list[float], target: float, start: float, step: float) -> list[float]:
    """Coefficients that act, as in GRPOTrainer of TRL 1.16: those of the step before."""
    coef, last, acting = start, math.inf, []
    for entropy in entropies:
        acting.append(coef if last <= target else 0.0)
        coef = min(coef + step, 1.0) if entropy <= target else max(coef - step, 0.0)
        last = entropy
    return acting


@given(st.lists(st.sampled_from([0.05, 0.2, 0.25, 0.5]), max_size=12), st.sampled_from([0.0, 0.3]))
def test_adaptive_bonus_is_the_rule_of_trl(entropies: list[float], start: float) -> None:
    entropies = [float(torch.tensor(e)) for e in entropies]  # as the term reads them
    term = adaptive_entropy_bonus(target=entropies[0] if entropies else 0.2, start=start, step=0.2)
    found = [coef for coef, _ in run(term, entropies)]
    expected = rule_of_trl(entropies, term.settings["target"], start, 0.2)
    assert found == pytest.approx(expected)


def test_adaptive_bonus_stays_in_its_limits_and_waits_for_a_measurement() -> None:
    found = run(adaptive_entropy_bonus(0.2, step=0.5, high=0.7), [0.1] * 5)
    assert [coef for coef, _ in found] == pytest.approx([0.0, 0.5, 0.7, 0.7, 0.7])
    above = run(adaptive_entropy_bonus(0.2, start=0.3, low=0.1, step=0.5), [0.9] * 3)
    assert [coef for coef, _ in above] == [0.0, 0.0, 0.0]
    assert above[-1][1].state == {"coef": 0.1, "entropy": pytest.approx(0.9)}


@pytest.mark.parametrize("term", [entropy_bonus(0.1), adaptive_entropy_bonus(0.2)])
def test_nothing_to_average_gives_zero_and_keeps_the_memory(term: Term) -> None:
    empty = view(torch.ones(1, 2, requires_grad=True), torch.zeros(1, 2).bool())
    applied = term.apply(empty, term.init(empty))
    applied.value.backward()
    assert float(applied.value.detach()) == 0.0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="coef of the entropy bonus is -1"):
        entropy_bonus(-1)
    with pytest.raises(ConfigurationError, match="over 0 updates; it takes at least 1"):
        linear_decay(0)
    with pytest.raises(ConfigurationError, match="ends at -1"):
        cosine_decay(3, -1)
    with pytest.raises(ConfigurationError, match="did you mean 'cosine'"):
        Schedule("cosin")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="low <= start <= high"):
        adaptive_entropy_bonus(start=2.0)
