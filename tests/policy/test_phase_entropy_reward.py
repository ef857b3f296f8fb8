"""PEAR against closed-form values, its edge cases and its bad input."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import entropy_from_logits
from entropilot.policy.phase_entropy_reward import (
    entropy_filter,
    pear_penalty,
    pear_reward,
    penalty_variance_share,
    phase_entropy,
    phase_entropy_reward,
)
from entropilot.policy.phases import find_tag, phase_masks
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.term import View

TAG = 9


def padded(case: dict[str, Any], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Entropies, tokens and mask of a golden case between two padded positions that hold nan."""
    values = case["entropy"]
    tokens = torch.full((1, len(values) + 2), 1)
    mask = torch.zeros(tokens.shape, dtype=torch.bool)
    mask[0, 1:-1] = True
    entropy = torch.full(tokens.shape, math.nan, dtype=dtype)
    entropy[0, 1:-1] = torch.tensor(values, dtype=dtype)
    if case["think_end_position_1based"] is not None:
        tokens[0, case["think_end_position_1based"]] = TAG
    tokens[0, -1] = TAG  # padding that looks like the tag
    return entropy, tokens, mask


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("index", range(11))
@pytest.mark.filterwarnings("ignore:alpha is -1")
def test_cases_equal_forty_digit_arithmetic(
    golden: Any, index: int, dtype: torch.dtype, tolerance: float
) -> None:
    case = golden("pear")["cases"][index]
    entropy, tokens, mask = padded(case, dtype)
    phases = phase_masks(tokens, TAG, mask)
    h_think, h_answer = phase_entropy(entropy, phases.think, phases.answer)
    penalty = pear_penalty(h_think, h_answer, case["alpha"])
    reward = pear_reward(
        torch.tensor([case["correct"]]), penalty, case["score"], case["format_score"]
    )
    found = {"h_think": h_think, "h_answer": h_answer, "penalty": penalty, "reward": reward}
    for name, value in found.items():
        assert value.item() == pytest.approx(case[name], abs=tolerance), name


def test_entropies_equal_forty_digit_arithmetic(golden: Any) -> None:
    for case in golden("pear")["entropy_from_logits"]:
        logits = torch.tensor([float(x) for x in case["logits"]], dtype=torch.float64)
        assert float(entropy_from_logits(logits)) == pytest.approx(case["entropy"], abs=1e-12)


def test_a_tag_of_several_tokens_is_matched_whole() -> None:
    tokens = torch.tensor([[7, 1, 7, 8, 2, 7, 8], [7, 7, 1, 8, 1, 1, 7]])
    mask = torch.ones_like(tokens).bool()
    phases = phase_masks(tokens, (7, 8), mask)
    assert phases.position.tolist() == [2, -1]
    assert phases.think.int().tolist() == [[1, 1, 0, 0, 0, 0, 0], [1] * 7]
    assert phases.answer.int().tolist() == [[0, 0, 0, 0, 1, 1, 1], [0] * 7]
    mask[0, 3] = False  # half of the tag is no tag
    assert find_tag(tokens, (7, 8), mask).tolist() == [5, -1]
    assert find_tag(tokens, tuple(range(9)), mask).tolist() == [-1, -1]


def test_an_opening_tag_is_left_out_only_where_the_answer_begins_with_it() -> None:
    tokens = torch.tensor([[0, 5, 1, 9, 1], [0, 1, 5, 9, 1]])
    mask = torch.tensor([[False, True, True, True, True]] * 2)
    phases = phase_masks(tokens, 9, mask, think_start=5)
    assert phases.think.int().tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 0, 0]]


def test_the_sum_over_a_budget_counts_certain_tokens_as_nothing_gained() -> None:
    entropy = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    short = torch.tensor([[True, True, False, False]])
    none = torch.zeros_like(short)
    options: dict[str, Any] = {"reduction": "sum_over_budget", "budget": 4}
    for think in (short, ~none):
        assert phase_entropy(entropy, think, none, **options)[0].item() == 0.25


def test_floor_and_variance_share() -> None:
    correct, penalty = torch.tensor([True, True, False]), torch.tensor([1.3, 0.2, 0.2])
    assert pear_reward(correct, penalty, floor=0.1).tolist() == pytest.approx([0.1, 0.8, 0.0])
    assert pear_reward(correct, penalty, 0.5, 0.5, wrong_may_win=True)[2].item() == 0.5
    assert penalty_variance_share(torch.zeros(3), correct).item() == 0
    assert penalty_variance_share(torch.tensor([1.0, 0.5, 0.0]), ~(correct & ~correct)).item() == 1


@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.floats(0, 1))
def test_the_filter_keeps_the_share_with_the_lowest_entropies(
    values: list[float], share: float
) -> None:
    entropy = torch.tensor([[*values, math.nan]], dtype=torch.float64)
    mask = torch.tensor([[True] * len(values) + [False]])
    kept = entropy_filter(entropy, mask, share)
    assert int(kept.sum()) == math.floor(len(values) * share + 0.5)
    assert not bool(kept[0, -1])
    if bool(kept.any()) and bool((mask & ~kept).any()):
        assert entropy[kept].max() <= entropy[mask & ~kept].min()


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.booleans()), min_size=1, max_size=8),
    st.floats(0, 3),
)
def test_bounds(rows: list[tuple[float, float, bool]], alpha: float) -> None:
    think, answer, right = (torch.tensor(x) for x in zip(*rows, strict=True))
    penalty = pear_penalty(think, answer, alpha)
    assert bool((penalty >= 0).all())
    assert bool((penalty <= think).all())
    reward = pear_reward(right, penalty)
    assert bool((reward <= 1).all())
    assert bool((reward[~right] == 0).all())


