"""PEAR: phase entropy aware reward (arXiv 2510.08026).

A right answer earns less the more undecided its thinking was, measured against its answer phase.
Nothing here is differentiated.

Departs from the paper: an answer without a tag averages all its tokens (the paper's formula leaves
out the last one, which is no tag); the reward is not cut at 0 unless ``floor`` says so.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import math
import warnings
from typing import Final

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError, unknown_name
from entropilot.policy.phases import check_mask
from entropilot.policy.term import Applied, State, Term, View

REDUCTIONS: Final = ("mean", "sum_over_budget")
_MANY_WITHOUT_TAG: Final = 0.2
_LONG: Final = 4096  # tokens from which float32 sums are taken in float64


def phase_entropy(
    entropy: Tensor,
    think: Tensor,
    answer: Tensor,
    *,
    reduction: str = "mean",
    budget: float | None = None,
    n_vocab: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Entropy of each phase of each answer, detached.

        mean:             sum(entropy in the phase) / tokens of the phase
        sum_over_budget:  sum(entropy in the phase) / budget

    With "mean", tokens that are certain lower the thinking entropy, so an answer may grow to please
    the reward; the sum has no such way out.

    Args:
        entropy: [B, T] nats, of the policy that sampled, over the whole vocabulary.
        think: [B, T] bool.
        answer: [B, T] bool.
        reduction: "mean" (the paper's) or "sum_over_budget".
        budget: tokens, > 0; for "sum_over_budget".
        n_vocab: V, to recognise entropies above ln V (bits); None checks the lower bound only.

    Returns:
        Thinking and answer entropy, [B] each, nats; 0 for a phase without tokens.

    Raises:
        InputError: shapes differ, or a value that counts is no entropy.
        ConfigurationError: unknown reduction, or no budget.

    Examples:
        >>> h = torch.tensor([[0.9, 0.3, float("nan"), 0.2]])
        >>> think = torch.tensor([[True, True, False, False]])
        >>> [round(x.item(), 3) for x in phase_entropy(h, think, ~think & (h == h))]
        [0.6, 0.2]

    Source: arXiv 2510.08026, phase means; "sum_over_budget" is ours.
    """
    if reduction not in REDUCTIONS:
        raise ConfigurationError(unknown_name("phase reduction", reduction, REDUCTIONS))
    if reduction == "sum_over_budget" and not (budget is not None and budget > 0):
        raise ConfigurationError(
            f"phase reduction 'sum_over_budget' needs budget, tokens above 0; it is {budget}. The "
            "mean length before training is a good choice"
        )
    for name, mask in (("think", think), ("answer", answer)):
        check_mask(entropy, mask, name)
    if entropy.requires_grad:
        warnings.warn("entropy carries gradient; the reward is a constant: detached", stacklevel=2)
        entropy = entropy.detach()
    _check_entropy(entropy, think | answer, n_vocab)

    def reduced(mask: Tensor) -> Tensor:
        kept = torch.where(mask, entropy, 0).clamp(min=0)
        wide = torch.float64 if entropy.shape[1] > _LONG else kept.dtype
        total = kept.sum(1, dtype=wide)
        size = mask.sum(1).clamp(min=1) if reduction == "mean" else float(budget or 1)
        return (total / size).to(kept.dtype)

    return reduced(think), reduced(answer)


def pear_penalty(h_think: Tensor, h_answer: Tensor, alpha: float = 1.0) -> Tensor:
    """max(0, h_think - alpha h_answer): [B] nats.

    Args:
        h_think: [B] nats.
        h_answer: [B] nats.
        alpha: raised, a less certain answer excuses more of the thinking; the paper's sweep: -1
            shortens most and loses accuracy, 1 is best. Below 0 both phases are punished (warns).

    Examples:
        >>> pear_penalty(torch.tensor([0.5, 0.1]), torch.tensor([0.25, 0.6])).tolist()
        [0.25, 0.0]
    """
    if not math.isfinite(alpha):
        raise ConfigurationError(f"alpha is {alpha}; expected a finite number, the paper has 1")
    if alpha < 0:
        warnings.warn(
            f"alpha is {alpha}: below 0 both phases are punished, and answers collapse to short "
            "and certain ones; the paper has 1",
            stacklevel=2,
        )
    return (h_think - alpha * h_answer).clamp(min=0)


