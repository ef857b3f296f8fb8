"""Study of maximum entropy for states and paths: an ion channel, a gate under force, a ring.

Information added step by step to a channel; a two-state gate simulated under driving forces beside
the derivatives of its process free energy; entropy production of a ring from counted transitions.
"""

from __future__ import annotations

from math import lgamma
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from entropilot.information import (
    driven_chain,
    entropy_production,
    entropy_production_from_counts,
    lumped_chain,
    maxent,
    maxent_ladder,
    path_free_energy,
    relative_entropy,
    relaxation_information,
    response,
    simulate_chain,
    stationary,
    transition_counts,
)
from entropilot.physics.channel_kinetics import (
    ChannelModel,
    channel_moves,
    production_of_moves,
)
from entropilot.studies.process_free_energy_figure import draw
from entropilot.studies.process_free_energy_judge import judge
from entropilot.studies.study import Measurement, Progress, Scale, Study

Floats = NDArray[np.float64]

A, B = 0.1, 0.2  # opening and closing
FORCES: Final = (-1.0, 0.0, 0.5, 1.0)
STEP: Final = 0.1  # of the force, for the response
BATCH: Final = 1000  # steps; the correlation time is -1 / log 0.7 = 2.8
RING: Final = (0.3, 0.1)
RING_PATHS: Final = 20
SIZES: Final[dict[Scale, tuple[int, int, tuple[int, ...]]]] = {  # steps, steps for responses, ring
    "smoke": (50_000, 50_000, (1000, 3000)),
    "quick": (1_000_000, 20_000_000, (1000, 10_000, 100_000, 1_000_000)),
    "full": (10_000_000, 200_000_000, (1000, 10_000, 100_000, 1_000_000, 10_000_000)),
}
GATE: Final = np.array([[1 - A, A], [B, 1 - B]])
OPEN: Final = np.array([0.0, 1.0])


def measure(scale: Scale, seed: int, progress: Progress) -> Measurement:
    """One seed of all parts."""
    rng = np.random.default_rng(seed)
    steps, longer, sizes = SIZES[scale]
    progress(0.0, "ladder")
    ladder = _ladder(rng)
    forces = []
    for k, lam in enumerate(FORCES):
        progress(0.05 + 0.7 * k / len(FORCES), f"gate at force {lam:g}")
        forces.append(_force(lam, steps, longer, rng))
    ring = []
    for k, n in enumerate(sizes):
        progress(0.75 + 0.2 * k / len(sizes), f"ring, {n:,} steps")
        ring.append(_ring(n, rng))
    progress(0.98, "channel")
    return {
        "ladder": ladder,
        "forces": forces,
        "ring": ring,
        "exact_ring": (RING[0] - RING[1]) * float(np.log(RING[0] / RING[1])),
        "symmetry": _symmetry(),
        "channel": _channel(),
        "physical": _physical(),
        "alike": _alike(),
    }


def _ladder(rng: np.random.Generator) -> dict[str, Any]:
    """A channel's states under more and more information of a truth that has all couplings."""
    model = ChannelModel()
    sensor, is_open, ions = (x.astype(np.float64) for x in model.parts())
    M = model.sites
    prior = np.exp([lgamma(M + 1) - lgamma(n + 1) - lgamma(M - n + 1) for n in ions])
    energy = -1.2 * sensor + 2.0 * is_open - 2.5 * sensor * is_open - 0.5 * ions * is_open
    truth = prior * np.exp(-energy + 0.5 * rng.standard_normal(len(ions)))
    truth /= truth.sum()
    parts = {
        "mean occupancy": ions,
        "gating charge": model.gating_charge * sensor,
        "occupancy x charge": ions * model.gating_charge * sensor,
        "open share": is_open,
        "open x charge": is_open * sensor,
        "open x occupancy": is_open * ions,
    }
    made = maxent_ladder(list(parts.values()), [truth @ f for f in parts.values()], prior)
    floor = -relative_entropy(truth, prior / prior.sum()) + float(np.log(prior.sum()))
    return {
        "names": list(parts),
        "entropy": made.entropy.tolist(),
        "information": made.information.tolist(),
        "truth": floor,
        "error": float(np.abs(made.information + np.diff(made.entropy)).max()),
        "gap": max(r.gap for r in made.rungs),
    }


