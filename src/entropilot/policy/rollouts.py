"""The rollout batch that every term of an objective reads, checked once at the door.

Legend: B answers, T tokens of the longest answer, K steps of the answer with the most steps.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from entropilot.errors import BrokenNumbersError, InputError

_SLACK: Final = 1e-4  # a rounded sum of exponentials may pass 0 by this much

_TOKEN_FIELDS: Final = ("tokens", "old_logprob", "entropy", "reference_logprob", "step_id")
_MASK_FIELDS: Final = ("mask", "think", "answer")
_ANSWER_FIELDS: Final = ("group", "correct", "truncated")
_STEP_FIELDS: Final = ("step_potential", "step_valid")


@dataclass(frozen=True)
class Rollouts:
    """Answers of a policy with what was measured when they were drawn; nothing carries gradient.

    Values at positions where the mask is False may be anything, nan included, and never reach a
    result.

    Args:
        tokens: [B, T] int64 answer tokens.
        mask: [B, T] bool; True where the token counts, the end token included. Prompt, padding and
            tool output are False.
        old_logprob: [B, T] nats, of the policy that sampled, at the sampling temperature.
        reward: [B], or [B, T] token rewards, which are summed over the answer.
        group: [B] int64; which prompt.
        entropy: [B, T] nats, of the distributions that were sampled from.
        reference_logprob: [B, T] nats, of a frozen reference policy.
        correct: [B] bool; the verifier's verdict.
        step_id: [B, T] int64; the reasoning step of the token, negative where it has none.
        step_potential: [B, K]; potential at the end of each step.
        step_valid: [B, K] bool; which steps there are.
        think: [B, T] bool; tokens of the thinking phase.
        answer: [B, T] bool; tokens of the answer phase.
        truncated: [B] bool; ended by the length limit.

    Raises:
        InputError: a field has the wrong shape or dtype, a value that counts is not finite, a
            log-prob is above 0, or no token counts. The message names the field and the first row.

    Examples:
        >>> ones = torch.ones(2, 3)
        >>> rollouts = Rollouts(ones.long(), ones.bool(), -ones, ones[:, 0], torch.tensor([0, 0]))
        >>> rollouts.n_answers, rollouts.n_tokens, rollouts.n_groups
        (2, 6, 1)
    """

    tokens: Tensor
    mask: Tensor
    old_logprob: Tensor
    reward: Tensor
    group: Tensor
    entropy: Tensor | None = None
    reference_logprob: Tensor | None = None
    correct: Tensor | None = None
    step_id: Tensor | None = None
    step_potential: Tensor | None = None
    step_valid: Tensor | None = None
    think: Tensor | None = None
    answer: Tensor | None = None
    truncated: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self)

    @property
    def n_answers(self) -> int:
        """B."""
        return int(self.mask.shape[0])

    @property
    def n_tokens(self) -> int:
        """Tokens that count."""
        return int(self.mask.sum())

    @property
    def n_groups(self) -> int:
        """Different prompts."""
        return len(set(self.group.tolist()))

    @property
    def lengths(self) -> Tensor:
        """[B] int64, tokens that count in each answer."""
        return self.mask.sum(-1)

    @property
    def scores(self) -> Tensor:
        """[B] reward of each answer; token rewards are summed over the tokens that count."""
        if self.reward.ndim == 1:
            return self.reward
        return torch.where(self.mask, self.reward, 0).sum(-1)

    def replace(self, **fields: Any) -> Rollouts:
        """The batch with some fields exchanged, checked again."""
        return dataclasses.replace(self, **fields)

    def select(self, rows: Tensor) -> Rollouts:
        """Some of the answers.

        Args:
            rows: [b] int64 or [B] bool.
        """
        fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        chosen: dict[str, Any] = {n: None if v is None else v[rows] for n, v in fields.items()}
        return dataclasses.replace(self, **chosen)


def _check(rollouts: Rollouts) -> None:
    mask = rollouts.mask
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise InputError(
            f"mask has shape {tuple(mask.shape)} and dtype {mask.dtype}; expected [B, T] bool, "
            "True where the token counts"
        )
    if not bool(mask.any()):
        raise InputError("no token counts in the whole batch; there is nothing to learn from")
    shape, n = tuple(mask.shape), mask.shape[0]
    expected = {
        **dict.fromkeys((*_TOKEN_FIELDS, *_MASK_FIELDS), shape),
        **dict.fromkeys(_ANSWER_FIELDS, (n,)),
    }
    for name, wanted in expected.items():
        value = getattr(rollouts, name)
        if value is not None and tuple(value.shape) != wanted:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}; the mask has {shape}, so {wanted} is "
                "expected"
            )
    if tuple(rollouts.reward.shape) not in ((n,), shape):
        raise InputError(
            f"reward has shape {tuple(rollouts.reward.shape)}; expected one number an answer, "
            f"({n},), or one a token, {shape}"
        )
    for name in (*_MASK_FIELDS, "correct", "truncated", "step_valid"):
        value = getattr(rollouts, name)
        if value is not None and value.dtype != torch.bool:
            raise InputError(f"{name} has dtype {value.dtype}; expected bool")
    _check_values(rollouts)


def _check_values(rollouts: Rollouts) -> None:
    for name in ("tokens", "group", "step_id"):
        value = getattr(rollouts, name)
        if value is not None and value.dtype.is_floating_point:
            raise InputError(f"{name} has dtype {value.dtype}; expected integers")
    mask = rollouts.mask
    for name in ("old_logprob", "entropy", "reference_logprob"):
        value = getattr(rollouts, name)
        if value is not None:
            check_finite(name, value, mask)
            if value.requires_grad:
                raise InputError(f"{name} carries gradient; pass {name}.detach()")
    counted = mask if rollouts.reward.ndim == 2 else torch.ones_like(rollouts.reward).bool()
    check_finite("reward", rollouts.reward, counted)
    for name in ("old_logprob", "reference_logprob"):
        value = getattr(rollouts, name)
        if value is not None:
            check_logprobs(name, value, mask)
    if rollouts.entropy is not None:
        bad = mask & (rollouts.entropy < -_SLACK)
        if bool(bad.any()):
            row, token = (int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"entropy of answer {row}, token {token}, is "
                f"{float(rollouts.entropy[row, token]):.4g}; entropies are >= 0. If these are "
                "log-probs, pass them as old_logprob; a padding sentinel must be masked out"
            )
    for name in _STEP_FIELDS:
        value = getattr(rollouts, name)
        if value is not None and (value.ndim != 2 or value.shape[0] != mask.shape[0]):
            raise InputError(f"{name} has shape {tuple(value.shape)}; expected [B, K] steps")


def check_finite(name: str, values: Tensor, mask: Tensor) -> None:
    """Reject nan and infinities where the mask is True.

    Raises:
        InputError: names the field, how many there are and the first of them.
    """
    bad = mask & ~torch.isfinite(values)
    if bool(bad.any()):
        first = [int(i) for i in bad.nonzero()[0]]
        raise BrokenNumbersError(
            f"{name} has {int(bad.sum())} values that are nan or infinite where tokens count, the "
            f"first at {first}. What made them is broken from there on"
        )


def check_logprobs(name: str, values: Tensor, mask: Tensor) -> None:
    """Reject log-probs above 0 where the mask is True.

    Raises:
        InputError: names the field, how many there are and the first answer.
    """
    bad = mask & (values > _SLACK)
    if bool(bad.any()):
        row = int(bad.nonzero()[0][0])
        largest = float(torch.where(mask, values, -torch.inf).max())
        raise InputError(
            f"{name} of answer {row} is above 0 ({int(bad.sum())} such values, largest "
            f"{largest:.3g}); natural-log probabilities are <= 0. If these are probabilities, "
            "take log first"
        )
