"""Diagnostics that ride along with training and never enter the loss.

Legend: B answers, T tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from entropilot.information import masked_mean, sampler_match
from entropilot.policy.covariance import covariance_summary, token_covariance
from entropilot.policy.discriminator import predict_entropy_step
from entropilot.policy.objective import Prepared
from entropilot.policy.statistics import PolicyStatistics
from entropilot.policy.surrogates import log_ratio


class SamplerMismatchWarning(UserWarning):
    """The log-probs that answers were drawn with are not those that the trainer measures."""


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

    They differ by rounding where sampler and trainer agree on temperature and truncation; a larger
    gap means that ratios are not what they seem. It is warned of once, with its likely cause: a
    sampler that cuts its distribution (top-p, top-k) is told from one that differs otherwise. See
    ``sampler_match``.
    """

    def measure(prepared: Prepared, now: PolicyStatistics, _rate: float) -> dict[str, float]:
        rollouts = prepared.rollouts
        found = sampler_match(rollouts.old_logprob, now.logprob, rollouts.mask)
        if found.match != "same":
            warnings.warn(found.sentence, SamplerMismatchWarning, stacklevel=2)
        return {
            "logprob_gap": found.gap,
            "logprob_gap/k3": found.k3,
            "logprob_gap/largest": found.largest,
            "logprob_gap/missing_mass": found.missing_mass,
        }

    return Meter("sampler-gap", frozenset({"logprob"}), measure)


def entropy_change_meter() -> Meter:
    """First-order change of the mean entropy in each update; see ``predict_entropy_step``.

    ``predicted_entropy_change``, nats: the mean over the tokens of an update. The trainer averages
    over the updates of a step, so the change of a whole step is that times its updates. Tokens of
    each update are its own part of the answers, all of which count, kept by a mask or not.

    It takes every distribution by itself, a step of plain gradient descent, a token mean and the
    clip 0.2. Adam divides by the gradient's own size and shared weights move all tokens together,
    so only sign and relative size, from step to step of one run, say something: compare them with
    the measured entropy.
    """

    def measure(prepared: Prepared, now: PolicyStatistics, rate: float) -> dict[str, float]:
        mask = prepared.rollouts.mask
        ratio = log_ratio(now.logprob, prepared.rollouts.old_logprob, mask).exp()
        _, mean = predict_entropy_step(
            now.logprob,
            now.get("entropy"),
            now.vocab_mean,
            prepared.advantages,
            ratio,
            mask,
            learning_rate=rate,
        )
        return {"predicted_entropy_change": float(mean)}

    needs = frozenset({"logprob", "entropy", "sum_p2", "sum_p2_logp"})
    return Meter("entropy-change", needs, measure, every_update=True)


def covariance_table_meter(tops: tuple[float, ...] = (0.002, 0.02, 0.2, 0.5, 1.0)) -> Meter:
    """Mean covariance of the tokens with the largest, by their share of all tokens."""

    def measure(prepared: Prepared, now: PolicyStatistics, _rate: float) -> dict[str, float]:
        mask = prepared.rollouts.mask
        found = token_covariance(now.logprob, prepared.advantages, mask)
        rows = covariance_summary(found, mask, tops)
        return {f"covariance/top_{row.fraction:g}": row.mean for row in rows}

    return Meter("covariance-table", frozenset({"logprob"}), measure)
