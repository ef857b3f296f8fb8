from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    context_memory,
    forget_stream,
    learnable_structure,
    read_stream,
    structure_difference,
)


def backed_off(stream, alphabet, order):
    """Nats of every order, by dictionaries."""
    seen: dict[tuple[int, ...], dict[int, int]] = {}
    nats = np.zeros(order + 2)
    for t, x in enumerate(stream):
        p = 1 / alphabet
        nats[0] -= math.log(p)
        for k in range(order + 1):
            if k <= t:
                counts = seen.get(tuple(stream[t - k : t]), {})
                n = sum(counts.values())
                if n:
                    p = (counts.get(x, 0) + len(counts) * p) / (n + len(counts))
            nats[k + 1] -= math.log(p)
        for k in range(min(order, t) + 1):
            counts = seen.setdefault(tuple(stream[t - k : t]), {})
            counts[x] = counts.get(x, 0) + 1
    return nats


@given(st.lists(st.integers(0, 4), max_size=80), st.integers(0, 4))
def test_the_observer_codes_as_dictionaries_do(stream, order):
    memory = context_memory(5, order, 4096)
    found = read_stream(memory, np.array(stream, np.int64))
    assert found == pytest.approx(backed_off(stream, 5, order), rel=1e-9)


@given(st.lists(st.lists(st.integers(0, 2), max_size=30), min_size=2, max_size=4))
def test_forgetting_undoes_learning_whatever_lies_between(stretches):
    x = [np.array(s, np.int64) for s in stretches]
    without, memory = context_memory(3, 3, 4096), context_memory(3, 3, 4096)
    for s in x:
        read_stream(memory, s)
    forget_stream(memory, x[0])
    for s in x[1:]:
        read_stream(without, s)
    probe = np.array([0, 1, 2, 2, 1, 0, 0, 1])
    found = read_stream(memory, probe, learn=False)
    assert found == pytest.approx(read_stream(without, probe, learn=False), rel=1e-12)


def test_a_full_memory_stops_learning_and_says_so():
    stream = np.random.default_rng(0).integers(0, 256, 5000)
    memory = context_memory(256, 4, 256)
    read_stream(memory, stream)
    assert memory.used[0] <= len(memory.keys)
    assert memory.used[1] > 0
    forget_stream(memory, stream)
    assert not memory.counts.any()


def test_noise_has_no_structure_and_a_table_has_its_size():
    rng = np.random.default_rng(0)
    noise = learnable_structure(rng.integers(0, 256, 60_000), 256, order=3, readings=2)
    assert noise.order == -1
    assert noise.structure_interval().value == 0
    assert noise.entropy_interval().value == pytest.approx(8 * noise.n_symbols)
    table = np.tile(rng.integers(0, 256, 500), 120)  # 500 random bytes, repeated
    found = learnable_structure(table, 256, order=4, readings=3)
    assert 4000 < found.structure_interval().value < 6000
    assert found.entropy_interval().value < 0.02 * found.n_symbols


def test_structure_grows_with_the_source_and_is_told_apart():
    rng = np.random.default_rng(1)

    def chain(n_states):
        cumulative = rng.dirichlet(np.full(16, 0.2), n_states).cumsum(axis=1)
        out = np.zeros(40_000, np.int64)
        for t, u in enumerate(rng.random(len(out) - 2), 2):
            out[t] = min(
                15, np.searchsorted(cumulative[(16 * out[t - 2] + out[t - 1]) % n_states], u)
            )
        return learnable_structure(out, 16, order=3, readings=3, slots=1 << 18)

    small, large = chain(16), chain(256)
    assert (small.order, large.order) == (1, 2)
    difference = structure_difference(large, small)
    assert difference.low > 0
    assert difference.value == pytest.approx(
        large.structure_interval().value - small.structure_interval().value
    )


def test_what_is_learnt_adds_up_and_the_parts_add_to_the_code():
    stream = np.random.default_rng(0).integers(0, 2, 9000).cumsum() % 4
    found = learnable_structure(stream, 4, order=2, readings=3)
    learnt = found.learnt()
    assert learnt[-1] == pytest.approx(found.structure_interval().value)
    assert (found.structure + found.entropy) == pytest.approx(found.first.sum(axis=1))
    one = learnable_structure(stream, 4, order=2, readings=1)
    assert math.isnan(one.structure_interval().low)
    assert math.isnan(structure_difference(one, one).low)


def test_the_same_call_gives_the_same_numbers_and_progress_rises():
    stream = np.random.default_rng(0).integers(0, 3, 5000)
    seen: list[float] = []
    a = learnable_structure(stream, 3, readings=2, progress=lambda share, _: seen.append(share))
    assert (a.first == learnable_structure(stream, 3, readings=2).first).all()
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("symbols", "options", "message"),
    [
        (np.zeros(100, int), {}, "at least 2,000"),
        (np.full(3000, 7), {}, "larger alphabet"),
        (np.zeros(3000, int), {"order": 99}, "order is 99"),
        (np.zeros(3000, int), {"readings": 0}, "readings is 0"),
    ],
)
def test_bad_input(symbols, options, message):
    with pytest.raises(InputError, match=message):
        learnable_structure(symbols, 2, **options)
