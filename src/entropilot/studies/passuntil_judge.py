"""What the stored numbers of the PassUntil study say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.information import (
    fit_instances,
    fit_task_scaling,
    growth_shape,
    pu_from_counts,
    wilson,
)
from entropilot.studies.study import Finding, Measurement

Floats = NDArray[np.float64]

FLOOR_FACTOR = 2.0  # a size is above the floor when it passes twice as often as the smallest
SHAPES = {  # log c, alpha, vote, and the verdicts that count as right
    "single law": ((7.0,), (0.32,), "soft", ("consistent with the law",)),
    "product of two laws": (
        (0.3, 16.0),
        (0.01, 0.85),
        "product",
        ("sub-scaling", "consistent with the law"),
    ),
    "best of two laws": ((1.2, 16.0), (0.03, 0.75), "max", ("accelerated",)),
}


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Findings of the four statements, seeds averaged."""
    return [
        *_judge_estimator(measurements),
        _judge_resolution(measurements),
        *_judge_prediction(measurements),
        *_judge_shape(measurements),
    ]


def pooled_rates(measurements: Sequence[Measurement]) -> tuple[Floats, Floats]:
    """Sizes [n], and PassUntil rates [n, S] of the same problems, averaged over seeds."""
    sizes = np.array(measurements[0]["parameters"], dtype=np.float64)
    rates = [
        np.stack([pu_from_counts(x["K"], x["passes"], 2, m["k_max"]).mvue for x in m["sizes"]])
        for m in measurements
    ]
    return sizes, np.mean(rates, axis=0)


