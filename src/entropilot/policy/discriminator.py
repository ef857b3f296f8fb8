"""Clip_B and Clip_V: drop the punished tokens that lower the entropy most.

The entropy discriminator S = p (H + log p) of a drawn token says how a push on it moves the entropy
of its distribution: a policy-gradient step of strength alpha changes it by -alpha (S - N), with N
the mean of S over the vocabulary. Punishing a token rarer than usual (S far below its level) lowers
the entropy; those tokens leave the mask.

Legend: B answers, T tokens. Nats. Everything is detached.

Source: On the Entropy Dynamics in Reinforcement Fine-Tuning of Large Language Models (arXiv
2602.03392), Theorem 3.3 and the clipping of Section 4; the authors' example in Trinity-RFT.
"""

from __future__ import annotations

import warnings
from typing import Final, NamedTuple

import torch
from torch import Tensor

from entropilot.errors import ConfigurationError, InputError
from entropilot.policy.covariance import largest, quota
from entropilot.policy.idle_warning import counted_idle
from entropilot.policy.rollouts import check_finite, check_logprobs
from entropilot.policy.surrogates import log_ratio
from entropilot.policy.term import Applied, State, Term, View

MU_BATCH: Final = 2.5  # the example's setting of Clip_B
MU_VOCABULARY: Final = 8.5  # of Clip_V; its class default is 2.0
MAX_FRACTION: Final = 1e-4
NO_SPREAD: Final = 1e-12  # nats; a deviation that is rounding alone drops nothing
OTHER_VERSION: Final = 1e-3  # mean |log-ratio| above which the statistics are of another policy


class Clipped(NamedTuple):
    """Which tokens stay, [B, T] bool, and what was dropped."""

    kept: Tensor
    metrics: dict[str, Tensor]


def entropy_discriminator(logprob: Tensor, entropy: Tensor) -> Tensor:
    """S = p (H + log p) of drawn tokens.

    Positive where the token is likelier than exp(-H): rewarding it lowers the entropy.

    Args:
        logprob: [...] nats, <= 0.
        entropy: [...] nats, of the same distributions at the same temperature.

    Returns:
        [...] nats, at least -exp(-1 - H).

    Raises:
        InputError: the shapes differ.

    Examples:
        >>> half = torch.tensor([0.5]).log()
        >>> entropy_discriminator(half, -half).item()
        0.0
    """
    if logprob.shape != entropy.shape:
        raise InputError(
            f"logprob has shape {tuple(logprob.shape)}, entropy {tuple(entropy.shape)}; they must "
            "be of the same tokens"
        )
    return logprob.exp() * (entropy + logprob)


def clip_b_mask(
    logprob: Tensor,
    entropy: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    mu: float = MU_BATCH,
    mu_pos: float | None = None,
) -> Clipped:
    """Clip_B: against the mean of the batch.

        z = S - mean(S),   sd = population sd of S over the tokens that count
        dropped:  A < 0 and z < -mu sd;   with mu_pos also A > 0 and z > mu_pos sd

    Args:
        logprob: [B, T] nats, of the policy before the update.
        entropy: [B, T] nats.
        advantages: [B, T].
        mask: [B, T] bool.
        mu: >= 0; larger drops fewer.
        mu_pos: >= 0, or None for the released one-sided form.

    Returns:
        ``Clipped``; kept is False off the mask.

    Raises:
        ConfigurationError: mu or mu_pos below 0.
        InputError: shapes differ, or a log-prob is above 0 or an entropy below 0.

    Examples:
        >>> p = torch.tensor([[0.9, 0.9, 0.9, 0.01]])
        >>> minus = -torch.ones(1, 4)
        >>> clip_b_mask(p.log(), torch.full((1, 4), 0.5), minus, minus < 0, mu=1.0).kept.tolist()
        [[True, True, True, False]]
    """
    _check_mu(mu, mu_pos)
    score = _score(logprob, entropy, mask)
    if not bool(mask.any()):
        return Clipped(mask, _shares(mask, mask, advantages))
    mean, sd = _moments(score, mask)
    gap = torch.where(mask, score - mean, 0)
    found = {"mean": mean, "sd": sd}
    if _is_rounding(sd, score):
        return Clipped(mask, _shares(mask, mask, advantages) | found)
    dropped = (advantages < 0) & (gap < -mu * sd)
    if mu_pos is not None:
        dropped = dropped | ((advantages > 0) & (gap > mu_pos * sd))
    kept = mask & ~dropped
    return Clipped(kept, _shares(kept, mask, advantages) | found)


