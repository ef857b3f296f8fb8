"""The output head: both ways and both kinds of device against statistics of stored logits."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import (
    HeadStatistics,
    head_gradients,
    head_statistics,
    nucleus_entropy,
    nucleus_mask,
    token_statistics,
    with_gradient,
)
from entropilot.information import _head_passes as passes
from entropilot.information.head import DIFFERENTIABLE

ALL = (*DIFFERENTIABLE, "nucleus_size", "sum_p2", "sum_p2_logp", "max")


@pytest.fixture(params=["compiled", "tiles"])
def device_path(request, monkeypatch):
    """Both the compiled loops and what runs on other devices."""
    if request.param == "tiles":
        monkeypatch.setattr(passes, "is_compiled", lambda tensor: False)
    return request.param


def made(n, d, v, *, seed=0, kind=torch.float64, scale=1.5):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, d, generator=generator, dtype=torch.float64)
    weight = scale * torch.randn(v, d, generator=generator, dtype=torch.float64)
    bias = torch.randn(v, generator=generator, dtype=torch.float64)
    targets = torch.randint(v, (n,), generator=generator)
    slopes = torch.randn(5, n, generator=generator, dtype=torch.float64)
    return hidden.to(kind), weight.to(kind), bias.to(kind), targets, slopes


def by_name(slopes):
    return dict(zip(DIFFERENTIABLE, slopes, strict=True))


def from_logits(hidden, weight, bias, targets, temperature=1.0, top_p=0.8):
    """The same statistics through stored logits, attached."""
    z = hidden @ weight.t() + (0 if bias is None else bias)
    s = with_gradient(token_statistics)(z, targets, temperature=temperature, squares=True)
    hn = with_gradient(nucleus_entropy)(z, top_p, temperature=temperature)
    size = nucleus_mask(z, top_p, temperature=temperature).sum(-1)
    return HeadStatistics(
        *(s.logprob, s.entropy, s.varentropy, s.logsumexp, hn, size),
        *(s.sum_p2, s.sum_p2_logp, s.max),
    )


def loss(statistics, slopes):
    return sum(
        (getattr(statistics, k) * c).sum() for k, c in zip(DIFFERENTIABLE, slopes, strict=True)
    )


def test_golden(golden, device_path):
    case = golden("rl-objective-common")["cases"]["entropy_from_logits"]
    z = torch.tensor(case["logits"], dtype=torch.float64)
    index = torch.tensor(case["trl_selective_log_softmax"]["index"])
    one = torch.eye(z.shape[1], dtype=torch.float64)
    found = head_statistics(z, one, index)
    np.testing.assert_allclose(found.entropy, case["trl"], atol=1e-12)
    np.testing.assert_allclose(
        found.logprob, case["trl_selective_log_softmax"]["value"], rtol=1e-12, atol=1e-12
    )
    data = golden("siren")
    z = torch.tensor(data["logits"], dtype=torch.float64)
    one = torch.eye(z.shape[-1], dtype=torch.float64)
    for p in (0.8, 0.95):
        wants = ("nucleus_entropy", "nucleus_size")
        found = head_statistics(z, one, wants=wants, top_p=p)
        want = data["cases"][f"nucleus_inclusive_{p}"]
        np.testing.assert_allclose(found.nucleus_entropy, want["nucleus_entropy"], atol=1e-12)
        assert found.nucleus_size.tolist() == want["nucleus_size"]


@pytest.mark.parametrize("with_bias", [False, True])
def test_both_ways_equal_stored_logits(device_path, with_bias):
    hidden, weight, bias, targets, slopes = made(150, 6, 2500)
    bias[::7] = -torch.inf
    targets[targets % 7 == 0] += 1
    bias = bias if with_bias else None
    leaves = [x.requires_grad_() for x in (hidden, weight, bias) if x is not None]
    settings = {"bias": bias, "temperature": 0.7, "top_p": 0.8}
    want = from_logits(hidden, weight, bias, targets, 0.7)
    found = head_statistics(hidden, weight, targets, wants=ALL, **settings)
    known = head_gradients(
        hidden,
        weight,
        targets,
        by_name(slopes),
        wants=ALL,
        **settings,
    )
    for name in ALL:
        value = getattr(want, name).double()
        assert torch.allclose(getattr(found, name), value, atol=1e-12, rtol=1e-12), name
        assert torch.allclose(getattr(known.statistics, name), value, atol=1e-12, rtol=1e-12), name
        assert getattr(known.statistics, name).grad_fn is None
        assert (getattr(found, name).grad_fn is not None) == (name in DIFFERENTIABLE)
    exact = torch.autograd.grad(loss(want, slopes), leaves)
    recomputed = torch.autograd.grad(loss(found, slopes), leaves)
    for a, b, c in zip(exact, recomputed, known[1:], strict=False):
        assert torch.allclose(b, a, atol=1e-11)
        assert torch.allclose(c, a, atol=1e-11)
    if with_bias:
        assert (known.weight[::7] == 0).all()
        assert (known.bias[::7] == 0).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_inputs_are_computed_in_float32(device_path, kind):
    """The peers' bfloat16 entropies are off by up to 0.1 nat."""
    hidden, weight, _, targets, slopes = made(40, 32, 9000, kind=kind, scale=0.5)
    exact = [x.double().requires_grad_() for x in (hidden, weight)]
    want = from_logits(*exact, None, targets)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    found = head_statistics(*leaves, targets, wants=ALL, top_p=0.8)
    # where a mass lies within rounding of top_p, one token more or less belongs
    same = found.nucleus_size == want.nucleus_size
    assert (found.nucleus_size - want.nucleus_size).abs().max() <= 1
    assert same.sum() >= 38
    slopes = slopes * same
    on_exact = torch.autograd.grad(loss(want, slopes), exact)
    known = head_gradients(*leaves, targets, by_name(slopes), top_p=0.8)
    for name in DIFFERENTIABLE:
        value = getattr(found, name)
        assert value.dtype == torch.float32
        # V = 9000 sums of float32 products; the peers' bfloat16 misses by 1e-1
        assert torch.allclose(value[same].double(), getattr(want, name)[same], atol=3e-5), name
    on_found = torch.autograd.grad(loss(found, slopes), leaves)
    rounding = {torch.float32: 0, torch.bfloat16: 2**-8, torch.float16: 2**-11}[kind]
    for a, b, c in zip(on_exact, on_found, known[1:3], strict=True):
        assert b.dtype == kind
        assert torch.allclose(b.double(), a, atol=1e-4, rtol=1e-4 + rounding)
        assert c.dtype == torch.float32
        assert torch.allclose(c.double(), a, atol=1e-4, rtol=1e-4)


