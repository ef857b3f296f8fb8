"""Study of PEAR: does a reward against entropy in the thinking phase shorten answers?

Sums of five digits with optional checking steps; the token before the answer plays the tag that
ends thinking. All arms begin at one start policy and differ in the reward alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from entropilot.policy.objective import Objective
from entropilot.policy.phase_entropy_reward import phase_entropy_reward
from entropilot.policy.surrogates import clipped_ratio
from entropilot.studies.digit_arms import SIZES, at_each_seed, measure_arms
from entropilot.studies.entropy_filter_curve import filter_curve
from entropilot.studies.phase_reward_figure import draw
from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement, Progress, Scale, Study

ALPHAS = (0.0, 1.0, 2.0)
JUDGED = "PEAR, alpha 1"


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Train GRPO and PEAR at three alphas; filter the start policy's thinking by entropy."""
    clip = clipped_ratio(0.2, 0.28)
    arms: dict[str, tuple[Objective, Any]] = {"GRPO": (Objective(surrogate=clip), None)}
    for alpha in ALPHAS:
        term = phase_entropy_reward(alpha)
        arms[f"PEAR, alpha {alpha:g}"] = (Objective(rewards=(term,), surrogate=clip), None)
    measured, start = measure_arms(scale, seed, progress, arms)
    return {**measured, "filter": filter_curve(start, SIZES[scale].n_fresh, seed)}


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """The four statements; means over seeds, ranges in brackets."""
    looks = measurements[0]["looks"]
    last = looks[-1]

    def of(arm: str, update: int, name: str) -> list[float]:
        return at_each_seed(measurements, arm, update, name)

    def mean(arm: str, update: int, name: str) -> float:
        return float(np.mean(of(arm, update, name)))

    start, first = mean(JUDGED, 0, "tokens"), [mean(JUDGED, u, "tokens") for u in looks]
    rise = max(first) - start
    correlation = at_each_seed(measurements, JUDGED, 0, "length_entropy_correlation")
    sweep = "; ".join(
        f"{arm}: accuracy {spread(of(arm, last, 'accuracy'))}, tokens "
        f"{spread(of(arm, last, 'tokens'), '.1f')}"
        for arm in measurements[0]["arms"]
    )
    return [
        Finding(
            f"PEAR shortens answers more than GRPO (update {last})",
            f"tokens {spread(of(JUDGED, last, 'tokens'), '.2f')} against "
            f"{spread(of('GRPO', last, 'tokens'), '.2f')}; checks "
            f"{spread(of(JUDGED, last, 'checks'))} against {spread(of('GRPO', last, 'checks'))}",
            "tokens at most GRPO's - 0.8, checks at most 0.4 x",
            mean(JUDGED, last, "tokens") <= mean("GRPO", last, "tokens") - 0.8
            and mean(JUDGED, last, "checks") <= 0.4 * mean("GRPO", last, "checks"),
        ),
        Finding(
            "It keeps the accuracy",
            f"accuracy {spread(of(JUDGED, last, 'accuracy'))} against "
            f"{spread(of('GRPO', last, 'accuracy'))}",
            "at least GRPO's - 0.05",
            mean(JUDGED, last, "accuracy") >= mean("GRPO", last, "accuracy") - 0.05,
        ),
        Finding(
            "Thinking is less sure than answering (before training)",
            f"{spread(of(JUDGED, 0, 'h_think'))} against {spread(of(JUDGED, 0, 'h_answer'))} nats",
            "thinking above answering",
            mean(JUDGED, 0, "h_think") > mean(JUDGED, 0, "h_answer"),
        ),
        Finding(
            "The answer's entropy rises under PEAR",
            f"from {spread(of(JUDGED, 0, 'h_answer'))} to {spread(of(JUDGED, last, 'h_answer'))} "
            f"nats (GRPO: {spread(of('GRPO', last, 'h_answer'))})",
            "higher than before training",
            mean(JUDGED, last, "h_answer") > mean(JUDGED, 0, "h_answer"),
        ),
        Finding(
            "Longer answers have the higher thinking entropy (within one model)",
            f"correlation over answers of the start policy {spread(correlation, '+.2f')}",
            "above 0",
            float(np.mean(correlation)) > 0,
        ),
        _judge_filter(measurements),
        Finding(
            "Length falls from the first update on",
            f"tokens at updates {', '.join(map(str, looks))}: "
            f"{', '.join(f'{x:.1f}' for x in first)}; largest rise above the start {rise:.1f}",
            "no claim: sure tokens lower a mean, so a rise is shown if it is there",
            None,
        ),
        Finding("Sweep of alpha", sweep, "no claim: for choosing alpha", None),
    ]


def _judge_filter(measurements: Sequence[Measurement]) -> Finding:
    kept = measurements[0]["filter"]["keep"]
    by_keep = {k: [m["filter"]["accuracy"][i] for m in measurements] for i, k in enumerate(kept)}
    shown = ", ".join(f"{k:.0%} kept {spread(v)}" for k, v in by_keep.items())
    whole, most, few = (float(np.mean(by_keep[k])) for k in (1.0, 0.8, 0.4))
    return Finding(
        "Thinking without its 20 % least sure tokens answers as well; without 60 % it does not",
        f"chance of the right answer given what is left: {shown}",
        "at 80 % within 0.05 of the whole, at 40 % more than 0.05 below",
        whole - most <= 0.05 and whole - few > 0.05,
    )


STUDY = Study(
    slug="pear",
    title="A reward against entropy in the thinking phase",
    paper="2510.08026",
    claim=(
        "Lowering the reward of right answers by the entropy of their thinking phase, beyond that "
        "of their answer phase, shortens reasoning by a third to a half at the same accuracy."
    ),
    scales={
        "smoke": "2 updates of 32 answers from a start of 20 steps; seconds",
        "quick": "4 arms, 40 updates of 384 answers, 1000 fresh problems a look; 1 min a seed",
        "full": "4 arms, 200 updates of 1024 answers; about 12 min a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "Sums of five digits by a transformer of 106,000 parameters. Learning rate, clip and sizes "
        "were fixed before the first run and are the same for all arms. The paper's positive "
        "correlation of length and entropy is across models and data sets; here it is over the "
        "answers of one model. Ranges are over seeds."
    ),
)
