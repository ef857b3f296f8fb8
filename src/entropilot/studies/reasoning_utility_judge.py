"""Judgement of the reasoning-utility study, from its stored measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from entropilot.information import AucInterval, auc_interval, wilson
from entropilot.studies.study import Finding, Measurement
from entropilot.traces.utility import summarise_trajectory

CHANCE: Final = 0.5
FALLING: Final = 0.90  # share of right chains whose slope must be negative
STAYING: Final = 0.50  # share of wrong chains that may fall; the paper gives no number
DROP_AUC: Final = 0.60  # set after a first look at these chains: a regression check
LEAK_AUC: Final = (0.30, 0.60)  # likewise, for this inspector
LENGTH_AUC: Final = (0.60, 0.70)  # likewise
TREE_ERROR: Final = 1e-4  # nats, float32


@dataclass(frozen=True)
class Pooled:
    """All chains of all seeds, each once, with their labels."""

    chains: tuple[dict[str, Any], ...]
    wrong: np.ndarray[Any, Any]
    problem: np.ndarray[Any, Any]

    def auc(self, key: str, number: str) -> AucInterval:
        """How well a summary of the trajectories under ``key`` points at wrong chains."""
        sign = -1.0 if number.startswith("drop") else 1.0
        scores = [sign * summarise_trajectory(one[key])[number] for one in self.chains]
        return auc_interval(scores, self.wrong, self.problem)


def pool(measurements: Sequence[Measurement]) -> Pooled:
    """Chains of several seeds; a chain that two seeds chose counts once."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for measurement in measurements:
        for one in measurement["chains"]:
            key = (one["problem"], one["source"], one["right"], one.get("chain"))
            found.setdefault(key, one)
    chains = tuple(found.values())
    return Pooled(
        chains,
        np.array([not one["right"] for one in chains]),
        np.array([one["problem"] for one in chains]),
    )


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Findings for and against the claim, pooled over the seeds."""
    pooled = pool(measurements)
    if not len(pooled.chains):
        reasons = {m["missing"] for m in measurements if m["missing"]} or {"nothing was measured"}
        return [_not_run(statement, "; ".join(sorted(reasons))) for statement in _STATEMENTS]
    is_full = measurements[0].get("scale") == "full"
    is_real = is_full or bool(measurements[0]["lengths"])
    findings = [
        _falls(pooled),
        _stays(pooled),
        _separates(
            pooled,
            "leak",
            "drop_before_last",
            "gold",
            expected="above 0.5 with its whole interval",
        ),
        _separates(pooled, "own", "drop", "own", expected="above 0.5 with its whole interval"),
        _nll(pooled),
        _longer(measurements),
        *(_at_full_size(measurements, pooled) if is_full else _checks(measurements, pooled)),
    ]
    if is_real:
        return findings
    note = "made-up chains and a random inspector say nothing about the claim"
    return [
        f if f.check and "tree" in f.statement else _not_run(f.statement, note, f.check)
        for f in findings
    ]


_STATEMENTS: Final = {
    "falls": "In right chains the entropy of the reference answer falls over the steps",
    "stays": "In wrong chains it stays flat or rises",
    "leak": "It falls further in right chains than in wrong ones before the last step, which "
    "states the answer",
    "own": "With the chain's own answer (no key needed) the fall separates right from wrong",
    "nll": "The answer's likelihood separates worse than its entropy",
    "longer": "Wrong chains are longer than right ones, in every source",
    "below": "In every category right chains end with less entropy than wrong ones",
}


def _not_run(key: str, why: str, check: bool = False) -> Finding:
    return Finding(_STATEMENTS.get(key, key), f"not run: {why}", "", None, check)


def _falls(pooled: Pooled) -> Finding:
    slopes = [summarise_trajectory(one["gold"])["slope"] for one in pooled.chains]
    falling = np.array(slopes) < 0
    right, wrong = falling[~pooled.wrong], falling[pooled.wrong]
    low, high = wilson(int(right.sum()), len(right))
    return Finding(
        _STATEMENTS["falls"],
        f"slope below 0 in {right.mean():.1%} [{float(low):.1%}, {float(high):.1%}] of "
        f"{len(right)} right chains (and in {wrong.mean():.1%} of {len(wrong)} wrong ones)",
        f"at least {FALLING:.0%} of the right chains",
        bool(right.mean() >= FALLING),
    )


def _stays(pooled: Pooled) -> Finding:
    found = [summarise_trajectory(one["gold"]) for one in pooled.chains]
    verdicts = np.array([summary["verdict"] for summary in found])[pooled.wrong]
    falling = int((verdicts == "decreasing").sum())
    low, high = wilson(falling, len(verdicts))
    return Finding(
        _STATEMENTS["stays"],
        f"{falling / len(verdicts):.0%} [{float(low):.0%}, {float(high):.0%}] of {len(verdicts)} "
        "wrong chains lose more than a tenth of the entropy, by a falling line",
        f"less than {STAYING:.0%}",
        bool(falling / len(verdicts) < STAYING),
    )


def _separates(pooled: Pooled, name: str, number: str, key: str, *, expected: str) -> Finding:
    found = pooled.auc(key, number)
    says = "separates" if found.low > CHANCE else "does not separate"
    if found.high < CHANCE:
        says = "points the wrong way"
    return Finding(
        _STATEMENTS[name],
        f"AUC of the fall for wrong chains {_interval(found)}: it {says}",
        expected,
        bool(found.low > CHANCE),
    )


def _nll(pooled: Pooled) -> Finding:
    entropy, nll = pooled.auc("gold", "drop"), pooled.auc("gold_nll", "h_last")
    before = pooled.auc("gold_nll", "h_before_last")
    return Finding(
        _STATEMENTS["nll"],
        f"AUC of the likelihood after the last step {_interval(nll)} (before it "
        f"{_interval(before)}), of the entropy's fall {_interval(entropy)}",
        "the likelihood below the entropy",
        bool(nll.value < entropy.value),
    )


def _longer(measurements: Sequence[Measurement]) -> Finding:
    lengths = measurements[0]["lengths"]
    if not lengths:
        return _not_run("longer", "no source has both right and wrong chains")
    measured = "; ".join(
        f"{one['source']} {one['words'][0]:.1f} words right, {one['words'][1]:.1f} wrong, AUC "
        f"{one['auc'][0]:.3f} [{one['auc'][1]:.3f}, {one['auc'][2]:.3f}]"
        for one in lengths
    )
    return Finding(
        _STATEMENTS["longer"],
        measured,
        "AUC of the length above 0.5 in each source, unpaired",
        all(one["auc"][1] > CHANCE for one in lengths),
    )


def _at_full_size(measurements: Sequence[Measurement], pooled: Pooled) -> list[Finding]:
    """What only the full size can say; the numbers set on the small inspector do not apply."""
    ends = np.array([one["gold"][-1] for one in pooled.chains])
    sources = np.array([one["source"] for one in pooled.chains])
    parts, below = [], []
    for category in sorted(set(sources.tolist())):
        right, wrong = (ends[(sources == category) & (pooled.wrong == w)] for w in (False, True))
        if len(right) and len(wrong):
            parts.append(f"{category} {right.mean():.2f} right, {wrong.mean():.2f} wrong")
            below.append(bool(right.mean() < wrong.mean()))
    skipped = sum(m.get("skipped", 0) for m in measurements)
    note = f"; {skipped} readings did not fit the context" if skipped else ""
    return [
        Finding(
            _STATEMENTS["below"],
            "; ".join(parts) + " (nats)" + note,
            "right below wrong in each",
            all(below) if below else None,
        ),
        _tree(measurements),
    ]


def _checks(measurements: Sequence[Measurement], pooled: Pooled) -> list[Finding]:
    """Numbers that were set on these chains before: they guard the code, not the claim."""
    drop, leak = pooled.auc("gold", "drop"), pooled.auc("gold", "drop_before_last")
    lengths = [one["auc"][0] for one in measurements[0]["lengths"]]
    return [
        Finding(
            "With the last step the fall separates (the step states the answer: a leak)",
            f"AUC {_interval(drop)} on {len(pooled.chains)} chains",
            f"at least {DROP_AUC:.2f}",
            bool(drop.value >= DROP_AUC),
            check=True,
        ),
        Finding(
            "Without the last step this inspector does not separate",
            f"AUC {_interval(leak)}",
            f"in [{LEAK_AUC[0]:.2f}, {LEAK_AUC[1]:.2f}]",
            bool(LEAK_AUC[0] <= leak.value <= LEAK_AUC[1]),
            check=True,
        ),
        Finding(
            "Lengths of the published chains",
            "AUC " + ", ".join(f"{value:.3f}" for value in lengths),
            f"each in [{LENGTH_AUC[0]:.2f}, {LENGTH_AUC[1]:.2f}]",
            all(LENGTH_AUC[0] <= value <= LENGTH_AUC[1] for value in lengths) if lengths else None,
            check=True,
        ),
        _tree(measurements),
    ]


def _tree(measurements: Sequence[Measurement]) -> Finding:
    errors = [m["tree_error"] for m in measurements if m["tree_error"] is not None]
    dtype = measurements[0].get("dtype", "float32")
    largest = max(errors, default=float("nan"))
    return Finding(
        "Reading with tree attention equals reading each prefix on its own",
        f"largest difference {largest:.1e} nats, in {dtype}",
        f"at most {TREE_ERROR:.0e} nats in float32",
        largest <= TREE_ERROR if errors and dtype == "float32" else None,
        check=True,
    )


def _interval(found: AucInterval) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
