"""Whole logs of top-k lists: equal to single lists, and bounding exact values of a model."""

import gzip
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import InputError
from entropilot.information import (
    TopK,
    entropy_topk,
    jsd_topk,
    sequence_bounds,
    sequence_measures,
    sequence_signal,
)


def random_log(seed, n_traces=7, width=9, vocab=30):
    """Ragged lists with appended tokens, impossible tokens and empty slots."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 40, n_traces))])
    n = offsets[-1]
    z = rng.normal(size=(n, vocab)) * rng.uniform(0.1, 5, (n, 1))
    z[rng.random((n, vocab)) < 0.05] = -np.inf
    lp = z - np.logaddexp.reduce(z, -1, keepdims=True)
    order = np.argsort(-lp, -1)
    n_top = rng.integers(2, width, n)
    extra = rng.random(n) < 0.5
    piece = np.full((n, width), -1)
    top = np.full((n, width), -np.inf)
    for i in range(n):
        piece[i, : n_top[i]] = order[i, : n_top[i]]
        if extra[i]:
            piece[i, n_top[i]] = order[i, -1]
        listed = piece[i] >= 0
        top[i, listed] = lp[i, piece[i, listed]]
    return offsets, piece, top, n_top, vocab


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_equal_to_single_lists(seed):
    offsets, piece, top, n_top, vocab = random_log(seed)
    found = sequence_measures(offsets, piece, top, n_top, vocab)
    if len(top) == 0:
        assert all(len(column) == 0 for column in found)
        return
    tops = TopK(piece, top, n_top, vocab)
    h = tops.entropy()
    expected = {
        "mass": tops.mass,
        "entropy": h.value,
        "entropy_lump": tops.entropy("lump").value,
        "entropy_lower": h.lower,
        "entropy_upper": h.upper,
    }
    for name, want in expected.items():
        np.testing.assert_allclose(getattr(found, name), want, atol=1e-12, err_msg=name)
    d = tops[:-1].jsd(tops[1:])
    first = np.isin(np.arange(len(top)), offsets[:-1])
    names = (("jsd", d.value), ("jsd_lower", d.lower), ("jsd_upper", d.upper))
    for name, value in names:
        want = np.where(first, np.nan, np.append(np.nan, value))
        np.testing.assert_allclose(getattr(found, name), want, atol=1e-12, err_msg=name)


def test_traces_do_not_reach_into_each_other():
    offsets, piece, top, n_top, vocab = random_log(5)
    whole = sequence_measures(offsets, piece, top, n_top, vocab)
    for start, stop in itertools.pairwise(offsets):
        part = slice(start, stop)
        alone = sequence_measures([0, stop - start], piece[part], top[part], n_top[part], vocab)
        for a, b in zip(whole, alone, strict=True):
            np.testing.assert_array_equal(a[part], b)


@pytest.mark.parametrize("width", [3, 70, 200])
def test_wide_and_narrow_lists(width):
    rng = np.random.default_rng(width)
    n = 150  # more rows than one block holds
    piece = np.stack([rng.permutation(400)[:width] for _ in range(n)])
    top = np.log(rng.dirichlet(np.ones(width), n))
    found = sequence_signal([0, n], piece, top, np.full(n, width))
    np.testing.assert_allclose(found.entropy, entropy_topk(top), atol=1e-12)
    want = jsd_topk(piece[:-1], top[:-1], piece[1:], top[1:])
    np.testing.assert_allclose(found.jsd[1:], want, atol=1e-12)


def test_ids_listed_twice_are_summed():
    lp = np.log([[0.25, 0.25, 0.5], [0.5, 0.5, 0.0 + 1e-300]])
    piece = [[4, 4, 6], [4, 6, 9]]
    assert sequence_signal([0, 2], piece, lp, [3, 3]).jsd[1] == pytest.approx(0, abs=1e-15)


def test_large_ids_are_renumbered():
    piece = np.array([[2**40, 7], [7, 2**40]])
    lp = np.log(np.full((2, 2), 0.5))
    assert sequence_signal([0, 2], piece, lp, [2, 2]).jsd[1] == pytest.approx(0, abs=1e-15)


def test_rows_that_say_nothing_are_nan():
    piece = np.array([[1, 2], [1, -1], [-1, -1], [1, 2], [1, 2], [3, 4]])
    lp = np.log([[0.5, 0.5], [0.9, 0.0 + 1e-300], [1, 1], [0.5, 0.5], [1e-300, 1e-300], [0.5, 0.5]])
    lp[1, 1] = lp[2] = lp[4] = -np.inf
    n_top = np.array([2, 1, 0, 2, 2, 2])
    found = sequence_measures([0, 6], piece, lp, n_top, 10)
    np.testing.assert_array_equal(np.isnan(found.entropy), [False, True, True, False, True, False])
    np.testing.assert_array_equal(np.isnan(found.jsd), [True] * 6)
    np.testing.assert_array_equal(np.isnan(found.mass), [False, False, True, False, False, False])
    assert found.entropy_lower[1] < found.entropy_upper[1]
    assert np.isnan(found.entropy_lower[2])
    np.testing.assert_array_equal(
        np.isnan(found.jsd_lower), [True, False, True, True, False, False]
    )


@pytest.mark.parametrize("measure", [sequence_signal, sequence_bounds])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_bad_rows_are_named(measure, kind):
    piece = np.arange(8).reshape(4, 2)
    for bad, message in (
        ([0.5, 0.4], "step 1 of trace 1 .*look like probabilities"),
        ([-0.1, -0.5], r"step 1 of trace 1 lists a probability mass of 1\.5"),
        ([-0.1, np.nan], "step 1 of trace 1 has nan"),
        ([-0.1, 5000.0], "step 1 of trace 1"),
    ):
        lp = np.full((4, 2), -0.7, kind)
        lp[3] = bad
        with pytest.raises(InputError, match=message):
            measure([0, 2, 2 + 2], piece, lp, np.full(4, 2))


def test_columns_that_do_not_belong_together():
    lp = np.full((2, 2), -0.7)
    with pytest.raises(InputError, match="must be"):
        sequence_signal([0, 2], [[1, 2]], lp, [2, 2])
    with pytest.raises(InputError, match="do not belong together"):
        sequence_signal([0, 3], [[1, 2], [1, 2]], lp, [2, 2])
    with pytest.raises(InputError, match="a row has 2 slots"):
        sequence_signal([0, 2], [[1, 2], [1, 2]], lp, [2, 3])


def test_exact_values_of_a_real_model_lie_within_the_bounds(real_traces):
    piece, top, exact_h, exact_d, offsets = [], [], [], [], [0]
    with gzip.open(real_traces, "rt") as lines:
        for line in lines:
            tokens = json.loads(line)["choices"][0]["logprobs"]["content"]
            for token in tokens:
                piece.append(token["x_top_ids"])
                top.append([entry["logprob"] for entry in token["top_logprobs"]])
                exact_h.append(token["x_entropy_full"])
                exact_d.append(np.nan if token["x_jsd_full"] is None else token["x_jsd_full"])
            offsets.append(len(piece))
    n_top = np.full(len(piece), 20)
    lp = np.array(top, np.float32)
    found = sequence_measures(offsets, piece, lp, n_top, vocab_size=49152)
    slack = 2e-4  # the log has six decimals
    h, d = np.array(exact_h), np.array(exact_d)
    later = ~np.isnan(d)
    assert len(h) == 8247
    assert (found.entropy_lower <= h + slack).all()
    assert (found.entropy_upper >= h - slack).all()
    assert (found.entropy_lump <= h + slack).all()
    assert (found.jsd_lower <= d + slack)[later].all()
    assert (found.jsd_upper >= d - slack)[later].all()
    np.testing.assert_array_equal(np.isnan(found.jsd), ~later)
    # what a study of these traces reports
    assert np.nanmean(found.jsd) == pytest.approx(0.656, abs=2e-3)
    assert found.mass.mean() == pytest.approx(0.980, abs=1e-3)
    assert np.abs(found.entropy - h).mean() == pytest.approx(0.156, abs=2e-3)