def test_gradients_by_finite_differences(device_path):
    hidden, weight, bias, targets, _ = made(4, 3, 7)
    bias[2] = -torch.inf
    targets[targets == 2] = 0
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]

    def measured(hidden, weight, bias):
        found = head_statistics(
            hidden, weight, targets, bias=bias, temperature=0.8, n_vocab=6, chunk=5,
            wants=DIFFERENTIABLE, top_p=0.8,
        )  # fmt: skip
        return found[:5]

    targets.clamp_(max=5)
    assert torch.autograd.gradcheck(measured, leaves)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_known_gradients_by_finite_differences(name):
    hidden, weight, bias, targets, slopes = made(3, 2, 5)
    bias[1] = -torch.inf
    targets[targets == 1] = 0
    settings = {"temperature": 1.3, "top_p": 0.7, "wants": (name,)}

    def total(hidden, weight, bias):
        found = head_statistics(hidden, weight, targets, bias=bias, **settings)
        return (getattr(found, name) * slopes[0]).sum().item()

    found = head_gradients(hidden, weight, targets, {name: slopes[0]}, bias=bias, **settings)
    for place, gradient in enumerate(found[1:]):
        for index in np.ndindex(*gradient.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [x.clone() for x in (hidden, weight, bias)]
                moved[place][index] += step
                ends.append(total(*moved))
            slope = (ends[0] - ends[1]) / 2e-5
            assert gradient[index].item() == pytest.approx(slope, abs=1e-8)


@given(st.integers(1, 9), st.integers(1, 60), st.integers(1, 400), st.integers(0, 50))
def test_chunks_change_nothing(n, v, chunk, seed):
    hidden, weight, bias, targets, slopes = made(n, 3, v, seed=seed)
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]
    results = []
    for size in (None, chunk):
        settings = {"bias": bias, "chunk": size, "top_p": 0.9}
        plain = head_statistics(hidden, weight, targets, bias=bias, chunk=size, wants=("entropy",))
        found = head_statistics(hidden, weight, targets, wants=ALL, **settings)
        assert torch.allclose(plain.entropy, found.entropy, atol=1e-12)
        known = head_gradients(hidden, weight, targets, by_name(slopes), **settings)
        grads = torch.autograd.grad(loss(found, slopes), leaves)
        results.append((*found[:9], *grads, *known[1:]))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-9)
    assert (results[0][1] >= 0).all()
    assert (results[0][1] <= math.log(v) + 1e-12).all()


