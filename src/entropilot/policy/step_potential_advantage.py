"""SPAE: step potential advantage estimation (arXiv 2601.03823).

An answer's advantage is spread over its steps: steps after the answer is settled earn less credit,
steps that raise the potential earn more. Nothing is differentiated.

Legend: B answers, T tokens, K steps of the answer with the most steps.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.advantages import group_sums
from entropilot.policy.step_potential import (
    check_saturation,
    checked_potential,
    difference_shaping,
    overchecking,
    potential_difference,
    remaining_credit,
    saturated_steps,
    saturation_factor,
)
from entropilot.policy.term import Applied, State, Term, View

Summary = Literal["full", "decay"]


def group_mean_advantage(reward: Tensor, group: Tensor) -> Tensor:
    """Reward minus the group's mean, [B], without division by a standard deviation.

    Args:
        reward: [B].
        group: [B] int64.

    Raises:
        InputError: an answer is alone in its group, so that its advantage would always be 0.

    Examples:
        >>> group_mean_advantage(torch.tensor([1.0, 0.0]), torch.tensor([4, 4])).tolist()
        [0.5, -0.5]
    """
    total, size, _ = group_sums(reward, group)
    if bool((size < 2).any()):
        row = int((size < 2).nonzero()[0, 0])
        raise InputError(
            f"answer {row} is alone in group {int(group[row])}; its advantage would always be 0. "
            "Sample at least 2 answers a prompt"
        )
    low, high = _group_range(reward, group)
    return torch.where(low == high, 0, reward - total / size)


def spae_advantage(
    group_advantage: Tensor,
    phi: Tensor,
    valid: Tensor,
    step_id: Tensor,
    mask: Tensor,
    alpha: float = 0.5,
    xi: float = 0.5,
    eps_sat: float = 0.9,
    summary: Summary = "full",
    *,
    normalise: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    """Advantage of each token from the advantage of its answer and the potential of its step.

        A_t = group_advantage f_step(t) + xi g_step(t),    then (A - mean) / (std + eps)

    Mean and unbiased std run over all tokens that count. Tokens after the last probed step but
    still thinking (step_id = number of probed steps) have f over all of them and g = 0; tokens of
    the summary (step_id -1) have f = 1 ("full") or that same f ("decay"), and g = 0.

    Args:
        group_advantage: [B].
        phi: [B, K] potential at the end of each step.
        valid: [B, K] bool.
        step_id: [B, T] int64; 0..K-1 a probed step, K the tail, -1 summary, -2 outside.
        mask: [B, T] bool.
        alpha: see ``saturation_factor``.
        xi: >= 0; weight of the bonus. Raised, single steps matter more, the answer's outcome less.
        eps_sat: see ``saturation_factor``.
        summary: credit of the summary, "full" or "decay".
        normalise: over the batch.
        eps: added to the std.

    Returns:
        [B, T], 0 where masked, detached.

    Raises:
        InputError: shapes differ, potentials outside [-1, 1], step ids that fall or do not exist.
        ConfigurationError: a setting is out of range.

    Examples:
        >>> phi, one = torch.tensor([[0.0, 0.95]] * 2), torch.ones(2, 3).bool()
        >>> spae_advantage(torch.tensor([0.5, -0.5]), phi, one[:, :2],
        ...                torch.tensor([[0, 1, 2]] * 2), one, xi=0.0, normalise=False)[0]
        tensor([0.5000, 0.5000, 0.3420])

    Source: arXiv 2601.03823; the treatment of tail and summary is ours.
    """
    _check_settings(alpha, xi, eps_sat, summary)
    phi = checked_potential(phi, valid)
    _check_steps(step_id, mask, valid)
    zero = phi.new_zeros(phi.shape[0], 1)
    total = saturated_steps(phi, valid, eps_sat).sum(1, keepdim=True)
    end = remaining_credit(total, alpha, phi.dtype)
    factor = torch.cat([saturation_factor(phi, valid, alpha, eps_sat), end], 1)
    bonus = torch.cat([difference_shaping(potential_difference(phi, valid), valid), zero], 1)
    inside = mask & (step_id >= 0)
    slot = torch.where(inside, step_id, valid.shape[1])  # past the last probed step: f is ``end``
    rest = end if summary == "decay" else torch.ones_like(end)
    f = torch.where(inside, factor.gather(1, slot), rest)
    g = torch.where(inside, bonus.gather(1, slot), 0)
    raw = group_advantage.detach().to(phi.dtype)[:, None] * f + xi * g
    raw = torch.where(mask, raw, 0)
    return _normalised(raw, mask, eps) if normalise else raw


def step_potential_advantage(
    alpha: float = 0.5,
    xi: float = 0.5,
    eps_sat: float = 0.9,
    summary: Summary = "full",
    *,
    drop_constant_groups: bool = True,
    normalise: bool = True,
    eps: float = 1e-6,
) -> Term:
    """Advantage term: SPAE in place of the group advantage.

    Reads ``step_id``, ``step_potential`` and ``step_valid`` of the rollouts and the shaped reward;
    the answer's advantage is the reward minus the group's mean. Whether the potential uses the
    confidence is decided where it is made (``step_potential``). With alpha = xi = 0 it is the
    batch-normalised group advantage.

    When this does nothing: with one step an answer, or potentials that neither change nor pass
    eps_sat, it is the batch-normalised group advantage; groups with one reward get 0 as there.

    Args:
        alpha: see ``saturation_factor``.
        xi: see ``spae_advantage``.
        eps_sat: see ``saturation_factor``.
        summary: see ``spae_advantage``.
        drop_constant_groups: as the paper: answers of a group with one reward get 0 and enter no
            statistic. If all groups are such, everything is 0, with a warning.
        normalise: see ``spae_advantage``.
        eps: see ``spae_advantage``.

    Returns:
        Term of the advantage stage. Metrics: mean potential, share of answers that saturated,
        solving and checking tokens, share of answers right once but wrong in the end, share of
        answers kept.

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> step_potential_advantage(alpha=0.0).settings["xi"]
        0.5

    Source: arXiv 2601.03823.
    """
    _check_settings(alpha, xi, eps_sat, summary)
    settings: dict[str, Any] = {"alpha": alpha, "xi": xi, "eps_sat": eps_sat, "summary": summary}
    settings |= {"drop_constant_groups": drop_constant_groups, "normalise": normalise}

    def apply(view: View, state: State) -> Applied:
        rollouts = view.rollouts
        step_id, phi, valid = rollouts.step_id, rollouts.step_potential, rollouts.step_valid
        if step_id is None or phi is None or valid is None:
            raise InputError(
                "step potential advantages need step_id, step_potential and step_valid in the "
                "rollouts; probe_steps measures them"
            )
        base = group_mean_advantage(view.reward, rollouts.group)
        kept = torch.ones_like(base, dtype=torch.bool)
        if drop_constant_groups:
            low, high = _group_range(view.reward, rollouts.group)
            kept = low < high
        if bool(kept.any()):
            rows = kept[:, None]
            value = spae_advantage(
                base, phi, valid & rows, step_id, rollouts.mask & rows,
                alpha, xi, eps_sat, summary, normalise=normalise, eps=eps,
            )  # fmt: skip
        else:
            warnings.warn(
                "every group has one reward only, so nothing is learnt from this batch; the "
                "advantages are 0",
                stacklevel=2,
            )
            value = torch.zeros_like(view.advantages)
        right = rollouts.correct
        right = view.reward > 0 if right is None else right
        seen = overchecking(phi, valid, step_id, rollouts.mask, right, eps_sat)
        high = saturated_steps(phi, valid, eps_sat).any(1).float()
        metrics: dict[str, float | Tensor] = {
            "spae/potential": torch.where(valid, phi, 0).sum() / valid.sum().clamp(min=1),
            "spae/saturated_share": high.mean(),
            "spae/solving_tokens": seen.solving_tokens.float().mean(),
            "spae/checking_tokens": seen.checking_tokens.float().mean(),
            "spae/right_to_wrong": seen.right_to_wrong.float().mean(),
            "spae/kept_answers": kept.float().mean(),
        }
        return Applied(value.to(view.advantages.dtype), state, metrics)

    return Term("spae", apply, settings=settings)


def _group_range(reward: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest reward of each answer's group, [B] each."""
    names, index = torch.unique(group, return_inverse=True)
    empty = reward.new_zeros(len(names))
    low = empty.scatter_reduce(0, index, reward, "amin", include_self=False)
    high = empty.scatter_reduce(0, index, reward, "amax", include_self=False)
    return low[index], high[index]


