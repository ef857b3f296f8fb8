"""Study of SPAE: does crediting steps by the potential of their answer end needless checking?

Sums of five digits with optional checking steps. All arms begin at one start policy and differ in
the advantages alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from entropilot.information import auc
from entropilot.policy.models import SmallPolicy
from entropilot.policy.objective import Objective
from entropilot.policy.step_potential_advantage import step_potential_advantage
from entropilot.policy.surrogates import clipped_ratio
from entropilot.policy.training.step_probes import probe_batch, step_probes
from entropilot.studies.digit_arms import (
    SIZES,
    at_each_seed,
    fresh_batch,
    measure_arms,
)
from entropilot.studies.seed_numbers import spread
from entropilot.studies.step_credit_figure import draw
from entropilot.studies.study import Finding, Measurement, Progress, Scale, Study
from entropilot.studies.training_arms import SUMS

ARMS = {  # alpha, xi, summary
    "RF-B": (0.0, 0.0, "full"),
    "SPAE": (0.5, 0.5, "full"),
    "SPAE, alpha 0": (0.0, 0.5, "full"),
    "SPAE, decaying summary": (0.5, 0.5, "decay"),
}


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Train the four arms, and ask how well the probe knows where a sum is solved."""
    arms = {}
    for name, (alpha, xi, summary) in ARMS.items():
        term = step_potential_advantage(alpha, xi, summary=summary)  # type: ignore[arg-type]
        objective = Objective(advantages=(term,), surrogate=clipped_ratio(0.2, 0.28))
        arms[name] = (objective, step_probes(SUMS))
    measured, start = measure_arms(scale, seed, progress, arms)
    return {**measured, "probe": _probe(start, SIZES[scale].n_fresh, seed)}


def _probe(start: SmallPolicy, n: int, seed: int) -> dict[str, Any]:
    """The potential at every boundary of the start policy against whether the sum is solved."""
    batch = fresh_batch(start, n, seed)
    probes = probe_batch(SUMS, batch)
    tokens, mask = batch.rollouts.tokens.numpy(), batch.rollouts.mask.numpy()
    found = SUMS.boundaries(batch.problems, tokens, mask)
    solved = torch.from_numpy(found.solved)[torch.from_numpy(found.ends)]
    phi = probes.potential[probes.valid]
    sure = probes.confidence[probes.valid]
    high = phi > 0.9
    return {
        "n_boundaries": len(phi),
        "auc": float(auc(phi.double().numpy(), solved.numpy())),
        "high_at_solved": float(high[solved].double().mean()) if bool(solved.any()) else None,
        "high_at_unsolved": float(high[~solved].double().mean()),
        "confidence_before": float(sure[~solved].mean()),
        "confidence_solved": float(sure[solved].mean()) if bool(solved.any()) else None,
        "phi_by_step": [
            float(probes.potential[:, k][probes.valid[:, k]].mean())
            for k in range(min(8, probes.valid.shape[1]))
            if bool(probes.valid[:, k].any())
        ],
    }


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """The five statements; means over seeds, ranges in brackets."""
    last = measurements[0]["looks"][-1]
    early = min(10, last)

    def of(arm: str, update: int, name: str) -> list[float]:
        return at_each_seed(measurements, arm, update, name)

    def mean(arm: str, update: int, name: str) -> float:
        return float(np.mean(of(arm, update, name)))

    probe = [float(m["probe"]["auc"]) for m in measurements]
    high = [m["probe"]["high_at_solved"] or 0.0 for m in measurements]
    wrong = [m["probe"]["high_at_unsolved"] for m in measurements]
    checks = {name: mean(name, early, "checks") for name in ARMS}
    return [
        Finding(
            f"SPAE ends needless checks early (update {early})",
            f"checks an answer: SPAE {spread(of('SPAE', early, 'checks'), '.2f')}, RF-B "
            f"{spread(of('RF-B', early, 'checks'), '.2f')}, start "
            f"{spread(of('RF-B', 0, 'checks'), '.2f')}",
            "at most 0.4 x RF-B",
            checks["SPAE"] <= 0.4 * checks["RF-B"],
        ),
        Finding(
            f"At the end (update {last}) it checks less and is as often right",
            f"accuracy SPAE {spread(of('SPAE', last, 'accuracy'))}, RF-B "
            f"{spread(of('RF-B', last, 'accuracy'))}; checks "
            f"{spread(of('SPAE', last, 'checks'))} against {spread(of('RF-B', last, 'checks'))}; "
            f"tokens {spread(of('SPAE', last, 'tokens'), '.1f')} against "
            f"{spread(of('RF-B', last, 'tokens'), '.1f')}",
            "accuracy at least RF-B's - 0.03, checks at most 0.5 x",
            mean("SPAE", last, "accuracy") >= mean("RF-B", last, "accuracy") - 0.03
            and mean("SPAE", last, "checks") <= 0.5 * mean("RF-B", last, "checks"),
        ),
        Finding(
            "Fewer answers go from right to wrong",
            f"share at update {last}: SPAE {spread(of('SPAE', last, 'right_to_wrong'), '.4f')}, "
            f"RF-B {spread(of('RF-B', last, 'right_to_wrong'), '.4f')}",
            "at most RF-B's",
            mean("SPAE", last, "right_to_wrong") <= mean("RF-B", last, "right_to_wrong"),
        ),
        Finding(
            f"The saturation penalty does the shortening (update {early})",
            f"checks with alpha 0: {spread(of('SPAE, alpha 0', early, 'checks'), '.2f')}, with "
            f"0.5: {spread(of('SPAE', early, 'checks'), '.2f')}",
            "more checks without the penalty",
            checks["SPAE, alpha 0"] > checks["SPAE"],
        ),
        Finding(
            "The probe knows where a sum is solved (start policy)",
            f"AUC of the potential {spread(probe, '.4f')}; above 0.9 at {spread(high)} of solved "
            f"and {spread(wrong)} of unsolved boundaries",
            "AUC at least 0.95",
            float(np.mean(probe)) >= 0.95,
        ),
    ]


STUDY = Study(
    slug="spae",
    title="Crediting steps by the potential of their answer",
    paper="2601.03823",
    claim=(
        "Probing how sure and how right a policy is after each step, and crediting steps by it, "
        "shortens reasoning by ending checks after the answer is found, and keeps accuracy."
    ),
    scales={
        "smoke": "2 updates of 32 answers from a start of 20 steps; seconds",
        "quick": "4 arms, 40 updates of 384 answers, 1000 fresh problems a look; 1 min a seed",
        "full": "4 arms, 200 updates of 1024 answers; about 15 min a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "Sums of five digits by a transformer of 106,000 parameters; the probe is exact and "
        "samples nothing. Learning rate, clip and sizes were fixed before the first run and are "
        "the same for all arms; alpha and xi are the paper's. Ranges are over seeds. The start "
        "policy is stronger than the one the limits were set with, and learns faster."
    ),
)
