"""Study: which of two mechanisms produces the Boltzmann entropy of an expanding gas.

Free motion shears the gas over velocity cells and produces entropy at a rate proportional to their
width; collisions produce it at Boltzmann's rate, whatever the cells. Source: arXiv 2403.07519
(Garrido, Goldstein, Huse, Lebowitz). The paper's sizes and figures were not at hand: sizes are ours,
and the laws are those derived in ``physics/phase_space.py``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from entropilot.physics.dilute_gas import DiluteGasDSMC
from entropilot.physics.gas_expansion import PhaseCells, entropy_of, expanding_gas
from entropilot.physics.hard_discs import HardDiscGas, IdealGas, free_expansion
from entropilot.physics.phase_space import SparseCellsWarning, diameter_for, pooled_counts
from entropilot.studies.boltzmann_gas_figure import draw
from entropilot.studies.boltzmann_gas_judge import judge
from entropilot.studies.study import Measurement, Progress, Scale, Study

WIDTHS: Final = (0.5, 1.0, 2.0)
KNUDSEN: Final = (2.0, 0.2, 0.02)
PAIRS: Final = ((2.0, 0.5), (4.0, 0.25), (8.0, 0.125), (16.0, 0.0625))  # R = 1.2533 in each
TAU: Final = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
SIZES: Final[dict[Scale, dict[str, int]]] = {
    "smoke": {"ideal": 20_000, "discs": 1_000, "runs": 1, "dsmc": 20_000, "frames": 6},
    "quick": {"ideal": 1_000_000, "discs": 20_000, "runs": 3, "dsmc": 2_000_000, "frames": 30},
    "full": {"ideal": 10_000_000, "discs": 1_000_000, "runs": 8, "dsmc": 20_000_000, "frames": 60},
}


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """All four experiments of one seed."""
    size = SIZES[scale]
    with warnings.catch_warnings():  # narrow cells are sparse; Miller-Madow corrects for it
        warnings.simplefilter("ignore", SparseCellsWarning)
        progress(0.0, "ideal gas")
        ideal = [_ideal(size["ideal"], width, 1000 * seed) for width in WIDTHS]
        discs = []
        for k, kn in enumerate(KNUDSEN):
            progress(0.15 + 0.2 * k, f"discs at Kn = {kn}")
            discs.append(_discs(size, kn, 1000 * seed))
        progress(0.75, "reversal")
        reversal = _reversals(size["discs"], 1000 * seed)
        scaling = []
        for k, (kn, width) in enumerate(PAIRS):
            progress(0.8 + 0.05 * k, f"scaling at cells of {width}")
            scaling.append(_scaling(size["dsmc"], kn, width, 1000 * seed + k))
    progress(1.0, "done")
    return {
        "scale": scale,
        "sizes": dict(size),
        "ideal": ideal,
        "discs": discs,
        "reversal": reversal,
        "scaling": scaling,
    }


def _ideal(n: int, width: float, seed: int) -> dict[str, Any]:
    gas = free_expansion(IdealGas(n, (0.5, 1.0), seed=seed), (0.5, 1.0), (1.0, 1.0))
    cells = PhaseCells(64, width)
    start = entropy_of(cells.counts(gas))
    gained = []
    for tau in TAU:
        gas.advance(tau / width - gas.time)
        gained.append(entropy_of(cells.counts(gas)) - start)
    return {"width": width, "tau": list(TAU), "gain": _rounded(gained)}


def _discs(size: dict[str, int], kn: float, seed: int) -> dict[str, Any]:
    n, frames = size["discs"], size["frames"]
    times = [0.0, 0.05, *np.linspace(0, 3, frames + 1)[1:]]
    cells = [PhaseCells(20, width) for width in WIDTHS]
    made: list[list[list[Any]]] = [[[] for _ in times] for _ in WIDTHS]
    density = np.zeros((len(times), 40))
    collisions = 0
    for run in range(size["runs"]):
        gas = expanding_gas(n, diameter_for(kn, n), seed=seed + run)
        for k, time in enumerate(times):
            gas.advance(max(time - gas.time, 0.0))
            for row, cut in zip(made, cells, strict=True):
                row[k].append(cut.counts(gas))
            density[k] += np.histogram(gas.positions[:, 0], 40, (0, 1))[0]
        collisions += gas.stats.collisions
    entropies = [[entropy_of(pooled_counts(runs)) for runs in row] for row in made]
    shown = [int(np.argmin(np.abs(np.array(times) - t))) for t in (0.0, 0.3, 1.0, 3.0)]
    return {
        "kn": kn,
        "time": _rounded(times),
        "gain": [_rounded(np.array(row) - row[0]) for row in entropies],
        "collisions_a_disc": 2 * collisions / (size["runs"] * n),
        "density_time": _rounded(np.array(times)[shown]),
        "density": [_rounded(row) for row in density[shown] * 40 / (size["runs"] * n)],
    }


def _reversals(n: int, seed: int) -> dict[str, Any]:
    few = HardDiscGas(400, math.sqrt(4 * 0.05 / (math.pi * 400)), seed=seed)
    positions = []
    for duration in (0.1, 0.2, 0.5):
        gas = HardDiscGas(few.n, few.sigma, x=few.positions, v=few.velocities)
        gas.advance(duration)
        collided = 2 * gas.stats.collisions / gas.n
        gas.reverse()
        gas.advance(duration)
        error = float(np.abs(gas.positions - few.positions).max())
        positions.append({"time": duration, "collisions_a_disc": collided, "error": error})
    cells = PhaseCells(20, 1.0)
    entropies = []
    for kn, duration in ((2.0, 0.5), (2.0, 1.0), (0.5, 0.5), (0.2, 0.5)):
        gas = expanding_gas(n, diameter_for(kn, n), seed=seed)
        start = entropy_of(cells.counts(gas))
        gas.advance(duration)
        collided = 2 * gas.stats.collisions / n
        gained = entropy_of(cells.counts(gas)) - start
        gas.reverse()
        gas.advance(duration)
        left = entropy_of(cells.counts(gas)) - start
        entropies.append(
            {"kn": kn, "time": duration, "collisions_a_disc": collided}
            | {"gain": gained, "left": left}
        )
    return {"positions": positions, "entropies": entropies}


def _scaling(n: int, kn: float, width: float, seed: int) -> dict[str, Any]:
    gas = DiluteGasDSMC(n, kn, seed)
    cells = PhaseCells(64, width, width_y=0.5)
    start = entropy_of(cells.counts(gas))
    gained = []
    for tau in (0.25, 0.5, 1.0, 2.0):
        gas.advance(tau / width - gas.time)
        gained.append(entropy_of(cells.counts(gas)) - start)
    return {"kn": kn, "width": width, "tau": [0.25, 0.5, 1.0, 2.0], "gain": _rounded(gained)}


def _rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


STUDY = Study(
    slug="boltzmann-gas",
    title="Boltzmann entropy of an expanding gas",
    paper="2403.07519",
    claim=(
        "Two mechanisms produce the entropy of a dilute gas: free motion, at a rate proportional to "
        "the width of the velocity cells, which matters while the mean free path is longer than the "
        "inhomogeneity; and collisions, at Boltzmann's rate whatever the cells. With both, the "
        "entropy has a scaling form in the ratio of the two rates. It ends at ln 2 per particle."
    ),
    scales={
        "smoke": "1,000 discs, seconds",
        "quick": "20,000 discs x 3 runs, ideal gas of 1e6, Monte Carlo of 2e6; about 2 minutes",
        "full": "1e6 discs x 8 runs, 1e7 and 2e7 particles; hours on one core",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "Only the paper's abstract was at hand: sizes, cells and the closed scaling function are "
        "ours, derived in the limit of small cells and a large Knudsen number."
    ),
)
