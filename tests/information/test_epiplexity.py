from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    DescriptionRun,
    epiplexity_at,
    kt_code_from_counts,
    kt_epiplexity,
    mdl_frontier,
    prequential_epiplexity,
    published_laws,
    requential_epiplexity,
    scaling_law_epiplexity,
    training_flop,
)
from entropilot.information import kt_observer as kt

BITS = 1 / math.log(2)


def test_prequential_golden(golden):
    row = golden("epiplexity")["prequential_sum"]
    found = prequential_epiplexity(
        row["loss_before_update_nats"], row["batch_tokens"], row["final_loss"]
    )
    assert found == pytest.approx(row["S_nats"] * BITS, rel=1e-9)
    row = golden("epiplexity")["prequential_trapezoid"]
    losses = row["loss_nats"]
    found = prequential_epiplexity(losses, row["tokens"], losses[-1], trapezoid=True)
    assert found == pytest.approx(row["S_bits"], rel=1e-9)


def test_requential_golden(golden):
    row = golden("epiplexity")["requential_kl"]
    found = requential_epiplexity(row["kl_nats"], row["tokens_per_step"])
    assert found == pytest.approx(row["S_bits"], rel=1e-9)


def test_a_run_that_got_worse_is_negative_with_a_warning():
    with pytest.warns(UserWarning, match="S is negative"):
        assert prequential_epiplexity([0.5, 0.6], [10, 10], 0.9) < 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1, 2], 0.5), "one of each a batch"),
        (([], [], 0.5), "at least one batch"),
        (([math.nan], [1], 0.5), "not finite"),
        (([1.0], [-1], 0.5), "negative or infinite"),
        (([1.0], [1], math.inf), "final_loss_nats"),
    ],
)
def test_bad_losses(arguments, message):
    with pytest.raises(InputError, match=message):
        prequential_epiplexity(*arguments)


def test_bad_divergence_and_falling_tokens():
    with pytest.raises(InputError, match="at least 0"):
        requential_epiplexity([-0.1], [4])
    with pytest.raises(InputError, match="tokens fall"):
        prequential_epiplexity([1.0, 1.0], [4, 2], 0.5, trapezoid=True)


def test_frontier_golden(golden):
    row = golden("epiplexity")["lower_hull"]
    runs = [DescriptionRun(r["x"], np.zeros(len(r["x"])), r["y"]) for r in row["runs"]]
    for reduced in (False, True):
        found = mdl_frontier(runs, row["tol"], reduced)
        expected = row["reduced" if reduced else "hull"]
        assert np.stack([found.C, found.S + found.H], 1).tolist() == expected
        for c, h, run, point in zip(found.C, found.H, found.run, found.point, strict=True):
            assert (c, h) == (row["runs"][run]["x"][point], row["runs"][run]["y"][point])


@given(
    st.lists(st.lists(st.floats(1, 100), min_size=1, max_size=6), min_size=1, max_size=4),
    st.floats(0, 0.1),
)
def test_the_frontier_ends_near_the_smallest_total(totals, tol):
    runs = [DescriptionRun(np.arange(1.0, len(y) + 1), np.zeros(len(y)), y) for y in totals]
    found = mdl_frontier(runs, tol)
    assert (np.diff(found.C) >= 0).all()
    lowest = min(min(y) for y in totals)
    assert (found.S + found.H).min() >= lowest
    assert epiplexity_at(found, 1e9)[1] == found.H[-1]


def test_frontier_bad_input_and_gaps():
    run = DescriptionRun([1.0, 2.0], [math.nan, 1.0], [3.0, 1.0])
    assert mdl_frontier([run]).point.tolist() == [1]
    with pytest.raises(InputError, match="below the cheapest"):
        epiplexity_at(mdl_frontier([run]), 1.0)
    with pytest.raises(InputError, match="no run"):
        mdl_frontier([])
    with pytest.raises(InputError, match="run 0 has"):
        mdl_frontier([DescriptionRun([1.0], [1.0, 2.0], [1.0])])
    assert training_flop(10, 5, 7) == 6 * 10 * 5 + 2 * 10 * 7


def test_scaling_law_golden(golden):
    row = golden("epiplexity")["scaling_law"]
    for at in row["rows"]:
        found = scaling_law_epiplexity(
            row["alpha"], row["beta"], row["N0"], row["T0"], row["E"], row["test_tokens"], at["C"]
        )
        assert pytest.approx(at["T_star"], rel=1e-9) == found.T
        assert pytest.approx(at["N_star"], rel=1e-9) == found.N
        assert found.S_nats == pytest.approx(at["S_nats"], rel=1e-9)
        assert found.H_nats == pytest.approx(at["H_nats"], rel=1e-9)
    text = published_laws()["text"]
    assert pytest.approx(row["T0"], rel=1e-4) == text.T0  # from constants printed to six digits
    assert text.beta == pytest.approx(row["beta"], rel=1e-5)


