"""Clip_B and Clip_V: drop tokens whose update would lower the entropy most.

Each token has a discriminator S = p (H + ln p): a gradient step of size alpha on it moves the
entropy of its position by -alpha (S - N), N the mean of S over the vocabulary. The masks drop the
tokens that lie furthest on the side that lowers the entropy. A dropped token leaves the
denominator too.

Legend: B answers, T tokens. Nats. Everything is detached.

Source: On the Entropy Dynamics in Reinforcement Fine-Tuning of Large Language Models (arXiv
2602.03392); masks as in Trinity-RFT 0.5.2, clipb_advantage.py and
clipv_advantage.py.
Departs from that code: log-probs and entropies are of one and the same policy (its Clip_B mixes
the sampler's log-probs with the trainer's entropies); Clip_V drops no token of advantage 0, which
has no gradient and would only change the denominator; ``mu_pos`` adds the other side, off unless
given.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.entropy_prediction import (
    NEEDS_PREDICTION,
    check_same_shape,
    discriminator_of_tokens,
    warn_other_policy,
)
from entropilot.policy.idle_warning import counted_idle
from entropilot.policy.term import Applied, State, Term, View

NEEDS_B: Final = frozenset({"logprob", "entropy"})

_FLAT = 1e-12  # a spread below it is rounding


class Dropped(NamedTuple):
    """Tokens that stay, [B, T] bool, and metrics without prefix."""

    kept: Tensor
    metrics: dict[str, float]


def clip_b_mask(
    logprob: Tensor,
    entropy: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    mu: float = 2.5,
    mu_pos: float | None = None,
) -> Dropped:
    """Clip_B: drop by the discriminator's distance from the batch mean.

        E, sd = mean and population standard deviation of S over the tokens that count
        dropped:  A < 0 and S - E < -mu sd     (and A > 0 and S - E > mu_pos sd, where given)

    Args:
        logprob: [B, T] nats.
        entropy: [B, T] nats.
        advantages: [B, T].
        mask: [B, T] bool.
        mu: >= 0; lower drops more. The paper sweeps 2 to 3.
        mu_pos: >= 0, or None for the released, one-sided form.

    Returns:
        Kept tokens and metrics: n_tokens, n_dropped, frac_clipped, frac_clipped_pos and
        frac_clipped_neg (of the tokens of that sign), mean, sd. Without a token that counts, the
        mask as it is and zeros.

    Raises:
        ConfigurationError: mu or mu_pos below 0.
        InputError: shapes differ, log-probs above 0, entropies below 0, or nan where tokens count.

    Examples:
        >>> p = torch.tensor([[0.9, 0.9, 0.9, 0.05]])
        >>> a, one = -torch.ones(1, 4), torch.ones(1, 4)
        >>> clip_b_mask(p.log(), one, a, one.bool(), mu=1.0).kept.tolist()
        [[True, True, True, False]]
    """
    _check_mu(mu, mu_pos)
    score = discriminator_of_tokens(logprob, entropy, advantages, mask)
    n = int(mask.sum())
    mean = score.sum() / max(n, 1)
    gap = torch.where(mask, score - mean, 0)
    sd = (gap.square().sum() / max(n, 1)).sqrt()
    low, high = _outside(gap, advantages, mask, sd, mu, mu_pos)
    return _dropped(low, high, advantages, mask, mean, sd)


def clip_v_mask(
    logprob: Tensor,
    entropy: Tensor,
    vocab_mean: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    *,
    mu: float = 8.5,
    mu_pos: float | None = None,
    max_frac: float = 1e-4,
) -> Dropped:
    """Clip_V: drop by the discriminator's distance from the mean of its own position.

        D = N - S;  sd = population standard deviation of D over the tokens that count
        dropped:  A < 0 and D > mu sd          (and A > 0 and -D > mu_pos sd, where given)

    No mean is subtracted from D, which is centred already. If more than ``max_frac`` of the
    tokens would go, only the max(floor(max_frac n), 1) with the largest abs(D) go.

    Args:
        logprob: [B, T] nats.
        entropy: [B, T] nats.
        vocab_mean: [B, T], N = H sum p^2 + sum p^2 ln p; ``PolicyStatistics.vocab_mean``.
        advantages: [B, T].
        mask: [B, T] bool.
        mu: >= 0; lower drops more. The paper sweeps 7.5 to 8.5.
        mu_pos: >= 0, or None for the released, one-sided form.
        max_frac: in (0, 1], of the tokens that count.

    Returns:
        As ``clip_b_mask``; mean and sd are those of D.

    Raises:
        ConfigurationError: mu or mu_pos below 0, max_frac outside (0, 1].
        InputError: as ``clip_b_mask``, or no vocab_mean.

    Examples:
        >>> p, one = torch.tensor([[0.9, 0.9, 0.9, 0.05]]), torch.ones(1, 4)
        >>> clip_v_mask(p.log(), one, one / 2, -one, one.bool(), mu=1.0).metrics["n_dropped"]
        1.0
    """
    _check_mu(mu, mu_pos)
    if not 0 < max_frac <= 1:
        raise ConfigurationError(f"max_frac is {max_frac}; it is a share of tokens in (0, 1]")
    if vocab_mean is None:
        raise InputError(
            "Clip_V needs vocab_mean, the mean of the discriminator over the vocabulary. Measure "
            'it with the log-probs: statistics_from_logits(logits, tokens, wants=("logprob", '
            '"entropy", "sum_p2", "sum_p2_logp")).vocab_mean'
        )
    score = discriminator_of_tokens(logprob, entropy, advantages, mask)
    check_same_shape(logprob=score, vocab_mean=vocab_mean)
    depth = torch.where(mask, vocab_mean.detach() - score, 0)
    n = int(mask.sum())
    mean = depth.sum() / max(n, 1)
    centred = torch.where(mask, depth - mean, 0)
    sd = (centred.square().sum() / max(n, 1)).sqrt()
    low, high = _outside(-depth, advantages, mask, sd, mu, mu_pos)
    largest = max(math.floor(max_frac * n), 1)
    gone = low | high
    if int(gone.sum()) > largest:
        strength = torch.where(gone, depth.abs(), -1).reshape(-1)
        chosen = torch.zeros_like(strength).bool()
        chosen[strength.topk(largest).indices] = True
        chosen = chosen.reshape(gone.shape)
        low, high = low & chosen, high & chosen
    return _dropped(low, high, advantages, mask, mean, sd)


def clip_b(mu: float = 2.5, mu_pos: float | None = None) -> Term:
    """Mask term of Clip_B; see ``clip_b_mask``.

    When this does nothing: S is bounded below by -exp(-1 - H), so with a small vocabulary or a
    high entropy no token lies 2.5 sd below the mean and the one-sided form drops none. Then lower
    ``mu``, or set ``mu_pos``. It also drops nothing while all advantages are 0. After 100 updates
    without a dropped token it warns.

    Args:
        mu: >= 0.
        mu_pos: >= 0, or None.

    Raises:
        ConfigurationError: mu or mu_pos below 0.

    Examples:
        >>> clip_b(mu_pos=2.5).settings
        {'mu': 2.5, 'mu_pos': 2.5}
    """
    _check_mu(mu, mu_pos)

    def apply(view: View, state: State) -> Applied:
        now = view.policy
        found = clip_b_mask(
            now.logprob, now.get("entropy"), view.advantages, view.mask, mu=mu, mu_pos=mu_pos
        )
        return _applied("clip-b", found, view, state)

    settings: dict[str, Any] = {"mu": mu, "mu_pos": mu_pos}
    return Term("clip-b", apply, init=_fresh, needs=NEEDS_B, settings=settings)


def clip_v(mu: float = 8.5, mu_pos: float | None = None, max_frac: float = 1e-4) -> Term:
    """Mask term of Clip_V; see ``clip_v_mask``.

    When this does nothing: no negative token lies ``mu`` sd below the mean of its position (a
    small vocabulary rarely has one at 8.5), or all advantages are 0. With few tokens ``max_frac``
    leaves a single token to drop. After 100 updates without a dropped token it warns.

    Args:
        mu: >= 0.
        mu_pos: >= 0, or None.
        max_frac: in (0, 1].

    Raises:
        ConfigurationError: mu or mu_pos below 0, max_frac outside (0, 1].

    Examples:
        >>> sorted(clip_v().needs)
        ['entropy', 'logprob', 'sum_p2', 'sum_p2_logp']
    """
    _check_mu(mu, mu_pos)
    if not 0 < max_frac <= 1:
        raise ConfigurationError(f"max_frac is {max_frac}; it is a share of tokens in (0, 1]")

    def apply(view: View, state: State) -> Applied:
        now = view.policy
        found = clip_v_mask(
            *(now.logprob, now.get("entropy"), now.vocab_mean, view.advantages, view.mask),
            mu=mu,
            mu_pos=mu_pos,
            max_frac=max_frac,
        )
        return _applied("clip-v", found, view, state)

    settings: dict[str, Any] = {"mu": mu, "mu_pos": mu_pos, "max_frac": max_frac}
    return Term("clip-v", apply, init=_fresh, needs=NEEDS_PREDICTION, settings=settings)


def _fresh(_view: View) -> State:
    return {"updates": 0, "idle": 0}


def _applied(name: str, found: Dropped, view: View, state: State) -> Applied:
    kept = state or {"updates": 0, "idle": 0}
    if kept["updates"] == 0:
        warn_other_policy(view.policy.logprob, view.rollouts.old_logprob, view.mask)
    idle = counted_idle(
        kept["idle"],
        found.metrics["n_dropped"] > 0,
        term=name,
        why="No token lies mu standard deviations away; lower mu, or set mu_pos",
    )
    metrics = {f"{name}/{key}": value for key, value in found.metrics.items()}
    return Applied(found.kept, {"updates": kept["updates"] + 1, "idle": idle}, metrics)


def _outside(
    gap: Tensor, advantages: Tensor, mask: Tensor, sd: Tensor, mu: float, mu_pos: float | None
) -> tuple[Tensor, Tensor]:
    """Tokens that are punished and lie far below, and those rewarded that lie far above."""
    none = torch.zeros_like(mask)
    if not float(sd) > _FLAT:
        return none, none
    low = mask & (advantages < 0) & (gap < -mu * sd)
    return low, none if mu_pos is None else mask & (advantages > 0) & (gap > mu_pos * sd)


def _dropped(
    low: Tensor, high: Tensor, advantages: Tensor, mask: Tensor, mean: Tensor, sd: Tensor
) -> Dropped:
    n, n_low, n_high, negative, positive = torch.stack(
        [x.sum() for x in (mask, low, high, mask & (advantages < 0), mask & (advantages > 0))]
    ).tolist()
    metrics = {
        "n_tokens": float(n),
        "n_dropped": float(n_low + n_high),
        "frac_clipped": (n_low + n_high) / max(n, 1),
        "frac_clipped_pos": n_high / max(positive, 1),
        "frac_clipped_neg": n_low / max(negative, 1),
        "mean": float(mean),
        "sd": float(sd),
    }
    return Dropped(mask & ~low & ~high, metrics)


def _check_mu(mu: float, mu_pos: float | None) -> None:
    for name, value in (("mu", mu), ("mu_pos", mu_pos)):
        if value is not None and not value >= 0:
            raise ConfigurationError(
                f"{name} is {value}; it counts standard deviations and must be >= 0"
            )
