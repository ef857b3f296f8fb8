"""What the stored numbers of the fish study say, the published ones beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from entropilot.physics.fish_school_metrics import ENTROPIES
from entropilot.studies.seed_numbers import spread
from entropilot.studies.study import Finding, Measurement

Floats = NDArray[np.float64]

STATES: Final = ("swarm", "torus", "dynamic_parallel", "highly_parallel")
#: Means over the second half of one run each: P and M from the statistics that the authors keep
#: with the paper's first figure; OSI from the abstract.
PUBLISHED: Final[Mapping[str, Mapping[str, float]]] = {
    "swarm": {"polarization": 0.0804, "rotation": 0.0641, "oceanic_schooling_index": 0.71},
    "torus": {"polarization": 0.7430, "rotation": 0.2758},
    "dynamic_parallel": {"polarization": 0.9838, "rotation": 0.1897},
    "highly_parallel": {
        "polarization": 0.9972,
        "rotation": 0.2088,
        "oceanic_schooling_index": 0.24,
    },
}
SHORT: Final = {"polarization": "P", "rotation": "M", "oceanic_schooling_index": "OSI"}


def judge(measurements: Sequence[Measurement]) -> list[Finding]:
    """Findings of the claim's statements, then the comparison with the published numbers."""
    return [
        _swarm(measurements),
        _highly_parallel(measurements),
        _ranking(measurements),
        _told_apart(measurements),
        _torus_mills(measurements),
        _dynamic_parallel(measurements),
        _torus_decays(measurements),
        *(_beside(measurements, state) for state in STATES),
    ]


def second_half(measurements: Sequence[Measurement], state: str, metric: str) -> Floats:
    """Second-half mean of a metric in each seed.

    Examples:
        >>> one = {"states": {"swarm": {"mean": {"spread": 13.0}}}}
        >>> second_half([one], "swarm", "spread").tolist()
        [13.0]
    """
    return np.array([m["states"][state]["mean"][metric] for m in measurements], dtype=float)


def profile(measurement: Measurement, state: str) -> Floats:
    """The seven entropies of a state, means over the second half.

    Examples:
        >>> profile({"states": {"torus": {"mean": dict.fromkeys(ENTROPIES, 0.5)}}}, "torus").size
        7
    """
    mean = measurement["states"][state]["mean"]
    return np.array([mean[name] for name in ENTROPIES], dtype=float)


def _swarm(measurements: Sequence[Measurement]) -> Finding:
    p = second_half(measurements, "swarm", "polarization")
    osi = second_half(measurements, "swarm", "oceanic_schooling_index")
    return Finding(
        "The swarm has no common heading and a high index",
        f"P {spread(p)}, OSI {spread(osi)}",
        "P < 0.12 and OSI 0.69 to 0.73 (published: P < 0.1, OSI 0.71)",
        bool(p.mean() < 0.12 and 0.69 <= osi.mean() <= 0.73),
    )


def _highly_parallel(measurements: Sequence[Measurement]) -> Finding:
    p = second_half(measurements, "highly_parallel", "polarization")
    osi = second_half(measurements, "highly_parallel", "oceanic_schooling_index")
    h = second_half(measurements, "highly_parallel", "velocity_correlation_entropy")
    return Finding(
        "The highly parallel group has one heading, a low index and no spread of correlations",
        f"P {spread(p)}, OSI {spread(osi)}, velocity-correlation entropy {spread(h, '.4f')}",
        "P >= 0.99, OSI 0.20 to 0.32, entropy <= 0.02 (published: 0.998, 0.24, 0)",
        bool(p.mean() >= 0.99 and 0.20 <= osi.mean() <= 0.32 and h.mean() <= 0.02),
    )


def _ranking(measurements: Sequence[Measurement]) -> Finding:
    osi = np.array(
        [second_half(measurements, state, "oceanic_schooling_index") for state in STATES]
    )
    means = osi.mean(axis=1)
    kept = int((np.diff(osi, axis=0) < 0).all(axis=0).sum())
    return Finding(
        "The index falls from swarm over torus and dynamic parallel to highly parallel",
        f"{' > '.join(f'{v:.3f}' for v in means)} in the mean, in this order in "
        f"{kept} of {osi.shape[1]} seeds",
        "descending in the mean over seeds",
        bool((np.diff(means) < 0).all()),
    )


def _told_apart(measurements: Sequence[Measurement]) -> Finding:
    far = np.array(
        [np.linalg.norm(profile(m, "torus") - profile(m, "dynamic_parallel")) for m in measurements]
    )
    osi = second_half(measurements, "torus", "oceanic_schooling_index")
    order = [
        second_half(measurements, state, "order_index") for state in ("torus", "dynamic_parallel")
    ]
    return Finding(
        "Seven entropies tell the torus configuration from dynamic parallel",
        f"distance of the seven {spread(far)}, OSI of the torus {spread(osi)}; larger of P and M: "
        f"{spread(order[0])} against {spread(order[1])}",
        "distance > 0.4, OSI of the torus 0.42 to 0.70",
        bool((far > 0.4).all() and 0.42 <= osi.mean() <= 0.70),
    )


def _torus_mills(measurements: Sequence[Measurement]) -> Finding:
    m = second_half(measurements, "torus", "rotation")
    whole = np.array([x["states"]["torus"]["rotation_unwrapped_mean"] for x in measurements])
    p = second_half(measurements, "torus", "polarization")
    return Finding(
        "The torus configuration is a mill in the second half of its run",
        f"M {spread(m)} ({spread(whole)} about the centre in one piece), P {spread(p)}",
        "M > 0.5, as the published wording has it (its own statistics: M 0.276, P 0.743)",
        bool(m.mean() > 0.5 or whole.mean() > 0.5),
    )


def _dynamic_parallel(measurements: Sequence[Measurement]) -> Finding:
    p = second_half(measurements, "dynamic_parallel", "polarization")
    osi = second_half(measurements, "dynamic_parallel", "oceanic_schooling_index")
    return Finding(
        "The dynamic parallel group shares a heading loosely",
        f"P {spread(p)}, OSI {spread(osi)}",
        "P 0.95 to 0.99, OSI 0.25 to 0.38",
        bool(0.95 <= p.mean() <= 0.99 and 0.25 <= osi.mean() <= 0.38),
        check=True,
    )


def _torus_decays(measurements: Sequence[Measurement]) -> Finding:
    start = np.array([m["states"]["torus"]["rotation_start"] for m in measurements])
    late = second_half(measurements, "torus", "rotation")
    times = [m["states"]["torus"]["time_below_half"] for m in measurements]
    fell = [t for t in times if t is not None]
    when = f"; below 0.5 from t = {min(fell):g} to {max(fell):g} on" if fell else ""
    return Finding(
        "The ring that the torus starts from decays",
        f"M {start.mean():.3f} at the start, {spread(late)} in the second half{when}",
        "0.952 at the start, < 0.4 in the second half",
        bool(abs(start.mean() - 0.952) < 0.001 and late.mean() < 0.4),
        check=True,
    )


def _beside(measurements: Sequence[Measurement], state: str) -> Finding:
    names = PUBLISHED[state]
    return Finding(
        f"Beside the published run: {state.replace('_', ' ')}",
        ", ".join(
            f"{SHORT[name]} {spread(second_half(measurements, state, name))}" for name in names
        ),
        ", ".join(f"{SHORT[name]} {value:g}" for name, value in names.items()),
        None,
    )