def _force(lam: float, steps: int, longer: int, rng: np.random.Generator) -> dict[str, float]:
    """A gate simulated under a force, and beside it."""
    exact = path_free_energy(GATE, OPEN, lam)
    path = simulate_chain(driven_chain(GATE, OPEN, lam).P, steps, rng)[1:]
    batches = path[: steps // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    sides, slopes = [], []
    for sign in (1, -1):
        beside = lam + sign * STEP
        sides.append(_mean(driven_chain(GATE, OPEN, beside).P, longer, rng))
        slopes.append(float(path_free_energy(GATE, OPEN, beside).mean))
    return {
        "lam": lam,
        "psi": exact.value,
        "mean": float(path.mean()),
        "standard_error": float(batches.std(ddof=1) / np.sqrt(len(batches))),
        "exact_mean": float(exact.mean),
        "var_rate": float(BATCH * batches.var(ddof=1)),
        "exact_var_rate": float(exact.var),
        "response": (sides[0] - sides[1]) / (2 * STEP),
        "exact_response": (slopes[0] - slopes[1]) / (2 * STEP),
    }


def _mean(chain: Floats, steps: int, rng: np.random.Generator) -> float:
    """Share of open steps of a long path, kept in pieces."""
    total, done = 0, 0
    state: int | None = None
    while done < steps:
        size = min(steps - done, 2_000_000)
        path = simulate_chain(chain, size, rng, state)
        total += int(path[1:].sum())
        state, done = int(path[-1]), done + size
    return total / steps


def ring_chain(p: float, q: float, n: int = 3) -> Floats:
    """A ring of n states: forward with p, backward with q."""
    ahead = np.roll(np.eye(n), 1, axis=1)
    made: Floats = (1 - p - q) * np.eye(n) + p * ahead + q * ahead.T
    return made


def _ring(n: int, rng: np.random.Generator) -> dict[str, Any]:
    chain = ring_chain(*RING)
    made = [
        entropy_production_from_counts(
            transition_counts(simulate_chain(chain, n, rng), 3), n_resamples=0
        )
        for _ in range(RING_PATHS)
    ]
    return {
        "n": n,
        "plug_in": [m.plug_in for m in made],
        "corrected": [m.rate for m in made],
    }


def _symmetry() -> float:
    """Largest |psi(lam) - psi(-lam - A)| over rings and forces."""
    worst = 0.0
    for p, q in ((0.3, 0.1), (0.2, 0.2), (0.45, 0.05)):
        chain, ahead = ring_chain(p, q), np.roll(np.eye(3), 1, axis=1)
        for lam in (-2.0, -0.5, 0.3, 1.0, 2.0):
            here = path_free_energy(chain, ahead - ahead.T, lam).value
            there = path_free_energy(chain, ahead - ahead.T, -lam - float(np.log(p / q))).value
            worst = max(worst, abs(here - there))
    return worst


def _channel() -> dict[str, Any]:
    """Entropy production as observers see it, and loss of information after a voltage step."""
    model, voltage = ChannelModel(inside=2.0, outside=0.5), 2.0
    moves = channel_moves(model, voltage)
    chain = moves.chain()
    pi = stationary(chain)
    mu_in, mu_out = model.potentials(voltage)
    before = stationary(channel_moves(model, -3.0).chain())
    loss = relaxation_information(chain, before, 2000).loss
    ring, places = ring_chain(*RING, n=12), np.arange(12)
    return {
        "dissipation": moves.current(pi) * (mu_in - mu_out) / model.dt,
        "moves": production_of_moves(moves, pi) / model.dt,
        "states": entropy_production(chain).rate / model.dt,
        "smallest_loss": float(loss.min()),
        "lumped": [
            [12 // size, entropy_production(lumped_chain(ring, places // size)).rate]
            for size in (1, 2, 4, 6)
        ],
    }


def _physical() -> dict[str, float]:
    """A force that changes the rates themselves: the response, and what tilting would say."""

    def gate(h: float) -> Floats:
        a, b = A * np.exp(h / 2), B * np.exp(-h / 2)
        return np.array([[1 - a, a], [b, 1 - b]])

    step = 1e-4
    slope = (stationary(gate(step))[1] - stationary(gate(-step))[1]) / (2 * step)
    return {
        "difference": float(slope),
        "score": response(gate, OPEN, 0.0),
        "tilting": float(path_free_energy(GATE, OPEN, 0.0).var),
    }


def _alike() -> dict[str, float]:
    """Six particles on two sites, labelled and alike: log Z differ by log 6!."""
    N = 6
    labelled = np.array([[b >> k & 1 for k in range(N)] for b in range(2**N)]).sum(axis=1)
    weights = np.exp([-lgamma(n + 1) - lgamma(N - n + 1) for n in range(N + 1)])
    apart, alike = maxent(labelled, 2.0), maxent(np.arange(N + 1), 2.0, weights)
    return {"difference": apart.log_z - alike.log_z, "log_factorial": lgamma(N + 1)}


STUDY = Study(
    slug="statmech",
    title="Maximum entropy for states and paths",
    paper="1105.5662",
    claim=(
        "Statistical mechanics follows from stating what is known, added step by step; for paths "
        "the same gives a process free energy whose derivatives are a fluctuation-dissipation "
        "relation that holds far from equilibrium, and an information loss with a second law."
    ),
    scales={
        "smoke": "paths of 50,000 steps; a second",
        "quick": "4 forces of 10^6 steps and 8 of 2 x 10^7, 80 ring paths to 10^6; 10 s a seed",
        "full": "ten times as many steps; about 2 min a seed (estimated)",
    },
    measure=measure,
    judge=judge,
    draw=draw,
    notes=(
        "Only the abstract and the opening page of the paper could be read; models and formulas "
        "are textbook, and the ion channel is our reading of its example. Responses come from 2 x "
        "10^7 steps a side, where the prototype had 4 x 10^6: at force -1 the noise of the latter "
        "is 2 % of the response, too near to the limit of 3 %."
    ),
)
