"""What the stored numbers of the epiplexity study say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from entropilot.information import (
    published_laws,
    scaling_law_epiplexity,
)
from entropilot.studies.seed_numbers import mean_interval
from entropilot.studies.study import Finding, Measurement

LAW_TOKENS, LAW_FLOP = 1e12, 1e25  # D and C of the paper's bars
GOLDEN_S_NATS = 5.51124e10  # of text at that point, by the reference functions
ORDER = (  # of the domains by S, as the paper has it
    ("text",),
    ("image vq 32x32", "image vq 16x16"),
    ("video vq 16x16x16",),
    ("image 32x32", "image 16x16", "image 8x8"),
)


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Findings, each over all seeds."""
    return [
        *_judge_rules(measurements),
        *_judge_order(measurements),
        *_judge_observers(measurements),
        *_judge_requential(measurements),
        *_judge_laws(),
    ]


def best_run(m: Measurement, name: str) -> dict[str, Any]:
    """The run with the smallest S + D H over the learning rates.

    Examples:
        >>> runs = [{"S": 5.0, "H": 0.5}, {"S": 9.0, "H": 0.1}]
        >>> best_run({"rules": {"a": runs}, "test_cells": 100.0}, "a")["S"]
        9.0
    """
    found: dict[str, Any] = min(
        m["rules"][name], key=lambda run: run["S"] + m["test_cells"] * run["H"]
    )
    return found


def domain_bars(*, embedding_corrected: bool = True) -> dict[str, tuple[float, float]]:
    """S and H in nats of each domain at D = 1e12 tokens and 1e25 FLOP.

    Examples:
        >>> max(domain_bars(), key=lambda name: domain_bars()[name][0])
        'text'
    """
    found = {}
    for name, law in published_laws(embedding_corrected=embedding_corrected).items():
        row = scaling_law_epiplexity(
            law.alpha, law.beta, law.N0, law.T0, law.E, LAW_TOKENS, LAW_FLOP
        )
        found[name] = (row.S_nats, row.H_nats)
    return found


def _of(
    measurements: Sequence[Measurement], value: Callable[[Measurement], float], form: str
) -> tuple[str, list[float]]:
    """A value of each seed: in words with its interval, and as numbers."""
    values = [float(value(m)) for m in measurements]
    s = mean_interval(values)
    write = _writer(form)
    between = "" if math.isnan(s.low) else f" [{write(s.low)}, {write(s.high)}]"
    return write(s.value) + between, values


def _writer(form: str) -> Callable[[float], str]:
    if form == "k":
        return lambda v: f"{v / 1000:.1f}k"
    return lambda v: format(v, form)


def _judge_rules(measurements: Sequence[Measurement]) -> list[Finding]:
    def value(rule: int, key: str) -> Callable[[Measurement], float]:
        return lambda m: float(best_run(m, f"rule {rule}")[key])

    def share_of_noise(m: Measurement) -> float:
        run = best_run(m, "random targets")
        return float(run["S"] / (m["test_cells"] * run["H"]))

    s15, s30, s54 = (_of(measurements, value(rule, "S"), "k") for rule in (15, 30, 54))
    h15, h30, h54 = (_of(measurements, value(rule, "H"), ".3f") for rule in (15, 30, 54))
    ratio = _of(measurements, lambda m: value(54, "S")(m) / value(15, "S")(m), ".2f")
    noise = _of(measurements, share_of_noise, ".2%")
    rate = measurements[0]["rules"]["rule 54"][0]["rate"]
    slow = _of(
        measurements,
        lambda m: m["rules"]["rule 54"][0]["S"] / m["rules"]["rule 15"][0]["S"],
        ".2f",
    )
    small = all(s < x / 100 for s, x in zip(s30[1], s15[1], strict=True))
    return [
        Finding(
            "Rule 30 is noise to the observer: no structure, a bit of entropy a cell",
            f"S {s30[0]} bits, H {h30[0]} bits a cell",
            "H above 0.99, and S below a hundredth of rule 15's",
            all(h > 0.99 for h in h30[1]) and small,
        ),
        Finding(
            "Rule 15 is easy: some structure, no entropy left",
            f"S {s15[0]} bits, H {h15[0]} bits a cell",
            "H below 0.01",
            all(h < 0.01 for h in h15[1]),
        ),
        Finding(
            "Rule 54 is rich: more structure than rule 15, and some entropy left",
            f"S {s54[0]} bits, H {h54[0]} bits a cell; S(54) / S(15) = {ratio[0]}",
            "in each seed S more than 1.3 times that of rule 15, H between 0.01 and 0.5",
            all(r > 1.3 for r in ratio[1]) and all(0.01 < h < 0.5 for h in h54[1]),
        ),
        Finding(
            "Targets that have nothing to do with the input show no structure",
            f"S / (D H) = {noise[0]}",
            "below 0.1 %",
            all(abs(x) < 1e-3 for x in noise[1]),
        ),
        Finding(
            f"Beside it: without choosing the learning rate, at {rate:g}",
            f"S(54) / S(15) = {slow[0]}: slow optimisation is charged as structure",
            "no number in the paper, which takes the hull over learning rates; below 1 the ranking "
            "is turned",
            None,
        ),
    ]


