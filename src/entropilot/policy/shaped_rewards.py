"""The rewards of reward-shaped next-token prediction (arXiv 2512.22955).

The functions that write rewards or gradients out are for inspection and for tests: arrays of the
size of the logits, no chunks, no autograd. They take numpy arrays as well as tensors and return the
kind they were given. Training uses ``shaped_next_token``.

Legend: N rows, V vocabulary, x the target.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError


@dataclass(frozen=True)
class Shaping:
    """Rewards of a next-token "episode"; the defaults are cross-entropy exactly.

    Args:
        beta: > -1. Below 0 the pull to the target grows with its probability (sharpens; the paper
            has -0.25), above 0 sure targets are damped (0.5).
        lambda_head: reward of wrong tokens among the k most likely; above 0 keeps alternatives.
        lambda_tail: reward of all other wrong tokens; below 0 pushes the tail down (-0.1).
        k: >= 1, size of the head, the target's slot included. Ties: lowest token id first.
        min_gap: floor of 1 - p_x under the power, > 0.

    Raises:
        ConfigurationError: a value is out of range.

    Examples:
        >>> Shaping(beta=-0.25).k
        100
    """

    beta: float = 0.0
    lambda_head: float = 0.0
    lambda_tail: float = 0.0
    k: int = 100
    min_gap: float = 1e-6

    def __post_init__(self) -> None:
        if not self.beta > -1:
            raise ConfigurationError(
                f"beta is {self.beta}: the gradient diverges at beta <= -1; the paper's sharpest "
                "setting is -0.25"
            )
        if self.k < 1:
            raise ConfigurationError(f"k is {self.k}; the head holds at least one token")
        if not 0 < self.min_gap < 1:
            raise ConfigurationError(f"min_gap is {self.min_gap}; expected a value in (0, 1)")
        if not all(map(math.isfinite, (self.beta, self.lambda_head, self.lambda_tail))):
            raise ConfigurationError("beta, lambda_head and lambda_tail must be finite")
        if self.lambda_tail > 0:
            warnings.warn(
                f"lambda_tail is {self.lambda_tail}, above 0: it rewards tail tokens, and the "
                "entropy may explode",
                stacklevel=3,
            )

    @property
    def has_masses(self) -> bool:
        """Whether head and tail enter."""
        return self.lambda_head != 0 or self.lambda_tail != 0


@overload
def shaped_rewards(logits: Tensor, targets: Tensor, **shaping: Any) -> Tensor: ...
@overload
def shaped_rewards(
    logits: NDArray[Any], targets: NDArray[Any], **shaping: Any
) -> NDArray[np.floating[Any]]: ...
def shaped_rewards(logits: Any, targets: Any, **shaping: Any) -> Any:
    """Reward of every vocabulary entry, [..., V], detached.

        target: (1 - p_x)^beta / p_x        wrong, head: lambda_head        wrong, tail: lambda_tail

    Args:
        logits: [..., V], a tensor or a numpy array; below float32 it is widened.
        targets: [...] int64 in [0, V).
        shaping: fields of ``Shaping``.

    Raises:
        InputError: a target is no token, or a logit is nan or +inf.
        ConfigurationError: a setting is out of range.

    Examples:
        >>> z = torch.tensor([0.5, 0.25, 0.25]).log()
        >>> shaped_rewards(z, torch.tensor(0), lambda_head=0.5, k=2).tolist()
        [2.0, 0.5, 0.0]

    Source: arXiv 2512.22955.
    """
    rule = Shaping(**shaping)
    if not isinstance(logits, Tensor):
        return _numpy_parts(logits, targets, rule)[1]
    p, at, in_head = _parts(logits, targets, rule)
    head, tail = (p.new_tensor(x) for x in (rule.lambda_head, rule.lambda_tail))
    rewards = torch.where(in_head, head, tail)
    p_x, gap = p.gather(-1, at), _gap(p, at)
    target = gap.clamp(min=rule.min_gap) ** rule.beta / p_x
    return rewards.scatter(-1, at, target)


@overload
def shaped_ntp_grad(logits: Tensor, targets: Tensor, **shaping: Any) -> Tensor: ...
@overload
def shaped_ntp_grad(
    logits: NDArray[Any], targets: NDArray[Any], **shaping: Any
) -> NDArray[np.floating[Any]]: ...
def shaped_ntp_grad(logits: Any, targets: Any, **shaping: Any) -> Any:
    """Gradient of each row's loss in its logits, [..., V], in closed form, without autograd.

        dloss/dz_a = p_a sum_b p_b reward_b - p_a reward_a

    For another framework, or to see what a setting does to a distribution.

    Args:
        logits: [..., V], a tensor or a numpy array; below float32 it is widened.
        targets: [...] int64 in [0, V).
        shaping: fields of ``Shaping``.

    Examples:
        >>> z = torch.tensor([0.5, 0.25, 0.25]).log()
        >>> shaped_ntp_grad(z, torch.tensor(0)).tolist()
        [-0.5, 0.25, 0.25]
        >>> shaped_ntp_grad(np.log([0.5, 0.25, 0.25]), np.array(0)).tolist()
        [-0.5, 0.25, 0.25]
    """
    if not isinstance(logits, Tensor):
        q, rewards = _numpy_parts(logits, targets, Shaping(**shaping))
        earned = q * rewards
        return q * earned.sum(-1, keepdims=True) - earned
    p, _, _ = _parts(logits, targets, Shaping(**shaping))
    credit = p * shaped_rewards(logits, targets, **shaping)
    return p * credit.sum(-1, keepdim=True) - credit


def top_members(logits: Tensor, k: int) -> Tensor:
    """Ids of the k largest logits of each row, [N, min(k, V)]; of equal ones the lowest ids.

    Args:
        logits: [N, V].
        k: >= 1.

    Examples:
        >>> top_members(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), 2).sort().values.tolist()
        [[0, 1]]
    """
    width = logits.shape[-1]
    if k >= width:
        return torch.arange(width, device=logits.device).expand(logits.shape)
    values, ids = logits.topk(k + 1, dim=-1)
    last = values[:, k - 1]
    tied = (last == values[:, k]) & torch.isfinite(last)
    if bool(tied.any()):  # topk chooses among equal values as it likes
        some, edge = logits[tied], last[tied, None]
        above, equal = some > edge, some == edge
        wanted = k - above.sum(-1, keepdim=True)
        chosen = above | (equal & (equal.cumsum(-1) <= wanted))
        ids[tied, :k] = chosen.nonzero()[:, 1].view(-1, k)
    return ids[:, :k]


def sampled_loss(
    logits: Tensor, targets: Tensor, generator: torch.Generator | None = None, **shaping: Any
) -> Tensor:
    """-reward(a) log p_a for one a drawn from p in each row, [...]; with gradient.

    Its expected gradient is that of the exact form; its variance grows as 1 / p_x. Only to check
    the identity.

    Args:
        logits: [..., V].
        targets: [...] int64 in [0, V).
        generator: draws a.
        shaping: fields of ``Shaping``.

    Examples:
        >>> sampled_loss(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64)).shape
        torch.Size([5])
    """
    rewards = shaped_rewards(logits, targets, **shaping)
    log_p = torch.log_softmax(logits, -1)
    flat = log_p.detach().exp().reshape(-1, logits.shape[-1])
    drawn = torch.multinomial(flat, 1, generator=generator).reshape(*logits.shape[:-1], 1)
    loss: Tensor = -(rewards.gather(-1, drawn) * log_p.gather(-1, drawn)).squeeze(-1)
    return loss


def _parts(logits: Tensor, targets: Tensor, rule: Shaping) -> tuple[Tensor, Tensor, Tensor]:
    width = logits.shape[-1]
    if bool(((targets < 0) | (targets >= width)).any()):
        raise InputError(f"targets must be token ids in [0, {width}); drop the others first")
    wide = logits.detach() if logits.dtype == torch.float64 else logits.detach().float()
    ids = top_members(wide.reshape(-1, width), rule.k)
    head = torch.zeros(ids.shape[0], width, dtype=torch.bool, device=logits.device)
    head.scatter_(-1, ids, True)
    return torch.softmax(wide, -1), targets.unsqueeze(-1), head.reshape(logits.shape)


def _gap(p: Tensor, at: Tensor) -> Tensor:
    return p.scatter(-1, at, 0).sum(-1, keepdim=True)


def _numpy_parts(logits: Any, targets: Any, rule: Shaping) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities and rewards, [..., V] each."""
    z, at = np.asarray(logits), np.asarray(targets)[..., None]
    z = z if z.dtype == np.float64 else z.astype(np.float32)
    width = z.shape[-1]
    if at.shape[:-1] != z.shape[:-1] or at.dtype.kind not in "iu":
        raise InputError(
            f"targets have shape {at.shape[:-1]} and dtype {at.dtype}; the logits without the last "
            f"axis have {z.shape[:-1]}, and token ids are integers"
        )
    if ((at < 0) | (at >= width)).any():
        raise InputError(f"targets must be token ids in [0, {width}); drop the others first")
    top = z.max(-1, keepdims=True)
    if not np.isfinite(top).all():
        raise InputError("a row of the logits has nan or +inf, or is -inf everywhere")
    p = np.exp(z - top)
    p /= p.sum(-1, keepdims=True)
    rewards = np.where(_numpy_head(z, rule.k), z.dtype.type(rule.lambda_head), rule.lambda_tail)
    rewards = rewards.astype(z.dtype)
    others = p.copy()
    np.put_along_axis(others, at, 0, -1)
    gap = np.maximum(others.sum(-1, keepdims=True), rule.min_gap)  # 1 - p_x would cancel
    np.put_along_axis(rewards, at, gap**rule.beta / np.take_along_axis(p, at, -1), -1)
    return p, rewards


def _numpy_head(z: NDArray[Any], k: int) -> NDArray[np.bool_]:
    """Whether each logit is among the k largest of its row; of equal ones the lowest ids."""
    width = z.shape[-1]
    if k >= width:
        return np.ones(z.shape, bool)
    edge = np.partition(z, width - k, -1)[..., width - k, None]
    above, equal = z > edge, z == edge
    room = k - above.sum(-1, keepdims=True)
    chosen: NDArray[np.bool_] = above | (equal & (equal.cumsum(-1) <= room))
    return chosen
