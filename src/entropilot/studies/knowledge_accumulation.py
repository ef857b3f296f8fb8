"""Study of SKA: is there an intrinsic time, a least action, and do classes separate?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.errors import require
from entropilot.learning.characteristic_times import characteristic_times
from entropilot.learning.forward_only import SKANet, SKATrace
from entropilot.learning.knowledge_flow import action, binary_entropy_bits
from entropilot.studies.digit_images import Digits, digits
from entropilot.studies.knowledge_accumulation_figure import draw
from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement, Progress, Scale, Study

LAYERS: Final = (256, 128, 64, 10)
N: Final = 1000
N_TRAIN: Final = 700
KEPT: Final = ("entropy", "tensor_net", "tensor_net_paper", "flow_norm", "cosine")


@dataclass(frozen=True)
class Sizes:
    """How much a scale runs."""

    etas: tuple[float, ...]  # coarse to fine
    reference: float
    horizon: float
    probes: tuple[float, ...]


SIZES: Final = {
    "smoke": Sizes((0.04, 0.02), 0.01, 0.4, (0.0, 0.4)),
    "quick": Sizes(
        (0.04, 0.02, 0.01, 0.005, 0.0025), 0.00125, 2.0, (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
    ),
    "full": Sizes(
        (0.04, 0.02, 0.01, 0.005, 0.0025), 0.000625, 2.0, tuple(np.linspace(0, 2, 21).tolist())
    ),
}


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """Runs at every step size, a probe of the classes along one, and actions of random paths."""
    sizes, found = SIZES[scale], digits()
    found = Digits(found.images[:N], found.labels[:N])
    runs: dict[str, SKATrace] = {}
    for i, eta in enumerate((*sizes.etas, sizes.reference)):
        progress(0.8 * i / (len(sizes.etas) + 1), f"eta = {eta:g}")
        net = SKANet(LAYERS, 64, seed=seed)
        runs[f"{eta:g}"] = net.fit(found.images, eta, round(sizes.horizon / eta))
    progress(0.8, "probes of the layers")
    return {
        "runs": {name: _summary(trace, sizes.etas[0]) for name, trace in runs.items()},
        "deviation": _deviations(runs, sizes),
        "probes": _probes(found, sizes, seed),
        "action": _actions(seed),
    }


def _summary(trace: SKATrace, grid: float) -> dict[str, Any]:
    """Curves on the coarsest grid of times, and the characteristic times."""
    times = characteristic_times(trace)
    every = round(grid / trace.eta)
    shown = np.arange(0, len(trace.time), every)
    rate = {
        "entropy": 1 / trace.eta,
        "tensor_net": 1 / trace.eta,
        "tensor_net_paper": 1 / trace.eta,
    }
    return {
        "time": trace.time[shown],
        **{
            name: np.array([[float(f"{v:.5g}") for v in row] for row in
                            trace.metrics[name][:, shown] * rate.get(name, 1.0)])
            for name in KEPT
        },
        "entropy_minimum": times.entropy_minimum,
        "flow_peak": times.flow_peak,
        "crossings": [c.tolist() for c in times.net_crossings],
        "crossings_paper": [c.tolist() for c in times.net_crossings_paper],
    }  # fmt: skip


def _deviations(runs: dict[str, SKATrace], sizes: Sizes) -> dict[str, list[float]]:
    """Largest relative distance of H / eta from the reference, by layer."""
    fine = runs[f"{sizes.reference:g}"]
    found = {}
    for eta in sizes.etas:
        trace = runs[f"{eta:g}"]
        gaps = []
        for own, other in zip(trace.metrics["entropy"], fine.metrics["entropy"], strict=True):
            expected = np.interp(trace.time, fine.time, other / fine.eta)
            gaps.append(float(np.abs(own / eta - expected).max() / np.abs(expected).max()))
        found[f"{eta:g}"] = gaps
    return found


def _probes(found: Digits, sizes: Sizes, seed: int) -> list[dict[str, Any]]:
    """Test accuracy of a logistic probe on every layer, and how saturated the layer is."""
    linear = require("sklearn.linear_model", extra="learn", purpose="the probe")
    rows = []
    for time in sizes.probes:
        net = SKANet(LAYERS, 64, seed=seed)
        if time > 0:
            net.fit(found.images, 0.01, max(2, round(time / 0.01)))
        accuracy, saturation = [], []
        for features in net.features(found.images):
            x = features.numpy()
            spread_of = x[:N_TRAIN].std(0)
            x = (x - x[:N_TRAIN].mean(0)) / np.where(spread_of > 0, spread_of, 1.0)
            model = linear.LogisticRegression(max_iter=300)
            model.fit(x[:N_TRAIN], found.labels[:N_TRAIN])
            accuracy.append(float(model.score(x[N_TRAIN:], found.labels[N_TRAIN:])))
            saturation.append(float((2 * features - 1).abs().mean()))
        rows.append({"time": time, "accuracy": accuracy, "saturation": saturation})
    return rows


def _actions(seed: int) -> list[dict[str, float]]:
    """Actions of a straight and of a wandering path with the same ends."""
    rng, t = np.random.default_rng(seed), np.linspace(0, 1, 10_001)
    rows = []
    for _ in range(5):
        start, end = rng.normal(size=2) * 3
        straight = start + (end - start) * t
        waves = sum(rng.normal() * np.sin(k * np.pi * t) for k in range(1, 5))
        rows.append({
            "straight": action(straight), "wandering": action(straight + 2 * waves),
            "ends": float(np.diff(binary_entropy_bits([start, end]))[0]),
        })  # fmt: skip
    return rows


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Eight statements; means over seeds, ranges in brackets."""
    etas = sorted((float(e) for e in measurements[0]["deviation"]), reverse=True)
    shown = f"{min(etas, key=lambda e: abs(e - 0.01)):g}"
    finer = f"{max((e for e in etas if e < float(shown)), default=float(shown)):g}"
    return [
        *_invariance(measurements, etas, shown, finer),
        _coincidence(measurements, shown),
        *_crossings(measurements, shown),
        *_least_action(measurements),
        _separation(measurements),
    ]