def pear_reward(
    correct: Tensor,
    penalty: Tensor,
    score: float = 1.0,
    format_score: float = 0.0,
    floor: float | None = None,
    *,
    wrong_may_win: bool = False,
) -> Tensor:
    """Reward of each answer.

        right:  max(floor, min(1, score - penalty))        wrong:  format_score

    Args:
        correct: [B] bool.
        penalty: [B] >= 0.
        score: of a right answer without penalty, at most 1.
        format_score: of a wrong answer; below ``score``.
        floor: smallest reward of a right answer; None = none, so that it may be negative.
        wrong_may_win: accept ``format_score >= score``.

    Returns:
        [B] of the penalty's dtype.

    Raises:
        InputError: ``correct`` is not bool, or shapes differ.
        ConfigurationError: score above 1, or a wrong answer that earns as much as a right one.

    Examples:
        >>> pear_reward(torch.tensor([True, False]), torch.tensor([0.25, 0.25])).tolist()
        [0.75, 0.0]

    Source: arXiv 2510.08026.
    """
    if correct.dtype != torch.bool or correct.shape != penalty.shape:
        raise InputError(
            f"correct has dtype {correct.dtype} and shape {tuple(correct.shape)}; expected bool, "
            f"one verdict an answer, {tuple(penalty.shape)}. For scores, compare first: score > 0.5"
        )
    _check_scores(score, format_score, wrong_may_win)
    right = (score - penalty).clamp(max=1.0)
    right = right if floor is None else right.clamp(min=floor)
    return torch.where(correct, right, format_score)


def entropy_filter(
    entropy: Tensor, mask: Tensor, keep_fraction: float, phase: Tensor | None = None
) -> Tensor:
    """The tokens of a phase with the lowest entropies, in their places: which to keep.

    For the filtering experiment: the kept tokens form the new thinking context. Ties keep the
    earlier token.

    Args:
        entropy: [B, T] nats.
        mask: [B, T] bool.
        keep_fraction: in [0, 1]; of the phase's tokens, rounded to the nearest count.
        phase: [B, T] bool, for example ``Phases.think``; None = all that count.

    Returns:
        [B, T] bool, True for tokens of the phase that stay.

    Raises:
        ConfigurationError: fraction outside [0, 1].

    Examples:
        >>> h = torch.tensor([[0.3, 0.9, 0.1, 0.2]])
        >>> entropy_filter(h, torch.ones(1, 4).bool(), 0.5).int().tolist()
        [[0, 0, 1, 1]]
    """
    if not 0 <= keep_fraction <= 1:
        raise ConfigurationError(f"keep_fraction is {keep_fraction}; expected a share in [0, 1]")
    check_mask(entropy, mask, "mask")
    chosen = mask if phase is None else mask & phase
    _check_entropy(entropy, chosen, None)
    order = torch.where(chosen, entropy, torch.inf).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    n_kept = (chosen.sum(1).double() * keep_fraction + 0.5).floor()
    return chosen & (rank < n_kept[:, None])


def phase_entropy_reward(
    alpha: float = 1.0,
    score: float = 1.0,
    format_score: float = 0.0,
    floor: float | None = None,
    phase_reduction: str = "mean",
    *,
    budget: float | None = None,
    n_vocab: int | None = None,
    wrong_may_win: bool = False,
) -> Term:
    """Reward term: PEAR's reward in place of the verifier's.

    Reads ``entropy``, ``think``, ``answer`` and ``correct`` of the rollouts. An all-right group
    still carries gradient: decide on the shaped reward which groups to drop.

    When this does nothing: for answers in which alpha times the entropy of the answer phase is at
    least that of the thinking, for answers without a thinking phase, and for wrong answers, which
    keep the format score.

    Args:
        alpha: see ``pear_penalty``.
        score: see ``pear_reward``.
        format_score: see ``pear_reward``.
        floor: see ``pear_reward``.
        phase_reduction: "mean" or "sum_over_budget".
        budget: see ``phase_entropy``.
        n_vocab: see ``phase_entropy``.
        wrong_may_win: see ``pear_reward``.

    Returns:
        Term of the reward stage. Metrics: mean phase entropies and penalty, the share of the
        reward's variance that lies within the right answers (so comes from the penalty), the share
        of answers without a tag, and tokens an answer.

    Raises:
        ConfigurationError: a setting is out of range.

    Examples:
        >>> phase_entropy_reward(alpha=2.0).settings["alpha"]
        2.0

    Source: arXiv 2510.08026.
    """
    _check_scores(score, format_score, wrong_may_win)
    if phase_reduction not in REDUCTIONS:
        raise ConfigurationError(unknown_name("phase reduction", phase_reduction, REDUCTIONS))

    def apply(view: View, state: State) -> Applied:
        rollouts = view.rollouts
        names = ("entropy", "think", "answer", "correct")
        missing = [name for name in names if getattr(rollouts, name) is None]
        entropy, think = rollouts.entropy, rollouts.think
        answer, correct = rollouts.answer, rollouts.correct
        if entropy is None or think is None or answer is None or correct is None:
            raise InputError(
                f"the phase entropy reward needs {', '.join(missing)} in the rollouts; phase_masks "
                "makes the phases, the verifier gives correct"
            )
        think, answer = think & rollouts.mask, answer & rollouts.mask
        h_think, h_answer = phase_entropy(
            entropy, think, answer, reduction=phase_reduction, budget=budget, n_vocab=n_vocab
        )
        penalty = pear_penalty(h_think, h_answer, alpha)
        reward = pear_reward(
            correct, penalty, score, format_score, floor, wrong_may_win=wrong_may_win
        ).to(view.reward.dtype)
        no_tag = _share_without_tag(think, answer, rollouts.mask)
        metrics: dict[str, float | Tensor] = {
            "pear/h_think": h_think.mean(),
            "pear/h_answer": h_answer.mean(),
            "pear/penalty": penalty.mean(),
            "pear/reward_variance_share": penalty_variance_share(reward, correct),
            "pear/missing_tag_share": no_tag,
            "pear/tokens": rollouts.mask.sum(1).to(reward.dtype).mean(),
        }
        return Applied(reward, state, metrics)

    settings = {
        "alpha": alpha,
        "score": score,
        "format_score": format_score,
        "floor": floor,
        "phase_reduction": phase_reduction,
        "budget": budget,
        "n_vocab": n_vocab,
        "wrong_may_win": wrong_may_win,
    }
    return Term("pear", apply, settings=settings)


