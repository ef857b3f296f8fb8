"""SIREN: selection and anchor against reference values, gradients, states and bad input."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import nucleus_mask
from entropilot.policy.objective import Objective
from entropilot.policy.peak_entropy import peak_entropy_mask, selected_mean
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.selective_entropy import (
    SelectiveEntropy,
    anchored_penalty,
    check_anchor,
    selective_entropy,
    selective_entropy_control,
)
from entropilot.policy.statistics import PolicyStatistics, statistics_from_logits
from entropilot.policy.surrogates import logprob_surrogate
from entropilot.policy.term import Applied, Term, View

V = 9


@pytest.fixture
def cases(golden: Callable[[str], Any]) -> Any:
    return golden("siren")


def batch(seed: int = 0, n: int = 6, t: int = 6) -> tuple[Rollouts, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, t, V, generator=g, dtype=torch.float64)
    tokens = torch.randint(0, V, (n, t), generator=g)
    mask = torch.arange(t) < torch.randint(3, t + 1, (n, 1), generator=g)
    old = statistics_from_logits(logits, tokens).logprob
    reward = torch.arange(n).double() % 2
    return Rollouts(tokens, mask, old, reward, torch.arange(n) // (n // 2)), logits


def measured(term: Term, rollouts: Rollouts, logits: Tensor, top_p: float = 0.8) -> View:
    now = statistics_from_logits(logits, rollouts.tokens, wants=term.needs, top_p=top_p)
    zeros = torch.zeros_like(rollouts.old_logprob)
    return View(rollouts, now, rollouts.scores, zeros, rollouts.mask)


def run(term: Term, view: View, state: Any = None) -> Applied:
    return term.apply(view, term.init(view) if state is None else state)


@pytest.mark.parametrize("tau", [0.5, 0.8])
def test_selection_is_that_of_the_reference(cases: Any, tau: float) -> None:
    case = cases["cases"][f"quantile_{tau}"]
    entropy = torch.tensor(
        cases["cases"]["nucleus_inclusive_0.8"]["nucleus_entropy"], dtype=torch.float64
    )
    mask, expected = torch.tensor(cases["mask"]).bool(), torch.tensor(case["strict_mask"]).bool()
    kept = peak_entropy_mask(entropy, mask, tau)
    # The reference rounds its threshold to float32, so a token that is the median itself passes.
    clear = (entropy - torch.tensor(case["row_threshold"])[:, None]).abs() > 1e-6
    assert torch.equal(kept[clear], expected[clear])
    assert torch.equal(kept, expected) == (tau == 0.8)
    mean = selected_mean(entropy, expected, use_peak=False).mean
    assert mean.item() == pytest.approx(case["aggregated_seq_mean_token_mean"], rel=1e-12)
    for anchor, loss in case["self_anchored_loss"].items():
        ours = anchored_penalty(mean, float(anchor), 1.0).item()
        assert ours == pytest.approx(loss, rel=1e-6, abs=1e-6)  # float32 in the reference


def test_logits_give_the_reference_value(cases: Any) -> None:
    logits = torch.tensor(cases["logits"], dtype=torch.float64)
    mask = torch.tensor(cases["mask"]).bool()
    found = selective_entropy(logits, mask, 0.8, 0.8)
    expected = cases["cases"]["quantile_0.8"]["aggregated_seq_mean_token_mean"]
    assert found.mean.item() == pytest.approx(expected, rel=1e-12)


def test_gradient_in_the_logits_is_that_of_finite_differences_and_of_the_formula() -> None:
    rollouts, logits = batch(2)
    siren = SelectiveEntropy(coef=0.7, anchor=0.4)
    z = logits.clone().requires_grad_()
    value, _ = siren.penalty(z, rollouts.mask)
    (gradient,) = torch.autograd.grad(value, z)
    found = selective_entropy(logits, rollouts.mask)
    inside = nucleus_mask(logits, 0.8)
    assert not gradient[~inside].any()  # the tail is never pushed
    assert not gradient[~found.kept].any()
    q = torch.where(inside, logits, -torch.inf).softmax(-1)
    own = -(torch.xlogy(q, q)).sum(-1, keepdim=True)
    per_row = torch.where(inside, -q * (q.clamp(min=1e-300).log() + own), 0)
    n_kept = found.kept.sum(-1).double()
    share = torch.where(found.kept, 1 / n_kept.clamp(min=1)[:, None], 0) / (n_kept > 0).sum()
    expected = 2 * 0.7 * (found.mean - 0.4) * share[..., None] * per_row
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    for row, token in found.kept.nonzero()[::2].tolist():
        index = int(logits[row, token].argmax())
        step = torch.zeros_like(logits)
        step[row, token, index] = 1e-6
        up, down = (siren.penalty(logits + s, rollouts.mask)[0] for s in (step, -step))
        slope = (up - down) / 2e-6
        torch.testing.assert_close(slope, gradient[row, token, index], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("n", "size"), [(10, 8), (12, 10), (1, 1)])
def test_uniform_and_certain_rows_have_closed_forms(n: int, size: int) -> None:
    mask = torch.ones(1, 1).bool()
    found = selective_entropy(torch.zeros(1, 1, n, dtype=torch.float64), mask, 0.8, None)
    assert found.mean.item() == pytest.approx(math.log(size), abs=1e-12)
    z = torch.zeros(1, 1, n)
    z[..., 0] = 80.0
    z.requires_grad_()
    certain = selective_entropy(z, mask, 0.8, None).mean
    certain.backward()
    assert certain.item() == 0.0
    assert z.grad is not None
    assert not z.grad.any()


def test_term_anchors_itself_at_the_first_batch_and_pulls_back_to_it() -> None:
    rollouts, logits = batch()
    term = selective_entropy_control(coef=2.0)
    objective = Objective(surrogate=logprob_surrogate(), regularisers=(term,))
    prepared = objective.prepare(rollouts)

    def loss(z: Tensor, state: Any) -> Any:
        now = statistics_from_logits(z, rollouts.tokens, wants=objective.needs).leaves()
        output = objective.loss(prepared, now, state)
        output.loss.backward()
        assert now.nucleus_entropy is not None
        return output, now.nucleus_entropy.grad

    first, gradient = loss(logits, None)
    assert first.metrics["siren/loss"] == 0.0
    assert not gradient.any()
    anchor = first.metrics["siren/anchor"]
    assert anchor == pytest.approx(selective_entropy(logits, rollouts.mask).mean.item(), rel=1e-6)
    state = json.loads(json.dumps(first.state))
    sharper, gradient = loss(2 * logits, state)
    gap = sharper.metrics["siren/selected_entropy"] - anchor
    assert gap < 0
    assert sharper.metrics["siren/loss"] == pytest.approx(2 * gap**2, rel=1e-12)
    assert (gradient <= 0).all()  # minimising raises the entropy
    assert gradient.any()
    assert sharper.state["siren"] == first.state["siren"]  # the anchor is a constant
    flatter, gradient = loss(0.7 * logits, state)
    assert flatter.metrics["siren/selected_entropy"] > anchor
    assert (gradient >= 0).all()


def test_resumed_state_gives_the_same_value_as_no_interruption() -> None:
    rollouts, logits = batch(1)
    term = selective_entropy_control(coef=1.0, adaptive_rate=0.5)
    whole = run(term, measured(term, rollouts, logits))
    straight = run(term, measured(term, rollouts, 1.5 * logits), whole.state)
    resumed = run(term, measured(term, rollouts, 1.5 * logits), json.loads(json.dumps(whole.state)))
    assert torch.equal(straight.value, resumed.value)
    assert straight.state == resumed.state


def test_adaptive_coefficient_rises_below_the_anchor_and_never_falls_under_zero() -> None:
    rollouts, logits = batch(1)
    term = selective_entropy_control(coef=0.1, adaptive_rate=0.5)
    first = run(term, measured(term, rollouts, logits))
    assert first.state is not None
    assert first.state["coef"] == 0.1
    low = run(term, measured(term, rollouts, 3 * logits), first.state)
    assert low.state is not None
    gap = first.state["anchor"] - low.metrics["siren/selected_entropy"]
    assert low.state["coef"] == pytest.approx(0.1 + 0.5 * gap)
    high = run(term, measured(term, rollouts, 0.01 * logits), first.state)
    assert high.state is not None
    assert high.state["coef"] == 0.0
    plain = selective_entropy_control(coef=0.1)
    state = run(plain, measured(plain, rollouts, logits)).state
    assert run(plain, measured(plain, rollouts, 3 * logits), state).state == state


def test_all_off_is_the_plain_bonus() -> None:
    rollouts, logits = batch(4)
    term = selective_entropy_control(coef=0.3, use_top_p=False, use_peak=False, use_anchor=False)
    assert term.needs == {"entropy"}
    assert "top_p" not in term.settings
    view = measured(term, rollouts, logits)
    applied = run(term, view)
    assert view.policy.entropy is not None
    rows = [
        values[counts].mean()
        for values, counts in zip(view.policy.entropy, rollouts.mask, strict=True)
    ]
    torch.testing.assert_close(applied.value, -0.3 * torch.stack(rows).mean())
    mean = view.policy.entropy[rollouts.mask].mean().item()
    assert applied.metrics["siren/entropy"] == pytest.approx(mean)


def test_coefficient_of_zero_changes_neither_value_nor_gradient() -> None:
    rollouts, logits = batch(3)
    term = selective_entropy_control(coef=0.0, anchor=0.1)
    view = measured(term, rollouts, logits)
    leaves = view.policy.leaves()
    applied = run(term, dataclasses.replace(view, now=leaves))
    applied.value.backward()
    assert applied.value.item() == 0.0
    assert leaves.nucleus_entropy is not None
    assert leaves.nucleus_entropy.grad is not None
    assert not leaves.nucleus_entropy.grad.any()


def test_objective_measures_the_nucleus_that_the_term_wants() -> None:
    objective = Objective(regularisers=(selective_entropy_control(top_p=0.95),))
    assert objective.top_p == 0.95
    assert objective.needs == {"logprob", "nucleus_entropy"}


def test_batch_in_which_nothing_is_kept_is_zero_with_a_warning_and_sets_no_anchor() -> None:
    rollouts, logits = batch()
    term = selective_entropy_control(coef=1.0)
    flat = measured(term, rollouts, torch.zeros_like(logits).requires_grad_())
    with pytest.warns(UserWarning, match="nothing is pulled"):
        applied = run(term, flat)
    applied.value.backward()
    assert applied.value.item() == 0.0
    assert applied.state is not None
    assert applied.state["anchor"] is None
    assert applied.metrics["siren/n_left_out"] == rollouts.n_answers
    later = run(term, measured(term, rollouts, logits), applied.state)
    assert later.state is not None
    assert later.state["anchor"] == pytest.approx(
        selective_entropy(logits, rollouts.mask).mean.item(), rel=1e-6
    )


def test_anchor_of_other_settings_warns_and_given_anchor_wins() -> None:
    rollouts, logits = batch()
    term = selective_entropy_control()
    state = run(term, measured(term, rollouts, logits)).state
    other = selective_entropy_control(tau=0.5)
    with pytest.warns(UserWarning, match="was measured with"):
        run(other, measured(other, rollouts, logits), state)
    given_anchor = selective_entropy_control(anchor=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        applied = run(given_anchor, measured(given_anchor, rollouts, logits), state)
    assert applied.metrics["siren/anchor"] == 0.9
    assert run(given_anchor, measured(given_anchor, rollouts, logits)).state is not None


def test_use_on_logits_asks_for_an_anchor_first() -> None:
    rollouts, logits = batch()
    siren = SelectiveEntropy()
    with pytest.raises(RuntimeError, match=r"call observe\(\) on the first rollout or pass anchor"):
        siren.penalty(logits, rollouts.mask)
    seen = siren.observe(logits, rollouts.mask)
    assert siren.anchor is None
    assert seen.observe(2 * logits, rollouts.mask) is seen
    value, metrics = seen.penalty(logits, rollouts.mask)
    assert value.item() == 0.0
    assert metrics["siren/anchor"] == seen.anchor
    bonus, _ = SelectiveEntropy(use_anchor=False, coef=1.0).penalty(logits, rollouts.mask)
    assert bonus.item() == pytest.approx(-metrics["siren/selected_entropy"])
    with pytest.raises(InputError, match="no token was kept in the first"):
        siren.observe(torch.zeros_like(logits), rollouts.mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.2}, "top_p is 1.2"),
        ({"tau": 1.0}, "tau is 1.0"),
        ({"tau": -0.1}, "tau is -0.1"),
        ({"coef": -1.0}, "coef is -1.0"),
        ({"anchor": -0.1}, "anchor is -0.1"),
        ({"anchor": math.nan}, "anchor is nan"),
        ({"anchor": math.inf}, "anchor is inf"),
        ({"adaptive_rate": -1.0}, "adaptive_rate is -1.0"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        selective_entropy_control(**change)  # type: ignore[arg-type]


def test_bad_input_is_refused() -> None:
    rollouts, logits = batch()
    with pytest.raises(ConfigurationError, match="no entropy is above ln V"):
        SelectiveEntropy(anchor=2.5).penalty(logits, rollouts.mask)
    check_anchor(math.log(9), 9)
    with pytest.raises(InputError, match="expected \\[B, T, V\\]"):
        selective_entropy(logits, rollouts.mask[:, :3])
    term = selective_entropy_control()
    now = PolicyStatistics(rollouts.old_logprob)
    view = View(rollouts, now, rollouts.scores, rollouts.old_logprob, rollouts.mask)
    with pytest.raises(InputError, match="'nucleus_entropy' was not measured"):
        term.init(view)