def test_printed_constants_give_the_printed_order():
    expected = {
        "image 8x8": 1.19e9,
        "image 16x16": 2.91e9,
        "image 32x32": 4.50e9,
        "image vq 16x16": 1.26e10,
        "image vq 32x32": 1.24e10,
        "video vq 16x16x16": 7.24e9,
        "text": 7.95e10,
    }
    for name, law in published_laws(embedding_corrected=True).items():
        found = scaling_law_epiplexity(law.alpha, law.beta, law.N0, law.T0, law.E, 1e12, 1e25)
        assert found.S_nats * BITS == pytest.approx(expected[name], rel=5e-3)


@given(st.floats(0.1, 0.8), st.floats(0.1, 0.8), st.floats(20, 28))
def test_the_best_tokens_are_best(alpha, beta, log_c):
    e, d, c = 1.7, 1e10, 10**log_c
    found = scaling_law_epiplexity(alpha, beta, 1e7, 1e8, e, d, c)

    def total(t):
        n = c / (2 * (3 * t + d))
        loss = (t / 1e8) ** -beta + (n / 1e7) ** -alpha + e
        return beta / (1 - beta) * 1e8**beta * t ** (1 - beta) + d * loss

    best = found.S_nats + found.H_nats
    assert all(
        best <= total(t) * (1 + 1e-9) for t in (found.T * 0.9, min(found.T * 1.1, d)) if t > 1
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": 1.0}, "beta is 1.0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"D": 1.0}, "D is 1.0"),
        ({"C": 1e9}, "can't code"),
        ({"C": math.inf}, "C is inf"),
    ],
)
def test_bad_laws(changed, message):
    usual = {"alpha": 0.3, "beta": 0.3, "N0": 1e7, "T0": 1e9, "E": 1.7, "D": 1e10, "C": 1e20}
    with pytest.raises(InputError, match=message):
        scaling_law_epiplexity(**(usual | changed))


def test_kt_golden(golden):
    for row in golden("epiplexity")["kt_binary"]:
        stream = np.repeat([1, 0], [row["ones"], row["n"] - row["ones"]])
        for found in (
            kt_epiplexity(stream, 2),
            kt_code_from_counts([row["n"] - row["ones"], row["ones"]]),
        ):
            assert found.code_bits == pytest.approx(row["code_bits"], rel=1e-9)
            assert found.entropy_bits == pytest.approx(row["empirical_entropy_bits"], rel=1e-9)
            assert found.epiplexity_bits == pytest.approx(row["S_bits"], rel=1e-9)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=60), st.integers(0, 3))
def test_kt_closed_form_is_the_sequential_code(stream, order):
    counts: dict[tuple[int, ...], np.ndarray] = {}
    bits = order * 2.0
    for t in range(order, len(stream)):
        seen = counts.setdefault(tuple(stream[t - order : t]), np.zeros(4))
        bits -= math.log2((seen[stream[t]] + 0.5) / (seen.sum() + 2))
        seen[stream[t]] += 1
    found = kt_epiplexity(stream, 4, order)
    assert found.code_bits == pytest.approx(bits, rel=1e-9)
    assert found.n_contexts == len(counts)
    assert found.epiplexity_bits > 0


def test_kt_counts_large_alphabets_in_the_same_way(monkeypatch):
    stream = np.random.default_rng(0).integers(0, 5, 3000)
    dense = kt_epiplexity(stream, 5, 3)
    monkeypatch.setattr(kt, "MOST_CELLS", 1)
    assert kt_epiplexity(stream, 5, 3) == pytest.approx(dense)
    assert kt_epiplexity(stream * 10_000, 50_000, 2).n_contexts == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], 1, 0), "alphabet is 1"),
        (([0, 5], 2, 0), "symbols from 0 to 5"),
        (([0.5, 1.0], 2, 0), "integers"),
        (([0, 1], 2, 2), "no more than the order"),
        (([0, 1], 2, -1), "order is -1"),
    ],
)
def test_kt_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        kt_epiplexity(*arguments)


def test_counts_must_be_counts():
    with pytest.raises(InputError, match="integers >= 0"):
        kt_code_from_counts([-1, 4])


def test_a_coin_costs_half_a_logarithm():
    n = 100_000
    found = kt_code_from_counts([n // 2, n // 2])
    assert found.epiplexity_bits == pytest.approx(0.5 * math.log2(n) + 0.3257, abs=1e-3)


def test_nothing_warns_without_need():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prequential_epiplexity([1.0, 0.5], [3, 3], 0.5)
