"""Diagnostics that ride along with training and never enter the loss.

Legend: B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from entropilot.information import masked_mean
from entropilot.policy.entropy_prediction import (
    NEEDS_PREDICTION,
    discriminator_of_tokens,
    predict_entropy_step,
)
from entropilot.policy.objective import Prepared
from entropilot.policy.statistics import PolicyStatistics


@dataclass(frozen=True)
class Meter:
    """A diagnostic of updates.

    Args:
        name: of the meter.
        needs: statistics it reads.
        measure: (prepared answers of an update, statistics before it, learning rate) -> metrics.
        every_update: measure at every update and average; False measures the first of a step only.
    """

    name: str
    needs: frozenset[str]
    measure: Callable[[Prepared, PolicyStatistics, float], Mapping[str, float]]
    every_update: bool = False


def covariance_meter() -> Meter:
    """Covariance of log-prob and advantage over tokens, which drives entropy down.

    Source: arXiv 2505.22617, Section 3.
    """

    def measure(prepared: Prepared, now: PolicyStatistics, _rate: float) -> dict[str, float]:
        mask = prepared.rollouts.mask
        a, b = prepared.advantages, now.logprob
        gap = (b - masked_mean(b, mask)) * (a - masked_mean(a, mask))
        return {"covariance": float(masked_mean(gap, mask))}

    return Meter("covariance", frozenset({"logprob"}), measure)


def sampler_gap_meter() -> Meter:
    """How far the trainer's log-probs are from the sampler's before the first update.

    They differ by rounding where sampler and trainer agree on temperature and truncation; a gap
    above 0.01 nats means that ratios are not what they seem.
    """

    def measure(prepared: Prepared, now: PolicyStatistics, _rate: float) -> dict[str, float]:
        mask = prepared.rollouts.mask
        gap = torch.where(mask, now.logprob - prepared.rollouts.old_logprob, 0).abs()
        return {"logprob_gap": float(gap.sum() / mask.sum())}

    return Meter("sampler-gap", frozenset({"logprob"}), measure)


def entropy_change_meter(eps_low: float = 0.2, eps_high: float = 0.2) -> Meter:
    """First-order change of the mean entropy that an update should make, nats.

        predicted_entropy_change = mean_t of -alpha_t (S_t - N_t)
        discriminator_mean       = mean_t of S_t
        discriminator_surplus    = mean_t of (S_t - N_t), about 0 on policy

    The prediction takes the logits for a table and the step for plain gradient descent; a network
    shares its weights and Adam rescales, so read its sign and its course, not its size. See
    ``predict_entropy_step``.

    Args:
        eps_low: of the objective's clip.
        eps_high: of the objective's clip.

    Source: arXiv 2602.03392, Theorem 3.3 and Corollary 3.5.
    """

    def measure(prepared: Prepared, now: PolicyStatistics, rate: float) -> dict[str, float]:
        rollouts, mask = prepared.rollouts, prepared.rollouts.mask
        given = (prepared.advantages, mask)
        step = predict_entropy_step(
            now, rollouts.old_logprob, *given, rate, eps_low=eps_low, eps_high=eps_high
        )
        score = discriminator_of_tokens(now.logprob, now.get("entropy"), *given)
        return {
            "predicted_entropy_change": float(step.mean),
            "discriminator_mean": float(masked_mean(score, mask)),
            "discriminator_surplus": float(masked_mean(score - now.vocab_mean, mask)),
        }

    return Meter("entropy-change", NEEDS_PREDICTION, measure, every_update=True)