@given(st.floats(0.2, 4.0))
def test_temperature_divides_the_logits(temperature):
    hidden, weight, bias, targets, _ = made(5, 3, 20)
    settings = {"wants": ALL, "top_p": 0.8}
    a = head_statistics(hidden, weight, targets, bias=bias, temperature=temperature, **settings)
    b = head_statistics(hidden / temperature, weight, targets, bias=bias / temperature, **settings)
    for name in set(ALL) - {"max"}:
        assert torch.allclose(getattr(a, name), getattr(b, name), atol=1e-11), name


def test_padding_rows_change_nothing(device_path):
    """Padded vocabulary rows made the entropy nan after a long run."""
    hidden, weight, bias, targets, slopes = made(9, 4, 30)
    padded = torch.cat([weight, torch.full((7, 4), torch.nan)])
    padded_bias = torch.cat([bias, torch.full((7,), torch.nan)])
    results = []
    for w, b in ((weight, bias), (padded, padded_bias)):
        leaves = [x.clone().requires_grad_() for x in (hidden, w, b)]
        settings = {"bias": leaves[2], "n_vocab": 30, "top_p": 0.8}
        found = head_statistics(*leaves[:2], targets, wants=ALL, **settings)
        loss(found, slopes).backward()
        known = head_gradients(*leaves[:2], targets, by_name(slopes), **settings)
        assert (leaves[1].grad[30:] == 0).all()
        assert (known.weight[30:] == 0).all()
        grads = [x.grad for x in leaves]
        results.append((*found[:9], *(g[:30] for g in grads), *(g[:30] for g in known[1:])))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_masked_vocabulary(device_path):
    """TRL and verl give nan for a single -inf, one repair of it left nan in the gradient."""
    hidden, weight, bias, targets, slopes = made(6, 4, 5000, kind=torch.float32)
    bias[1:] = -torch.inf
    targets.zero_()
    leaves = [x.requires_grad_() for x in (hidden, weight, bias)]
    found = head_statistics(hidden, weight, targets, bias=bias, wants=DIFFERENTIABLE, top_p=0.8)
    assert found.entropy.tolist() == [0.0] * 6
    assert found.logprob.tolist() == [0.0] * 6
    assert found.nucleus_entropy.tolist() == [0.0] * 6
    grads = torch.autograd.grad(loss(found._replace(logsumexp=torch.zeros(6)), slopes), leaves)
    known = head_gradients(
        hidden, weight, targets, {"logprob": slopes[0], "entropy": slopes[1]}, bias=bias
    )
    for gradient in (*grads, *known[1:]):
        assert gradient.abs().max() == 0


@pytest.mark.parametrize("peak", [0, 150_000, 299_999])
@pytest.mark.parametrize("height", [5.0, 12.5, 25.0])
def test_one_peak_in_300_000_tokens(peak, height):
    n = 300_000
    weight = torch.zeros(n, 1)
    weight[peak] = height
    odds = (n - 1) * math.exp(-height)
    exact = math.log1p(odds) + (1 - 1 / (1 + odds)) * height
    found = head_statistics(torch.ones(1, 1), weight, torch.tensor([peak]))
    assert found.entropy.item() == pytest.approx(exact, abs=1e-5)
    assert found.logprob.item() == pytest.approx(-math.log1p(odds), abs=1e-5)


def test_extremes_of_float16():
    hidden = torch.tensor([[65504.0], [-65504.0], [0.0]], dtype=torch.float16)
    weight = torch.tensor([[65504.0], [-65504.0], [0.0]], dtype=torch.float16)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    found = head_statistics(*leaves, torch.tensor([0, 1, 2]))
    assert found.entropy.tolist() == pytest.approx([0, 0, math.log(3)], abs=1e-6)
    grads = torch.autograd.grad(found.entropy.sum(), leaves)
    assert all(g.isfinite().all() for g in grads)


def test_the_most_likely_tokens(device_path):
    hidden, weight, _, _, _ = made(7, 3, 5000)
    log_p = (hidden @ weight.t() / 0.9).log_softmax(-1)
    for wants in (("entropy",), ("nucleus_entropy",)):
        found = head_statistics(
            hidden, weight, wants=wants, temperature=0.9, top_k=5, top_p=0.8, chunk=9000
        )
        assert torch.allclose(found.top_logprob, log_p.topk(5).values, atol=1e-12)
        assert (found.top_token == log_p.topk(5).indices).all()


