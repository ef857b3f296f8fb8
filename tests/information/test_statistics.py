"""One-pass statistics of logits: against float64 formulas, in every dtype, layout and device."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from entropilot.errors import InputError
from entropilot.information import (
    entropy_from_logits,
    js_divergence_from_logits,
    token_statistics,
    varentropy_from_logits,
    with_gradient,
)
from entropilot.information import statistics as module
from entropilot.information._statistics_kernels import (
    JSD,
    LOG_SUM,
    LOGPROB,
    MEAN,
    SUM_P2,
    SUM_P2_LOGP,
    VARIANCE,
)


def reference(z, targets=None, temperature=1.0):
    """Plain float64 formulas."""
    z = np.asarray(z, dtype=np.float64) / temperature
    top = z.max(-1, keepdims=True)
    lse = np.log(np.exp(z - top).sum(-1)) + top[..., 0]
    lp = z - lse[..., None]
    p = np.exp(lp)
    safe = np.where(p > 0, lp, 0.0)
    h = -(p * safe).sum(-1)
    var = (p * (safe + h[..., None]) ** 2).sum(-1)
    m = np.logaddexp(lp[..., 1:, :], lp[..., :-1, :]) - np.log(2)
    d = np.full(h.shape, np.nan)
    with np.errstate(invalid="ignore"):
        terms = p[..., 1:, :] * (lp[..., 1:, :] - m), p[..., :-1, :] * (lp[..., :-1, :] - m)
    d[..., 1:] = 0.5 * (np.nan_to_num(terms[0]).sum(-1) + np.nan_to_num(terms[1]).sum(-1))
    chosen = None if targets is None else np.take_along_axis(lp, targets[..., None], -1)[..., 0]
    return chosen, h, var, lse, d


def check(found, expected, atol):
    chosen, h, var, lse, d = expected
    for name, want in (("logprob", chosen), ("entropy", h), ("logsumexp", lse), ("jsd", d)):
        value = getattr(found, name)
        if value is not None and want is not None:
            np.testing.assert_allclose(np.asarray(value), want, atol=atol, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(np.asarray(found.varentropy), var, atol=20 * atol, rtol=1e-5)


@given(
    hnp.arrays(np.float64, (2, 3, 9), elements=st.floats(-50, 50)),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_float64_is_exact(z, temperature):
    targets = np.argmax(z, -1)
    found = token_statistics(z, targets, temperature=temperature, previous=True, squares=True)
    check(found, reference(z, targets, temperature), 1e-12)
    assert found.max.tolist() == z.max(-1).tolist()
    tensors = token_statistics(
        torch.tensor(z),
        torch.tensor(targets),
        temperature=temperature,
        previous=True,
        squares=True,
    )
    for a, b in zip(found, tensors, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize("n", [1, 3, 63, 64, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_kinds_are_measured_in_float32(kind, n):
    torch.manual_seed(n)
    z = (3 * torch.randn(4, n)).to(kind)
    targets = torch.randint(0, n, (4,))
    found = token_statistics(z, targets, previous=True)
    assert found.entropy.dtype == torch.float32
    check(found, reference(z.double().numpy(), targets.numpy()), 5e-6)


def test_numpy_float16():
    z = np.random.default_rng(0).normal(size=(3, 100)).astype(np.float16)
    check(token_statistics(z, np.zeros(3, int)), reference(z, np.zeros(3, int)), 2e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("peak", [0, 150_000, 299_999])
@pytest.mark.parametrize("height", [5.0, 12.5, 25.0])
def test_one_peak_in_300_000_outcomes(kind, peak, height):
    """Closed form: the tail of a float32 sum is lost by a naive loop, 1e-5 nats is the promise."""
    n = 300_000
    z = torch.zeros(1, n, dtype=kind)
    z[0, peak] = height
    odds = (n - 1) * np.exp(-height)
    top = 1 / (1 + odds)
    exact = np.log1p(odds) + (1 - top) * height
    found = token_statistics(z, torch.tensor([peak]))
    assert found.entropy.item() == pytest.approx(exact, abs=1e-5)
    assert found.logprob.item() == pytest.approx(np.log(top), abs=1e-5)
    tiled = module._tiled(z, torch.tensor([peak]), 1.0, n, False)
    assert (tiled[LOG_SUM] - tiled[MEAN]).item() == pytest.approx(exact, abs=1e-5)


def test_minus_infinity_is_zero_probability():
    """TRL and verl return nan for a single -inf."""
    z = np.array([[0.0, 0.0, -np.inf, -np.inf], [-np.inf, 3.0, -np.inf, -np.inf]])
    for kind in (np.float64, np.float32, np.float16):
        found = token_statistics(z.astype(kind), [0, 1], previous=True)
        assert found.entropy.tolist() == pytest.approx([np.log(2), 0.0], abs=1e-6)
        assert found.varentropy.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
        assert found.jsd[1] == pytest.approx(
            0.5 * (0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75) + np.log(1 / 0.75)), abs=1e-6
        )
    assert token_statistics(z, [2, 1]).logprob[0] == -np.inf


def test_masked_tiles_before_and_after_the_only_outcome():
    for place in (0, 1500, 4999):
        z = np.full((1, 5000), -np.inf, np.float32)
        z[0, place] = 7.0
        found = token_statistics(z, [place])
        assert (found.entropy[0], found.logprob[0], found.logsumexp[0]) == (0.0, 0.0, 7.0)


def test_extremes_of_float16_and_float32():
    z = np.array([[65504, -65504, 0]], np.float16)
    assert token_statistics(z, [0]).entropy[0] == 0
    z = np.array([[3e38, -3e38, 3e38]], np.float32)
    assert token_statistics(z).entropy[0] == pytest.approx(np.log(2))


@given(st.integers(1, 40), st.integers(1, 2000))
def test_temperature_divides_the_logits_of_every_measure(n, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 3, n))
    for function, logits in (
        (entropy_from_logits, (a,)),
        (varentropy_from_logits, (a,)),
        (js_divergence_from_logits, (a, b)),
        (lambda *z, **k: token_statistics(*z, np.zeros(3, int), **k).logprob, (a,)),
    ):
        given_temperature = function(*logits, temperature=0.5)
        divided = function(*(z / 0.5 for z in logits))
        np.testing.assert_allclose(given_temperature, divided, rtol=1e-12, atol=1e-15)


@given(st.integers(1, 40), st.integers(1, 2000))
def test_padding_columns_change_nothing(n, padding):
    rng = np.random.default_rng(n)
    z = rng.normal(size=(3, n)).astype(np.float32)
    padded = np.concatenate([z, np.full((3, padding), np.nan, np.float32)], -1)
    whole = token_statistics(z, np.zeros(3, int), previous=True)
    cut = token_statistics(padded, np.zeros(3, int), n_vocab=n, previous=True)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a, b)


def test_slices_are_read_in_place(monkeypatch):
    """A shifted, padded batch is neither copied nor misread."""
    torch.manual_seed(0)
    z = torch.randn(2, 5, 70)[:, :-1, :64]
    expected = reference(z.double().numpy())
    monkeypatch.setattr(np, "ascontiguousarray", lambda *a: pytest.fail("copied"))
    check(token_statistics(z, previous=True), expected, 2e-6)
    check(token_statistics(z.numpy(), previous=True), expected, 2e-6)
    monkeypatch.undo()
    turned = z.transpose(1, 2)  # outcomes are not adjacent: copied, but right
    check(token_statistics(turned, previous=True), reference(turned.double().numpy()), 2e-6)
    single = z[:, :1].expand(2, 4, 64)
    check(token_statistics(single), reference(single.double().numpy()), 2e-6)


def test_threads_equal_one_thread(monkeypatch):
    from entropilot.information import _rows

    z = np.random.default_rng(0).normal(size=(3, 5, 50))
    whole = token_statistics(z, np.zeros((3, 5), int), previous=True)
    monkeypatch.setattr(_rows, "_PER_THREAD", 1)
    monkeypatch.setattr(_rows.numba, "get_num_threads", lambda: 4)
    parts = token_statistics(z, np.zeros((3, 5), int), previous=True)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("tile", [1, 64 << 20])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.bfloat16])
def test_the_path_of_other_devices_agrees(monkeypatch, tile, kind):
    monkeypatch.setattr(module, "_GPU_TILE_BYTES", tile)
    torch.manual_seed(0)
    z = torch.randn(3, 6, 40).to(kind)
    z[1, 2, 5:] = -float("inf")
    labels = torch.randint(0, 5, (3, 6))
    for logits in (z, z[:, 1:], z[:, :, :30], z[0], z[0, :, :30]):
        y = labels[:, 1:] if logits.shape[-2] == 5 else labels
        y = y[0] if logits.ndim == 2 else y
        found = module._tiled(logits, y.reshape(-1), 0.7, 20, True)
        want = token_statistics(logits, y, temperature=0.7, n_vocab=20, previous=True)
        assert torch.allclose(found[LOGPROB], want.logprob.double().ravel(), atol=1e-5)
        entropy = found[LOG_SUM] - found[MEAN]
        assert torch.allclose(entropy, want.entropy.double().ravel(), atol=1e-5)
        assert torch.allclose(found[VARIANCE], want.varentropy.double().ravel(), atol=1e-4)
        jsd = want.jsd.double().ravel()
        assert torch.allclose(found[JSD], jsd, atol=1e-6, equal_nan=True)


def test_gradients_by_finite_differences():
    torch.manual_seed(1)
    z = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 5, (2, 3))

    def loss(logits):
        s = with_gradient(token_statistics)(logits, targets, temperature=0.7, n_vocab=5)
        return s.logprob * 2 + s.entropy * s.logsumexp + s.varentropy

    assert torch.autograd.gradcheck(loss, (z,))
    loss(z).sum().backward()
    assert (z.grad[..., 5] == 0).all()  # the padding column


def test_gradient_matches_autograd_in_float32_and_bfloat16():
    torch.manual_seed(2)
    for kind, atol in ((torch.float32, 1e-6), (torch.bfloat16, 5e-3)):
        z = torch.randn(4, 50).to(kind)
        a, b = z.clone().requires_grad_(), z.float().requires_grad_()
        s = with_gradient(token_statistics)(a, torch.arange(4))
        (s.logprob.sum() - 0.3 * s.entropy.sum()).backward()
        lp = b.log_softmax(-1)
        (lp[range(4), range(4)].sum() + 0.3 * (lp.exp() * lp).sum()).backward()
        assert a.grad.dtype == kind
        assert torch.allclose(a.grad.float(), b.grad, atol=atol)


def test_gradient_of_masked_outcomes_is_zero_and_finite():
    """One of TRL's repairs fixed the value and left nan in the gradient."""
    z = torch.tensor([[0.3, 0.1, -float("inf")], [1.0, -float("inf"), -float("inf")]])
    z.requires_grad_()
    s = with_gradient(token_statistics)(z, torch.tensor([0, 0]))
    (s.logprob + s.entropy + s.varentropy).sum().backward()
    assert torch.isfinite(z.grad).all()
    assert z.grad[0, 2] == 0
    assert z.grad[1].tolist() == [0, 0, 0]


