"""What the entropy discriminator of the drawn tokens says of an update.

    S = p (H + ln p)            of the drawn token
    N = H sum p^2 + sum p^2 ln p    its mean over the vocabulary

A gradient step of size alpha on the log-prob of the token moves the entropy of its position by
-alpha (S - N). ``information.discriminator_all`` and its neighbours hold the theory for whole
distributions; here are the statistics that a trainer measures.

Legend: B answers, T tokens. Nats. Everything is detached.

Source: On the Entropy Dynamics in Reinforcement Fine-Tuning of Large Language Models (arXiv
2602.03392), Theorems 3.2 and 3.3.
"""

from __future__ import annotations

import warnings
from typing import Final, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import InputError
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.surrogates import log_ratio

#: Statistics that a prediction reads.
NEEDS_PREDICTION: Final = frozenset({"logprob", "entropy", "sum_p2", "sum_p2_logp"})

_SAME_POLICY = 1e-3  # nats; mean gap of log-probs above it means two policies


class EntropyStep(NamedTuple):
    """Predicted change of the entropy in one update, nats."""

    per_token: Tensor  # [B, T], of each position's own entropy; 0 off the mask
    mean: Tensor  # scalar, of the mean entropy over the tokens


def entropy_discriminator(logprob: Tensor, entropy: Tensor) -> Tensor:
    """Discriminator of the drawn tokens, detached.

        S = p (H + ln p),   p = exp(logprob)

    It lies in [-exp(-1 - H), H]; positive for tokens likelier than exp(-H).

    Args:
        logprob: [...] nats, of the drawn token.
        entropy: [...] nats, of its position, under the same policy and temperature.

    Returns:
        [...] nats, float32 or float64.

    Raises:
        InputError: the shapes differ.

    Examples:
        >>> round(entropy_discriminator(torch.tensor(0.5).log(), torch.tensor(1.0)).item(), 4)
        0.1534
    """
    logprob, entropy = _wide(logprob.detach()), _wide(entropy.detach())
    check_same_shape(logprob=logprob, entropy=entropy)
    return logprob.exp() * (entropy + logprob)


def discriminator_of_tokens(
    logprob: Tensor, entropy: Tensor, advantages: Tensor, mask: Tensor
) -> Tensor:
    """Discriminators of a batch after a check of what goes in; 0 off the mask.

    Args:
        logprob: [B, T] nats.
        entropy: [B, T] nats.
        advantages: [B, T]; only its shape is read.
        mask: [B, T] bool.

    Returns:
        [B, T].

    Raises:
        InputError: shapes differ, or where tokens count a log-prob is above 0, an entropy below 0,
            or either is nan.

    Examples:
        >>> one = torch.ones(1, 1)
        >>> discriminator_of_tokens(0 * one, 0 * one, one, one.bool()).item()
        0.0
    """
    check_same_shape(logprob=logprob, entropy=entropy, advantages=advantages, mask=mask)
    logprob = torch.where(mask, _wide(logprob.detach()), 0)
    entropy = torch.where(mask, _wide(entropy.detach()), 0)
    if not float(logprob.max() if logprob.numel() else 0) <= 1e-4:
        raise InputError(
            f"logprob reaches {float(logprob.max()):.4g}; it must be log-probabilities, which are "
            "<= 0. If these are probabilities, take log first"
        )
    if not float(entropy.min() if entropy.numel() else 0) >= -1e-4:
        raise InputError(
            f"entropy reaches {float(entropy.min()):.4g}; entropies are >= 0. A padding sentinel "
            "must be masked out"
        )
    return torch.where(mask, entropy_discriminator(logprob, entropy), 0)


def predict_entropy_step(
    now: PolicyStatistics,
    old_logprob: Tensor,
    advantages: Tensor,
    mask: Tensor,
    learning_rate: float,
    *,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
) -> EntropyStep:
    """First-order change of the entropy in one gradient step of the clipped token-mean loss.

        alpha_t = learning_rate A_t r_t I_t / n      r = ratio, I = 0 where the clip has stopped it
        dH_t    = -alpha_t (S_t - N_t)
        mean    = sum_t dH_t / n

    It assumes a table of logits, one row a position, and plain gradient descent. In a network a
    step on one position moves the others, and Adam rescales it, so the size is far too small;
    what carries over is the sign and how it varies from update to update.

    Args:
        now: logprob, entropy, sum_p2, sum_p2_logp of the policy before the update, [B, T].
        old_logprob: [B, T] nats, of the policy that sampled.
        advantages: [B, T].
        mask: [B, T] bool.
        learning_rate: >= 0.
        eps_low: width of the clip below 1.
        eps_high: width above 1.

    Returns:
        Change of each token's entropy and of their mean; 0 where no token counts.

    Raises:
        InputError: a statistic was not measured, or a shape differs.

    Examples:
        >>> p, one = torch.tensor([[0.5]]), torch.ones(1, 1)
        >>> now = PolicyStatistics(p.log(), 0.6931 * one, sum_p2=0.4 * one, sum_p2_logp=-0.3 * one)
        >>> predict_entropy_step(now, p.log(), one, one.bool(), 0.1).mean.item() < 0
        True
    """
    logprob = torch.where(mask, _wide(now.logprob.detach()), 0)
    score = discriminator_of_tokens(logprob, now.get("entropy"), advantages, mask)
    advantage = torch.where(mask, advantages, 0)
    ratio = log_ratio(logprob, old_logprob, mask).exp()
    stopped = ((advantage > 0) & (ratio > 1 + eps_high)) | ((advantage < 0) & (ratio < 1 - eps_low))
    n = mask.sum().clamp(min=1)
    alpha = learning_rate * torch.where(stopped, 0, advantage * ratio) / n
    surplus = torch.where(mask, score - _wide(now.vocab_mean), 0)
    change = -alpha * surplus
    return EntropyStep(change, change.sum() / n)


def warn_other_policy(logprob: Tensor, old_logprob: Tensor, mask: Tensor) -> float:
    """Warn where statistics are not of the policy that drew the tokens, and return the mean gap.

    Meant for the first update on answers, before the policy has moved: saved statistics of another
    version, or another temperature, choose other tokens without a sign of it.

    Args:
        logprob: [B, T] nats, of the statistics.
        old_logprob: [B, T] nats, of the policy that sampled.
        mask: [B, T] bool.

    Returns:
        Mean of abs(logprob - old_logprob), nats; 0 where no token counts.

    Examples:
        >>> one = torch.ones(1, 1)
        >>> warn_other_policy(-one, -one, one.bool())
        0.0
    """
    gap = torch.where(mask, logprob.detach() - old_logprob, 0).abs()
    mean = float(gap.sum() / mask.sum().clamp(min=1))
    if mean > _SAME_POLICY:
        warnings.warn(
            f"the statistics are not of the policy that drew the tokens: log-probs differ by "
            f"{mean:.3g} nats on average before the first update (at most {_SAME_POLICY:g} is "
            "rounding). Measure them with the current policy at the sampling temperature",
            stacklevel=2,
        )
    return mean


def check_same_shape(**values: Tensor) -> None:
    """Reject statistics that do not belong together.

    Raises:
        InputError: names the one that differs from the first.

    Examples:
        >>> check_same_shape(logprob=torch.zeros(2), entropy=torch.zeros(2))
    """
    (first, wanted), *rest = values.items()
    for name, value in rest:
        if value.shape != wanted.shape:
            raise InputError(
                f"{name} has shape {tuple(value.shape)}, {first} {tuple(wanted.shape)}; there must "
                "be one number a token in both"
            )


def _wide(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()
