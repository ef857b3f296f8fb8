from __future__ import annotations

import numpy as np
import pytest

from entropilot.errors import InputError
from entropilot.information import entropy_production, maxent, stationary
from entropilot.physics.channel_kinetics import (
    INNER,
    OUTER,
    ChannelModel,
    advance_channels,
    channel_moves,
    production_of_moves,
)
from entropilot.physics.ion_channel import gate, neutral_potential, pore, resistor


def test_golden_gates(golden):
    for row in golden("statmech")["boltzmann_gating"]:
        made = gate(row["dG"], row["q"], row["V"])
        assert made.p_open == pytest.approx(row["p_open"], rel=1e-10)
        assert made.slope == pytest.approx(row["dpdV"], rel=1e-10)


def test_golden_pores(golden):
    for row in golden("statmech")["pore"]:
        made = pore(row["sites"], row["mu"], row["eps"])
        assert made.log_xi == pytest.approx(row["lnXi"], rel=1e-10)
        assert made.mean == pytest.approx(row["mean_n"], rel=1e-10)
        assert made.var == pytest.approx(row["var_n"], rel=1e-10)


def test_a_pore_is_what_maximum_entropy_makes_of_its_mean_occupancy():
    made = pore(4, 0.5, 1.0)
    solved = maxent(np.arange(5), made.mean, prior=[1, 4, 6, 4, 1])  # ions are alike
    assert solved.lam[0] == pytest.approx(0.5)  # eps - mu
    assert solved.log_z == pytest.approx(made.log_xi)
    assert solved.cov[0, 0] == pytest.approx(made.var)


def test_the_slope_of_a_gate_is_a_difference_and_ends_do_not_overflow():
    h = 1e-6
    slope = (gate(3.0, 4.0, 0.7 + h).p_open - gate(3.0, 4.0, 0.7 - h).p_open) / (2 * h)
    assert gate(3.0, 4.0, 0.7).slope == pytest.approx(slope, rel=1e-8)
    assert gate(0.0, 1.0, [-1e4, 1e4]).p_open.tolist() == [0.0, 1.0]


def test_the_potential_balances_the_charge():
    # One salt: Donnan's closed form, asinh of the fixed charge over twice the salt.
    phi = neutral_potential([1, -1], [0.15, 0.15], -0.5)
    assert phi == pytest.approx(np.arcsinh(-0.5 / 0.3), rel=1e-12)
    mixed = neutral_potential([2, 1, -1], [0.01, 0.1, 0.12], 0.3)
    total = np.array([2, 1, -1]) * [0.01, 0.1, 0.12] * np.exp(-np.array([2, 1, -1]) * mixed)
    assert total.sum() + 0.3 == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="have one sign"):
        neutral_potential([1, 2], [1.0, 1.0])


def test_a_resistor_obeys_its_relations():
    made = resistor(2.0, 4.0, kT=0.5)
    h = 1e-6
    up, down = (resistor(2.0 + s * h, 4.0, kT=0.5) for s in (1, -1))
    df = up.force - down.force
    assert (up.free_energy - down.free_energy) / df == pytest.approx(made.current, rel=1e-8)
    assert (up.current - down.current) / df == pytest.approx(made.noise, rel=1e-8)
    assert made.entropy_production == pytest.approx(2.0 * made.current / 0.5)


def balanced(voltage: float) -> ChannelModel:
    """Baths at one electrochemical potential."""
    return ChannelModel(inside=float(np.exp(-voltage / 2)), outside=float(np.exp(voltage / 2)))


@pytest.mark.parametrize("voltage", [-2.0, 0.0, 1.5])
def test_at_equal_potentials_the_channel_rests_in_its_equilibrium(voltage):
    model = balanced(voltage)
    moves = channel_moves(model, voltage)
    p = stationary(moves.chain())
    assert entropy_production(moves.chain()).rate < 1e-14
    assert production_of_moves(moves, p) < 1e-14
    assert moves.current(p) == pytest.approx(0, abs=1e-14)
    sensor, is_open, ions = model.parts()
    binomial = np.array([1, 3, 3, 1])[ions]
    energy = -3 * voltage * (sensor - 0.5) + 3 * is_open - 5 * sensor * is_open
    weights = binomial * np.exp(-energy)
    np.testing.assert_allclose(p, weights / weights.sum(), atol=1e-12)
    assert p @ ions == pytest.approx(pore(3, 0.0, 0.0).mean)


@pytest.mark.parametrize("voltage", [-1.0, 0.3, 2.0])
def test_what_is_produced_is_current_times_the_drop_and_more_than_states_show(voltage):
    model = ChannelModel(inside=2.0, outside=0.5)
    moves = channel_moves(model, voltage)
    p = stationary(moves.chain())
    mu_in, mu_out = model.potentials(voltage)
    produced = production_of_moves(moves, p)
    assert produced == pytest.approx(moves.current(p) * (mu_in - mu_out), rel=1e-9)
    assert entropy_production(moves.chain()).rate <= produced + 1e-14
    through = p @ moves.probability
    assert through @ INNER == pytest.approx(through @ OUTER)  # what goes in comes out


def test_the_current_turns_at_nernsts_potential():
    model = ChannelModel(inside=1.0, outside=5.0)
    at = float(np.log(5.0))
    for voltage, sign in ((at - 0.1, -1), (at, 0), (at + 0.1, 1)):
        moves = channel_moves(model, voltage)
        current = moves.current(stationary(moves.chain()))
        assert np.sign(np.round(current, 14)) == sign


def test_production_is_never_negative_on_the_way_to_rest():
    model = ChannelModel()
    moves = channel_moves(model, 1.0)
    chain, p = moves.chain(), np.eye(model.n_states)[0]
    for _ in range(200):
        assert production_of_moves(moves, p) >= 0
        p = p @ chain


def test_drawn_channels_have_the_exact_shares():
    moves = channel_moves(ChannelModel(), 2.0)
    p = stationary(moves.chain())
    rng = np.random.default_rng(0)
    states = rng.choice(16, size=20_000, p=p)
    after, seen = advance_channels(states, moves, 200, rng)
    share = np.bincount(after, minlength=16) / len(after)
    assert np.abs(share - p).max() < 5 * np.sqrt(0.25 / len(after))
    expected = 200 * len(states) * (p @ moves.probability)
    assert (np.abs(seen - expected) < 0.05 * expected + 20).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ChannelModel(sites=0), "sites = 0"),
        (lambda: ChannelModel(outside=0.0), "outside = 0.0"),
        (lambda: ChannelModel(dt=np.nan), "dt = nan"),
        (lambda: channel_moves(ChannelModel(dt=1.0), 3.0), "use dt <= "),
        (lambda: channel_moves(ChannelModel(), np.inf), "voltage = inf"),
        (lambda: pore(0, 0.0, 0.0), "sites >= 1"),
        (lambda: gate(np.nan, 1.0, 1.0), "finite numbers"),
        (lambda: resistor(1.0, 0.0), "resistance = 0"),
        (lambda: neutral_potential([1, -1], [0.0, 1.0]), "above 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