def _invariance(
    measurements: Sequence[Measurement], etas: Sequence[float], shown: str, finer: str
) -> list[Finding]:
    coarse = etas[0]
    orders, gaps = [], []
    for m in measurements:
        first, second = m["deviation"][f"{coarse:g}"][0], m["deviation"][shown][0]
        ratio = np.log(coarse / float(shown))
        orders.append(float(np.log(first / second) / ratio) if ratio else float("nan"))
        gaps.append(max(m["deviation"][shown]))
    moved = [
        float(np.abs(_row(m, shown, "entropy_minimum") - _row(m, finer, "entropy_minimum")).max())
        for m in measurements
    ]
    times = [_row(m, shown, "entropy_minimum") for m in measurements]
    return [
        Finding(
            "Runs with the same eta K follow one trajectory, to first order in eta",
            f"order of convergence of H / eta in layer 1 {spread(orders, '.2f')}; largest "
            f"deviation of any layer at eta = {shown} {spread(gaps, '.3f')}",
            "order in [0.8, 1.3]",
            all(0.8 <= o <= 1.3 for o in orders),
        ),
        Finding(
            "Layers have characteristic times that do not depend on eta",
            f"least entropy at t = {_by_layer(times)}; moved by at most {spread(moved, '.3f')} "
            f"between eta = {shown} and {finer}",
            "by at most 0.02",
            max(moved) <= 0.02,
        ),
    ]


def _coincidence(measurements: Sequence[Measurement], shown: str) -> Finding:
    gaps = [
        float(np.abs(_row(m, shown, "entropy_minimum") - _row(m, shown, "flow_peak")).max())
        for m in measurements
    ]
    return Finding(
        "Knowledge flows fastest where the entropy is least",
        f"times differ by at most {spread(gaps, '.3f')}",
        "by at most 0.02 in every layer",
        max(gaps) <= 0.02,
    )