def clip_v_mask(
    logprob: Tensor,
    entropy: Tensor,
    vocab_mean: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    *,
    mu: float = MU_VOCABULARY,
    mu_pos: float | None = None,
    max_frac: float = MAX_FRACTION,
) -> Clipped:
    """Clip_V: against the mean over the vocabulary of each token's own distribution.

        D = N - S,   sd = population sd of D over the tokens that count
        dropped:  A < 0 and D > mu sd;   with mu_pos also A > 0 and -D > mu_pos sd

    No mean is taken off D, which is centred on policy. Of more than ``max_frac`` of all tokens only
    those with the largest D (for A > 0: the largest -D) are dropped, at least one.

    Args:
        logprob: [B, T] nats, of the policy before the update.
        entropy: [B, T] nats.
        vocab_mean: [B, T] N = H sum p^2 + sum p^2 log p.
        advantages: [B, T].
        mask: [B, T] bool.
        mu: >= 0; larger drops fewer.
        mu_pos: >= 0, or None for the released one-sided form.
        max_frac: in (0, 1].

    Returns:
        ``Clipped``.

    Raises:
        ConfigurationError: a setting is out of range.
        InputError: as ``clip_b_mask``, or vocab_mean is missing.

    Examples:
        >>> p, minus = torch.tensor([[0.9, 0.9, 0.9, 0.2]]), -torch.ones(1, 4)
        >>> entropy, mean = torch.full((1, 4), 0.5), torch.full((1, 4), 0.3)
        >>> clip_v_mask(p.log(), entropy, mean, minus, minus < 0, mu=1.0).kept.tolist()
        [[True, True, True, False]]

    Source: departs from the authors' code, which also drops tokens of advantage 0; of equal D the
    first in row-major order is dropped; without spread nothing is, as in Clip_B.
    """
    _check_mu(mu, mu_pos)
    if not 0 < max_frac <= 1:
        raise ConfigurationError(f"max_frac is {max_frac}; it must be in (0, 1]")
    if vocab_mean is None:
        raise InputError(
            "Clip_V needs vocab_mean = H sum p^2 + sum p^2 log p; measure sum_p2 and sum_p2_logp "
            "with the log-probs (token_statistics(..., squares=True)), or take "
            "discriminator_vocab_mean(logits)"
        )
    score = _score(logprob, entropy, mask)
    if not bool(mask.any()):
        return Clipped(mask, _shares(mask, mask, advantages))
    check_finite("vocab_mean", vocab_mean, mask)
    below = torch.where(mask, vocab_mean - score, 0)
    mean, sd = _moments(below, mask)
    found = {"mean": mean, "sd": sd}
    if _is_rounding(sd, score):
        return Clipped(mask, _shares(mask, mask, advantages) | found)
    dropped = mask & (advantages < 0) & (below > mu * sd)
    size = below
    if mu_pos is not None:
        raised = mask & (advantages > 0) & (-below > mu_pos * sd)
        dropped, size = dropped | raised, torch.where(raised, -below, below)
    most = quota(max_frac, int(mask.sum()))
    if int(dropped.sum()) > most:
        dropped = largest(size, dropped, most)
    kept = mask & ~dropped
    return Clipped(kept, _shares(kept, mask, advantages) | found)


def predict_entropy_step(
    logprob: Tensor,
    entropy: Tensor,
    vocab_mean: Tensor,
    advantages: Tensor,
    ratio: Tensor,
    mask: Tensor,
    *,
    learning_rate: float = 1.0,
    eps_low: float = 0.2,
    eps_high: float = 0.2,
) -> tuple[Tensor, Tensor]:
    """First-order change of each token's entropy in an update, and the mean over tokens.

        dH = -lr A r I (S - N) / n        I = 0 where PPO's clip has stopped the token

    It takes every distribution as having logits of its own and the step as plain gradient descent
    on the token mean. Shared weights and Adam change the size; read sign and shape.

    Args:
        logprob: [B, T] nats.
        entropy: [B, T] nats.
        vocab_mean: [B, T].
        advantages: [B, T].
        ratio: [B, T] pi / pi_old.
        mask: [B, T] bool.
        learning_rate: of the step.
        eps_low: width of the clip below 1.
        eps_high: width above 1.

    Returns:
        Per token [B, T], 0 off the mask, and their mean.
    """
    score = _score(logprob, entropy, mask)
    stopped = ((advantages > 0) & (ratio > 1 + eps_high)) | (
        (advantages < 0) & (ratio < 1 - eps_low)
    )
    n = mask.sum().clamp(min=1)
    active = mask & ~stopped
    strength = torch.where(active, learning_rate * advantages * ratio, 0)
    change = -strength * torch.where(active, score - vocab_mean, 0) / n
    return change, change.sum() / n


def clip_b(mu: float = MU_BATCH, mu_pos: float | None = None) -> Term:
    """Shrink-mask term of Clip_B; see ``clip_b_mask``.

    When this does nothing: S is at least -exp(-1 - H) and can be as large as H, so its lower tail
    is short where entropies are small; the one-sided form may then drop no token at all (see
    ``clip-b/frac_clipped``); after 100 such updates in a row it warns. The two-sided form between
    mu 1 and 2.5 is a sharp dial.

    Examples:
        >>> clip_b(2.5, 2.5).settings
        {'mu': 2.5, 'mu_pos': 2.5}
    """
    _check_mu(mu, mu_pos)

    def apply(view: View, state: State) -> Applied:
        now = view.policy.detached()
        found = clip_b_mask(
            now.logprob, now.get("entropy"), view.advantages, view.mask, mu=mu, mu_pos=mu_pos
        )
        return _applied("clip-b", found, state)

    needs = frozenset({"logprob", "entropy"})
    return Term("clip-b", apply, _start, needs, {"mu": mu, "mu_pos": mu_pos})


