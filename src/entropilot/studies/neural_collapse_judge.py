"""Findings of the neural collapse study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Eight statements; means over seeds, ranges in brackets."""
    return [
        *_synthetic(measurements),
        *_sweep(measurements),
        *_networks(measurements),
    ]


def _synthetic(measurements: Sequence[Measurement]) -> list[Finding]:
    found = []
    for depth in ("1", "3"):
        runs = [m["synthetic"][depth] for m in measurements]
        off = [_worst(r["w_sq"], r["w_sq_closed"]) for r in runs]
        nc1 = [r["end"]["nc1"] for r in runs]
        frame = [max(r["end"]["nc2_w"], r["end"]["nc3"]) for r in runs]
        found.append(
            Finding(
                f"Free features, {depth} layer{'s' if depth != '1' else ''}: L-BFGS ends in the "
                "closed form",
                f"|w_k|^2 off by {spread(off, '.1e')}, NC1 {spread(nc1, '.1e')}, distance of "
                f"frame and alignment {spread(frame, '.1e')}",
                "|w_k|^2 within 1e-3, NC1 below 1e-6",
                max(off) < 1e-3 and max(nc1) < 1e-6,
            )
        )
    ends = [m["synthetic"][d]["course"][-1]["nc1"] for m in measurements for d in ("1", "3")]
    off = [
        _worst(m["synthetic"][d]["w_sq_sgd"], m["synthetic"][d]["w_sq_closed"])
        for m in measurements
        for d in ("1", "3")
    ]
    found.append(
        Finding(
            "SGD with momentum gets there too",
            f"NC1 at its end {spread(ends, '.1e')}, |w_k|^2 off by {spread(off, '.1e')} (1 and 3 "
            "layers)",
            "NC1 below 1e-3, |w_k|^2 within 2 %",
            max(ends) < 1e-3 and max(off) < 0.02,
        )
    )
    return found


def _sweep(measurements: Sequence[Measurement]) -> list[Finding]:
    one = [m["sweep"]["1"] for m in measurements]
    last = [max((r["m"] for r in rows if r["w"] < 1e-3), default=0) for rows in one]
    zero = [max(r["w"] for r in rows if r["w_closed"] == 0) for rows in one if _has_zero(rows)]
    deep = [m["sweep"]["3"] for m in measurements]
    jumps = [min((r["w"] for r in rows if r["w"] > 1e-2), default=0.0) for rows in deep]
    agree = [float(np.mean([r["agreeing"] for r in rows])) for rows in deep]
    below = [
        min(r["objective"] / r["objective_closed"] - 1 for r in rows) for rows in (*one, *deep)
    ]
    return [
        Finding(
            "A class vanishes at and below its smallest count (1 layer, 12 samples)",
            f"last count with |w| < 1e-3: {spread(last, '.0f')}; |w| at and below it "
            f"{spread(zero, '.1e') if zero else 'not reached'}",
            "12 within 1, |w| below 1e-3",
            all(abs(v - 12) <= 1 for v in last) and bool(zero) and max(zero) < 1e-3,
        ),
        Finding(
            "With 3 layers it vanishes in a jump, and nothing lies below the closed form",
            f"smallest |w| that is not 0: {spread(jumps, '.2f')}; lowest objective found, relative "
            f"to the closed form: {min(below):+.0e}",
            "|w| jumps by more than 0.3, no objective below by 1e-9",
            min(jumps) > 0.3 and min(below) > -1e-9,
        ),
        Finding(
            "With 3 layers a minimiser reaches the closed form from random starts",
            f"{spread(agree, '.2f')} of single starts do; the others end in local minima in which "
            "a class has vanished",
            "at least 0.9 of the starts",
            min(agree) >= 0.9,
        ),
    ]


def _networks(measurements: Sequence[Measurement]) -> list[Finding]:
    balanced = [m["networks"]["balanced"] for m in measurements]
    falls = [_at(run, 10)["nc1"] / run["course"][-1]["nc1"] for run in balanced]
    frames = [run["course"][-1]["nc2_w"] for run in balanced]
    uneven = [m["networks"]["imbalanced"] for m in measurements]
    order = [_rank_correlation(run["counts"], run["w_sq"]) for run in uneven]
    gaps = [_worst(run["w_sq"], run["w_sq_closed"]) for run in uneven]
    return [
        Finding(
            "Digits, balanced: features of a class contract in training",
            f"NC1 falls {spread(falls, '.0f')} times from epoch 10 to the end; classifier is "
            f"{spread(frames, '.3f')} from an orthogonal frame",
            "at least 20 times",
            min(falls) >= 20,
        ),
        Finding(
            "Digits, imbalanced: classes with more samples have longer classifiers",
            f"rank correlation of |w_k| and n_k {spread(order, '.3f')}; |w_k|^2 off the closed "
            f"form by up to {spread(gaps, '.2f')} of itself",
            "at least 0.9",
            min(order) >= 0.9,
        ),
    ]


def _at(run: dict[str, Any], epoch: int) -> dict[str, float]:
    rows = [row for row in run["course"] if row["epoch"] <= epoch]
    found: dict[str, float] = rows[-1]
    return found


def _worst(found: Sequence[float], expected: Sequence[float]) -> float:
    return float(np.max(np.abs(np.array(found) / np.array(expected) - 1)))


def _has_zero(rows: Sequence[dict[str, float]]) -> bool:
    return any(r["w_closed"] == 0 for r in rows)


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    ranks = np.array([np.argsort(np.argsort(v)) for v in (a, b)])
    return float(np.corrcoef(ranks)[0, 1])
