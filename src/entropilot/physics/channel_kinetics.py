"""An ion channel in time: sensor, gate and ions in the pore, between two baths.

A state is (sensor, gate, ions). Every move keeps local detailed balance, w(i->j) / w(j->i) = exp of
the free energy that it lets go, so that at equal electrochemical potentials of the baths the
stationary state is that of maximum entropy, and apart from it

    entropy production = current x (mu_in - mu_out)

holds for the moves one can tell apart. Ions that enter from inside and from outside make the same
change of state; an observer of states alone can't tell them apart and sees less production.

Units: k_B T = 1, e = 1, time in ms, potentials in k_B T / e (25.3 mV at 20 C). Ions cross a real
pore a thousand times faster than here; slowed down, single crossings can be seen.

Legend: N channels, n states, K kinds of move, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from entropilot.errors import InputError

Floats = NDArray[np.float64]

MOVES: Final = ("sensor", "gate", "enters from inside", "leaves to inside", "enters from outside",
                "leaves to outside")  # fmt: skip
BACK: Final = np.array([0, 1, 3, 2, 5, 4])  # the kind of the reversed move
#: Charge through each mouth, outward, by kind of move.
INNER: Final = np.array([0, 0, 1, -1, 0, 0])
OUTER: Final = np.array([0, 0, 0, 0, -1, 1])


@dataclass(frozen=True)
class ChannelModel:
    """Energies and rates of a channel.

    Attributes:
        sites: places for ions in the pore.
        gating_charge: e moved by the sensor.
        opening: free energy of opening with the sensor down, k_B T.
        coupling: by how much the raised sensor eases opening, k_B T.
        site_energy: of an ion in the pore, k_B T.
        inside, outside: concentrations of the baths against a common standard.
        sensor_rate, gate_rate, ion_rate: attempts a ms.
        dt: a step, ms.
    """

    sites: int = 3
    gating_charge: float = 3.0
    opening: float = 3.0
    coupling: float = 5.0
    site_energy: float = 0.0
    inside: float = 1.0
    outside: float = 1.0
    sensor_rate: float = 0.2
    gate_rate: float = 0.5
    ion_rate: float = 8.0
    dt: float = 0.004

    def __post_init__(self) -> None:
        """Reject what is no channel."""
        if not 1 <= self.sites <= 20:
            raise InputError(f"sites = {self.sites}, expected 1 to 20")
        for name in ("inside", "outside", "sensor_rate", "gate_rate", "ion_rate", "dt"):
            if not getattr(self, name) > 0 or not np.isfinite(getattr(self, name)):
                raise InputError(f"{name} = {getattr(self, name)}, expected a number above 0")

    @property
    def n_states(self) -> int:
        """Sensor x gate x occupancies."""
        return 4 * (self.sites + 1)

    def parts(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """[n] sensor (0 down, 1 up), gate (0 closed, 1 open) and ions of every state."""
        index = np.arange(self.n_states)
        size = self.sites + 1
        return index // (2 * size), index // size % 2, index % size

    def potentials(self, voltage: float) -> tuple[float, float]:
        """Electrochemical potentials of an ion inside and outside; half the voltage on each."""
        return float(np.log(self.inside) + voltage / 2), float(np.log(self.outside) - voltage / 2)


@dataclass(frozen=True)
class Moves:
    """All moves of a channel at one voltage.

    Attributes:
        target: [n, K] state after; the state itself where there is no such move.
        probability: [n, K] a step.
    """

    target: NDArray[np.int64]
    probability: Floats

    def chain(self) -> Floats:
        """[n, n] transition probabilities of one step."""
        n = len(self.target)
        made = np.zeros((n, n))
        np.add.at(made, (np.arange(n)[:, None], self.target), self.probability)
        made[np.arange(n), np.arange(n)] = 0.0
        made[np.arange(n), np.arange(n)] = 1.0 - made.sum(axis=1)
        return made

    def current(self, p: Floats) -> float:
        """Mean charge outward a step, the mean of both mouths."""
        return float((p @ self.probability) @ (INNER + OUTER) / 2)


def channel_moves(model: ChannelModel, voltage: float) -> Moves:
    """Moves of a channel and their probabilities in one step.

        sensor, gate:   k exp(-dE / 2)
        ion enters:     k (M - ions) exp((mu - eps) / 2)
        ion leaves:     k ions exp(-(mu - eps) / 2)          only where the gate is open

    Args:
        model: energies and rates.
        voltage: inside against outside, k_B T / e.

    Raises:
        InputError: a step in which a channel would move with probability above 1.

    Examples:
        >>> channel_moves(ChannelModel(), 2.0).chain().shape
        (16, 16)
    """
    if not np.isfinite(voltage):
        raise InputError(f"voltage = {voltage}, expected a finite number")
    sensor, is_open, ions = model.parts()
    index, size = np.arange(model.n_states), model.sites + 1
    energy = _energy(model, voltage)
    target = np.tile(index[:, None], (1, len(MOVES)))
    rate = np.zeros(target.shape)
    target[:, 0] = index + np.where(sensor == 0, 2 * size, -2 * size)
    target[:, 1] = index + np.where(is_open == 0, size, -size)
    for kind, attempts in ((0, model.sensor_rate), (1, model.gate_rate)):
        rate[:, kind] = attempts * np.exp((energy - energy[target[:, kind]]) / 2)
    for kind, mu in zip((2, 4), model.potentials(voltage), strict=True):
        gain = (mu - model.site_energy) / 2
        can_enter = (is_open == 1) & (ions < model.sites)
        can_leave = (is_open == 1) & (ions > 0)
        target[:, kind] = index + can_enter
        target[:, kind + 1] = index - can_leave
        rate[:, kind] = model.ion_rate * (model.sites - ions) * np.exp(gain) * can_enter
        rate[:, kind + 1] = model.ion_rate * ions * np.exp(-gain) * can_leave
    probability = rate * model.dt
    busiest = float(probability.sum(axis=1).max())
    if busiest > 1:
        raise InputError(
            f"dt = {model.dt} ms: a channel would move with probability {busiest:.3g} a step at "
            f"voltage {voltage}; use dt <= {model.dt / busiest:.2g}"
        )
    return Moves(target, probability)


def _energy(model: ChannelModel, voltage: float) -> Floats:
    """[n] energy of sensor and gate; that of the ions is in the rates, with their baths."""
    sensor, is_open, _ = model.parts()
    made: Floats = (
        -model.gating_charge * voltage * (sensor - 0.5)
        + model.opening * is_open
        - model.coupling * sensor * is_open
    )
    return made


def production_of_moves(moves: Moves, p: Floats) -> float:
    """Entropy production of one step, nats, of an observer who sees the kind of every move.

        sum_{i, k} p_i w_k(i) log( p_i w_k(i) / (p'_j w_back(j)) ), with staying as one more kind

    Args:
        moves: of the channel.
        p: [n] distribution before the step.

    Examples:
        >>> from entropilot.information import stationary
        >>> rest = channel_moves(ChannelModel(), 0.0)
        >>> production_of_moves(rest, stationary(rest.chain())) < 1e-12
        True
    """
    after = p @ moves.chain()
    flow = p[:, None] * moves.probability
    back = after[moves.target] * moves.probability[moves.target, BACK[None, :]]
    stay = 1.0 - moves.probability.sum(axis=1)
    flow = np.concatenate([flow, (p * stay)[:, None]], axis=1)
    back = np.concatenate([back, (after * stay)[:, None]], axis=1)
    held = flow > 0
    flow, ratio = flow[held], back[held] / flow[held]
    return max(float((flow * (ratio - 1 - np.log(ratio))).sum() + 1 - (flow * ratio).sum()), 0.0)


@njit(cache=True, nogil=True)
def _advance(
    states: NDArray[np.int64], draws: Any, target: Any, cumulative: Any, seen: NDArray[np.int64]
) -> None:
    """Steps of all channels, in place; counts the moves by kind."""
    kinds = cumulative.shape[1]
    for t in range(draws.shape[0]):
        for i in range(len(states)):
            u = draws[t, i]
            state = states[i]
            if u < cumulative[state, kinds - 1]:
                kind = 0
                while cumulative[state, kind] <= u:
                    kind += 1
                seen[kind] += 1
                states[i] = target[state, kind]


def advance_channels(
    states: ArrayLike, moves: Moves, steps: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Move every channel by some steps.

    Args:
        states: [N].
        moves: at the voltage of these steps.
        steps: S.
        rng: draws S x N numbers.

    Returns:
        [N] states after, [K] number of moves of each kind.

    Examples:
        >>> rest = channel_moves(ChannelModel(), 0.0)
        >>> after, seen = advance_channels([0, 0], rest, 10, np.random.default_rng(0))
        >>> after.shape, seen.shape
        ((2,), (6,))
    """
    made = np.array(states, dtype=np.int64)
    seen = np.zeros(len(MOVES), dtype=np.int64)
    draws = rng.random((steps, len(made)))
    _advance(made, draws, moves.target, np.cumsum(moves.probability, axis=1), seen)
    return made, seen
