"""The convergence-radius study's claims beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from entropilot.studies.study import Finding, Measurement

#: The grids of ``measure``: 41 radii downhill, 7 in random directions.
RADII: Final = tuple(np.round(np.logspace(-2, 2, 41), 5).tolist())
COARSE: Final = (0.1, 0.3, 0.9, 3.0, 10.0, 30.0, 100.0)
COLLAPSE: Final = 0.10  # accuracy lost at which a collapse has begun
PAPER_SINGLE: Final = {
    "CNN+BN": "13 / 10 / 72 %",
    "MLP+LN": "45 / 52 / 94 %",
    "transformer": "32 / 39 / 95 %",
}


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Claims beside measurements; ranges are over seeds.

    Args:
        measurements: of ``measure``, one a seed.

    Returns:
        One finding a claim.
    """
    return [
        *_lasting(measurements),
        *_single(measurements),
        _temperature(measurements),
        *_one_step(measurements),
        _slack(measurements),
        _loss(measurements),
        _hessian(measurements),
        Finding(
            "Training without a learning rate matches the best fixed one (ResNet-18, CIFAR-10)",
            "not run: needs a GPU",
            "85.3 % at r = 1 against 82.6 % (paper)",
            None,
        ),
    ]


def _range(values: Sequence[float], digits: int = 2) -> str:
    x = np.asarray(values, float)
    return f"{np.median(x):.{digits}f} [{x.min():.{digits}f}, {x.max():.{digits}f}]"


def _lasting(measurements: Sequence[Measurement]) -> list[Finding]:
    def ends(lr: str, arm: str) -> list[float]:
        return [m["lasting"][lr][arm]["after"] for m in measurements]

    rates = ("0.001", "0.01")

    def text(arm: str) -> str:
        return "; ".join(f"lr {lr}: {_range(ends(lr, arm))}" for lr in ("0.0001", *rates))

    def all_of(arm: str) -> np.ndarray[Any, Any]:
        return np.array([ends(lr, arm) for lr in rates])

    applied = [m["lasting"][lr]["SafeStep"]["most_applied"] for m in measurements for lr in rates]
    return [
        Finding(
            "A learning rate 1000 times too high, from step 50 on, is survived with steps cut",
            f"test accuracy, MLP: {text('SafeStep')}; lowest at the last two "
            f"{all_of('SafeStep').min():.3f}",
            "at least 0.93 at 0.001 and 0.01, every seed",
            bool((all_of("SafeStep") >= 0.93).all()),
        ),
        Finding(
            "Adam does not survive it",
            f"test accuracy: {text('Adam')}",
            "at most 0.55 at 0.001 and 0.01, every seed",
            bool((all_of("Adam") <= 0.55).all()),
        ),
        Finding(
            "Gradient clipping at norm 1 does not either",
            f"test accuracy: {text('clip 1.0')}",
            "at most 0.55 at 0.001 and 0.01, every seed",
            bool((all_of("clip 1.0") <= 0.55).all()),
        ),
        Finding(
            "No step taken is longer than the radius",
            f"longest step {max(applied):.7f} radii",
            "at most 1 + 1e-6",
            max(applied) <= 1 + 1e-6,
        ),
    ]


def _single(measurements: Sequence[Measurement]) -> list[Finding]:
    arms = ("Adam", "clip 1.0", "SafeStep")
    findings = []
    for name, paper in PAPER_SINGLE.items():
        runs = [m["single"][name] for m in measurements]
        found = {arm: [run[arm]["after"] for run in runs] for arm in arms}
        text = ", ".join(f"{arm} {_range(found[arm])}" for arm in arms)
        if name == "CNN+BN":
            settled = {arm: [run[arm]["settled"] for run in runs] for arm in arms}
            text += "; with settled running statistics " + ", ".join(
                f"{arm} {_range(settled[arm])}" for arm in arms
            )
        gaps = [run["SafeStep"]["after"] - max(run[a]["after"] for a in arms[:2]) for run in runs]
        findings.append(
            Finding(
                f"One step at 10,000 times the learning rate: {name} ends best with steps cut",
                f"test accuracy at step 200: {text}",
                f"at least 0.10 above both, every seed (paper: {paper})",
                min(gaps) >= 0.10,
            )
        )
    return findings


def _temperature(measurements: Sequence[Measurement]) -> Finding:
    tau, r = [], []
    for m in measurements:
        rows = [row for row in m["temperature"] if row["onset"] is not None]
        tau.append(float(np.std([np.log(row["onset"]) for row in rows])) if rows else np.nan)
        r.append(
            float(np.std([np.log(row["onset"] / row["rho"]) for row in rows])) if rows else np.nan
        )
    ratio = np.array(r) / np.array(tau)
    return Finding(
        "Counted in radii, training at any temperature breaks at one place",
        f"std of ln onset over 6 temperatures: length {_range(tau)}, radii {_range(r)}, ratio by "
        f"seed {', '.join(f'{v:.2f}' for v in ratio)}",
        "in radii at most half of that in length, every seed (paper: 0.164 against 0.992 with 8 "
        "temperatures up to 64)",
        bool((ratio <= 0.5).all()),
    )


def lost(row: dict[str, Any]) -> tuple[np.ndarray[Any, Any], list[np.ndarray[Any, Any]]]:
    """Accuracy lost at each radius downhill, and in each random direction."""
    start = row["start"]["accuracy"]
    return (
        start - np.array(row["accuracy"]),
        [start - np.array(other["accuracy"]) for other in row["random"]],
    )


