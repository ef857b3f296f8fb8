"""The nucleus: golden values, closed forms, a plain sort as the reference, gradients."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError
from entropilot.information import (
    entropy_from_logits,
    nucleus_entropy,
    nucleus_mask,
    with_gradient,
)
from entropilot.information import nucleus as module
from entropilot.information._statistics_kernels import LOG_SUM, MAX
from entropilot.information.statistics import measured_sums


def by_sorting(z, p, inclusive=True, max_rank=None):
    """Mask of one row by a stable sort."""
    z = np.asarray(z, np.float64)
    q = np.exp(z - z.max())
    q /= q.sum()
    order = np.argsort(-q, kind="stable")
    order = order[q[order] > 0][:max_rank]
    mass = np.cumsum(q[order])
    reached = np.nonzero(mass >= p * (1 - 1e-12))[0] if p < 1 else np.zeros(0, int)
    size = len(order) if len(reached) == 0 else reached[0] + int(inclusive)
    mask = np.zeros(len(z), bool)
    mask[order[:size]] = True
    return mask


def entropy_within(z, mask):
    z = np.asarray(z, np.float64)[mask]
    if len(z) == 0:
        return 0.0
    q = np.exp(z - z.max())
    q /= q.sum()
    return -np.sum(q * np.log(np.where(q > 0, q, 1)))


@pytest.mark.parametrize("p", [0.8, 0.95])
def test_golden(golden, p):
    data = golden("siren")
    logits, cases = np.array(data["logits"]), data["cases"]
    ours = cases[f"nucleus_inclusive_{p}"]
    for z in (logits, torch.tensor(logits)):
        np.testing.assert_allclose(nucleus_entropy(z, p), ours["nucleus_entropy"], atol=1e-12)
        sizes = np.asarray(nucleus_mask(z, p)).sum(-1)
        assert sizes.tolist() == ours["nucleus_size"]
        # the authors' code, which guards its logarithm with 1e-12
        exclusive = nucleus_entropy(z, p, boundary="exclusive", max_rank=10_000)
        code = cases[f"code_topp_{p}"]["nucleus_entropy"]
        np.testing.assert_allclose(exclusive, code, atol=1e-9)


@given(st.integers(1, 300), st.floats(0.01, 0.999), st.integers(0, 10_000))
def test_masks_equal_those_of_a_sort(n, p, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n) * rng.choice([0.01, 1.0, 5.0, 40.0])
    if seed % 3 == 0:
        z = np.round(z)  # ties
    z[rng.random(n) < 0.2] = -np.inf
    z[rng.integers(n)] = 1.0
    rank = None if seed % 2 else int(rng.integers(1, n + 1))
    for boundary in ("inclusive", "exclusive"):
        settings = {"boundary": boundary, "max_rank": rank}
        want = by_sorting(z, p, boundary == "inclusive", rank)
        mask = nucleus_mask(z, p, **settings)
        assert mask.tolist() == want.tolist()
        found = nucleus_entropy(z, p, **settings)
        assert found == pytest.approx(entropy_within(z, want), abs=1e-12)
        assert 0 <= found <= math.log(max(want.sum(), 1)) + 1e-12


@pytest.mark.parametrize("n", [1, 7, 10, 1000, 50_000])
def test_uniform_and_one_hot(n):
    for kind in (np.float64, np.float32):
        z = np.full(n, 2.5, kind)
        size = math.ceil(0.8 * n)
        assert nucleus_mask(z).sum() == size
        assert nucleus_mask(z)[:size].all()  # of equal outcomes the first ones
        assert nucleus_entropy(z) == pytest.approx(math.log(size), abs=1e-5)
        peak = np.full(n, -np.inf, kind)
        peak[n // 2] = 3.0
        assert nucleus_mask(peak).nonzero()[0].tolist() == [n // 2]
        assert nucleus_entropy(peak) == 0
        assert nucleus_entropy(peak, boundary="exclusive") == 0


def test_whole_distribution_at_p_1():
    z = np.random.default_rng(0).normal(size=(4, 5000)) * 3
    z[1, 100:] = -np.inf
    assert nucleus_entropy(z, 1.0) == pytest.approx(entropy_from_logits(z), abs=1e-12)
    assert (nucleus_mask(z, 1.0) == np.isfinite(z)).all()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.1, 2.0, 8.0])
def test_narrow_kinds_over_many_tiles(kind, scale):
    torch.manual_seed(0)
    z = (scale * torch.randn(3, 40_000)).to(kind)
    found = nucleus_entropy(z, 0.9)
    assert found.dtype == torch.float32
    for row, value in zip(z, found, strict=True):
        mask = by_sorting(row.double().numpy(), 0.9)
        assert value.item() == pytest.approx(entropy_within(row.double().numpy(), mask), abs=1e-5)


@pytest.mark.parametrize("tile", [1, 64 << 20])
def test_the_path_of_other_devices_agrees(monkeypatch, tile):
    monkeypatch.setattr(module, "_GPU_TILE_BYTES", tile)
    torch.manual_seed(0)
    z = torch.cat([torch.randn(4, 900) * 4, torch.randn(2, 900).round(), torch.zeros(1, 900)])
    z[0, 3:] = -float("inf")
    for p in (0.3, 0.8, 1.0):
        for inclusive, rank in ((True, 900), (False, 900), (True, 30)):
            boundary = "inclusive" if inclusive else "exclusive"
            sums = torch.tensor(measured_sums(z.double(), None, 0.7, 900))
            found = module.tiled_nucleus(
                z.double(), sums[MAX], sums[LOG_SUM], p, inclusive, rank, 0.7, 900
            )
            want = module.find_nucleus(z.double(), p, boundary, rank, 0.7, 900)
            assert torch.allclose(found.entropy, want.entropy, atol=1e-10)
            assert found.size.tolist() == want.size.tolist()
            assert torch.allclose(found.log_mass, want.log_mass, atol=1e-10)
            some = found.size > 0
            x, index = z.double()[some], torch.arange(900)

            def mask(nucleus, x=x, some=some, index=index):
                edge, last = nucleus.threshold[some, None], nucleus.last[some, None]
                return (x > edge) | ((x == edge) & (index <= last))

            assert (mask(found) == mask(want)).all()


@given(st.integers(1, 40), st.integers(1, 900), st.floats(0.2, 3.0))
def test_temperature_and_padding(n, padding, temperature):
    z = np.random.default_rng(n).normal(size=(2, n))
    padded = np.concatenate([z, np.full((2, padding), np.nan)], -1)
    found = nucleus_entropy(padded, 0.7, n_vocab=n, temperature=temperature)
    np.testing.assert_allclose(found, nucleus_entropy(z / temperature, 0.7), atol=1e-12)
    mask = nucleus_mask(padded, 0.7, n_vocab=n, temperature=temperature)
    assert (mask[:, :n] == nucleus_mask(z / temperature, 0.7)).all()
    assert not mask[:, n:].any()


@pytest.mark.parametrize("boundary", ["inclusive", "exclusive"])
def test_gradient_by_finite_differences(boundary):
    torch.manual_seed(3)
    z = (2 * torch.randn(3, 2, 9, dtype=torch.float64)).requires_grad_()

    def measured(logits):
        return with_gradient(nucleus_entropy)(
            logits, 0.8, boundary=boundary, temperature=0.7, n_vocab=8
        )

    assert torch.autograd.gradcheck(measured, (z,))
    measured(z).sum().backward()
    mask = nucleus_mask(z, 0.8, boundary=boundary, temperature=0.7, n_vocab=8)
    assert (z.grad[~mask] == 0).all()  # the tail is not pushed


def test_gradient_by_formula_in_every_kind():
    torch.manual_seed(4)
    for kind, atol in ((torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 2e-3)):
        z = (3 * torch.randn(4, 200)).to(kind).requires_grad_()
        with_gradient(nucleus_entropy)(z, 0.9).sum().backward()
        mask = nucleus_mask(z, 0.9)
        q = torch.where(mask, z.detach().double(), -torch.inf).softmax(-1)
        log_q = torch.where(mask, q.log(), 0)
        entropy = -(q * log_q).sum(-1, keepdim=True)
        want = torch.where(mask, -q * (log_q + entropy), 0)
        assert z.grad.dtype == kind
        assert torch.allclose(z.grad.double(), want, atol=atol)


def test_gradient_of_extremes_is_finite():
    z = torch.tensor([[5.0, -torch.inf, -torch.inf], [1.0, 1.0, -torch.inf]]).requires_grad_()
    value = with_gradient(nucleus_entropy)(z, 1.0)
    value.sum().backward()
    assert value.tolist() == pytest.approx([0.0, math.log(2)])
    assert z.grad.abs().max() < 1e-6
    empty = with_gradient(nucleus_entropy)(z, 0.8, boundary="exclusive")
    assert empty[0] == 0
    assert torch.autograd.grad(empty.sum(), z)[0][0].tolist() == [0, 0, 0]


def test_measuring_builds_no_graph():
    z = torch.randn(2, 5, requires_grad=True)
    assert nucleus_entropy(z).grad_fn is None
    assert with_gradient(nucleus_entropy)(z).grad_fn is not None
    assert with_gradient(nucleus_entropy)(z.detach()).grad_fn is None


def test_threads_equal_one_thread(monkeypatch):
    from entropilot.information import _rows

    z = np.random.default_rng(0).normal(size=(7, 50))
    whole = nucleus_entropy(z)
    monkeypatch.setattr(_rows, "_PER_THREAD", 1)
    monkeypatch.setattr(_rows.numba, "get_num_threads", lambda: 4)
    assert (nucleus_entropy(z) == whole).all()


def test_bad_input():
    z = np.zeros((2, 3))
    for p in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(ConfigurationError, match=r"in \(0, 1\]"):
            nucleus_entropy(z, p)
    with pytest.raises(ConfigurationError, match="boundary is 'open'"):
        nucleus_mask(z, boundary="open")
    with pytest.raises(ConfigurationError, match="max_rank is 0"):
        nucleus_mask(z, max_rank=0)
    with pytest.raises(ConfigurationError, match="temperature is 0"):
        nucleus_entropy(z, temperature=0)
    z[1] = -np.inf
    with pytest.raises(InputError, match="row 1: every outcome is -inf"):
        nucleus_entropy(z)
