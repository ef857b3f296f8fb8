from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import eca, eca_history, eca_pairs, hidden_automaton, hidden_chains


def slowly(state, steps, rule):
    table = np.array([rule >> i & 1 for i in range(8)], np.uint8)
    for _ in range(steps):
        state = table[4 * np.roll(state, 1, -1) + 2 * state + np.roll(state, -1, -1)]
    return state


def test_golden_states(golden):
    for row in golden("epiplexity")["eca"]:
        for steps, after in row["after"].items():
            assert eca(row["initial"], int(steps), row["rule"]).tolist() == after


@given(
    st.integers(1, 200), st.integers(1, 5), st.integers(0, 255), st.integers(0, 9), st.integers(0)
)
def test_any_width_equals_the_table_of_neighbourhoods(width, rows, rule, steps, seed):
    state = np.random.default_rng(seed).integers(0, 2, (rows, width), dtype=np.uint8)
    assert (eca(state, steps, rule) == slowly(state, steps, rule)).all()


@given(st.integers(0, 255), st.integers(0, 130), st.integers(0))
def test_a_turned_ring_stays_a_turned_ring(rule, turn, seed):
    state = np.random.default_rng(seed).integers(0, 2, 130, dtype=np.uint8)
    assert (eca(np.roll(state, turn), 5, rule) == np.roll(eca(state, 5, rule), turn)).all()


def test_history_ends_where_the_steps_end():
    state = np.random.default_rng(0).integers(0, 2, 77)
    history = eca_history(state, 12, 110)
    assert (history[0] == state).all()
    assert (history[-1] == eca(state, 12, 110)).all()


def test_pairs_are_inputs_and_what_becomes_of_them():
    x, y = eca_pairs(33, rule=54, steps=16, width=70, burn_in=20, rng=np.random.default_rng(0))
    assert x.shape == y.shape == (33, 70)
    assert (eca(x, 16, 54) == y).all()
    again = eca_pairs(33, rule=54, steps=16, width=70, burn_in=20, rng=np.random.default_rng(0))
    assert (again[1] == y).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2], 1, 30), "not 0 or 1"),
        (([0.0, 1.0], 1, 30), "not 0 or 1"),
        (([0, -1], 1, 30), "not 0 or 1"),
        (([], 1, 30), "at least one cell"),
        (([0, 1], -1, 30), "steps is -1"),
        (([0, 1], 1, 256), "rules are 0 to 255"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        eca(*arguments)


def test_what_is_hidden_is_hidden():
    chains = hidden_chains(200, 300, alphabet=3, hidden=1, rng=np.random.default_rng(0))
    assert np.isnan(chains.log_rows[:, 2]).all()
    rows = np.exp(chains.log_rows[:, :2])
    assert rows.sum(axis=2) == pytest.approx(1)
    counts = np.zeros((200, 3, 3))
    i = np.arange(200)[:, None]
    np.add.at(counts, (i, chains.sequence[:, :-1], chains.sequence[:, 1:]), 1)
    with np.errstate(invalid="ignore"):
        seen = counts / counts.sum(axis=2, keepdims=True)
    assert np.nanmean(np.abs(seen[:, :2] - rows)) < 0.05
    shown, after, before = hidden_automaton(9, hidden=5, rng=np.random.default_rng(0))
    assert (eca(np.concatenate([before, shown], 1), 4, 30) == after).all()
    with pytest.raises(InputError, match="hidden = 33"):
        hidden_automaton(9, hidden=33, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="hidden = 9"):
        hidden_chains(9, hidden=9, rng=np.random.default_rng(0))
