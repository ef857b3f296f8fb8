"""The Monte Carlo twin of the dilute gas."""

from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.physics.dilute_gas import DiluteGasDSMC


def test_energy_stays_and_collisions_come_at_the_rate_of_kinetic_theory() -> None:
    gas = DiluteGasDSMC(20_000, 0.5, seed=1, fill=1.0)
    energy = (gas.velocities**2).sum()
    gas.advance(1.0)
    assert (gas.velocities**2).sum() == pytest.approx(energy, rel=1e-12)
    assert 2 * gas.collisions / gas.n / gas.rate == pytest.approx(1, abs=0.03)
    assert ((gas.positions >= 0) & (gas.positions <= 1)).all()


def test_a_seed_is_a_run() -> None:
    runs = [DiluteGasDSMC(500, 1.0, seed=3) for _ in range(2)]
    for gas in runs:
        gas.advance(0.3)
    assert (runs[0].positions == runs[1].positions).all()
    assert (runs[0].velocities == runs[1].velocities).all()


def test_the_gas_spreads_over_the_slit() -> None:
    gas = DiluteGasDSMC(20_000, 1.0)
    assert gas.positions[:, 0].max() <= 0.5
    gas.advance(4.0)
    counts = np.histogram(gas.positions[:, 0], 4, (0, 1))[0] / gas.n
    np.testing.assert_allclose(counts, 0.25, atol=0.02)


def test_bad_input() -> None:
    for how, message in (
        ({"n": 1, "kn": 1.0}, "at least 2"),
        ({"n": 9, "kn": 0.0}, "kn = 0.0"),
        ({"n": 9, "kn": 1.0, "fill": 2.0}, "fill = 2.0"),
    ):
        with pytest.raises(InputError, match=message):
            DiluteGasDSMC(**how)
    with pytest.raises(InputError, match="dt = -1"):
        DiluteGasDSMC(9, 1.0).advance(-1)
