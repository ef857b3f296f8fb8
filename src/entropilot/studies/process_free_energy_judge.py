"""What the study of process free energies says of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Every statement of the claim beside what was measured; ranges are over seeds."""
    return [
        _information(measurements),
        _means(measurements),
        _variances(measurements),
        _responses(measurements),
        _rest_is_not_enough(measurements),
        _production(measurements),
        _symmetry(measurements),
        _second_law(measurements),
        _alike(measurements),
        _physical(measurements),
    ]


def _information(measurements: Sequence[Measurement]) -> Finding:
    error = max(m["ladder"]["error"] for m in measurements)
    gap = max(m["ladder"]["gap"] for m in measurements)
    first = measurements[0]["ladder"]
    falls = all((np.diff(m["ladder"]["entropy"]) <= 1e-12).all() for m in measurements)
    told = ", ".join(f"{n} {x:.3f}" for n, x in zip(first["names"], first["information"],
                                                   strict=True))  # fmt: skip
    return Finding(
        "Each piece of information lowers the entropy by the KL that it gains",
        f"largest difference {error:.1e} nats, largest duality gap {gap:.1e}; the first seed's "
        f"constraints tell, in nats: {told}",
        "entropy never rises, differences below 1e-10",
        falls and error < 1e-10,
    )


def _means(measurements: Sequence[Measurement]) -> Finding:
    scores = [
        abs(f["mean"] - f["exact_mean"]) / f["standard_error"]
        for m in measurements
        for f in m["forces"]
    ]
    return Finding(
        "The first derivative of the process free energy is the mean, at every force",
        _by_force(measurements, "mean", "exact_mean", ".4f")
        + f"; largest deviation {max(scores):.1f} standard errors",
        "within 4 standard errors at all forces and seeds",
        max(scores) <= 4,
    )


def _variances(measurements: Sequence[Measurement]) -> Finding:
    off = _relative(measurements, "var_rate", "exact_var_rate")
    return Finding(
        "The second derivative is the growth of the variance",
        _by_force(measurements, "var_rate", "exact_var_rate", ".4f")
        + f"; largest deviation of a mean over seeds {off:.1%}",
        "within 10 % at all forces, mean over seeds",
        off <= 0.10,
    )


def _responses(measurements: Sequence[Measurement]) -> Finding:
    off = _relative(measurements, "response", "exact_response")
    return Finding(
        "Response equals fluctuation far from equilibrium too (central difference, step 0.1)",
        _by_force(measurements, "response", "exact_response", ".4f")
        + f"; largest deviation of a mean over seeds {off:.1%}",
        "within 3 % at all forces, force 1 included, mean over seeds",
        off <= 0.03,
    )


def _rest_is_not_enough(measurements: Sequence[Measurement]) -> Finding:
    by = {f["lam"]: f for f in measurements[0]["forces"]}
    driven = np.mean([{f["lam"]: f for f in m["forces"]}[1.0]["var_rate"] for m in measurements])
    ratio = by[0.0]["exact_var_rate"] / by[1.0]["exact_var_rate"]
    return Finding(
        "The fluctuations must be those of the driven state; those at rest would be wrong",
        f"at force 1 the response is {by[1.0]['exact_response']:.4f}; fluctuations there "
        f"{driven:.4f}, at rest {by[0.0]['exact_var_rate']:.4f} ({ratio:.0f} times)",
        "fluctuations at rest off by more than 10 %",
        abs(ratio - 1) > 0.1,
    )


def _production(measurements: Sequence[Measurement]) -> Finding:
    exact = measurements[0]["exact_ring"]
    parts, judged = [], None
    for k, row in enumerate(measurements[0]["ring"]):
        plug_in = np.concatenate([m["ring"][k]["plug_in"] for m in measurements])
        corrected = np.concatenate([m["ring"][k]["corrected"] for m in measurements])
        parts.append(
            f"n = {row['n']:,}: {plug_in.mean():.4f} +- {plug_in.std(ddof=1):.4f} (without "
            f"bias {corrected.mean():.4f})"
        )
        if row["n"] == 100_000:
            judged = abs(plug_in.mean() / exact - 1) <= 0.01
    return Finding(
        "Entropy production is found from counted transitions",
        f"exact {exact:.6f} nats a step; " + "; ".join(parts),
        "mean of all paths (20 a seed) within 1 % at n = 100,000",
        None if judged is None else bool(judged),
    )


def _symmetry(measurements: Sequence[Measurement]) -> Finding:
    worst = max(m["symmetry"] for m in measurements)
    return Finding(
        "The process free energy of a ring is symmetric about half its affinity",
        f"largest difference {worst:.1e}",
        "at most 1e-12",
        worst <= 1e-12,
    )


def _second_law(measurements: Sequence[Measurement]) -> Finding:
    c = measurements[0]["channel"]
    closes = abs(c["moves"] / c["dissipation"] - 1) < 1e-9
    rates = [rate for _, rate in c["lumped"]]
    seen = ", ".join(f"{rate:.6f} with {groups} groups" for groups, rate in c["lumped"])
    return Finding(
        "Information is lost, never gained, and who sees less sees less production",
        f"channel at 51 mV, nats a ms: current x drop {c['dissipation']:.4f}; with the bath of "
        f"every ion seen {c['moves']:.4f}, with states alone {c['states']:.1e}; smallest loss in a "
        f"step {c['smallest_loss']:.1e}; a ring of 12, nats a step: {seen}",
        "moves give current x drop; a coarser view never more than a finer one; losses >= 0",
        closes
        and c["states"] <= c["moves"]
        and all(a >= b - 1e-12 for a, b in pairwise(rates))
        and c["smallest_loss"] >= -1e-14,
    )


def _alike(measurements: Sequence[Measurement]) -> Finding:
    a = measurements[0]["alike"]
    return Finding(
        "Indistinguishability follows from the statement of the problem",
        f"log Z of 6 labelled particles less that of alike ones {a['difference']:.10f}, log 6! "
        f"{a['log_factorial']:.10f}",
        "equal to 1e-10",
        abs(a["difference"] - a["log_factorial"]) < 1e-10,
    )


def _physical(measurements: Sequence[Measurement]) -> Finding:
    p = measurements[0]["physical"]
    return Finding(
        "A force that changes the rates in another way needs the score form (a limit of the claim)",
        f"a gate whose rates change by exp(+-h/2): response {p['difference']:.6f}, score form "
        f"{p['score']:.6f}; tilting, the claim's form, {p['tilting']:.6f}",
        "for reading: tilting answers for forces on paths, not for this one",
        None,
    )


def _relative(measurements: Sequence[Measurement], name: str, exact: str) -> float:
    made = [
        abs(float(np.mean([m["forces"][k][name] for m in measurements])) / f[exact] - 1)
        for k, f in enumerate(measurements[0]["forces"])
    ]
    return float(max(made))


def _by_force(measurements: Sequence[Measurement], name: str, exact: str, form: str) -> str:
    parts = []
    for k, f in enumerate(measurements[0]["forces"]):
        values = [m["forces"][k][name] for m in measurements]
        parts.append(f"force {f['lam']:g}: {spread(values, form)} against {f[exact]:{form}}")
    return "; ".join(parts)
