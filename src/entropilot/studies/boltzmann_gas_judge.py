"""What was measured of an expanding gas, beside what theory says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from entropilot.physics.phase_space import free_shear_entropy, scaling_entropy
from entropilot.studies.study import Finding, Measurement

LN2 = math.log(2)


def judge(runs: Sequence[Measurement]) -> list[Finding]:
    """Six acceptance items, a finding or two each; every seed has to meet a bound."""
    if any(run["scale"] == "smoke" for run in runs):
        return [
            Finding(finding.statement, finding.measured, finding.expected, None)
            for finding in _findings(runs)
        ]
    return _findings(runs)


def _findings(runs: Sequence[Measurement]) -> list[Finding]:
    return [*_free(runs), *_collisions(runs), *_reversal(runs), *_scaling(runs)]


def _free(runs: Sequence[Measurement]) -> list[Finding]:
    tau = runs[0]["ideal"][0]["tau"]
    at = [tau.index(t) for t in (0.25, 0.5, 1.0, 2.0)]
    gains = np.array([run["ideal"][0]["gain"] for run in runs])[:, at]
    away = np.abs(gains - free_shear_entropy([0.25, 0.5, 1.0, 2.0])).max()
    early = [i for i, t in enumerate(tau) if 0.1 <= t <= 0.5]
    slopes = np.array(
        [
            [2 * np.polyfit(np.array(tau)[early], np.array(one["gain"])[early], 1)[0]
             for one in run["ideal"]]
            for run in runs
        ]
    )  # fmt: skip
    narrow, wide = slopes[:, 0], slopes[:, 2]
    return [
        Finding(
            "without collisions the entropy follows the exact curve of free shear",
            f"gain at tau = 0.25, 0.5, 1, 2: {_row(gains)} (cells of 0.5)",
            "0.125, 0.25, 0.5, 0.6931, within 0.01",
            bool(away <= 0.01),
        ),
        Finding(
            "free motion produces entropy at a rate proportional to the width of the cells",
            f"rate over width/(2L): {_row(slopes)} at widths 0.5, 1, 2 ({_spread(narrow)} and "
            f"{_spread(wide)} at the ends)",
            "1 in the limit of small cells: within 5 % at 0.5 and 16 % at 2",
            bool((np.abs(narrow - 1) <= 0.05).all() and (np.abs(wide - 1) <= 0.16).all()),
        ),
    ]


def _collisions(runs: Sequence[Measurement]) -> list[Finding]:
    final = {kn: _at(runs, k, 3.0) for k, kn in enumerate((2.0, 0.2, 0.02))}
    one = {kn: _at(runs, k, 1.0) for k, kn in enumerate((2.0, 0.2, 0.02))}
    spread = {kn: np.ptp(value, axis=1) / value.mean(axis=1) for kn, value in one.items()}
    early = np.array([[row[1] / 0.05 for row in run["discs"][2]["gain"]] for run in runs])
    return [
        Finding(
            "the entropy ends ln 2 above its start, whatever the cells",
            f"gain at t = 3: Kn 2 {_row(final[2.0])}, Kn 0.2 {_row(final[0.2])} (widths 0.5, 1, 2)",
            "0.6931 within 0.02",
            bool(all((np.abs(final[kn] - LN2) <= 0.02).all() for kn in (2.0, 0.2))),
        ),
        Finding(
            "at Kn = 0.02 a sound wave still rings at t = 3",
            f"gain at t = 3: {_row(final[0.02])}",
            "above 0.60 and below ln 2",
            bool(((final[0.02] > 0.6) & (final[0.02] < LN2)).all()),
        ),
        Finding(
            "free motion matters when the mean free path is longer than the inhomogeneity",
            f"gain at t = 1, Kn 2: {_row(one[2.0])} over widths 0.5, 1, 2; spread "
            f"{_spread(100 * spread[2.0], 0)} % of the mean",
            "spread above 30 %",
            bool((spread[2.0] > 0.3).all()),
        ),
        Finding(
            "in the opposite limit the entropy does not depend on the cells",
            f"gain at t = 1, Kn 0.02: {_row(one[0.02])}; spread "
            f"{_spread(100 * spread[0.02], 1)} % (Kn 0.2: {_spread(100 * spread[0.2], 1)} %)",
            "spread below 8 % at Kn 0.02",
            bool((spread[0.02] < 0.08).all()),
        ),
        Finding(
            "but the first moments do depend on the cells at Kn = 0.02: the step has no width yet",
            f"rate up to t = 0.05: {_row(early)} at widths 0.5, 1, 2",
            "the wider the cells, the faster",
            bool((np.diff(early, axis=1) > 0).all()),
            check=True,
        ),
    ]


def _reversal(runs: Sequence[Measurement]) -> list[Finding]:
    places = [[case["error"] for case in run["reversal"]["positions"]] for run in runs]
    shares = np.array(
        [[case["left"] / case["gain"] for case in run["reversal"]["entropies"]] for run in runs]
    )
    collided = [
        np.mean([run["reversal"]["positions"][k]["collisions_a_disc"] for run in runs])
        for k in range(3)
    ]
    largest = np.max(places, axis=0)
    return [
        Finding(
            "reversed velocities bring every disc back while few have collided",
            f"largest error of a place after {collided[0]:.1f}, {collided[1]:.1f}, "
            f"{collided[2]:.1f} collisions a disc: {largest[0]:.1e}, {largest[1]:.1e}, "
            f"{largest[2]:.1e}",
            "below 1e-9 at the first; lost at the last, where chaos beats double precision",
            bool(largest[0] < 1e-9 and largest[2] > 1e-3),
        ),
        Finding(
            "the entropy comes back with them, until chaos beats double precision",
            f"share of the gain left: {_row(100 * shares, 1)} % at (Kn, t) = (2, 0.5), (2, 1), "
            "(0.5, 0.5), (0.2, 0.5)",
            "below 2 % at the first, above 20 % at the last",
            bool((shares[:, 0] < 0.02).all() and (shares[:, 3] > 0.2).all()),
        ),
    ]


def _scaling(runs: Sequence[Measurement]) -> list[Finding]:
    gains = np.array([[pair["gain"][:3] for pair in run["scaling"]] for run in runs])
    theory = scaling_entropy([0.25, 0.5, 1.0], math.sqrt(math.pi / 2))
    gap = np.abs(theory - gains)
    beyond = np.abs(2 * gains[:, 3] - gains[:, 2] - theory)
    discs = np.stack([_at(runs, 0, t)[:, 0] for t in (1.0, 2.0)], axis=1)
    apart = np.abs(discs - gains[:, 0, 1:3])
    shown = "; ".join(f"{_row(gap[:, k], 3)}" for k in range(4))
    return [
        Finding(
            "with both mechanisms the entropy approaches a function of the ratio of the rates",
            f"gap to S(tau; 1.2533) at tau = 0.25, 0.5, 1 for widths 1/2, 1/4, 1/8, 1/16: {shown}",
            "shrinks with every halving at 0.25 and 0.5; below 0.05, 0.03, 0.01 at 1/16",
            bool(
                (np.diff(gap[:, :, :2], axis=1) < 0).all()
                and (gap[:, 3] < np.array([0.05, 0.03, 0.01])).all()
            ),
        ),
        Finding(
            "and extrapolates to it",
            f"extrapolated from widths 1/8 and 1/16, away from S: {_row(beyond, 4)}",
            "within 0.02",
            bool((beyond < 0.02).all()),
        ),
        Finding(
            "exact discs and direct simulation agree",
            f"difference at tau = 0.5, 1 (Kn 2, width 0.5): {_row(apart, 4)}",
            "within 0.015",
            bool((apart < 0.015).all()),
        ),
    ]


def _at(runs: Sequence[Measurement], k: int, time: float) -> Any:
    """Gains [seeds, widths] of the discs at one Knudsen number, at the frame nearest to a time."""
    frame = int(np.argmin(np.abs(np.array(runs[0]["discs"][k]["time"]) - time)))
    return np.array([[row[frame] for row in run["discs"][k]["gain"]] for run in runs])


def _row(values: Any, digits: int = 3) -> str:
    """Means over seeds, one a column."""
    return ", ".join(f"{value:.{digits}f}" for value in np.mean(values, axis=0))


def _spread(values: Any, digits: int = 2) -> str:
    return f"{np.min(values):.{digits}f} to {np.max(values):.{digits}f}"