def _crossings(measurements: Sequence[Measurement], shown: str) -> list[Finding]:
    code = [m["runs"][shown]["crossings"] for m in measurements]
    paper = [m["runs"][shown]["crossings_paper"] for m in measurements]
    once = all(len(layer) == 1 for run in code for layer in run)
    return [
        Finding(
            "The tensor net crosses zero once in every layer, with the code's sign",
            f"at t = {_crossing_times(code)}",
            "once in each layer",
            once,
        ),
        Finding(
            "It does with the sign that the paper prints",
            f"crossings by layer: {_crossing_times(paper)}",
            "once in each layer",
            all(len(layer) == 1 for run in paper for layer in run),
        ),
    ]


def _least_action(measurements: Sequence[Measurement]) -> list[Finding]:
    rows = [r for m in measurements for r in m["action"]]
    off = [abs(r[k] - r["ends"]) for r in rows for k in ("straight", "wandering")]
    return [
        Finding(
            "The action of a path is the change of binary entropy between its ends",
            f"largest difference {max(off):.0e} bits over {2 * len(rows)} paths",
            "within 1e-6 bits",
            max(off) < 1e-6,
            check=True,
        ),
        Finding(
            "A principle of least action selects the trajectory",
            "straight and wandering paths with the same ends have the same action (to "
            f"{max(abs(r['straight'] - r['wandering']) for r in rows):.0e} bits): every path obeys "
            "the Euler-Lagrange equation",
            "the trajectory has a smaller action than others",
            False,
        ),
    ]


def _separation(measurements: Sequence[Measurement]) -> Finding:
    def layers(time: int) -> NDArray[np.float64]:
        return np.array([m["probes"][time]["accuracy"] for m in measurements])

    before, after = layers(0), layers(-1)
    best = np.max([layers(i).mean(0) for i in range(len(measurements[0]["probes"]))], axis=0)
    gains = best - before.mean(0)
    said = "; ".join(
        f"layer {i + 1}: {a:.2f} to {b:.2f}"
        for i, (a, b) in enumerate(zip(before.mean(0), after.mean(0), strict=True))
    )
    return Finding(
        "Classes separate as knowledge accumulates",
        f"accuracy of a linear probe, start to end: {said}; best gain of any layer at any time "
        f"{gains.max():+.3f}",
        "the last layer gains at least 0.05, and keeps it",
        bool((after - before)[:, -1].min() >= 0.05),
    )


def _row(m: Measurement, eta: str, name: str) -> NDArray[np.float64]:
    return np.asarray(m["runs"][eta][name], float)


def _by_layer(times: Sequence[NDArray[np.float64]]) -> str:
    return ", ".join(f"{v:.2f}" for v in np.mean(times, axis=0))


def _crossing_times(runs: Sequence[Sequence[Sequence[float]]]) -> str:
    said = []
    for layer in range(len(runs[0])):
        counts = [len(run[layer]) for run in runs]
        times = [run[layer][0] for run in runs if run[layer]]
        if max(counts) == 0:
            said.append("none")
        else:
            many = "" if max(counts) == 1 else f" ({min(counts)} to {max(counts)} crossings)"
            said.append(f"{np.mean(times):.2f}{many}")
    return ", ".join(said)


STUDY = Study(
    slug="ska",
    title="Forward-only learning as steps down an entropy",
    paper="2504.03214",
    claim=(
        "Step size is a time step: the course depends on eta times steps alone, layers settle at "
        "characteristic times where entropy is least and knowledge flows fastest, a principle of "
        "least action rules it, and output classes separate."
    ),
    scales={
        "smoke": "two step sizes to time 0.4; seconds",
        "quick": "six step sizes to time 2, eight probes; 1 min a seed",
        "full": "a finer reference and 21 probes; 4 min a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "The first 1,000 of scikit-learn's digits in [0, 1] instead of MNIST; their input norm is "
        "smaller, so that clocks run slower than the paper's 0.5. Seeds draw the first weights. "
        "Curves are H / eta against t = eta k, as the continuum limit asks. A logistic probe with "
        "standardised inputs (700 for training, 300 for testing) reads the classes off a layer."
    ),
)
