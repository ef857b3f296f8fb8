"""Findings of the study of conservative exploration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Seven statements over all runs of all seeds."""
    practical = [row for m in measurements for row in m["practical"]]
    theory = [row for m in measurements for row in m["theory"]]
    return [
        *_safety(practical, theory),
        *_cost(practical, measurements[0]["episodes"]["practical"]),
        _tightness(measurements),
        _patience(theory, measurements[0]["episodes"]["theory"]),
    ]


def _safety(practical: Sequence[dict[str, Any]], theory: Sequence[dict[str, Any]]) -> list[Finding]:
    safe = [
        sum(r[arm]["violations"] for r in rows)
        for rows in (theory, practical)
        for arm in ("stepmix", "epsmix")
    ]
    free = [[r["bpi-ucbvi"]["violations"] for r in rows] for rows in (theory, practical)]
    high = sum(r[arm]["too_high"] for r in (*theory, *practical) for arm in ("stepmix", "epsmix"))
    n = len(theory), len(practical)
    return [
        Finding(
            "Neither StepMix nor EpsMix plays a policy worth less than gamma, in any episode",
            f"violating episodes, StepMix and EpsMix: {safe[0]} and {safe[1]} in {n[0]} runs with "
            f"the theory's bonus, {safe[2]} and {safe[3]} in {n[1]} with 0.02 of it; lower bounds "
            f"above the true value at the end of a run: {high}",
            "none",
            sum(safe) == 0 and high == 0,
        ),
        Finding(
            "Without the constraint many episodes violate it",
            f"BPI-UCBVI: {spread(free[0], ',.0f')} episodes a run with the theory's bonus, "
            f"{spread(free[1], ',.0f')} with 0.02 of it",
            "more than 1,000 in every run",
            min(min(f) for f in free) > 1000,
        ),
    ]


def _cost(rows: Sequence[dict[str, Any]], episodes: int) -> list[Finding]:
    step = [r["stepmix"]["regret"] / r["bpi-ucbvi"]["regret"] for r in rows]
    coin = [r["epsmix"]["regret"] / r["bpi-ucbvi"]["regret"] for r in rows]
    wins = float(np.mean([r["stepmix"]["regret"] < r["epsmix"]["regret"] for r in rows]))
    gaps = [r["stepmix"]["last_gap"] for r in rows]
    always = [r["optimum"] - r["value"] for r in rows]
    return [
        Finding(
            "Mixing by steps costs less than mixing by episodes",
            f"StepMix has less regret in {wins:.0%} of {len(rows)} runs of {episodes:,} episodes",
            "at least 90 %",
            wins >= 0.9,
        ),
        Finding(
            "The constraint costs a modest share of the regret (bonus 0.02)",
            f"relative to BPI-UCBVI: StepMix {spread(step, '.2f')}, EpsMix {spread(coin, '.2f')}",
            "at most 1.6 and 2 on average",
            float(np.mean(step)) <= 1.6 and float(np.mean(coin)) <= 2,
        ),
        Finding(
            "Regret ends growing (bonus 0.02)",
            f"mean gap to the best policy in the last tenth: {spread(gaps, '.4f')}; always "
            f"playing the baseline: {spread(always, '.3f')}",
            "below 0.003",
            max(gaps) < 0.003,
        ),
    ]


def _tightness(measurements: Sequence[Measurement]) -> Finding:
    powers = []
    for m in measurements:
        rows = [r for r in m["sweep"] if r["first_mixture"]]
        if len(rows) >= 3:
            x, y = np.log([r["kappa"] for r in rows]), np.log([r["first_mixture"] for r in rows])
            powers.append(-float(np.polyfit(x, y, 1)[0]))
    first = [
        ", ".join(f"{r['first_mixture']:,}" if r["first_mixture"] else "never" for r in m["sweep"])
        for m in measurements[:1]
    ]
    return Finding(
        "A tighter constraint keeps the baseline longer, as a power of 1 / kappa",
        f"power {spread(powers, '.2f') if powers else 'not reached'}; first mixture (seed 0) at "
        f"gamma = 0.8, 0.9, 0.95, 0.98 of the baseline's value: {first[0]}",
        "a power between 1 and 2",
        bool(powers) and all(1 <= p <= 2 for p in powers) if powers else None,
    )


def _patience(rows: Sequence[dict[str, Any]], episodes: int) -> Finding:
    gain = [r["stepmix"]["regret"] / r["baseline"]["regret"] for r in rows]
    first = [r["stepmix"]["first_mixture"] or episodes for r in rows]
    return Finding(
        "With the theory's bonus exploring pays for itself",
        f"regret over that of always playing the baseline, {episodes:,} episodes: "
        f"{spread(gain, '.2f')}; the baseline is left after {spread(first, ',.0f')} episodes",
        "below 1 in every run",
        max(gain) < 1,
    )