def squares_by_formula(z, temperature=1.0):
    lp = torch.log_softmax(torch.as_tensor(z).double() / temperature, -1)
    p2 = (2 * lp).exp()
    return p2.sum(-1).numpy(), torch.where(p2 > 0, p2 * lp, 0).sum(-1).numpy()


@given(
    hnp.arrays(np.float64, (3, 9), elements=st.one_of(st.floats(-50, 50), st.just(-np.inf))),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_sums_of_squares(z, temperature):
    z[:, 4] = 0.0
    found = token_statistics(z, temperature=temperature, squares=True)
    s2, t2 = squares_by_formula(z, temperature)
    np.testing.assert_allclose(found.sum_p2, s2, rtol=1e-12)
    np.testing.assert_allclose(found.sum_p2_logp, t2, atol=1e-13)
    vocab_mean = found.entropy * found.sum_p2 + found.sum_p2_logp
    assert (vocab_mean >= -1e-13).all()  # a covariance of two numbers that rise together


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_sums_of_squares_of_narrow_kinds_and_many_tiles(kind):
    torch.manual_seed(0)
    z = (5 * torch.randn(4, 5000)).to(kind)
    z[0].sort()
    z[1, :2000] = -float("inf")
    z[2] = 0.0
    found = token_statistics(z, squares=True, temperature=0.8)
    s2, t2 = squares_by_formula(z, 0.8)
    np.testing.assert_allclose(found.sum_p2, s2, rtol=2e-6)
    np.testing.assert_allclose(found.sum_p2_logp, t2, rtol=2e-6, atol=2e-6)
    tiled = module._tiled(z, None, 0.8, 5000, False, squares=True)
    np.testing.assert_allclose(tiled[SUM_P2], s2, rtol=2e-6)
    np.testing.assert_allclose(tiled[SUM_P2_LOGP], t2, rtol=2e-6, atol=2e-6)
    plain = token_statistics(z, temperature=0.8)
    assert plain.sum_p2 is plain.sum_p2_logp is None
    # the sums asked for do not change the others (the two loops may round differently)
    np.testing.assert_allclose(plain.entropy, found.entropy, rtol=1e-6)


def test_golden_entropy(golden):
    case = golden("rl-objective-common")["cases"]["entropy_from_logits"]
    index = np.array(case["trl_selective_log_softmax"]["index"])
    for rows in (np.array(case["logits"]), torch.tensor(case["logits"], dtype=torch.float64)):
        found = token_statistics(rows, index)
        np.testing.assert_allclose(found.entropy, case["trl"], atol=1e-12)
        np.testing.assert_allclose(
            found.logprob, case["trl_selective_log_softmax"]["value"], rtol=1e-12, atol=1e-12
        )


def test_golden_entropy_beside_minus_infinity(golden):
    cases = golden("rl-objective-common")["cases"]
    rows = np.array(cases["entropy_from_logits"]["logits"][:2])
    rows[:, 2] = -np.inf
    wanted = cases["entropy_minus_inf_logit"]["wanted"]
    np.testing.assert_allclose(token_statistics(rows).entropy, wanted, atol=1e-12)


def test_measuring_builds_no_graph():
    z = torch.randn(3, 5, requires_grad=True)
    s = token_statistics(z, torch.zeros(3, dtype=torch.long), previous=True, squares=True)
    assert all(x.grad_fn is None for x in s)
    s = with_gradient(token_statistics)(z)
    assert s.entropy.grad_fn is not None
    assert s.logprob is None
    assert s.max.grad_fn is None


@pytest.mark.parametrize("torch_kind", [False, True])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_broken_rows_are_named(torch_kind, kind):
    def made(rows):
        array = np.array(rows, dtype=kind)
        return torch.tensor(array) if torch_kind else array

    fine, inf = [0.0, 1.0, 2.0], np.inf
    for bad, message in (
        ([0.0, np.nan, 1.0], "row 1: nan"),
        ([-inf, np.nan, -inf], "row 1: nan"),
        ([np.nan] * 3, "row 1: nan"),
        ([-inf] * 3, "row 1: every outcome is -inf"),
        ([0.0, inf, 1.0], r"row 1: \+inf"),
    ):
        with pytest.raises(InputError, match=message):
            entropy_from_logits(made([fine, bad]))
        with pytest.raises(InputError, match=message):
            module._check(
                module._tiled(torch.tensor(np.array([fine, bad])), None, 1.0, 3, False)[LOG_SUM],
                torch.tensor(np.array([fine, bad])),
                3,
            )
    with pytest.raises(InputError, match=r"row \[1, 0\]"):
        entropy_from_logits(made([[fine, fine], [[-inf] * 3, fine]]))


def test_bad_targets_and_shapes():
    z = np.zeros((2, 4))
    with pytest.raises(InputError, match=r"row 1 is -100.*padding"):
        token_statistics(z, [0, -100])
    with pytest.raises(InputError, match=r"row 0 is 4.*\[0, 4\)"):
        token_statistics(torch.tensor(z), torch.tensor([4, 0]))
    with pytest.raises(InputError, match="shape"):
        token_statistics(z, [0])
    with pytest.raises(InputError, match="integers"):
        token_statistics(z, [0.0, 1.0])
    with pytest.raises(InputError, match="n_vocab is 5"):
        token_statistics(z, n_vocab=5)
    with pytest.raises(InputError, match="must hold outcomes"):
        token_statistics(np.zeros((2, 0)))
    with pytest.raises(InputError, match=r"\[..., T, V\]"):
        token_statistics(np.zeros(3), previous=True)
    with pytest.raises(InputError, match="dtype"):
        token_statistics(np.zeros((2, 2), complex))


def test_no_rows_at_all():
    s = token_statistics(np.zeros((0, 4)), np.zeros(0, int), previous=True)
    assert s.entropy.shape == s.jsd.shape == (0,)
