"""Findings of the study of stiffness along depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Statements on data, trajectories and digits; means over seeds, ranges in brackets."""
    return [*_trajectories(measurements), *_digits(measurements), _not_run()]


def _trajectories(measurements: Sequence[Measurement]) -> list[Finding]:
    ratio = [m["truth"]["quantiles"][3] / m["truth"]["quantiles"][1] for m in measurements]
    runs = {
        name: [m["trajectories"][name] for m in measurements]
        for name in measurements[0]["trajectories"]
    }
    least = {name: min(r["rates"]["correlation"] for r in rows) for name, rows in runs.items()}
    rmse = {name: [r["rmse"] for r in rows] for name, rows in runs.items()}
    relative = float(np.mean(rmse["step"]) / np.mean(rmse["plain, wider"]))
    gain = [a - b for a, b in zip(rmse["sam"], rmse["step"], strict=True)]
    sam = [a - b for a, b in zip(rmse["plain, wider"], rmse["sam"], strict=True)]
    gates = [r["gate_correlation"] for name in ("sam", "step") for r in runs[name]]
    return [
        Finding(
            "Trajectories: the phenomenon is in the data, bursts in a slow path",
            f"99 % quantile of the true rate over its median {spread(ratio, '.0f')}",
            "at least 50",
            min(ratio) >= 50,
        ),
        Finding(
            "Trajectories: residual networks show the stiffness of what they follow",
            "correlation of rates with the truth: "
            + ", ".join(
                f"{name} {spread([r['rates']['correlation'] for r in rows], '.2f')} (before "
                f"training {np.mean([r['rates_before']['correlation'] for r in rows]):.2f})"
                for name, rows in runs.items()
            ),
            "at least 0.5 in every network and seed",
            min(least.values()) >= 0.5,
        ),
        Finding(
            "Trajectories: a gate that sees stiffness does as well as more parameters",
            f"RMSE of the states, step {spread(rmse['step'])}, plain and wider "
            f"{spread(rmse['plain, wider'])}: ratio of means {relative:.2f}",
            "ratio at most 1.10",
            relative <= 1.10,
        ),
        Finding(
            "Trajectories: finer stiffness information helps (step below sam)",
            f"RMSE of sam minus step {spread(gain)}",
            "above 0 in every seed",
            min(gain) > 0,
        ),
        Finding(
            "Trajectories: attention helps (sam below a plain network of its size)",
            f"RMSE of plain and wider minus sam {spread(sam)}; plain {spread(rmse['plain'])}, sam "
            f"{spread(rmse['sam'])}",
            "above 0 in every seed",
            min(sam) > 0,
        ),
        Finding(
            "Trajectories: gates shorten steps where the network is stiff",
            f"correlation of gate and rate {spread(gates, '.2f')} (sam and step)",
            "below 0 in every run",
            max(gates) < 0,
        ),
    ]


def _digits(measurements: Sequence[Measurement]) -> list[Finding]:
    runs = {name: [m["digits"][name] for m in measurements] for name in measurements[0]["digits"]}
    accuracy = {name: [r["accuracy"] for r in rows] for name, rows in runs.items()}
    falls = [
        float(np.mean(r["rate"][:3]) / np.mean(r["rate"][-3:]))
        for rows in runs.values()
        for r in rows
    ]
    started = [
        float(np.mean(r["rate_before"][:3]) / np.mean(r["rate_before"][-3:]))
        for rows in runs.values()
        for r in rows
    ]
    gain = [a - b for a, b in zip(accuracy["step"], accuracy["plain"], strict=True)]
    gates = [r["gate_correlation"] for name in ("sam", "step") for r in runs[name]]
    stiff = accuracy["step, stiff blocks"]
    tickets = [a - b for a, b in zip(stiff, accuracy["step, other blocks"], strict=True)]
    against_all = [a - b for a, b in zip(stiff, accuracy["step"], strict=True)]
    return [
        Finding(
            "Digits: every network learns",
            "accuracy " + ", ".join(f"{n} {spread(v)}" for n, v in accuracy.items()),
            "at least 0.90",
            min(map(min, accuracy.values())) >= 0.90,
            check=True,
        ),
        Finding(
            "Digits: the first blocks are the stiff ones",
            f"mean rate of the first three blocks over that of the last three "
            f"{spread(falls, '.1f')}; before training {spread(started, '.1f')}",
            "above 1 in every network and seed",
            min(falls) > 1,
        ),
        Finding(
            "Digits: gates shorten steps where the network is stiff",
            f"correlation of gate and rate {spread(gates, '.2f')} (sam and step)",
            "below 0 in every run",
            max(gates) < 0,
        ),
        Finding(
            "Digits: gates in the 3 stiffest blocks do more than in 3 others (lottery ticket)",
            "accuracy with gates where the plain network's Lipschitz index is largest, minus "
            f"others at random {spread(tickets)}",
            "above 0 in every seed",
            min(tickets) > 0,
        ),
        Finding(
            "Digits: gates in 3 of 10 blocks suffice (lottery ticket)",
            f"accuracy with gates in the 3 stiffest minus gates in all {spread(against_all)}",
            "0 or above in every seed",
            min(against_all) >= 0,
        ),
        Finding(
            "Digits: step-size gates classify better",
            f"accuracy of step minus plain {spread(gain)}",
            "above 0 in every seed",
            min(gain) > 0,
        ),
    ]


def _not_run() -> Finding:
    return Finding(
        "StepNet improves ResNets on CIFAR-100 and ImageNet",
        "not run: needs GPUs",
        "higher accuracy than the same network with squeeze-and-excitation",
        None,
    )
