"""SPAE against 40-digit values, its invariances and its bad input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.rollouts import Rollouts
from entropilot.policy.step_potential import (
    difference_shaping,
    overchecking,
    potential_difference,
    saturation_factor,
    settled_step,
    step_potential,
)
from entropilot.policy.step_potential_advantage import (
    group_mean_advantage,
    spae_advantage,
    step_potential_advantage,
)
from entropilot.policy.term import View

TOLERANCE = 1e-10  # of 40-digit values, in float64


def ragged(rows: list[list[float]], fill: float, dtype: torch.dtype = torch.float64) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([r + [fill] * (width - len(r)) for r in rows], dtype=dtype)


@pytest.fixture
def batch(golden: Any) -> dict[str, Any]:
    """The golden batch, with nan at every padded position."""
    g = golden("spae")["advantage"]
    step_id = ragged(g["step_id"], -2, torch.int64)
    phi = ragged(g["phi"], math.nan)
    reward, group = torch.tensor(g["rewards"], dtype=torch.float64), torch.tensor([0, 0])
    return g | {
        "reward": reward,
        "group": group,
        "base": group_mean_advantage(reward, group),
        "phi_": phi,
        "valid": ~phi.isnan(),
        "ids": step_id,
        "mask": step_id > -2,
    }


def close(found: Tensor, rows: list[list[float]], valid: Tensor) -> None:
    assert found[valid].tolist() == pytest.approx([x for row in rows for x in row], abs=TOLERANCE)


def test_potential_equals_the_grid(golden: Any) -> None:
    for point in golden("spae")["phi_grid"]:
        acc, conf = (torch.tensor([float(point[k])], dtype=torch.float64) for k in ("acc", "conf"))
        assert step_potential(acc, conf).item() == pytest.approx(point["phi"], abs=1e-14)
        assert step_potential(acc, conf, use_confidence=False).item() == point["acc"]


def test_factors_and_shaping_equal_forty_digit_arithmetic(batch: dict[str, Any]) -> None:
    phi, valid = batch["phi_"], batch["valid"]
    close(saturation_factor(phi, valid), batch["f"], valid)
    delta = potential_difference(phi, valid)
    close(delta, batch["delta"], valid)
    close(difference_shaping(delta, valid), batch["g"], valid)


def test_advantages_equal_forty_digit_arithmetic(batch: dict[str, Any]) -> None:
    args = [batch[k] for k in ("base", "phi_", "valid", "ids", "mask")]
    mask = batch["mask"]
    close(spae_advantage(*args, normalise=False), batch["a_spae"], mask)
    final = spae_advantage(*args, eps=0.0)
    close(final, batch["a_final_unbiased_std"], mask)
    assert final[~mask].tolist() == [0.0] * int((~mask).sum())


def view_of(batch: dict[str, Any], **changed: Any) -> View:
    mask = batch["mask"]
    filled = torch.where(mask, -1.0, math.nan).double()
    fields: dict[str, Any] = {
        "tokens": mask.long(),
        "mask": mask,
        "old_logprob": filled,
        "reward": batch["reward"],
        "group": batch["group"],
        "correct": batch["reward"] > 0,
        "step_id": batch["ids"],
        "step_potential": batch["phi_"],
        "step_valid": batch["valid"],
    }
    rollouts = Rollouts(**(fields | changed))
    return View(rollouts, None, rollouts.scores, torch.zeros_like(filled), rollouts.mask)


def test_the_term_gives_the_golden_advantages(batch: dict[str, Any]) -> None:
    applied = step_potential_advantage(eps=0.0).apply(view_of(batch), None)
    close(applied.value, batch["a_final_unbiased_std"], batch["mask"])
    # row 0 (right): steps 0..2 take 5 tokens, steps 3 and 4 one each; row 1 is wrong
    assert float(applied.metrics["spae/solving_tokens"]) == 5 / 2
    assert float(applied.metrics["spae/checking_tokens"]) == 2 / 2
    assert float(applied.metrics["spae/right_to_wrong"]) == 0.5
    assert float(applied.metrics["spae/saturated_share"]) == 1


def test_neutral_settings_give_the_batch_normalised_group_advantage(batch: dict[str, Any]) -> None:
    value = step_potential_advantage(alpha=0.0, xi=0.0, eps=0.0).apply(view_of(batch), None).value
    mask = batch["mask"]
    plain = torch.where(mask, batch["base"][:, None], 0)[mask]
    assert torch.allclose(value[mask], (plain - plain.mean()) / plain.std())


def test_the_tail_decays_and_the_summary_decays_if_asked(batch: dict[str, Any]) -> None:
    phi = torch.tensor([[0.95, 0.2]])
    ids, mask = torch.tensor([[0, 1, 2, -1, -2]]), torch.tensor([[True] * 4 + [False]])
    args = (torch.tensor([1.0]), phi, torch.ones(1, 2).bool(), ids, mask)
    decayed = 1 - 0.5 * (1 - math.exp(-1))
    full = spae_advantage(*args, xi=0.0, normalise=False)
    assert full[0].tolist() == pytest.approx([1, decayed, decayed, 1, 0])
    decay = spae_advantage(*args, xi=0.0, normalise=False, summary="decay")
    assert decay[0].tolist() == pytest.approx([1, decayed, decayed, decayed, 0])


def test_a_step_that_was_not_probed_keeps_the_credit_and_gets_no_bonus() -> None:
    phi = torch.tensor([[0.95, math.nan, 0.97, 0.2]])
    valid = ~phi.isnan()
    assert potential_difference(phi, valid)[0].tolist() == pytest.approx(
        [0, 0, 0.02, -0.77], abs=1e-6
    )
    ids = torch.tensor([[0, 1, 2, 3]])
    value = spae_advantage(
        torch.tensor([1.0]), phi, valid, ids, ids > -1, alpha=1.0, xi=0.0, normalise=False
    )
    assert value[0].tolist() == pytest.approx([1, math.exp(-1), math.exp(-1), math.exp(-2)])


@given(st.integers(0, 10_000), st.floats(-0.3, 0.3))
def test_a_shift_below_saturation_leaves_the_bonus_unchanged(seed: int, shift: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    phi = torch.rand(3, 4, generator=draw, dtype=torch.float64) - 0.5  # in [-0.5, 0.5)
    valid = torch.rand(3, 4, generator=draw) < 0.8
    first = difference_shaping(potential_difference(phi, valid), valid)
    second = difference_shaping(potential_difference(phi + shift, valid), valid)
    assert torch.allclose(first, second, atol=1e-9)


@given(st.integers(0, 10_000))
def test_permuting_the_answers_permutes_the_advantages(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    phi = torch.rand(4, 3, generator=draw, dtype=torch.float64) * 2 - 1
    valid = torch.rand(4, 3, generator=draw) < 0.8
    ids = torch.randint(0, 4, (4, 6), generator=draw).sort(1).values
    mask = torch.rand(4, 6, generator=draw) < 0.9
    base = torch.randn(4, generator=draw, dtype=torch.float64)
    order = torch.randperm(4, generator=draw)
    whole = spae_advantage(base, phi, valid, ids, mask)
    again = spae_advantage(base[order], phi[order], valid[order], ids[order], mask[order])
    assert torch.allclose(whole[order], again, atol=1e-12)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_potential_is_bounded(accuracy: float, confidence: float) -> None:
    phi = step_potential(torch.tensor([accuracy]), torch.tensor([confidence]))
    assert -1 - 1e-6 <= phi.item() <= 1 + 1e-6


def test_equal_differences_and_no_steps_give_no_bonus() -> None:
    zeros, none = torch.zeros(2, 3), torch.zeros(2, 3).bool()
    assert difference_shaping(zeros, ~none).abs().sum() == 0
    assert difference_shaping(zeros, none).abs().sum() == 0
    empty = torch.zeros(2, 0)
    ids = torch.zeros(2, 2).long()
    value = spae_advantage(torch.tensor([1.0, -1.0]), empty, empty.bool(), ids, ids == 0)
    assert torch.allclose(value[:, 0], torch.tensor([0.8660, -0.8660]), atol=1e-4)
    assert overchecking(empty, empty.bool(), ids, ids == 0, ids[:, 0] == 0)[0].tolist() == [0, 0]


def test_equal_advantages_are_no_spread(batch: dict[str, Any]) -> None:
    args = [batch[k] for k in ("phi_", "valid", "ids", "mask")]
    value = spae_advantage(torch.tensor([0.3, 0.3]), *args, alpha=0.0, xi=0.0)
    assert value.abs().sum() == 0


def test_constant_groups_are_dropped_with_their_statistics(batch: dict[str, Any]) -> None:
    twice = {k: torch.cat([batch[k], batch[k]]) for k in ("mask", "ids", "phi_", "valid")}
    both = (
        batch
        | twice
        | {
            "reward": torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64),
            "group": torch.tensor([0, 0, 1, 1]),
        }
    )
    value = step_potential_advantage(eps=0.0).apply(view_of(both), None).value
    close(value[:2], batch["a_final_unbiased_std"], batch["mask"])
    assert value[2:].abs().sum() == 0
    kept = step_potential_advantage(drop_constant_groups=False).apply(view_of(both), None).value
    assert kept[2:].abs().sum() > 0
    with pytest.warns(UserWarning, match="every group has one reward"):
        value = (
            step_potential_advantage()
            .apply(view_of(batch, reward=torch.ones(2, dtype=torch.float64)), None)
            .value
        )
    assert value.abs().sum() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: step_potential_advantage(alpha=1.1), "alpha is 1.1.*change its sign"),
        (lambda: step_potential_advantage(alpha=-0.1), "alpha is -0.1"),
        (lambda: step_potential_advantage(eps_sat=1.0), "eps_sat is 1.0"),
        (lambda: step_potential_advantage(eps_sat=-1.0), "eps_sat is -1.0"),
        (lambda: step_potential_advantage(xi=-1.0), "xi is -1.0"),
        (lambda: step_potential_advantage(summary="ful"), "did you mean 'full'"),  # type: ignore[arg-type]
        (lambda: saturation_factor(torch.zeros(1, 1), torch.ones(1, 1).bool(), 2.0), "alpha"),
    ],
)
def test_settings_out_of_range_are_named(call: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


def test_bad_input_is_named(batch: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"accuracy at \[1\] is -0.7.*exp first"):
        step_potential(torch.tensor([0.5, -0.7]), torch.ones(2))
    with pytest.raises(InputError, match="one of each a step"):
        step_potential(torch.ones(2), torch.ones(3))
    with pytest.raises(InputError, match=r"answer 0, step 1, is 1\.5"):
        potential_difference(torch.tensor([[0.0, 1.5]]), torch.ones(1, 2).bool())
    with pytest.raises(InputError, match="expected bool of the same shape"):
        potential_difference(torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(InputError, match="answer 1 is alone in group 5"):
        group_mean_advantage(torch.ones(3), torch.tensor([4, 5, 4]))
    with pytest.raises(InputError, match="advantages need step_id"):
        step_potential_advantage().apply(view_of(batch, step_potential=None), None)
    args = [batch[k] for k in ("base", "phi_", "valid")]
    ids, mask = batch["ids"].clone(), batch["mask"]
    ids[0, 2] = 3
    with pytest.raises(InputError, match="step_id of answer 0 falls at token 3"):
        spae_advantage(*args, ids, mask)
    ids[0, 2] = 9
    with pytest.raises(InputError, match="up to 9, but there are potentials of 5"):
        spae_advantage(*args, ids, mask)
    with pytest.raises(InputError, match="integers of the mask's shape"):
        spae_advantage(*args, ids.double(), mask)


def test_thinking_may_stop_after_enough_sure_steps() -> None:
    sure = torch.tensor([[0.95, 0.95, 0.2], [0.95, math.nan, math.nan], [0.1, 0.95, 0.95]])
    valid = ~sure.isnan()
    assert settled_step(sure, valid).tolist() == [1, -1, 2]
    assert settled_step(sure, valid, patience=1).tolist() == [0, 0, 1]
    assert settled_step(sure, valid, patience=9).tolist() == [-1, -1, -1]
    with pytest.raises(ConfigurationError, match="patience 0"):
        settled_step(sure, valid, patience=0)