def prediction_rows(measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Prediction of the largest size from every range of smaller sizes that ends next to it."""
    sizes, rates = pooled_rates(measurements)
    pu = rates.mean(axis=1)
    floor = int(np.argmax(pu >= FLOOR_FACTOR * pu[0])) if (pu >= FLOOR_FACTOR * pu[0]).any() else 0
    rows = []
    for first in range(len(sizes) - 3):
        kept = slice(first, len(sizes) - 1)
        fit = fit_task_scaling(sizes[kept], pu[kept])
        low, high = fit.predict_interval(sizes[-1])
        predicted = float(fit.predict(sizes[-1]))
        rows.append(
            {
                "first": float(sizes[first]),
                "predicted": predicted,
                "low": float(low),
                "high": float(high),
                "error": predicted / float(pu[-1]) - 1,
                "log_c": fit.log_c,
                "alpha": fit.alpha,
                "is_above_floor": first == floor,
            }
        )
    return rows


def _judge_estimator(measurements: Sequence[Measurement]) -> list[Finding]:
    bins: dict[float, dict[str, float]] = {}
    for m in measurements:
        for row in m["estimator_bins"]:
            total = bins.setdefault(row["low"], dict.fromkeys(row, 0.0))
            for name in ("exact", "mvue_r2", "mle_r2", "mle_r1"):
                total[name] += row[name] * row["n"]
            for name in ("n", "sum_error", "sum_square"):
                total[name] += row[name]
            total["low"], total["high"] = row["low"], row["high"]
    parts, is_fair = [], True
    for low in sorted(bins):
        row = bins[low]
        deviations = row["sum_error"] / max(row["sum_square"] ** 0.5, 1e-300)  # in standard errors
        is_fair &= abs(deviations) <= 3
        parts.append(
            f"{low:g}-{row['high']:g}: {row['mvue_r2'] / row['exact']:.3f} x exact "
            f"({deviations:+.1f} standard errors, {row['n']:.0f} runs)"
        )
    seeds = _seeds(measurements)
    found = [
        Finding(
            "The estimate (r-1)/(K-1), r = 2, is unbiased at every pass rate",
            "; ".join(parts) + seeds,
            "within 3 standard errors in every bin of the exact rate",
            is_fair,
        )
    ]
    rare = bins.get(0.0)
    ratio = rare["mle_r1"] / rare["exact"] if rare else float("nan")
    ratio2 = rare["mle_r2"] / rare["exact"] if rare else float("nan")
    found.append(
        Finding(
            "The paper's r/K with r = 1 is far too high for rare passes",
            f"rates below 0.001: r = 1 gives {ratio:.2f} x exact, r = 2 gives {ratio2:.2f} x"
            + seeds
            if rare
            else "no problem had a rate below 0.001" + seeds,
            "more than 3 x exact (6.9 x at 0.001 by the closed form)",
            ratio > 3 if rare else None,
        )
    )
    return found


def _judge_resolution(measurements: Sequence[Measurement]) -> Finding:
    smallest = [m["sizes"][0] for m in measurements]
    zeros = sum(x["one_draw_passes"] == 0 for x in smallest)
    relative = [x["stderr"] / x["pu"] if x["pu"] > 0 else float("inf") for x in smallest]
    rates = ", ".join(
        f"{x['pu']:.2e} [{x['ci'][0]:.2e}, {x['ci'][1]:.2e}] (exact {x['exact']:.2e})"
        for x in smallest
    )
    n = measurements[0]["n_problems"]
    low, high = wilson(zeros, len(smallest))
    return Finding(
        "PassUntil resolves a pass rate that one draw per problem cannot see",
        f"smallest size: one draw on {n} problems passed 0 times in {zeros} of {len(smallest)} "
        f"seeds [share {low:.2f}, {high:.2f}]; PassUntil {rates}, relative standard error up to "
        f"{max(relative):.0%}" + _seeds(measurements),
        "0 passes in most seeds; PassUntil above 0 with relative standard error below 30 %",
        zeros > len(smallest) / 2 and max(relative) < 0.3,
    )


def _judge_prediction(measurements: Sequence[Measurement]) -> list[Finding]:
    sizes, rates = pooled_rates(measurements)
    pu = rates.mean(axis=1)
    rows = prediction_rows(measurements)
    listed = "; ".join(
        f"from {row['first']:.0f}: {row['predicted']:.4f} [{row['low']:.4f}, {row['high']:.4f}] "
        f"({row['error']:+.0%})"
        for row in rows
    )
    seeds = _seeds(measurements)
    chosen = next((row for row in rows if row["is_above_floor"]), None)
    everything = rows[0]
    found = [
        Finding(
            "A line through the sizes above the floor predicts the largest size",
            f"measured {pu[-1]:.4f} at {sizes[-1]:.0f} weights; "
            + (
                f"predicted {chosen['predicted']:.4f} [{chosen['low']:.4f}, {chosen['high']:.4f}], "
                f"{chosen['error']:+.1%}, from {chosen['first']:.0f} weights on (twice the rate of "
                f"the smallest)"
                if chosen
                else "too few sizes pass twice as often as the smallest to fit a line"
            )
            + f". Every line tried: {listed}"
            + seeds,
            "within 20 % of the measured rate",
            abs(chosen["error"]) <= 0.2 if chosen else None,
        )
    ]
    if chosen is not None and chosen is not everything:
        found.append(
            Finding(
                "A line that takes in the floor predicts worse",
                f"all sizes {everything['error']:+.1%}, above the floor {chosen['error']:+.1%}"
                + seeds,
                "a larger error with the floor",
                abs(everything["error"]) > abs(chosen["error"]),
            )
        )
    found.append(_judge_instances(sizes, rates, seeds))
    return found


def _judge_instances(sizes: Floats, rates: Floats, seeds: str) -> Finding:
    """Instance-level prediction beside the data-set one."""
    fit = fit_instances(sizes[:-1], np.where(rates[:-1] >= 1, np.nan, rates[:-1]))
    predicted, truth = fit.predict(float(sizes[-1])).mean, float(rates[-1].mean())
    return Finding(
        "A curve for each problem, averaged, predicts the largest size",
        f"predicted {predicted:.4f}, measured {truth:.4f} ({predicted / truth - 1:+.0%}), from "
        f"{int(fit.usable.sum())} problems, {int(fit.worse.sum())} of which get worse with size"
        + seeds,
        "the paper reports errors from 0.05 % to 19 % by task",
        abs(predicted / truth - 1) <= 0.2,
    )


def _judge_shape(measurements: Sequence[Measurement]) -> list[Finding]:
    sizes, rates = pooled_rates(measurements)
    shape = growth_shape(sizes, rates)
    seeds = _seeds(measurements)
    aicc = ", ".join(
        f"{name} {'not available' if value is None else format(value, '.1f')}"
        for name, value in shape.aicc.items()
    )
    found = [
        Finding(
            "Growth of the ladder in (log N, log(-log PU))",
            f"{shape.verdict}: curvature {shape.q2:+.3f} "
            f"[{shape.q2_ci[0]:+.3f}, {shape.q2_ci[1]:+.3f}], bootstrap over problems; AICc {aicc}"
            + seeds,
            "a straight line, if the law holds here",
            shape.verdict == "consistent with the law" if len(sizes) > 3 else None,
        )
    ]
    for name, (_, _, _, accepted) in SHAPES.items():
        verdicts: dict[str, int] = {}
        for m in measurements:
            for verdict, count in m["shapes"][name].items():
                verdicts[verdict] = verdicts.get(verdict, 0) + count
        n = sum(verdicts.values())
        hits = sum(verdicts.get(v, 0) for v in accepted)
        low, high = wilson(hits, n)
        listed = ", ".join(f"{v} {count}" for v, count in sorted(verdicts.items()))
        found.append(
            Finding(
                f"Synthetic tasks, {name}: the curvature test names them rightly",
                f"{hits} of {n} [{low:.2f}, {high:.2f}]: {listed}" + seeds,
                f"'{' or '.join(accepted)}' in at least 90 %",
                hits >= 0.9 * n,
            )
        )
    return found


def _seeds(measurements: Sequence[Measurement]) -> str:
    n = len(measurements)
    return f" ({n} seed{'s' if n > 1 else ''})"