def test_leading_axes_and_what_was_not_asked():
    hidden, weight, _, targets, slopes = made(6, 4, 50)
    flat = head_statistics(hidden, weight, targets)
    found = head_statistics(hidden.reshape(2, 3, 4), weight, targets.reshape(2, 3))
    assert torch.equal(found.entropy, flat.entropy.reshape(2, 3))
    assert found.varentropy is found.top_token is found.nucleus_size is None
    known = head_gradients(
        hidden.reshape(2, 3, 4), weight, targets.reshape(2, 3), {"logprob": slopes[0].reshape(2, 3)}
    )
    assert known.hidden.shape == (2, 3, 4)
    assert known.bias is None
    entropy = head_statistics(hidden[0], weight, wants=("entropy",)).entropy
    assert torch.allclose(entropy, flat.entropy[0], atol=1e-12)
    none = head_statistics(hidden[:0], weight, targets[:0])
    assert none.entropy.shape == (0,)


def test_frozen_head_and_gradients_added_to_those_before():
    hidden, weight, _, targets, slopes = made(300, 4, 50)
    on = {"logprob": slopes[0], "entropy": slopes[1]}
    whole = head_gradients(hidden, weight, targets, on)
    frozen = head_gradients(hidden, weight, targets, on, weight_gradient=False)
    assert frozen.weight is None
    assert torch.equal(frozen.hidden, whole.hidden)
    total = torch.zeros_like(weight)
    for part in (slice(0, 100), slice(100, 300)):
        again = head_gradients(
            hidden[part], weight, targets[part], {k: v[part] for k, v in on.items()},
            weight_gradient=total,
        )  # fmt: skip
        assert again.weight is total
    assert torch.allclose(total, whole.weight, atol=1e-12)
    leaf = hidden.clone().requires_grad_()
    found = head_statistics(leaf, weight, targets)
    (found.logprob @ slopes[0] + found.entropy @ slopes[1]).backward()
    assert torch.allclose(leaf.grad, whole.hidden, atol=1e-12)


def test_measuring_builds_no_graph():
    hidden, weight, _, targets, _ = made(3, 2, 5)
    assert head_statistics(hidden, weight, targets).entropy.grad_fn is None
    weight.requires_grad_()
    assert head_statistics(hidden, weight, targets).entropy.grad_fn is not None
    with torch.no_grad():
        assert head_statistics(hidden, weight, targets).entropy.grad_fn is None


def test_under_inference_mode_and_autocast():
    hidden, weight, _, targets, slopes = made(3, 2, 5, kind=torch.float32)
    leaf = weight.clone().requires_grad_()
    plain = head_statistics(hidden, weight, targets).entropy
    with torch.inference_mode():
        assert torch.equal(head_statistics(hidden, leaf, targets).entropy, plain)
        assert head_gradients(hidden, leaf, targets, {"entropy": slopes[0]}).weight is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):  # products stay in float32
        assert torch.equal(head_statistics(hidden, leaf, targets).entropy, plain)
    constants = head_statistics(hidden, leaf, wants=("max", "sum_p2"))
    assert constants.max.grad_fn is constants.sum_p2.grad_fn is None


def test_threads_equal_one_thread(monkeypatch):
    from entropilot.information import _rows

    hidden, weight, _, targets, slopes = made(37, 4, 60)
    hidden.requires_grad_()

    def everything():
        found = head_statistics(hidden, weight, targets, wants=ALL, top_p=0.8)
        plain = head_statistics(hidden, weight, targets)
        (gradient,) = torch.autograd.grad(loss(found, slopes), hidden)
        known = head_gradients(hidden, weight, targets, {"entropy": slopes[1]})
        return (*found[:9], *plain[:2], gradient, *known[1:3])

    whole = everything()
    monkeypatch.setattr(_rows, "_PER_THREAD", 1)
    monkeypatch.setattr(_rows.numba, "get_num_threads", lambda: 4)
    for a, b in zip(whole, everything(), strict=True):
        assert torch.equal(a, b)