def _judge_order(measurements: Sequence[Measurement]) -> list[Finding]:
    steps, width = measurements[0]["order_steps"], measurements[0]["width"]

    def left(part: str, i: int) -> tuple[str, list[float]]:
        return _of(measurements, lambda m: float(m[part][i]["H"]), ".3f")

    def whole(part: str) -> str:
        return _of(measurements, lambda m: width * (1 + m[part][-1]["H"]), ".0f")[0]

    forward = [left("forward", i) for i in range(len(steps))]
    reverse = [left("reverse", i) for i in range(len(steps))]
    rises = all(
        a < b
        for one, next_ in itertools.pairwise(reverse)
        for a, b in zip(one[1], next_[1], strict=True)
    )
    backwards = ", ".join(words for words, _ in reverse)
    return [
        Finding(
            "Rule 30 is learnt forwards and not backwards, on the same pairs",
            f"bits a cell after {', '.join(map(str, steps))} steps: forwards "
            f"{', '.join(words for words, _ in forward)}; backwards {backwards}",
            "forwards below 0.01 each, backwards above 0.7 after 4 steps",
            all(h < 0.01 for _, values in forward for h in values)
            and all(h > 0.7 for h in reverse[-1][1]),
        ),
        Finding("The gap grows with the steps", f"{backwards} bits a cell", "rising", rises),
        Finding(
            "So entropy is no longer symmetric: H(X) + H(Y|X) against H(Y) + H(X|Y)",
            f"{whole('forward')} against {whole('reverse')} bits for {width} cells after "
            f"{steps[-1]} steps",
            "equal for an unbounded observer; the paper has 65 against 77 after 8 steps",
            None,
        ),
    ]


def _judge_observers(measurements: Sequence[Measurement]) -> list[Finding]:
    counts, column = measurements[0]["layer_counts"], _usual_rate(measurements[0])

    def entropy_with(i: int) -> Callable[[Measurement], float]:
        def value(m: Measurement) -> float:
            run = m["layers"][i] if i < len(m["layers"]) else m["rules"]["rule 54"][column]
            return float(run["H"])

        return value

    said = [_of(measurements, entropy_with(i), ".3f") for i in range(len(counts))]
    s, found = _of(measurements, lambda m: m["emergence"]["S"], "k")
    h, left = _of(measurements, lambda m: m["emergence"]["H"], ".3f")
    half = measurements[0]["steps"] // 2
    return [
        Finding(
            "A stronger observer finds less entropy in the same data",
            f"rule 54, bits a cell with {', '.join(map(str, counts))} layers: "
            + ", ".join(words for words, _ in said),
            "the deepest below the shallowest",
            all(a > b for a, b in zip(said[0][1], said[-1][1], strict=True)),
        ),
        Finding(
            f"The same source turns from noise to structure within reach: rule 30 after {half} "
            "steps",
            f"S {s} bits, H {h} bits a cell",
            "H below 0.9 and S above a tenth of rule 15's",
            all(
                x < 0.9 and y > best_run(m, "rule 15")["S"] / 10
                for x, y, m in zip(left, found, measurements, strict=True)
            ),
        ),
    ]


def _usual_rate(m: Measurement) -> int:
    """Column of the learning rate that the requential runs have."""
    rate = next(iter(m["requential"].values()))["rate"]
    return [run["rate"] for run in m["rules"]["rule 54"]].index(rate)


def _judge_requential(measurements: Sequence[Measurement]) -> list[Finding]:
    column = _usual_rate(measurements[0])

    def taught(name: str, key: str, form: str) -> tuple[str, list[float]]:
        return _of(measurements, lambda m: m["requential"][name][key], form)

    def online(name: str) -> tuple[str, list[float]]:
        return _of(measurements, lambda m: m["rules"][name][column]["S"], "k")

    names = list(measurements[0]["requential"])
    parts = [
        f"{name}: {taught(name, 'S', 'k')[0]} against {online(name)[0]}, student's H "
        f"{taught(name, 'H', '.3f')[0]}"
        for name in names
    ]
    rich, easy, noise = (taught(f"rule {r}", "S", "k")[1] for r in (54, 15, 30))
    ranked = all(a > b > c for a, b, c in zip(rich, easy, noise, strict=True))
    return [
        Finding(
            "The requential estimate is the tighter one",
            "S in bits, requential against prequential: " + "; ".join(parts),
            "requential at most prequential for rule 54",
            all(a <= b for a, b in zip(rich, online("rule 54")[1], strict=True)),
        ),
        Finding(
            "It ranks the rules in the same way",
            "S(54) > S(15) > S(30) in every seed" if ranked else "another order in some seed",
            "rule 54, then 15, then 30",
            ranked,
        ),
    ]


def _judge_laws() -> list[Finding]:
    bars = domain_bars()
    low = [min(bars[n][0] for n in group) for group in ORDER]
    high = [max(bars[n][0] for n in group) for group in ORDER]
    s, h = domain_bars(embedding_corrected=False)["text"]
    return [
        Finding(
            "From scaling laws: text holds more structure than VQ images, video, and pixels",
            ", ".join(f"{name} {value[0]:.2g}" for name, value in bars.items())
            + " nats at D = 1e12 tokens, 1e25 FLOP",
            "text above both VQ images above VQ video above all pixel images",
            all(a > b for a, b in zip(low[:-1], high[1:], strict=True)),
        ),
        Finding(
            "Structure of text by the published fit",
            f"S = {s:.5e} nats, {s / (s + h):.1%} of S + H",
            f"{GOLDEN_S_NATS:.5e} nats by the reference functions, 2.8 %",
            abs(s / GOLDEN_S_NATS - 1) < 1e-3,
            check=True,
        ),
    ]