def penalty_variance_share(reward: Tensor, correct: Tensor) -> Tensor:
    """Share of the reward's variance within the right answers; 0 where the reward is constant.

        share = sum over right answers (reward - mean of the right)^2 / sum (reward - mean)^2

    Args:
        reward: [B].
        correct: [B] bool.

    Examples:
        >>> reward, correct = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([True, True, False])
        >>> round(penalty_variance_share(reward, correct).item(), 3)
        0.25
    """
    total = ((reward - reward.mean()) ** 2).sum()
    mean = torch.where(correct, reward, 0).sum() / correct.sum().clamp(min=1)
    within = torch.where(correct, (reward - mean) ** 2, 0).sum()
    return torch.where(total > 0, within / total, torch.zeros_like(total))


def _share_without_tag(think: Tensor, answer: Tensor, mask: Tensor) -> float:
    """Rows whose last counting token is still thinking: truncated, or never tagged."""
    place = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, place, -1).max(1).values
    open_ = think.gather(1, last.clamp(min=0)[:, None])[:, 0] & (last >= 0) & ~answer.any(1)
    share = float(open_.float().mean())
    if share > _MANY_WITHOUT_TAG:
        warnings.warn(
            f"{share:.0%} of the answers have no tag that ends thinking; all their tokens count as "
            "thinking. Are answers cut by the length limit, or is the tag another one?",
            stacklevel=3,
        )
    return share


def _check_entropy(entropy: Tensor, valid: Tensor, n_vocab: int | None) -> None:
    ceiling = math.inf if n_vocab is None else math.log(n_vocab)
    slack = 1e-4  # rounding of float32 sums over a large vocabulary
    bad = valid & ~((entropy >= -slack) & (entropy <= ceiling + slack) & torch.isfinite(entropy))
    if bool(bad.any()):
        row, token = (int(i) for i in bad.nonzero()[0])
        found = float(entropy[row, token])
        mend = (
            "These may be log-probs: pass the entropy of the whole distribution"
            if found < 0
            else "These may be bits: multiply by ln 2"
            if found > ceiling
            else "What made it is broken from there on"
        )
        limit = "" if n_vocab is None else f" and at most ln {n_vocab} = {ceiling:.4g}"
        raise InputError(
            f"entropy of answer {row}, token {token}, is {found:.4g} ({int(bad.sum())} such "
            f"values); entropies in nats are >= 0{limit}. {mend}"
        )


def _check_scores(score: float, format_score: float, wrong_may_win: bool) -> None:
    if not score <= 1:
        raise ConfigurationError(
            f"score is {score}; at most 1 is expected, for the reward is cut at 1 and a penalty "
            "below score - 1 would be lost"
        )
    if format_score >= score and not wrong_may_win:
        raise ConfigurationError(
            f"format_score {format_score} is not below score {score}: wrong answers could win. "
            "Lower it, or say wrong_may_win=True"
        )
