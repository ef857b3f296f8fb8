"""Findings of the study of the order of denoising steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Statements on difficulty and on order; means over seeds, ranges in brackets."""
    return [*_difficulty(measurements), *_order(measurements), _not_run()]


def _difficulty(measurements: Sequence[Measurement]) -> list[Finding]:
    kl = measurements[0]["kl"]
    ratios, falls = {}, {}
    for name in ("all", "varying"):
        values = np.array(kl[name])
        fifth = len(values) // 5
        ratios[name] = float(values[:fifth].mean() / values[-fifth:].mean())
        falls[name] = _share_falling(values / np.array(kl["beta"]) ** 2)
    intervals = [m["intervals"] for m in measurements]
    slow = [_n(rows[0]) / max(_n(rows[-1]), 1.0) for rows in intervals]
    ranks = [_rank_correlation([_n(r) for r in rows]) for rows in intervals]
    ends = [[r["end"] for r in rows] for rows in intervals]
    falling = [all(a > b for a, b in pairwise(e)) for e in ends]
    return [
        Finding(
            "The law of the data changes most at low timesteps (relative entropy of steps)",
            f"mean of the lowest fifth over that of the highest {ratios['all']:.0e}; without the "
            f"constant pixels ({kl['n_varying']} of 64 vary) {ratios['varying']:.0e}",
            "at least 1,000",
            ratios["all"] >= 1000,
        ),
        Finding(
            "Divided by beta^2 it falls with t all along",
            f"share of steps at which it falls {falls['all']:.2f}, without the constant pixels "
            f"{falls['varying']:.2f}",
            "1.00",
            falls["all"] == 1,
        ),
        Finding(
            "Models of low timesteps converge more slowly",
            f"steps to a tenth of the way left, lowest interval over highest "
            f"{spread(slow, '.1f')}; rank correlation with t {spread(ranks, '.2f')}",
            "at least 2 times, correlation at most -0.8",
            min(slow) >= 2 and max(ranks) <= -0.8,
        ),
        Finding(
            "They end at a higher loss",
            "loss at the end, lowest to highest interval: "
            + ", ".join(f"{np.mean(v):.3g}" for v in zip(*ends, strict=True)),
            "falls from interval to interval in every seed",
            all(falling),
        ),
    ]


def _order(measurements: Sequence[Measurement]) -> list[Finding]:
    arms = {name: [m["arms"][name] for m in measurements] for name in measurements[0]["arms"]}
    budget = arms["uniform"][0]["steps"][-1]
    before = [r["steps_before_all"] for r in arms["easy first"]]
    known = [b for b in before if b is not None]
    last = {name: [r["distance"][-1] for r in rows] for name, rows in arms.items()}
    mean = {name: float(np.mean(v)) for name, v in last.items()}
    middle = (len(arms["uniform"][0]["steps"]) - 1) // 2
    half = {name: [r["distance"][middle] for r in rows] for name, rows in arms.items()}
    gain = [u - e for u, e in zip(last["uniform"], last["easy first"], strict=True)]
    sooner = [u - e for u, e in zip(half["uniform"], half["easy first"], strict=True)]
    said = ", ".join(f"{name} {spread(v, '.2f')}" for name, v in last.items())
    return [
        Finding(
            "The curriculum reaches all timesteps in time",
            f"{spread(known, '.0f') if known else 'no'} steps of {budget:,} before all are in"
            + (f"; not reached in {len(before) - len(known)} seeds" if len(known) < len(before)
               else ""),
            "within half of the budget, in every seed",
            len(known) == len(before) and max(known) <= budget / 2,
            check=True,
        ),
        Finding(
            "Its samples are not much worse at the end",
            f"Frechet distance of easy first over uniform, means {_ratio(mean):.2f}",
            "at most 1.5",
            _ratio(mean) <= 1.5,
            check=True,
        ),
        Finding(
            "Easy first gives better samples than all timesteps at once",
            f"Frechet distance after {budget:,} steps: {said}",
            "easy first below uniform in every seed",
            min(gain) > 0,
        ),
        Finding(
            "It gets there sooner",
            f"Frechet distance after {arms['uniform'][0]['steps'][middle]:,} steps: "
            + ", ".join(f"{name} {spread(v, '.2f')}" for name, v in half.items()),
            "easy first below uniform in every seed",
            min(sooner) > 0,
        ),
        Finding(
            "The order matters: easy first beats hard first",
            f"means at the end {mean['easy first']:.2f} and {mean['hard first']:.2f}; lowest of "
            f"the three: {min(mean, key=lambda name: mean[name])}",
            "easy first below hard first in every seed",
            all(e < h for e, h in zip(last["easy first"], last["hard first"], strict=True)),
        ),
    ]  # fmt: skip


def _not_run() -> Finding:
    return Finding(
        "Better FID on FFHQ, ImageNet, CIFAR-10 and MS-COCO",
        "not run: needs GPUs",
        "lower FID than the same model trained on all timesteps",
        None,
    )


def _ratio(mean: dict[str, float]) -> float:
    return mean["easy first"] / mean["uniform"]


def _n(row: dict[str, float | None]) -> float:
    found = row["n_tenth"]
    return float("nan") if found is None else found


def _share_falling(values: NDArray[np.float64]) -> float:
    return float(np.mean(np.diff(values) < 0))


def _rank_correlation(values: Sequence[float]) -> float:
    """With the position, ties sharing their mean rank."""
    x = np.asarray(values, float)
    ranks = np.array([np.mean(np.flatnonzero(np.sort(x) == v)) for v in x])
    if not np.isfinite(ranks).all() or ranks.std() == 0:
        return float("nan")
    return float(np.corrcoef(ranks, np.arange(len(x)))[0, 1])
