"""Does the largest instability of a trace tell that its answer is wrong? And does its time matter?

Source: "I May Not Have Articulated Myself Clearly": Diagnosing Dynamic Instability in LLM Reasoning
at Inference Time (arXiv 2602.02863).
Departs from the paper: the models there have 0.5 to 8 billion parameters and answer GSM8K and
HotpotQA; here a model of 135 million answers one-step word problems. The plain mean entropy, which
the paper does not show, is measured on the same traces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from entropilot.information.odds import mantel_haenszel
from entropilot.studies.instability_figure import draw
from entropilot.studies.instability_numbers import measure_traces
from entropilot.studies.instability_traces import (
    N_STATES,
    SMOLLM2_VOCABULARY,
    planted_traces,
    recorded_traces,
    sampled_traces,
)
from entropilot.studies.study import Finding, Measurement, Progress, Scale, Study

N_PROBLEMS: Final[dict[Scale, int]] = {"smoke": 60, "quick": 64, "full": 512}
N_SAMPLES: Final = 4


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Measure one seed; the recorded traces, where they are at hand, belong to seed 0.

    Args:
        scale: "smoke" plants a relation and needs no model; the others sample from SmolLM2.
        seed: of problems, draws and bootstraps.
        progress: called with the share done.

    Returns:
        {"parts": {"planted" | "recorded" | "sampled": numbers}}.

    Examples:
        >>> found = measure("smoke", 0, lambda share, doing: None)
        >>> sorted(found["parts"]), found["parts"]["planted"]["n_traces"]
        (['planted'], 240)
    """
    n = N_PROBLEMS[scale]
    if scale == "smoke":
        progress(0.0, "planted traces")
        traces = planted_traces(n, N_SAMPLES, seed)
        return {"parts": {"planted": measure_traces(traces, seed, N_STATES)}}
    parts: dict[str, Any] = {}
    recorded = recorded_traces() if seed == 0 else None
    if recorded is not None:
        progress(0.0, "recorded traces")
        parts["recorded"] = measure_traces(recorded, seed, SMOLLM2_VOCABULARY)
    traces = sampled_traces(n, N_SAMPLES, seed, progress)
    parts["sampled"] = measure_traces(traces, seed, SMOLLM2_VOCABULARY)
    return {"parts": parts}


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Claims beside what was measured.

    Args:
        measurements: one a seed.

    Returns:
        Checks on recorded or planted traces first, then what fresh traces say.

    Examples:
        >>> found = judge([measure("smoke", 0, lambda share, doing: None)])
        >>> all(finding.check and finding.holds for finding in found)
        True
    """
    findings: list[Finding] = []
    parts = [m["parts"] for m in measurements]
    for planted in (p["planted"] for p in parts if "planted" in p):
        findings += _planted_checks(planted)
    for recorded in (p["recorded"] for p in parts if "recorded" in p):
        findings += _recorded_checks(recorded)
    sampled = [p["sampled"] for p in parts if "sampled" in p]
    return findings + (_fresh_findings(sampled) if sampled else [])


def _planted_checks(found: dict[str, Any]) -> list[Finding]:
    peak, inside = found["auc"]["instability_peak"], found["bounds"]
    return [
        Finding(
            "A planted relation between entropy and errors is found",
            f"AUC of peak instability {_words(peak)}",
            "interval above 0.5",
            peak is not None and peak[1] > 0.5,
            check=True,
        ),
        _bounds_check(inside),
    ]


def _recorded_checks(found: dict[str, Any]) -> list[Finding]:
    auc, buckets = found["auc"], found["buckets"]["instability_peak"]
    known = {"instability_peak": 0.601, "entropy_mean": 0.704, "instability_peak_full": 0.654}
    values = {name: auc[name][0] for name in known}
    low, high = buckets[0][3] / buckets[0][2], buckets[-1][3] / buckets[-1][2]
    return [
        Finding(
            "Recorded traces: the AUC of peak, mean entropy and full peak come out again",
            ", ".join(f"{v:.3f}" for v in values.values()),
            ", ".join(f"{v:.3f}" for v in known.values()) + " within 0.002",
            all(abs(values[name] - known[name]) <= 0.002 for name in known),
            check=True,
        ),
        Finding(
            "Recorded traces: peak instability does better than chance",
            f"AUC {_words(auc['instability_peak'])}",
            "interval above 0.5",
            auc["instability_peak"][1] > 0.5,
            check=True,
        ),
        Finding(
            "Recorded traces: the fifth with the smallest peaks is right more often than the last",
            f"{low:.2f} against {high:.2f}",
            "a difference of at least 0.10",
            low - high >= 0.10,
            check=True,
        ),
        _bounds_check(found["bounds"]),
    ]


def _bounds_check(inside: dict[str, float]) -> Finding:
    return Finding(
        "Exact entropy and divergence lie within the bounds from the top 20",
        f"{inside['entropy_inside']:.2%} and {inside['jsd_inside']:.2%} of {inside['n']} tokens",
        "100% of the tokens",
        inside["entropy_inside"] == 1.0 and inside["jsd_inside"] == 1.0,
        check=True,
    )


def _fresh_findings(sampled: list[dict[str, Any]]) -> list[Finding]:
    peaks = [s["auc"]["instability_peak"] for s in sampled]
    peak = _combined(peaks)
    early = _combined([s["prefix"].get("10") for s in sampled])
    gap = _combined([s["mean_entropy_minus_peak"] for s in sampled])
    accuracy = _bucket_accuracy(sampled)
    odds = _odds(sampled)
    seeds = ", ".join(f"{p[0]:.2f}" for p in peaks if p is not None)
    return [
        Finding(
            "Peak instability tells wrong answers from right ones, without training",
            f"AUC {_words(peak)}, {len(sampled)} x {sampled[0]['n_traces']} traces",
            "above 0.5 (the paper is cited with 0.66 to 0.74)",
            None if peak is None else peak[1] > 0.5,
        ),
        Finding(
            "Its AUC on fresh traces lies where that of the recorded ones does",
            f"by seed: {seeds}",
            "each in 0.50 to 0.75",
            all(p is not None and 0.5 <= p[0] <= 0.75 for p in peaks),
        ),
        Finding(
            "Accuracy falls from each fifth of the peak to the next",
            ", ".join(f"{a:.2f}" for a in accuracy) + ", smallest peaks first",
            "never rising",
            bool(np.all(np.diff(accuracy) <= 0)),
        ),
        Finding(
            "The first ten tokens carry the signal already",
            f"AUC {_words(early)}",
            "above 0.5, and close to that of the whole trace",
            None if early is None else early[1] > 0.5,
        ),
        Finding(
            "At equal size, early peaks end right more often than late ones",
            f"odds ratio {_words(odds)}",
            "above 1 (the paper: 46% right after early peaks, 14% after late ones)",
            None if odds is None else _decided(odds[1] > 1, odds[2] < 1),
        ),
        Finding(
            "Beside it: the plain mean entropy, on the same traces",
            f"AUC {_words(_combined([s['auc']['entropy_mean'] for s in sampled]))}; "
            f"mean entropy minus peak {_words(gap)}",
            "no number in the paper; above 0, the mean entropy is the better signal",
            None,
        ),
        Finding(
            "Beside it: the weight of the entropy",
            "; ".join(
                f"lambda {weight}: {_words(_combined([s['auc'].get(name) for s in sampled]))}"
                for weight, name in (
                    ("0", "instability_peak_lambda_0"),
                    ("0.5", "instability_peak_lambda_05"),
                    ("1", "instability_peak"),
                    ("2", "instability_peak_lambda_2"),
                )
            ),
            "the paper keeps lambda = 1",
            None,
        ),
    ]


def _decided(yes: bool, no: bool) -> bool | None:
    """None while the interval allows both: the traces are too few to tell."""
    return True if yes else False if no else None


def _words(value: Sequence[float] | None) -> str:
    if value is None:
        return "not defined (labels all equal)"
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"


def _combined(values: Sequence[Sequence[float] | None]) -> list[float] | None:
    """Mean over seeds, with an interval from those of the seeds (they share no problem)."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    mean = sum(v[0] for v in known) / len(known)
    below = math.sqrt(sum((v[0] - v[1]) ** 2 for v in known)) / len(known)
    above = math.sqrt(sum((v[2] - v[0]) ** 2 for v in known)) / len(known)
    return [mean, mean - below, mean + above]