def _normalised(raw: Tensor, mask: Tensor, eps: float) -> Tensor:
    """Mean 0 and unbiased std 1 over the mask; 0 where there is no spread."""
    n = mask.sum()
    if not bool(n > 1):
        return torch.zeros_like(raw)
    centred = torch.where(mask, raw - raw.sum() / n, 0)
    std = ((centred**2).sum() / (n - 1)).sqrt()
    if not float(std) > 1e-7 * float(raw.abs().max()):  # rounding of equal values is no spread
        return torch.zeros_like(raw)
    return centred / (std + eps)


def _check_steps(step_id: Tensor, mask: Tensor, valid: Tensor) -> None:
    if step_id.shape != mask.shape or step_id.is_floating_point():
        raise InputError(
            f"step_id has dtype {step_id.dtype} and shape {tuple(step_id.shape)}; expected "
            f"integers of the mask's shape {tuple(mask.shape)}"
        )
    inside = mask & (step_id >= 0)
    if bool((inside & (step_id > valid.shape[1])).any()):
        raise InputError(
            f"step_id goes up to {int(torch.where(inside, step_id, 0).max())}, but there are "
            f"potentials of {valid.shape[1]} steps; expected at most that number (the tail)"
        )
    reached = torch.where(inside, step_id, -1).cummax(1).values
    falls = inside & (step_id < reached)
    if bool(falls.any()):
        row, token = (int(i) for i in falls.nonzero()[0])
        raise InputError(
            f"step_id of answer {row} falls at token {token}; steps follow each other, so ids "
            "must not fall"
        )


def _check_settings(alpha: float, xi: float, eps_sat: float, summary: str) -> None:
    check_saturation(alpha, eps_sat)
    if summary not in ("full", "decay"):
        raise ConfigurationError(unknown_name("summary", summary, ("full", "decay")))
    if not (math.isfinite(xi) and xi >= 0):
        raise ConfigurationError(f"xi is {xi}; expected a number >= 0, the paper has 0.5")