def clip_v(
    mu: float = MU_VOCABULARY, mu_pos: float | None = None, max_frac: float = MAX_FRACTION
) -> Term:
    """Shrink-mask term of Clip_V; see ``clip_v_mask``.

    When this does nothing: no token lies mu standard deviations below its vocabulary's mean, or
    ``max_frac`` of a small batch is less than a token (one is still dropped). After 100 updates in
    a row without a dropped token it warns.

    Examples:
        >>> sorted(clip_v().needs)
        ['entropy', 'logprob', 'sum_p2', 'sum_p2_logp']
    """
    _check_mu(mu, mu_pos)
    if not 0 < max_frac <= 1:
        raise ConfigurationError(f"max_frac is {max_frac}; it must be in (0, 1]")

    def apply(view: View, state: State) -> Applied:
        now = view.policy.detached()
        found = clip_v_mask(
            now.logprob,
            now.get("entropy"),
            now.vocab_mean,
            view.advantages,
            view.mask,
            mu=mu,
            mu_pos=mu_pos,
            max_frac=max_frac,
        )
        return _applied("clip-v", found, state)

    needs = frozenset({"logprob", "entropy", "sum_p2", "sum_p2_logp"})
    settings = {"mu": mu, "mu_pos": mu_pos, "max_frac": max_frac}
    return Term("clip-v", apply, _start, needs, settings)


def _start(view: View) -> State:
    """Said once, before the first update: statistics of another policy than the sampler's."""
    gap = log_ratio(view.policy.logprob.detach(), view.rollouts.old_logprob, view.mask).abs()
    mean = float(gap.sum() / view.mask.sum().clamp(min=1))
    if mean > OTHER_VERSION:
        warnings.warn(
            f"log-probs of the first update differ from the sampler's by {mean:.3g} nats on "
            "average; the discriminator is meant for the policy that sampled. Synchronise sampler "
            "and trainer, or check the temperature",
            stacklevel=2,
        )
    return None


def _applied(name: str, found: Clipped, state: State) -> Applied:
    metrics = {f"{name}/{key}": value for key, value in found.metrics.items()}
    acted = float(found.metrics["frac_clipped"]) > 0
    why = "No token lies mu standard deviations away: lower mu, or set mu_pos"
    return Applied(found.kept, counted_idle(state, acted, term=name, why=why), metrics)


def _score(logprob: Tensor, entropy: Tensor, mask: Tensor) -> Tensor:
    if logprob.shape != entropy.shape or logprob.shape != mask.shape:
        raise InputError(
            f"logprob, entropy and mask have shapes {tuple(logprob.shape)}, "
            f"{tuple(entropy.shape)}, {tuple(mask.shape)}; they must be of the same tokens"
        )
    check_finite("logprob", logprob, mask)
    check_logprobs("logprob", logprob, mask)
    bad = mask & ~(entropy >= -1e-6)
    if bool(bad.any()):
        row, token = (int(i) for i in bad.nonzero()[0])
        raise InputError(
            f"entropy of answer {row}, token {token}, is {float(entropy[row, token]):.4g}; "
            "entropies are >= 0"
        )
    safe = torch.where(mask, logprob, 0), torch.where(mask, entropy, 0)
    return torch.where(mask, entropy_discriminator(*safe), 0)


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of values that are 0 off the mask."""
    n = mask.sum()
    mean = values.sum() / n
    return mean, (torch.where(mask, values - mean, 0).square_().sum() / n).sqrt()


def _is_rounding(sd: Tensor, score: Tensor) -> bool:
    """Whether a deviation is what rounding makes of equal values."""
    resolution = torch.finfo(score.dtype).eps * float(score.abs().max())
    return float(sd) <= max(NO_SPREAD, resolution)


def _shares(kept: Tensor, mask: Tensor, advantages: Tensor) -> dict[str, Tensor]:
    """Shares of the tokens that count, and of those of each sign, that were dropped; 0 of none."""
    dropped = mask & ~kept
    sides = {"frac_clipped": mask}
    sides |= {"frac_clipped_pos": mask & (advantages > 0)}
    sides |= {"frac_clipped_neg": mask & (advantages < 0)}
    return {
        name: (dropped & side).sum().to(advantages.dtype) / side.sum().clamp(min=1)
        for name, side in sides.items()
    }


def _check_mu(mu: float, mu_pos: float | None) -> None:
    for name, value in (("mu", mu), ("mu_pos", mu_pos)):
        if value is not None and not value >= 0:
            raise ConfigurationError(f"{name} is {value}; it must be >= 0")