def onsets(row: dict[str, Any]) -> Iterator[tuple[bool, float, float]]:
    """(downhill?, radius, r at which 10 points are lost), where they are lost at all."""
    downhill, others = lost(row)
    yield from _onset(True, row["rho"], RADII, downhill)
    for other, values in zip(row["random"], others, strict=True):
        yield from _onset(False, other["rho"], COARSE, values)


def _onset(
    downhill: bool, rho: float, radii: Sequence[float], values: np.ndarray[Any, Any]
) -> Iterator[tuple[bool, float, float]]:
    over = np.flatnonzero(values > COLLAPSE)
    if len(over) == 0:
        return
    i = int(over[0])
    if i == 0:
        yield downhill, rho, radii[0]
        return
    share = (COLLAPSE - values[i - 1]) / (values[i] - values[i - 1])
    x = np.log(radii[i - 1]) + share * (np.log(radii[i]) - np.log(radii[i - 1]))
    yield downhill, rho, float(np.exp(x))


def _one_step(measurements: Sequence[Measurement]) -> list[Finding]:
    names = list(measurements[0]["networks"])
    inside = np.array(RADII) <= 0.9
    safe, far, aside, starts = {}, {}, {}, {}
    for name in names:
        rows = [m["networks"][name] for m in measurements]
        down = [lost(row) for row in rows]
        safe[name] = max(float(d[inside].max()) for d, _ in down)
        far[name] = min(float(d.max()) for d, _ in down)
        aside[name] = max(float(o[np.array(COARSE) <= 0.9].max()) for _, os in down for o in os)
        starts[name] = min(row["start"]["accuracy"] for row in rows)
    trained = [name for name in names if starts[name] >= 0.6]
    found = [r for m in measurements for row in m["networks"].values() for _, _, r in onsets(row)]
    early = [r for r in found if r < 1]
    share = float(np.mean([1 <= r <= 10 for r in found])) if found else 0.0

    def points(values: dict[str, float]) -> str:
        return ", ".join(f"{name} {100 * values[name]:.1f}" for name in names)

    return [
        Finding(
            "One step downhill of at most 0.9 radii costs no architecture its accuracy",
            f"most points lost in any seed: {points(safe)}"
            + (
                ""
                if len(trained) == len(names)
                else f"; trained below 0.6: {_others(names, trained)}"
            ),
            "less than 5 points, six architectures",
            max(safe[name] for name in trained) < 0.05 if trained else None,
        ),
        Finding(
            "Nor does one in a random direction",
            f"most points lost in any seed and direction: {points(aside)}",
            "less than 5 points",
            max(aside[name] for name in trained) < 0.05 if trained else None,
        ),
        Finding(
            "Within 100 radii every architecture collapses",
            f"fewest points lost at the worst radius: {points(far)}",
            "more than 40 points, six architectures",
            min(far[name] for name in trained) > 0.40 if trained else None,
        ),
        Finding(
            "The collapse begins (10 points lost) at one radius or later, mostly before ten",
            f"{len(early)} of {len(found)} onsets below 1 radius, {share:.0%} between 1 and 10; "
            f"median {np.median(found):.1f}, largest {max(found):.0f}"
            if found
            else "no onset",
            "none below 1, most between 1 and 10",
            None if not found else not early and share > 0.5,
        ),
    ]


def _others(names: Sequence[str], trained: Sequence[str]) -> str:
    return ", ".join(name for name in names if name not in trained)


def _slack(measurements: Sequence[Measurement]) -> Finding:
    names = list(measurements[0]["networks"])
    rows = {name: [m["networks"][name]["slack"] for m in measurements] for name in names}
    least = min(row["least"] for parts in rows.values() for row in parts)
    text = ", ".join(
        f"{name} {np.median([row['quartiles'][1] for row in rows[name]]):.1f}" for name in names
    )
    return Finding(
        "The exact radius is never below the bound",
        f"least ratio of 200 samples a network {least:.3f}; median ratio: {text}",
        "at least 1 (the ratio is the slack of the bound)",
        least >= 1 - 1e-9,
    )


def _loss(measurements: Sequence[Measurement]) -> Finding:
    names = list(measurements[0]["networks"])
    at = int(np.flatnonzero(np.array(RADII) <= 0.9)[-1])
    ratio = {
        name: [m["networks"][name]["loss_ratio"][at] or np.inf for m in measurements]
        for name in names
    }
    rose = sum(np.median(values) > 1 for values in ratio.values())
    return Finding(
        "Beside it: r < 1 does not promise a lower loss",
        f"training loss after by before at r = {RADII[at]:.2f}: "
        + ", ".join(f"{name} {_range(values)}" for name, values in ratio.items())
        + f"; it rose in {rose} of {len(names)}",
        "no claim of the paper: accuracy is protected, not the loss",
        None,
    )


def _hessian(measurements: Sequence[Measurement]) -> Finding:
    texts = []
    for number in range(len(measurements[0]["hessian"])):
        rows = [m["hessian"][number] for m in measurements]
        literal = [2 / abs(row["curvature"]) / row["rho"] for row in rows]
        length = [2 * row["slope"] / abs(row["curvature"]) / row["rho"] for row in rows]
        texts.append(
            f"after {rows[0]['steps']} steps 2/(v'Hv) is {_range(literal, 1)} times the radius, "
            f"the length 2|g|/(v'Hv) {_range(length, 1)} times"
        )
    return Finding(
        "Beside it: the step that the curvature allows, against the radius",
        "; ".join(texts),
        "10 early and about 460 late (paper, for 2/(v'Hv); as a length it would not overestimate "
        "late)",
        None,
    )