def _bucket_accuracy(sampled: list[dict[str, Any]]) -> list[float]:
    counts = np.array([s["buckets"]["instability_peak"] for s in sampled], dtype=np.float64)
    return list((counts[:, :, 3].sum(axis=0) / counts[:, :, 2].sum(axis=0)).tolist())


def _odds(sampled: list[dict[str, Any]]) -> list[float] | None:
    """Pooled over fifths and seeds: a stratum is one fifth of one seed."""
    tables = np.zeros((len(sampled), 5, 2, 2))
    for number, part in enumerate(sampled):
        for fifth, timing, n, n_right in part["timing"]:
            if timing != "middle":
                row = 0 if timing == "early" else 1
                tables[number, fifth, row] = [n_right, n - n_right]
    found = mantel_haenszel(tables.reshape(-1, 2, 2))
    if math.isnan(found.low):
        return None
    return [float(found.odds_ratio), float(found.low), float(found.high)]


STUDY: Final = Study(
    slug="instability",
    title="Dynamic instability",
    paper="2602.02863",
    claim=(
        "The largest jump between consecutive next-token distributions, weighed with their "
        "entropy, tells which answers go wrong; an early jump is more often corrected than a late "
        "one."
    ),
    scales={
        "smoke": "240 planted traces of a Markov chain, no model; seconds",
        "quick": "SmolLM2-135M-Instruct, 64 one-step word problems x 4 samples; minutes a seed",
        "full": "the same with 512 problems a seed; an hour a seed on two cores",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "A model of 135 million parameters on one-step problems stands for the paper's larger ones "
        "on GSM8K. On the recorded traces the mean entropy did better (AUC 0.70) than the peak "
        "(0.60), so both are shown. Four weights, five windows and nine baselines were tried; all "
        "are stored. The interval of the odds ratio takes answers to one problem as independent, "
        "so it is somewhat too narrow."
    ),
)
