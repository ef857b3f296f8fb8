"""Truncated distributions: golden values of every mode, bounds against the truth, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import (
    TopK,
    entropy,
    entropy_topk,
    js_divergence,
    jsd_topk,
    with_gradient,
)

LN2 = np.log(2)


def lists(case):
    """Ids and log-probs of both sides of a golden pair."""
    top = TopK.from_keys(
        [{k: np.log(v) for k, v in case[name].items()} for name in ("p", "q")], case["vocab_size"]
    )
    return top[0], top[1]


def test_golden_pairs_in_every_mode(golden):
    for case in golden("instability")["truncated_pairs"]:
        p, q = lists(case)
        for side, name in ((p, "p"), (q, "q")):
            estimate = side.entropy()
            lump = side.entropy("lump").value
            for found, want in (
                (side.mass, case[f"mass_{name}"]),
                (estimate.value, case[f"H_renorm_{name}"]),
                (lump, case[f"H_lower_{name}"]),
                (estimate.lower, case[f"H_lower_capped_{name}"]),
                (estimate.upper, case[f"H_upper_{name}"]),
            ):
                assert found == pytest.approx(want, rel=1e-12)
        divergence = p.jsd(q)
        assert divergence.value == pytest.approx(case["jsd_renorm"], rel=1e-12)
        assert divergence.lower == pytest.approx(case["jsd_lower"], rel=1e-11)  # log then exp of p
        assert divergence.upper == pytest.approx(case["jsd_upper"], rel=1e-12)
        assert p.jsd(q, "lump").value == pytest.approx(case["jsd_lump"], rel=1e-12)
        total = divergence.value + q.entropy().value
        assert total == pytest.approx(case["I_renorm_lambda1"], rel=1e-12)


def test_golden_trace(golden):
    trace = golden("instability")["trace"]
    top = TopK.from_keys(trace["top_logprobs"])
    np.testing.assert_allclose(top.entropy().value, trace["H"], rtol=1e-12)
    jsd = jsd_topk(top.ids[:-1], top.logprobs[:-1], top.ids[1:], top.logprobs[1:])
    np.testing.assert_allclose(jsd, trace["jsd"][1:], rtol=1e-12)


def cut(p, k):
    """The k likeliest outcomes of each row, likeliest first."""
    ids = np.argsort(-p, axis=-1, kind="stable")[:, :k]
    with np.errstate(divide="ignore"):
        return ids, np.log(np.take_along_axis(p, ids, -1))


def random_rows(n, v, seed):
    """Distributions from nearly one-hot to nearly uniform, some with impossible outcomes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, v)) * rng.uniform(0.01, 8, (n, 1))
    z[rng.random((n, v)) < 0.2 * rng.random((n, 1))] = -np.inf
    z[:, 0] = np.where(np.isinf(z).all(-1), 0.0, z[:, 0])
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("k", [1, 2, 5, 20, 40])
def test_bounds_contain_the_truth_of_ten_thousand_rows(k):
    v = 40
    p = random_rows(10_000, v, seed=k)
    q = np.roll(p, 1, axis=0)
    q[::2] = 0.9 * p[::2] + 0.1 * q[::2]  # half of the pairs are close
    (ids_p, lp), (ids_q, lq) = cut(p, k), cut(q, k)
    slack = 1e-12
    lower, upper = entropy_topk(lp, "bounds", v)
    h = entropy(p)
    assert (lower <= h + slack).all()
    assert (h <= upper + slack).all()
    assert (entropy_topk(lp, "lump") <= h + slack).all()
    lower, upper = jsd_topk(ids_p, lp, ids_q, lq, "bounds")
    d = js_divergence(p, q)
    assert (lower <= d + slack).all()
    assert (d <= upper + slack).all()
    assert (jsd_topk(ids_p, lp, ids_q, lq, "lump") <= LN2).all()


def test_an_appended_token_sharpens_the_bounds_and_leaves_the_estimate():
    p = random_rows(500, 30, seed=3)
    p = p[(p > 0).all(-1)]
    ids, lp = cut(p, 30)
    few, more = lp[:, :5], np.concatenate([lp[:, :5], lp[:, 20:21]], -1)
    n_top = np.full(len(p), 5)
    np.testing.assert_array_equal(entropy_topk(more, n_top=n_top), entropy_topk(few))
    lower_few, upper_few = entropy_topk(few, "bounds", 30)
    lower, upper = entropy_topk(more, "bounds", 30, n_top)
    h = entropy(p)
    slack = 1e-12
    assert (lower <= h + slack).all()
    assert (h <= upper + slack).all()
    assert (lower >= lower_few - slack).all()
    assert (upper <= upper_few + slack).all()
    tops = TopK(np.concatenate([ids[:, :5], ids[:, 20:21]], -1), more, n_top, 30)
    jsd = tops[:-1].jsd(tops[1:])
    d = js_divergence(p[:-1], p[1:])
    assert (jsd.lower <= d + slack).all()
    assert (d <= jsd.upper + slack).all()
    np.testing.assert_allclose(jsd.value, jsd_topk(ids[:-1, :5], few[:-1], ids[1:, :5], few[1:]))


