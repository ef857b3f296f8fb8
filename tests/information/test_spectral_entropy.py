"""Diffusion spectral entropy: golden values, limits, invariances, bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entropilot.errors import ConfigurationError, InputError, LimitError
from entropilot.information._gaussian_factor import pivoted_cholesky
from entropilot.information._tridiagonal_kernels import NODES, entropy_sum, tridiagonal
from entropilot.information.diffusion_spectrum import (
    as_points,
    diffusion_eigenvalues,
    kernel_width,
)
from entropilot.information.spectral_entropy import (
    adjacency_entropy,
    dse,
    dse_from_eigenvalues,
    matrix_entry_entropy,
    shannon_binned,
)

pytestmark = pytest.mark.filterwarnings("ignore:the mean off-diagonal", "ignore:all points are one")


def value_of(row: dict[str, Any], z: np.ndarray) -> float:
    kind = row["kind"]
    if kind == "eigen":
        return dse(z, row["sigma"], row["t"])
    if kind == "matrix_entry":
        return matrix_entry_entropy(z, row["sigma"])
    if kind == "shannon_binned":
        return shannon_binned(z, row["num_bins_per_dim"])
    if kind == "adjacency_knn":
        return adjacency_entropy(z, kind="knn", neighbours=row["knn"])
    name = "normalised" if kind.endswith("anisotropic") else "gaussian"
    return adjacency_entropy(z, row["sigma"], name)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*columns are constant")
def test_entropies_are_those_of_the_reference(golden: Callable[[str], Any]) -> None:
    case = golden("dse")
    for row in case["dse"]:
        found = value_of(row, np.array(case["data"][row["data"]], float))
        # The 0/1 matrix of neighbours is not symmetric and has a defective eigenvalue 0, which
        # rounding moves by a root of epsilon; two builds of LAPACK differ by as much.
        atol = 1e-5 if row["kind"] == "adjacency_knn" else 1e-9
        assert found == pytest.approx(row["value"], abs=atol), row


def test_spectrum_and_matrix_are_those_of_the_reference(golden: Callable[[str], Any]) -> None:
    case = golden("dse")
    found = np.sort(diffusion_eigenvalues(case["data"]["blobs4_48x2"], 10.0))
    np.testing.assert_allclose(found, case["eigenvalues_blobs4_sigma10"], atol=1e-10)
    part = diffusion_eigenvalues(np.array(case["data"]["blobs4_48x2"])[:6], 10.0)
    kernel = np.array(case["diffusion_matrix"]["K"])
    np.testing.assert_allclose(np.sort(part), np.linalg.eigvalsh(kernel), atol=1e-10)


def test_limits() -> None:
    far = np.arange(12)[:, None] * 1e4
    assert dse(far) == pytest.approx(np.log2(12), abs=1e-9)
    assert dse(np.ones((16, 5))) == pytest.approx(0, abs=1e-9)
    assert dse(np.array([[0.0], [0.0], [1e4], [1e4]])) == pytest.approx(1, abs=1e-9)
    assert dse(np.ones((16, 5)), "median:1/3") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("sigma", [0.7, 3.0, 40.0])
@pytest.mark.parametrize("dimensions", [1, 3])
def test_the_low_rank_spectrum_is_the_dense_one(sigma: float, dimensions: int) -> None:
    z = np.random.default_rng(0).normal(size=(600, dimensions)) * 3
    d = ((z[:, None] - z[None]) ** 2).sum(-1)
    g = np.exp(-d / (2 * sigma**2))
    r = g.sum(1)
    dense = np.linalg.eigvalsh(g / np.sqrt(np.outer(r, r)))[::-1]
    found = diffusion_eigenvalues(z, sigma)
    np.testing.assert_allclose(found, dense, atol=2e-12)
    assert dse(z, sigma) == pytest.approx(dse_from_eigenvalues(dense.clip(0)), abs=1e-9)


@given(st.integers(2, 40), st.integers(1, 8), st.floats(0.1, 20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_bounds_and_invariances(n: int, d: int, sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d))
    found = dse(z, sigma)
    assert -1e-9 <= found <= np.log2(n) + 1e-9
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    assert dse(z[rng.permutation(n)] @ turn + 5, sigma) == pytest.approx(found, abs=1e-8)
    spectrum = diffusion_eigenvalues(z, sigma)
    assert spectrum[0] == pytest.approx(1, abs=1e-9)
    assert spectrum.min() > -1e-9
    falling = dse_from_eigenvalues(spectrum, [1, 2, 3, 5])
    assert np.all(np.diff(falling) <= 1e-9)  # higher powers concentrate


@given(st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_the_median_rule_is_free_of_scale(scale: float) -> None:
    z = np.random.default_rng(0).normal(size=(80, 6))
    expected = dse(z, "median:1/3")
    assert dse(z * scale, "median:1/3") == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_sum_without_eigenvalues_is_the_sum_over_them(values: list[float], seed: int) -> None:
    spectrum = np.append(values, 1.0)
    n = len(spectrum)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    diagonal, beside = tridiagonal((turn * spectrum) @ turn.T)
    form = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    np.testing.assert_allclose(np.linalg.eigvalsh(form), np.sort(spectrum), atol=1e-13)
    safe = np.where(spectrum > 0, spectrum, 1.0)
    expected = float((safe * np.log(safe)).sum())
    assert entropy_sum(diagonal, beside, NODES) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("n", [499, 501])
def test_both_reductions_give_the_entropy_of_the_eigenvalues(n: int) -> None:
    z = np.random.default_rng(0).normal(size=(n, 10))
    by_values = dse_from_eigenvalues(diffusion_eigenvalues(z, 3.0))
    assert dse(z, 3.0) == pytest.approx(by_values, abs=1e-10)


def test_duplicates_count_as_weight_and_not_as_distance() -> None:
    z = np.random.default_rng(0).normal(size=(30, 3))
    doubled = np.repeat(z, 2, axis=0)
    assert kernel_width(as_points(doubled), "median:1") == pytest.approx(
        kernel_width(as_points(z), "median:1")
    )
    assert dse(doubled, 1.0) == pytest.approx(dse(z, 1.0), abs=1e-9)


def test_density_normalisation_and_local_widths() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    g = np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / 2)
    q = g.sum(1)
    g = g / np.outer(q, q)
    k = g / np.sqrt(np.outer(g.sum(1), g.sum(1)))
    found = diffusion_eigenvalues(z, 1.0, alpha=1.0)
    np.testing.assert_allclose(found, np.linalg.eigvalsh(k)[::-1], atol=1e-12)
    local = dse(z, neighbours=5)
    assert dse(z * 100, neighbours=5) == pytest.approx(local, abs=1e-9)
    with pytest.warns(UserWarning, match="duplicates"):
        dse(np.repeat(z, 8, axis=0), neighbours=5)


def test_tensors_rows_of_unit_length_and_subsamples() -> None:
    z = np.random.default_rng(0).normal(size=(50, 4))
    assert dse(torch.tensor(z, requires_grad=True), 1.0) == pytest.approx(dse(z, 1.0))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    assert dse(z, 1.0, normalize="l2") == pytest.approx(dse(unit, 1.0))
    with pytest.warns(UserWarning, match="20 of 50 points were drawn"):
        some = dse(z, 1.0, max_n=20)
    assert some < np.log2(20)


def test_a_pivoted_factor_bounds_its_error() -> None:
    z = np.random.default_rng(0).normal(size=(100, 3))
    g = np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / 2)
    factor, rest = pivoted_cholesky(z, 1.0, 30, 0.0, patient=True)
    error = g - factor.T @ factor
    assert np.linalg.eigvalsh(error).min() > -1e-10
    assert np.trace(error) == pytest.approx(rest.sum(), abs=1e-10)


@pytest.mark.parametrize(
    ("z", "settings", "said"),
    [
        ([[1.0]], {}, "N >= 2"),
        (np.zeros((3, 2, 2)), {}, "N >= 2"),
        ([[0.0], [np.nan], [np.inf]], {}, "2 of 3 points are not finite, the first at row 1"),
    ],
)
def test_bad_points_are_named(z: Any, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dse(z, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": 0.0}, "must be positive"),
        ({"sigma": -1.0}, "must be positive"),
        ({"sigma": "mean:1"}, "median:1/3"),
        ({"sigma": "median:0"}, "median:1/3"),
        ({"t": 0.5}, "at least 1"),
        ({"alpha": 2.0}, r"in \[0, 1\]"),
        ({"neighbours": 9}, "neighbours is 9"),
        ({"max_n": 1}, "at least 2"),
        ({"normalize": "l1"}, "give 'l2'"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        dse(np.arange(4.0)[:, None], **settings)


def test_too_many_points_are_told_the_memory_and_the_way_round() -> None:
    with pytest.raises(LimitError, match=r"74\.5 GiB.*dse_estimate"):
        dse(np.zeros((100_000, 1)), max_n=None)


@pytest.mark.filterwarnings("default:the mean off-diagonal")
def test_a_saturated_kernel_warns() -> None:
    z = np.random.default_rng(0).normal(size=(50, 4))
    with pytest.warns(UserWarning, match="saturates near log2 N"):
        dse(z, 1e-3)
    with pytest.warns(UserWarning, match="saturates near 0"):
        dse(z, 1e4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dse(z, "median:1/3")


def test_constant_columns_are_left_out_of_bins() -> None:
    z = np.stack([np.arange(8.0), np.ones(8)], 1)
    with pytest.warns(UserWarning, match="1 of 2 columns are constant"):
        assert shannon_binned(z, 2) == pytest.approx(1)
    with pytest.warns(UserWarning, match="2 of 2 columns"):
        assert shannon_binned(np.ones((8, 2))) == 0
    with pytest.raises(ConfigurationError, match="bins is 1"):
        shannon_binned(z, 1)
