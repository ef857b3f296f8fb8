"""Findings of the study of logistic descent with large steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Seven statements; means over seeds, ranges in brackets."""
    return [
        *_limit(measurements),
        *_lower_bound(measurements[0]["lower"]),
        *_loss(measurements),
        *_bounds(measurements),
        *_balance(measurements),
    ]


def _limit(measurements: Sequence[Measurement]) -> list[Finding]:
    gammas = measurements[0]["limit_gammas"]
    at = gammas.index(1e4)
    gaps = [row["distance"][at] for m in measurements for row in m["gaussian"]]
    small = [row["distance"][gammas.index(100.0)] for m in measurements for row in m["gaussian"]]
    large = [row["distance"][gammas.index(1e5)] for m in measurements for row in m["gaussian"]]
    return [
        Finding(
            "theta / gamma of logistic descent tends to the batch perceptron",
            f"largest distance over 20 iterates on {len(gaps)} Gaussian sets: {max(gaps):.0e} at "
            f"gamma = 1e4 ({max(small):.0e} at 100, {max(large):.0e} at 1e5)",
            "at most 1e-9 at 1e4",
            max(gaps) <= 1e-9,
        )
    ]


def _lower_bound(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    closed = all(r["batch"] == math.floor(0.3 * r["n"] + 0.2) + 1 for r in rows)
    big = [r for r in rows if r["n"] >= 100]
    slope = float(
        np.polyfit(np.log([r["n"] for r in big]), np.log([r["batch"] for r in big]), 1)[0]
    )
    whole = float(
        np.polyfit(np.log([r["n"] for r in rows]), np.log([r["batch"] for r in rows]), 1)[0]
    )
    counts = {r["normalized"][g] for r in rows for g in ("10.0", "100.0")}
    found = [
        Finding(
            "Plain descent needs updates in proportion to n on the constructed set",
            f"batch perceptron: 0.3 n {'at every n' if closed else 'not at every n'}, log-log "
            f"slope {slope:.3f} from n = 100 ({whole:.3f} from n = 10, where rounding up "
            f"shows); normalised descent with gamma >= 10: "
            f"{', '.join(map(str, sorted(counts)))} updates at every n",
            "the closed form, slope 1.00 within 0.02, 2 updates",
            closed and abs(slope - 1) <= 0.02 and counts == {2},
        )
    ]
    one = next((r for r in rows if r["n"] == 1000), None)
    if one:
        got = [one["plain_100"], *(one["normalized"][g] for g in ("100.0", "10.0", "1.0", "0.1"))]
        found.append(
            Finding(
                "The paper's table of its worst case (n = 1000)",
                f"plain, gamma 100: {got[0]}; normalised, gamma 100, 10, 1, 0.1: "
                f"{', '.join(map(str, got[1:]))}",
                "308; 2, 2, 16, 157",
                got == [308, 2, 2, 16, 157],
            )
        )
    return found


def _loss(measurements: Sequence[Measurement]) -> list[Finding]:
    fewer, higher = [], []
    for m in measurements:
        runs = _set(m, [1, 8], cut=False)["runs"]
        slow, fast = runs["plain 0.1"], runs["plain 100.0"]
        fewer.append(slow["iterations"] / fast["iterations"])
        higher.append(fast["peak_loss"] / slow["peak_loss"])
    last = [_set(m, [1, 8], cut=False)["runs"]["plain 100.0"]["last_loss"] for m in measurements]
    return [
        Finding(
            "Digits 1 and 8: large steps have zero errors first and the highest loss",
            f"gamma 100 beside 0.1: {spread(fewer, '.0f')} times fewer updates, largest loss "
            f"{spread(higher, '.0f')} times as high; loss one update before zero errors "
            f"{spread(last, '.2g')} nats (ln 2 is a coin)",
            "50 times fewer, 100 times as high",
            min(fewer) >= 50 and min(higher) >= 100,
        )
    ]


def _bounds(measurements: Sequence[Measurement]) -> list[Finding]:
    shares, certified = [], []
    for m in measurements:
        for one in m["sets"]:
            low, high = one["margin"]
            certified.append((high - low) / high)
            for name, run in one["runs"].items():
                bound = _bound_of(name, one["bounds"])
                if bound is not None:
                    shares.append(run["iterations"] / bound)
    return [
        Finding(
            "No method needs more updates than its bound allows",
            f"updates are {min(shares):.1e} to {max(shares):.2f} of the bound in {len(shares)} "
            f"runs (margins certified to {max(certified):.0e} of themselves)",
            "at most 1",
            max(shares) <= 1,
        )
    ]


def _bound_of(name: str, bounds: dict[str, float]) -> float | None:
    if name in ("normalized_batch", "perceptron"):
        return bounds["perceptron"]
    return bounds.get(name)


def _balance(measurements: Sequence[Measurement]) -> list[Finding]:
    ratios: dict[bool, dict[str, list[float]]] = {False: {}, True: {}}
    for m in measurements:
        for one in m["sets"]:
            runs = one["runs"]
            pair = f"{one['pair'][0]}-{one['pair'][1]}"
            ratios[one["cut"]].setdefault(pair, []).append(
                runs["normalized_batch"]["iterations"] / runs["batch"]["iterations"]
            )
    cut = {k: float(np.mean(v)) for k, v in ratios[True].items()}
    return [
        Finding(
            "With one class cut to a few samples, normalising saves updates",
            "updates, normalised over plain batch perceptron: "
            + "; ".join(f"{k} {spread(v, '.2f')}" for k, v in ratios[True].items()),
            "at most a half on at least one of three pairs",
            min(cut.values()) <= 0.5,
        ),
        Finding(
            "Updates of the normalised batch perceptron over the plain one, all pairs",
            "; ".join(f"{k} {spread(v, '.2f')}" for k, v in ratios[False].items())
            + " (balanced), and the above",
            "for reading: below 1 is faster, which the paper does not claim of every pair",
            None,
        ),
    ]


def _set(m: Measurement, pair: list[int], *, cut: bool) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in m["sets"] if s["pair"] == pair and s["cut"] is cut)
    return found