def test_broken_rows_are_named(device_path):
    hidden, weight, bias, targets, slopes = made(200, 4, 30)
    ways = (
        lambda h, b: head_statistics(h, weight, targets, bias=b),
        lambda h, b: head_statistics(h, weight, wants=("nucleus_entropy",), top_p=0.8, bias=b),
        lambda h, b: head_gradients(h, weight, targets, {"logprob": slopes[0]}, bias=b),
    )
    broken = hidden.clone()
    broken[133, 2] = torch.nan
    for way in ways:
        with pytest.raises(InputError, match="row 133: nan"):
            way(broken, None)
        with pytest.raises(InputError, match="row 0: every outcome is -inf"):
            way(hidden, torch.full_like(bias, -torch.inf))
        with pytest.raises(InputError, match=r"row 0: \+inf"):
            way(hidden, torch.where(torch.arange(30) == 4, torch.inf, bias))


def test_bad_input():
    hidden, weight, bias, targets, slopes = made(3, 2, 5)
    for call, error, message in (
        (lambda: head_statistics(hidden, weight), InputError, "without targets"),
        (lambda: head_statistics(hidden, weight[:, :1], targets), InputError, "shape"),
        (lambda: head_statistics(hidden.numpy(), weight, targets), InputError, "torch tensors"),
        (lambda: head_statistics(hidden.long(), weight, targets), InputError, "floats"),
        (lambda: head_statistics(hidden, weight, targets[:2]), InputError, "targets have shape"),
        (lambda: head_statistics(hidden, weight, targets - 100), InputError, "padding"),
        (lambda: head_statistics(hidden, weight, targets, bias=bias[:2]), InputError, "bias"),
        (lambda: head_statistics(hidden, weight, targets, n_vocab=6), InputError, "n_vocab is 6"),
        (
            lambda: head_statistics(hidden, weight, wants=("entrpy",)),
            ConfigurationError,
            "did you mean 'entropy'",
        ),
        (
            lambda: head_statistics(hidden, weight, wants=("nucleus_size",)),
            ConfigurationError,
            "top_p",
        ),
        (lambda: head_statistics(hidden, weight, targets, chunk=0), ConfigurationError, "chunk"),
        (lambda: head_statistics(hidden, weight, targets, top_k=9), ConfigurationError, "top_k"),
        (
            lambda: head_statistics(hidden, weight, targets, temperature=0.0),
            ConfigurationError,
            "temperature",
        ),
        (
            lambda: head_gradients(hidden, weight, targets, {"sum_p2": slopes[0]}),
            ConfigurationError,
            "differentiable statistic",
        ),
        (
            lambda: head_gradients(hidden, weight, targets, {"entropy": slopes[0, :2]}),
            InputError,
            "slopes of entropy have shape",
        ),
        (
            lambda: head_gradients(
                hidden, weight, targets, {"entropy": torch.tensor([0.0, torch.nan, 0.0])}
            ),
            InputError,
            "slope of entropy, row 1, is not finite",
        ),
    ):
        with pytest.raises(error, match=message):
            call()


MEMORY = """
import sys, torch
from pathlib import Path
from entropilot.information import head_gradients, head_statistics

def rise(call):
    call(64)
    Path("/proc/self/clear_refs").write_text("5")
    status = lambda field: int(next(
        x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field)
    ).split()[1]) / 1024
    before = status("VmRSS")
    call(None)
    return status("VmHWM") - before

torch.set_num_threads(1)
n, d, v = 8192, 8, 151_936
hidden, weight = torch.randn(n, d), torch.randn(v, d)
targets = torch.randint(v, (n,))

def forward(rows):
    head_statistics(hidden[:rows], weight, targets[:rows])

def backward(rows):
    h, w = hidden[:rows].detach().requires_grad_(), weight.detach().requires_grad_()
    found = head_statistics(h, w, targets[:rows])
    (found.logprob.sum() + found.entropy.sum()).backward()

def known(rows):
    one = torch.ones(len(hidden[:rows]))
    head_gradients(hidden[:rows], weight, targets[:rows], {"logprob": one}, chunk=64 * v)

print(*(rise(call) for call in (forward, backward, known)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak reset")
def test_memory_does_not_grow_with_tokens_times_vocabulary():
    """The logits would be 4750 MiB; running out of memory in the entropy line is common."""
    path = next(p for p in sys.path if p.endswith("src"))
    run = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    )
    forward, backward, known = map(float, run.stdout.split())
    slack = 24  # MiB: what the allocator keeps, and the buffers of the matrix products
    chunk, per_token, gradients = 4, 120 * 8192 / 2**20, 4 * 8 * (8192 + 151_936) / 2**20
    assert forward < chunk + per_token + slack
    assert backward < chunk + per_token + gradients + slack
    assert known < 4 * 64 * 151_936 / 2**20 + per_token + gradients + slack