@given(st.integers(0, 10_000))
def test_invariances(seed):
    rng = np.random.default_rng(seed)
    p, q = random_rows(2, 12, seed)
    (ids_p, lp), (ids_q, lq) = cut(p[None], 5), cut(q[None], 5)
    order = rng.permutation(5)
    pads = np.full((1, 3), -1), np.full((1, 3), -np.inf)
    padded = np.concatenate([ids_p, pads[0]], -1), np.concatenate([lp, pads[1]], -1)
    for mode in ("renormalise", "lump", "bounds"):
        d = np.array(jsd_topk(ids_p, lp, ids_q, lq, mode))
        assert ((d >= 0) & (d <= LN2)).all()
        swapped = jsd_topk(ids_q, lq, ids_p, lp, mode)
        shuffled = jsd_topk(ids_p[:, order], lp[:, order], ids_q, lq, mode)
        extended = jsd_topk(*padded, ids_q, lq, mode)
        for other in (swapped, shuffled, extended):
            np.testing.assert_allclose(np.array(other), d, atol=1e-13)
        h = np.array(entropy_topk(lp, mode, 12))
        assert (h >= 0).all()
        np.testing.assert_allclose(np.array(entropy_topk(lp[:, order], mode, 12)), h, atol=1e-13)
        np.testing.assert_allclose(np.array(entropy_topk(padded[1], mode, 12)), h, atol=1e-13)


def stacked(result):
    """One array of an estimate, or of both bounds."""
    return np.stack([np.asarray(x) for x in (result if isinstance(result, tuple) else (result,))])


def test_torch_equals_numpy():
    p = random_rows(50, 30, seed=1)
    ids, lp = cut(p, 8)
    t_ids, t_lp = torch.tensor(ids), torch.tensor(lp)
    n_top = np.full(49, 7)
    for mode in ("renormalise", "lump", "bounds"):
        np.testing.assert_allclose(
            stacked(entropy_topk(t_lp, mode, 30)), stacked(entropy_topk(lp, mode, 30)), atol=1e-13
        )
        found = jsd_topk(
            t_ids[1:], t_lp[1:], t_ids[:-1], t_lp[:-1], mode, n_top_a=torch.tensor(n_top)
        )
        want = jsd_topk(ids[1:], lp[1:], ids[:-1], lp[:-1], mode, n_top_a=n_top)
        np.testing.assert_allclose(stacked(found), stacked(want), atol=1e-13)
    assert entropy_topk(t_lp.float()).dtype == torch.float32
    assert entropy_topk(t_lp.bfloat16()[:, :4]).dtype == torch.float32


def test_gradient_of_impossible_tokens_is_zero():
    lp = torch.log(torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=torch.float64)).requires_grad_()
    assert entropy_topk(lp).grad_fn is None
    with_gradient(entropy_topk)(lp).backward()
    assert torch.isfinite(lp.grad).all()
    assert lp.grad[3] == 0
    free = lp.detach()[:3].requires_grad_()
    assert torch.autograd.gradcheck(with_gradient(entropy_topk), (free - 0.1,))


def test_equal_keys_sum_their_probabilities():
    """Two ids may decode to the same text."""
    top = TopK.from_keys([[("\ufffd", np.log(0.25)), ("\ufffd", np.log(0.25)), ("a", np.log(0.5))]])
    assert np.exp(top.logprobs[0]).tolist() == pytest.approx([0.5, 0.5])
    apart = jsd_topk([3, 3, 5], np.log([0.25, 0.25, 0.5]), [3, 5], np.log([0.5, 0.5]))
    assert apart == pytest.approx(0.0, abs=1e-15)


def test_five_dialects_of_impossible_give_one_result():
    """Servers write -inf, -9999, -1000, -100 or leave the token out."""
    base = np.log([0.6, 0.3])
    want = entropy_topk(base), *entropy_topk(base, "bounds", 50)
    for sentinel in (-np.inf, -9999.0, -1000.0, -100.0):
        lp = np.append(base, sentinel)
        found = entropy_topk(lp), *entropy_topk(lp, "bounds", 50)
        assert found == pytest.approx(want, rel=1e-14)


def test_mass_slightly_above_one_is_rounding():
    lp = np.log([0.7, 0.3005])
    assert entropy_topk(lp, "bounds", 10)[0] == pytest.approx(entropy_topk(lp, "bounds", 10)[1])
    with pytest.raises(InputError, match="row 1: the listed mass exceeds 1"):
        entropy_topk(np.log([[0.7, 0.3], [0.7, 0.31]]))


def test_upper_bound_without_a_vocabulary_is_infinite():
    assert entropy_topk(np.log([0.5, 0.4]), "bounds")[1] == np.inf
    assert entropy_topk(np.log([0.5, 0.5]), "bounds")[1] == pytest.approx(LN2)


@pytest.mark.parametrize(
    ("lp", "message"),
    [
        ([[0.5, 0.2]], "look like probabilities"),
        ([[-1.0, 1.0]], "largest value 1; .* padding"),
        ([[-1.0, float("nan")]], "nan"),
        ([[-1.0]], "fewer than two"),
        ([[-1.0, -2.0], [-1.0, float("-inf")]], "row 1: fewer than two"),
        ([[-9999.0, -9999.0]], "every listed token is impossible"),
        (0.5, "single number"),
    ],
)
def test_bad_lists(lp, message):
    with pytest.raises(InputError, match=message):
        entropy_topk(np.array(lp))


def test_one_entry_has_bounds():
    lower, upper = entropy_topk(np.log([[0.8]]), "bounds", 100)
    assert 0 < lower[0] < upper[0]


def test_bad_settings():
    with pytest.raises(ConfigurationError, match="did you mean 'renormalise'"):
        entropy_topk(np.log([0.5, 0.5]), "renormalize")
    with pytest.raises(InputError, match="ids have shape"):
        jsd_topk([1], np.log([0.5, 0.5]), [1, 2], np.log([0.5, 0.5]))