def view_of(rollouts: Rollouts) -> View:
    zeros = torch.zeros(rollouts.mask.shape)
    return View(rollouts, None, rollouts.scores, zeros, rollouts.mask)


def batch() -> Rollouts:
    tokens = torch.tensor([[1, 1, TAG, 1, 0], [1, TAG, 1, 1, 1], [1, 1, 1, 1, 0]])
    mask = torch.tensor([[True] * 4 + [False], [True] * 5, [True] * 4 + [False]])
    phases = phase_masks(tokens, TAG, mask)
    entropy = torch.where(mask, torch.rand(3, 5, generator=torch.Generator().manual_seed(0)), 9.0)
    return Rollouts(
        tokens,
        mask,
        torch.where(mask, -1.0, math.nan),
        torch.tensor([1.0, 0.0, 1.0]),
        torch.tensor([0, 0, 0]),
        entropy=entropy,
        correct=torch.tensor([True, False, True]),
        think=phases.think,
        answer=phases.answer,
    )


@pytest.mark.filterwarnings("ignore:33%")
def test_the_term_reads_the_rollouts_and_reports() -> None:
    rollouts = batch()
    applied = phase_entropy_reward().apply(view_of(rollouts), None)
    assert rollouts.entropy is not None
    h = rollouts.entropy
    first = 1 - max(0.0, float(h[0, :2].mean() - h[0, 3]))
    assert applied.value.tolist() == pytest.approx([first, 0.0, 1 - float(h[2, :4].mean())])
    assert applied.metrics["pear/missing_tag_share"] == pytest.approx(1 / 3)
    assert float(applied.metrics["pear/tokens"]) == pytest.approx(13 / 3)
    assert 0 <= float(applied.metrics["pear/reward_variance_share"]) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_tag(torch.ones(1, 2).long(), [], torch.ones(1, 2).bool()), "token id"),
        (lambda: find_tag(torch.ones(1, 2).long(), None, torch.ones(1, 2).bool()), "token id"),
        (lambda: find_tag(torch.ones(1, 2).long(), -1, torch.ones(1, 2).bool()), "token id"),
        (lambda: phase_entropy_reward(score=1.5), "at most 1"),
        (lambda: phase_entropy_reward(format_score=1.0), "wrong answers could win"),
        (lambda: phase_entropy_reward(phase_reduction="men"), "did you mean 'mean'"),
        (lambda: pear_penalty(torch.ones(1), torch.ones(1), math.nan), "alpha"),
        (lambda: entropy_filter(torch.ones(1, 2), torch.ones(1, 2).bool(), 1.2), "share in"),
        (
            lambda: phase_entropy(
                torch.ones(1, 2),
                *[torch.ones(1, 2).bool()] * 2,
                reduction="sum_over_budget",
            ),
            "needs budget",
        ),
    ],
)
def test_settings_out_of_range_are_named(call: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


@pytest.mark.parametrize(
    ("values", "n_vocab", "message"),
    [
        ([0.5, -0.7], None, "answer 0, token 1, is -0.7.*log-probs"),
        ([math.nan, 0.2], None, "answer 0, token 0.*broken"),
        ([0.5, 5.2], 50, "at most ln 50 = 3.912.*bits"),
    ],
)
def test_values_that_are_no_entropies_are_named(
    values: list[float], n_vocab: int | None, message: str
) -> None:
    think = torch.ones(1, 2).bool()
    with pytest.raises(InputError, match=message):
        phase_entropy(torch.tensor([values]), think, ~think, n_vocab=n_vocab)


def test_other_bad_input() -> None:
    ones = torch.ones(1, 2).bool()
    with pytest.raises(InputError, match=r"shape \(1, 2\).*\(1, 3\)"):
        phase_entropy(torch.ones(1, 3), ones, ones)
    with pytest.raises(InputError, match="expected bool"):
        phase_masks(torch.ones(1, 2).long(), 9, torch.ones(1, 2))
    with pytest.raises(InputError, match="expected bool, one verdict"):
        pear_reward(torch.tensor([1.0]), torch.ones(1))
    with pytest.raises(InputError, match="needs think, correct"):
        phase_entropy_reward().apply(view_of(batch().replace(think=None, correct=None)), None)


def test_warnings() -> None:
    with pytest.warns(UserWarning, match="both phases are punished"):
        pear_penalty(torch.ones(1), torch.ones(1), -1.0)
    ones = torch.ones(1, 2).bool()
    with pytest.warns(UserWarning, match="detached"):
        found = phase_entropy(torch.ones(1, 2, requires_grad=True), ones, ~ones)
    assert not found[0].requires_grad
    with pytest.warns(UserWarning, match="33% of the answers have no tag"):
        phase_entropy_reward().apply(view_of(batch()), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        phase_entropy_reward().apply(view_of(batch().select(torch.tensor([0, 1]))), None)
